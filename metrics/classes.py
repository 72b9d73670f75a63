"""Which classes generated images reach, and how often: mode coverage as a classifier sees it."""

import math
from typing import NamedTuple

import torch
from scipy.special import ndtri
from torch import Tensor

from metrics.registry import interval, metric
from metrics.uncertainty import LEVEL, Interval

TENTH = 0.1
"""A class is reached by this part of its share among real images, or more."""

Z = float(ndtri((1 + LEVEL) / 2))


class ClassCoverage(NamedTuple):
    """The share of the real images' classes that are reached, and a divergence in nats."""

    classes_reached: float
    class_kl: float


@metric(
    name="classes_reached",
    symbol="Classes",
    direction="higher",
    low=0.0,
    high=1.0,
    inputs="both_logits",
    source="share of the real images' classes with a tenth of their share or more among the fakes",
    summary="share of the real images' classes that generated images reach",
    sees=("classes",),
    ignores=("variety",),
)
@metric(
    name="class_kl",
    symbol="Class KL",
    direction="lower",
    low=0.0,
    high=None,
    inputs="both_logits",
    source="KL(fake || real) of class histograms; Srivastava et al. 2017, section 4.2",
    summary="KL divergence of generated images' class histogram from the real one, in nats",
    sees=("classes",),
    ignores=("variety",),
)
def class_coverage(real: Tensor, fake: Tensor) -> ClassCoverage:
    """Compare how often each class is the likeliest among real and generated images.

    A class is reached where its share among the generated images is at least a tenth of its share
    among the real ones (and at least one image has it), so that a stray misclassified image in a
    thousand doesn't count as a class; a class that no real image has doesn't count either.

    The divergence Σ f log(f / r) is infinite where a generated image has a class that no real one
    has: it then says so, and smoothing would set its value. Of equal distributions it is not 0 but
    (K - 1)/2 · (1/N + 1/M) on average, over the K classes that occur.

    Args:
        real: logits of the reference images [N, K], N >= 1.
        fake: logits of the generated images [M, K], M >= 1.

    Raises:
        ValueError: where they are no matrices of one width, are empty or have NaN.
    """
    counts, share = _count(real, fake)
    found = counts.double() / counts.sum()
    reached = (found >= TENTH * share) & (counts > 0) & (share > 0)
    return ClassCoverage(reached.sum().item() / (share > 0).sum().item(), divergence(counts, share))


@interval("classes_reached", words="95 %, Wilson's for each class, over generated samples")
@interval("class_kl", words="95 %, delta method over generated samples")
def class_intervals(real: Tensor, fake: Tensor) -> dict[str, Interval]:
    """Return both scores with intervals over the generated images, the reference fixed.

    The ends of the share of classes count those whose own Wilson interval lies on the right side of
    its threshold, and those for which it doesn't lie on the wrong one.
    """
    counts, share = _count(real, fake)
    value = class_coverage(real, fake).classes_reached
    total = int(counts.sum())
    ends = [wilson_interval(int(count), total) for count in counts]
    needed = [TENTH * one for one in share.tolist()]
    classes = sum(one > 0 for one in needed)
    low = sum(end.low >= one > 0 for end, one in zip(ends, needed, strict=True)) / classes
    high = sum(end.high >= one > 0 for end, one in zip(ends, needed, strict=True)) / classes
    reached = Interval(value, min(low, value), max(high, value), (high - low) / (2 * Z))
    return {"classes_reached": reached, "class_kl": divergence_interval(counts, share)}


def _count(real: Tensor, fake: Tensor) -> tuple[Tensor, Tensor]:
    """Return the classes' counts among the fakes, int64 [K], and shares among the real, float64."""
    if real.ndim != 2 or fake.ndim != 2 or real.shape[1] != fake.shape[1]:
        raise ValueError(
            "class coverage needs logits [N, K] and [M, K], not "
            f"{list(real.shape)} and {list(fake.shape)}"
        )
    if not len(real) or not len(fake):
        raise ValueError(
            f"class coverage needs an image of each kind, not {len(real)} and {len(fake)}"
        )
    if real.isnan().any() or fake.isnan().any():
        raise ValueError("class coverage needs logits without NaN")
    counts, reference = (
        logits.argmax(dim=1).bincount(minlength=logits.shape[1]) for logits in (fake, real)
    )
    return counts, (reference.double() / len(real)).to(counts.device)


def divergence(counts: Tensor, share: Tensor) -> float:
    """Return KL(f || r) in nats of the histogram f of `counts` [K] from shares r [K].

    0 log 0 is 0; a count where r is 0 makes it infinite.
    """
    f = counts.double() / counts.sum()
    value = (torch.special.xlogy(f, f) - torch.special.xlogy(f, share)).sum().item()
    return max(value, 0.0)


def divergence_interval(counts: Tensor, share: Tensor) -> Interval:
    """Return `divergence` with its 95 % interval over the draws that were counted.

    The standard error is that of the delta method, √(Var(log(f/r)) / M). The ends are taken on the
    scale of the square root, which is near normal from the null, where 2M times the value is a χ²,
    to clear differences; then the bias of (k - 1)/2M (Miller 1955) is taken off, k being the
    classes that occur, and they are moved to hold the value where that brings them past it. An
    infinite divergence has no interval: its ends are NaN.
    """
    value = divergence(counts, share)
    if not math.isfinite(value):
        return Interval(value, math.nan, math.nan, math.nan)
    total, classes = counts.sum().item(), (counts > 0).sum().item()
    f, r = counts[counts > 0].double() / total, share[counts > 0]
    spread = (f * (f / r).log().square()).sum().item() - value**2
    error = math.sqrt(max(spread, 0.0) / total)
    bias = (classes - 1) / (2 * total)
    root = math.sqrt(value)
    reach = Z * error / (2 * root) if value else 0.0
    low, high = max(root - reach, 0.0) ** 2 - bias, (root + reach) ** 2 - bias
    return Interval(value, min(max(low, 0.0), value), max(high, value), error)


def wilson_interval(successes: float, count: float) -> Interval:
    """Return a share with its 95 % score interval (Wilson 1927), which holds near 0 and 1 too."""
    share = successes / count
    centre = (share + Z**2 / (2 * count)) / (1 + Z**2 / count)
    error = math.sqrt(share * (1 - share) / count + Z**2 / (4 * count**2)) / (1 + Z**2 / count)
    low, high = max(centre - Z * error, 0.0), min(centre + Z * error, 1.0)
    return Interval(share, min(low, share), max(high, share), error)
