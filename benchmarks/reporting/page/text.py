"""How numbers and lists are put on a suite's page."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from benchmarks.core.text import count

LINES = 10
"""Lines of a list that are shown, such as of records that were left out."""
Line = TypeVar("Line")


@dataclass(frozen=True)
class Clipped(Generic[Line]):
    """The first lines of a list, and how many more it has."""

    lines: Sequence[Line]
    more: int = 0


def clip(lines: Sequence[Line], limit: int) -> Clipped[Line]:
    """Keep the first lines of a list."""
    return Clipped(lines[:limit], max(0, len(lines) - limit))


def show_range(values: Iterable[float], noun: str) -> str | None:
    """Return the range of a count: `3 seeds`, `1 to 3 seeds`; None without values."""
    found = sorted({int(value) for value in values})
    if not found:
        return None
    return f"{found[0]:,} to {count(found[-1], noun)}" if len(found) > 1 else count(found[0], noun)


def to_sentence(words: str) -> str:
    """Return words as a sentence, with a capital and a full stop."""
    return f"{words[:1].upper()}{words[1:]}."
