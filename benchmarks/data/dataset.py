"""What a data set is: target and source images in fixed splits, named by their content.

Points of the plane are images too, float32 [N, 2, 1, 1] in [0, 1]; see `mixtures`.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

CHUNK = 1024  # images handled at a time, so that a memory-mapped set never lies in memory whole
CHUNK_BYTES = 64 * 2**20


@dataclass(frozen=True)
class Split:
    """Images of one purpose, uint8 [N, C, S, S] (possibly a read-only memory map) or points.

    Labels are int64 [N], or None where the images have no classes.
    """

    images: np.ndarray
    labels: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: slice | np.ndarray) -> "Split":
        labels = None if self.labels is None else self.labels[index]
        return Split(self.images[index], labels)


@dataclass(frozen=True)
class Truth:
    """The mixture of equally likely isotropic Gaussians that points were drawn from.

    Means, float64 [K, 2], and standard deviation along each axis, in the points' units of [0, 1].
    """

    centres: np.ndarray
    deviation: float


@dataclass(frozen=True)
class Raw:
    """Images as they are published, not yet cut or resized, as a data set's function returns them.

    Attributes:
        train: the training images, or all images where there is no official test split.
        class_names: one name a label, or None.
        source: training and test images of a source domain that came along, or None.
        truth: the mixture that points were drawn from; None for images.
        validation: the validation images, where the publisher chose them.
        layout: of the user's own images, the use of each folder. They are in content order, and
            no image is in two splits.
    """

    train: Split
    test: Split | None = None
    class_names: tuple[str, ...] | None = None
    source: tuple[Split, Split | None] | None = None
    truth: Truth | None = None
    validation: Split | None = None
    layout: str | None = None


@dataclass(frozen=True)
class Dataset:
    """A target domain to learn and a source domain to translate from.

    No image belongs to two splits; `hidden_pairs` alone repeats: it holds the targets from which
    `source_test` was made.

    Attributes:
        name: as `load_dataset` was asked for it, e.g. "mnist" or "folder:/path".
        validation: target images for choosing the best checkpoint, and for nothing else.
        test: target images that every reported score refers to.
        source: name of the source domain, e.g. "edges", "usps" or "folder A".
        source_test: held-out source images that translators generate from.
        hidden_pairs: the true targets of `source_test`, image by image; None where there are none.
        fingerprint: SHA-256 (hex) over the content of the target splits.
        source_fingerprint: SHA-256 (hex) over the content of the source splits.
        truth: the mixture that points were drawn from; None for images.
        layout: the use of the user's own folders, and other choices made for them, in one line.
    """

    name: str
    train: Split
    validation: Split
    test: Split
    class_names: tuple[str, ...] | None
    source: str
    source_train: Split
    source_test: Split
    hidden_pairs: Split | None
    fingerprint: str
    source_fingerprint: str
    truth: Truth | None = None
    layout: str | None = None

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height and width of every image."""
        channels, height, width = self.train.images.shape[1:]
        return channels, height, width


def slices(images: np.ndarray) -> Iterator[slice]:
    """Cut the rows of an array into parts of at most `CHUNK` images and 64 MiB, or of one image."""
    count = min(CHUNK, max(1, CHUNK_BYTES * len(images) // max(1, images.nbytes)))
    return (slice(start, start + count) for start in range(0, len(images), count))


def fingerprint_splits(*splits: Split) -> str:
    """SHA-256 (hex) over the shapes, images and labels of `splits`, in their order."""
    digest = hashlib.sha256()
    for split in splits:
        digest.update(f"{split.images.shape} {split.labels is not None};".encode())
        for rows in slices(split.images):
            digest.update(np.ascontiguousarray(split.images[rows]).data)
        if split.labels is not None:
            digest.update(np.ascontiguousarray(split.labels, dtype="<i8").data)
    return digest.hexdigest()
