"""The Fréchet distance between Gaussians fitted to two sets of features, and what it is worth."""

import math
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import torch
from scipy.linalg import lapack
from torch import Tensor

from metrics.memory import remember
from metrics.registry import NotApplicable, interval, metric
from metrics.uncertainty import Interval, student_quantile

ROWS = 16384
"""Rows converted to float64 at a time, which bounds the memory beside the features."""

TOLERANCE = 1e-9
"""The share of a distance that its rounding errors, ten times over, may make up."""

HALVINGS = 5
"""Random halvings averaged for the distance at infinite sample size."""

EPSILON = torch.finfo(torch.float64).eps


class Floor(NamedTuple):
    """The mean of a distance between two samples of one Gaussian, and its standard deviation."""

    mean: float
    deviation: float


class Moments:
    """Count, mean and scatter of a stream of features, in float64 on the features' device.

    Parts are updated in any batches and merged in any order; the result is that of the whole to
    rounding (Chan, Golub & LeVeque 1983, eq. 2.1).
    """

    def __init__(self, features: Tensor | None = None) -> None:
        self.count = 0
        self.mean = torch.zeros(0, dtype=torch.float64)
        self.scatter = torch.zeros(0, 0, dtype=torch.float64)
        if features is not None:
            self.update(features)

    @classmethod
    def from_state(cls, state: Mapping[str, Tensor]) -> "Moments":
        """Return the moments that `state` told of."""
        moments = cls()
        moments.count = int(state["count"])
        moments.mean, moments.scatter = state["mean"], state["scatter"]
        return moments

    @classmethod
    def from_covariance(cls, mean: np.ndarray, covariance: np.ndarray, count: int) -> "Moments":
        """Return the moments of `count` rows of which mean [d] and covariance [d, d] are known."""
        scatter = torch.from_numpy(covariance) * (count - 1)
        state = {"count": torch.tensor(count), "mean": torch.from_numpy(mean), "scatter": scatter}
        return cls.from_state(state)

    def state(self) -> dict[str, Tensor]:
        """Return the count, the mean [d] and the scatter [d, d] as tensors, to be saved."""
        return {"count": torch.tensor(self.count), "mean": self.mean, "scatter": self.scatter}

    def update(self, features: Tensor) -> "Moments":
        """Add features [n, d] of any float type and return self.

        Raises:
            ValueError: where they are no matrix or of another width than those before.
        """
        _check(features)
        for rows in features.detach().split(ROWS) if len(features) else ():
            centred = _copy(rows)
            mean = centred.mean(dim=0)
            centred -= mean
            self._add(len(rows), mean, _gram(centred))
        return self

    def merge(self, other: "Moments") -> "Moments":
        """Add the features that `other` has seen and return self."""
        self._add(other.count, other.mean, other.scatter)
        return self

    def without(self, part: "Moments") -> "Moments":
        """Return the moments of what is left of these when `part`, seen by both, is taken out."""
        rest = Moments()
        rest._add(self.count, self.mean, self.scatter)
        rest._add(-part.count, part.mean, part.scatter)
        return rest

    def _add(self, count: int, mean: Tensor, scatter: Tensor) -> None:
        """Merge in `count` rows; a negative count takes them out again by the same formula."""
        if count == 0:
            return
        if self.count == 0:
            self.count, self.mean, self.scatter = count, mean, scatter
            return
        if mean.shape != self.mean.shape:
            raise ValueError(f"features have {len(mean)} dimensions, not {len(self.mean)}")
        total = self.count + count
        if total < 1:
            raise ValueError(f"cannot take {-count} of {self.count} rows out and leave none")
        shift = mean - self.mean
        sign = 1 if count > 0 else -1
        whole = torch.add(self.scatter, scatter, alpha=sign)
        self.scatter = whole.addr_(shift, shift, alpha=self.count * count / total)
        self.mean = self.mean + shift * (count / total)
        self.count = total

    @property
    def covariance(self) -> Tensor:
        """The unbiased covariance [d, d], divided by N - 1.

        Raises:
            ValueError: where fewer than two rows were seen.
        """
        _check_count(self.count)
        return self.scatter / (self.count - 1)

    def trace(self) -> float:
        """Return the sum of the variances."""
        return self.scatter.diagonal().sum().item() / (self.count - 1)

    def spectrum(self) -> Tensor:
        """Return the eigenvalues of the covariance [d]."""
        return _eigenvalues(self.scatter) / (self.count - 1)

    def factor(self) -> Tensor:
        """Return some A [r, d] with covariance AᵀA, upper triangular where that can be had."""
        upper = _cholesky(self.scatter)
        return self.revealed() if upper is None else upper / math.sqrt(self.count - 1)

    def revealed(self) -> Tensor:
        """Return A [r, d] with covariance AᵀA that has as many rows as the covariance has rank."""
        return _reveal(self.scatter) / math.sqrt(self.count - 1)

    def distance(self, other: "Moments") -> float:
        """Return the squared Fréchet distance to `other`, as `frechet_distance` of the features."""
        return frechet_distance(self, other)


