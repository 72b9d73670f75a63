"""Sets of images that any program has made: a folder, a zip archive or an array, read as uint8.

What could be read in two ways is refused in one line instead of guessed at. Images are decoded in
batches, some ahead of their use, so that memory never holds more than a few; an archive is never
unpacked to the disk.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property, partial
from pathlib import Path

import numpy as np

from benchmarks.config.suite import FEWEST
from benchmarks.core.archives import open_archive
from benchmarks.core.errors import BadInput, one_line
from benchmarks.core.pictures import open_header, open_picture
from benchmarks.data.cache import in_threads
from benchmarks.data.dataset import Split, slices
from benchmarks.data.decoding import decode_picture, refuse_broken
from benchmarks.data.files import Files, list_files
from benchmarks.data.resizing import LARGEST, SMALLEST, fit
from benchmarks.evaluation import arrays
from benchmarks.evaluation.feature_statistics import FeatureStatistics, load_statistics
from benchmarks.evaluation.image_source import ARRAY_SUFFIXES, VALUE_RANGES, ImageSource

BLOCK = 16  # images that a thread decodes at a time

GREY_MODES = frozenset(("1", "L", "LA", "I", "I;16", "I;16B", "I;16L"))
"""Pillow's modes of pictures that are grey whatever they show."""


class ImageSet(ABC):
    """A set of images that are read in batches.

    Attributes:
        source: where they are.
        side: of every image, in pixels.
        channels: 1 where all of them show nothing but grey, else 3; it may be raised to 3.
        notes: the files that were left out, in words.
    """

    def __init__(
        self, source: ImageSource, count: int, sizes: Iterable[tuple[str, int, int]]
    ) -> None:
        self.source, self.count, self.notes = source, count, list[str]()
        self.side = source.resize or find_side(sizes)
        if count < FEWEST:
            raise BadInput(f"{source.name} holds {count} images; scores need at least {FEWEST}")

    def __len__(self) -> int:
        return self.count

    @cached_property
    def channels(self) -> int:
        """1 or 3, by the content of the pictures and not by their format."""
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
        """Return the images of these numbers, uint8 [n, C, S, S]; refuse broken ones."""
        images, broken = self.decode(rows)
        refuse_broken(broken)
        return images

    def batches(self, size: int) -> Iterator[np.ndarray]:
        """Yield all images in order, `size` at a time; name all broken ones at the end."""
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


class PictureSet(ImageSet):
    """The pictures of a folder or an archive."""

    def __init__(self, source: ImageSource, files: Files) -> None:
        self.files = files
        headers = list(in_threads(self.read_header, files.names))
        refuse_broken([header for header in headers if isinstance(header, str)])
        sizes, modes = zip(*headers, strict=True)
        names = map(files.describe, files.names)
        named = ((name, *size) for name, size in zip(names, sizes, strict=True))
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
        read = partial(decode_picture, self.files, side=self.side, channels=self.channels)
        resize = self.source.resize is not None
        found = [read(self.files.names[row], resize=resize) for row in rows]
        images = [image for image in found if not isinstance(image, str)]
        return np.array(images, np.uint8), [fault for fault in found if isinstance(fault, str)]


class ArraySet(ImageSet):
    """The images of an array, which may be mapped from a file."""

    def __init__(self, source: ImageSource, array: np.ndarray) -> None:
        self.array = arrays.to_nchw(array, source.name)
        height, width = self.array.shape[2:]
        super().__init__(source, len(self.array), [(source.name, width, height)])
        if self.array.dtype == np.uint8:
            arrays.check_levels(self.array, source)
        elif self.array.dtype.kind == "f":
            arrays.check_range(self.array, source)
        else:
            kind = self.array.dtype
            raise BadInput(f"{source.name} is {kind}; save uint8, or floats in [0, 1] or [-1, 1]")

    def find_grey(self) -> bool:
        """Look for colour, up to the first part that has some."""
        if self.array.shape[1] == 1:
            return True
        parts = (self.quantize(self.array[rows]) for rows in slices(self.array))
        return all((part == part[:, :1]).all() for part in parts)

    def quantize(self, images: np.ndarray) -> np.ndarray:
        """Round floats of the declared range to uint8, as if they were saved to a file."""
        if images.dtype == np.uint8:
            return images
        assert self.source.value_range is not None
        least, most = VALUE_RANGES[self.source.value_range]
        exact = images.astype(np.promote_types(images.dtype, np.float32))
        levels: np.ndarray = np.rint(((exact - least) / (most - least)).clip(0, 1) * 255)
        return levels.astype(np.uint8)

    def decode(self, rows: Sequence[int] | np.ndarray) -> tuple[np.ndarray, list[str]]:
        """Convert some images."""
        chosen = slice(rows.start, rows.stop) if isinstance(rows, range) else np.asarray(rows)
        images = self.quantize(self.array[chosen])
        if images.shape[2:] != (self.side, self.side):
            images = fit(Split(images), self.side, None).images
        if images.shape[1] > self.channels:
            return images[:, :1], []
        return np.repeat(images, self.channels // images.shape[1], axis=1), []


def open_image_set(source: ImageSource) -> ImageSet | FeatureStatistics:
    """Open a set of images, all of one size, and look at all that can be seen without decoding.

    Arrays are [N, H, W], [N, H, W, C] or [N, C, H, W], uint8 or float. A file that numpy has not
    compressed is mapped into memory. Pictures lie at any depth and are read by their path.

    Raises:
        BadInput: something is absent, damaged, unsafe or ambiguous; one line says what would work.
    """
    if source.kind not in ARRAY_SUFFIXES:
        assert isinstance(source.place, Path)
        return PictureSet(source, list_files(source.place))
    if isinstance(source.place, np.ndarray):
        return ArraySet(source, source.place)
    if source.kind == ".npy":
        return ArraySet(source, arrays.map_array(source.place))
    with open_archive(source.place) as archive:
        names = [n.removesuffix(".npy") for n in archive.namelist() if n.endswith(".npy")]
        if source.key is None and {"mu", "sigma"} <= set(names):
            return load_statistics(source.place, archive)
        key = arrays.choose_key(source, names)
        return ArraySet(source, arrays.load_array(source.place, archive, key))


def find_side(sizes: Iterable[tuple[str, int, int]]) -> int:
    """Return the side of images (name, width, height) that are all square and of one size."""
    listed = list(sizes)
    first, side, _ = listed[0]
    least = max(SMALLEST, min(LARGEST, *(min(size) for _, *size in listed)))
    remedy = f"add --resize {least} to bring all images to one size"
    for name, width, height in listed:
        if width != height:
            raise BadInput(f"{name}: {width} × {height} pixels, not square; {remedy}")
        own = f"{width} × {width}"
        if width != side:
            mixed = f"mixed sizes: {first} has {side} × {side} pixels, {name} {own}"
            raise BadInput(f"{mixed}; {remedy}")
        if not SMALLEST <= width <= LARGEST:
            allowed = f"a side has {SMALLEST} to {LARGEST}"
            raise BadInput(f"{name}: {own} pixels; {allowed}; {remedy}")
    return side
