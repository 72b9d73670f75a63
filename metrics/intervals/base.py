"""Intervals of means, of shares, and by the jackknife."""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from scipy.special import ndtri, stdtrit
from torch import Tensor

LEVEL = 0.95

NORMAL = float(ndtri((1 + LEVEL) / 2))
"""The normal quantile of a two-sided interval."""


class Interval(NamedTuple):
    """A value with its 95 % interval and standard error."""

    value: float
    low: float
    high: float
    standard_error: float


def mean_interval(values: Tensor) -> Interval:
    """Return the mean of independent per-image values with Student's t interval.

    An infinite value (the PSNR of an exact copy) makes the mean infinite, which has no interval:
    its ends and standard error are NaN. Raises ValueError where there are fewer than two values.
    """
    values = values.double().flatten()
    count = len(values)
    if count < 2:
        raise ValueError(f"an interval of a mean needs 2 or more values, not {count}")
    mean = values.mean().item()
    if not math.isfinite(mean):
        return Interval(mean, math.nan, math.nan, math.nan)
    error = values.std().item() / math.sqrt(count)
    reach = student_quantile(count - 1) * error
    return Interval(mean, mean - reach, mean + reach, error)


def jackknife(
    score: Callable[..., float], *samples: Tensor, blocks: int = 20, log: bool = False
) -> Interval:
    """Return the score of a set of images with its interval by the delete-a-block jackknife.

    The images are dealt to blocks at random, the score is taken with each block left out in turn,
    and the spread of these values gives the standard error (Busing, Meijer & van der Leeden 1999;
    Shao & Wu 1989), which Student's t with `blocks` - 1 degrees of freedom turns into an interval.
    Nothing is drawn with replacement: the duplicates of a bootstrap lower the rank and spread of
    a set, and so shift the scores that depend on them, the Fréchet distance above all.

    Args:
        score: a smooth function of the samples.
        samples: tensors with the same number of rows, of which the same rows are left out.
        blocks: the number of near-equal blocks, at least 2, to which a shuffle deals the images.
        log: build the interval on the log scale, as for positive and skewed distances.

    Raises:
        ValueError: where there are fewer than two images a block, or samples differ in length.
    """
    count = len(samples[0])
    if any(len(sample) != count for sample in samples):
        raise ValueError(f"samples differ in length: {', '.join(str(len(s)) for s in samples)}")
    left = []
    for part in _deal_blocks(count, blocks, samples[0].device):
        kept = torch.ones(count, dtype=torch.bool, device=part.device)
        kept[part] = False
        left.append(score(*(sample[kept] for sample in samples)))
    return jackknife_interval(score(*samples), left, log=log)


def _deal_blocks(count: int, blocks: int, device: torch.device) -> Sequence[Tensor]:
    """Deal row indices at random to near-equal blocks, whatever order the rows come in."""
    if blocks < 2 or count < 2 * blocks:
        found = f"{blocks} of {count}"
        raise ValueError(f"a jackknife needs 2 or more blocks of 2 or more images, not {found}")
    order = torch.randperm(count, generator=torch.Generator().manual_seed(0))
    return order.to(device).tensor_split(blocks)


def jackknife_interval(value: float, left: Sequence[float], *, log: bool = False) -> Interval:
    """Turn a score and its values with each block left out into an interval.

    The variance is (g - 1)/g Σ (θᵢ - θ̄)² over g blocks. On the log scale its root is divided by
    the value (the delta method), so the interval is value · exp(±t · error / value); where the
    error exceeds the value the logarithm has no linear part to speak of, and the interval is on
    the plain scale, cut at 0.
    """
    blocks = len(left)
    centre = math.fsum(left) / blocks
    error = math.sqrt((blocks - 1) / blocks * math.fsum((one - centre) ** 2 for one in left))
    reach = student_quantile(blocks - 1) * error
    if not log:
        return Interval(value, value - reach, value + reach, error)
    if error >= value:
        return Interval(value, max(value - reach, 0.0), value + reach, error)
    ratio = math.exp(reach / value)
    return Interval(value, value / ratio, value * ratio, error)


def wilson_interval(successes: float, count: float) -> Interval:
    """Return a share with its 95 % score interval (Wilson 1927), which holds near 0 and 1 too."""
    share = successes / count
    z = NORMAL
    centre = (share + z**2 / (2 * count)) / (1 + z**2 / count)
    error = math.sqrt(share * (1 - share) / count + z**2 / (4 * count**2)) / (1 + z**2 / count)
    low, high = max(centre - z * error, 0.0), min(centre + z * error, 1.0)
    return Interval(share, min(low, share), max(high, share), error)


def student_quantile(freedom: int) -> float:
    """Return how many standard errors an interval reaches, by Student's t."""
    return float(stdtrit(freedom, (1 + LEVEL) / 2))
