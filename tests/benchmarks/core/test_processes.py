"""A pool of processes: results, messages, errors, deaths and ends."""

import multiprocessing
import os
import signal
import threading
import time
from typing import Any

import pytest

from benchmarks.core.processes import Death, Pool, Send
from benchmarks.core.signals import Interrupted, interruptible


def double(task: int, send: Send) -> Any:
    """Return twice a number; some numbers end otherwise."""
    send(f"doubling {task}")
    if task == 3:
        raise ValueError("three")
    if task == 5:
        os.kill(os.getpid(), signal.SIGKILL)
    if task == 7:
        time.sleep(600)
    return os.environ["NUMBER"], 2 * task


def set_number(number: int) -> None:
    os.environ["NUMBER"] = str(number)


def test_results_messages_and_deaths_come_with_their_tasks() -> None:
    messages = []
    with Pool(2, double, set_number) as pool:
        found = dict(pool.run([1, 2, 5, 4], lambda index, text: messages.append((index, text))))
        again = dict(pool.run([6]))
    assert [found[i][1] for i in (0, 1, 3)] == [2, 4, 8]
    assert {found[i][0] for i in (0, 1)} == {"0", "1"}
    assert str(found[2]) == "by signal 9, perhaps for want of memory"
    assert sorted(messages) == [(i, f"doubling {n}") for i, n in enumerate((1, 2, 5, 4))]
    assert again[0][1] == 12
    assert str(Death(3)) == "with code 3"
    assert not multiprocessing.active_children()


def test_an_error_is_raised_here_and_an_interruption_ends_tasks() -> None:
    with pytest.raises(ValueError, match="three"), Pool(1, double, set_number) as pool:
        list(pool.run([3]))

    def interrupt(*_: object) -> None:
        os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(Interrupted), interruptible(), Pool(1, double, set_number) as pool:
        list(pool.run([7], interrupt))
    assert not multiprocessing.active_children()


def test_an_idle_worker_ends_though_a_signal_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    pool = Pool(1, double, set_number)
    assert list(pool.run([1]))
    process = pool._workers[0].process
    monkeypatch.setattr(process, "terminate", lambda: None)
    ending = threading.Thread(target=pool.__exit__, daemon=True)
    ending.start()
    ending.join(60)
    try:
        assert not ending.is_alive()
    finally:
        process.kill()
