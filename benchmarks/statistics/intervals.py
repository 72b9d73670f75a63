"""Intervals over seeds: Student's t, on the log scale for positive distances.

The spread of a distance such as FID over seeds is multiplicative and never reaches below zero, so
its logarithms are averaged: the value is the geometric mean and its interval is asymmetric about
it. Student's t rather than the percentile bootstrap, which covers 72 % instead of 95 % at three
seeds. An interval always contains its value.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.special import stdtrit

from benchmarks.config.registry import list_metrics

LEVEL = 0.95
LOG_SCALE = frozenset(
    ("fid", "fid_best", "fid_infinity", "reconstruction_mse", "paired_mse", "mae", "lpips")
)
SAME_RANGE = {"fid_best": "fid", "paired_mse": "reconstruction_mse"}


class SeedInterval(NamedTuple):
    """A value and its 95 % interval; NaN where there is none."""

    value: float
    low: float
    high: float


def student_interval(values: Sequence[float], *, log: bool = False) -> SeedInterval:
    """Compute the mean of at least two independent values with Student's t interval.

    With `log`, of positive values: the geometric mean and the exponential of the interval of
    their logarithms.
    """
    sample = np.log(values) if log else np.asarray(values, dtype=float)
    mean = float(sample.mean())
    error = float(sample.std(ddof=1)) / math.sqrt(len(sample))
    half = float(stdtrit(len(sample) - 1, (1 + LEVEL) / 2)) * error
    interval = SeedInterval(mean, mean - half, mean + half)
    return SeedInterval(*map(exponential, interval)) if log else interval


def interval_over_seeds(metric: str, runs: Sequence[SeedInterval]) -> SeedInterval:
    """Sum up a metric over the seeds' runs, each with its own interval over samples.

    One run keeps its own value and interval, several have Student's t over their values: on the
    log scale for the metrics of `LOG_SCALE`, unless one of them is zero or negative. No interval
    leaves the metric's range. Runs without a value are left out.
    """
    scored = [run for run in runs if math.isfinite(run.value)]
    if not scored:
        return SeedInterval(math.nan, math.nan, math.nan)
    values = [run.value for run in scored]
    log = metric in LOG_SCALE and min(values) > 0
    value, low, high = student_interval(values, log=log) if len(scored) > 1 else scored[0]
    if not math.isfinite(low + high):
        return SeedInterval(value, math.nan, math.nan)
    floor, ceiling = value_range(metric)
    # Of two numbers max and min give the first unless the second is beyond it: NaN stays NaN.
    return SeedInterval(value, max(low, min(floor, value)), min(high, max(ceiling, value)))


def value_range(metric: str) -> tuple[float, float]:
    """Return the bounds of a metric's values, infinite where there are none."""
    entry = list_metrics().get(SAME_RANGE.get(metric, metric))
    low, high = (entry.about.get(end) if entry else None for end in ("low", "high"))
    return -math.inf if low is None else low, math.inf if high is None else high


def last_over_best(last: Sequence[float], best: Sequence[float]) -> float:
    """Compute how many times worse the last checkpoint is than the best by validation.

    The geometric mean over runs of FID(last) / FID(best): 1 where training ends at its best. NaN
    without a run that has both.
    """
    ratios = [a / b for a, b in zip(last, best, strict=True) if a > 0 and b > 0]
    return exponential(float(np.log(ratios).mean())) if ratios else math.nan


def geometric_std(values: Sequence[float]) -> float:
    """Compute the geometric standard deviation: 1.1 where values differ by about 10 %.

    NaN for fewer than two values that are finite and positive.
    """
    logs = np.log([value for value in values if value > 0])
    return exponential(float(logs.std(ddof=1))) if len(logs) > 1 else math.nan


def exponential(x: float) -> float:
    """Return e to the power of x, infinity where that is too large for a float."""
    try:
        return math.exp(x)
    except OverflowError:
        return math.inf
