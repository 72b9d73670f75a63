"""Images as numbers, and numbers as pictures."""

import io
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor

if TYPE_CHECKING:
    from benchmarks.data import Truth

FINER = 4
"""Points are drawn at so many times the size of their picture, and shrunk."""

INK, MARK = (0, 114, 178, 110), (170, 170, 170)
"""The blue of Okabe and Ito (2008), so thin that crowded points are darker; and a grey."""


def quantise(images: Tensor, dtype: torch.dtype = torch.uint8) -> Tensor:
    """Bring generated images, float in [0, 1], to the type in which the real ones are kept.

    They are clamped, and for uint8 scaled and rounded too, as if they were saved to a file; points,
    which are kept as float32, are not rounded.
    """
    clamped = images.clamp(0, 1)
    return clamped.mul_(255).round_().to(torch.uint8) if dtype == torch.uint8 else clamped.to(dtype)


def to_float(images: Tensor) -> Tensor:
    """Scale uint8 images to float32 in [0, 1]; points are so already, and stay as they are."""
    return images.float() / 255 if images.dtype == torch.uint8 else images.float()


def encode_tiles(rows: list[Tensor]) -> bytes:
    """Encode rows of equally many uint8 images [N, C, S, S] as one PNG, tiles without borders."""
    lines = [torch.cat(list(row.cpu()), dim=2) for row in rows]
    pixels = torch.cat(lines, dim=1).permute(1, 2, 0).numpy()
    file = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels.squeeze())).save(file, "PNG", optimize=True)
    return file.getvalue()


def extend_tiles(path: Path, rows: int, row: Tensor) -> tuple[int, bytes]:
    """Put a row of uint8 images [N, C, S, S] under the first `rows` of those in a picture.

    Args:
        path: of a picture of such rows, which may have more of them.
        rows: how many of them stay. Where the picture is missing, damaged or has fewer, none does.
        row: what follows them.

    Returns:
        The number of rows, and the PNG.
    """
    side = row.shape[2]
    last = torch.cat(list(row.cpu()), dim=2).permute(1, 2, 0).numpy().squeeze()
    try:
        with Image.open(path) as picture:
            earlier = np.asarray(picture)[: rows * side]
    except (OSError, ValueError):
        earlier = last[:0]
    if earlier.shape != (rows * side, *last.shape[1:]):
        earlier = last[:0]
    file = io.BytesIO()
    Image.fromarray(np.concatenate([earlier, last])).save(file, "PNG", optimize=True)
    return len(earlier) // side + 1, file.getvalue()


def draw_points(points: Tensor, truth: "Truth | None" = None, side: int = 256) -> Tensor:
    """Draw points [N, 2] or [N, 2, 1, 1] in [0, 1]² as a picture, uint8 [3, side, side].

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
