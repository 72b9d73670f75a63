"""The intervals of the shares of classes and modes, and of divergences from them."""

import math

from torch import Tensor

from metrics.classes import TENTH, class_coverage, count_classes, divergence_from
from metrics.intervals.base import NORMAL, Interval, wilson_interval
from metrics.modes import count_modes, equal_shares, mode_coverage
from metrics.registry import interval


@interval("classes_reached", words="95 %, Wilson's for each class, over generated samples")
@interval("class_kl", words="95 %, delta method over generated samples")
def class_intervals(real: Tensor, fake: Tensor) -> dict[str, Interval]:
    """Return both scores with intervals over the generated images, the reference fixed.

    The ends of the share of classes count those whose own Wilson interval lies on the right side of
    its threshold, and those for which it doesn't lie on the wrong one.
    """
    counts, share = count_classes(real, fake)
    value = class_coverage(real, fake).classes_reached
    total = int(counts.sum())
    ends = [wilson_interval(int(count), total) for count in counts]
    needed = [TENTH * one for one in share.tolist()]
    classes = sum(one > 0 for one in needed)
    low = sum(end.low >= one > 0 for end, one in zip(ends, needed, strict=True)) / classes
    high = sum(end.high >= one > 0 for end, one in zip(ends, needed, strict=True)) / classes
    reached = Interval(value, min(low, value), max(high, value), (high - low) / (2 * NORMAL))
    return {"classes_reached": reached, "class_kl": divergence_interval(counts, share)}


@interval("modes", words="95 %, normal, jackknife over points")
@interval("high_quality", words="95 %, Wilson's over points")
@interval("reverse_kl", words="95 %, delta method over high-quality points")
def mode_intervals(points: Tensor, centres: Tensor, deviation: float) -> dict[str, Interval]:
    """Return the three scores with intervals over the generated points.

    That of the number of modes is about what as many points of the same generator recover on
    average. Its standard error is √s, s being the modes with a single high-quality point: the
    delete-one jackknife in closed form, too wide rather than too narrow (Efron & Stein 1981). A
    divergence without any high-quality point has no interval; its ends are NaN.
    """
    counts = count_modes(points, centres, deviation)
    modes, _, even = mode_coverage(points, centres, deviation)
    error = math.sqrt(int((counts == 1).sum()))
    low, high = max(modes - NORMAL * error, 0.0), min(modes + NORMAL * error, float(len(centres)))
    reverse = Interval(even, math.nan, math.nan, math.nan)
    if counts.any():
        reverse = divergence_interval(counts, equal_shares(counts))
    return {
        "modes": Interval(modes, low, high, error),
        "high_quality": wilson_interval(int(counts.sum()), len(points)),
        "reverse_kl": reverse,
    }


def divergence_interval(counts: Tensor, share: Tensor) -> Interval:
    """Return `divergence_from` with its 95 % interval over the draws that were counted.

    The standard error is that of the delta method, √(Var(log(f/r)) / M). The ends are taken on the
    scale of the square root, which is near normal from the null, where 2M times the value is a χ²,
    to clear differences; then the bias of (k - 1)/2M (Miller 1955) is taken off, k being the
    classes that occur, and they are moved to hold the value where that brings them past it. An
    infinite divergence has no interval: its ends are NaN.
    """
    value = divergence_from(counts, share)
    if not math.isfinite(value):
        return Interval(value, math.nan, math.nan, math.nan)
    total, classes = counts.sum().item(), (counts > 0).sum().item()
    f, r = counts[counts > 0].double() / total, share[counts > 0]
    spread = (f * (f / r).log().square()).sum().item() - value**2
    error = math.sqrt(max(spread, 0.0) / total)
    bias = (classes - 1) / (2 * total)
    root = math.sqrt(value)
    reach = NORMAL * error / (2 * root) if value else 0.0
    low, high = max(root - reach, 0.0) ** 2 - bias, (root + reach) ** 2 - bias
    return Interval(value, min(max(low, 0.0), value), max(high, value), error)
