"""Images that any program has made: a folder, an array or a zip archive, read as uint8.

What could be read in two ways is refused in one line instead of guessed at, and an archive is never
unpacked to the disk.
"""

import os
import warnings
import zipfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from difflib import get_close_matches
from functools import partial
from pathlib import Path
from typing import BinaryIO, Literal

import numpy as np

from benchmarks.archives import inflate, open_archive
from benchmarks.data.dataset import CHUNK
from benchmarks.data.decoding import open_header, open_picture
from benchmarks.data.files import picture_suffixes
from benchmarks.data.pictures import LARGEST, SMALLEST
from benchmarks.errors import BadInput, one_line, unknown
from benchmarks.suite import FEWEST

Range = Literal["unit", "symmetric"]
Report = Callable[[int, int], None]
"""Is told how many images are done, and of how many."""

Picture = tuple[str, Callable[[], Path | BinaryIO]]
"""What a picture is called in messages, and how its file or content is got."""

RANGES: dict[Range, tuple[int, int]] = {"unit": (0, 1), "symmetric": (-1, 1)}
"""What the floats of an array may be declared as."""

ARRAYS = (".npy", ".npz")
HALF_LEVEL = 0.5 / 255
"""How far beyond its range a float in [0, 1] still rounds to the range's last level."""


def read_images(
    place: Path,
    *,
    value_range: Range | None = None,
    key: str | None = None,
    report: Report | None = None,
) -> np.ndarray:
    """Read a set of images, all of one size.

    Args:
        place: a folder with pictures at any depth, a .zip of such pictures, or a .npy or .npz file
            with an array [N, H, W], [N, H, W, C] or [N, C, H, W], uint8 or float. A .npy file is
            mapped into memory; links to folders are not followed.
        value_range: what floats are declared as; that of uint8 and of pictures is known.
        key: the array's name, where a .npz file holds several.
        report: is told how many pictures are read.

    Returns:
        uint8 [N, C, S, S] in the order of the array, or of the pictures' sorted paths; C is 3 if
        any picture is stored in colour, and 1 otherwise.

    Raises:
        BadInput: something is absent, damaged, unsafe or ambiguous; one line says what would work.
    """
    kind = find_kind(place)
    if kind in ARRAYS:
        array = map_array(place) if kind == ".npy" else load_array(place, key)
        images = convert_array(array, place, value_range)
    elif kind == ".zip":
        images = read_archive(place, report)
    else:
        images = read_folder(place, report)
    if len(images) < FEWEST:
        raise BadInput(f"{place} holds {len(images)} images; scores need at least {FEWEST}")
    return images


def find_kind(place: Path) -> str:
    """Tell how images are kept: by the suffix of a file that can be read, "" for a folder.

    Raises:
        BadInput: there is nothing at this place, or a file of another kind.
    """
    if place.is_dir():
        return ""
    if not place.exists():
        raise BadInput(f"there is no {place}{suggest(place)}")
    kind = place.suffix.lower()
    if kind in picture_suffixes():
        raise BadInput(f"{place} is one picture; name the folder that holds all of them")
    if kind not in {*ARRAYS, ".zip"} or not place.is_file():
        raise BadInput(f"{place}: images are read from a folder or a .npy, .npz or .zip file")
    return kind


def suggest(place: Path) -> str:
    """Name what is called nearly like a missing file, if there is anything."""
    siblings = place.parent.iterdir() if place.parent.is_dir() else ()
    near = get_close_matches(place.name, [path.name for path in siblings], n=1)
    return f"; did you mean {place.parent / near[0]}?" if near else ""


def fit_channels(images: np.ndarray, channels: int, name: str, remedy: str) -> np.ndarray:
    """Give images of as many channels as they are compared with, if nothing is lost by that.

    Grey images that were saved in colour become grey; any other difference is refused.

    Args:
        images: uint8 [N, C, S, S].
        channels: 1 or 3.
        name: of what they are compared with.
        remedy: what would help, as the end of the message.

    Raises:
        BadInput: one is grey and the other in colour.
    """
    if images.shape[1] == channels:
        return images
    if channels == 3:
        raise BadInput(f"the images are grey and those of {name} in colour: {remedy}")
    if not all((part == part[:, :1]).all() for part in chunks(images)):
        raise BadInput(f"the images are in colour and those of {name} grey: {remedy}")
    return images[:, :1]


def chunks(images: np.ndarray) -> Iterator[np.ndarray]:
    """Give a large array in parts."""
    return (images[start : start + CHUNK] for start in range(0, len(images), CHUNK))


def read_folder(folder: Path, report: Report | None) -> np.ndarray:
    """Read the pictures of a folder."""
    return decode([(str(file), partial(Path, file)) for file in find_pictures(folder)], report)


