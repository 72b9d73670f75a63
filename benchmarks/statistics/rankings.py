"""Comparisons of contenders over seeds, or over data sets.

Over the seeds of one data set all pairs of contenders are tested by Welch's t, or by the paired t
where both are rows of one training, with Holm's correction, which holds however tests depend on
each other; the ranks that those tests leave open are each contender's rank interval. Over data
sets, at least five, ranks are compared by Friedman's test and Nemenyi's critical difference.
"""

import math
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy.special import fdtrc

from benchmarks.config.registry import list_metrics
from benchmarks.config.spec import CALIBRATION
from benchmarks.statistics.differences import (
    ALPHA,
    Sample,
    compare_samples,
    holm,
    pair_samples,
    plan_seeds,
    wilson,
)
from benchmarks.statistics.intervals import LEVEL, LOG_SCALE, SAME_RANGE

PAIR_COLUMNS = (
    *("first", "second", "estimate", "low", "high", "p", "p_holm"),
    *("probability", "probability_low", "probability_high"),
    *("seeds_first", "seeds_second", "seeds_needed", "paired"),
)
RANK_COLUMNS = ("contender", "value", "seeds", "rank", "rank_low", "rank_high")
FEWEST_DATA_SETS = 5


@dataclass(frozen=True)
class Scored:
    """The contenders that have a score, the best by its mean first.

    Attributes:
        scores: their finite scores by seed, on the scale on which they are compared.
        trainings: the contenders whose trainings their runs come from.
        log: whether that is the log scale.
        lower: whether lower is better.
    """

    names: list[str]
    scores: list["pd.Series[float]"]
    trainings: list[str]
    log: bool
    lower: bool

    @property
    def samples(self) -> Sample:
        """Sizes, means and variances of the scores."""
        described = [Sample.of(values.to_numpy()) for values in self.scores]
        return Sample(*np.array(described, dtype=float).reshape(-1, 3).T)