class Rows:
    """The moments of no more rows than dimensions, for which no [d, d] covariance is formed.

    Centred rows have one null direction, (1, …, 1). The Householder reflection that turns it into
    the first axis makes the first row vanish and leaves XᵀX as it is; what remains is a factor of
    the scatter, N - 1 rows.
    """

    def __init__(self, features: Tensor) -> None:
        self.count = len(features)
        rows = _copy(features.detach())
        self.mean = rows.mean(dim=0)
        rows -= self.mean
        self.rows = rows[1:] - rows[0] / (1 + math.sqrt(self.count))

    def factor(self) -> Tensor:
        """Return A [N - 1, d] with covariance AᵀA."""
        return self.rows / math.sqrt(self.count - 1)

    revealed = factor

    def trace(self) -> float:
        """Return the sum of the variances."""
        return self.rows.square().sum().item() / (self.count - 1)

    def spectrum(self) -> Tensor:
        """Return the eigenvalues of the covariance but for zeros [N - 1]."""
        return torch.linalg.eigvalsh(_gram(self.rows.T)) / (self.count - 1)


Side = Moments | Rows


def _fit(features: Tensor | Moments) -> Side:
    """Take the moments of features, of which there must be two or more rows, all finite."""
    side = features if isinstance(features, Moments) else _take_moments(features)
    _check_count(side.count)
    if not math.isfinite(side.trace()):
        raise ValueError("features contain NaN or infinite values")
    return side


@remember
def _take_moments(features: Tensor) -> Side:
    _check(features)
    return Rows(features) if 2 <= len(features) <= features.shape[1] else Moments(features)


@remember
def _cholesky(scatter: Tensor) -> Tensor | None:
    """Factor a scatter [d, d] into AᵀA with A upper triangular; None where that fails."""
    lower, failed = torch.linalg.cholesky_ex(scatter)
    return None if failed else lower.T


@remember
def _eigenvalues(scatter: Tensor) -> Tensor:
    return torch.linalg.eigvalsh(scatter)


@remember
def _reveal(scatter: Tensor) -> Tensor:
    """Factor a scatter [d, d] of rank r into AᵀA, A [r, d], by the eigenvectors of the correlation.

    Eigenvalues of the correlation matrix under d ε λ_max are rounding errors of zero and are left
    out: of their roots, 1e-8 each, a distance would keep the sum.
    """
    scale = scatter.diagonal().sqrt()
    scale = torch.where(scale > 0, scale, 1.0)
    values, vectors = torch.linalg.eigh(scatter / torch.outer(scale, scale))
    kept = values > len(values) * EPSILON * values[-1].clamp(min=0)
    return (vectors[:, kept] * values[kept].sqrt()).T * scale


def _copy(rows: Tensor) -> Tensor:
    """Copy to float64, on CPU into NumPy's memory, whose large pages are had in half the time."""
    if rows.device.type != "cpu":
        return rows.to(torch.float64, copy=True)
    return torch.from_numpy(np.empty(rows.shape)).copy_(rows)


