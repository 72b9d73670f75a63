"""What all commands share: a parser, and exit codes with one line on what went wrong."""

import argparse
import signal
import sys
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from benchmarks.core.errors import BadInput, OwnFailure, printable, unknown
from benchmarks.core.output import configure_output
from benchmarks.core.signals import Interrupted, interruptible


class Parser(argparse.ArgumentParser):
    """A parser of `python -m benchmarks.NAME` that refuses wrong arguments in one line."""

    def __init__(self, name: str, description: str, examples: str) -> None:
        super().__init__(
            prog=f"python -m benchmarks.{name}",
            description=description,
            epilog=examples,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )

    def parse_args(self, args: Sequence[str], namespace: Any = None) -> Any:  # type: ignore[override]
        """Parse a command line.

        Raises:
            BadInput: an option is unknown, the nearest named, or a value is wrong or too many.
        """
        for word in args:
            if word.startswith("--") and word != "--":
                self._check_option(word)
        options, rest = self.parse_known_args(args, namespace)
        if rest and rest[0].startswith("-"):
            self._check_option(rest[0])
        if rest:
            first = next(action for action in self._actions if not action.option_strings)
            given, name = getattr(options, first.dest), first.metavar or first.dest
            named = f"{str(given)!r} is named already"
            raise BadInput(f"{rest[0]!r}: one {name} at a time, and {named}")
        return options

    def _check_option(self, word: str) -> None:
        name, valid = word.partition("=")[0], self._option_string_actions
        if name not in valid:
            raise BadInput(unknown("option", name, [n for n in valid if n.startswith("--")]))

    def error(self, message: str) -> NoReturn:
        """Refuse an argument."""
        raise BadInput(message.removeprefix("argument "))


def run_command(
    argv: Sequence[str] | None,
    parse: Callable[[list[str]], argparse.Namespace],
    act: Callable[[argparse.Namespace, list[str]], int],
    interrupted: str = "interrupted",
) -> int:
    """Parse a command line, act on it, and print in one line what went wrong.

    Without `argv` it is that of this process; `interrupted` is printed after an interruption.

    Returns:
        The exit code: 2 where the input is wrong, 1 where a file cannot be written, memory does not
        suffice or code of the user's own fails, 130 after Ctrl-C, 143 after SIGTERM, 129 after
        SIGHUP; else what `act` returns.
    """
    configure_output()
    arguments = [*(sys.argv[1:] if argv is None else argv)]
    try:
        with interruptible():
            return act(parse(arguments), arguments)
    except BadInput as error:
        line, code = f"error: {error}", 2
    except (OSError, MemoryError, OwnFailure) as error:
        line, code = f"error: {printable(str(error))}", 1
    except (Interrupted, KeyboardInterrupt) as interruption:
        number = getattr(interruption, "number", signal.SIGINT)
        line, code = interrupted, 128 + number
    print(line, file=sys.stderr)
    return code
