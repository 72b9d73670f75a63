"""Files of the mean and covariance of features, by which FID is computed without the images."""

import hashlib
import io
import json
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.core.errors import BadInput
from benchmarks.core.files import write_atomically
from benchmarks.evaluation.arrays import load_array, readable_array

if TYPE_CHECKING:
    from metrics import Moments


@dataclass(frozen=True)
class FeatureStatistics:
    """The mean and covariance, float64, of the features of images that need not be there.

    A file of another program leaves out the extractor (`name@hash`), the images' count and shape
    [C, S, S], and the side to which they were resized.
    """

    title: str
    mean: np.ndarray
    covariance: np.ndarray
    extractor: str | None = None
    count: int | None = None
    shape: tuple[int, int, int] | None = None
    resize: int | None = None

    @property
    def notes(self) -> list[str]:
        """The processing of the images, as far as it is known."""
        return [f"{self.title} is of images resized to {self.resize}"] if self.resize else []

    @property
    def fingerprint(self) -> str:
        """The SHA-256, in hex, of their content."""
        return hashlib.sha256(self.mean.tobytes() + self.covariance.tobytes()).hexdigest()


def load_statistics(place: Path, archive: zipfile.ZipFile) -> FeatureStatistics:
    """Read the statistics of an open .npz file, ours or of another program."""
    mean, covariance = (load_array(place, archive, key) for key in ("mu", "sigma"))
    about = {}
    if "about.npy" in archive.namelist():
        with readable_array(place):
            about = json.loads(str(load_array(place, archive, "about")))
    if mean.ndim != 1 or covariance.shape != 2 * mean.shape or covariance.dtype.kind != "f":
        raise BadInput(
            f"{place}: mu {list(mean.shape)} and sigma {list(covariance.shape)} are no statistics; "
            "these are floats [d] and [d, d]"
        )
    mean, covariance = np.array(mean, np.float64), np.array(covariance, np.float64)
    sound = np.isfinite(mean).all() and np.isfinite(covariance).all()
    if not (sound and np.allclose(covariance, covariance.T) and (covariance.diagonal() >= 0).all()):
        raise BadInput(f"{place}: sigma is no covariance, or mu or sigma holds NaN or infinity")
    with readable_array(place):
        return FeatureStatistics(place.name, mean, covariance, **about)


def save_statistics(path: Path, moments: "Moments", about: dict[str, Any]) -> None:
    """Write the moments of features, and how these were computed, as an .npz file."""
    file = io.BytesIO()
    arrays = {"mu": moments.mean.numpy(), "sigma": moments.covariance.numpy()}
    np.savez(file, about=np.array(json.dumps(about)), allow_pickle=False, **arrays)
    write_atomically(path, file.getvalue())
