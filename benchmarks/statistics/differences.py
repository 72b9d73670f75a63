"""Tests of the difference between two samples, and the seeds that one would take.

A difference is tested by Welch's t, which lets the spreads differ, or by the paired t where values
come in pairs. On the log scale it is the ratio of geometric means. Many tests at once are held to
one error rate by Holm's correction. Values that are not finite are left out; an estimate that is
impossible (one value on a side, or values that do not vary at all) is NaN.

The formulas take means and variances, of one pair of samples or of arrays of them: `scipy.stats`
takes one pair a call in 15 times as long, and finds p-values for differences that are rounding.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy.special import nctdtr, ndtri, stdtr, stdtrit

from benchmarks.statistics.intervals import LEVEL

ALPHA = 1 - LEVEL
"""The rate of false findings, over all pairs of one score together."""
POWER = 0.8
FEWEST_SEEDS = 2
"""Seeds per side below which no difference can be significant: one has no spread."""
MOST_SEEDS = 10_000
ROUNDING = 1e-12
"""Share of the values below which differences and spreads are rounding errors."""

Numbers = Any
"""A float, or an array of them."""


class DifferenceTest(NamedTuple):
    """A difference a - b, or a ratio a / b: 95 % interval, two-sided p, degrees of freedom."""

    estimate: Numbers
    low: Numbers
    high: Numbers
    p: Numbers
    df: Numbers


class Sample(NamedTuple):
    """The size, the mean and the variance of a sample, or arrays of them."""

    n: Numbers
    mean: Numbers
    variance: Numbers

    @classmethod
    def of(cls, values: np.ndarray) -> "Sample":
        """Summarize finite values; NaN where there are too few."""
        n = len(values)
        with np.errstate(over="ignore", invalid="ignore"):
            mean = values.mean() if n else np.float64(math.nan)
            return cls(n, mean, values.var(ddof=1) if n > 1 else np.float64(math.nan))


def welch(a: Sequence[float], b: Sequence[float], *, log: bool = False) -> DifferenceTest:
    """Test whether two independent samples differ in their mean (Welch 1947).

    Finite values count, and at least two a side are needed for more than the estimate. With `log`
    geometric means are compared, estimate and interval are ratios, and a value that is not positive
    raises ValueError.
    """
    arrays = (np.asarray(values, dtype=float) for values in (a, b))
    first, second = (Sample.of(_on_scale(x[np.isfinite(x)], log)) for x in arrays)
    return _as_floats(compare_samples(first, second), log)


def paired(a: Sequence[float], b: Sequence[float], *, log: bool = False) -> DifferenceTest:
    """Test whether the differences a[i] - b[i] average 0, of the pairs in which both are finite.

    Raises ValueError where the samples differ in length; `log` as in `welch`.
    """
    pairs = np.array([pair for pair in zip(a, b, strict=True) if all(map(math.isfinite, pair))])
    pairs = _on_scale(pairs.reshape(-1, 2), log)
    n, mean, variance = Sample.of(pairs[:, 0] - pairs[:, 1])
    size = np.abs(pairs).max(initial=0)
    return _as_floats(_student(mean, np.sqrt(variance / max(n, 1)), max(n - 1, 0), size), log)


def holm(p: Sequence[float]) -> list[float]:
    """Adjust p-values to hold the rate of any false finding among them (Holm 1979).

    The smallest is multiplied by their number, the next by one less, and so on; none comes out
    below a smaller one. NaN stays NaN and does not count.
    """
    values = np.asarray(p, dtype=float)
    order = np.argsort(values)[: np.isfinite(values).sum()]  # NaN is sorted last
    factors = len(order) - np.arange(len(order))
    adjusted = np.full(values.shape, math.nan)
    adjusted[order] = np.minimum(np.maximum.accumulate(values[order] * factors), 1)
    return adjusted.tolist()


def wilson(share: Numbers, n: Numbers) -> tuple[Numbers, Numbers]:
    """Compute the 95 % interval of P(X > Y) that is estimated by the share of pairs (Wilson 1927).

    Whatever the distributions, the variance of that share is at most θ(1 - θ) / min(n, m) (van
    Dantzig 1951), which is that of min(n, m) draws of a coin: so `n` is the smaller sample's size.
    Complete separation excludes 1/2 from four values a side on, as a permutation test does. Of
    normal samples of 3 to 10 values it covers 97 % in the mean of simulations: at least 93 % where
    their spreads are equal, 90 % where one's is three times and 86 % where it is ten times the
    other's. NaN below two values.
    """
    z2 = ndtri((1 + LEVEL) / 2) ** 2
    n = np.where(np.asarray(n) >= FEWEST_SEEDS, n, math.nan)
    centre = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = np.sqrt(z2 / n * (share * (1 - share) + z2 / (4 * n))) / (1 + z2 / n)
    return np.clip(centre - half, 0, share), np.clip(centre + half, share, 1)


def seeds_for(effect: float, comparisons: int = 1, power: float = POWER) -> int | None:
    """Return the seeds per side that find a difference of `effect` times the spread over seeds.

    None where `MOST_SEEDS` would not do.
    """
    unit = Sample(FEWEST_SEEDS, np.float64(0), np.float64(1))
    other = unit._replace(mean=np.float64(effect))
    n = float(plan_seeds(unit, other, np.float64(comparisons), power))
    return int(n) if math.isfinite(n) else None


def compare_samples(a: Sample, b: Sample) -> DifferenceTest:
    """Compute Welch's test of samples, or of arrays of them."""
    with np.errstate(all="ignore"):
        first, second = a.variance / a.n, b.variance / b.n
        df = _freedom(first, second, a.n, b.n)
        size = np.maximum(np.abs(a.mean), np.abs(b.mean))
        return _student(a.mean - b.mean, np.sqrt(first + second), df, size)


