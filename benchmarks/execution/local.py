"""How runs are carried out: one after another in this process, or side by side in several."""

import errno
import os
from collections.abc import Sequence
from functools import partial
from itertools import accumulate

from benchmarks.core.processes import Death, Pool, count_cores
from benchmarks.core.signals import Interrupted, check_interrupted
from benchmarks.execution.events import Drawn, Emit, Event, Finished, Noticed
from benchmarks.execution.job import Job
from benchmarks.execution.run_one import is_disk_full, run, write_failure
from benchmarks.records.schema import Picture, Record


def choose_jobs(
    memory: Sequence[int], threads: int, device: str, gpu_share: float = 1.0
) -> tuple[int, str]:
    """Choose how many runs go side by side: as cores and memory allow, or as they share the GPUs.

    Args:
        memory: the bytes that each run takes; there is to be room for the largest of them together.
        threads: of each run.
        device: `cuda` is whichever GPU is free, `cuda:1` that one; a run takes `gpu_share` of it.
        gpu_share: that part.

    Returns:
        The number, and a note where it is memory that limits it.
    """
    if device != "cpu":
        gpus = len(visible_gpus()) if device == "cuda" else 1
        return max(1, min(len(memory), int(gpus * max(1, int(1 / gpu_share))))), ""
    wanted, free = max(1, min(len(memory), count_cores() // threads)), available_memory()
    largest = sorted(memory, reverse=True)[:wanted]
    fitting = max(1, sum(total <= free for total in accumulate(largest)))
    if fitting == wanted:
        return wanted, ""
    sizes = f"{free / 2**30:.1f} GiB are free, and a run takes up to {largest[0] / 2**30:.1f} GiB"
    return fitting, f"memory limits the runs side by side to {fitting} of {wanted}: {sizes}"


def available_memory() -> float:
    """Return how many bytes of memory are free or can be freed, infinity where that is unknown."""
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


def run_all(jobs: list[Job], workers: int, emit: Emit) -> list[Record]:
    """Carry out every job, whatever becomes of the others; return the records in the jobs' order.

    Outcomes do not depend on `workers`, since each run computes with the threads of its spec.

    Raises:
        OSError: the disk is full.
        Interrupted: Ctrl-C or the like; the runs in training have written their state.
    """
    workers = min(workers, len(jobs))
    return run_local(jobs, workers, emit) if workers > 1 else run_inline(jobs, emit)


def run_inline(jobs: list[Job], emit: Emit) -> list[Record]:
    """Carry out the jobs one after another in this process."""
    records = []
    for job in jobs:
        records.append(run(job, emit))
        emit(Finished(job.spec.name, records[-1]))
        check_disk(job, records[-1])
        check_interrupted()  # a signal that came in an uninterruptible block which failed
    return records


def run_local(jobs: list[Job], workers: int, emit: Emit) -> list[Record]:
    """Carry out the jobs side by side in `workers` processes, which end with this call."""
    records: dict[int, Record] = {}
    pictures: dict[int, dict[str, Picture]] = {}

    def receive(index: int, event: Event) -> None:
        if isinstance(event, Drawn):
            pictures[index] = event.pictures
        emit(event)

    with Pool(workers, run, partial(choose_gpu, visible_gpus())) as pool:
        try:
            for index, result in pool.run(jobs, receive):
                job, drawn = jobs[index], pictures.get(index)
                record = result if isinstance(result, Record) else record_death(job, result, drawn)
                records[index] = record
                emit(Finished(record.run, record))
                check_disk(job, record)
        except Interrupted:
            emit(Noticed("", "stopping as soon as all is written; Ctrl-C again stops at once"))
            raise
    return [records[index] for index in range(len(jobs))]


def choose_gpu(gpus: list[str], number: int) -> None:
    """Show this worker process one of several GPUs, in turn."""
    if len(gpus) > 1:
        os.environ["CUDA_VISIBLE_DEVICES"] = gpus[number % len(gpus)]


def record_death(job: Job, death: Death, pictures: dict[str, Picture] | None) -> Record:
    """Write the record of a run whose worker has died."""
    return write_failure(job, f"its worker process was ended {death}", pictures)


def check_disk(job: Job, record: Record) -> None:
    """Raise OSError where a run has found the disk full, since others would only find the same."""
    if is_disk_full(record):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(job.folder))