def _gram(matrix: Tensor) -> Tensor:
    """Return XᵀX, on CPU by NumPy, which knows it to be symmetric and does half the work."""
    if matrix.device.type != "cpu":
        return matrix.T @ matrix
    array = matrix.numpy()
    return torch.from_numpy(array.T @ array)


def _small_gram(matrix: Tensor) -> Tensor:
    """Return the smaller of XᵀX and XXᵀ."""
    return _gram(matrix if matrix.shape[0] > matrix.shape[1] else matrix.T)


@metric(
    name="fid",
    symbol="FID",
    direction="lower",
    low=0.0,
    high=None,
    inputs="features",
    source="Heusel et al. 2017, eq. 6",
    summary="squared Fréchet distance of Gaussians fitted to real and generated features",
)
def frechet_distance(real: Tensor | Moments, fake: Tensor | Moments) -> float:
    """Compare two sets of features by ‖μ₁-μ₂‖² + tr(Σ₁ + Σ₂ - 2(Σ₁Σ₂)^½) in float64.

    The trace of the root is the nuclear norm of A₁A₂ᵀ for any factors Σ = AᵀA: triangular ones, or
    the centred rows themselves where these are no more than the dimensions. It is the sum of the
    roots of the eigenvalues of the smaller square of A₁A₂ᵀ, which is fast; where an estimate of the
    rounding errors in it exceeds a tenth of 1e-9 of the distance, as with singular covariances and
    for nearly equal sets, the distance is min_U ‖A₁ - UA₂‖² instead, in which nothing cancels.

    The estimate is biased upwards by a term in 1/N + 1/M (`frechet_floor`), so compare equal
    sample sizes only. What is computed of a set of features is remembered while it lives.

    Args:
        real: features of the reference [N, d], or their moments.
        fake: features of the generated images [M, d], or their moments.

    Returns:
        The squared distance, in squared units of the features; 0 for equal means and covariances.

    Raises:
        ValueError: where the widths differ, a set has fewer than two rows, or values are not
            finite.
    """
    a, b = _fit(real), _fit(fake)
    if a.mean.shape != b.mean.shape:
        raise ValueError(f"features have {len(a.mean)} and {len(b.mean)} dimensions; they differ")
    shift = (a.mean - b.mean).square().sum().item()
    spread = a.trace() + b.trace()
    square, margin = _square(a, b)
    overlap, error = _overlap(square)
    value = shift + spread - 2 * overlap
    if 10 * (2 * error + EPSILON * spread / margin) <= TOLERANCE * value:
        return value
    return shift + _procrustes(a.revealed(), b.revealed())


def _square(a: Side, b: Side) -> tuple[Tensor, float]:
    """Return A₁Σ₂A₁ᵀ or the smaller square of A₁A₂ᵀ, and the margin by which A₁ is not singular.

    Of the square only the lower triangle holds: the work of two products is quartered by LAPACK's
    reduction of the generalised eigenproblem. The margin is the smallest pivot of Σ₁ over the
    deviation of its feature, 1 for rows; errors of Σ₁ count as much more as it is less.
    """
    if isinstance(b, Rows):
        a, b = b, a
    factor = a.factor()
    if isinstance(b, Rows):
        return _small_gram(factor @ b.factor().T), 1.0
    if isinstance(a, Rows) or _cholesky(a.scatter) is None:
        return factor @ b.covariance @ factor.T, 1.0
    margin = (factor.diagonal() / a.covariance.diagonal().sqrt()).min().item()
    if factor.device.type != "cpu":
        return factor @ b.covariance @ factor.T, margin
    reduced, _ = lapack.dsygst(b.covariance.numpy().T, factor.numpy(), itype=2)
    return torch.from_numpy(reduced.T), margin


