"""From image files to a memory-mapped array, decoded once and kept in a cache."""

import os
import re
import sys
import tempfile
import warnings
from collections.abc import Sequence
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from benchmarks.core.errors import BadInput, one_line
from benchmarks.data.cache import (
    Hashes,
    digest,
    in_threads,
    open_array,
    opened_cache,
    reserve,
    whole_file,
    write_array,
)
from benchmarks.data.dataset import slices
from benchmarks.data.files import FORMATS, Files, readable_formats
from benchmarks.data.pictures import SMALLEST, fit_picture
from benchmarks.data.splits import content_keys

if TYPE_CHECKING:
    from PIL import Image

VERSION = 2  # of what follows; a new one makes every cached array be decoded anew
LARGEST_DEFAULT = 64
NAMED = 20
"""Broken files that a message names."""

DEEP = re.compile("(RGB|RGBA|RGBX|CMYK|LA);16([BLN])")
"""How Pillow calls 16-bit colours: their bands and the order of their bytes, N as on this machine.
"""

OTHER_ORDER = {"B": "L", "L": "B", "N": "B" if sys.byteorder == "little" else "L"}

Part = tuple[np.ndarray, np.ndarray]


def decode(
    files: Files,
    domain: str,
    parts: Sequence[Sequence[str]],
    image_size: int | None,
    channels: int | None,
) -> list[Part]:
    """Decode pictures, or take them from the cache if their content is what it was.

    Args:
        files: what they belong to.
        domain: what they are called among all parts of the place.
        parts: the names of each split's pictures. One whose pixels are those of a picture in an
            earlier part is left out.
        image_size: side in pixels; None for the common size, see `common_size`.
        channels: 1 or 3; None for 1 where all pictures are grey and 3 otherwise.

    Returns:
        For each part the images, a read-only memory map [N, C, S, S] in content order, and that
        order, int64 [N]: the place in the part of each image.

    Raises:
        BadInput: broken files, named; a cache folder that cannot be written.
    """
    place = digest([str(files.place.resolve()), domain])
    request = digest([VERSION, place, image_size, channels])
    with opened_cache() as folder:
        hashes = Hashes(folder / f"{place}.json")
        names = [name for part in parts for name in part]
        paths = [files.place] if files.archive else [files.place / name for name in names]
        state = [hashes.find(paths), list(map(list, parts))]
        path = folder / f"{request}-{digest(state)}.npy"
        images, order = open_array(path), open_array(_order_path(path))
        if images is None or order is None:
            _build(path, files, parts, image_size, channels)
            images, order = (np.load(p, mmap_mode="r") for p in (path, _order_path(path)))
        hashes.save()
    starts = np.cumsum([0, *map(len, parts)])
    rows = pairwise(np.count_nonzero(order < start) for start in starts)
    return [(images[a:b], order[a:b] - start) for (a, b), start in zip(rows, starts, strict=False)]


def _order_path(path: Path) -> Path:
    return path.with_suffix(".order.npy")


def _build(
    path: Path,
    files: Files,
    parts: Sequence[Sequence[str]],
    image_size: int | None,
    channels: int | None,
) -> None:
    """Decode all files, then write the arrays whole, the images last."""
    names = [name for part in parts for name in part]
    size = image_size or common_size(files, names)
    with tempfile.TemporaryFile(dir=path.parent) as file:
        shape = (len(names), channels or 3, size, size)
        scratch = np.memmap(file, dtype=np.uint8, mode="w+", shape=shape)
        reserve(file.fileno())
        grey = _fill(scratch, files, names)
        images = scratch[:, :1] if channels is None and grey else scratch
        order = arrange(content_keys(images), list(map(len, parts)))
        with whole_file(_order_path(path)) as beside:
            np.save(beside, order)

        def write(final: np.ndarray) -> None:
            for rows in slices(final):
                final[rows] = images[order[rows]]

        write_array(path, (len(order), *images.shape[1:]), write)
    _remove_outdated(path)


