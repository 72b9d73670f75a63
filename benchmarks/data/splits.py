"""How images are cut into splits: by their content, so that every machine cuts them alike."""

import hashlib
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from benchmarks.data.dataset import Raw, Split
from benchmarks.errors import BadInput

SEED = b"benchmarks.data.splits/1"
FEWEST_TRAIN, FEWEST_SOURCE, FEWEST_TEST = 36, 16, 8


@dataclass(frozen=True)
class Cut:
    """The target domain in disjoint parts; `source_train` and `source_test` await a transform."""

    train: Split
    validation: Split
    source_train: Split
    source_test: Split
    test: Split


def content_order(images: np.ndarray) -> np.ndarray:
    """Order images [N, ...] by SHA-256 of a fixed seed and each image's bytes.

    The order is as good as random, depends on no library's random numbers and not on how the images
    came, and copies of one image stand side by side, so that they land in one split (but for those
    across a border).

    Returns:
        int64 [N], a permutation.
    """
    seeded = hashlib.sha256(SEED)
    keys = []
    for image in images:
        key = seeded.copy()
        key.update(np.ascontiguousarray(image).data)
        keys.append(key.digest())
    return np.array(sorted(range(len(keys)), key=keys.__getitem__), dtype=np.int64)


def shuffle(split: Split) -> Split:
    """Bring a split into its content order; one that is in order already is not copied."""
    order = content_order(split.images)
    return split if np.array_equal(order, np.arange(len(order))) else split[order]


def portion(split: Split, *weights: int) -> list[Split]:
    """Cut a split into consecutive parts whose sizes are as `weights`, by integer arithmetic."""
    borders = [len(split) * sum(weights[:i]) // sum(weights) for i in range(len(weights) + 1)]
    return [split[start:stop] for start, stop in pairwise(borders)]


def cut(raw: Raw, name: str) -> Cut:
    """Cut a target domain.

    With an official test split that one is `test`, and of every 12 training images 7 are `train`,
    1 `validation`, 2 `source_train` and 2 `source_test`. Without one, of every 18 images these get
    7, 1, 2 and 4, and `test` 4.

    Raises:
        BadInput: there are too few images.
    """
    check_enough(len(raw.train), FEWEST_TRAIN, f"{name}: training images")
    pool = shuffle(raw.train)
    if raw.test is None:
        train, validation, source_train, source_test, test = portion(pool, 7, 1, 2, 4, 4)
        return Cut(train, validation, source_train, source_test, test)
    check_enough(len(raw.test), FEWEST_TEST, f"{name}: test images")
    train, validation, source_train, source_test = portion(pool, 7, 1, 2, 2)
    return Cut(train, validation, source_train, source_test, shuffle(raw.test))


def cut_source(train: Split, test: Split | None, name: str) -> tuple[Split, Split]:
    """Prepare another data set as a source domain; one without test images gives half of its own.

    Raises:
        BadInput: there are too few images.
    """
    check_enough(len(train), FEWEST_SOURCE, f"source {name}: training images")
    if test is None:
        first, second = portion(shuffle(train), 1, 1)
        return first, second
    check_enough(len(test), FEWEST_TEST, f"source {name}: test images")
    return shuffle(train), shuffle(test)


def check_enough(count: int, fewest: int, what: str) -> None:
    """Refuse fewer than `fewest` images."""
    if count < fewest:
        raise BadInput(f"{what}: only {count}, at least {fewest} are needed")
