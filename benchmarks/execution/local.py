"""How runs are carried out: one after another in this process, or side by side in several."""

import errno
import multiprocessing
import os
import signal
import sys
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait

from benchmarks.core.output import configure_output
from benchmarks.core.signals import Interrupted, block_signals, check_interrupted, interruptible
from benchmarks.execution.events import Drawn, Event, Finished, Listener, Noticed
from benchmarks.execution.job import Job
from benchmarks.execution.run_one import FULL, Progress, run, unfinished, write_outcome
from benchmarks.records.schema import Picture, Record
from benchmarks.training.distributed import check_team

SHARE = 1.25 * 2**30
"""Bytes of memory that a run of small images takes at most, its process included."""


def choose_jobs(runs: int, threads: int, device: str, gpu_share: float = 1.0) -> int:
    """Choose how many runs go side by side: as cores and memory allow, or as they share the GPUs.

    Args:
        runs: how many there are to do.
        threads: of each run.
        device: of each run; `cuda` is whichever GPU is free, `cuda:1` that one.
        gpu_share: the part of a GPU that a run takes.
    """
    if device != "cpu":
        gpus = len(visible_gpus()) if device == "cuda" else 1
        return max(1, min(runs, int(gpus * max(1, int(1 / gpu_share)))))
    cores = (
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    )
    return max(1, min(runs, cores // threads, int(available_memory() / SHARE)))


def available_memory() -> float:
    """Tell how many bytes of memory are free or can be freed; infinite where nobody knows."""
    try:
        with open("/proc/meminfo", encoding="ascii") as file:  # noqa: PTH123 - no regular file
            sizes = dict(line.split(":") for line in file)
        return int(sizes["MemAvailable"].split()[0]) * 2**10
    except (OSError, KeyError, ValueError):
        return float("inf")


def visible_gpus() -> list[str]:
    """List the GPUs as `CUDA_VISIBLE_DEVICES` names them."""
    import torch

    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    return chosen.split(",") if chosen else [str(i) for i in range(torch.cuda.device_count())]


def run_all(jobs: list[Job], workers: int, emit: Listener) -> list[Record]:
    """Carry out every job and give the records in the jobs' order; none is lost to another's end.

    Outcomes do not depend on `workers`, since each run computes with the threads of its spec.

    Raises:
        OSError: the disk is full.
        Interrupted: Ctrl-C or the like; the runs in training have been written down.
    """
    workers = min(workers, len(jobs))
    return run_local(jobs, workers, emit) if workers > 1 else run_inline(jobs, emit)


def run_inline(jobs: list[Job], emit: Listener) -> list[Record]:
    """Carry out the jobs one after another in this process."""
    records = []
    for job in jobs:
        records.append(run(job, emit))
        emit(Finished(job.spec.name, records[-1]))
        check_disk(job, records[-1])
        check_team()
        check_interrupted()  # a signal that came in an uninterruptible block which failed
    return records


def run_local(jobs: list[Job], workers: int, emit: Listener) -> list[Record]:
    """Carry out the jobs side by side in `workers` processes, which end with this call."""
    todo, records = deque(jobs), dict[str, Record]()
    crew: list[Worker] = []
    try:
        for number in range(workers):
            crew.append(Worker(number))
            crew[-1].begin(todo.popleft())
        while len(records) < len(jobs):
            for worker in listen(crew):
                heard = worker.hear()
                if not isinstance(heard, Record):
                    emit(heard)
                    continue
                records[heard.run] = heard
                emit(Finished(heard.run, heard))
                check_disk(worker.job, heard)
                if todo:
                    worker.begin(todo.popleft())
                else:
                    crew.remove(worker)
                    worker.end()
    except Interrupted:
        emit(Noticed("", "stopping as soon as all is written; Ctrl-C again stops at once"))
        raise
    finally:
        dismiss(crew)
    return [records[job.spec.name] for job in jobs]


def check_disk(job: Job, record: Record) -> None:
    """Stop everything where a run has found the disk full; the others would only find the same."""
    if record.status == "failed" and (record.reason or "").startswith(FULL):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(job.folder))


def listen(crew: "list[Worker]") -> "list[Worker]":
    """Wait until some of the workers have something to say."""
    ready = wait([worker.line for worker in crew])
    return [worker for worker in crew if worker.line in ready]


def dismiss(crew: "list[Worker]") -> None:
    """End all workers: they write down what they are at, unless somebody cannot wait for that."""
    try:
        for worker in crew:
            worker.release()
            worker.process.terminate()
        for worker in crew:
            worker.drain()
    finally:
        for worker in crew:
            worker.process.kill()
            worker.process.join()


class Worker:
    """A process that carries out one job at a time, and the line to it."""

    job: Job
    line: Connection

    def __init__(self, number: int) -> None:
        self.number = number
        self.start()

    def start(self) -> None:
        """Start the process; it sees one GPU, where there are several."""
        context = multiprocessing.get_context("spawn")
        self.line, theirs = context.Pipe()
        self.process = context.Process(target=work, args=(theirs,))
        resource_tracker.ensure_running()  # or else it would let signals pass while it starts
        with block_signals(), one_gpu(self.number):
            self.process.start()
        theirs.close()

    def begin(self, job: Job) -> None:
        """Hand the worker its next job; one that has died gets up again first."""
        if self.line.closed:
            self.start()
        self.job = job
        self.pictures: dict[str, Picture] = {}
        # One that has died since tells when it is heard next.
        with suppress(BrokenPipeError):
            self.line.send(job)

    def hear(self) -> "Event | Record":
        """Take what the worker says next; one that has died leaves a record that says so."""
        try:
            heard: Event | Record = self.line.recv()
        except (EOFError, OSError):
            self.process.join()
            self.line.close()
            return self.report_death()
        if isinstance(heard, Drawn):
            self.pictures = heard.pictures
        return heard

    def report_death(self) -> Record:
        """Leave the record of a run whose worker has died."""
        code = self.process.exitcode or 0
        how = f"by signal {-code}, perhaps for want of memory" if code < 0 else f"with code {code}"
        reason = f"its worker process was ended {how}"
        record = unfinished(self.job, "failed", reason, self.pictures)
        with suppress(OSError):
            write_outcome(self.job, record, Progress(), b"")
        return record

    def drain(self) -> None:
        """Let the worker say what it will until it has ended; it must not wait to be heard."""
        with suppress(EOFError, OSError):
            while True:
                self.line.recv()
        self.line.close()

    def release(self) -> None:
        """Tell the worker that there are no more jobs.

        A signal alone might be lost: one that comes just before the process waits for its next job
        does not wake it.
        """
        with suppress(OSError):
            self.line.send(None)

    def end(self) -> None:
        """End a process that has nothing in hand."""
        self.release()
        self.process.join()
        self.line.close()


@contextmanager
def one_gpu(number: int) -> Iterator[None]:
    """Start processes that see one of several GPUs, in turn."""
    gpus = visible_gpus()
    if len(gpus) < 2:
        yield
        return
    before = os.environ.get("CUDA_VISIBLE_DEVICES")
    os.environ["CUDA_VISIBLE_DEVICES"] = gpus[number % len(gpus)]
    try:
        yield
    finally:
        if before is None:
            del os.environ["CUDA_VISIBLE_DEVICES"]
        else:
            os.environ["CUDA_VISIBLE_DEVICES"] = before


def work(line: Connection) -> None:
    """Carry out the jobs that come over the line, in a process of its own, until it is cut."""
    leave_with_parent()
    configure_output()

    def send(message: "Event | Record") -> None:
        try:
            line.send(message)
        except BrokenPipeError:
            raise Interrupted(signal.SIGTERM) from None  # nobody waits for the outcome any more

    try:
        with interruptible(signal.SIGTERM):
            while (job := line.recv()) is not None:
                send(run(job, send))
                check_interrupted()  # a signal that came in an uninterruptible block which failed
    except Interrupted:
        sys.exit(128 + signal.SIGTERM)
    except (EOFError, ConnectionResetError):
        return


def leave_with_parent() -> None:
    """End this process as soon as the one that started it has died."""
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def watch() -> None:
        wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
