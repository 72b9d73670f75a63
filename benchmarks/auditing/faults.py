"""Known faults in known amounts, from hardly visible to total.

A fault is a decorated function; nothing else needs to know of it. What is random about a fault is
drawn from the generator in the same order whatever the amount, so that a generator seeded alike at
every level makes one fault that grows.

- `images`: `f(images float [n, C, S, S] in [0, 1], amount, rng)` returns damaged images of the
  same shape, which may leave [0, 1]; the harness clamps and rounds them.
- `rows`: `f(rows, amount, rng)` returns places in the bank, int64 [m], m <= n: others in the place
  of some, or fewer, and then in random order, so that the first few of them are a fair choice.
- `features`: `f(features [n, d], amount, rng)` returns damaged features of the same shape.
"""

import io
from collections.abc import Callable
from dataclasses import dataclass
from math import pi, sqrt
from typing import Any, Literal, TypeVar

import numpy as np
import torch
from PIL import Image
from torch import Generator, Tensor
from torch.nn.functional import grid_sample, pad

from benchmarks.core.tensors import quantize, to_float
from metrics import Aspect

Kind = Literal["images", "rows", "features"]

SMOOTHNESS = 1 / 7
"""Of a warp, as a share of the side: σ = 4 on the 29 pixels of Simard et al. (2003)."""
BLOCK = 512
"""Rows of features that are mixed with each other; a block's cost grows with its cube."""
CHUNK = 1024
"""Images handled at a time where all at once would take too much memory."""
TALLEST = 2**14
"""Pixels of a column of images that are compressed together; JPEG allows four times as many."""


@dataclass(frozen=True)
class Fault:
    """A way to damage images, a set of images or their features.

    Attributes:
        title: a noun phrase that reads well after "blind to".
        kind: what its function takes; see this module.
        amounts: how much of it at levels 1..L, ascending; the last is total.
        unit: what an amount counts, in words.
        share: whether an amount is a share of bad images.
        words: an amount in words, as a format of `amount` and of what is `left` of `whole`.
        whole: the amount of which nothing is left.
    """

    name: str
    title: str
    aspect: Aspect
    kind: Kind
    amounts: tuple[float, ...]
    unit: str
    summary: str
    function: Callable[..., Tensor]
    share: bool = False
    words: str = "{amount:.0%}"
    whole: float = 1.0

    def show(self, amount: float) -> str:
        """Format an amount, as short as a tick's label."""
        return self.words.format(amount=amount, left=self.whole - amount).replace("%", " %")

    def describe(self) -> dict[str, Any]:
        """Describe this fault as `audit.json` keeps it, with its amounts in words."""
        keys = ("name", "title", "aspect", "amounts", "share", "unit", "summary", "kind")
        shown = [self.show(amount) for amount in self.amounts]
        return {key: getattr(self, key) for key in keys} | {"shown": shown}


@dataclass(frozen=True)
class Rows:
    """A set of images as rows of the bank, and where the bank keeps what may take their place.

    Attributes:
        chosen: the set, int64 [n], rows of the bank's pool.
        images: all of the bank, uint8 [bank, C, S, S].
        classes: their classes, int64 [bank]; -1 where an image has none.
        train: the rows of training images.
        jittered: of copies of training images, slightly moved and noisy.
        foreign: of crops of photographs.
        static: of uniform noise.
    """

    chosen: Tensor
    images: Tensor
    classes: Tensor
    train: range
    jittered: range
    foreign: range
    static: range


FAULTS: dict[str, Fault] = {}
"""Every fault by its name, filled when this module is imported."""
F = TypeVar("F", bound=Callable[..., Tensor])


def fault(**about: Any) -> Callable[[F], F]:
    """Register a function in `FAULTS` under `about`, the fields of `Fault`, given as literals.

    Literals, so that the faults can be listed from the source without importing torch.
    """

    def enter(function: F) -> F:
        found = Fault(**about, function=function)
        FAULTS[found.name] = found
        return function

    return enter


