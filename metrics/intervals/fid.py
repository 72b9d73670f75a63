"""The intervals of the Fréchet distance, and its floor."""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from metrics.fid import HALVINGS, frechet_distance, frechet_infinity
from metrics.intervals.base import Interval, student_quantile
from metrics.matrices import copy_double, gram
from metrics.moments import EPSILON, STREAMED, FewRows, Moments, check_count, fit_moments
from metrics.registry import interval


class Floor(NamedTuple):
    """The mean of a distance between two samples of one Gaussian, and its standard deviation."""

    mean: float
    deviation: float


class Expansion(NamedTuple):
    """The variance of a distance's linear part over samples, and the curvature of the distance.

    The curvature is the second derivative by steps of one standard error, along the influences.
    """

    variance: float
    curvature: float


def frechet_floor(real: Tensor | Moments, count: int) -> Floor:
    """Return the mean distance of samples of the real features' own Gaussian, and its spread.

    To first order in 1/N + 1/M the distance of two samples of one Gaussian is the quadratic form
    ‖δ‖² + ½ Σᵢⱼ Δᵢⱼ²/(λᵢ+λⱼ) of the errors δ and Δ of means and covariances in the eigenvectors
    of the covariance, all of them independent and normal. So its mean is
    (1/N + 1/M)·[Σᵢ λᵢ + ½ Σᵢⱼ λᵢλⱼ(1+δᵢⱼ)/(λᵢ+λⱼ)], and its variance
    (1/N + 1/M)²·[9/4 Σᵢ λᵢ² + Σᵢⱼ (λᵢλⱼ/(λᵢ+λⱼ))²], the sums being over all i and all j.

    The eigenvalues of a sample lie further apart than the Gaussian's own, which makes the sum over
    i and j too small, by a tenth for N = 6d alike eigenvalues; what is lost by it to first order in
    1/N (from the means and variances of eigenvalues in Lawley 1956) is added.

    Of the reference's features [N, d] or their moments, N some times d, and M generated images.
    Raises ValueError where N or M is under two, or values are not finite.
    """
    check_count(count)
    moments = fit_moments(real)
    mean, deviation = _find_unit_floor(moments)
    share = 1 / moments.count + 1 / count
    return Floor(share * mean, share * deviation)


def _find_unit_floor(moments: Moments | FewRows) -> Floor:
    """Return the floor for 1/N + 1/M = 1."""
    λ = moments.spectrum()
    λ = λ[λ > 0]
    mean, lost, variance = 1.25 * λ.sum(), -0.25 * λ.sum(), 2.25 * λ.square().sum()
    for part in λ.split(256):
        total = part[:, None] + λ
        harmonic = part[:, None] * λ / total
        squares = harmonic.square()
        mean += harmonic.sum() / 2
        lost += harmonic.sum(dim=1) @ (harmonic / total).sum(dim=1) + (squares / total).sum()
        variance += squares.sum()
    return Floor((mean + lost / (moments.count - 1)).item(), variance.sqrt().item())


@interval("fid", words="95 %, influence function over generated samples")
def frechet_interval(real: Tensor, fake: Tensor) -> Interval:
    """Return the Fréchet distance with its 95 % interval over generated samples.

    The interval is for the mean of the distance over other samples of as many generated images,
    the reference kept fixed as it is for every model that is compared; that mean lies above the
    distance of the distributions by the bias that all samples of this size have (`frechet_floor`).

    Every image has an influence on the distance, and the standard error is their deviation over
    √M. Near its floor the distance is quadratic in the errors of the sample, whose variance the
    influences, taken at the sample, count twice; it is taken off once (Efron & Stein 1981). The
    interval is bent as the distance is (`_bend`). Arguments and errors as in `frechet_distance`.
    """
    value = frechet_distance(real, fake)
    linear, curvature = expand_distance(fake, real)
    quadratic = (_find_unit_floor(fit_moments(fake)).deviation / len(fake)) ** 2
    error = math.sqrt(max(linear - quadratic, quadratic))
    bent = _bend(value, error, curvature, len(fake) - 1)
    return bent._replace(low=max(bent.low, 0.0))


