"""What may be said about scores: intervals, differences, ranks, and what their variance is made of.

The parts are in files of their own: `intervals` over the seeds of one contender, `differences`
between two, `rankings` of many (over seeds of one data set, or over data sets), and `variance`.
"""

from benchmarks.statistics.differences import (
    ALPHA,
    FEWEST_SEEDS,
    Test,
    holm,
    paired,
    probability_of_improvement,
    seeds_for,
    seeds_needed,
    welch,
)
from benchmarks.statistics.intervals import (
    LEVEL,
    LOG_SCALE,
    NOTHING,
    SAME_RANGE,
    SeedInterval,
    geometric_std,
    interval_over_seeds,
    last_over_best,
    student_interval,
    value_range,
)
from benchmarks.statistics.rankings import (
    FEWEST_DATA_SETS,
    Friedman,
    compare_contenders,
    friedman,
    is_lower_better,
    nemenyi,
    rank_intervals,
    uses_log_scale,
)
from benchmarks.statistics.variance import COMPONENTS, split_variance, splits_logarithms

__all__ = [
    "ALPHA",
    "COMPONENTS",
    "FEWEST_DATA_SETS",
    "FEWEST_SEEDS",
    "LEVEL",
    "LOG_SCALE",
    "NOTHING",
    "SAME_RANGE",
    "Friedman",
    "SeedInterval",
    "Test",
    "compare_contenders",
    "friedman",
    "geometric_std",
    "holm",
    "interval_over_seeds",
    "is_lower_better",
    "last_over_best",
    "nemenyi",
    "paired",
    "probability_of_improvement",
    "rank_intervals",
    "seeds_for",
    "seeds_needed",
    "split_variance",
    "splits_logarithms",
    "student_interval",
    "uses_log_scale",
    "value_range",
    "welch",
]
