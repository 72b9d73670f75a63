"""Runs on the machines of a Ray cluster, or by a Ray on this one alone.

No disk is shared: Ray's object store carries the files of a run's folder to the machine that
carries it out, and back whenever it has saved a checkpoint or drawn a picture. So a run whose
machine is lost resumes elsewhere from the last checkpoint that has reached this machine, and so it
does where this process itself is killed and started again.
"""

import errno
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterator
from contextlib import chdir, contextmanager, nullcontext, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from benchmarks import ROOT
from benchmarks.core.errors import BadInput, describe_error, one_line
from benchmarks.core.signals import check_interrupted, uninterruptible
from benchmarks.evaluation.feature_cache import CLASSIFIERS, load_classifier
from benchmarks.execution.events import Drawn, Emit, Event, Finished, Noticed, Saved, Started
from benchmarks.execution.job import Job
from benchmarks.execution.ray_worker import (
    SharedFiles,
    fingerprint_code,
    pack_folder,
    run_remotely,
    write_folder,
)
from benchmarks.execution.run_one import is_disk_full, write_failure
from benchmarks.records.schema import Picture, Record

CRASHES = 3
"""How often a run's worker may die, its machine being well, before a new checkpoint has come."""

PAUSE = 1.0
"""Seconds in which nothing is submitted after a loss, and in which Ctrl-C is noticed."""

CONNECT = 5.0
ANSWER = 20.0
"""Seconds in which a cluster must answer, and in which one must be able to join it."""

JOIN = """
import sys, ray
try:
    ray.init(sys.argv[1], log_to_driver=False, logging_level="ERROR")
except Exception as error:
    sys.exit(" ".join(str(error).split()) or type(error).__name__)
"""


def run_cluster(
    jobs: list[Job], emit: Emit, address: str | None = None, gpu_share: float = 1.0
) -> list[Record]:
    """Carry out every job on a Ray cluster and return the records in the jobs' order.

    Each run asks for a CPU for each of its threads, the memory that it is estimated to take, and on
    CUDA `gpu_share` of a GPU. The address is HOST:PORT of the cluster's head, or "auto" where this
    machine is part of one; None starts a Ray of this machine alone.

    Raises:
        BadInput: Ray is missing, the cluster cannot be joined, or no run could ever be placed.
        OSError: the disk here, or that of a machine of the cluster, is full.
        Interrupted: Ctrl-C or the like.
    """
    if not jobs:
        return []
    check_cluster({job.spec.device for job in jobs}, address)
    with joined(address) as ray:
        scheduler = Scheduler(ray, jobs, emit, gpu_share)
        scheduler.check_room(alone=address is None)
        return scheduler.run_all()


def check_cluster(devices: set[str], address: str | None) -> None:
    """Refuse what `run_cluster` would refuse before it starts or joins a Ray."""
    for device in devices - {"cpu", "cuda"}:
        raise BadInput(f"--device {device}: Ray chooses the GPU of each run; write --device cuda")
    import_ray()
    if address is not None:
        check_address(address)


