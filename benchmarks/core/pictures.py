"""Picture files: opened without harm, as 8-bit grey or colour."""

import functools
import os
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from benchmarks.core.errors import one_line

if TYPE_CHECKING:
    from PIL import Image

FORMATS = ("AVIF", "BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
"""Formats that are read, whatever a file is called: for some others, Pillow runs a program."""

DEEP = re.compile("(RGB|RGBA|RGBX|CMYK|LA);16([BLN])")
"""Pillow's names of 16-bit colours: bands and byte order, N for this machine's."""

OTHER_ORDER = {"B": "L", "L": "B", "N": "B" if sys.byteorder == "little" else "L"}


@functools.cache
def readable_formats() -> tuple[str, ...]:
    """Return those of `FORMATS` that this build of Pillow reads."""
    from PIL import Image, features

    Image.init()
    unknown = () if "AVIF" in Image.OPEN and features.check("avif") else ("AVIF",)
    return tuple(name for name in FORMATS if name not in unknown)


def open_header(source: Path | BinaryIO) -> "Image.Image":
    """Open a picture, decoding nothing but its header.

    Raises:
        ValueError: it is no regular file (a pipe would be waited for), empty, no picture, or larger
            than Pillow's limit of pixels, of which a few compressed bytes can claim billions.
        Exception: anything else that Pillow raises on a broken file.
    """
    from PIL import Image, UnidentifiedImageError

    if isinstance(source, Path) and not source.is_file():
        raise ValueError("there is no such file")
    size = source.stat().st_size if isinstance(source, Path) else source.seek(0, os.SEEK_END)
    if size == 0:
        raise ValueError("an empty file")
    try:
        picture = Image.open(source, formats=readable_formats())
    except UnidentifiedImageError as error:
        raise ValueError(f"its content is none of {', '.join(FORMATS)}") from error
    pixels, most = picture.width * picture.height, Image.MAX_IMAGE_PIXELS
    if most and pixels > most:
        picture.close()
        raise ValueError(f"{pixels:,} pixels, more than {most:,}: a decompression bomb")
    return picture


def open_picture(source: Path | BinaryIO) -> "Image.Image":
    """Read the first frame of an image file as 8-bit grey (L) or colour (RGB).

    EXIF orientation is applied, 16-bit levels are rounded to 8 bits, and what is transparent is
    laid on white. Raises ValueError with one line where it cannot be read, or its levels have no
    known white (floating point, or over 16 bits).
    """
    try:
        return _open_picture(source)
    except Exception as error:  # decoders raise anything on a broken file
        raise ValueError(one_line(error)) from error


def _open_picture(source: Path | BinaryIO) -> "Image.Image":
    from PIL import Image, ImageOps

    with open_header(source) as file:
        _round_colours(file, source)
        picture = ImageOps.exif_transpose(file)
    if picture.mode.startswith("I"):
        return _round_grey(picture)
    if picture.mode == "F":
        raise ValueError("floating-point levels have no known white")
    if picture.has_transparency_data:
        picture = picture.convert("RGBA")
        white = Image.new("RGBA", picture.size, "white")
        picture = Image.alpha_composite(white, picture)
    return picture if picture.mode == "L" else picture.convert("RGB")


def _round_grey(picture: "Image.Image") -> "Image.Image":
    """Round 16-bit grey, which Pillow holds in mode I;16 or, read from PGM, in I."""
    from PIL import Image

    levels = np.asarray(picture)
    if levels.min() < 0 or levels.max() > 65535:
        raise ValueError("more than 16 bits a pixel")
    return Image.fromarray(np.rint(levels / 257).astype(np.uint8))


def _round_colours(file: Any, source: Path | BinaryIO) -> None:
    """Round 16-bit colours in place, of which Pillow reads nothing but the high byte.

    The low one is what it reads where it takes the two to come in the other order.
    """
    if not file.tile:
        return
    # How Pillow's decoder of the first part reads its bytes, alone or before other arguments.
    args = file.tile[0][3]
    deep = DEEP.fullmatch(str(args[0] if isinstance(args, tuple | list) and args else args))
    if deep is None:
        return
    bands, order = deep.groups()
    # Grey and transparency are four bytes, of which it has no reader in the other order.
    mode = "RGBA" if bands == "LA" else f"{bands};16{OTHER_ORDER[order]}"
    with open_header(source) as other:
        other.tile = [_read_as(tile, mode) for tile in other.tile]  # type: ignore[attr-defined]
        low = np.asarray(other)
    low = low[..., [1, 1, 1, 3]] if bands == "LA" else low
    levels = np.asarray(file).astype(np.uint16) << 8 | low
    file.frombytes(np.rint(levels / 257).astype(np.uint8).tobytes())
    if isinstance(clear := file.info.get("transparency"), tuple):
        file.info["transparency"] = tuple(round(level / 257) for level in clear)


def _read_as(tile: Any, mode: str) -> Any:
    """Return a part of a picture that is read otherwise: Pillow's named tuple, or a plain one."""
    args = mode if isinstance(tile[3], str) else (mode, *tile[3][1:])
    return getattr(tile, "_make", tuple)([*tile[:3], args])
