"""Commands that train for long enough to be disturbed, and what they leave."""

import fcntl
import os
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

from kills import is_empty, take_stock, wait_for

from benchmarks.training.checkpoint import Damaged

PATIENCE = 600.0
"""Seconds after which a test gives up waiting for a command."""

QUICK = (
    *("smoke", "--models", "autoencoder,vae", "--seeds", "1", "--steps", "1200", "--jobs", "2"),
    *("--extractor", "random", "--samples", "64", "--checkpoint-seconds", "0.2"),
)


class Command:
    """`python -m benchmarks.run` on a small suite with two workers, in a session of its own."""

    def __init__(self, folder: Path, *options: str) -> None:
        self.folder = folder
        self.process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.run", *QUICK, "--out", str(folder), *options],
            env=os.environ | {"OMP_NUM_THREADS": "1"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def await_training(self) -> None:
        """Wait until every run has left a checkpoint and goes on."""
        wait_for(self.is_training, PATIENCE)

    def is_training(self) -> bool:
        """Tell whether both runs have been trained in part."""
        assert self.process.poll() is None, f"it has ended: {self.process.communicate()}"
        try:
            stages = [stand.stage for stand in take_stock(self.folder).values()]
        except Damaged:  # a checkpoint was replaced while it was read
            return False
        return stages == ["training", "training"]

    def interrupt(self) -> None:
        """Send every process what Ctrl-C in a terminal sends."""
        os.killpg(self.process.pid, signal.SIGINT)

    def end(self) -> tuple[int, str, str]:
        """Wait for the end of all processes; give the exit code, the output and the errors."""
        try:
            out, error = self.process.communicate(timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            raise
        wait_for(lambda: is_empty(self.process.pid), PATIENCE)
        return self.process.returncode, out, error


class Session(Command):
    """The same in a terminal of its own, which can be closed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.terminal, theirs = os.openpty()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.run", *QUICK, "--out", str(folder)],
            env=os.environ | {"OMP_NUM_THREADS": "1"},
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            text=True,
            start_new_session=True,
            preexec_fn=partial(fcntl.ioctl, 0, termios.TIOCSCTTY, 0),  # noqa: PLW1509
        )
        os.close(theirs)
        os.set_blocking(self.terminal, False)

    def is_training(self) -> bool:
        """Tell whether both runs have been trained in part; what is printed meanwhile is read."""
        with suppress(BlockingIOError):
            os.read(self.terminal, 2**16)
        return super().is_training()

    def close(self) -> None:
        """Close the terminal, as the end of an SSH session does."""
        os.close(self.terminal)


class Disk:
    """A disk of its own in memory, seen by nobody but who goes through the process that holds it.

    Attributes:
        path: the way to it.
    """

    def __init__(self, place: Path, size: str) -> None:
        self.place = place
        self.holder = subprocess.Popen(
            ["unshare", "--map-root-user", "--mount", "sh", "-c", HOLD],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.path = Path(f"/proc/{self.holder.pid}/root{place}")
        self.do(f"mount -t tmpfs -o size={size} tmpfs {place}")

    def do(self, command: str) -> None:
        """Carry out a command where the disk is mounted.

        Raises:
            OSError: it failed, with all that it said.
        """
        assert self.holder.stdin is not None
        assert self.holder.stdout is not None
        # What one that has ended said before is to be read.
        with suppress(BrokenPipeError):
            print(command, file=self.holder.stdin, flush=True)
        said = []
        for line in self.holder.stdout:
            if line == "done 0\n":
                return
            if line.startswith("done "):
                break
            said.append(line.strip())
        raise OSError(" ".join(said) or "it ended")

    def release(self) -> None:
        """Give the disk up, and all that is on it."""
        self.holder.kill()
        self.holder.communicate()


HOLD = 'while read -r line; do eval "$line"; echo "done $?"; done'


def retry(action: Callable[[], None], seconds: float) -> None:
    """Try until it goes well.

    Raises:
        OSError: it did not in time.
    """
    deadline = time.monotonic() + seconds
    while True:
        try:
            return action()
        except OSError:
            if time.monotonic() > deadline:
                raise
