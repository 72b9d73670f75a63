"""The cutting of images into splits: by their content, so that every machine cuts them alike."""

import hashlib
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from benchmarks.core.errors import BadInput
from benchmarks.data.dataset import Raw, Split

SEED = b"benchmarks.data.splits/1"
FEWEST_TRAIN, FEWEST_SOURCE, FEWEST_TEST = 36, 16, 8


class TargetSplits(NamedTuple):
    """The target domain in disjoint parts; `source_train` and `source_test` await a transform."""

    train: Split
    validation: Split
    test: Split
    source_train: Split
    source_test: Split


def content_keys(images: np.ndarray) -> list[bytes]:
    """Return for each of the images [N, ...] the SHA-256 of a fixed seed and its bytes."""
    seeded = hashlib.sha256(SEED)
    keys = []
    for image in images:
        key = seeded.copy()
        key.update(np.ascontiguousarray(image).data)
        keys.append(key.digest())
    return keys


def content_order(images: np.ndarray) -> np.ndarray:
    """Order images [N, ...] by their keys: int64 [N], a permutation.

    The order is as good as random, depends on no library's random numbers and not on how the images
    came, and copies of one image stand side by side, so that they land in one split (but for those
    across a border).
    """
    keys = content_keys(images)
    return np.array(sorted(range(len(keys)), key=keys.__getitem__), dtype=np.int64)


def shuffle(split: Split) -> Split:
    """Bring a split into its content order; one that is in order already is not copied."""
    order = content_order(split.images)
    return split if np.array_equal(order, np.arange(len(order))) else split[order]


def portion(split: Split, *weights: int, apart: bool = False) -> list[Split]:
    """Cut a split into consecutive parts whose sizes are as `weights`, by integer arithmetic.

    With `apart`, copies of one image, which stand side by side, all go to the earlier part.
    """
    images = split.images
    even = [len(split) * sum(weights[:i]) // sum(weights) for i in range(len(weights) + 1)]
    borders = [0]
    for start, stop in pairwise(even):
        border = min(borders[-1] + stop - start, len(split))
        while (
            apart and 0 < border < len(split) and np.array_equal(images[border], images[border - 1])
        ):
            border += 1
        borders.append(border)
    return [split[start:stop] for start, stop in pairwise(borders)]


def split_target(raw: Raw, name: str) -> TargetSplits:
    """Cut a target domain.

    With an official test split that one is `test`, and of every 12 training images 7 are `train`,
    1 `validation`, 2 `source_train` and 2 `source_test`; with validation images too, it is 7, 2 and
    2 of 11. Without a test split, of every 18 images these get 7, 1, 2 and 4, and `test` 4.
    """
    check_enough(len(raw.train), FEWEST_TRAIN, f"{name}: training images")
    own = raw.layout is not None
    pool = raw.train if own else shuffle(raw.train)
    if raw.test is None:
        train, validation, source_train, source_test, test = portion(pool, 7, 1, 2, 4, 4, apart=own)
    else:
        check_enough(len(raw.test), FEWEST_TEST, f"{name}: test images")
        test = raw.test if own else shuffle(raw.test)
        if raw.validation is None:
            train, validation, source_train, source_test = portion(pool, 7, 1, 2, 2, apart=own)
        else:
            validation = raw.validation
            train, source_train, source_test = portion(pool, 7, 2, 2, apart=own)
    parts = TargetSplits(train, validation, test, source_train, source_test)
    if not all(map(len, parts)):
        raise BadInput(f"{name}: most images are copies of one; remove all of these but one")
    return parts


def split_source(
    train: Split, test: Split | None, name: str, *, own: bool = False
) -> tuple[Split, Split]:
    """Prepare another data set as a source domain; one without test images gives half of its own.

    The user's `own` images are in order already.
    """
    check_enough(len(train), FEWEST_SOURCE, f"source {name}: training images")
    train = train if own else shuffle(train)
    if test is None:
        first, second = portion(train, 1, 1, apart=own)
        return first, second
    check_enough(len(test), FEWEST_TEST, f"source {name}: test images")
    return train, test if own else shuffle(test)


def check_enough(count: int, fewest: int, what: str) -> None:
    """Refuse fewer than `fewest` images."""
    if count < fewest:
        raise BadInput(f"{what}: only {count}, at least {fewest} are needed")
