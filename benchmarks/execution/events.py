"""What a run tells while it goes on: plain values that pass between processes and machines."""

from dataclasses import dataclass

from benchmarks.cli.display import Display
from benchmarks.records.schema import Picture


@dataclass(frozen=True)
class Started:
    """A run begins with training of `steps` rounds, of which earlier ones may have played some."""

    run: str
    steps: int
    done: int = 0


@dataclass(frozen=True)
class Advanced:
    """A run has played `step` rounds and seen so many images, at these mean losses."""

    run: str
    step: int
    images: int
    losses: dict[str, float]


@dataclass(frozen=True)
class Saved:
    """A run has written a checkpoint of its first `step` rounds."""

    run: str
    step: int


@dataclass(frozen=True)
class Drawn:
    """A run has left pictures of how far it has come."""

    run: str
    pictures: dict[str, Picture]


@dataclass(frozen=True)
class Noticed:
    """A run has something to say to the user, in one line."""

    run: str
    text: str


Message = Started | Advanced | Saved | Drawn | Noticed


def relay(message: Message, display: Display) -> None:
    """Show one message."""
    match message:
        case Started(run, steps, done):
            display.start(run, steps, done)
        case Advanced(run, step, images, losses):
            display.advance(run, step, images, losses)
        case Noticed(run, text):
            display.notice(run, text)
