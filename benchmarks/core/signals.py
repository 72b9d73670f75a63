"""Ctrl-C and its like: what is in hand is finished first, and a second one does not wait for it."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import resource_tracker
from types import FrameType

HANGUP = getattr(signal, "SIGHUP", None)
"""What a closed terminal sends, where there is such a signal."""

SIGNALS = (signal.SIGINT, signal.SIGTERM, *([HANGUP] if HANGUP else []))


class Interrupted(BaseException):
    """The user or the system wants this process to end; `number` is the signal's."""

    def __init__(self, number: int) -> None:
        super().__init__(f"signal {number}")
        self.number = number


class _Wish:
    """Whether somebody has asked this process to end, and how much is in hand that is finished."""

    def __init__(self) -> None:
        self.number: int | None = None
        self.in_hand = 0

    def note(self, number: int, _: FrameType | None) -> None:
        """Take note of a signal; the first waits for what is in hand, the second does not.

        A second hangup is none: a shell passes on to its jobs what the system sends them too.
        """
        if number == HANGUP and self.number is not None:
            return
        again, self.number = self.number is not None, number
        if again or not self.in_hand:
            raise Interrupted(number)


_wish = _Wish()


@contextmanager
def interruptible(*signals: signal.Signals) -> Iterator[None]:
    """Let these signals raise `Interrupted` within, as soon as nothing is in hand.

    A hangup that is ignored, as under `nohup`, stays so.
    """
    _wish.number = None
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    ignored = {HANGUP} if HANGUP and signal.getsignal(HANGUP) is signal.SIG_IGN else set()
    chosen = [number for number in signals or SIGNALS if number not in ignored]
    if HANGUP:
        with signals_held():
            resource_tracker.ensure_running()  # or else a hangup would end it
    before = {number: signal.signal(number, _wish.note) for number in chosen}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        _wish.number = None


@contextmanager
def signals_held() -> Iterator[None]:
    """Start processes which Ctrl-C in the terminal, or its end, does not reach, and lose none now.

    A new process inherits that the signal is held; this one gets it when the process has started.
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
def in_hand() -> Iterator[None]:
    """Finish what is done within before an interruption is raised.

    Signals are the main thread's; in any other there is nothing to hold back.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    _wish.in_hand += 1
    try:
        yield
    finally:
        _wish.in_hand -= 1
    if _wish.number is not None and not _wish.in_hand:
        raise Interrupted(_wish.number)


def is_wanted() -> bool:
    """Tell whether an interruption waits for what is in hand."""
    return _wish.number is not None


def give_way() -> None:
    """Raise the interruption that waits, if one does, though something is still in hand."""
    if _wish.number is not None:
        raise Interrupted(_wish.number)
