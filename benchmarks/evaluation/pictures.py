"""Pictures of what a model generates: samples, films, rows that belong together, neighbors."""

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor

from benchmarks.data import Truth
from benchmarks.evaluation.reference import Reference
from benchmarks.records.schema import Picture
from metrics import find_nearest

FINER = 4  # points are drawn at so many times the size of their picture, and shrunk

INK, MARK = (0, 114, 178, 110), (170, 170, 170)
"""The blue of Okabe and Ito (2008), so thin that crowded points are darker; and a grey."""

GRID, PAIRS = 8, 10
"""Rows and columns of a picture of samples; columns of a picture of reconstructions."""

LINES = 6  # rows of a picture of interpolations: pairs of codes, and what lies between them

Rendered = tuple[Picture, bytes]
"""A picture and the content of its file."""


def encode_tiles(rows: list[Tensor]) -> bytes:
    """Encode rows of equally many uint8 images [N, C, S, S] as one PNG, tiles without borders."""
    return _encode_png(np.concatenate([_join_row(row) for row in rows]))


def _join_row(row: Tensor) -> np.ndarray:
    return torch.cat(list(row.cpu()), dim=2).permute(1, 2, 0).numpy().squeeze()


def _encode_png(pixels: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG", optimize=True)
    return file.getvalue()


def extend_film(
    path: Path, rows: int, images: Tensor, truth: Truth | None = None
) -> tuple[int, int, bytes]:
    """Append a row of the first images, or of points all together, to the first `rows` of a film.

    Where the picture at `path` is missing, damaged or has fewer rows, none of it stays.

    Returns:
        The numbers of rows and columns, and the PNG.
    """
    row = images[:GRID] if truth is None else render_points(images, truth)[None]
    side, last = row.shape[2], _join_row(row)
    try:
        with Image.open(path) as picture:
            earlier = np.asarray(picture)[: rows * side]
    except (OSError, ValueError):
        earlier = last[:0]
    if earlier.shape != (rows * side, *last.shape[1:]):
        earlier = last[:0]
    return len(earlier) // side + 1, len(row), _encode_png(np.concatenate([earlier, last]))


def render_points(points: Tensor, truth: Truth | None = None, side: int = 256) -> Tensor:
    """Render points [N, 2] or [N, 2, 1, 1] in [0, 1]² as a picture, uint8 [3, side, side].

    The first coordinate runs to the right and the second upwards. The modes of `truth` are circled,
    at three deviations or as tight as can be seen, so that those which no point reaches stand out.
    """
    width = FINER * side
    picture = Image.new("RGB", (width, width), "white")
    pen = ImageDraw.Draw(picture, "RGBA")

    def place(points: np.ndarray) -> list[tuple[float, float]]:
        return [(x * width, (1 - y) * width) for x, y in points.tolist()]

    if truth is not None:
        radius = FINER * max(3 * truth.deviation * side, 6)
        for centre in place(truth.centres):
            pen.circle(centre, radius, outline=MARK, width=FINER)
    for point in place(points.flatten(1).double().cpu().numpy()):
        pen.circle(point, FINER, fill=INK)
    shrunk = picture.resize((side, side), Image.Resampling.BOX)
    return torch.from_numpy(np.array(shrunk)).permute(2, 0, 1).contiguous()


def render_samples(images: Tensor, truth: Truth | None = None) -> Rendered:
    """Render the first images, chosen by their index alone, as a grid; points all together."""
    if truth is not None:
        picture = Picture(file="samples.png", rows=1, columns=1)
        return picture, encode_tiles([render_points(images, truth)[None]])
    columns = min(GRID, len(images))
    rows = min(GRID, len(images) // columns)
    lines = list(images[: rows * columns].split(columns))
    return Picture(file="samples.png", rows=rows, columns=columns), encode_tiles(lines)


def walk(start: Tensor, end: Tensor, count: int) -> Tensor:
    """Interpolate codes [n, d] along great circles, in `count` even steps: [n, count, d].

    Straight lines between codes of many dimensions lead through lengths that none is drawn with
    (White 2016, "Sampling generative networks", section 2.1). Lengths that differ go over evenly.
    """
    t = torch.linspace(0, 1, count, device=start.device)[None, :, None]
    a, b = start[:, None], end[:, None]
    lengths = a.norm(dim=2, keepdim=True), b.norm(dim=2, keepdim=True)
    a, b = a / lengths[0], b / lengths[1]
    angle = (a * b).sum(2, keepdim=True).clamp(-1, 1).acos()
    parts = torch.sin((1 - t) * angle), torch.sin(t * angle)
    between = (parts[0] * a + parts[1] * b) / torch.sin(angle)
    direction = torch.where(torch.sin(angle) > 1e-6, between, (1 - t) * a + t * b)
    return direction * ((1 - t) * lengths[0] + t * lengths[1])


def render_rows(name: str, *rows: Tensor) -> Rendered:
    """Render rows of images that belong together column by column; of points one picture a row."""
    if rows[0].dtype != torch.uint8:
        rows = tuple(render_points(row)[None] for row in rows)
    columns = min(PAIRS, *(len(row) for row in rows))
    content = encode_tiles([row[:columns] for row in rows])
    return Picture(file=f"{name}.png", rows=len(rows), columns=columns), content


def render_neighbors(
    reference: Reference, choose: Callable[[Tensor], Tensor], features: Tensor
) -> dict[str, Rendered]:
    """Render the samples nearest to a training image, in features, over those images, if any.

    `choose` returns the samples of some numbers; `features` are those of all samples.
    """
    if reference.training is None:
        return {}
    distances, indices = find_nearest(reference.training_features, features)
    closest = distances.argsort(stable=True)[:PAIRS]
    found = reference.training[indices[closest]]
    return {"neighbours": render_rows("neighbours", choose(closest), found)}
