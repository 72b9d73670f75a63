"""The Fréchet distance between Gaussians fitted to two sets of features."""

import math

import torch
from scipy.linalg import lapack
from torch import Tensor

from metrics.matrices import check_matrix, check_widths, gram
from metrics.moments import EPSILON, FewRows, Moments, cholesky, fit_moments
from metrics.registry import NotApplicable, metric

TOLERANCE = 1e-9
"""The share of a distance that its rounding errors, ten times over, may make up."""

HALVINGS = 5
"""Random halvings averaged for the distance at infinite sample size."""


@metric(
    name="fid",
    symbol="FID",
    direction="lower",
    low=0.0,
    inputs="features",
    source="Heusel et al. 2017, eq. 6",
    summary="squared Fréchet distance of Gaussians fitted to real and generated features",
)
def frechet_distance(real: Tensor | Moments, fake: Tensor | Moments) -> float:
    """Return ‖μ₁-μ₂‖² + tr(Σ₁ + Σ₂ - 2(Σ₁Σ₂)^½) of two sets of features, in float64.

    The trace of the root is the nuclear norm of A₁A₂ᵀ for any factors Σ = AᵀA: triangular ones, or
    the centred rows themselves where these are no more than the dimensions. It is the sum of the
    roots of the eigenvalues of the smaller square of A₁A₂ᵀ, which is fast; where an estimate of the
    rounding errors in it exceeds a tenth of 1e-9 of the distance, as with singular covariances and
    for nearly equal sets, the distance is min_U ‖A₁ - UA₂‖² instead, in which nothing cancels.

    The estimate is biased upwards by a term in 1/N + 1/M (`frechet_floor`), so compare equal
    sample sizes only. What is computed of a set of features is remembered while it lives.

    Of features [N, d] and [M, d] or their moments, in squared units of the features; 0 for equal
    means and covariances.

    Raises:
        ValueError: where the widths differ, a set has fewer than two rows, or values are not
            finite.
    """
    a, b = fit_moments(real), fit_moments(fake)
    check_widths(len(a.mean), len(b.mean))
    shift = (a.mean - b.mean).square().sum().item()
    spread = a.trace() + b.trace()
    square, margin = _square_factors(a, b)
    overlap, error = _sum_roots(square)
    value = shift + spread - 2 * overlap
    if 10 * (2 * error + EPSILON * spread / margin) <= TOLERANCE * value:
        return value
    return shift + procrustes(a.revealed(), b.revealed())


@metric(
    name="fid_infinity",
    symbol="FID∞",
    direction="lower",
    inputs="features",
    source="Chong & Forsyth 2020, section 4",
    summary="Fréchet distance extrapolated to samples of infinite size",
)
def frechet_infinity(real: Tensor, fake: Tensor, halvings: int = HALVINGS, seed: int = 0) -> float:
    """Extrapolate the Fréchet distance to infinite samples, where it has no bias.

    The distance is linear in 1/N + 1/M to first order, so twice that of the sets less that of their
    halves is free of the term. The halves of random halvings are compared, each half of the real
    features with one of the generated ones, and averaged.

    The paper draws 15 subsets of sizes between a tenth of the generated set and all of it, and fits
    a line through their distances to the whole reference. Here the reference is thinned as well,
    else its own share of the bias would stay, half of it for sets of equal size. There are two
    sizes only, since the distance is curved in 1/N, most of all for the smallest subsets, and since
    the halves of many halvings have all but the spread of the whole. The estimate is not biased
    upwards, and so may lie below 0 where the distributions are alike.

    Raises:
        ValueError: as `frechet_distance`.
        NotApplicable: where a set has fewer than 2d rows: the distance of smaller halves is not
            linear in 1/N.
    """
    check_matrix(real)
    check_matrix(fake)
    fewest, least = min(len(real), len(fake)), max(2 * real.shape[1], 4)
    if fewest < least:
        raise NotApplicable(f"the distance extrapolates from {least} or more rows, not {fewest}")
    rng = torch.Generator().manual_seed(seed)
    halves = []
    for _ in range(halvings):
        pairs = zip(_halve(real, rng), _halve(fake, rng), strict=True)
        halves += [frechet_distance(*pair) for pair in pairs]
    return 2 * frechet_distance(real, fake) - math.fsum(halves) / len(halves)


def _halve(features: Tensor, rng: torch.Generator) -> tuple[Tensor, ...]:
    order = torch.randperm(len(features), generator=rng).to(features.device)
    return tuple(features[rows] for rows in order.tensor_split(2))


def _square_factors(a: Moments | FewRows, b: Moments | FewRows) -> tuple[Tensor, float]:
    """Return A₁Σ₂A₁ᵀ or the smaller square of A₁A₂ᵀ, and the margin by which A₁ is not singular.

    Of the square only the lower triangle holds: the work of two products is quartered by LAPACK's
    reduction of the generalised eigenproblem. The margin is the smallest pivot of Σ₁ over the
    deviation of its feature, 1 for rows; errors of Σ₁ count as much more as it is less.
    """
    if isinstance(b, FewRows):
        a, b = b, a
    factor = a.factor()
    if isinstance(b, FewRows):
        cross = factor @ b.factor().T
        return gram(cross if cross.shape[0] > cross.shape[1] else cross.T), 1.0
    if isinstance(a, FewRows) or cholesky(a.scatter) is None:
        return factor @ b.covariance @ factor.T, 1.0
    margin = (factor.diagonal() / a.covariance.diagonal().sqrt()).min().item()
    if factor.device.type != "cpu":
        return factor @ b.covariance @ factor.T, margin
    reduced, _ = lapack.dsygst(b.covariance.numpy().T, factor.numpy(), itype=2)
    return torch.from_numpy(reduced.T), margin


def _sum_roots(square: Tensor) -> tuple[float, float]:
    """Return the sum of the roots of a matrix's eigenvalues λ, and an estimate of its error.

    A root is exact to δ/2√λ where λ is to δ, and what δ is depends on how the matrix is graded.
    The pivots of its Cholesky factor keep their digits if it is, and give Σ log λ: by how much
    this is missed shows what δ is. The errors of the matrix itself count as much more as its
    smallest pivot is less than the root of its diagonal element.
    """
    values = torch.linalg.eigvalsh(square)
    lower, failed = torch.linalg.cholesky_ex(square)
    if failed or not len(values) or values[0] <= 0:
        return 0.0, math.inf
    pivots, overlap = lower.diagonal(), values.sqrt().sum()
    drift = (values.log().sum() - 2 * pivots.log().sum()).abs()
    ratios = values[0] / values
    unresolved = drift / 2 * (values[0] * ratios.sum() / ratios.square().sum()).sqrt()
    margin = (pivots / square.diagonal().sqrt()).min()
    return overlap.item(), (unresolved + EPSILON * overlap / margin).item()


def procrustes(a: Tensor, b: Tensor) -> float:
    """Return min_U ‖A - UB‖² over matrices of orthonormal columns, U being the polar factor."""
    if len(a) < len(b):
        a, b = b, a
    left, _, right = torch.linalg.svd(a @ b.T, full_matrices=False)
    return (a - left @ (right @ b)).square().sum().item()