def find_pictures(folder: Path) -> list[Path]:
    """List the pictures below a folder by their path, leaving out hidden ones.

    Raises:
        BadInput: there are none, or a folder cannot be read.
    """

    def refuse(error: OSError) -> None:
        raise BadInput(f"{error.filename} cannot be read: {error.strerror}") from error

    files = []
    for parent, folders, names in os.walk(folder, onerror=refuse):
        folders[:] = [name for name in folders if not name.startswith(".")]
        files += [Path(parent, name) for name in names if is_picture(Path(name))]
    if not files:
        raise BadInput(f"{folder} has no images ({', '.join(sorted(picture_suffixes()))})")
    return sorted(files)


def is_picture(path: Path) -> bool:
    """Tell by its name whether a file is a picture."""
    return not path.name.startswith(".") and path.suffix.lower() in picture_suffixes()


def decode(pictures: Sequence[Picture], report: Report | None) -> np.ndarray:
    """Decode pictures, all square and of one size, into uint8 [N, C, S, S].

    Raises:
        BadInput: one is broken or differs in size, none can have that size, or they are too many.
    """
    first = pictures[0][0]
    images: np.ndarray = np.empty(0, np.uint8)
    pool = ThreadPoolExecutor(os.cpu_count())
    with warnings.catch_warnings(action="ignore"):
        try:
            for index, pixels in enumerate(pool.map(decode_picture, pictures)):
                if index == 0:
                    images = np.empty((len(pictures), *pixels.shape), np.uint8)
                check_same_size(first, images.shape[2], pictures[index][0], pixels.shape[1])
                if len(pixels) > images.shape[1]:
                    images = images.repeat(3, axis=1)
                images[index] = pixels
                if report:
                    report(index + 1, len(pictures))
        except MemoryError as error:
            raise BadInput(f"{len(pictures):,} images like {first} fit in no memory") from error
        finally:
            pool.shutdown(cancel_futures=True)
    return images


def decode_picture(picture: Picture) -> np.ndarray:
    """Decode a picture to uint8 [C, S, S], looking at its size before its pixels.

    Raises:
        BadInput: it cannot be read, is not square, or too large or small.
    """
    name, fetch = picture
    try:
        file = fetch()
        with open_header(file) as header:
            check_size(name, *header.size)
        pixels = np.asarray(open_picture(file))
    except BadInput:
        raise
    except Exception as error:  # decoders raise anything on a broken file
        raise BadInput(f"{name} cannot be read: {one_line(error)}") from error
    check_size(name, pixels.shape[1], pixels.shape[0])  # a frame may be larger than its header says
    return pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)


def check_size(name: object, width: int, height: int) -> None:
    """Refuse images that are not square, or of a size that no data set can have."""
    if width != height:
        raise BadInput(f"{name}: {width} × {height} pixels; the images must be square")
    if not SMALLEST <= width <= LARGEST:
        raise BadInput(f"{name}: {width} × {width} pixels; a side has {SMALLEST} to {LARGEST}")


def check_same_size(first: str, side: int, name: str, other: int) -> None:
    """Refuse a picture that is not as large as the first one."""
    if other != side:
        raise BadInput(
            f"mixed sizes: {first} has {side} × {side} pixels, {name} {other} × {other}; "
            "bring all images to one size"
        )


def read_archive(place: Path, report: Report | None) -> np.ndarray:
    """Read the pictures of a zip archive, never more of them at a time than are being decoded."""
    with open_archive(place) as archive:
        entries = sorted(filter(is_shown, archive.infolist()), key=lambda entry: entry.filename)
        if not entries:
            raise BadInput(f"{place} has no images ({', '.join(sorted(picture_suffixes()))})")
        pictures = [(f"{place}:{e.filename}", partial(inflate, archive, e)) for e in entries]
        return decode(pictures, report)


def is_shown(entry: zipfile.ZipInfo) -> bool:
    """Tell whether an entry is a picture that does not lie hidden, as copies by macOS do."""
    parts = Path(entry.filename).parts
    hidden = any(part.startswith((".", "__MACOSX")) for part in parts)
    return not entry.is_dir() and not hidden and is_picture(Path(entry.filename))


def map_array(place: Path) -> np.ndarray:
    """Map the array of a .npy file into memory."""
    with readable_array(place):
        with place.open("rb") as file:
            if file.read(len(np.lib.format.MAGIC_PREFIX)) != np.lib.format.MAGIC_PREFIX:
                raise BadInput(f"{place} is no .npy file; write it by numpy.save")
        mapped: np.ndarray = np.load(place, mmap_mode="r", allow_pickle=False)
    return mapped