def plan_seeds(a: Sample, b: Sample, comparisons: Numbers, power: float = POWER) -> Numbers:
    """Find the seeds per side at which differences of this size and spread would likely be found.

    By the noncentral t with Welch's degrees of freedom, bisected from the normal approximation,
    which needs fewer. The observed difference and spreads are taken for the true ones, so that
    from few seeds it is a rough guide. NaN without a spread or a difference, or where `MOST_SEEDS`
    would not do.

    Args:
        a: one sample, or arrays of them.
        b: likewise.
        comparisons: number of tests that share the level of 5 %.
        power: probability of finding the difference.
    """
    with np.errstate(all="ignore"):
        difference, spread = np.abs(a.mean - b.mean), np.sqrt(a.variance + b.variance)
        effect = difference / spread
        level = ALPHA / (2 * comparisons)  # of the side on which the difference lies
        fewest = np.ceil(((ndtri(1 - level) + ndtri(power)) / effect) ** 2)
        rounding = ROUNDING * np.maximum(np.abs(a.mean), np.abs(b.mean))
        visible = (spread > rounding) & (difference > rounding)
        known = visible & (fewest <= MOST_SEEDS) & (np.minimum(a.n, b.n) >= FEWEST_SEEDS)
        arrays = np.broadcast_arrays(effect, level, a.variance, b.variance, fewest)
        needed = np.full(known.shape, math.nan)
        needed[known] = _bisect(power, *(array[known] for array in arrays))
        return np.where(needed <= MOST_SEEDS, needed, math.nan)


def _bisect(power: float, *arrays: np.ndarray) -> np.ndarray:
    """Find the seeds per side at which the noncentral t reaches the power, at least `fewest`."""
    effect, level, first, second, fewest = arrays
    low = np.maximum(fewest, FEWEST_SEEDS) - 1
    high = low + np.ceil(-8 * np.log10(level))  # four times the gap, by trial
    while (high - low > 1).any():
        n = np.ceil((low + high) / 2)
        df = _freedom(first, second, n, n)
        missed = nctdtr(df, effect * np.sqrt(n), stdtrit(df, 1 - level))
        found = ~(missed > 1 - power)  # it is NaN at times where it is below 1e-200
        low, high = np.where(found, low, n), np.where(found, n, high)
    return high


def pair_samples(a: np.ndarray, b: np.ndarray) -> tuple[Sample, Sample]:
    """Summarize values that come in pairs so that `compare_samples` tests by the paired t.

    One side has the variance of the differences and the other has none, which leaves Welch's
    formulas with n - 1 degrees of freedom; `plan_seeds` then plans as many pairs.
    """
    first, second = Sample.of(a), Sample.of(b)
    return first._replace(variance=Sample.of(a - b).variance), second._replace(variance=0.0)


def _freedom(first: Numbers, second: Numbers, n: Numbers, m: Numbers) -> Numbers:
    """Compute Welch and Satterthwaite's degrees of freedom from the variances of the two means."""
    share = first / (first + second)
    return 1 / (share**2 / (n - 1) + (1 - share) ** 2 / (m - 1))


def _student(estimate: Numbers, error: Numbers, df: Numbers, size: Numbers) -> DifferenceTest:
    """Compute Student's t test of an estimate with its standard error; `size` is the values'."""
    with np.errstate(all="ignore"):
        varied = np.where(error > ROUNDING * size, error, math.nan)
        p = 2 * stdtr(df, -np.abs(estimate) / varied)
        same = (error <= ROUNDING * size) & (np.abs(estimate) <= ROUNDING * size)
        half = stdtrit(df, (1 + LEVEL) / 2) * varied
        p = np.where(same, 1.0, p)
        return DifferenceTest(estimate, estimate - half, estimate + half, p, df)


def _as_floats(test: DifferenceTest, log: bool) -> DifferenceTest:
    estimate, low, high, p, df = map(float, test)
    if log:
        with np.errstate(over="ignore"):
            estimate, low, high = (float(np.exp(end)) for end in (estimate, low, high))
    return DifferenceTest(estimate, low, high, p, df)


def _on_scale(values: np.ndarray, log: bool) -> np.ndarray:
    if not log:
        return values
    if (values <= 0).any():
        raise ValueError("only positive values have logarithms: compare these with log=False")
    return np.log(values)
