"""Signals: uninterruptible blocks are finished first."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from benchmarks.core.files import write_atomically
from benchmarks.core.output import configure_output
from benchmarks.core.signals import (
    Interrupted,
    check_interrupted,
    interrupt_requested,
    interruptible,
    uninterruptible,
)


def interrupt(number: int = signal.SIGINT) -> None:
    """Send this process a signal; its handler is called before this returns."""
    os.kill(os.getpid(), number)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_interrupts_at_once_with_its_number(number: int) -> None:
    with pytest.raises(Interrupted) as raised, interruptible():
        interrupt(number)
    assert raised.value.number == number


def test_uninterruptible_blocks_are_finished_first_however_deep() -> None:
    done = []

    def work() -> None:
        with uninterruptible():
            with uninterruptible():
                interrupt()
                done.append("inner")
            assert interrupt_requested()
            done.append("outer")
        done.append("too much")

    with pytest.raises(Interrupted), interruptible():
        work()
    assert done == ["inner", "outer"]


def test_a_second_signal_does_not_wait() -> None:
    done = []

    def work() -> None:
        interrupt()
        done.append("noted")
        interrupt()
        done.append("too much")

    with pytest.raises(Interrupted), interruptible(), uninterruptible():
        work()
    assert done == ["noted"]


def test_a_second_hangup_is_the_first_passed_on() -> None:
    done = []

    def work() -> None:
        interrupt(signal.SIGHUP)
        interrupt(signal.SIGHUP)
        done.append("noted")

    with pytest.raises(Interrupted), interruptible(), uninterruptible():
        work()
    assert done == ["noted"]


def test_an_ignored_hangup_stays_ignored_as_under_nohup() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with interruptible():
            interrupt(signal.SIGHUP)
            assert not interrupt_requested()
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_what_is_printed_on_a_terminal_that_is_gone_is_lost(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    leader, follower = os.openpty()
    original = os.fdopen(follower, "w", encoding="utf-8")
    monkeypatch.setattr(sys, "stdout", original)
    configure_output()
    print("é on a terminal")
    assert os.read(leader, 99).decode() == "é on a terminal\r\n"
    os.close(leader)
    print("lost")


def test_a_hangup_leaves_the_tracker_of_shared_resources_alone() -> None:
    code = """
import os, signal, time
from multiprocessing.resource_tracker import _resource_tracker as tracker
from benchmarks.core.signals import interruptible
with interruptible():
    os.kill(tracker._pid, signal.SIGHUP)
    time.sleep(0.5)
    print(os.waitpid(tracker._pid, os.WNOHANG))
"""
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (found.stdout, found.stderr) == ("(0, 0)\n", "")


def test_a_block_may_check_for_an_interruption_earlier() -> None:
    done = []

    def work() -> None:
        check_interrupted()
        interrupt()
        done.append("noted")
        check_interrupted()
        done.append("too much")

    with pytest.raises(Interrupted), interruptible(), uninterruptible():
        work()
    assert done == ["noted"]


def test_an_earlier_interruption_is_no_reason_for_another() -> None:
    with pytest.raises(Interrupted), interruptible():
        interrupt()
    with interruptible():
        assert not interrupt_requested()
        with uninterruptible():
            pass
        check_interrupted()


def test_an_error_in_an_uninterruptible_block_is_raised_as_it_is() -> None:
    with interruptible():
        with pytest.raises(KeyError), uninterruptible():
            raise KeyError("x")
        with pytest.raises(Interrupted):
            interrupt()


def test_handlers_come_back_and_other_signals_keep_theirs() -> None:
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    with interruptible(signal.SIGTERM):
        assert signal.getsignal(signal.SIGINT) == before[signal.SIGINT]
        assert signal.getsignal(signal.SIGTERM) != before[signal.SIGTERM]
    assert {number: signal.getsignal(number) for number in before} == before


def test_other_threads_neither_take_signals_nor_hold_them_back() -> None:
    seen: list[object] = []

    def work() -> None:
        with interruptible(), uninterruptible():
            seen.append(signal.getsignal(signal.SIGINT))
            started.set()
            go_on.wait(10)

    started, go_on = threading.Event(), threading.Event()
    before = signal.getsignal(signal.SIGINT)
    thread = threading.Thread(target=work)
    thread.start()
    started.wait(10)
    with pytest.raises(Interrupted), interruptible():
        interrupt()  # what another thread has in hand does not hold it back
    go_on.set()
    thread.join()
    assert seen == [before]


def test_a_file_is_written_whole_before_an_interruption(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    monkeypatch.setattr(os, "fsync", lambda _: interrupt())
    with pytest.raises(Interrupted), interruptible():
        write_atomically(path, b"all of it")
    assert path.read_bytes() == b"all of it"
    assert list(tmp_path.iterdir()) == [path]


def test_a_second_interruption_leaves_no_torn_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"as it was")

    def flush(_: int) -> None:
        interrupt()
        interrupt()

    monkeypatch.setattr(os, "fsync", flush)
    with pytest.raises(Interrupted), interruptible():
        write_atomically(path, b"all of it")
    assert path.read_bytes() == b"as it was"
    assert list(tmp_path.iterdir()) == [path]
