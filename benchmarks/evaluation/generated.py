"""Sets of images that any program has made: a folder, a zip archive or an array, read as uint8.

What could be read in two ways is refused in one line instead of guessed at. Images are decoded in
batches, some ahead of their use, so that memory never holds more than a few; an archive is never
unpacked to the disk.
"""

import hashlib
import json
import math
import struct
import zipfile
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cached_property
from pathlib import Path
from typing import Literal, get_args

import numpy as np

from benchmarks.config.suite import FEWEST
from benchmarks.core.archives import open_archive
from benchmarks.core.errors import BadInput, one_line, unknown
from benchmarks.core.pictures import open_header, open_picture
from benchmarks.data.cache import in_threads
from benchmarks.data.dataset import CHUNK, Split
from benchmarks.data.decoding import refuse_broken
from benchmarks.data.files import Files, list_files, picture_suffixes
from benchmarks.data.pictures import LARGEST, SMALLEST, fit, fit_picture

Range = Literal["unit", "symmetric"]
RANGES: dict[Range, tuple[int, int]] = dict(zip(get_args(Range), ((0, 1), (-1, 1)), strict=True))
"""What the floats of an array may be declared as."""

ARRAYS = (".npy", ".npz")
HALF_LEVEL = 0.5 / 255
"""How far beyond its range a float in [0, 1] still rounds to the range's last level."""

BLOCK = 16
"""Images that a thread decodes at a time."""

GREY_MODES = frozenset(("1", "L", "LA", "I", "I;16", "I;16B", "I;16L"))
"""Pillow's modes of pictures that are grey whatever they show."""


@dataclass(frozen=True)
class Source:
    """Where a set of images is, and how it is kept.

    Attributes:
        place: a folder, a .zip of pictures, a .npy or .npz file, or the array itself.
        value_range: what floats are declared as; that of uint8 and of pictures is known.
        key: the array's name, where a .npz file holds several.
        resize: the side to which images are brought, None for their own.
        option: how the options that say so begin, for messages.
    """

    place: Path | np.ndarray
    value_range: Range | None = None
    key: str | None = None
    resize: int | None = None
    option: str = "--"

    @property
    def kind(self) -> str:
        """The suffix of a file that can be read, "" for a folder, ".npy" for an array in memory.

        Raises:
            BadInput: there is nothing at this place, or a file of another kind.
        """
        return find_kind(self.place) if isinstance(self.place, Path) else ".npy"

    @property
    def name(self) -> str:
        """What messages call it."""
        return str(self.place) if isinstance(self.place, Path) else f"the array {self.title!r}"

    @property
    def title(self) -> str:
        """What tables call it."""
        word = "images" if self.option == "--" else "reference"
        return self.place.name if isinstance(self.place, Path) else word


class Images(ABC):
    """A set of images that are read in batches.

    Attributes:
        source: where they are.
        side: of every image, in pixels.
        channels: 1 where all of them show nothing but grey, else 3; it may be raised to 3.
        notes: what was left out, in words.
    """

    def __init__(self, source: Source, count: int, sizes: Iterable[tuple[str, int, int]]) -> None:
        self.source, self.count, self.notes = source, count, list[str]()
        self.side = source.resize or find_side(sizes)
        if count < FEWEST:
            raise BadInput(f"{source.name} holds {count} images; scores need at least {FEWEST}")

    def __len__(self) -> int:
        return self.count

    @cached_property
    def channels(self) -> int:
        """What the pictures show decides, not how they are stored."""
        return 1 if self.find_grey() else 3

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """N, C, S, S."""
        return self.count, self.channels, self.side, self.side

    @abstractmethod
    def find_grey(self) -> bool:
        """Return whether all images are grey, reading no more of them than that takes."""

    @abstractmethod
    def decode(self, rows: Sequence[int] | np.ndarray) -> tuple[np.ndarray, list[str]]:
        """Return images, uint8 [n, C, S, S], and which of them are broken."""

    def read(self, rows: Sequence[int] | np.ndarray) -> np.ndarray:
        """Return the images of these numbers, uint8 [n, C, S, S].

        Raises:
            BadInput: some are broken.
        """
        images, broken = self.decode(rows)
        refuse_broken(broken)
        return images

    def batches(self, size: int) -> Iterator[np.ndarray]:
        """Yield all images in order, `size` at a time.

        Raises:
            BadInput: some are broken; all of these are named.
        """
        self.channels  # noqa: B018 - found before threads ask for it
        step = min(size, BLOCK)
        blocks = [range(i, min(i + step, self.count)) for i in range(0, self.count, step)]
        parts, broken = list[np.ndarray](), list[str]()
        for images, faults in in_threads(self.decode, blocks):
            broken += faults
            parts = [] if broken else [*parts, images]
            if sum(map(len, parts)) >= size:
                yield np.concatenate(parts)
                parts = []
        refuse_broken(broken)
        if parts:
            yield np.concatenate(parts)


