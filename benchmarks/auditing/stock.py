"""The images of an audit: real ones, and those that replace some of them."""

from dataclasses import dataclass
from itertools import accumulate

import numpy as np
import torch
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]
from torch import Generator, Tensor
from torch.nn.functional import adaptive_avg_pool2d, pad

from benchmarks.auditing.faults import CHUNK, Fault, Rows, resample
from benchmarks.core.errors import BadInput
from benchmarks.core.tensors import quantize, to_float
from benchmarks.data import Dataset, Split
from benchmarks.data.sources import load_photographs
from benchmarks.evaluation.pictures import encode_tiles

FEWEST = 40
"""Images that a set of an audit has at least."""
POOL, TRAIN = 4, 3
"""Held-out images and training images of an audit, in times the images of a set."""
CLUSTERS, MEMBERS = 10, 20
"""Clusters that stand for classes; fewer, lest they have fewer members than these on average."""
THUMBNAIL, FITTED = 16, 5_000
"""The side of images that are clustered, and how many of them the clusters are found from."""
MOVED, NOISE = 1 / 32, 0.02
"""The largest shift of a jittered copy, of the side, and the deviation of its noise."""
COLUMNS = 10
"""Images in a line of a strip."""
GAP, BETWEEN = 1, 170
"""Pixels between two of them, and their grey."""


@dataclass(frozen=True)
class Stock:
    """Real images of an audit.

    Attributes:
        pool: held-out images, uint8 [P, C, S, S].
        train: training images, uint8 [T, C, S, S].
        train_classes: int64 [T].
        pool_classes: int64 [P].
        clustered: whether the classes are clusters, since the images came without labels.
        samples: images in a set.
    """

    pool: Tensor
    train: Tensor
    train_classes: Tensor
    pool_classes: Tensor
    clustered: bool
    samples: int


def count_pool(data: Dataset) -> int:
    """Count the images that neither a model nor a classifier has learnt from."""
    return sum(map(len, list_held_out(data)))


def list_held_out(data: Dataset) -> list[Split]:
    """List the splits that make up the pool."""
    return [s for s in (data.validation, data.hidden_pairs, data.test) if s is not None]


def gather_stock(data: Dataset, samples: int, rng: Generator) -> Stock:
    """Choose the images of an audit, and cluster them if they have no classes.

    Raises:
        BadInput: there are too few held-out images for two sets of so many `samples`.
    """
    check_pool(data, samples)
    pool = choose_images(list_held_out(data), POOL * samples, rng)
    train = choose_images([data.train], TRAIN * samples, rng)
    images, fakes = torch.from_numpy(pool.images), torch.from_numpy(train.images)
    if pool.labels is None or train.labels is None or len(np.unique(train.labels)) < 2:
        return Stock(images, fakes, *cluster(fakes, images), clustered=True, samples=samples)
    classes = torch.from_numpy(train.labels), torch.from_numpy(pool.labels)
    return Stock(images, fakes, *classes, clustered=False, samples=samples)


def check_pool(data: Dataset, samples: int) -> None:
    """Refuse a data set whose held-out images are not enough for two sets."""
    count = count_pool(data)
    if count < 2 * FEWEST:
        raise BadInput(
            f"{data.name}: an audit compares two sets of at least {FEWEST} held-out images, and "
            f"there are {count} in all; at least {2 * FEWEST} are needed"
        )
    if count < 2 * samples:
        raise BadInput(
            f"{data.name}: two sets of {samples} images are more than the {count} held-out images; "
            f"at most {count // 2} samples are possible"
        )


def choose_images(splits: list[Split], limit: int, rng: Generator) -> Split:
    """Choose images from several splits at random, at most `limit`, and bring them into memory."""
    order = torch.randperm(sum(map(len, splits)), generator=rng)[:limit].sort().values.numpy()
    images, labels, start = [], [], 0
    for split in splits:
        own = order[(start <= order) & (order < start + len(split))] - start
        images.append(np.ascontiguousarray(split.images[own]))
        labels.append(None if split.labels is None else split.labels[own])
        start += len(split)
    known = [own.astype(np.int64) for own in labels if own is not None]
    found = np.concatenate(known) if len(known) == len(splits) else None
    return Split(np.concatenate(images), found)


