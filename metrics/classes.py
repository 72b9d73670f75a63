"""Which classes generated images reach, and how often: mode coverage as a classifier sees it."""

from typing import NamedTuple

import torch
from torch import Tensor

from metrics.registry import metric

TENTH = 0.1
"""A class is reached by this part of its share among real images, or more."""


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

    Raises:
        ValueError: where the logits are no [N, K] and [M, K], are empty or have NaN.
    """
    counts, share = count_classes(real, fake)
    found = counts.double() / counts.sum()
    reached = (found >= TENTH * share) & (counts > 0) & (share > 0)
    part = reached.sum().item() / (share > 0).sum().item()
    return ClassCoverage(part, divergence_from(counts, share))


def count_classes(real: Tensor, fake: Tensor) -> tuple[Tensor, Tensor]:
    """Return the classes' counts among the fakes, int64 [K], and shares among the real, float64."""
    if real.ndim != 2 or fake.ndim != 2 or real.shape[1] != fake.shape[1]:
        found = f"{list(real.shape)} and {list(fake.shape)}"
        raise ValueError(f"class coverage needs logits [N, K] and [M, K], not {found}")
    if not len(real) or not len(fake):
        found = f"{len(real)} and {len(fake)}"
        raise ValueError(f"class coverage needs an image of each kind, not {found}")
    if real.isnan().any() or fake.isnan().any():
        raise ValueError("class coverage needs logits without NaN")
    counts, reference = (
        logits.argmax(dim=1).bincount(minlength=logits.shape[1]) for logits in (fake, real)
    )
    return counts, (reference.double() / len(real)).to(counts.device)


def divergence_from(counts: Tensor, share: Tensor) -> float:
    """Return KL(f || r) in nats of the histogram f of `counts` [K] from shares r [K].

    0 log 0 is 0; a count where r is 0 makes it infinite.
    """
    f = counts.double() / counts.sum()
    value = (torch.special.xlogy(f, f) - torch.special.xlogy(f, share)).sum().item()
    return max(value, 0.0)
