"""Arrays of images in .npy and .npz files: read without pickles, their layout and range checked."""

import math
import struct
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from benchmarks.core.errors import BadInput, one_line, unknown
from benchmarks.data.dataset import slices
from benchmarks.evaluation.image_source import VALUE_RANGES, ImageSource

HALF_LEVEL = 0.5 / 255  # the distance beyond [0, 1] at which a float still rounds to the last level


@contextmanager
def readable_array(place: Path) -> Iterator[None]:
    """Turn whatever goes wrong when an array is read into one line."""
    try:
        yield
    except BadInput:
        raise
    except MemoryError as error:
        raise BadInput(f"{place} fits in no memory; what numpy.save writes does") from error
    except Exception as error:  # a broken header makes numpy raise anything
        raise BadInput(f"{place} is no readable array of numbers: {one_line(error)}") from error


def map_array(place: Path) -> np.ndarray:
    """Map the array of a .npy file into memory."""
    with readable_array(place):
        with place.open("rb") as file:
            if file.read(len(np.lib.format.MAGIC_PREFIX)) != np.lib.format.MAGIC_PREFIX:
                raise BadInput(f"{place} is no .npy file; write it by numpy.save")
        mapped: np.ndarray = np.load(place, mmap_mode="r", allow_pickle=False)
    return mapped


def choose_key(source: ImageSource, names: Sequence[str]) -> str:
    """Return the name of the array of a .npz file that holds the images."""
    option = f"{source.option}key"
    if source.key is None and len(names) != 1:
        held = f"several arrays ({', '.join(names)}): choose one by {option}" if names else ""
        raise BadInput(f"{source.name} holds {held or 'no array'}")
    if source.key is not None and source.key not in names:
        raise BadInput(f"{option}: {source.name}: {unknown('array', source.key, names)}")
    return source.key or names[0]


def load_array(place: Path, archive: zipfile.ZipFile, key: str) -> np.ndarray:
    """Read an array of an open .npz file, or map it where it is not compressed."""
    entry = archive.getinfo(f"{key}.npy")
    with readable_array(place), archive.open(entry) as file:
        version = np.lib.format.read_magic(file)
        read_header = getattr(np.lib.format, f"read_array_header_{version[0]}_0")
        shape, fortran, dtype = read_header(file)
        if dtype.hasobject or file.tell() + dtype.itemsize * math.prod(shape) > entry.file_size:
            raise ValueError("it holds objects" if dtype.hasobject else "it is cut off")
        if entry.compress_type == zipfile.ZIP_STORED:
            start = find_entry_offset(place, entry) + file.tell()
            return np.memmap(place, dtype, "r", start, shape, "F" if fortran else "C")
        file.seek(0)
        array: np.ndarray = np.lib.format.read_array(file, allow_pickle=False)
    return array


def find_entry_offset(place: Path, entry: zipfile.ZipInfo) -> int:
    """Return where in an archive the content of an entry begins, after its own header."""
    with place.open("rb") as file:
        file.seek(entry.header_offset + 26)
        name, extra = struct.unpack("<HH", file.read(4))
    return entry.header_offset + 30 + int(name) + int(extra)


def to_nchw(array: np.ndarray, name: str) -> np.ndarray:
    """View an array as [N, C, H, W]."""
    shape = array.shape
    if array.ndim == 3:
        if 3 in {shape[0], shape[2]} or (shape[2] == 4 != shape[1]):
            raise BadInput(
                f"{name} of shape {list(shape)} is one picture; a set of them has one axis more, "
                "[N, H, W, C] or [N, C, H, W], and grey ones may have [N, H, W]"
            )
        return array[:, None]
    first = array.ndim == 4 and shape[1] in {1, 3}
    last = array.ndim == 4 and shape[3] in {1, 3}
    if first and last:
        first, last = shape[2] == shape[3], shape[1] == shape[2]
    if first and last:
        raise BadInput(f"{name} of shape {list(shape)} may be [N, C, H, W] or [N, H, W, C]")
    if not first and not last:
        raise BadInput(
            f"{name} has the shape {list(shape)}; images have [N, H, W], [N, H, W, C] or "
            "[N, C, H, W] with C = 1 or 3"
        )
    return array if first else np.moveaxis(array, 3, 1)


def check_levels(images: np.ndarray, source: ImageSource) -> None:
    """Refuse a range of levels, and 0 and 1 that were meant as black and white: all look black."""
    if source.value_range:
        raise BadInput(f"{source.option}range: {source.name} is uint8, whose range is known")
    if max(images[rows].max() for rows in slices(images)) == 1:
        raise BadInput(f"{source.name} is uint8, but its largest value is 1; levels go to 255")


def check_range(images: np.ndarray, source: ImageSource) -> None:
    """Refuse floats whose range is not declared, or that are not in it, or no numbers."""
    option = f"{source.option}range"
    low, high = find_extremes(images, source.name)
    found = f"{source.name} holds values from {low:.4g} to {high:.4g}"
    if source.value_range is None:
        raise BadInput(f"{found}: add {option} unit for [0, 1], or {option} symmetric for [-1, 1]")
    least, most = VALUE_RANGES[source.value_range]
    slack = HALF_LEVEL * (most - least)
    if low < least - slack or high > most + slack:
        raise BadInput(f"{option} {source.value_range}: {found}, not from {least} to {most}")
    if least < 0 <= low:
        raise BadInput(f"{option} {source.value_range}: {found}, none below 0, as is {option} unit")


def find_extremes(images: np.ndarray, name: str) -> tuple[float, float]:
    """Return the least and the greatest value; name the first image with NaN or infinity."""
    extremes = list[float]()
    for rows in slices(images):
        part = images[rows]
        extremes += [float(part.min()), float(part.max())]
        if not np.isfinite(extremes[-2:]).all():
            finite = np.isfinite(part).all(axis=(1, 2, 3))
            first = rows.start + int(finite.argmin())
            raise BadInput(f"{name}: image {first} has values that are NaN or infinite")
    return min(extremes), max(extremes)
