"""How runs are carried out on the machines of a Ray cluster, or by a Ray on this one alone.

No disk is shared. A run works in a folder of its own on its node, which begins as a copy of the
run's folder here; whenever it has saved or drawn something, what has changed there comes back. So
a run whose node is lost goes on elsewhere from the last checkpoint that has reached this machine,
and so it does where this process itself is killed and started again.
"""

import errno
import hashlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import chdir, contextmanager, nullcontext, suppress
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from filelock import FileLock, Timeout
from pydantic import TypeAdapter

from benchmarks import PACKAGES, ROOT
from benchmarks.config.paths import Paths
from benchmarks.config.spec import RunSpec
from benchmarks.core.errors import BadInput, one_line
from benchmarks.core.files import write_atomically
from benchmarks.core.signals import check_interrupted, uninterruptible
from benchmarks.evaluation.feature_cache import CLASSIFIERS, load_classifier
from benchmarks.execution.events import (
    Drawn,
    Emit,
    Event,
    Finished,
    Noticed,
    Saved,
    Started,
)
from benchmarks.execution.job import Job
from benchmarks.execution.local import SHARE
from benchmarks.execution.run_one import FULL, run, unfinished, write_outcome
from benchmarks.execution.train_one import Progress
from benchmarks.records.schema import InsidePath, Picture, Record

MEMORY = int(SHARE)
"""Bytes of memory that a run asks a node for: enough for small images, its process included."""

CRASHES = 3
"""How often a run's worker may die, its node being well, before a new checkpoint has come."""

PAUSE = 1.0
"""Seconds in which nothing is sent out after a loss, and in which Ctrl-C is noticed."""

CONNECT = 5.0
REHEARSE = 20.0
"""Seconds in which a cluster must answer, and in which one must be able to join it."""

REHEARSAL = """
import sys, ray
try:
    ray.init(sys.argv[1], log_to_driver=False, logging_level="ERROR")
except Exception as error:
    sys.exit(" ".join(str(error).split()) or type(error).__name__)
"""

PREFIX = "generative-benchmarks-"
INSIDE: TypeAdapter[str] = TypeAdapter(InsidePath)


@dataclass(frozen=True)
class Changes:
    """What has become different in a folder: files with their content, the oldest first."""

    written: dict[str, bytes]
    removed: frozenset[str]


NOTHING = Changes({}, frozenset())


@dataclass(frozen=True)
class Supplies:
    """What runs need on every node beside their own files.

    Attributes:
        home: the folder here by which relative names of models and data are understood.
        code: the fingerprint of this program.
        extractors: the files of trained extractors, as references to their content by name.
        weights: a file of weights likewise, or nothing.
    """

    home: str
    code: str
    extractors: dict[str, Any]
    weights: dict[str, Any]


@dataclass
class Errand:
    """A job on its way through the cluster.

    Attributes:
        step: of the last checkpoint that is here.
        crashes: how often its worker has died since.
        pictures: of how far it has come.
    """

    job: Job
    step: int = 0
    crashes: int = 0
    pictures: dict[str, Picture] = field(default_factory=dict)


def run_cluster(
    jobs: list[Job], emit: Emit, address: str | None = None, gpu_share: float = 1.0
) -> list[Record]:
    """Carry out every job on a Ray cluster and give the records in the jobs' order.

    Each run asks for a CPU for each of its threads, for `MEMORY`, and on CUDA for a part of a GPU.

    Args:
        jobs: what to do.
        emit: is told how they get on.
        address: HOST:PORT of the cluster's head, or "auto" where this machine is part of one; None
            starts a Ray of this machine alone.
        gpu_share: the part of a GPU that a run on CUDA takes.

    Raises:
        BadInput: Ray is missing, the cluster cannot be joined, or no run could ever be placed.
        OSError: the disk here, or that of a machine of the cluster, is full.
        Interrupted: Ctrl-C or the like.
    """
    if not jobs:
        return []
    check_devices({job.spec.device for job in jobs})
    with joined(address) as ray:
        dispatch = Dispatch(ray, jobs, emit, gpu_share)
        dispatch.check_room(alone=address is None)
        return dispatch.carry_out()