@interval("fid_infinity", words="95 %, influence functions over generated and real samples")
def frechet_infinity_interval(real: Tensor, fake: Tensor) -> Interval:
    """Return the extrapolated distance with a 95 % interval for that of the distributions.

    The variance is that of the influences of generated and of real images, as in
    `frechet_interval`; the quadratic part of the distance, extrapolated, varies by its variance
    and by that again over the number of halvings. The curvature is the mean of the two sides', as
    if they varied along different lines. Near 0, where a distance can be no less, the interval
    covers more than 95 %. Arguments and errors as in `frechet_infinity`.
    """
    value = frechet_infinity(real, fake)
    sides = expand_distance(fake, real), expand_distance(real, fake)
    linear = math.fsum(side.variance for side in sides)
    quadratic = frechet_floor(real, len(fake)).deviation ** 2
    variance = linear - quadratic * (1 - 1 / HALVINGS)
    error = math.sqrt(max(variance, quadratic * (1 + 1 / HALVINGS)))
    weighted = math.fsum(side.variance * side.curvature for side in sides)
    freedom = min(len(real), len(fake)) - 1
    return _bend(value, error, weighted / linear if linear else 0.0, freedom)


def expand_distance(sample: Tensor, other: Tensor) -> Expansion:
    """Expand the distance of a sample to the other in the weights of the sample's rows.

    The influence of a row with z = x - μ₁ is 2(μ₁-μ₂)ᵀz + zᵀ(I-T)z - tr((I-T)Σ₁), where TΣ₁T = Σ₂
    is the matrix of the optimal transport map. For A₁A₂ᵀ = C = PSQᵀ, T is RᵀR on the span of the
    sample, whatever its rank, with R = S^-½QᵀA₂ and QᵀA₂ = S⁻¹PᵀCA₂. Weights that change mean and
    covariance by δ and Δ have the second derivative 2δᵀTδ + Σᵢⱼ (RΔRᵀ)ᵢⱼ²/(sᵢ+sⱼ).
    """
    a, b = fit_moments(sample), fit_moments(other)
    factor = b.factor()
    cross = a.factor() @ factor.T
    values, vectors = torch.linalg.eigh(gram(cross.T))
    kept = values > len(values) * EPSILON * values[-1:]
    s = values[kept].sqrt()
    root = (vectors[:, kept] * s**-1.5).T @ cross @ factor

    blocks = sample.detach().split(STREAMED)
    shift = a.mean - b.mean
    influences = torch.cat([_influence(copy_double(x) - a.mean, shift, root) for x in blocks])
    influences -= influences.mean()
    variance = influences.var().item() / len(sample)
    if variance == 0:
        return Expansion(0.0, 0.0)
    δ, Δ = torch.zeros_like(a.mean), torch.zeros(len(a.mean), len(a.mean)).to(root)
    weights = influences / (len(sample) ** 2 * math.sqrt(variance))
    for x, weight in zip(blocks, weights.split(STREAMED), strict=True):
        z = copy_double(x) - a.mean
        δ += weight @ z
        Δ += (weight[:, None] * z).T @ z
    bends = (root @ Δ @ root.T).square() / (s[:, None] + s)
    return Expansion(variance, (2 * (root @ δ).square().sum() + bends.sum()).item())


def _influence(z: Tensor, shift: Tensor, root: Tensor) -> Tensor:
    """Return the influences of centred rows but for a constant; see `expand_distance`."""
    return 2 * (z @ shift) + z.square().sum(dim=1) - (z @ root.T).square().sum(dim=1)


def _bend(value: float, error: float, curvature: float, freedom: int) -> Interval:
    """Return the interval of a value that is bent along the direction in which it varies most.

    With a standard normal Z, the value is m + sZ + c(Z²-1)/2 and its standard error, taken at the
    sample, s + cZ; so what Student's t is compared with is Z - c(Z²+1)/2s, and both ends move up by
    c(t²+1)/2. The lower one is at the bottom of the parabola where that is nearer.
    """
    t = student_quantile(freedom)
    high = value + t * error + curvature * (t**2 + 1) / 2
    down = min(t, error / curvature) if curvature > 0 else t
    low = value - down * error + curvature * (down**2 + 1) / 2
    return Interval(value, min(low, value), high, error)
