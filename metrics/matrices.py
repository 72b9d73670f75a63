"""Matrices of features [N, d]: checked, and multiplied a tile at a time."""

import platform
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

ROWS = 1024
"""Rows of a tile: of every matrix of pairs, only ROWS x ROWS values are in memory at a time."""


def check_matrices(*matrices: Tensor, least: int = 0) -> None:
    """Check that features can be compared; else raise ValueError.

    They must be float matrices of one width, of `least` rows or more, and finite.
    """
    for features in matrices:
        check_matrix(features)
        check_widths(matrices[0].shape[1], features.shape[1])
        if len(features) < least:
            raise ValueError(f"features need {least} or more rows, not {len(features)}")
        if not torch.stack(features.aminmax()).isfinite().all():
            raise ValueError("features contain NaN or infinite values")


def check_matrix(features: Tensor) -> None:
    """Check that features are floats [N, d] with d >= 1; else raise ValueError."""
    if features.ndim != 2 or not features.is_floating_point() or features.shape[1] == 0:
        found = f"{features.dtype} {list(features.shape)}"
        raise ValueError(f"features must be floats of shape [N, d], not {found}")


def check_widths(a: int, b: int) -> None:
    """Check that two sets of features have as many dimensions; else raise ValueError."""
    if a != b:
        raise ValueError(f"features have {a} and {b} dimensions; they differ")


def tiles(rows: int) -> Iterator[slice]:
    """Cut `rows` rows into slices of `ROWS`."""
    return (slice(start, min(start + ROWS, rows)) for start in range(0, rows, ROWS))


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
    """Return whether MKL, by which torch multiplies, runs at half of OpenBLAS's speed here."""
    listing = Path("/proc/cpuinfo")
    name = listing.read_text("utf-8") if listing.exists() else platform.processor()
    return "AuthenticAMD" in name


def gram(matrix: Tensor) -> Tensor:
    """Return XᵀX, on the CPU by NumPy, which knows it to be symmetric and does half the work."""
    if matrix.device.type != "cpu":
        return matrix.T @ matrix
    array = matrix.numpy()
    return torch.from_numpy(array.T @ array)


def copy_double(rows: Tensor) -> Tensor:
    """Copy to float64, on the CPU into NumPy's memory, whose large pages come in half the time."""
    if rows.device.type != "cpu":
        return rows.to(torch.float64, copy=True)
    return torch.from_numpy(np.empty(rows.shape)).copy_(rows)


def mean_row(features: Tensor) -> Tensor:
    """Return the mean of the rows in float64 [d], without a copy of all of them."""
    total = features.new_zeros(features.shape[1], dtype=torch.float64)
    for rows in tiles(len(features)):
        total += features[rows].double().sum(dim=0)
    return total / len(features)