def compare_contenders(runs: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Compare all pairs of contenders by a metric: Welch's t, corrected by Holm over all pairs.

    Contenders that are rows of one training, by several samplers, are dependent: they are compared
    by the paired t over the seeds in which both have a score. Holm's correction and the rank
    intervals hold whatever depends on what.

    With as many seeds each, down to two, simulations of equal contenders find any difference in
    at most 5 %, however their spreads differ. Where seeds have failed, so that one contender has
    two or three runs left and the others more, that is up to 9 % if those few vary most.

    `runs` are `frames.Frames.runs`, of which calibration runs are left out; those of equal
    `training` and seed come from one training. The metric is one of its columns; `fid@NAME` is FID
    by the extractor NAME.

    Returns:
        One row per pair, the best contenders' first. `first` is better than `second` by the mean;
        `estimate` with its interval is first / second where `uses_log_scale`, else first - second;
        `p_holm` decides on significance. `probability` is that of `first` being better in one run
        each, `seeds_needed` the seeds per side that would find this difference; they share the
        level with all pairs that are not significant, as Holm's correction will have it by then.
        For `paired` rows everything is over shared seeds, and `probability` is that of one seed.
    """
    scored = _collect(runs, metric)
    samples = scored.samples
    first, second = np.triu_indices(len(scored.names), k=1)
    a, b = (Sample(*(part[side] for part in samples)) for side in (first, second))
    share = _shares(scored)[first, second]
    trainings = np.array(scored.trainings, dtype=object)
    paired = trainings[first] == trainings[second]
    for place in np.flatnonzero(paired):
        share[place] = _summarize_pair(scored, (first[place], second[place]), (a, b), int(place))
    test = compare_samples(a, b)
    # Shared seeds that have the other order than all seeds do not count as a difference.
    otherwise = (test.estimate > 0) if scored.lower else (test.estimate < 0)
    p = np.where(paired & otherwise & np.isfinite(test.p), 1.0, test.p)
    adjusted = np.array(holm(p.tolist()), dtype=float)
    low, high = wilson(share, np.minimum(a.n, b.n))
    names = np.array(scored.names, dtype=object)
    ends = [np.exp(end) if scored.log else end for end in test[:3]]
    cells = (names[first], names[second], *ends, p, adjusted, share, low, high, a.n, b.n)
    needed = plan_seeds(a, b, _divisors(p, adjusted))
    frame = pd.DataFrame(dict(zip(PAIR_COLUMNS, (*cells, needed, paired), strict=True)))
    return frame.astype(dict.fromkeys(("seeds_first", "seeds_second", "seeds_needed"), "Int64"))


def rank_intervals(
    runs: pd.DataFrame, metric: str, pairs: pd.DataFrame | None = None
) -> pd.DataFrame:
    """Rank the contenders by their means, with intervals that hold for all of them together.

    A contender's rank lies between one more than the number of those that are significantly better
    and the number of those that are not significantly worse, so that with 95 % confidence all
    intervals contain the true ranks (cf. Mogstad, Romano, Shaikh and Wilhelm 2024).

    Arguments as in `compare_contenders`; `pairs` is its result, if that is known already.

    Returns:
        One row per contender that has a score, the best first: `value` is its mean over `seeds`
        runs, geometric on the log scale.
    """
    scored = _collect(runs, metric)
    pairs = compare_contenders(runs, metric) if pairs is None else pairs
    found = pairs[pairs["p_holm"] <= ALPHA]
    worse, better = (found[side].value_counts() for side in ("first", "second"))
    samples, k = scored.samples, len(scored.names)
    names = pd.Index(scored.names, dtype=object)
    means = np.exp(samples.mean) if scored.log else samples.mean
    signed = pd.Series(means if scored.lower else -means)
    low = 1 + better.reindex(names, fill_value=0).to_numpy()
    high = k - worse.reindex(names, fill_value=0).to_numpy()
    cells = (names, means, samples.n, signed.rank(method="min"), low, high)
    frame = pd.DataFrame(dict(zip(RANK_COLUMNS, cells, strict=True)))
    return frame.astype(dict.fromkeys(("seeds", "rank", "rank_low", "rank_high"), "Int64"))


def uses_log_scale(runs: pd.DataFrame, metric: str) -> bool:
    """Return whether contenders are compared by ratios: a metric of `LOG_SCALE`, all positive.

    One scale for all pairs, so that their estimates can be read together.
    """
    return _collect(runs, metric).log


def is_lower_better(metric: str) -> bool:
    """Return the direction of a metric, or of a column that is named after one."""
    name = _base(metric)
    entry = list_metrics().get(SAME_RANGE.get(name, name))
    return entry is None or entry.about["direction"] == "lower"


class Friedman(NamedTuple):
    """Friedman's test over the data sets in which all contenders have a value.

    Attributes:
        ranks: one row per contender, best first: contender, rank (its average, 1 is the best).
        chi2: Friedman's statistic, corrected for ties.
        f: Iman and Davenport's statistic, and `p` its p-value.
        cd: Nemenyi's critical difference of average ranks.
    """

    ranks: pd.DataFrame
    data_sets: int
    chi2: float
    f: float
    p: float
    cd: float


def friedman(scores: pd.DataFrame, *, lower_is_better: bool = True) -> Friedman:
    """Test whether contenders rank alike over data sets (Friedman; Iman & Davenport 1980).

    As Demšar (2006, section 3.2.2) recommends, from one row per data set and one column per
    contender. Data sets in which a contender has no finite value are left out. Below
    `FEWEST_DATA_SETS` all but the average ranks is NaN. No p is smaller than the probability that
    all data sets agree by chance, 1 / k!^(N-1).
    """
    numbers = scores.astype(float)
    complete = numbers[np.isfinite(numbers.to_numpy()).all(axis=1)]
    ranks = (complete if lower_is_better else -complete).rank(axis="columns")
    n, k = ranks.shape
    average = ranks.mean().sort_values(kind="stable")
    table = pd.DataFrame({"contender": average.index, "rank": average.to_numpy()})
    if n < FEWEST_DATA_SETS or k < 2:
        return Friedman(table, n, *[math.nan] * 4)
    between = n * ((ranks.mean() - (k + 1) / 2) ** 2).sum()
    within = ((ranks - (k + 1) / 2) ** 2).to_numpy().sum() / (n * (k - 1))
    chi2 = float(between / within) if within else 0.0
    f = (n - 1) * chi2 / (n * (k - 1) - chi2) if chi2 < n * (k - 1) else math.inf
    p = max(float(fdtrc(k - 1, (k - 1) * (n - 1), f)), math.factorial(k) ** (1.0 - n))
    return Friedman(table, n, chi2, f, p, nemenyi(k, n))


@cache
def nemenyi(k: int, n: int) -> float:
    """Return the difference of k average ranks over n data sets that is significant at 5 %.

    Demšar (2006, section 3.2.2).
    """
    from scipy.stats import studentized_range  # takes long to import

    if k < 2 or n < FEWEST_DATA_SETS:
        return math.nan
    q = float(studentized_range.ppf(LEVEL, k, math.inf)) / math.sqrt(2)
    return q * math.sqrt(k * (k + 1) / (6 * n))


def _collect(runs: pd.DataFrame, metric: str) -> Scored:
    lower = is_lower_better(metric)
    rows = runs[runs["family"] != CALIBRATION]
    scores = rows.get(metric, pd.Series(dtype=float, index=rows.index)).astype(float)
    scores = scores[np.isfinite(scores.to_numpy())]
    log = _base(metric) in LOG_SCALE and bool((scores > 0).all())
    rows = rows.loc[scores.index]
    names = rows["contender"].astype(object)
    trainings = dict(zip(names, rows.get("training", names), strict=True))
    values = np.log(scores.to_numpy()) if log else scores.to_numpy()
    groups = pd.Series(values, index=rows["seed"]).groupby(names.to_numpy(), sort=False)
    parts = {str(name): part for name, part in groups}
    order = sorted(parts, key=lambda name: parts[name].mean() * (1 if lower else -1))
    return Scored(
        order, [parts[name] for name in order], [trainings[name] for name in order], log, lower
    )


def _summarize_pair(
    scored: Scored, rows: tuple[int, int], samples: tuple[Sample, Sample], place: int
) -> float:
    """Summarize two rows of one training over shared seeds, at their place in `samples`.

    Returns the share of those seeds in which the first is better, ties counted half.
    """
    values = (scored.scores[row] for row in rows)
    unique = [part[~part.index.duplicated()] for part in values]
    x, y = pd.concat(unique, axis=1, join="inner").to_numpy(dtype=float).T
    for sample, described in zip(samples, pair_samples(x, y), strict=True):
        for column, value in zip(sample, described, strict=True):
            column[place] = value
    wins = float(np.mean((x < y) + (x == y) / 2)) if len(x) else math.nan
    return wins if scored.lower else 1 - wins


def _base(metric: str) -> str:
    return metric.split("@", 1)[0]


def _shares(scored: Scored) -> np.ndarray:
    """Compute the share of pairs of runs in which one contender is better than another: [k, k].

    By ranks among all values, so that k contenders with n seeds take k² n log n steps.
    """
    sizes = np.array([len(values) for values in scored.scores], dtype=int)
    if not len(sizes):
        return np.zeros((0, 0))
    pooled = np.concatenate([values.to_numpy() for values in scored.scores])
    starts = np.cumsum(sizes) - sizes
    below = np.empty((len(sizes), len(sizes)))
    for place, values in enumerate(scored.scores):
        ordered = np.sort(values.to_numpy())
        counts = sum(np.searchsorted(ordered, pooled, side) for side in ("left", "right"))
        below[place] = np.add.reduceat(counts / 2, starts) / (sizes * sizes[place])
    return below if scored.lower else 1 - below


def _divisors(p: np.ndarray, adjusted: np.ndarray) -> np.ndarray:
    """Return the divisors of the level by Holm's correction, pairs found already left out."""
    tested = int(np.isfinite(p).sum())
    place = np.argsort(np.argsort(p))  # NaN is sorted last
    found = int((adjusted <= ALPHA).sum())
    return np.maximum(tested - np.minimum(place, found), 1).astype(float)