def import_ray() -> Any:
    """Import Ray, if it is installed, so that it leaves the terminal to the display."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_DEDUP_LOGS_SKIP_REGEX", ".")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    try:
        import ray
    except ImportError as error:
        message = 'Ray is not installed; pip install -e ".[cluster]" installs it'
        raise BadInput(f"--engine ray: {message}") from error
    return ray


@contextmanager
def joined(address: str | None) -> Iterator[Any]:
    """Join a cluster, or start a Ray of this machine alone, and leave it at the end."""
    ray = import_ray()
    alone = {"address": "local", "include_dashboard": False}
    options = alone if address is None else {"address": address}
    # Ray lets its workers import from this folder, which `python -P` is not to do.
    apart = chdir(ROOT) if sys.flags.safe_path else nullcontext()
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        with apart:
            ray.init(log_to_driver=False, logging_level="ERROR", **options)
    finally:
        with suppress(ValueError):  # in another thread Ray has replaced no handler
            for number, handler in before.items():
                signal.signal(number, handler)
    try:
        yield ray
    finally:
        ray.shutdown()


def check_address(address: str) -> None:
    """Refuse a cluster that cannot be joined; Ray itself would try for minutes and then die."""
    place = f"--address {address}"
    if "://" in address:
        raise BadInput(f"{place}: write HOST:PORT, and start this on a machine of the cluster")
    if address != "auto":
        host, _, port = address.rpartition(":")
        try:
            socket.create_connection((host.strip("[]"), int(port)), CONNECT).close()
        except ValueError:
            raise BadInput(f"{place}: write HOST:PORT, as `ray start --head` tells it") from None
        except OSError as error:
            raise BadInput(f"{place}: nothing answers there: {one_line(error)}") from None
    try:
        command = [sys.executable, "-c", JOIN, address]
        tried = subprocess.run(command, capture_output=True, check=False, timeout=ANSWER)
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


@contextmanager
def signals_held() -> Iterator[None]:
    """Hold Ctrl-C back while Ray waits, since Ray makes a SystemError of what it raises."""
    with uninterruptible():
        try:
            yield
        except SystemError:
            check_interrupted()
            raise


@dataclass
class Submission:
    """A job on its way through the cluster.

    Attributes:
        step: of the last checkpoint that is here.
        crashes: how often its worker has died since.
    """

    job: Job
    step: int = 0
    crashes: int = 0
    pictures: dict[str, Picture] = field(default_factory=dict)


class Scheduler:
    """Submits jobs to the cluster, receives what they send, and submits again what was lost."""

    def __init__(self, ray: Any, jobs: list[Job], emit: Emit, gpu_share: float) -> None:
        self.ray, self.jobs, self.emit, self.gpu_share = ray, jobs, emit, gpu_share
        self.waiting = deque(Submission(job) for job in jobs)
        self.running: dict[Any, Submission] = {}
        self.records: dict[str, Record] = {}
        self.pause_until = 0.0
        self.shared = share_files(ray, jobs)
        # Ray itself never repeats a run: it would do so from the files of its first attempt.
        self.task = ray.remote(max_retries=0, num_returns="streaming")(run_remotely)

    def run_all(self) -> list[Record]:
        """Carry out all jobs."""
        while len(self.records) < len(self.jobs):
            self.submit_waiting()
            for stream in self.wait():
                with signals_held():
                    self.receive(stream)
        return [self.records[job.spec.name] for job in self.jobs]

    def resources(self, job: Job) -> dict[str, float]:
        """Return what a run asks its machine for."""
        gpus = 0.0 if job.spec.device == "cpu" else self.gpu_share
        return {"CPU": job.spec.threads, "GPU": gpus, "memory": job.footprint.memory}

    def check_room(self, *, alone: bool) -> None:
        """Give notice where no machine is large enough for a run; refuse where this one is `alone`.

        A cluster may yet get another.
        """
        nodes = [node["Resources"] for node in self.ray.nodes() if node["Alive"]]
        wanted = {tuple(self.resources(job).items()) for job in self.jobs}
        for needs in sorted(wanted):
            if any(all(node.get(kind, 0) >= n for kind, n in needs) for node in nodes):
                continue
            cpus, gpus, memory = (n for _, n in needs)
            text = f"{cpus} CPUs, {gpus:g} GPUs and {memory / 2**30:.3g} GiB of memory for a run"
            if alone:
                raise BadInput(f"--engine ray: this machine does not have {text}")
            self.emit(Noticed("", f"no machine of the cluster has {text}: it waits for one"))

    def submit_waiting(self) -> None:
        """Submit jobs up to twice as many as the cluster has CPUs, so that none of those waits."""
        if not self.waiting or time.monotonic() < self.pause_until:
            return
        cpus = int(self.ray.cluster_resources().get("CPU", 0))
        for _ in range(min(2 * max(1, cpus) - len(self.running), len(self.waiting))):
            self.submit(self.waiting.popleft())

    def submit(self, submission: Submission) -> None:
        """Submit a job with the files that it has here."""
        job = submission.job
        if job.afresh:
            # Only once: what it then saves does count.
            shutil.rmtree(job.checkpoint, ignore_errors=True)
            job = submission.job = replace(job, afresh=False)
        cpus, gpus, memory = self.resources(job).values()
        task = self.task.options(num_cpus=cpus, num_gpus=gpus, memory=memory)
        stream = task.remote(job, pack_folder(job.folder), self.shared)
        self.running[stream] = submission

    def wait(self) -> list[Any]:
        """Wait a moment for runs that have sent something."""
        streams, ready = list(self.running), list[Any]()
        if not streams:
            time.sleep(PAUSE)
            return ready
        with signals_held():
            if self.ray.wait(streams, timeout=PAUSE)[0]:
                ready = self.ray.wait(streams, num_returns=len(streams), timeout=0)[0]
        return ready

    def receive(self, stream: Any) -> None:
        """Receive what a run has sent, or find out what has become of it."""
        submission, errors = self.running[stream], self.ray.exceptions
        try:
            message, files = self.ray.get(next(stream))
            if files is not None:
                write_folder(files, submission.job.folder)
        except errors.OutOfMemoryError as error:
            reason = "out of memory: its machine ran low on it, and Ray ended the run"
            self.give_up(stream, reason, error)
        except (errors.NodeDiedError, errors.ObjectLostError):
            self.resubmit(stream, "its machine was lost")
        except errors.WorkerCrashedError as error:
            submission.crashes += 1
            if submission.crashes < CRASHES:
                self.resubmit(stream, "its worker process died")
            else:
                reason = f"its worker process died {CRASHES} times, perhaps for want of memory"
                self.give_up(stream, reason, error)
        except errors.RayTaskError as error:
            self.give_up(stream, describe_error(error.cause), error)
        except (errors.RayError, ValueError) as error:
            self.give_up(stream, describe_error(error), error)
        else:
            self.handle(stream, message)

    def handle(self, stream: Any, message: Event | Record) -> None:
        """Note how far a run has come, and pass its event on."""
        submission = self.running[stream]
        if isinstance(message, Record):
            self.close(stream, message)
            return
        if isinstance(message, Started):
            submission.step = message.done
        elif isinstance(message, Saved):
            submission.step, submission.crashes = message.step, 0
        elif isinstance(message, Drawn):
            submission.pictures = message.pictures
        self.emit(message)

    def resubmit(self, stream: Any, why: str) -> None:
        """Submit a run that was lost again, before those that have not begun."""
        submission = self.running.pop(stream)
        self.waiting.appendleft(submission)
        self.pause_until = time.monotonic() + PAUSE
        text = f"{why}; it resumes from step {submission.step:,}"
        self.emit(Noticed(submission.job.spec.name, text))

    def give_up(self, stream: Any, reason: str, error: Exception) -> None:
        """Write the record of a run that has failed, unless an earlier one went well."""
        submission, trace = self.running[stream], str(error).encode(errors="replace")
        record = write_failure(submission.job, reason, submission.pictures, trace)
        self.ray.cancel(stream, force=True)
        self.close(stream, record)

    def close(self, stream: Any, record: Record) -> None:
        """Finish with a run."""
        name = self.running.pop(stream).job.spec.name
        self.records[name] = record
        self.emit(Finished(name, record))
        if is_disk_full(record):
            # That machine would fail one run after the other in no time.
            raise OSError(errno.ENOSPC, f"a machine of the cluster has {record.reason}")


def share_files(ray: Any, jobs: list[Job]) -> SharedFiles:
    """Put into the cluster's object store, once, what all runs need."""
    needed = {name for job in jobs for name in (job.spec.extractor, *job.spec.views)}
    files = {f"weights/{path.name}": path for job in jobs if (path := job.place.weights)}
    caches = {job.place.cache for job in jobs}
    for path in (path for cache in caches for path in cache.glob(CLASSIFIERS)):
        with suppress(ValueError, OSError):
            if str(load_classifier(path)) in needed:
                files[f"cache/{path.name}"] = path
    stored = {name: ray.put(path.read_bytes()) for name, path in files.items()}
    return SharedFiles(str(Path.cwd()), fingerprint_code(), stored)
