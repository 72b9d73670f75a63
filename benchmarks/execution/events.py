"""What runs report while they are carried out: plain values that pass between processes."""

from collections.abc import Callable
from dataclasses import dataclass, field

from benchmarks.records.schema import Picture, Record


@dataclass(frozen=True)
class Planned:
    """The runs that are to be done are known.

    Attributes:
        work: the work of each by its name, in any unit; empty where it is unknown.
        finished: the records of runs that earlier commands have finished.
    """

    work: dict[str, float]
    finished: list[Record] = field(default_factory=list)


@dataclass(frozen=True)
class Started:
    """A run begins, of whose training steps earlier commands have done the first `done`."""

    run: str
    steps: int
    done: int = 0


@dataclass(frozen=True)
class Advanced:
    """A run has done `step` training steps on so many images, with these mean losses."""

    run: str
    step: int
    images: int
    losses: dict[str, float]


@dataclass(frozen=True)
class Saved:
    """A run has written a checkpoint of its first `step` training steps."""

    run: str
    step: int


@dataclass(frozen=True)
class Drawn:
    """A run has written pictures of how far it has come."""

    run: str
    pictures: dict[str, Picture]


@dataclass(frozen=True)
class Noticed:
    """One line for the user, on one run or, where that is empty, on all.

    A `routine` one needs nobody's attention, so that a quiet display leaves it out.
    """

    run: str
    text: str
    routine: bool = False


@dataclass(frozen=True)
class Finished:
    """A run has ended with this record, well or not."""

    run: str
    record: Record


Event = Planned | Started | Advanced | Saved | Drawn | Noticed | Finished

Emit = Callable[[Event], None]
"""Is called with every event: a display, or what passes events on to another process."""
