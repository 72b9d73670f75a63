"""The unit of work: a run, and the folders that it reads and writes."""

from dataclasses import dataclass
from pathlib import Path

from benchmarks.config.paths import Paths
from benchmarks.config.spec import RunSpec
from benchmarks.core.seeds import derive_seed

ASSUMED = int(1.25 * 2**30)
"""Bytes of memory that a run is assumed to take where that cannot be estimated."""


@dataclass(frozen=True)
class Footprint:
    """The estimated floating-point operations of a training, and bytes of memory of its process."""

    flops: int = 0
    memory: int = ASSUMED


@dataclass(frozen=True)
class Job:
    """A run to do: its spec, its suite's name and its folders.

    Attributes:
        checkpoint_seconds: seconds between two checkpoints of its training.
        afresh: whether to reuse nothing of an earlier training.
        footprint: what it is estimated to take.
    """

    spec: RunSpec
    suite: str
    place: Paths
    checkpoint_seconds: float = 30.0
    afresh: bool = False
    footprint: Footprint = Footprint()

    @property
    def folder(self) -> Path:
        """The run's own folder."""
        return self.place.folder / "runs" / self.spec.name

    @property
    def checkpoint(self) -> Path:
        """The folder of its weights, and of the state of its training."""
        return self.folder / "checkpoint"

    @property
    def seed(self) -> int:
        """The base of all the run's randomness."""
        return derive_seed(self.spec.seed, self.spec.data.name, self.spec.training.contender)
