"""From image files to a memory-mapped array, decoded once and kept in a cache."""

import hashlib
import json
import os
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np
from platformdirs import user_cache_path

from benchmarks.data.dataset import CHUNK
from benchmarks.data.pictures import SMALLEST, fit_picture
from benchmarks.data.splits import content_order
from benchmarks.errors import BadInput, one_line

if TYPE_CHECKING:
    from PIL import Image

VERSION = 1  # of what follows; a new one makes every cached array be decoded anew
LARGEST_DEFAULT = 64

FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
"""What pictures are, whatever they are called: Pillow runs a program to read some other formats."""

Part = tuple[np.ndarray, np.ndarray]


def cache_folder() -> Path:
    """Folder of decoded images: below `$BENCHMARKS_CACHE`, or else the user's cache folder."""
    chosen = os.environ.get("BENCHMARKS_CACHE")
    return (Path(chosen) if chosen else user_cache_path("generative-benchmarks")) / "decoded"


def decode(
    place: Path, parts: Sequence[Sequence[Path]], image_size: int | None, channels: int | None
) -> list[Part]:
    """Decode files, or take them from the cache if none has changed since.

    Args:
        place: the folder they belong to.
        parts: the files of each split.
        image_size: side in pixels; None for the common size, see `common_size`.
        channels: 1 or 3; None for 1 where all pictures are grey and 3 otherwise.

    Returns:
        For each part the images, a read-only memory map [N, C, S, S] in content order, and that
        order, int64 [N]: the place in `parts` of each image.

    Raises:
        BadInput: broken files, named; a cache folder that cannot be written.
    """
    path = cache_folder() / _cache_name(place, parts, image_size, channels)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        arrays = _load(path) or _build(path, parts, image_size, channels)
    except OSError as error:
        raise BadInput(
            f"decoded images cannot be kept in {path.parent} ({error.strerror or error}): "
            "choose another folder by the variable BENCHMARKS_CACHE"
        ) from error
    borders = np.cumsum([len(part) for part in parts])[:-1]
    return list(zip(*(np.split(array, borders) for array in arrays), strict=True))


def _cache_name(
    place: Path, parts: Sequence[Sequence[Path]], image_size: int | None, channels: int | None
) -> str:
    """Name the cache file by the place and request, and by the state of the files."""
    request = [VERSION, str(place.resolve()), image_size, channels]
    state = []
    for part in parts:
        status = [(file, file.stat() if file.exists() else file.lstat()) for file in part]
        state.append([(os.path.relpath(f, place), s.st_size, s.st_mtime_ns) for f, s in status])
    return f"{_digest(request)}-{_digest([request, state])}.npy"


def _digest(value: object) -> str:
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()[:24]


def _order_path(path: Path) -> Path:
    return path.with_suffix(".order.npy")


def _load(path: Path) -> Part | None:
    """Open cached arrays; None where there are none or they are damaged."""
    try:
        images = np.load(path, mmap_mode="r", allow_pickle=False)
        return images, np.load(_order_path(path), allow_pickle=False)
    except (FileNotFoundError, ValueError, EOFError):
        return None


def _build(
    path: Path, parts: Sequence[Sequence[Path]], image_size: int | None, channels: int | None
) -> Part:
    """Decode all files, then write the arrays whole, the images last."""
    files = [file for part in parts for file in part]
    size = image_size or common_size(files)
    with tempfile.TemporaryFile(dir=path.parent) as file:
        shape = (len(files), channels or 3, size, size)
        scratch = np.memmap(file, dtype=np.uint8, mode="w+", shape=shape)
        grey = _fill(scratch, files)
        images = scratch[:, :1] if channels is None and grey else scratch
        pieces = np.split(images, np.cumsum([len(part) for part in parts])[:-1])
        orders = [content_order(piece) for piece in pieces]
        with _whole(_order_path(path)) as beside:
            np.save(beside, np.concatenate(orders))
        with _whole(path) as beside:
            _write_in_order(beside, pieces, orders)
    _remove_outdated(path)
    return np.load(path, mmap_mode="r", allow_pickle=False), np.concatenate(orders)


def _write_in_order(path: Path, pieces: Sequence[np.ndarray], orders: Sequence[np.ndarray]) -> None:
    shape = (sum(map(len, pieces)), *pieces[0].shape[1:])
    final = np.lib.format.open_memmap(path, "w+", np.uint8, shape)
    row = 0
    for piece, order in zip(pieces, orders, strict=True):
        for start in range(0, len(order), CHUNK):
            chosen = order[start : start + CHUNK]
            final[row : row + len(chosen)] = piece[chosen]
            row += len(chosen)
    final.flush()