class Pictures(Images):
    """The pictures of a folder or an archive."""

    def __init__(self, source: Source, files: Files) -> None:
        self.files = files
        headers = list(in_threads(self.read_header, files.names))
        refuse_broken([header for header in headers if isinstance(header, str)])
        self.sizes, modes = zip(*headers, strict=True)
        named = (
            (files.describe(n), *size) for n, size in zip(files.names, self.sizes, strict=True)
        )
        super().__init__(source, len(files.names), named)
        self.unclear = [row for row, mode in enumerate(modes) if mode not in GREY_MODES]
        if left_out := files.describe_left_out():
            self.notes.append(f"{source.name}: left out {left_out}")

    def read_header(self, name: str) -> tuple[tuple[int, int], str] | str:
        """Return a picture's width and height and its mode, or that it is broken."""
        try:
            with open_header(self.files.open(name)) as header:
                return header.size, header.mode
        except Exception as error:  # noqa: BLE001 - decoders raise anything on a broken file
            return f"{self.files.describe(name)} ({one_line(error)})"

    def find_grey(self) -> bool:
        """Decode the pictures that may be coloured, up to the first that is."""
        return not any(in_threads(self.is_coloured, self.unclear))

    def is_coloured(self, row: int) -> bool:
        """Return whether a picture shows colour; a broken one is named when it is read."""
        try:
            pixels = np.asarray(open_picture(self.files.open(self.files.names[row])))
        except (BadInput, ValueError, MemoryError):
            return False
        return pixels.ndim == 3 and bool((pixels != pixels[..., :1]).any())

    def decode(self, rows: Sequence[int] | np.ndarray) -> tuple[np.ndarray, list[str]]:
        """Decode some pictures."""
        images = np.empty((len(rows), self.channels, self.side, self.side), np.uint8)
        broken = []
        for index, row in enumerate(rows):
            name = self.files.names[row]
            try:
                picture = open_picture(self.files.open(name))
                if not self.source.resize and picture.size != (self.side, self.side):
                    raise ValueError("a frame of another size than its header says")
                images[index] = fit_picture(picture, self.side, self.channels)
            except (BadInput, ValueError, MemoryError) as error:
                broken.append(f"{self.files.describe(name)} ({one_line(error)})")
        return images, broken


