"""The first two moments of features in float64, and the factors of their covariances."""

import math
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from metrics.matrices import check_matrix, check_widths, copy_double, gram
from metrics.memory import remember

STREAMED = 16384
"""Rows converted to float64 at a time, which bounds the memory beside the features."""

EPSILON = torch.finfo(torch.float64).eps


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
        """Return the moments of a `count`, a `mean` [d] and a `scatter` [d, d]."""
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

    def update(self, features: Tensor) -> "Moments":
        """Add features [n, d] of any float type and return self.

        Raises ValueError where they are no matrix or of another width than those before.
        """
        check_matrix(features)
        for rows in features.detach().split(STREAMED) if len(features) else ():
            centred = copy_double(rows)
            mean = centred.mean(dim=0)
            centred -= mean
            self._add(len(rows), mean, gram(centred))
        return self

    def merge(self, other: "Moments") -> "Moments":
        """Add the features that `other` has seen and return self."""
        self._add(other.count, other.mean, other.scatter)
        return self

    def _add(self, count: int, mean: Tensor, scatter: Tensor) -> None:
        if count == 0:
            return
        if self.count == 0:
            self.count, self.mean, self.scatter = count, mean, scatter
            return
        check_widths(len(self.mean), len(mean))
        total = self.count + count
        shift = mean - self.mean
        whole = self.scatter + scatter
        self.scatter = whole.addr_(shift, shift, alpha=self.count * count / total)
        self.mean = self.mean + shift * (count / total)
        self.count = total

    @property
    def covariance(self) -> Tensor:
        """The unbiased covariance [d, d], divided by N - 1; ValueError under two rows."""
        check_count(self.count)
        return self.scatter / (self.count - 1)

    def trace(self) -> float:
        """Return the sum of the variances."""
        return self.scatter.diagonal().sum().item() / (self.count - 1)

    def spectrum(self) -> Tensor:
        """Return the eigenvalues of the covariance [d]."""
        return _eigenvalues(self.scatter) / (self.count - 1)

    def factor(self) -> Tensor:
        """Return some A [r, d] with covariance AᵀA, upper triangular where that can be had."""
        upper = cholesky(self.scatter)
        return self.revealed() if upper is None else upper / math.sqrt(self.count - 1)

    def revealed(self) -> Tensor:
        """Return A [r, d] with covariance AᵀA that has as many rows as the covariance has rank."""
        return _reveal(self.scatter) / math.sqrt(self.count - 1)


class FewRows:
    """The moments of no more rows than dimensions, for which no [d, d] covariance is formed.

    Centred rows have one null direction, (1, …, 1). The Householder reflection that turns it into
    the first axis makes the first row vanish and leaves XᵀX as it is; what remains is a factor of
    the scatter, N - 1 rows.
    """

    def __init__(self, features: Tensor) -> None:
        self.count = len(features)
        rows = copy_double(features.detach())
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
        return torch.linalg.eigvalsh(gram(self.rows.T)) / (self.count - 1)


def fit_moments(features: Tensor | Moments) -> Moments | FewRows:
    """Return the moments of features [N, d], kept while these live.

    Raises ValueError where they are no matrix, fewer than two rows, or not finite.
    """
    moments = features if isinstance(features, Moments) else _take_moments(features)
    check_count(moments.count)
    if not math.isfinite(moments.trace()):
        raise ValueError("features contain NaN or infinite values")
    return moments


def check_count(count: int) -> None:
    """Check that there are rows enough for a covariance; else raise ValueError."""
    if count < 2:
        raise ValueError(f"a covariance needs 2 or more rows of features, not {count}")


@remember
def _take_moments(features: Tensor) -> Moments | FewRows:
    check_matrix(features)
    return FewRows(features) if 2 <= len(features) <= features.shape[1] else Moments(features)


@remember
def cholesky(scatter: Tensor) -> Tensor | None:
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
