"""How runs are carried out: one after another in this process, or side by side in several."""

import multiprocessing
import os
import queue
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import TYPE_CHECKING, Any

from benchmarks.display import Display
from benchmarks.records import Record, write_record
from benchmarks.runner import Job, run, unfinished

if TYPE_CHECKING:
    from multiprocessing.queues import Queue

POLL = 0.2
"""Seconds between two looks at what the workers report."""

Message = tuple[str, str, int, int, dict[str, float]]

_messages: "Queue[Message] | None" = None


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
    if not jobs:
        return []
    return run_inline(jobs, display) if workers == 1 else run_local(jobs, workers, display)


def run_inline(jobs: list[Job], display: Display) -> list[Record]:
    """Carry out the jobs one after another in this process."""
    records = []
    for job in jobs:
        tell = Teller(job, lambda message: relay(message, display))
        records.append(run(job, tell))
        display.finish(job.spec.name, records[-1])
    return records


def run_local(jobs: list[Job], workers: int, display: Display) -> list[Record]:
    """Carry out the jobs side by side in `workers` processes."""
    context = multiprocessing.get_context("spawn")
    messages: Queue[Message] = context.Queue()
    pool = ProcessPoolExecutor(workers, context, initializer=attach, initargs=(messages,))
    records: dict[str, Record] = {}
    with pool:
        futures = {pool.submit(run_in_worker, job): job for job in jobs}
        while len(records) < len(jobs):
            drain(messages, display)
            for future in [f for f in futures if f.done()]:
                job = futures.pop(future)
                records[job.spec.name] = collect(future, job)
                display.finish(job.spec.name, records[job.spec.name])
    return [records[job.spec.name] for job in jobs]


def collect(future: "Future[Record]", job: Job) -> Record:
    """Give a finished job's record; a worker that died leaves one that says so."""
    try:
        return future.result()
    except BrokenProcessPool:
        record = unfinished(
            job, "failed", "a worker process was killed, perhaps for want of memory"
        )
        write_record(job.folder, record)
        return record


class Teller:
    """Turns what training reports into messages about one run."""

    def __init__(self, job: Job, send: Any) -> None:
        self.job, self.send = job, send
        self.begun = False

    def __call__(self, step: int, steps: int, images: int, losses: dict[str, float]) -> None:
        """Announce the run the first time, then where it is."""
        if not self.begun:
            self.begun = True
            self.send(("start", self.job.spec.name, steps, 0, {}))
        if step:
            self.send(("advance", self.job.spec.name, step, images, losses))


def relay(message: Message, display: Display) -> None:
    """Show one message."""
    kind, name, number, images, losses = message
    if kind == "start":
        display.start(name, number)
    else:
        display.advance(name, number, images, losses)


def drain(messages: "Queue[Message]", display: Display) -> None:
    """Show what the workers have reported, waiting a moment for the first."""
    try:
        relay(messages.get(timeout=POLL), display)
        while True:
            relay(messages.get_nowait(), display)
    except queue.Empty:
        return


def attach(messages: "Queue[Message]") -> None:
    """Remember in a worker where to report to."""
    global _messages  # noqa: PLW0603 - a worker process has one line to its parent
    _messages = messages


def run_in_worker(job: Job) -> Record:
    """Carry out a job in a worker process."""
    assert _messages is not None
    return run(job, Teller(job, _messages.put))
