"""Matrix products of features, and what every comparison of two sets of features asks of them."""

import platform
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import torch
from torch import Tensor

ROWS = 1024
"""Rows of a tile: of every matrix of pairs, only ROWS x ROWS values are in memory at a time."""


def product(a: Tensor, b: Tensor) -> Tensor:
    """Return a bᵀ [n, m] of a [n, d] and b [m, d] by the library that is fast on this processor.

    The processor alone decides, never a race between the libraries, so that a machine gives the
    same bits in every run. Those of another library differ by rounding.
    """
    if a.device.type == "cpu" and (_is_amd() or (a is b and len(a) <= a.shape[1])):
        # NumPy knows the product of a matrix with itself to be symmetric: half the work, if wide.
        return torch.from_numpy(a.detach().numpy() @ b.detach().numpy().T)
    return a @ b.T


@cache
def _is_amd() -> bool:
    """MKL, by which torch multiplies, runs at half of OpenBLAS's speed on AMD's processors."""
    listing = Path("/proc/cpuinfo")
    name = listing.read_text("utf-8") if listing.exists() else platform.processor()
    return "AuthenticAMD" in name


def tiles(rows: int) -> Iterator[slice]:
    """Cut `rows` rows into slices of `ROWS`."""
    return (slice(start, min(start + ROWS, rows)) for start in range(0, rows, ROWS))


def mean_row(features: Tensor) -> Tensor:
    """Return the mean of the rows in float64 [d], without a copy of all of them."""
    total = features.new_zeros(features.shape[1], dtype=torch.float64)
    for rows in tiles(len(features)):
        total += features[rows].double().sum(dim=0)
    return total / len(features)


def check_features(*sets: Tensor, least: int) -> None:
    """Refuse what cannot be compared.

    Args:
        sets: features [N, d] each, of one width d.
        least: the fewest rows a set may have.

    Raises:
        ValueError: where a set is no such matrix, has too few rows or values that are not finite.
    """
    for features in sets:
        if features.ndim != 2 or not features.is_floating_point() or features.shape[1] == 0:
            raise ValueError(
                f"features must be floats of shape [N, d], not {features.dtype} "
                f"{list(features.shape)}"
            )
        if features.shape[1] != sets[0].shape[1]:
            raise ValueError(
                f"features have {sets[0].shape[1]} and {features.shape[1]} dimensions; they differ"
            )
        if len(features) < least:
            raise ValueError(f"features need {least} or more rows, not {len(features)}")
        if not torch.stack(features.aminmax()).isfinite().all():
            raise ValueError("features contain NaN or infinite values")
