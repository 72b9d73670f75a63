"""A command that is asked to end: it writes down where it is, and the next goes on from there."""

import os
import re
import signal
from contextlib import suppress
from multiprocessing import Pipe
from pathlib import Path
from unittest.mock import MagicMock

import pytest
from commands import PATIENCE, Command, Session
from kills import check_files, find_workers, take_stock, wait_for

from benchmarks.core import processes
from benchmarks.core.signals import Interrupted, interruptible, uninterruptible
from benchmarks.execution import local

LAST_WORDS = "interrupted; the same command resumes the runs that are not finished\n"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "whole_group"),
    [
        (signal.SIGINT, True),
        (signal.SIGTERM, False),
        (signal.SIGHUP, True),
    ],
)
def test_what_is_interrupted_goes_on_to_the_same_scores(
    tmp_path: Path, scores: bytes, number: int, whole_group: bool
) -> None:
    folder = tmp_path / "results"
    first = Command(folder)
    first.await_training()
    earlier = take_stock(folder)
    if whole_group:
        os.killpg(first.process.pid, number)
    else:
        os.kill(first.process.pid, number)
    code, out, error = first.end()
    assert (code, error) == (128 + number, LAST_WORDS)
    assert "stopping as soon as all is written; Ctrl-C again stops at once" in out
    stands = take_stock(folder)
    assert {stand.stage for stand in stands.values()} == {"training"}
    # A run that was just writing down a step when it was asked has nothing newer to write.
    assert all(stand.step >= earlier[run].step for run, stand in stands.items())
    assert not check_files(folder), "nothing is left half-written"

    code, out, error = Command(folder).end()
    assert (code, error) == (0, "")
    assert "has died" not in out
    assert (folder / "scores.csv").read_bytes() == scores


@pytest.mark.slow
def test_a_closed_terminal_ends_a_command_in_good_order(tmp_path: Path, scores: bytes) -> None:
    folder = tmp_path / "results"
    session = Session(folder)
    session.await_training()
    session.close()
    assert session.end()[0] == 128 + signal.SIGHUP
    assert {stand.stage for stand in take_stock(folder).values()} == {"training"}
    assert not check_files(folder), "nothing is left half-written"

    code, out, error = Command(folder).end()
    assert (code, error) == (0, "")
    assert "has died" not in out
    assert (folder / "scores.csv").read_bytes() == scores


@pytest.mark.slow
def test_a_second_interrupt_does_not_wait_for_workers_who_cannot_end(tmp_path: Path) -> None:
    folder = tmp_path / "results"
    command = Command(folder)
    command.await_training()
    workers = find_workers(command.process.pid)
    for worker in workers:
        os.kill(worker, signal.SIGSTOP)
    wait_for(lambda: all(read_status(w, "State").startswith("T") for w in workers), PATIENCE)
    command.interrupt()
    wait_for(lambda: all(map(is_asked_to_end, workers)), PATIENCE)
    assert command.process.poll() is None, "it waits for what the workers have in hand"
    command.interrupt()
    code, _, error = command.end()
    assert (code, error) == (130, LAST_WORDS)
    check_files(folder)
    assert {stand.stage for stand in take_stock(folder).values()} == {"training"}


def read_status(process: int, field: str) -> str:
    """Read a field of what Linux tells of a process."""
    status = Path(f"/proc/{process}/status").read_text(encoding="ascii")
    return re.findall(rf"^{field}:\s*(.+)$", status, re.MULTILINE)[0]


def is_asked_to_end(process: int) -> bool:
    """Tell whether a process that stands still has SIGTERM waiting for it."""
    return bool(int(read_status(process, "ShdPnd"), 16) & 1 << signal.SIGTERM - 1)


class Failing:
    """Does as a run does that is asked to end and cannot write where it is; once only."""

    begun = 0

    def __call__(self, *_: object) -> str:
        self.begun += 1
        if self.begun > 1:
            raise EOFError("another run begins")
        with suppress(OSError), uninterruptible():
            os.kill(os.getpid(), signal.SIGTERM)
            raise OSError("the disk is full")
        return "a record"


def test_a_worker_asked_to_end_while_a_write_fails_does_not_wait_for_another_job() -> None:
    ours, theirs = Pipe()
    ours.send(("a job",))
    ours.send(("another",))
    with pytest.raises(SystemExit) as raised:
        processes.serve(theirs, 0, Failing(), None)
    assert raised.value.code == 143
    assert ours.recv().value == "a record"
    assert not ours.poll()


def test_no_further_run_begins_after_an_interrupt_while_a_write_fails(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run = Failing()
    monkeypatch.setattr(local, "run", run)
    monkeypatch.setattr(local, "check_disk", lambda *_: None)
    job, emit = MagicMock(), MagicMock()
    with pytest.raises(Interrupted), interruptible():
        local.run_inline([job, job], emit)
    assert run.begun == 1
    emit.assert_called_once()