def arrange(keys: Sequence[bytes], counts: Sequence[int]) -> np.ndarray:
    """Bring each part into the order of its keys, without what an earlier part has already.

    Args:
        keys: of the images of all parts, one part after the other.
        counts: how many belong to each.

    Returns:
        int64 [M], the positions in `keys` of those that stay.
    """
    seen, order = set[bytes](), list[int]()
    for start, stop in pairwise([0, *np.cumsum(counts).tolist()]):
        kept = [row for row in range(start, stop) if keys[row] not in seen]
        order += sorted(kept, key=keys.__getitem__)
        seen.update(keys[start:stop])
    return np.array(order, dtype=np.int64)


def _remove_outdated(path: Path) -> None:
    """Remove what was decoded from earlier states of the same place."""
    for other in path.parent.glob(f"{path.name.split('-')[0]}-*"):
        if not other.name.startswith(path.stem):
            with suppress(OSError):  # another process may have it open
                other.unlink()


def common_size(files: Files, names: Sequence[str]) -> int:
    """The side of the pictures where all are square, equal and at most 64 pixels wide; else 64."""
    sizes = set()
    for name in names:
        # a broken file is named when it is decoded
        quiet = warnings.catch_warnings(action="ignore")
        with suppress(Exception), quiet, open_header(files.open(name)) as picture:
            sizes.add(picture.size)
        if len(sizes) > 1:
            break
    width, height = sizes.pop() if len(sizes) == 1 else (0, 1)
    return width if SMALLEST <= width == height <= LARGEST_DEFAULT else LARGEST_DEFAULT


def _fill(images: np.ndarray, files: Files, names: Sequence[str]) -> bool:
    """Decode files into uint8 [N, C, S, S]; tell whether all of them are grey.

    Raises:
        BadInput: some files are broken.
    """

    def attempt(name: str) -> np.ndarray | str:
        try:
            return fit_picture(open_picture(files.open(name)), images.shape[2], images.shape[1])
        except Exception as error:  # noqa: BLE001 - zipfile raises anything on a broken entry
            return f"{files.describe(name)} ({one_line(error)})"

    grey, broken = True, []
    with warnings.catch_warnings(action="ignore"):
        for index, result in enumerate(in_threads(attempt, names)):
            if isinstance(result, str):
                broken.append(result)
            else:
                images[index] = result
                grey = grey and bool((result == result[:1]).all())
    refuse_broken(broken)
    return grey


def refuse_broken(files: Sequence[str]) -> None:
    """Refuse pictures that cannot be read, the first 20 named, each with its reason.

    Raises:
        BadInput: there are some.
    """
    if not files:
        return
    count = "1 image cannot" if len(files) == 1 else f"{len(files):,} images cannot"
    more = f" and {len(files) - NAMED:,} more" if len(files) > NAMED else ""
    named = ", ".join(files[:NAMED])
    raise BadInput(f"{count} be read: {named}{more}; repair or remove what is broken")


def open_header(source: Path | BinaryIO) -> "Image.Image":
    """Open a picture, decoding nothing but its header.

    Raises:
        ValueError: it is no regular file (a pipe would be waited for), empty or no picture, or
            larger than Pillow's limit of pixels, of which a few compressed bytes can claim
            billions.
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
    laid on white.

    Raises:
        ValueError: it cannot be read, or its levels have no known white (floating point, or over
            16 bits); the message is one line.
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
    deep = DEEP.fullmatch(str(_raw_mode(file.tile[0]))) if file.tile else None
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


def _raw_mode(tile: tuple[Any, ...]) -> object:
    """Return how Pillow's decoder of a part of a picture reads its bytes."""
    return tile[3][0] if isinstance(tile[3], tuple | list) and tile[3] else tile[3]


def _read_as(tile: Any, mode: str) -> Any:
    """Return a part of a picture that is read otherwise: Pillow's named tuple, or a plain one."""
    args = mode if isinstance(tile[3], str) else (mode, *tile[3][1:])
    return getattr(tile, "_make", tuple)([*tile[:3], args])
