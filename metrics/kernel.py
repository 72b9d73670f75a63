"""Sums of the cubic kernel over pairs of features, by tiles of pairs or from moments.

A row costs d³ by moments and its pairs N (d + 300)/5 by tiles, in one unit of time as measured;
whichever is quicker is taken, and the two agree to rounding.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from metrics.matrices import mean_row, product, tiles
from metrics.memory import remember

POWERS = 256
"""Rows whose third powers are in memory at a time."""


class CenteredKernel:
    """The kernel k(a, b) = (aᵀb/d + 1)³ around a point m [d].

    Its values are h(a, b) = k(a, b) - k(a, m) - k(m, b) + k(m, m), which leave every distance
    between distributions as it is, and take out what is common to all features with its rounding
    errors.
    """

    def __init__(self, point: Tensor) -> None:
        self.point = point
        self.level = point.square().mean() + 1  # s, the cube root of k(m, m)

    def shift(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Return x - m [n, d] and mᵀ(x - m)/d [n] of features x, in float64."""
        centred = features.double() - self.point
        return centred, centred @ self.point / len(self.point)

    def cube(self, step: Tensor) -> Tensor:
        """Return (s + t)³ - s³ of steps t."""
        return (step + 3 * self.level).mul_(step).add_(3 * self.level**2).mul_(step)

    def __call__(self, a: Tensor, b: Tensor) -> Tensor:
        """Return h of all pairs of rows, float64 [n, m]."""
        (a, along_a), (b, along_b) = self.shift(a), self.shift(b)
        step = product(a, b).div_(a.shape[1]).add_(along_a[:, None]).add_(along_b)
        return self.cube(step).sub_(self.cube(along_a)[:, None]).sub_(self.cube(along_b))

    def diagonal(self, features: Tensor) -> Tensor:
        """Return h(x, x) of every row, float64 [n]."""
        centred, along = self.shift(features)
        return self.cube(centred.square().mean(dim=1) + 2 * along) - 2 * self.cube(along)


class KernelSums(NamedTuple):
    """h summed over all pairs that a row is in, but not with itself, float64.

    `real` [N] and `fake` [M] are sums within a set, `across` [M] those of generated images over
    real ones.
    """

    real: Tensor
    fake: Tensor
    across: Tensor


@remember
def center_kernel(real: Tensor) -> CenteredKernel:
    """Return the kernel around the mean of the reference."""
    return CenteredKernel(mean_row(real))


def sum_kernel(real: Tensor, fake: Tensor) -> KernelSums:
    """Return the sums of h over features [N, d] and [M, d]; the reference's own are remembered."""
    kernel = center_kernel(real)
    if _has_fewer_moments(len(real) + len(fake), real.shape[1]):
        within = _contract(_sum_cubes(fake, kernel), fake, kernel) - kernel.diagonal(fake)
        across = _contract(_sum_real_cubes(real), fake, kernel)
        return KernelSums(_sum_real(real, True), within, across)
    return KernelSums(
        _sum_real(real, False), _sum_within(fake, kernel), _sum_across(real, fake, kernel)
    )


def _has_fewer_moments(rows: int, d: int) -> bool:
    return 10 * d**3 < (d + 300) * rows


@remember
def _sum_real(real: Tensor, moments: bool) -> Tensor:
    kernel = center_kernel(real)
    if moments:
        return _contract(_sum_real_cubes(real), real, kernel) - kernel.diagonal(real)
    return _sum_within(real, kernel)


def _sum_within(features: Tensor, kernel: CenteredKernel) -> Tensor:
    """Sum h over the other rows of a set, for every row [n]."""
    sums = features.new_zeros(len(features), dtype=torch.float64)
    for rows in tiles(len(features)):
        for columns in tiles(rows.stop):
            h = kernel(features[rows], features[columns])
            if rows == columns:
                h.fill_diagonal_(0)
            else:
                sums[columns] += h.sum(dim=0)
            sums[rows] += h.sum(dim=1)
    return sums


def _sum_across(real: Tensor, fake: Tensor, kernel: CenteredKernel) -> Tensor:
    """Sum h over the real rows, for every generated one [M]."""
    sums = fake.new_zeros(len(fake), dtype=torch.float64)
    for rows in tiles(len(real)):
        for columns in tiles(len(fake)):
            sums[columns] += kernel(real[rows], fake[columns]).sum(dim=0)
    return sums


@remember
def _sum_real_cubes(real: Tensor) -> Tensor:
    return _sum_cubes(real, center_kernel(real))


def _sum_cubes(features: Tensor, kernel: CenteredKernel) -> Tensor:
    """Sum z⊗z⊗z over the rows, less that of the centre for each [pairs, d + 1]."""
    z, pairs = _tensor_power(kernel.point[None])
    total = -len(features) * product(pairs, z)
    for part in features.split(POWERS):
        z, pairs = _tensor_power(part.double())
        total += product(pairs, z)
    return total


def _contract(cubes: Tensor, features: Tensor, kernel: CenteredKernel) -> Tensor:
    """Return the inner product of `cubes` with z⊗z⊗z less the centre's, for every row [n]."""
    d = features.shape[1]
    i, j = torch.triu_indices(d + 1, d + 1, device=features.device)
    weighted = cubes * (2 - (i == j).double())[:, None]
    values = []
    for part in (kernel.point[None], *features.split(POWERS)):
        z, pairs = _tensor_power(part.double())
        values.append(product(weighted, z.T).mul_(pairs).sum(dim=0))
    return torch.cat(values[1:]) - values[0]


def _tensor_power(features: Tensor) -> tuple[Tensor, Tensor]:
    """Return z = (1, x/√d) as columns [d + 1, n], and the products of its pairs [pairs, n].

    (xᵀy/d + 1)³ is the inner product of z⊗z⊗z at x and y, which the outer product of pairs and z
    holds, if a pair of two different coordinates counts twice.
    """
    d = features.shape[1]
    z = torch.cat([features.new_ones(1, len(features)), features.T / math.sqrt(d)])
    i, j = torch.triu_indices(d + 1, d + 1, device=features.device)
    return z, z[i].mul_(z[j])
