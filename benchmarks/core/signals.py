"""Ctrl-C and its like: they wait for a block that must not be cut short, but no second time."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import resource_tracker
from types import FrameType

HANGUP = getattr(signal, "SIGHUP", None)
"""The signal of a closed terminal, where there is one."""

SIGNALS = (signal.SIGINT, signal.SIGTERM, *([HANGUP] if HANGUP else []))


class Interrupted(BaseException):
    """The user or the system wants this process to end; `number` is the signal's."""

    def __init__(self, number: int) -> None:
        super().__init__(f"signal {number}")
        self.number = number


class _Request:
    """The signal that asked this process to end, and how many uninterruptible blocks are open."""

    def __init__(self) -> None:
        self.number: int | None = None
        self.blocks = 0

    def handle(self, number: int, _: FrameType | None) -> None:
        """Note a signal: the first waits for uninterruptible blocks, the second does not.

        A second hangup is ignored: a shell passes on to its jobs what the system sends them too.
        """
        if number == HANGUP and self.number is not None:
            return
        again, self.number = self.number is not None, number
        if again or not self.blocks:
            raise Interrupted(number)


_request = _Request()


@contextmanager
def interruptible(*signals: signal.Signals) -> Iterator[None]:
    """Make these signals raise `Interrupted` within, as soon as no block is uninterruptible.

    A hangup that is ignored, as under `nohup`, stays so.
    """
    _request.number = None
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    ignored = {HANGUP} if HANGUP and signal.getsignal(HANGUP) is signal.SIG_IGN else set()
    chosen = [number for number in signals or SIGNALS if number not in ignored]
    if HANGUP:
        with block_signals():
            resource_tracker.ensure_running()  # or else a hangup would end it
    before = {number: signal.signal(number, _request.handle) for number in chosen}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        _request.number = None


@contextmanager
def block_signals() -> Iterator[None]:
    """Start processes that Ctrl-C in the terminal, or its end, does not reach.

    A new process inherits that the signals are blocked; this one gets them when the block ends.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {*SIGNALS} - {signal.SIGTERM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def uninterruptible() -> Iterator[None]:
    """Finish a block before an interruption is raised.

    Signals are the main thread's; in any other thread there is nothing to hold back.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    _request.blocks += 1
    try:
        yield
    finally:
        _request.blocks -= 1
    if not _request.blocks:
        check_interrupted()


def interrupt_requested() -> bool:
    """Return whether an interruption waits for an uninterruptible block to end."""
    return _request.number is not None


def check_interrupted() -> None:
    """Raise the interruption that waits, if one does, even within an uninterruptible block."""
    if _request.number is not None:
        raise Interrupted(_request.number)
