"""How runs are carried out: one after another in this process, or side by side in several."""

import multiprocessing
import os
import signal
import sys
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection, wait

from benchmarks.display import Display
from benchmarks.records import Record, write_record
from benchmarks.runner import Job, run, unfinished

Message = tuple[str, str, int, int, dict[str, float]]
"""`start` or `advance`, the run, its steps or the step, images seen, mean losses."""


def choose_jobs(runs: int, threads: int, device: str) -> int:
    """Choose how many runs go side by side: as the cores allow, or one where they share a GPU."""
    if device != "cpu":
        return 1
    cores = (
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    )
    return max(1, min(runs, cores // threads))


def run_all(jobs: list[Job], workers: int, display: Display) -> list[Record]:
    """Carry out every job and give the records in the jobs' order; none is lost to another's end.

    Outcomes do not depend on `workers`, since each run computes with the threads of its spec.
    """
    workers = min(workers, len(jobs))
    return run_local(jobs, workers, display) if workers > 1 else run_inline(jobs, display)


def run_inline(jobs: list[Job], display: Display) -> list[Record]:
    """Carry out the jobs one after another in this process."""
    records = []
    for job in jobs:
        tell = Teller(job, lambda message: relay(message, display))
        records.append(run(job, tell))
        display.finish(job.spec.name, records[-1])
    return records


def run_local(jobs: list[Job], workers: int, display: Display) -> list[Record]:
    """Carry out the jobs side by side in `workers` processes, which end with this call."""
    todo, records = deque(jobs), dict[str, Record]()
    crew = [Worker() for _ in range(workers)]
    try:
        for worker in crew:
            worker.begin(todo.popleft())
        while len(records) < len(jobs):
            for worker in listen(crew):
                heard = worker.hear()
                if not isinstance(heard, Record):
                    relay(heard, display)
                    continue
                records[heard.run] = heard
                display.finish(heard.run, heard)
                if todo:
                    worker.begin(todo.popleft())
                else:
                    crew.remove(worker)
                    worker.end()
    finally:
        for worker in crew:
            worker.end()
    return [records[job.spec.name] for job in jobs]


def listen(crew: "list[Worker]") -> "list[Worker]":
    """Wait until some of the workers have something to say."""
    ready = wait([worker.line for worker in crew])
    return [worker for worker in crew if worker.line in ready]


class Worker:
    """A process that carries out one job at a time, and the line to it."""

    job: Job
    line: Connection

    def __init__(self) -> None:
        self.start()

    def start(self) -> None:
        """Start the process."""
        context = multiprocessing.get_context("spawn")
        self.line, theirs = context.Pipe()
        self.process = context.Process(target=work, args=(theirs,))
        with interrupts_ignored():
            self.process.start()
        theirs.close()

    def begin(self, job: Job) -> None:
        """Hand the worker its next job; one that has died gets up again first."""
        if self.line.closed:
            self.start()
        self.job = job
        # One that has died since tells when it is heard next.
        with suppress(BrokenPipeError):
            self.line.send(job)

    def hear(self) -> "Message | Record":
        """Take what the worker says next; one that has died leaves a record that says so."""
        try:
            return self.line.recv()
        except (EOFError, ConnectionResetError):
            self.process.join()
            self.end()
        code = self.process.exitcode or 0
        how = f"by signal {-code}, perhaps for want of memory" if code < 0 else f"with code {code}"
        record = unfinished(self.job, "failed", f"its worker process was ended {how}")
        write_record(self.job.folder, record)
        return record

    def end(self) -> None:
        """End the process, whatever it is at."""
        self.process.terminate()
        self.process.join()
        self.line.close()


@contextmanager
def interrupts_ignored() -> Iterator[None]:
    """Start processes that leave Ctrl-C to this one, which then ends them."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def work(line: Connection) -> None:
    """Carry out the jobs that come over the line, in a process of its own, until it is cut."""

    def send(message: "Message | Record") -> None:
        try:
            line.send(message)
        except BrokenPipeError:
            sys.exit(1)  # nobody waits for the outcome any more

    while True:
        try:
            job = line.recv()
        except (EOFError, ConnectionResetError):
            return
        send(run(job, Teller(job, send)))


class Teller:
    """Turns what training reports into messages about one run."""

    def __init__(self, job: Job, send: Callable[[Message], None]) -> None:
        self.job, self.send = job, send

    def __call__(self, step: int, steps: int, images: int, losses: dict[str, float]) -> None:
        """Announce the run at step 0, and then tell where it is."""
        name = self.job.spec.name
        if step:
            self.send(("advance", name, step, images, losses))
        else:
            self.send(("start", name, steps, 0, {}))


def relay(message: Message, display: Display) -> None:
    """Show one message."""
    kind, name, number, images, losses = message
    if kind == "start":
        display.start(name, number)
    else:
        display.advance(name, number, images, losses)
