"""How names, numbers and lists are put on a suite's page."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from benchmarks.core.text import count, plain, shorten

LONGEST = 60
"""Characters of a contender's name that are shown."""
LINES = 10
"""Lines of a list that are shown, such as of records that were left out."""
Line = TypeVar("Line")


@dataclass(frozen=True)
class Cut(Generic[Line]):
    """The first lines of a list, and how many more it has."""

    lines: Sequence[Line]
    more: int = 0


def cut(lines: Sequence[Line], limit: int) -> Cut[Line]:
    """Leave out all but the first lines of a list."""
    return Cut(lines[:limit], max(0, len(lines) - limit))


def span(values: Iterable[float], noun: str) -> str | None:
    """How many of something there are each time: `3 seeds`, `1 to 3 seeds`; None without values."""
    found = sorted({int(value) for value in values})
    if not found:
        return None
    return f"{found[0]:,} to {count(found[-1], noun)}" if len(found) > 1 else count(found[0], noun)


def show_name(name: str) -> str:
    """A contender's name as it is shown."""
    return shorten(plain(name), LONGEST)


def sentence(words: str) -> str:
    """Words with a capital at their beginning and a full stop at their end."""
    return f"{words[:1].upper()}{words[1:]}."


def direction(better: str | None) -> str:
    """Which way is better, as a sentence; nothing where neither is."""
    return f"{better.capitalize()} is better." if better else ""
