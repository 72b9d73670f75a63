"""Errors that commands print in one line, and the wording of their messages."""

from collections.abc import Iterable
from difflib import get_close_matches

from benchmarks.core.text import plain, shorten

LONGEST = 4_000
"""Characters of a message."""

FAILURES = (Exception, SystemExit)
"""Errors that code of the user's own may raise, which end its run or its score and nothing else."""


class BadInput(Exception):
    """The user's input is wrong; the message says in one line what, where, and what would be right.

    Commands print it to the standard error without a traceback and exit with code 2. Whatever a
    name in it holds, it is one line that steers no terminal and is not endless.
    """

    def __init__(self, message: object) -> None:
        super().__init__(printable(str(message)))


class OwnFailure(Exception):
    """Code of the user's own that everything depends on has failed; the message says which.

    Commands print it to the standard error without a traceback and exit with code 1.
    """


def describe_error(error: BaseException) -> str:
    """Return an error's type and message in one line."""
    return f"{type(error).__name__}: {one_line(error)}"


def one_line(error: BaseException) -> str:
    """Return an error's message in one line."""
    text = str(error).encode(errors="replace").decode()
    return " ".join(text.split()) or "no message"


def printable(text: str) -> str:
    """Put a text into one line of visible characters, without the middle of a long one."""
    return shorten(plain(text), LONGEST)


def unknown(kind: str, name: str, choices: Iterable[str]) -> str:
    """Return the message that `name` is no `kind`, with the nearest choice and all of them."""
    valid = sorted(choices)
    near = get_close_matches(name.lower(), valid, n=1, cutoff=0.4)
    hint = f"did you mean {near[0]!r}? " if near else ""
    return f"unknown {kind} {name!r}: {hint}choose from {', '.join(valid)}"
