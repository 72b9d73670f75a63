"""What the user gets to read when the input is wrong."""

from collections.abc import Iterable
from difflib import get_close_matches

LONGEST = 4_000
"""Characters of a message."""

FAILURES = (Exception, SystemExit)
"""What code of the user's own may raise, which costs its run or its score and nothing else."""


class BadInput(Exception):
    """The user's input cannot work; the message is one line that says what, where and what would.

    Commands print it to the standard error without a traceback and exit with code 2. Whatever a
    name in it holds, the message stays one line, does nothing to a terminal and has an end.
    """

    def __init__(self, message: object) -> None:
        super().__init__(printable(str(message)))


class OwnFailure(Exception):
    """Code of the user's own has failed that nothing can be done without; one line says which.

    Commands print it to the standard error without a traceback and exit with code 1.
    """


def describe_error(error: BaseException) -> str:
    """Return an error's type and message in one line."""
    return f"{type(error).__name__}: {one_line(error)}"


def printable(text: str) -> str:
    """Bring a text into one line that can be seen, leaving out the middle of a long one."""
    line = "".join(sign if sign.isprintable() else "?" for sign in " ".join(text.split()))
    half = LONGEST // 2
    return line if len(line) <= LONGEST else f"{line[:half]} … {line[-half:]}"


def unknown(kind: str, name: str, choices: Iterable[str]) -> str:
    """Say in one line that `name` is no `kind`, naming the nearest valid choice and all of them."""
    valid = sorted(choices)
    near = get_close_matches(name.lower(), valid, n=1, cutoff=0.4)
    hint = f"did you mean {near[0]!r}? " if near else ""
    return f"unknown {kind} {name!r}: {hint}choose from {', '.join(valid)}"


def one_line(error: BaseException) -> str:
    """Give an error's message in one line."""
    text = str(error).encode(errors="replace").decode()
    return " ".join(text.split()) or "no message"
