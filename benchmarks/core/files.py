"""Atomic writing, and reading of nothing but regular files within a folder."""

import errno
import os
import shutil
import stat
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.core.errors import BadInput, one_line
from benchmarks.core.signals import uninterruptible

LARGEST_FILE = 64 * 2**20
"""Bytes of a record, an index or a history."""

RESERVE = 16 * 2**20
"""Free bytes of a disk kept for files smaller than this, such as records that report it full."""


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Name a path in an OSError that names none, such as that of a full disk."""
    try:
        yield
    except OSError as error:
        if error.errno is not None:  # otherwise it is a message alone
            error.filename = error.filename or str(path)
        raise


def write_atomically(path: Path, content: bytes | memoryview) -> None:
    """Write a file whole or not at all: to a file beside it, flushed to the disk, then renamed.

    Raises:
        OSError: it cannot be written, or would leave less than `RESERVE` of the disk.
    """
    beside = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    with uninterruptible():
        path.parent.mkdir(parents=True, exist_ok=True)
        if shutil.disk_usage(path.parent).free < len(content) + RESERVE * (len(content) > RESERVE):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        try:
            with naming(path), beside.open("xb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            beside.replace(path)
        finally:
            beside.unlink(missing_ok=True)


def read_bytes(path: Path) -> bytes:
    """Read a regular file: a pipe or a device might never end.

    Raises:
        BadInput: it is missing, cannot be read, is no regular file or over `LARGEST_FILE`.
    """
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode) or status.st_size > LARGEST_FILE:
            raise BadInput(f"{path} is no file of at most {LARGEST_FILE:,} bytes")
        return path.read_bytes()
    except FileNotFoundError as error:
        raise BadInput(f"{path} is missing") from error
    except OSError as error:
        raise BadInput(f"{path} cannot be read: {one_line(error)}") from error


def check_links(folder: Path) -> None:
    """Refuse a suite's folder that has a link to a place outside."""
    for parent, folders, files in os.walk(folder):
        for path in (Path(parent, name) for name in (*folders, *files)):
            if path.is_symlink():
                check_within(path, folder)


def check_within(path: Path, folder: Path) -> None:
    """Refuse a path that a link makes lead out of a folder."""
    if not Path(os.path.realpath(path)).is_relative_to(os.path.realpath(folder)):
        raise BadInput(f"{path} lies outside {folder}: put the file itself there, not a link")


def check_folder(folder: Path, setting: str = "--out") -> None:
    """Refuse a folder that is a file or read-only, or would lie in one; nothing is written.

    `setting` is the option by which it was chosen.
    """
    nearest = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if not nearest.is_dir():
        raise BadInput(f"{setting} {folder}: {nearest} is a file, not a folder")
    if not os.access(nearest, os.W_OK | os.X_OK):
        raise BadInput(f"{setting} {folder}: {nearest} is read-only")