def check_cluster(devices: set[str], address: str | None) -> None:
    """Refuse what `run_cluster` would refuse before it starts or joins a Ray."""
    check_devices(devices)
    import_ray()
    if address is not None:
        check_address(address)


def check_devices(devices: set[str]) -> None:
    """Refuse a GPU by number, since Ray shows each run its own."""
    for device in devices - {"cpu", "cuda"}:
        raise BadInput(f"--device {device}: Ray chooses the GPU of each run; write --device cuda")


def import_ray() -> Any:
    """Import Ray so that it leaves the terminal to the display.

    Raises:
        BadInput: it is not installed.
    """
    quiet = {
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_DEDUP_LOGS_SKIP_REGEX": ".",
        "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    }
    for name, value in quiet.items():
        os.environ.setdefault(name, value)
    try:
        import ray
    except ImportError as error:
        raise BadInput(
            '--engine ray: Ray is not installed; pip install -e ".[cluster]" installs it'
        ) from error
    return ray


@contextmanager
def joined(address: str | None) -> Iterator[Any]:
    """Be part of a cluster, or of a Ray of this machine alone, and leave it at the end.

    Raises:
        BadInput: the cluster cannot be joined.
    """
    ray = import_ray()
    options: dict[str, Any] = {"address": address}
    if address is None:
        options = {"address": "local", "include_dashboard": False}
    else:
        check_address(address)
    # Ray lets its workers import from this folder, which `python -P` is not to do.
    apart = chdir(ROOT) if sys.flags.safe_path else nullcontext()
    with handlers_kept(), apart:
        ray.init(log_to_driver=False, logging_level="ERROR", **options)
    try:
        yield ray
    finally:
        ray.shutdown()


def check_address(address: str) -> None:
    """Make sure that a cluster can be joined; Ray itself would try for minutes and then die.

    Raises:
        BadInput: it cannot.
    """
    place = f"--address {address}"
    if "://" in address:
        raise BadInput(f"{place}: write HOST:PORT, and start this on a machine of the cluster")
    if address != "auto":
        check_port(address, place)
    try:
        tried = subprocess.run(
            [sys.executable, "-c", REHEARSAL, address],
            capture_output=True,
            check=False,
            timeout=REHEARSE,
        )
    except subprocess.TimeoutExpired as error:
        said, why = error.stderr or b"", "what answers there is no head of a Ray cluster"
    else:
        if not tried.returncode:
            return
        said = tried.stderr
        why = said.decode(errors="replace").strip().rpartition("\n")[2] or "no message"
    if b"AuthToken" in said:
        why = "it asks for a token; set RAY_AUTH_MODE=token here, and see `ray get-auth-token`"
    raise BadInput(f"{place}: the cluster cannot be joined: {why}")


def check_port(address: str, place: str) -> None:
    """Refuse an address where nothing listens."""
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), CONNECT).close()
    except ValueError:
        raise BadInput(f"{place}: write HOST:PORT, as `ray start --head` tells it") from None
    except OSError as error:
        raise BadInput(f"{place}: nothing answers there: {one_line(error)}") from None


