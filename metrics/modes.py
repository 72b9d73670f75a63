"""Mode coverage on mixtures of Gaussians whose components are known."""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from metrics.classes import divergence_from
from metrics.registry import metric

REACH = 3.0
"""Deviations from its nearest centre within which a point is of high quality."""


class ModeCoverage(NamedTuple):
    """The number of modes recovered, the share of high-quality points, a divergence in nats."""

    modes: float
    high_quality: float
    reverse_kl: float


@metric(
    name="modes",
    symbol="Modes",
    direction="higher",
    low=0.0,
    inputs="modes",
    source="Srivastava et al. 2017, section 4.1; Lin et al. 2018, section 4.1",
    summary="modes of the mixture that are nearest to at least one high-quality point",
    sees=("classes",),
    ignores=("fidelity", "variety"),
)
@metric(
    name="high_quality",
    symbol="High quality",
    direction="higher",
    low=0.0,
    high=1.0,
    inputs="modes",
    source="Srivastava et al. 2017, section 4.1; Lin et al. 2018, section 4.1",
    summary="share of points within three standard deviations of their nearest mode",
    sees=("fidelity",),
    ignores=("classes", "variety"),
)
@metric(
    name="reverse_kl",
    symbol="Reverse KL",
    direction="lower",
    low=0.0,
    inputs="modes",
    source="Lin et al. 2018, section 4.1",
    summary="KL divergence of the high-quality points' modes from equal shares, in nats",
    sees=("classes",),
    ignores=("fidelity", "variety"),
)
def mode_coverage(points: Tensor, centres: Tensor, deviation: float) -> ModeCoverage:
    """Count the modes that points reach, and how evenly, as PacGAN's Table 1 does.

    A point belongs to its nearest centre and is of high quality where it lies within three
    deviations of it, as 98.9 % of the mixture's own points do. The divergence Σ f log(f K), in
    [0, log K], is that of the modes' shares f among the high-quality points alone, as the authors'
    program counts them; some later papers count every point. Without any point of high quality it
    is given its largest value, log K.

    Of points [N, 2], N >= 1, and the means [K, 2] of equally likely components, which have one
    standard deviation along each axis, in the same units.

    Raises:
        ValueError: where shapes differ from these, points are not finite or `deviation` not
            positive.
    """
    counts = count_modes(points, centres, deviation)
    good = int(counts.sum())
    even = divergence_from(counts, equal_shares(counts)) if good else math.log(len(centres))
    return ModeCoverage(float((counts > 0).sum()), good / len(points), even)


def count_modes(points: Tensor, centres: Tensor, deviation: float) -> Tensor:
    """Return how many high-quality points each mode has, int64 [K]."""
    matching = points.ndim == centres.ndim == 2 and points.shape[1] == centres.shape[1]
    if not (matching and deviation > 0):
        raise ValueError(
            "mode coverage needs points [N, 2], centres [K, 2] and a positive deviation, not "
            f"{list(points.shape)}, {list(centres.shape)} and {deviation}"
        )
    if not len(points) or not len(centres) or not points.isfinite().all():
        raise ValueError("mode coverage needs one finite point and one centre at least")
    centres = centres.to(points.device, torch.float64)
    # Differences rather than a matrix product, which loses the digits that small deviations need.
    distances, nearest = torch.cdist(
        points.double(), centres, compute_mode="donot_use_mm_for_euclid_dist"
    ).min(dim=1)
    return nearest[distances <= REACH * deviation].bincount(minlength=len(centres))


def equal_shares(counts: Tensor) -> Tensor:
    """Return 1/K for each of K modes, float64 [K]."""
    return torch.full_like(counts, 1 / len(counts), dtype=torch.float64)
