"""The intervals of the kernel distance, from Hoeffding's variance in closed form."""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from metrics.intervals.base import NORMAL, Interval
from metrics.kernel import CenteredKernel, KernelSums, center_kernel, sum_kernel
from metrics.kid import SUBSETS, kernel_distance_subsets, u_statistic
from metrics.matrices import check_matrices
from metrics.registry import interval

SAMPLE = 2048
"""Random rows from whose pairs a variance's second-order terms are estimated; all of a few."""


class KernelVariance(NamedTuple):
    """The variance of an estimate of the kernel distance over generated samples.

    `second` is its second-order term alone, which is there even where the distributions agree;
    `growth` is how fast the whole grows with the distance.
    """

    whole: float
    second: float
    growth: float


@interval("kid", words="95 %, closed form over generated samples")
def kernel_interval(real: Tensor, fake: Tensor) -> Interval:
    """Return the kernel distance with its 95 % interval over generated samples.

    The reference is kept fixed as it is for every model that is compared. The estimate is skewed:
    where chance has made it small, its variance V looks small too. To first order V grows with the
    distance by 4c/M, c being the features' variance under the kernel in the direction in which the
    distance is most easily moved. So, as in Wilson's interval of a share, the ends are the
    distances θ that lie z = 1.96 standard errors of their own from the estimate,
    (θ̂ - θ)² = z² (V + 4c (θ - θ̂)/M), and no nearer than its second-order term allows.
    In simulations at N = M = 400 it covers 92 to 97 % of the time; 90 % where features have one
    direction with twelve times the spread of the others, whose sixth powers few images can tell.
    Arguments and errors as in `kernel_distance`.
    """
    check_matrices(real, fake, least=4)
    sums = sum_kernel(real, fake)
    value, variance = u_statistic(sums), _estimate_variance(fake, center_kernel(real), sums)
    skew = NORMAL**2 * variance.growth / 2
    reach = math.sqrt(skew**2 + NORMAL**2 * variance.whole)
    below = max(reach - skew, NORMAL * math.sqrt(variance.second))
    return Interval(value, value - below, value + reach + skew, math.sqrt(variance.whole))


@interval("kid_subsets", words="95 %, closed form over generated samples and draws of subsets")
def kernel_subsets_interval(real: Tensor, fake: Tensor) -> Interval:
    """Return the mean over subsets with its 95 % interval over generated samples.

    Given the images, subsets are independent draws whose mean is the kernel distance. So the
    variance is that of the kernel distance, to which the squared deviation between subsets over
    their number is added; the deviation alone says nothing about the images. Arguments and errors
    as in `kernel_distance`.
    """
    value, deviation = kernel_distance_subsets(real, fake)
    full = kernel_interval(real, fake)
    drawn = deviation / math.sqrt(SUBSETS - 1)
    below = math.hypot(full.value - full.low, NORMAL * drawn)
    above = math.hypot(full.high - full.value, NORMAL * drawn)
    return Interval(value, value - below, value + above, math.hypot(full.standard_error, drawn))


def _estimate_variance(fake: Tensor, kernel: CenteredKernel, sums: KernelSums) -> KernelVariance:
    """Estimate the variance over generated samples, the reference fixed.

    The distance is then, but for a constant, the U-statistic of h(y, y') - g(y) - g(y'), where
    g(y) is the mean of h(x, y) over real images. Less its mean, this has a sum over the pairs of
    each row, R, and a mean square over all pairs, from which Hoeffding's ζ₁ and ζ₂ (1948, eq. 5.13)
    follow without bias, as in Sutherland et al. 2017.
    """
    count = len(fake)
    pairs = math.perm(count, 2)
    mean = sums.across / len(sums.real)
    part = mean - mean.mean() + sums.fake.sum() / pairs / 2
    rows = sums.fake - (count - 2) * part - part.sum()
    order = torch.randperm(count, generator=torch.Generator().manual_seed(0))
    chosen = (order[:SAMPLE] if count > SAMPLE else torch.arange(count)).to(fake.device)
    h = kernel(fake[chosen], fake[chosen])
    growth = 4 * _spread_along(h, rows[chosen]) / count
    h.sub_(part[chosen, None]).sub_(part[chosen])
    total = rows.square().sum().item()
    square = h.fill_diagonal_(0).square().sum().item() / math.perm(len(h), 2)
    whole = (4 * total - 2 * pairs * square) / math.perm(count, 4)
    first = (total - pairs * square) / math.perm(count, 3) + whole
    second = 2 * max(square + whole - 2 * max(first, 0.0), 0.0) / pairs
    return KernelVariance(max(whole, second), second, growth)


def _spread_along(h: Tensor, direction: Tensor) -> float:
    """Return the features' variance in a direction given by its product with every feature."""
    direction = direction - direction.mean()
    square = direction.square().sum().item()
    return (direction @ h @ direction).item() / (len(h) * square) if square > 0 else 0.0