@contextmanager
def handlers_kept() -> Iterator[None]:
    """Give back the handlers of signals that Ray replaces by its own."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def signals_held() -> Iterator[None]:
    """Hold Ctrl-C back while Ray waits, since Ray makes a SystemError of what it raises."""
    with uninterruptible():
        try:
            yield
        except SystemError:
            check_interrupted()
            raise


class Dispatch:
    """Sends jobs to the nodes, takes in what they send back, and sends again what was lost."""

    def __init__(self, ray: Any, jobs: list[Job], emit: Emit, gpu_share: float) -> None:
        self.ray, self.jobs, self.emit, self.gpu_share = ray, jobs, emit, gpu_share
        self.todo = deque(Errand(job) for job in jobs)
        self.going: dict[Any, Errand] = {}
        self.records: dict[str, Record] = {}
        self.rest_until = 0.0
        self.supplies = pack_supplies(ray, jobs)
        # Ray itself never repeats a run: it would do so from the files of its first attempt.
        self.task = ray.remote(max_retries=0, num_returns="streaming")(carry_out)

    def carry_out(self) -> list[Record]:
        """Carry out all jobs."""
        while len(self.records) < len(self.jobs):
            self.send_out()
            for stream in self.listen():
                with signals_held():
                    self.hear(stream)
        return [self.records[job.spec.name] for job in self.jobs]

    def needs(self, spec: RunSpec) -> dict[str, float]:
        """Tell what a run asks its node for."""
        gpus = 0.0 if spec.device == "cpu" else self.gpu_share
        return {"CPU": spec.threads, "GPU": gpus, "memory": MEMORY}

    def check_room(self, *, alone: bool) -> None:
        """Say so where no machine is large enough for a run.

        Raises:
            BadInput: there is no machine but this one; a cluster may yet get another.
        """
        nodes = [node["Resources"] for node in self.ray.nodes() if node["Alive"]]
        wanted = {tuple(self.needs(job.spec).items()) for job in self.jobs}
        for needs in sorted(wanted):
            if any(all(node.get(kind, 0) >= n for kind, n in needs) for node in nodes):
                continue
            cpus, gpus, memory = (n for _, n in needs)
            text = f"{cpus} CPUs, {gpus:g} GPUs and {memory / 2**30:g} GiB of memory for a run"
            if alone:
                raise BadInput(f"--engine ray: this machine does not have {text}")
            self.emit(Noticed("", f"no machine of the cluster has {text}: it waits for one"))

    def send_out(self) -> None:
        """Let the cluster have twice as many jobs as it has CPUs, so that none of those waits."""
        if not self.todo or time.monotonic() < self.rest_until:
            return
        room = 2 * max(1, int(self.ray.cluster_resources().get("CPU", 0))) - len(self.going)
        for _ in range(min(room, len(self.todo))):
            self.send(self.todo.popleft())

    def send(self, errand: Errand) -> None:
        """Hand a job and the files it has to the cluster."""
        if errand.job.afresh:
            # Only once: what it then saves does count.
            shutil.rmtree(errand.job.checkpoint, ignore_errors=True)
            errand.job = replace(errand.job, afresh=False)
        needs = self.needs(errand.job.spec)
        task = self.task.options(
            num_cpus=needs["CPU"], num_gpus=needs["GPU"], memory=needs["memory"]
        )
        files = Copy(errand.job.folder, known={}).changes().written
        self.going[task.remote(errand.job, files, self.supplies)] = errand

    def listen(self) -> list[Any]:
        """Wait a moment for runs that have something to say."""
        if not self.going:
            time.sleep(PAUSE)
            return []
        streams = list(self.going)
        with signals_held():
            if not self.ray.wait(streams, timeout=PAUSE)[0]:
                return []
            ready: list[Any] = self.ray.wait(streams, num_returns=len(streams), timeout=0)[0]
        return ready

    def hear(self, stream: Any) -> None:
        """Take in what a run says next, or find out what has become of it."""
        errand, errors = self.going[stream], self.ray.exceptions
        try:
            said, changes = self.ray.get(next(stream))
            apply_changes(changes, errand.job.folder)
        except errors.OutOfMemoryError as error:
            reason = "out of memory: its machine ran low on it, and Ray ended the run"
            self.give_up(stream, reason, error)
        except (errors.NodeDiedError, errors.ObjectLostError):
            self.repeat(stream, "its machine was lost")
        except errors.WorkerCrashedError as error:
            errand.crashes += 1
            if errand.crashes < CRASHES:
                self.repeat(stream, "its worker process died")
            else:
                reason = f"its worker process died {CRASHES} times, perhaps for want of memory"
                self.give_up(stream, reason, error)
        except errors.RayTaskError as error:
            self.give_up(stream, describe(error.cause), error)
        except (errors.RayError, ValueError) as error:
            self.give_up(stream, describe(error), error)
        else:
            self.take_note(stream, said)

    def take_note(self, stream: Any, said: Event | Record) -> None:
        """Pass on what a run has said."""
        errand = self.going[stream]
        if isinstance(said, Record):
            self.close(stream, said)
            return
        if isinstance(said, Started):
            errand.step = said.done
        elif isinstance(said, Saved):
            errand.step, errand.crashes = said.step, 0
        elif isinstance(said, Drawn):
            errand.pictures = said.pictures
        self.emit(said)

    def repeat(self, stream: Any, why: str) -> None:
        """Let a run that was lost go on elsewhere, before those that have not begun."""
        errand = self.going.pop(stream)
        self.todo.appendleft(errand)
        self.rest_until = time.monotonic() + PAUSE
        self.emit(Noticed(errand.job.spec.name, f"{why}; it goes on from step {errand.step:,}"))

    def give_up(self, stream: Any, reason: str, error: Exception) -> None:
        """Leave the record of a run that cannot go on; what once went well stays on record."""
        errand = self.going[stream]
        record = unfinished(errand.job, "failed", reason, errand.pictures)
        with suppress(OSError):
            write_outcome(errand.job, record, Progress(), str(error).encode(errors="replace"))
        self.ray.cancel(stream, force=True)
        self.close(stream, record)

    def close(self, stream: Any, record: Record) -> None:
        """Be done with a run."""
        errand = self.going.pop(stream)
        self.records[errand.job.spec.name] = record
        self.emit(Finished(errand.job.spec.name, record))
        if record.status == "failed" and (record.reason or "").startswith(FULL):
            # That machine would fail one run after the other in no time.
            raise OSError(errno.ENOSPC, f"a machine of the cluster has {record.reason}")


def describe(error: Exception) -> str:
    """Name an error and give its message in one line."""
    return f"{type(error).__name__}: {one_line(error)}"


def pack_supplies(ray: Any, jobs: list[Job]) -> Supplies:
    """Put into the cluster, once, what the runs need on every node."""
    needed = {(n, job.place.cache) for job in jobs for n in (job.spec.extractor, *job.spec.views)}
    extractors = {path for name, cache in needed if (path := find_extractor(name, cache))}
    weights = {job.place.weights for job in jobs if job.place.weights}
    return Supplies(
        home=str(Path.cwd()),
        code=fingerprint_code(),
        extractors={path.name: ray.put(path.read_bytes()) for path in extractors},
        weights={path.name: ray.put(path.read_bytes()) for path in weights},
    )


def find_extractor(name: str, cache: Path) -> Path | None:
    """Find the file of a trained classifier by its name and hash; None where there is none."""
    for path in sorted(cache.glob(CLASSIFIERS)):
        with suppress(ValueError, OSError):
            if str(load_classifier(path)) == name:
                return path
    return None


@lru_cache(maxsize=1)
def fingerprint_code() -> str:
    """Give the SHA-256 of this program's modules."""
    files = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
    content = b"\0".join(path.name.encode() + path.read_bytes() for path in files)
    return hashlib.sha256(content).hexdigest()