def cluster(train: Tensor, pool: Tensor) -> tuple[Tensor, Tensor]:
    """Cluster images by k-means on the principal components of their pixels.

    Args:
        train: uint8 [T, C, S, S]; from the first of them the clusters are found.
        pool: uint8 [P, C, S, S].

    Returns:
        The clusters' numbers, int64 [T] and [P].
    """
    from sklearn.cluster import KMeans
    from sklearn.decomposition import PCA
    from sklearn.pipeline import make_pipeline

    pixels, others = shrink(train), shrink(pool)
    fitted = pixels[:FITTED]
    clusters = max(2, min(CLUSTERS, len(fitted) // MEMBERS))
    model = make_pipeline(
        PCA(min(32, *fitted.shape), svd_solver="full"),
        KMeans(clusters, n_init=3, random_state=0),
    )
    with threadpool_limits(1):  # sums over several threads differ in their last digits
        model.fit(fitted)
        found = [model.predict(images) for images in (pixels, others)]
    return torch.from_numpy(found[0]).long(), torch.from_numpy(found[1]).long()


def shrink(images: Tensor) -> np.ndarray:
    """Return the pixels of images [n, C, S, S], at most `THUMBNAIL` a side, float32 [n, d]."""
    side = min(THUMBNAIL, images.shape[-1])
    parts = [adaptive_avg_pool2d(to_float(chunk), side) for chunk in images.split(CHUNK)]
    return torch.cat(parts).flatten(1).numpy()


def build_bank(stock: Stock, rng: Generator) -> tuple[Tensor, Tensor, dict[str, range]]:
    """Concatenate all images of an audit, as many jittered, foreign and static ones as a set has.

    Returns:
        The images, uint8 [bank, C, S, S]; their classes, int64 [bank], -1 where they have none; and
        where they are: pool, train, jittered, foreign and static.
    """
    n, shape = stock.samples, stock.pool.shape[1:]
    models = torch.randint(len(stock.train), (n,), generator=rng)
    parts = {
        "pool": stock.pool,
        "train": stock.train,
        "jittered": jitter(stock.train[models], rng),
        "foreign": crop_photographs(n, shape[0], shape[1], rng),
        "static": torch.randint(256, (n, *shape), generator=rng, dtype=torch.uint8),
    }
    none = torch.full((n,), -1)
    classes = [stock.pool_classes, stock.train_classes, stock.train_classes[models], none, none]
    ends = accumulate(map(len, parts.values()))
    places = {
        name: range(end - len(part), end)
        for (name, part), end in zip(parts.items(), ends, strict=True)
    }
    return torch.cat(list(parts.values())), torch.cat(classes), places


def jitter(images: Tensor, rng: Generator) -> Tensor:
    """Copy uint8 images [n, C, S, S], each moved by a little and with a little noise."""
    moves = MOVED * (2 * torch.rand((len(images), 2, 1, 1), generator=rng) - 1)
    noise = NOISE * torch.randn(images.shape, generator=rng)
    return quantize(resample(to_float(images), moves) + noise)


def crop_photographs(n: int, channels: int, side: int, rng: Generator) -> Tensor:
    """Cut squares of all sizes out of scikit-learn's two photographs, as uint8 [n, C, S, S].

    The logarithm of a square's size is uniform between that of an image and of the photograph.
    """
    from PIL import Image

    photos = [
        Image.fromarray(np.ascontiguousarray(photo.transpose(1, 2, 0).squeeze()))
        for photo in load_photographs(channels, side)
    ]
    crops = []
    for which, size, left, top in torch.rand((n, 4), generator=rng, dtype=torch.float64).tolist():
        photo = photos[int(which * len(photos))]
        width = side * (min(photo.size) / side) ** size
        x, y = left * (photo.width - width), top * (photo.height - width)
        box = (x, y, x + width, y + width)
        crops.append(np.array(photo.resize((side, side), Image.Resampling.BOX, box)))
    return torch.from_numpy(np.stack(crops)).reshape(n, side, side, channels).permute(0, 3, 1, 2)


def draw_strips(rows: Rows, fault: Fault, rng: Generator) -> bytes:
    """Draw what becomes of ten images of a set from level 0, undamaged, down to the last.

    Returns:
        A PNG with a line of tiles for each level.
    """
    damage = damage_images if fault.kind == "images" else damage_set
    lines = damage(rows, fault, rng)
    return encode_tiles([pad(line, (0, GAP, 0, GAP), value=BETWEEN) for line in lines])


def damage_images(rows: Rows, fault: Fault, rng: Generator) -> list[Tensor]:
    """Damage ten images of as many classes as there are, by all levels of a fault of images."""
    originals = rows.images[spread(sort_by_class(rows, rows.chosen))]
    damaged = repeat_fault(fault, to_float(originals), rng)
    return [originals, *map(quantize, damaged)]


def damage_set(rows: Rows, fault: Fault, rng: Generator) -> list[Tensor]:
    """Return ten images of a set at all levels of a fault of sets, in the shares they have there.

    Where a set keeps its size, they are the same ten, ordered by when they are replaced. Where it
    shrinks, they are of what is left, ordered by class.
    """
    sets = [rows.chosen, *repeat_fault(fault, rows, rng)]
    if len({len(s) for s in sets}) > 1:
        return [rows.images[spread(sort_by_class(rows, s))] for s in sets]
    unharmed = (torch.stack(sets) == rows.chosen).sum(0)
    columns = spread(unharmed.argsort(stable=True))
    return [rows.images[s[columns]] for s in sets]


def repeat_fault(fault: Fault, subject: Tensor | Rows, rng: Generator) -> list[Tensor]:
    """Lay a fault on in all its amounts, each with the same randomness."""
    state = rng.get_state()
    return [fault.function(subject, a, rng.set_state(state)) for a in fault.amounts]


def sort_by_class(rows: Rows, chosen: Tensor) -> Tensor:
    """Sort images of the bank by their classes."""
    return chosen[rows.classes[chosen].argsort(stable=True)]


def spread(rows: Tensor) -> Tensor:
    """Choose ten of some rows at even distances, the first among them."""
    return rows[torch.arange(COLUMNS) * len(rows) // COLUMNS]