def _overlap(square: Tensor) -> tuple[float, float]:
    """Return the sum of the roots of a matrix's eigenvalues λ, and what its error is about.

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


def _procrustes(a: Tensor, b: Tensor) -> float:
    """Return min_U ‖A - UB‖² over matrices of orthonormal columns, U being the polar factor."""
    if len(a) < len(b):
        a, b = b, a
    left, _, right = torch.linalg.svd(a @ b.T, full_matrices=False)
    return (a - left @ (right @ b)).square().sum().item()


def frechet_floor(real: Tensor | Moments, count: int) -> Floor:
    """Return what the distance is of a sample of the real features' own Gaussian, and its spread.

    To first order in 1/N + 1/M the distance of two samples of one Gaussian is the quadratic form
    ‖δ‖² + ½ Σᵢⱼ Δᵢⱼ²/(λᵢ+λⱼ) of the errors δ and Δ of means and covariances in the eigenvectors
    of the covariance, all of them independent and normal. So its mean is
    (1/N + 1/M)·[Σᵢ λᵢ + ½ Σᵢⱼ λᵢλⱼ(1+δᵢⱼ)/(λᵢ+λⱼ)], and its variance
    (1/N + 1/M)²·[9/4 Σᵢ λᵢ² + Σᵢⱼ (λᵢλⱼ/(λᵢ+λⱼ))²], the sums being over all i and all j.

    The eigenvalues of a sample lie further apart than the Gaussian's own, which makes the sum over
    i and j too small, by a tenth for N = 6d alike eigenvalues; what is lost by it to first order in
    1/N (from the means and variances of eigenvalues in Lawley 1956) is added.

    Args:
        real: features of the reference [N, d], or their moments; N should be some times d.
        count: how many generated images M there are.

    Raises:
        ValueError: where the reference has fewer than two rows or values that are not finite, or
            `count` is under 2.
    """
    _check_count(count)
    side = _fit(real)
    mean, deviation = _fluctuate(side)
    share = 1 / side.count + 1 / count
    return Floor(share * mean, share * deviation)


def _fluctuate(side: Side) -> Floor:
    """Return the floor for 1/N + 1/M = 1."""
    λ = side.spectrum()
    λ = λ[λ > 0]
    mean, lost, variance = 1.25 * λ.sum(), -0.25 * λ.sum(), 2.25 * λ.square().sum()
    for part in λ.split(256):
        total = part[:, None] + λ
        harmonic = part[:, None] * λ / total
        squares = harmonic.square()
        mean += harmonic.sum() / 2
        lost += harmonic.sum(dim=1) @ (harmonic / total).sum(dim=1) + (squares / total).sum()
        variance += squares.sum()
    return Floor((mean + lost / (side.count - 1)).item(), variance.sqrt().item())


@interval("fid", words="95 %, influence function over generated samples")
def frechet_interval(real: Tensor, fake: Tensor) -> Interval:
    """Return the Fréchet distance with its 95 % interval over generated samples.

    The interval is for the mean of the distance over other samples of as many generated images,
    the reference kept fixed as it is for every model that is compared; that mean lies above the
    distance of the distributions by the bias that all samples of this size have (`frechet_floor`).

    Every image has an influence on the distance, and the standard error is their deviation over
    √M. Near its floor the distance is quadratic in the errors of the sample, whose variance the
    influences, taken at the sample, count twice; it is taken off once (Efron & Stein 1981). The
    interval is bent as the distance is (`_bend`).

    Args:
        real: features of the reference [N, d].
        fake: features of the generated images [M, d].

    Raises:
        ValueError: as `frechet_distance`.
    """
    value = frechet_distance(real, fake)
    linear, curvature = _expand(fake, real)
    quadratic = (_fluctuate(_fit(fake)).deviation / len(fake)) ** 2
    error = math.sqrt(max(linear - quadratic, quadratic))
    bent = _bend(value, error, curvature, len(fake) - 1)
    return bent._replace(low=max(bent.low, 0.0))


class Expansion(NamedTuple):
    """How a distance varies with a sample: the variance of its linear part, and its curvature.

    The curvature is the second derivative by steps of one standard error, along the influences.
    """

    variance: float
    curvature: float


def _expand(sample: Tensor, other: Tensor) -> Expansion:
    """Expand the distance of a sample to the other in the weights of the sample's rows.

    The influence of a row with z = x - μ₁ is 2(μ₁-μ₂)ᵀz + zᵀ(I-T)z - tr((I-T)Σ₁), where TΣ₁T = Σ₂
    is the matrix of the optimal transport map. For A₁A₂ᵀ = C = PSQᵀ, T is RᵀR on the span of the
    sample, whatever its rank, with R = S^-½QᵀA₂ and QᵀA₂ = S⁻¹PᵀCA₂. Weights that change mean and
    covariance by δ and Δ have the second derivative 2δᵀTδ + Σᵢⱼ (RΔRᵀ)ᵢⱼ²/(sᵢ+sⱼ).
    """
    a, b = _fit(sample), _fit(other)
    factor = b.factor()
    product = a.factor() @ factor.T
    values, vectors = torch.linalg.eigh(_gram(product.T))
    kept = values > len(values) * EPSILON * values[-1:]
    s = values[kept].sqrt()
    root = (vectors[:, kept] * s**-1.5).T @ product @ factor

    blocks = sample.detach().split(ROWS)
    influences = torch.cat([_influence(_copy(x) - a.mean, a.mean - b.mean, root) for x in blocks])
    influences -= influences.mean()
    variance = influences.var().item() / len(sample)
    if variance == 0:
        return Expansion(0.0, 0.0)
    δ, Δ = torch.zeros_like(a.mean), torch.zeros(len(a.mean), len(a.mean)).to(root)
    weights = influences / (len(sample) ** 2 * math.sqrt(variance))
    for x, weight in zip(blocks, weights.split(ROWS), strict=True):
        z = _copy(x) - a.mean
        δ += weight @ z
        Δ += (weight[:, None] * z).T @ z
    bends = (root @ Δ @ root.T).square() / (s[:, None] + s)
    return Expansion(variance, (2 * (root @ δ).square().sum() + bends.sum()).item())


def _influence(z: Tensor, shift: Tensor, root: Tensor) -> Tensor:
    """Return the influences of centred rows but for a constant; see `_expand`."""
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


@metric(
    name="fid_infinity",
    symbol="FID∞",
    direction="lower",
    low=None,
    high=None,
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
    the halves of many halvings have all but the spread of the whole. The estimate isn't biased
    upwards, and so may lie below 0 where the distributions are alike.

    Args:
        real: features of the reference [N, d], N >= 2d.
        fake: features of the generated images [M, d], M >= 2d.
        halvings: the number of random halvings.
        seed: of the halvings.

    Raises:
        ValueError: as `frechet_distance`.
        NotApplicable: where a set has fewer than 2d rows: the distance of smaller halves is not
            linear in 1/N.
    """
    _check(real)
    _check(fake)
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


