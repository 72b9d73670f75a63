"""What a machine of a Ray cluster does: a run in a folder of its own, whose files are sent back."""

import hashlib
import os
import shutil
import tempfile
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from filelock import FileLock, Timeout
from pydantic import TypeAdapter

from benchmarks import PACKAGES, ROOT
from benchmarks.config.paths import Paths
from benchmarks.core.files import write_atomically
from benchmarks.execution.events import Drawn, Event, Noticed, Saved
from benchmarks.execution.job import Job
from benchmarks.execution.run_one import run
from benchmarks.records.schema import InsidePath, Record

PREFIX = "generative-benchmarks-"
"""How the names of folders of workers begin."""

INSIDE: TypeAdapter[str] = TypeAdapter(InsidePath)

Files = dict[str, bytes]
"""The files of a folder by their relative names, the oldest first."""


@dataclass(frozen=True)
class SharedFiles:
    """What all runs need beside their own files.

    Attributes:
        home: the folder here by which relative names of models and data are understood.
        code: the fingerprint of this program.
        files: trained extractors and weights, as Ray's references to their content by name.
    """

    home: str
    code: str
    files: dict[str, Any]


def run_remotely(
    job: Job, files: Files, shared: SharedFiles
) -> Iterator[tuple[Event | Record, Files | None]]:
    """Carry out a job on a machine of the cluster, with the files of its folder as it was sent.

    Yields:
        The run's events, and at last its record; with those after which its folder has changed
        come all files of that.
    """
    if fingerprint_code() != shared.code:
        text = "its machine has another version of this program; scores may differ by that"
        yield Noticed(job.spec.name, text), None
    here = unpack_job(job, files, shared)
    sent: SimpleQueue[tuple[Event | Record, Files | None] | BaseException] = SimpleQueue()
    threading.Thread(target=run_in_thread, args=(here, sent), daemon=True).start()
    while True:
        message = sent.get()
        if isinstance(message, BaseException):
            raise message
        yield message
        if isinstance(message[0], Record):
            return


def run_in_thread(job: Job, sent: "SimpleQueue[Any]") -> None:
    """Carry out a job whose files are here, and put its events and its record into `sent`."""

    def emit(event: Event) -> None:
        sent.put((event, pack_folder(job.folder) if isinstance(event, Saved | Drawn) else None))

    try:
        record = run(job, emit)
        sent.put((record, pack_folder(job.folder)))
    except BaseException as error:  # noqa: BLE001 - raised again where Ray notices it
        sent.put(error)
    finally:
        shutil.rmtree(job.folder, ignore_errors=True)


def unpack_job(job: Job, files: Files, shared: SharedFiles) -> Job:
    """Write all that a job needs into this worker's folder, and return the job there."""
    import ray

    with suppress(OSError):
        os.chdir(shared.home)
    folder, _ = claim_folder()
    for name, content in shared.files.items():
        if not (folder / name).exists():
            write_atomically(folder / name, ray.get(content))
    weights = job.place.weights and folder / "weights" / job.place.weights.name
    paths = Paths(folder / "results", job.place.data_root, folder / "cache", weights)
    here = replace(job, place=paths)
    write_folder(files, here.folder)
    return here


def pack_folder(folder: Path) -> Files:
    """Read all files of a folder, the oldest first; hidden ones are still being written."""
    paths = [path for path in folder.rglob("[!.]*") if path.is_file()]
    paths.sort(key=lambda path: path.stat().st_mtime_ns)
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


def write_folder(files: Files, folder: Path) -> None:
    """Make a folder hold these files and no others but hidden ones.

    Raises:
        ValueError: a file lies outside the folder; nothing is written then.
        OSError: a file cannot be written.
    """
    written = {folder / INSIDE.validate_python(name): content for name, content in files.items()}
    for path in written:
        if not path.parent.resolve().is_relative_to(folder.resolve()):
            raise ValueError(f"{path} is no path inside the run's folder")
    for path, content in written.items():
        if not path.is_file() or path.read_bytes() != content:
            write_atomically(path, content)
    for path in folder.rglob("[!.]*"):
        if path.is_file() and path not in written:
            path.unlink()


@lru_cache(maxsize=1)
def fingerprint_code() -> str:
    """Return the SHA-256 of this program's modules."""
    files = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
    content = b"\0".join(path.name.encode() + path.read_bytes() for path in files)
    return hashlib.sha256(content).hexdigest()


@lru_cache(maxsize=1)
def claim_folder() -> tuple[Path, FileLock]:
    """Make a folder for this process, and remove those of processes that have died.

    Ray kills its workers without giving them time to remove theirs. A folder's lock is held as long
    as its process lives.
    """
    for lock in Path(tempfile.gettempdir()).glob(f"{PREFIX}*/.lock"):
        with suppress(Timeout, OSError), FileLock(lock, timeout=0):
            shutil.rmtree(lock.parent)
    folder = Path(tempfile.mkdtemp(prefix=PREFIX))
    held = FileLock(folder / ".lock")
    held.acquire()
    return folder, held
