"""The skeleton of the commands: one line on what went wrong, and the exit code."""

import argparse
import os
import signal
from collections.abc import Callable
from typing import Any

import pytest

from benchmarks.cli.command import Parser, run_command
from benchmarks.core.errors import BadInput, OwnFailure
from benchmarks.core.signals import Interrupted


def parse(argv: list[str]) -> argparse.Namespace:
    parser = Parser("test", "A test.", "examples:")
    parser.add_argument("suite", nargs="?")
    parser.add_argument("--seeds", type=int)
    parser.add_argument("--samples", type=int)
    return parser.parse_args(argv)


def test_options_and_arguments_reach_the_action() -> None:
    seen: list[Any] = []
    act = lambda options, argv: seen.append((options.suite, options.seeds, argv)) or 7  # noqa: E731
    assert run_command(["digits", "--seeds", "-2"], parse, act) == 7
    assert seen == [("digits", -2, ["digits", "--seeds", "-2"])]


@pytest.mark.parametrize(
    ("argv", "line"),
    [
        (["--seed", "3"], "unknown option '--seed': did you mean '--seeds'?"),
        (["-x"], "unknown option '-x': "),
        (["--seeds=many"], "--seeds: invalid int value: 'many'"),
        (["a", "b"], "'b': one suite at a time, and 'a' is named already"),
    ],
)
def test_a_wrong_argument_is_refused_in_one_line(argv: list[str], line: str, capsys) -> None:
    assert run_command(argv, parse, lambda *_: 0) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"error: {line}")
    assert error.count("\n") == 1


def failing(error: BaseException) -> Callable[..., int]:
    def act(*_: object) -> int:
        raise error

    return act


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (BadInput("no such\nsuite"), 2, "error: no such suite"),
        (OSError("the disk is full"), 1, "error: the disk is full"),
        (MemoryError("too large"), 1, "error: too large"),
        (OwnFailure("my metric"), 1, "error: my metric"),
        (KeyboardInterrupt(), 130, "interrupted; resume it"),
        (Interrupted(signal.SIGTERM), 143, "interrupted; resume it"),
    ],
)
def test_what_goes_wrong_has_a_line_and_a_code(
    error: BaseException, code: int, line: str, capsys
) -> None:
    assert run_command([], parse, failing(error), "interrupted; resume it") == code
    assert capsys.readouterr().err == f"{line}\n"


def test_a_signal_ends_a_command_with_its_code(capsys) -> None:
    def act(*_: object) -> int:
        os.kill(os.getpid(), signal.SIGHUP)
        return 0

    assert run_command([], parse, act) == 129
    assert capsys.readouterr().err == "interrupted\n"
