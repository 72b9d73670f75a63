"""The cache of decoded images: hashes of files, and arrays too large for the memory."""

import hashlib
import json
import os
import tempfile
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from math import prod
from pathlib import Path
from typing import TypeVar

import numpy as np

from benchmarks.config.paths import find_cache
from benchmarks.core.errors import BadInput
from benchmarks.core.files import write_atomically

Item = TypeVar("Item")
Result = TypeVar("Result")

IN_MEMORY = 256 * 2**20
"""Bytes of the largest array that is held in memory; a larger one is a mapped file."""

AHEAD = 2  # results a thread that are computed before they are taken

SETTLED = 2 * 10**9
"""Nanoseconds after which a file that changes gets another time, on any file system."""


def cache_folder() -> Path:
    """Folder of decoded images: below `$BENCHMARKS_CACHE`, or else the user's cache folder."""
    return find_cache("decoded")


@contextmanager
def opened_cache() -> Iterator[Path]:
    """Make the cache folder, and turn what goes wrong in it into one line."""
    folder = cache_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield folder
    except OSError as error:
        raise BadInput(
            f"decoded images cannot be kept in {folder} ({error.strerror or error}): "
            "choose another folder by the variable BENCHMARKS_CACHE"
        ) from error


def reserve(descriptor: int) -> None:
    """Allocate a file on the disk: writing into a hole of a mapped one kills where it is full."""
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(descriptor, 0, max(1, os.fstat(descriptor).st_size))


def allocate(shape: tuple[int, ...], dtype: np.dtype | type = np.uint8) -> np.ndarray:
    """Return an array to be filled: in memory, or if it is large in a file that ends with it."""
    if prod(shape) * np.dtype(dtype).itemsize <= IN_MEMORY:
        return np.empty(shape, dtype)
    with opened_cache() as folder, tempfile.TemporaryFile(dir=folder) as file:
        array = np.memmap(file, dtype, "w+", shape=shape)
        reserve(file.fileno())
        return array


def open_array(path: Path) -> np.ndarray | None:
    """Map a .npy file into memory, read-only; None where it is missing or damaged."""
    with suppress(FileNotFoundError, ValueError, EOFError):
        array: np.ndarray = np.load(path, mmap_mode="r", allow_pickle=False)
        return array
    return None


def write_array(path: Path, shape: tuple[int, ...], fill: Callable[[np.ndarray], None]) -> None:
    """Write uint8 [*shape] to a .npy file without holding it, whole or not at all."""
    beside = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        array = np.lib.format.open_memmap(beside, "w+", np.uint8, shape)
        with beside.open("rb+") as file:
            reserve(file.fileno())
            fill(array)
            array.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


def derive(origin: np.ndarray, key: str, fill: Callable[[np.ndarray], None]) -> np.ndarray:
    """Derive an array of the shape of `origin` from its content, by `fill`.

    Where `origin` is a large file of the cache, the result is another one that belongs to it,
    written once and named by `key`.
    """
    source = getattr(origin, "filename", None)
    if origin.nbytes <= IN_MEMORY or source is None:
        array = allocate(origin.shape, origin.dtype)
        fill(array)
        return array
    path = Path(source).with_suffix(f".{digest(key)}.npy")
    with opened_cache():
        derived = open_array(path)
        if derived is None:
            write_array(path, origin.shape, fill)
            derived = np.load(path, mmap_mode="r", allow_pickle=False)
    return derived


def digest(value: object) -> str:
    """Return 24 hex digits of the SHA-256 of a JSON value."""
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()[:24]


def in_threads(function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
    """Yield a function's results in order, computed by threads a little ahead of their use."""
    workers = os.cpu_count() or 1
    pool = ThreadPoolExecutor(workers)
    pending = deque[Future[Result]]()
    try:
        for item in items:
            pending.append(pool.submit(function, item))
            if len(pending) > AHEAD * workers:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


class Hashes:
    """SHA-256 of files, remembered by size, mtime and ctime in a file of the cache.

    What has changed within the last moment is not remembered: it might change once more unseen.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.known: dict[str, list[object]] = {}
        with suppress(OSError, ValueError, TypeError):
            self.known = dict(json.loads(path.read_bytes()))
        self.found: dict[str, list[object]] = {}

    def find(self, files: Sequence[Path]) -> list[str]:
        """Return the hash (hex) of every file; "" of one that is not there or cannot be read."""
        names, hashes, now = list(map(str, files)), [], time.time_ns()
        for name, (*state, content) in zip(names, in_threads(self._find, names), strict=True):
            hashes.append(str(content))
            if state and max(map(int, state[1:])) < now - SETTLED:
                self.found[name] = [*state, content]
        return hashes

    def _find(self, file: str) -> tuple[int | str, ...]:
        try:
            if not os.path.isfile(file):  # noqa: PTH113 - a pipe would be waited for
                return ("",)
            status = os.stat(file)  # noqa: PTH116 - of a hundred thousand files
            state = status.st_size, status.st_mtime_ns, status.st_ctime_ns
            *known, content = self.known.get(file, [""])
            if tuple(known) == state:
                return *state, str(content)
            with open(file, "rb") as opened:  # noqa: PTH123
                return *state, hashlib.file_digest(opened, "sha256").hexdigest()
        except OSError:
            return ("",)

    def save(self) -> None:
        """Remember what was found, and nothing else."""
        if self.found != self.known:
            write_atomically(self.path, json.dumps(self.found).encode())
