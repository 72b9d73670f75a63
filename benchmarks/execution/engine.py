"""Where runs are carried out: in this process, in several of this machine, or on a cluster."""

from dataclasses import dataclass
from pathlib import Path

from benchmarks.config.spec import RunSpec
from benchmarks.execution.events import Emit
from benchmarks.execution.job import Job
from benchmarks.execution.local import choose_jobs, run_all
from benchmarks.execution.lock import check_free
from benchmarks.records.schema import Record


@dataclass(frozen=True)
class Engine:
    """How runs are carried out: `inline`, `local` or `ray`.

    Attributes:
        jobs: runs side by side, None for as many as this machine has room for.
        gpu_share: the part of a GPU that a run takes.
        address: of a Ray cluster, None for a Ray of this machine alone.
    """

    kind: str = "local"
    jobs: int | None = None
    gpu_share: float = 1.0
    address: str | None = None

    def check(self, specs: list[RunSpec], folder: Path) -> None:
        """Refuse a folder that is in use, or a cluster that cannot be joined; write nothing."""
        check_free(folder)
        if self.kind == "ray":
            from benchmarks.execution.ray import check_cluster

            check_cluster({spec.device for spec in specs}, self.address)

    def count_workers(self, jobs: list[Job]) -> tuple[int, str]:
        """Return how many runs go side by side on this machine, and a note where memory limits."""
        if self.kind == "inline" or not jobs:
            return 1, ""
        if self.jobs:
            return self.jobs, ""
        spec, memory = jobs[0].spec, [job.footprint.memory for job in jobs]
        workers, note = choose_jobs(memory, spec.threads, spec.device, self.gpu_share)
        return workers, note if self.kind == "local" else ""

    def run(self, jobs: list[Job], emit: Emit) -> list[Record]:
        """Carry out jobs, and return the records in their order."""
        if self.kind == "ray":
            from benchmarks.execution.ray import run_cluster

            return run_cluster(jobs, emit, self.address, self.gpu_share)
        return run_all(jobs, self.count_workers(jobs)[0], emit)