@contextmanager
def _whole(path: Path) -> Iterator[Path]:
    """Give a file to write beside `path`, and move it there when it is complete."""
    handle, name = tempfile.mkstemp(suffix=".npy", dir=path.parent)
    os.close(handle)
    beside = Path(name)
    try:
        yield beside
        with beside.open("rb+") as file:
            os.fsync(file.fileno())
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


def _remove_outdated(path: Path) -> None:
    """Remove what was decoded from earlier states of the same folder."""
    for other in path.parent.glob(f"{path.name.split('-')[0]}-*"):
        if other not in (path, _order_path(path)):
            with suppress(OSError):  # another process may have it open
                other.unlink()


def common_size(files: Sequence[Path]) -> int:
    """The side of the pictures where all are square, equal and at most 64 pixels wide; else 64."""
    sizes = set()
    for file in files:
        # a broken file is named when it is decoded
        quiet = warnings.catch_warnings(action="ignore")
        with suppress(Exception), quiet, open_header(file) as picture:
            sizes.add(picture.size)
        if len(sizes) > 1:
            break
    width, height = sizes.pop() if len(sizes) == 1 else (0, 1)
    return width if SMALLEST <= width == height <= LARGEST_DEFAULT else LARGEST_DEFAULT


def _fill(images: np.ndarray, files: Sequence[Path]) -> bool:
    """Decode files into uint8 [N, C, S, S]; tell whether all of them are grey.

    Raises:
        BadInput: some files are broken.
    """

    def attempt(file: Path) -> np.ndarray | str:
        try:
            return fit_picture(open_picture(file), images.shape[2], images.shape[1])
        except (ValueError, MemoryError) as error:
            return f"{file} ({one_line(error)})"

    grey, broken = True, []
    with warnings.catch_warnings(action="ignore"), ThreadPoolExecutor(os.cpu_count()) as pool:
        for index, result in enumerate(pool.map(attempt, files)):
            if isinstance(result, str):
                broken.append(result)
            else:
                images[index] = result
                grey = grey and bool((result == result[:1]).all())
    if broken:
        more = f" and {len(broken) - 3} more" if len(broken) > 3 else ""
        named = ", ".join(broken[:3])
        raise BadInput(f"images that cannot be read: {named}{more}; repair or remove them")
    return grey


def open_header(source: Path | BinaryIO) -> "Image.Image":
    """Open a picture, decoding nothing but its header.

    Raises:
        ValueError: it is no regular file (a pipe would be waited for), or larger than Pillow's
            limit of pixels, of which a few compressed bytes can claim billions.
        Exception: anything else that Pillow raises on a broken file.
    """
    from PIL import Image

    if isinstance(source, Path) and not source.is_file():
        raise ValueError("there is no such file")
    picture = Image.open(source, formats=FORMATS)
    pixels, most = picture.width * picture.height, Image.MAX_IMAGE_PIXELS
    if most and pixels > most:
        picture.close()
        raise ValueError(f"{pixels:,} pixels, more than {most:,}: a decompression bomb")
    return picture


def open_picture(source: Path | BinaryIO) -> "Image.Image":
    """Read the first frame of an image file as 8-bit grey (L) or colour (RGB).

    EXIF orientation is applied, 16-bit grey is scaled to 8 bits, and what is transparent is laid on
    white.

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
        picture = ImageOps.exif_transpose(file)
    if picture.mode.startswith("I"):
        return _scale_to_8_bits(picture)
    if picture.mode == "F":
        raise ValueError("floating-point levels have no known white")
    if picture.has_transparency_data:
        picture = picture.convert("RGBA")
        white = Image.new("RGBA", picture.size, "white")
        picture = Image.alpha_composite(white, picture)
    return picture if picture.mode == "L" else picture.convert("RGB")


def _scale_to_8_bits(picture: "Image.Image") -> "Image.Image":
    """Scale 16-bit grey, which Pillow holds in mode I;16 or, read from PGM, in I."""
    from PIL import Image

    levels = np.asarray(picture)
    if levels.min() < 0 or levels.max() > 65535:
        raise ValueError("more than 16 bits a pixel")
    return Image.fromarray(np.rint(levels / 257).astype(np.uint8))
