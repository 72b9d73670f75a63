"""Points of the plane from mixtures of Gaussians, whose modes are known.

A point is an image of two channels and one pixel, float32 [2, 1, 1] in [0, 1], and goes the way of
images everywhere, but for being rounded to 8 bits. The plane's square [-w, w]² becomes [0, 1]² by
(x + w) / 2w; it is that of the figures of Lin et al. (2018), and leaves a stray generator as much
room around the modes as they take up themselves, or half of that.
"""

from pathlib import Path

import numpy as np

from benchmarks.data.dataset import Raw, Split, Truth
from benchmarks.data.registry import dataset

TRAIN, TEST = 171_429, 10_000
"""Of so many published points, 7 in 12 are the 100,000 that Lin et al. (2018) train on."""


@dataset(
    name="ring",
    summary="points of the plane: 8 Gaussians on a circle, their modes known (PacGAN's 2D-ring)",
    source="grid",
    points=True,
)
def read_ring(_root: Path, _download: bool) -> Raw:
    """Draw from 8 Gaussians of deviation 0.01 on the unit circle, seen in [-2, 2]².

    Lin et al. (2018), section 4.1, after Srivastava et al. (2017).
    """
    angles = 2 * np.pi / 8 * np.arange(8)
    centres = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    return draw_mixture(centres, 0.01, half_width=2.0, seed=8)


@dataset(
    name="grid",
    summary="points of the plane: 25 Gaussians on a grid, their modes known (PacGAN's 2D-grid)",
    source="ring",
    points=True,
)
def read_grid(_root: Path, _download: bool) -> Raw:
    """Draw from 25 Gaussians of deviation 0.05 at {-4, -2, 0, 2, 4}², seen in [-6, 6]².

    Lin et al. (2018), section 4.1, after Srivastava et al. (2017).
    """
    steps = np.arange(-4.0, 5.0, 2.0)
    centres = np.stack(np.meshgrid(steps, steps, indexing="ij"), axis=-1).reshape(-1, 2)
    return draw_mixture(centres, 0.05, half_width=6.0, seed=25)


def draw_mixture(centres: np.ndarray, deviation: float, half_width: float, seed: int) -> Raw:
    """Draw from equally likely isotropic Gaussians and bring points and truth into [0, 1]².

    The numbers are those of numpy's PCG64, always the same. The means [K, 2] and the deviation
    along each axis are in the plane's units; no point may lie outside the square of `half_width`.
    """
    rng = np.random.Generator(np.random.PCG64(seed))
    modes = rng.integers(len(centres), size=TRAIN + TEST)
    points = centres[modes] + deviation * rng.standard_normal((TRAIN + TEST, 2))
    unit = ((points + half_width) / (2 * half_width)).astype(np.float32)[:, :, None, None]
    truth = Truth((centres + half_width) / (2 * half_width), deviation / (2 * half_width))
    return Raw(Split(unit[:TRAIN]), Split(unit[TRAIN:]), truth=truth)