@fault(
    name="blur",
    title="blur",
    aspect="fidelity",
    kind="images",
    amounts=(0.01, 0.03, 0.06, 0.12, 0.25, 2.0),
    unit="of the image's side, the deviation of the Gaussian",
    words="σ {amount:.0%}",
    summary="Gaussian blur, until each image is its mean",
)
def blur(images: Tensor, amount: float, _rng: Generator) -> Tensor:
    """Blur by a Gaussian whose deviation is `amount` of the side, edges mirrored."""
    return smooth(images, amount)


@fault(
    name="noise",
    title="additive noise",
    aspect="fidelity",
    kind="images",
    amounts=(0.04, 0.1, 0.2, 0.4, 0.8, 20.0),
    unit="of the range from black to white, the deviation of the noise",
    words="σ {amount:.0%}",
    summary="additive Gaussian noise, until nothing can be seen of the image",
)
def noise(images: Tensor, amount: float, rng: Generator) -> Tensor:
    """Add Gaussian noise of the deviation `amount`, pixel by pixel and channel by channel."""
    return images + amount * torch.randn(images.shape, generator=rng)


@fault(
    name="contrast",
    title="loss of contrast",
    aspect="fidelity",
    kind="images",
    amounts=(0.05, 0.15, 0.3, 0.5, 0.8, 1.0),
    unit="of the contrast lost",
    words="−{amount:.0%}",
    summary="contrast lowered towards each image's mean, until it is flat",
)
def contrast(images: Tensor, amount: float, _rng: Generator) -> Tensor:
    """Move every pixel towards the mean of its image and channel."""
    return images.lerp(images.mean((2, 3), keepdim=True), amount)


@fault(
    name="quantisation",
    title="coarse grey levels",
    aspect="fidelity",
    kind="images",
    amounts=(3.0, 4.0, 5.0, 6.0, 7.0, 8.0),
    unit="of 8 bits lost",
    words="{left:.0f}-bit",
    whole=8.0,
    summary="fewer grey levels, until there is one",
)
def coarsen(images: Tensor, amount: float, _rng: Generator) -> Tensor:
    """Round to the nearest of 2^(8 - `amount`) levels from black to white; a single one is grey."""
    steps = round(2 ** (8 - amount)) - 1
    return (images * steps).round() / steps if steps else torch.full_like(images, 0.5)


