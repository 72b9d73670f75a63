"""The Fréchet distance between Gaussians fitted to two sets of features."""

from typing import NamedTuple

import torch
from torch import Tensor

from metrics.score import metric
from metrics.uncertainty import Interval, deal, jackknife_interval

ROWS = 8192
"""Rows converted to float64 at a time, which bounds the memory beside the features."""


class Gaussian(NamedTuple):
    """A mean [d] and a factor L [d, r] of the covariance L Lᵀ of rank r, both float64."""

    mean: Tensor
    factor: Tensor


class Moments:
    """Count, mean and covariance of a stream of features, in float64 on the features' device.

    Parts are updated in any batches and merged in any order; the result is that of the whole to
    rounding (Chan, Golub & LeVeque 1983, eq. 2.1).
    """

    def __init__(self, features: Tensor | None = None) -> None:
        self.count = 0
        self.mean = torch.zeros(0, dtype=torch.float64)
        self.scatter = torch.zeros(0, 0, dtype=torch.float64)
        if features is not None:
            self.update(features)

    def update(self, features: Tensor) -> "Moments":
        """Add features [n, d] of any float type and return self.

        Raises:
            ValueError: where they are no matrix or of another width than those before.
        """
        if features.ndim != 2:
            raise ValueError(f"features must have shape [N, d], not {list(features.shape)}")
        for rows in features.split(ROWS) if len(features) else ():
            centred = rows.double()
            mean = centred.mean(dim=0)
            centred = centred - mean
            self._add(len(rows), mean, centred.T @ centred)
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
        self.scatter = (
            self.scatter + sign * scatter + (self.count * count / total) * torch.outer(shift, shift)
        )
        self.mean = self.mean + shift * (count / total)
        self.count = total

    @property
    def covariance(self) -> Tensor:
        """The unbiased covariance [d, d], divided by N - 1.

        Raises:
            ValueError: where fewer than two rows were seen.
        """
        if self.count < 2:
            raise ValueError(f"a covariance needs 2 or more rows of features, not {self.count}")
        return self.scatter / (self.count - 1)

    def gaussian(self) -> Gaussian:
        """Fit a Gaussian, its covariance as a factor of full column rank.

        Eigenvalues under d ε λ_max are rounding errors of zero and are left out: of their square
        roots, 1e-8 each, a distance would keep the sum.

        Raises:
            ValueError: where fewer than two rows were seen, or some are NaN or infinite.
        """
        covariance = self.covariance
        if not covariance.isfinite().all():
            raise ValueError("features contain NaN or infinite values")
        values, vectors = torch.linalg.eigh(covariance)
        floor = len(values) * torch.finfo(values.dtype).eps * values[-1]
        kept = values > floor.clamp(min=0)
        return Gaussian(self.mean, vectors[:, kept] * values[kept].sqrt())

    def distance(self, other: "Moments") -> float:
        """Return the squared Fréchet distance to `other`, as `frechet_distance` of the features."""
        return _distance(self.gaussian(), other.gaussian())


def _distance(a: Gaussian, b: Gaussian) -> float:
    """Heusel et al. 2017, eq. 6, with tr(Σ₁Σ₂)^½ as the nuclear norm of L₁ᵀL₂.

    The singular values of L₁ᵀL₂ are the square roots of the eigenvalues of Σ₁Σ₂; taken directly
    they are exact to ε, where a root of an eigenvalue is exact to √ε only.
    """
    if a.mean.shape != b.mean.shape:
        raise ValueError(f"features have {len(a.mean)} and {len(b.mean)} dimensions; they differ")
    overlap = torch.linalg.svdvals(a.factor.T @ b.factor).sum()
    spread = a.factor.square().sum() + b.factor.square().sum()
    value = (a.mean - b.mean).square().sum() + spread - 2 * overlap
    return max(value.item(), 0.0)


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
def frechet_distance(real: Tensor, fake: Tensor) -> float:
    """Compare two sets of features by ‖μ₁-μ₂‖² + tr(Σ₁ + Σ₂ - 2(Σ₁Σ₂)^½) in float64.

    The covariances may be singular, as with fewer rows than dimensions. The estimate is biased
    upwards by a term in 1/N + 1/M, so compare equal sample sizes only.

    Args:
        real: features of the reference [N, d].
        fake: features of the generated images [M, d].

    Returns:
        The squared distance, in squared units of the features; 0 for equal means and covariances.

    Raises:
        ValueError: where the widths differ, a set has fewer than two rows, or values are not
            finite.
    """
    return Moments(real).distance(Moments(fake))


def frechet_interval(real: Tensor, fake: Tensor, blocks: int = 20, seed: int = 0) -> Interval:
    """Return the Fréchet distance with its 95 % interval over generated samples.

    A delete-a-block jackknife over `fake` on the log scale (`uncertainty.jackknife`), the
    reference kept fixed as it is for every model that is compared. The moments of each block are
    taken out of the whole's, so it costs one pass over the features and `blocks` + 1 distances:
    0.03 s for d = 64 and 90 s for d = 2,048 on one core, where each block is an eigenproblem and a
    singular value problem of that size; fewer blocks cost proportionately less.

    Args:
        real: features of the reference [N, d].
        fake: features of the generated images [M, d], M >= 2 `blocks`.
        blocks: the number of blocks deleted in turn.
        seed: of the shuffle that deals the images to blocks.

    Raises:
        ValueError: as `frechet_distance` and `uncertainty.jackknife`.
    """
    reference = Moments(real).gaussian()
    parts = [Moments(fake[rows]) for rows in deal(len(fake), blocks, seed, fake.device)]
    whole = Moments()
    for part in parts:
        whole.merge(part)
    left = [_distance(reference, whole.without(part).gaussian()) for part in parts]
    return jackknife_interval(_distance(reference, whole.gaussian()), left, log=True)