class Arrays(Images):
    """The images of an array, which may be mapped from a file."""

    def __init__(self, source: Source, array: np.ndarray) -> None:
        self.array = arrange(array, source.name)
        height, width = self.array.shape[2:]
        super().__init__(source, len(self.array), [(source.name, width, height)])
        if self.array.dtype == np.uint8:
            check_levels(self.array, source)
        elif self.array.dtype.kind == "f":
            check_range(self.array, source)
        else:
            kind = self.array.dtype
            raise BadInput(f"{source.name} is {kind}; save uint8, or floats in [0, 1] or [-1, 1]")

    def find_grey(self) -> bool:
        """Look for colour, up to the first part that has some."""
        if self.array.shape[1] == 1:
            return True
        parts = (self.quantise(part) for part in chunks(self.array))
        return all((part == part[:, :1]).all() for part in parts)

    def quantise(self, images: np.ndarray) -> np.ndarray:
        """Round floats of the declared range to uint8, as if they were saved to a file."""
        if images.dtype == np.uint8:
            return images
        assert self.source.value_range is not None
        least, most = RANGES[self.source.value_range]
        exact = images.astype(np.promote_types(images.dtype, np.float32))
        levels: np.ndarray = np.rint(((exact - least) / (most - least)).clip(0, 1) * 255)
        return levels.astype(np.uint8)

    def decode(self, rows: Sequence[int] | np.ndarray) -> tuple[np.ndarray, list[str]]:
        """Convert some images."""
        chosen = slice(rows.start, rows.stop) if isinstance(rows, range) else np.asarray(rows)
        images = self.quantise(self.array[chosen])
        if images.shape[2:] != (self.side, self.side):
            images = fit(Split(images), self.side, None).images
        if images.shape[1] > self.channels:
            return images[:, :1], []
        return np.repeat(images, self.channels // images.shape[1], axis=1), []


@dataclass(frozen=True)
class Statistics:
    """The mean [d] and covariance [d, d] of the features of images that need not be there.

    Attributes:
        title: what tables call them.
        mean: float64 [d].
        covariance: float64 [d, d].
        extractor: by which they were taken, `name@hash`; None in a file of another program, as are:
        count: of the images.
        shape: of the images, [C, S, S].
        resize: the side to which images were brought.
    """

    title: str
    mean: np.ndarray
    covariance: np.ndarray
    extractor: str | None = None
    count: int | None = None
    shape: tuple[int, int, int] | None = None
    resize: int | None = None

    @property
    def notes(self) -> list[str]:
        """What was done to the images, as far as it is known."""
        return [f"{self.title} is of images resized to {self.resize}"] if self.resize else []

    @property
    def fingerprint(self) -> str:
        """The SHA-256, in hex, of their content."""
        return hashlib.sha256(self.mean.tobytes() + self.covariance.tobytes()).hexdigest()


def open_images(source: Source) -> Images | Statistics:
    """Open a set of images, all of one size, and look at all that can be seen without decoding.

    Arrays are [N, H, W], [N, H, W, C] or [N, C, H, W], uint8 or float. A file that numpy has not
    compressed is mapped into memory. Pictures lie at any depth and are read by their path.

    Raises:
        BadInput: something is absent, damaged, unsafe or ambiguous; one line says what would work.
    """
    if source.kind not in ARRAYS:
        assert isinstance(source.place, Path)
        return Pictures(source, list_files(source.place))
    if isinstance(source.place, np.ndarray):
        return Arrays(source, source.place)
    if source.kind == ".npy":
        return Arrays(source, map_array(source.place))
    with open_archive(source.place) as archive:
        names = [n.removesuffix(".npy") for n in archive.namelist() if n.endswith(".npy")]
        if source.key is None and {"mu", "sigma"} <= set(names):
            return load_statistics(source.place, archive)
        key = choose_key(source, names)
        return Arrays(source, load_array(source.place, archive, key))


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


def find_side(sizes: Iterable[tuple[str, int, int]]) -> int:
    """Return the side of images that are all square and of one size.

    Args:
        sizes: name, width and height of each.

    Raises:
        BadInput: they are not, or no data set can have that size.
    """
    listed = list(sizes)
    first, side, _ = listed[0]
    least = max(SMALLEST, min(LARGEST, *(min(size) for _, *size in listed)))
    remedy = f"add --resize {least} to bring all images to one size"
    for name, width, height in listed:
        if width != height:
            raise BadInput(f"{name}: {width} × {height} pixels, not square; {remedy}")
        if width != side:
            raise BadInput(
                f"mixed sizes: {first} has {side} × {side} pixels, {name} {width} × {width}; "
                f"{remedy}"
            )
        if not SMALLEST <= width <= LARGEST:
            raise BadInput(
                f"{name}: {width} × {width} pixels; a side has {SMALLEST} to {LARGEST}; {remedy}"
            )
    return side


def chunks(images: np.ndarray) -> Iterator[np.ndarray]:
    """Yield a large array in parts of the bytes of so many images of 64 pixels."""
    step = max(1, CHUNK * 64 * 64 // max(1, int(np.prod(images.shape[2:]))))
    return (images[start : start + step] for start in range(0, len(images), step))


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


def choose_key(source: Source, names: Sequence[str]) -> str:
    """Name the array of a .npz file that holds the images, which need not be said of a lone one.

    Raises:
        BadInput: there is none of that name, or none is named and there are several.
    """
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
            start = find_content(place, entry) + file.tell()
            return np.memmap(place, dtype, "r", start, shape, "F" if fortran else "C")
        file.seek(0)
        array: np.ndarray = np.lib.format.read_array(file, allow_pickle=False)
    return array


def find_content(place: Path, entry: zipfile.ZipInfo) -> int:
    """Return where in an archive the content of an entry begins, after its own header."""
    with place.open("rb") as file:
        file.seek(entry.header_offset + 26)
        name, extra = struct.unpack("<HH", file.read(4))
    return entry.header_offset + 30 + int(name) + int(extra)


def load_statistics(place: Path, archive: zipfile.ZipFile) -> Statistics:
    """Read the statistics of an open .npz file, ours or of another program.

    Raises:
        BadInput: they are no mean and covariance of one width.
    """
    mean, covariance = (load_array(place, archive, key) for key in ("mu", "sigma"))
    about = {}
    if "about.npy" in archive.namelist():
        with readable_array(place):
            about = json.loads(str(load_array(place, archive, "about")))
    if mean.ndim != 1 or covariance.shape != 2 * mean.shape or covariance.dtype.kind != "f":
        raise BadInput(
            f"{place}: mu {list(mean.shape)} and sigma {list(covariance.shape)} are no statistics; "
            "these are floats [d] and [d, d]"
        )
    mean, covariance = np.array(mean, np.float64), np.array(covariance, np.float64)
    sound = np.isfinite(mean).all() and np.isfinite(covariance).all()
    if not (sound and np.allclose(covariance, covariance.T) and (covariance.diagonal() >= 0).all()):
        raise BadInput(f"{place}: sigma is no covariance, or mu or sigma holds NaN or infinity")
    with readable_array(place):
        return Statistics(place.name, mean, covariance, **about)


def arrange(array: np.ndarray, name: str) -> np.ndarray:
    """View an array as [N, C, H, W].

    Raises:
        BadInput: it has not the shape of images, or that of two layouts, or of one picture.
    """
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


def check_levels(images: np.ndarray, source: Source) -> None:
    """Refuse a range of levels, and 0 and 1 that were meant as black and white: all look black."""
    if source.value_range:
        raise BadInput(f"{source.option}range: {source.name} is uint8, whose range is known")
    if max(part.max() for part in chunks(images)) == 1:
        raise BadInput(f"{source.name} is uint8, but its largest value is 1; levels go to 255")


def check_range(images: np.ndarray, source: Source) -> None:
    """Refuse floats whose range is not declared, or that are not in it, or no numbers.

    Raises:
        BadInput: they are such.
    """
    option = f"{source.option}range"
    low, high = find_extremes(images, source.name)
    found = f"{source.name} holds values from {low:.4g} to {high:.4g}"
    if source.value_range is None:
        raise BadInput(f"{found}: add {option} unit for [0, 1], or {option} symmetric for [-1, 1]")
    least, most = RANGES[source.value_range]
    slack = HALF_LEVEL * (most - least)
    if low < least - slack or high > most + slack:
        raise BadInput(f"{option} {source.value_range}: {found}, not from {least} to {most}")
    if least < 0 <= low:
        raise BadInput(f"{option} {source.value_range}: {found}, none below 0, as is {option} unit")


def find_extremes(images: np.ndarray, name: str) -> tuple[float, float]:
    """Return the least and the greatest value.

    Raises:
        BadInput: some value is NaN or infinite; the first such image is named.
    """
    extremes, seen = list[float](), 0
    for part in chunks(images):
        extremes += [float(part.min()), float(part.max())]
        if not np.isfinite(extremes[-2:]).all():
            finite = np.isfinite(part).all(axis=(1, 2, 3))
            raise BadInput(
                f"{name}: image {seen + int(finite.argmin())} has values that are NaN or infinite"
            )
        seen += len(part)
    return min(extremes), max(extremes)
