"""A pool of processes that report while they work, outlive each other and end in good order."""

import multiprocessing
import os
import signal
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from typing import Any, Self

from benchmarks.core.output import configure_output
from benchmarks.core.signals import Interrupted, block_signals, check_interrupted, interruptible

Send = Callable[[Any], None]
"""Sends a message from a worker to the pool."""

Work = Callable[[Any, Send], Any]
Setup = Callable[[int], None]


@dataclass(frozen=True)
class Death:
    """The end of a worker that had a task: with an exit code, or minus the signal's number."""

    code: int

    def __str__(self) -> str:
        if self.code < 0:
            return f"by signal {-self.code}, perhaps for want of memory"
        return f"with code {self.code}"


@dataclass(frozen=True)
class _Result:
    value: Any


@dataclass(frozen=True)
class _Error:
    error: Exception


class Pool:
    """Worker processes that each do one task at a time.

        with Pool(2, work) as pool:
            for index, result in pool.run(tasks, receive):
                ...

    Ctrl-C does not reach the workers. At its end the pool asks those that have a task to stop by
    SIGTERM, which raises `Interrupted` in them outside uninterruptible blocks, and waits for them;
    a second interruption kills them. They end with the process that started them, too.

    Args:
        workers: how many; each starts with its first task.
        work: is called in a worker with a task and a function that sends messages, and returns the
            task's result. Tasks, messages and results are pickled.
        setup: is called in a worker with its number before its first task.
    """

    def __init__(self, workers: int, work: Work, setup: Setup | None = None) -> None:
        self._workers = [_Worker(number, work, setup) for number in range(workers)]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        try:
            for worker in self._workers:
                worker.stop()
            for worker in self._workers:
                worker.drain()
        finally:
            for worker in self._workers:
                worker.kill()

    def run(
        self, tasks: Iterable[Any], receive: Callable[[int, Any], None] = lambda *_: None
    ) -> Iterator[tuple[int, Any]]:
        """Do tasks, and yield the position and the result of each as soon as it has ended.

        The result is a `Death` where the worker has died; another takes its place. `receive` is
        called with the position of a task and a message that its worker has sent. An exception that
        `work` raised in a worker is raised here.
        """
        waiting, idle, busy = deque(enumerate(tasks)), [*self._workers], list[_Worker]()
        while waiting or busy:
            while waiting and idle:
                busy.append(idle.pop(0))
                busy[-1].begin(*waiting.popleft())
            ready = wait([worker.line for worker in busy])
            for worker in [worker for worker in busy if worker.line in ready]:
                message = worker.receive()
                if isinstance(message, _Error):
                    raise message.error
                if isinstance(message, _Result):
                    busy.remove(worker)
                    idle.append(worker)
                    yield worker.index, message.value
                else:
                    receive(worker.index, message)


class _Worker:
    """A process, the line to it, and the position of its task."""

    index: int
    line: Connection

    def __init__(self, number: int, *duties: Any) -> None:
        self.arguments = (number, *duties)
        self.process: Any = None

    def begin(self, index: int, task: Any) -> None:
        """Send the worker a task; one that has not started or has died is started first."""
        if self.process is None:
            self.start()
        self.index = index
        with suppress(BrokenPipeError):  # it has just died, which `receive` finds
            self.line.send((task,))

    def start(self) -> None:
        """Start the process."""
        context = multiprocessing.get_context("spawn")
        self.line, theirs = context.Pipe()
        process = context.Process(target=serve, args=(theirs, *self.arguments))
        resource_tracker.ensure_running()  # or else it would unblock signals as it starts
        with block_signals():
            process.start()
            self.process = process
        theirs.close()

    def receive(self) -> Any:
        """Return what the worker has sent, or its death as its task's result."""
        try:
            return self.line.recv()
        except (EOFError, OSError):
            self.line.close()
            self.process.join()
            code, self.process = self.process.exitcode, None
            return _Result(Death(code))

    def stop(self) -> None:
        """Ask the worker to end.

        A signal alone might be lost: one that comes just before the process waits for its next task
        does not wake it.
        """
        if self.process is not None:
            with suppress(OSError):
                self.line.send(None)
            self.process.terminate()

    def drain(self) -> None:
        """Receive what the worker still sends until it has ended, since it must not wait for it."""
        if self.process is not None:
            with suppress(EOFError, OSError):
                while True:
                    self.line.recv()

    def kill(self) -> None:
        """End the process at once, if there is still one."""
        if self.process is not None:
            self.process.kill()
            self.process.join()
            self.line.close()


def serve(line: Connection, number: int, work: Work, setup: Setup | None) -> None:
    """Do the tasks that come over the line, in a process of its own, until `None` comes."""
    exit_with_parent()
    configure_output()

    def send(message: Any) -> None:
        try:
            line.send(message)
        except BrokenPipeError:
            raise Interrupted(signal.SIGTERM) from None  # nobody waits for the result any more

    try:
        with interruptible(signal.SIGTERM):
            if setup:
                setup(number)
            while (task := line.recv()) is not None:
                try:
                    result: Any = _Result(work(task[0], send))
                except Exception as error:  # noqa: BLE001 - it is raised again where the pool is
                    result = _Error(error)
                send(result)
                check_interrupted()  # a signal that came in an uninterruptible block which failed
    except Interrupted:
        sys.exit(128 + signal.SIGTERM)
    except (EOFError, ConnectionResetError):
        return


def exit_with_parent() -> None:
    """End this process as soon as the one that started it has died."""
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def watch() -> None:
        wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def count_cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