def load_array(place: Path, key: str | None) -> np.ndarray:
    """Read the array called `key` of a .npz file, which need not be named where it is alone.

    Raises:
        BadInput: there is none of that name, or none is named and there are several.
    """
    with open_archive(place) as archive:
        names = [n.removesuffix(".npy") for n in archive.namelist() if n.endswith(".npy")]
        if key is None and len(names) != 1:
            held = f"several arrays ({', '.join(names)}): choose one by --key"
            raise BadInput(f"{place} holds {held if names else 'no array'}")
        if key is not None and key not in names:
            raise BadInput(f"--key: {unknown('array', key, names)}")
        with readable_array(place), archive.open(f"{key or names[0]}.npy") as file:
            array: np.ndarray = np.lib.format.read_array(file, allow_pickle=False)
    return array


@contextmanager
def readable_array(place: Path) -> Iterator[None]:
    """Turn whatever goes wrong when an array is read into one line."""
    try:
        yield
    except BadInput:
        raise
    except Exception as error:  # a broken header makes numpy raise anything
        raise BadInput(f"{place} is no readable array of numbers: {one_line(error)}") from error


def convert_array(array: np.ndarray, place: Path, value_range: Range | None) -> np.ndarray:
    """Bring an array of images to uint8 [N, C, S, S].

    Raises:
        BadInput: its type or shape is not that of images, or its values are not what they should.
    """
    images = arrange(array, place)
    if not len(images):
        return np.empty((0, 1, SMALLEST, SMALLEST), np.uint8)
    check_size(place, images.shape[3], images.shape[2])
    if images.dtype == np.uint8:
        check_levels(images, place)
        return images
    if images.dtype.kind != "f":
        raise BadInput(f"{place} is {images.dtype}; save uint8, or floats in [0, 1] or [-1, 1]")
    return quantise(images, place, value_range)


def arrange(array: np.ndarray, place: Path) -> np.ndarray:
    """View an array as [N, C, H, W].

    Raises:
        BadInput: it has not the shape of images, or that of two layouts.
    """
    shape = array.shape
    if array.ndim == 3:
        return array[:, None]
    first = array.ndim == 4 and shape[1] in {1, 3}
    last = array.ndim == 4 and shape[3] in {1, 3}
    if first and last:
        first, last = shape[2] == shape[3], shape[1] == shape[2]
    if first and last:
        raise BadInput(f"{place} of shape {list(shape)} may be [N, C, H, W] or [N, H, W, C]")
    if not first and not last:
        raise BadInput(
            f"{place} has the shape {list(shape)}; images have [N, H, W], [N, H, W, C] or "
            "[N, C, H, W] with C = 1 or 3"
        )
    return array if first else np.moveaxis(array, 3, 1)


def check_levels(images: np.ndarray, place: Path) -> None:
    """Refuse images of 0 and 1 that were meant as black and white, and would all look black."""
    if max(part.max() for part in chunks(images)) == 1:
        raise BadInput(f"{place} is uint8, but its largest value is 1; levels go from 0 to 255")


def quantise(images: np.ndarray, place: Path, value_range: Range | None) -> np.ndarray:
    """Round floats of a declared range to uint8, as if they were saved to a file.

    Raises:
        BadInput: the range is not declared, or some value is not in it or no number.
    """
    low, high = find_extremes(images, place)
    found = f"{place} holds values from {low:.4g} to {high:.4g}"
    if value_range is None:
        raise BadInput(f"{found}: add --range unit for [0, 1], or --range symmetric for [-1, 1]")
    least, most = RANGES[value_range]
    slack = HALF_LEVEL * (most - least)
    if low < least - slack or high > most + slack:
        raise BadInput(f"--range {value_range}: {found}, not from {least} to {most}")
    if least < 0 <= low:
        raise BadInput(f"--range {value_range}: {found}, none below 0, as is --range unit")
    levels = np.empty(images.shape, np.uint8)
    for start in range(0, len(images), CHUNK):
        part = images[start : start + CHUNK]
        exact = part.astype(np.promote_types(part.dtype, np.float32))
        unit = (exact - least) / (most - least)
        levels[start : start + CHUNK] = np.rint(unit.clip(0, 1) * 255)
    return levels


def find_extremes(images: np.ndarray, place: Path) -> tuple[float, float]:
    """Give the least and the greatest value.

    Raises:
        BadInput: some value is NaN or infinite; the first such image is named.
    """
    extremes = []
    for number, part in enumerate(chunks(images)):
        extremes += [float(part.min()), float(part.max())]
        if not np.isfinite(extremes[-2:]).all():
            finite = np.isfinite(part).all(axis=(1, 2, 3))
            first = number * CHUNK + int(finite.argmin())
            raise BadInput(f"{place}: image {first} has values that are NaN or infinite")
    return min(extremes), max(extremes)
