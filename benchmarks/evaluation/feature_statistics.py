"""Files of the mean and covariance of features, by which FID is computed without the images."""

import hashlib
import io
import json
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.core.errors import BadInput
from benchmarks.core.files import write_atomically
from benchmarks.evaluation.arrays import load_array, readable_array


@dataclass(frozen=True)
class FeatureStatistics:
    """The mean [d] and covariance [d, d] of the features of images that need not be there.

    Attributes:
        title: of the images, in tables.
        mean: float64 [d].
        covariance: float64 [d, d].
        extractor: of the features, `name@hash`; None in a file of another program, as are:
        count: of the images.
        shape: of the images, [C, S, S].
        resize: the side to which images were brought.
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
    """Read the statistics of an open .npz file, ours or of another program.

    Raises:
        BadInput: they are no mean and covariance of one width.
    """
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


def save_statistics(
    path: Path, mean: np.ndarray, covariance: np.ndarray, about: dict[str, Any]
) -> None:
    """Write the mean and covariance of features, and how these were computed, as an .npz file."""
    file = io.BytesIO()
    text = np.array(json.dumps(about))
    np.savez(file, about=text, allow_pickle=False, mu=mean, sigma=covariance)
    write_atomically(path, file.getvalue())