class Copy:
    """A folder of which somebody else has a copy, as it was when they were last told."""

    def __init__(self, folder: Path, known: dict[str, tuple[int, ...]] | None = None) -> None:
        self.folder = folder
        self.known = self.look() if known is None else known

    def look(self) -> dict[str, tuple[int, ...]]:
        """List the files, the oldest first, by what changes with them; hidden ones do not count."""
        found = {}
        for path in self.folder.rglob("[!.]*"):
            if path.is_file():
                about = path.stat()
                name = path.relative_to(self.folder).as_posix()
                found[name] = (about.st_mtime_ns, about.st_size, about.st_ino)
        return dict(sorted(found.items(), key=lambda item: item[1]))

    def changes(self) -> Changes:
        """Tell what has changed since the last time."""
        before, self.known = self.known, self.look()
        changed = [name for name, about in self.known.items() if about != before.get(name)]
        written = {name: (self.folder / name).read_bytes() for name in changed}
        return Changes(written, frozenset(before) - frozenset(self.known))


def apply_changes(changes: Changes, folder: Path) -> None:
    """Bring a copy of a folder up to date.

    Raises:
        ValueError: a file lies outside the folder; nothing is written then.
        OSError: a file cannot be written.
    """
    written = {locate(name, folder): content for name, content in changes.written.items()}
    removed = [locate(name, folder) for name in changes.removed]
    for path, content in written.items():
        write_atomically(path, content)
    for path in removed:
        path.unlink(missing_ok=True)


