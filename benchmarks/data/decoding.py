"""From image files to a memory-mapped array, decoded once and kept in a cache."""

import io
import tempfile
import warnings
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np

from benchmarks.core.errors import BadInput, one_line
from benchmarks.core.files import write_atomically
from benchmarks.core.pictures import open_header, open_picture
from benchmarks.data import cache
from benchmarks.data.cache import digest, in_threads, open_array
from benchmarks.data.dataset import slices
from benchmarks.data.files import Files
from benchmarks.data.resizing import SMALLEST, fit_picture
from benchmarks.data.splits import content_keys

VERSION = 2  # of what follows; a new one makes every cached array be decoded anew
LARGEST_DEFAULT = 64
NAMED = 20  # broken files that a message names


def decode(
    files: Files,
    domain: str,
    parts: Sequence[Sequence[str]],
    image_size: int | None,
    channels: int | None,
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Decode pictures, or take them from the cache if their content is what it was.

    Args:
        files: the folder or archive.
        domain: the name of these pictures among all of the place.
        parts: the names of each split's pictures. One whose pixels are those of a picture in an
            earlier part is left out.
        image_size: side in pixels; None for the common size, see `find_common_size`.
        channels: 1 or 3; None for 1 where all pictures are grey and 3 otherwise.

    Returns:
        For each part the images, a read-only memory map [N, C, S, S] in content order, and that
        order, int64 [N]: the place in the part of each image.

    Raises:
        BadInput: broken files, named; a cache folder that cannot be written.
    """
    place = digest([str(files.place.resolve()), domain])
    request = digest([VERSION, place, image_size, channels])
    with cache.opened_cache() as folder:
        hashes = cache.Hashes(folder / f"{place}.json")
        names = [name for part in parts for name in part]
        paths = [files.place] if files.archive else [files.place / name for name in names]
        state = [hashes.find(paths), list(map(list, parts))]
        path = folder / f"{request}-{digest(state)}.npy"
        images, order = open_array(path), open_array(_order_path(path))
        if images is None or order is None:
            _write_decoded(path, files, parts, image_size, channels)
            images, order = (np.load(p, mmap_mode="r") for p in (path, _order_path(path)))
        hashes.save()
    starts = np.cumsum([0, *map(len, parts)])
    rows = pairwise(np.count_nonzero(order < start) for start in starts)
    return [(images[a:b], order[a:b] - start) for (a, b), start in zip(rows, starts, strict=False)]


def _order_path(path: Path) -> Path:
    return path.with_suffix(".order.npy")


def _write_decoded(
    path: Path,
    files: Files,
    parts: Sequence[Sequence[str]],
    image_size: int | None,
    channels: int | None,
) -> None:
    """Decode all files, then write the arrays whole, the images last."""
    names = [name for part in parts for name in part]
    size = image_size or find_common_size(files, names)
    with tempfile.TemporaryFile(dir=path.parent) as file:
        shape = (len(names), channels or 3, size, size)
        scratch = np.memmap(file, dtype=np.uint8, mode="w+", shape=shape)
        cache.reserve(file.fileno())
        grey = _decode_into(scratch, files, names)
        images = scratch[:, :1] if channels is None and grey else scratch
        order = order_parts(content_keys(images), list(map(len, parts)))
        content = io.BytesIO()
        np.save(content, order)
        write_atomically(_order_path(path), content.getbuffer())

        def write(final: np.ndarray) -> None:
            for rows in slices(final):
                final[rows] = images[order[rows]]

        cache.write_array(path, (len(order), *images.shape[1:]), write)
    for other in path.parent.glob(f"{path.name.split('-')[0]}-*"):  # of earlier states of the place
        if not other.name.startswith(path.stem):
            with suppress(OSError):  # another process may have it open
                other.unlink()


def order_parts(keys: Sequence[bytes], counts: Sequence[int]) -> np.ndarray:
    """Sort each of the parts that `keys` holds one after the other, without keys of earlier ones.

    Returns:
        int64 [M], the positions in `keys` of those that stay.
    """
    seen, order = set[bytes](), list[int]()
    for start, stop in pairwise([0, *np.cumsum(counts).tolist()]):
        kept = [row for row in range(start, stop) if keys[row] not in seen]
        order += sorted(kept, key=keys.__getitem__)
        seen.update(keys[start:stop])
    return np.array(order, dtype=np.int64)


def find_common_size(files: Files, names: Sequence[str]) -> int:
    """Return the side of pictures that are square, equal and at most 64 pixels wide; else 64."""
    sizes = set()
    with warnings.catch_warnings(action="ignore"):
        for name in names:
            # a broken file is named when it is decoded
            with suppress(Exception), open_header(files.open(name)) as picture:
                sizes.add(picture.size)
            if len(sizes) > 1:
                break
    width, height = sizes.pop() if len(sizes) == 1 else (0, 1)
    return width if SMALLEST <= width == height <= LARGEST_DEFAULT else LARGEST_DEFAULT


def _decode_into(images: np.ndarray, files: Files, names: Sequence[str]) -> bool:
    """Decode files into uint8 [N, C, S, S]; return whether all are grey, and refuse broken ones."""
    channels, side = images.shape[1:3]
    read = partial(decode_picture, files, side=side, channels=channels)
    grey, broken = True, []
    with warnings.catch_warnings(action="ignore"):
        for index, result in enumerate(in_threads(read, names)):
            if isinstance(result, str):
                broken.append(result)
            else:
                images[index] = result
                grey = grey and bool((result == result[:1]).all())
    refuse_broken(broken)
    return grey


def decode_picture(
    files: Files, name: str, *, side: int, channels: int, resize: bool = True
) -> np.ndarray | str:
    """Decode a picture into uint8 [C, S, S]; or return its name with the reason why it is broken.

    Without `resize`, one of another size counts as broken.
    """
    try:
        picture = open_picture(files.open(name))
        if not resize and picture.size != (side, side):
            raise ValueError("a frame of another size than its header says")
        return fit_picture(picture, side, channels)
    except Exception as error:  # noqa: BLE001 - decoders raise anything on a broken file
        return f"{files.describe(name)} ({one_line(error)})"


def refuse_broken(files: Sequence[str]) -> None:
    """Refuse pictures that cannot be read, the first 20 named, each with its reason."""
    if not files:
        return
    count = "1 image cannot" if len(files) == 1 else f"{len(files):,} images cannot"
    more = f" and {len(files) - NAMED:,} more" if len(files) > NAMED else ""
    named = ", ".join(files[:NAMED])
    raise BadInput(f"{count} be read: {named}{more}; repair or remove what is broken")
