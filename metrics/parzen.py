"""The Parzen window, a kernel density that is no likelihood of a generative model.

Breuleux et al. (2011) put a Gaussian on each of some generated images and take the mixture for the
model's density. In as many dimensions as images have, no number of samples that one can draw comes
near it: it ranks models otherwise than their likelihood does (Theis et al. 2016, section 3.3; Wu et
al. 2017, section 5.3). So it is no entry of `METRICS`; the audit shows the reversal.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

IMAGES, SAMPLES = 256, 1024
"""Images and samples compared at a time, which bounds memory."""

BANDWIDTHS = tuple(0.03 * 32 ** (place / 19) for place in range(20))
"""Deviations from 0.03 to about 1 in equal ratios, in the units of images in [0, 1]."""


def parzen_log_likelihood(samples: Tensor, images: Tensor, deviation: float) -> Tensor:
    """Return each image's log density in nats, float64 [N], under Gaussians about the samples.

    log 1/M Σ N(x; y, deviation² I) over samples y (Breuleux et al. 2011). Where these are mean
    images decoded from a prior, it is the plain Monte Carlo estimate of the likelihood that
    `annealed_importance_sampling` finds at the same deviation, and on average below it.

    Of samples [M, ...] and images [N, ...], floats in one unit, which is the deviation's too.
    Raises ValueError where their shapes differ, a set is empty or not finite, or the deviation is
    not positive.
    """
    return _densities(samples, images, [deviation])[0]


def select_bandwidth(
    samples: Tensor, images: Tensor, deviations: Sequence[float] = BANDWIDTHS
) -> float:
    """Return the deviation under which validation images are most probable on average.

    Arguments and errors as in `parzen_log_likelihood`.
    """
    if not deviations:
        raise ValueError("select_bandwidth needs a deviation or more to choose from, not none")
    means = _densities(samples, images, deviations).mean(dim=1)
    return float(deviations[int(means.argmax())])


def _densities(samples: Tensor, images: Tensor, deviations: Sequence[float]) -> Tensor:
    """Return the log densities of images under each deviation, float64 [B, N]."""
    _check_samples(samples, images, deviations)
    precisions = torch.tensor([1 / h**2 for h in deviations], dtype=torch.float64)
    precisions = precisions.to(images.device)[:, None, None]
    x, y = images.flatten(1), samples.flatten(1)
    sums = torch.cat([_log_sums(part.double(), y, precisions) for part in x.split(IMAGES)], dim=1)
    normaliser = x.shape[1] / 2 * (2 * math.pi / precisions[..., 0]).log()
    return sums - math.log(len(y)) - normaliser


# scikit-learn's KernelDensity is neither as exact nor as fast: with 10,000 samples of 784 numbers,
# its log density by a tree is a quarter off and takes 25 times as long, without one 5 times.
def _log_sums(x: Tensor, samples: Tensor, precisions: Tensor) -> Tensor:
    """Return the logarithms [B, n] of sums of unnormalised Gaussians over the samples."""
    total = x.new_full((len(precisions), len(x)), -math.inf)
    for part in samples.split(SAMPLES):
        squares = torch.cdist(x, part.double()).square()
        total = torch.logaddexp(total, (squares * precisions / -2).logsumexp(dim=2))
    return total


def _check_samples(samples: Tensor, images: Tensor, deviations: Sequence[float]) -> None:
    for tensor in (samples, images):
        if tensor.ndim < 2 or not len(tensor) or not tensor.is_floating_point():
            found = f"{tensor.dtype} {list(tensor.shape)}"
            needed = "float images [N, ...], one or more of each kind"
            raise ValueError(f"a Parzen window needs {needed}, not {found}")
        if not tensor.isfinite().all():
            raise ValueError("a Parzen window needs images without NaN or infinite values")
    shapes = [list(tensor.shape[1:]) for tensor in (samples, images)]
    if shapes[0] != shapes[1]:
        raise ValueError(f"samples and images differ in shape: {shapes[0]} and {shapes[1]}")
    for h in deviations:
        if not 0 < h < math.inf:
            raise ValueError(f"the deviation must be positive and finite, not {h}")
