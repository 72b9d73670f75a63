"""Collapse: images that are all alike, or the same few."""

import hashlib
from collections import Counter

import numpy as np

from benchmarks.core.text import show_share
from benchmarks.data.dataset import CHUNK

ALIKE = 0.05
"""Images that vary by less than this share of what those of the reference do are all alike."""

DISTINCT, REPEATED = 0.01, 0.1
"""Images of which less than the first share are distinct, or of which one makes the second, are the
same few images."""


class Variety:
    """The variation of images, uint8 [n, C, S, S] or float points, gathered from batches."""

    def __init__(self, images: np.ndarray | None = None) -> None:
        self.count = 0
        self.total = self.squares = np.zeros(())
        self.copies = Counter[bytes]()
        if images is not None:
            self.update(images)

    def update(self, images: np.ndarray) -> None:
        """Add a batch of any size."""
        whole = images.dtype == np.uint8
        kind, scale = (np.uint32, 255) if whole else (np.float64, 1)  # sums of integers are exact
        for part in (images[i : i + CHUNK] for i in range(0, len(images), CHUNK)):
            self.count += len(part)
            self.total = self.total + part.sum(0, dtype=kind) / scale
            squares = np.einsum("n...,n...->...", part, part, dtype=kind)
            self.squares = self.squares + squares / scale**2
            if whole:
                self.copies.update(hashlib.sha256(x.tobytes()).digest() for x in part)

    @property
    def spread(self) -> float:
        """The root of the mean variance of a pixel, in units of [0, 1]."""
        variances = (self.squares - self.total**2 / self.count) / (self.count - 1)
        return float(max(variances.mean(), 0.0) ** 0.5)


def find_collapse(
    generated: Variety, real: Variety | None, names: tuple[str, str] = ("samples", "test images")
) -> str | None:
    """Return why images, called by the first of the names, count as collapsed, or else None."""
    what, others = names
    if real is not None and generated.spread < ALIKE * real.spread:
        share = show_share(generated.spread / real.spread, 1)
        return f"the {what} are all alike: they vary by {share} of what the {others} do"
    n, most = generated.count, max(generated.copies.values(), default=0)
    if not generated.copies or (len(generated.copies) >= DISTINCT * n and most < REPEATED * n):
        return None
    return (
        f"the {what} repeat a few images: {len(generated.copies):,} of {n:,} are distinct, and one "
        f"of them makes {show_share(most / n)}"
    )