@fault(
    name="jpeg",
    title="JPEG artefacts",
    aspect="fidelity",
    kind="images",
    amounts=(20.0, 50.0, 75.0, 88.0, 95.0, 99.0),
    unit="of 100 points of quality lost",
    words="quality {left:.0f}",
    whole=100.0,
    summary="JPEG compression, until it is as bad as JPEG gets",
)
def compress(images: Tensor, amount: float, _rng: Generator) -> Tensor:
    """Save every image as a JPEG of the quality 100 - `amount` and read it again.

    JPEG codes squares of 8 pixels by themselves, and replicates edges to fill them up. Images one
    below the other are coded as each alone, as long as colours are not kept at half the resolution.
    """
    side = images.shape[-1]
    more = -side % 8
    padded = pad(images, (0, more, 0, more), mode="replicate")
    columns = quantize(padded).permute(0, 2, 3, 1).split(max(1, TALLEST // (side + more)))
    saved = torch.cat([save_jpeg(column, round(100 - amount)) for column in columns])
    return to_float(saved.permute(0, 3, 1, 2)[:, :, :side, :side])


def save_jpeg(column: Tensor, quality: int) -> Tensor:
    """Save images below each other, uint8 [n, S, S, C], in one JPEG and read it again."""
    pixels = column.flatten(0, 1).numpy()
    file = io.BytesIO()
    picture = Image.fromarray(pixels if pixels.shape[2] == 3 else pixels[:, :, 0])
    picture.save(file, "JPEG", quality=quality, subsampling="4:4:4")
    with Image.open(file, formats=("JPEG",)) as found:
        return torch.from_numpy(np.array(found)).reshape(column.shape)


@fault(
    name="shift",
    title="shift",
    aspect="fidelity",
    kind="images",
    amounts=(0.02, 0.05, 0.1, 0.2, 0.4, 1.5),
    unit="of the image's side",
    summary="translation into a random direction, edges replicated, until it is out of sight",
)
def shift(images: Tensor, amount: float, rng: Generator) -> Tensor:
    """Move each image by `amount` of its side."""
    angles = 2 * pi * torch.rand(len(images), generator=rng)
    directions = torch.stack([angles.cos(), angles.sin()], dim=1)
    return resample(images, amount * directions[:, :, None, None])


@fault(
    name="warp",
    title="elastic warp",
    aspect="fidelity",
    kind="images",
    amounts=(0.01, 0.02, 0.04, 0.08, 0.16, 1.0),
    unit="of the image's side, the root mean square of the displacement",
    summary="elastic displacement, until the pixels are scattered",
)
def warp(images: Tensor, amount: float, rng: Generator) -> Tensor:
    """Displace pixels by a smooth random field.

    Simard, Steinkraus and Platt 2003, "Best practices for convolutional neural networks applied to
    visual document analysis", section 2. The field's mean is taken out, since that is a shift.
    """
    fields = 2 * torch.rand((len(images), 2, *images.shape[2:]), generator=rng) - 1
    fields = smooth(fields, SMOOTHNESS)
    fields -= fields.mean((2, 3), keepdim=True)
    size = fields.square().sum(1, keepdim=True).mean((2, 3), keepdim=True).sqrt()
    return resample(images, amount * fields / size)


@fault(
    name="foreign",
    title="foreign images",
    aspect="fidelity",
    kind="rows",
    amounts=(0.02, 0.05, 0.1, 0.25, 0.5, 1.0),
    unit="of the images",
    share=True,
    summary="a share replaced by crops of photographs",
)
def mix_foreign(rows: Rows, amount: float, rng: Generator) -> Tensor:
    """Replace a share of the set by foreign images."""
    return replace(rows.chosen, amount, rng, draw(rows.foreign, len(rows.chosen), rng))


@fault(
    name="static",
    title="images of pure noise",
    aspect="fidelity",
    kind="rows",
    amounts=(0.02, 0.05, 0.1, 0.25, 0.5, 1.0),
    unit="of the images",
    share=True,
    summary="a share replaced by uniform noise",
)
def mix_static(rows: Rows, amount: float, rng: Generator) -> Tensor:
    """Replace a share of the set by uniform noise."""
    return replace(rows.chosen, amount, rng, draw(rows.static, len(rows.chosen), rng))


@fault(
    name="drop",
    title="dropped classes",
    aspect="classes",
    kind="rows",
    amounts=(0.1, 0.2, 0.4, 0.6, 0.8, 1.0),
    unit="of the classes dropped, but for the last",
    summary="classes dropped one after another, until one is left",
)
def drop_classes(rows: Rows, amount: float, rng: Generator) -> Tensor:
    """Drop `amount` of the classes, at least one of them and never the largest.

    The largest one stays, lest a set be left with hardly an image where classes are uneven.
    """
    labels = rows.classes[rows.chosen]
    present, sizes = labels.unique(return_counts=True)
    others = present[present != present[sizes.argmax()]]
    gone = max(1, round(amount * len(present)))
    dropped = others[torch.randperm(len(others), generator=rng)][:gone]
    order = torch.randperm(len(labels), generator=rng)
    return rows.chosen[order[~torch.isin(labels[order], dropped)]]


@fault(
    name="thin",
    title="thinned classes",
    aspect="classes",
    kind="rows",
    amounts=(0.1, 0.25, 0.5, 0.75, 0.9, 1.0),
    unit="of the images of every class but the largest",
    summary="all classes but the largest thinned at once, until it alone is left",
)
def thin_classes(rows: Rows, amount: float, rng: Generator) -> Tensor:
    """Remove a share of every class but the largest."""
    members = split_classes(rows, rng)
    largest = max(range(len(members)), key=lambda k: len(members[k]))
    lost = [m[: round(amount * len(m))] for k, m in enumerate(members) if k != largest]
    order = torch.randperm(len(rows.chosen), generator=rng)
    return rows.chosen[order[~torch.isin(order, torch.cat([order[:0], *lost]))]]


@fault(
    name="shrink",
    title="classes shrunk to one image",
    aspect="variety",
    kind="rows",
    amounts=(0.05, 0.1, 0.25, 0.5, 0.75, 1.0),
    unit="of the images",
    share=True,
    summary="a share of each class replaced by copies of its medoid",
)
def shrink_classes(rows: Rows, amount: float, rng: Generator) -> Tensor:
    """Replace a share of each class by the one of its images that is most central among pixels."""
    damaged = rows.chosen.clone()
    for members in split_classes(rows, rng):
        own = rows.chosen[members]
        damaged[members[: round(amount * len(members))]] = own[find_medoid(rows.images[own])]
    return damaged


@fault(
    name="duplicates",
    title="duplicates",
    aspect="variety",
    kind="rows",
    amounts=(0.1, 0.25, 0.5, 0.75, 0.9, 0.99),
    unit="of the images, replaced by copies of the others",
    words="{amount:.0%} copies",
    share=True,
    summary="ever fewer different images, equally often repeated, until one in a hundred is left",
)
def duplicate(rows: Rows, amount: float, rng: Generator) -> Tensor:
    """Keep 1 - `amount` of the images, at least one, and repeat them until the set is full."""
    n = len(rows.chosen)
    order = torch.randperm(n, generator=rng)
    distinct = max(1, n - round(amount * n))
    damaged = torch.empty_like(rows.chosen)
    damaged[order] = rows.chosen[order[torch.arange(n) % distinct]]
    return damaged


@fault(
    name="memoriser",
    title="copies of training images",
    aspect="copying",
    kind="rows",
    amounts=(0.05, 0.1, 0.25, 0.5, 0.75, 1.0),
    unit="of the images",
    share=True,
    summary="a share replaced by draws from the training images, with replacement",
)
def memorise(rows: Rows, amount: float, rng: Generator) -> Tensor:
    """Replace a share of the set by a bootstrap of the training images."""
    n = len(rows.chosen)
    copies = torch.randint(rows.train.start, rows.train.stop, (n,), generator=rng)
    return replace(rows.chosen, amount, rng, copies)


@fault(
    name="jitter",
    title="jittered copies",
    aspect="copying",
    kind="rows",
    amounts=(0.05, 0.1, 0.25, 0.5, 0.75, 1.0),
    unit="of the images",
    share=True,
    summary="a share replaced by slightly moved and noisy copies of training images",
)
def memorise_loosely(rows: Rows, amount: float, rng: Generator) -> Tensor:
    """Replace a share of the set by jittered copies of training images."""
    return replace(rows.chosen, amount, rng, draw(rows.jittered, len(rows.chosen), rng))


@fault(
    name="gaussian",
    title="a Gaussian fake",
    aspect="shape",
    kind="features",
    amounts=(0.05, 0.1, 0.25, 0.5, 0.75, 1.0),
    unit="of the features",
    share=True,
    summary="a share of features replaced by Gaussian ones with exactly the same two moments",
)
def make_gaussian(features: Tensor, amount: float, rng: Generator) -> Tensor:
    """Replace a share of features by Gaussian ones of the same mean and covariance.

    With an orthogonal Q for which Q1 = 1, the rows of QX have the mean and the covariance of those
    of X, whatever their number: 1ᵀQX = 1ᵀX and (QX)ᵀQX = XᵀX. Each new row is the mean plus a sum
    of all rows' deviations from it, with weights that are a random direction: of b rows each has a
    part of about 1/√b, none stands out, and so the sum is close to normal by the central limit
    theorem (Diaconis and Freedman 1984, "Asymptotics of graphical projection pursuit").

    Rows are mixed within blocks of at most `BLOCK`, in double precision. The nearer two deviations
    of one block are to b dimensions, the more equal are all distances, as for any normal features.
    """
    n = len(features)
    order = torch.randperm(n, generator=rng)[: round(amount * n)]
    damaged = features.to(torch.float64, copy=True)
    for block in order.tensor_split(-(-len(order) // BLOCK)) if len(order) else ():
        damaged[block] = turn(damaged[block], rng)
    return damaged.to(features.dtype)


def turn(rows: Tensor, rng: Generator) -> Tensor:
    """Multiply rows, float64 [b, d], by a random orthogonal matrix that keeps the vector of ones.

    The matrix takes one orthonormal basis that begins with ones, that of the cosine transform, to
    another one, which is random.
    """
    b = len(rows)
    random = torch.randn((b, b), generator=rng, dtype=torch.float64)
    random[:, 0] = 1
    basis = torch.linalg.qr(random).Q
    basis[:, 0] = 1 / sqrt(b)  # but for its sign it was so already
    return basis @ (make_cosines(b) @ rows)


def make_cosines(n: int) -> Tensor:
    """Return the orthonormal cosine transform (DCT-II), float64 [n, n]; row 0 is constant."""
    k = torch.arange(n, dtype=torch.float64)
    basis = torch.cos(pi / n * torch.outer(k, k + 0.5)) * sqrt(2 / n)
    basis[0] = 1 / sqrt(n)
    return basis


def smooth(images: Tensor, deviation: float) -> Tensor:
    """Blur float images [n, C, S, S] by a Gaussian, deviation a share of the side, edges mirrored.

    It is the discrete analogue of the Gaussian (Lindeberg 1990, "Scale-space for discrete
    signals"), whose weights are positive however narrow it is. Mirrored at the edges it is diagonal
    in the basis of the cosine transform, and keeps the image's mean.
    """
    side = images.shape[-1]
    cosines = make_cosines(side)
    frequencies = 1 - torch.cos(pi / side * torch.arange(side, dtype=torch.float64))
    decay = torch.exp(-((deviation * side) ** 2) * frequencies)
    kernel = (cosines.T * decay @ cosines).to(images.dtype)
    return kernel @ images @ kernel


def resample(images: Tensor, moves: Tensor) -> Tensor:
    """Resample every pixel from another place, by bicubic interpolation, edges replicated.

    Args:
        images: float [n, C, S, S].
        moves: how far to the right and below, as shares of the side: [n, 2, S, S] or [n, 2, 1, 1].
    """
    side = images.shape[-1]
    steps = (2 * torch.arange(side) + 1) / side - 1
    places = torch.stack(torch.meshgrid(steps, steps, indexing="xy"))
    grid = (places + 2 * moves).permute(0, 2, 3, 1)
    return grid_sample(images, grid, mode="bicubic", padding_mode="border", align_corners=False)


def draw(place: range, n: int, rng: Generator) -> Tensor:
    """Draw n rows from a place of the bank, all different."""
    return place.start + torch.randperm(len(place), generator=rng)[:n]


def replace(chosen: Tensor, share: float, rng: Generator, others: Tensor) -> Tensor:
    """Replace a random share of rows by as many of the others."""
    order = torch.randperm(len(chosen), generator=rng)[: round(share * len(chosen))]
    damaged = chosen.clone()
    damaged[order] = others[: len(order)]
    return damaged


def split_classes(rows: Rows, rng: Generator) -> list[Tensor]:
    """List the places in `chosen` of the images of each class, in random order."""
    labels = rows.classes[rows.chosen]
    order = torch.randperm(len(labels), generator=rng)
    return [order[labels[order] == label] for label in labels.unique()]


def find_medoid(images: Tensor) -> int:
    """Find the image with the least sum of distances, in pixel space, from all the others."""
    pixels = to_float(images).flatten(1)
    sums = [torch.cdist(chunk, pixels).sum(1) for chunk in pixels.split(CHUNK)]
    return int(torch.cat(sums).argmin())