@interval("fid_infinity", words="95 %, influence functions over generated and real samples")
def frechet_infinity_interval(real: Tensor, fake: Tensor) -> Interval:
    """Return the extrapolated distance with a 95 % interval for that of the distributions.

    The variance is that of the influences of generated and of real images, as in
    `frechet_interval`; the quadratic part of the distance, extrapolated, varies by its variance
    and by that again over the number of halvings. The curvature is the mean of the two sides', as
    if they varied along different lines. Near 0, where a distance can be no less, the interval
    covers more than 95 %.

    Args:
        real: features of the reference [N, d], N >= 2d.
        fake: features of the generated images [M, d], M >= 2d.

    Raises:
        ValueError: as `frechet_infinity`.
    """
    value = frechet_infinity(real, fake)
    sides = _expand(fake, real), _expand(real, fake)
    linear = math.fsum(side.variance for side in sides)
    quadratic = frechet_floor(real, len(fake)).deviation ** 2
    variance = linear - quadratic * (1 - 1 / HALVINGS)
    error = math.sqrt(max(variance, quadratic * (1 + 1 / HALVINGS)))
    weighted = math.fsum(side.variance * side.curvature for side in sides)
    freedom = min(len(real), len(fake)) - 1
    return _bend(value, error, weighted / linear if linear else 0.0, freedom)


def _check(features: Tensor) -> None:
    if features.ndim != 2:
        raise ValueError(f"features must have shape [N, d], not {list(features.shape)}")


def _check_count(count: int) -> None:
    if count < 2:
        raise ValueError(f"a covariance needs 2 or more rows of features, not {count}")