def locate(name: str, folder: Path) -> Path:
    """Give the path of a file in a folder.

    Raises:
        ValueError: it lies outside.
    """
    path = folder / INSIDE.validate_python(name)
    if not path.parent.resolve().is_relative_to(folder.resolve()):
        raise ValueError(f"{name!r} is no path inside the run's folder")
    return path


def carry_out(
    job: Job, files: dict[str, bytes], supplies: Supplies
) -> Iterator[tuple[Event | Record, Changes]]:
    """Carry out a job on a node, and tell of it; this is the task that Ray runs.

    Args:
        job: as it is on the machine that sends it.
        files: of the run's folder there.
        supplies: what it needs beside them.

    Yields:
        What the run tells, and at last its record, each with what has changed in its folder.
    """
    if fingerprint_code() != supplies.code:
        text = "its machine has another version of this program; scores may differ by that"
        yield Noticed(job.spec.name, text), NOTHING
    here = settle(job, files, supplies)
    said: SimpleQueue[tuple[Event | Record, Changes] | BaseException] = SimpleQueue()
    threading.Thread(target=work, args=(here, said), daemon=True).start()
    while True:
        heard = said.get()
        if isinstance(heard, BaseException):
            raise heard
        yield heard
        if isinstance(heard[0], Record):
            return


def work(job: Job, said: "SimpleQueue[Any]") -> None:
    """Carry out a job whose files are here, and put into `said` what there is to be told."""
    copy = Copy(job.folder)

    def tell(message: Event) -> None:
        said.put((message, copy.changes() if isinstance(message, Saved | Drawn) else NOTHING))

    try:
        record = run(job, tell)
        said.put((record, copy.changes()))
    except BaseException as error:  # noqa: BLE001 - raised again where Ray hears it
        said.put(error)
    finally:
        shutil.rmtree(job.folder, ignore_errors=True)


def settle(job: Job, files: dict[str, bytes], supplies: Supplies) -> Job:
    """Give a job its place on this node, with all that it needs."""
    with suppress(OSError):
        os.chdir(supplies.home)
    desk, _ = claim_desk()
    place = job.place
    fetch(supplies.extractors, desk / "cache")
    weights = None
    if place.weights:
        fetch({place.weights.name: supplies.weights[place.weights.name]}, desk)
        weights = desk / place.weights.name
    here = replace(job, place=Paths(desk / "results", place.data_root, desk / "cache", weights))
    shutil.rmtree(here.folder, ignore_errors=True)
    apply_changes(Changes(files, frozenset()), here.folder)
    return here


def fetch(files: dict[str, Any], folder: Path) -> None:
    """Write files to a folder unless they are there already."""
    ray = import_ray()
    for name, content in files.items():
        if not (folder / name).exists():
            write_atomically(folder / name, ray.get(content))


@lru_cache(maxsize=1)
def claim_desk() -> tuple[Path, FileLock]:
    """Give this process a folder of its own, and remove those of processes that have died.

    Ray ends its workers without giving them time to tidy up. A folder's lock is held as long as
    its process lives.
    """
    for lock in Path(tempfile.gettempdir()).glob(f"{PREFIX}*/.lock"):
        with suppress(Timeout, OSError), FileLock(lock, timeout=0):
            shutil.rmtree(lock.parent)
    folder = Path(tempfile.mkdtemp(prefix=PREFIX))
    held = FileLock(folder / ".lock")
    held.acquire()
    return folder, held
