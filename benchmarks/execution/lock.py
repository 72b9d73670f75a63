"""One command at a time in a results folder."""

import os
import shlex
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from filelock import FileLock, Timeout

from benchmarks.core.errors import BadInput, printable
from benchmarks.core.files import check_links, naming


@contextmanager
def hold(folder: Path, command: list[str]) -> Iterator[str | None]:
    """Keep other commands out of a results folder.

    The operating system lets go of the lock when its holder dies, so that it can always be taken
    over then; the file `.holder` is there to name who has it, and by which command. What a dead one
    was writing goes.

    Yields:
        The name of an earlier holder who died before letting go, if there was one.

    Raises:
        BadInput: somebody else has it, or a link leads out of it.
        OSError: the folder cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lock, name = acquire(folder), folder / ".holder"
    try:
        dead = read_name(name)
        if dead:
            for torn in folder.rglob(".*.tmp"):
                torn.unlink(missing_ok=True)
        since = datetime.now().astimezone().strftime("%Y-%m-%d %H:%M")
        text = f"process {os.getpid()} on {socket.gethostname()} since {since}"
        with naming(folder):
            name.write_text(f"{text} ({shlex.join(command)})\n", "utf-8", errors="replace")
        yield dead
    finally:
        name.unlink(missing_ok=True)
        lock.release()


def check_free(folder: Path) -> None:
    """Refuse a folder that `hold` would refuse, without a trace."""
    if (folder / ".lock").exists():
        acquire(folder).release()
    else:
        check_links(folder)


def acquire(folder: Path) -> FileLock:
    """Acquire the lock of a folder, with the errors of `hold`."""
    check_links(folder)
    lock = FileLock(folder / ".lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        holder = read_name(folder / ".holder") or "another process"
        raise BadInput(
            f"{folder} is in use by {holder}: wait for its end, or choose another folder by --out"
        ) from None
    return lock


def read_name(path: Path) -> str | None:
    """Return the name of the lock's holder, None where nobody has written it."""
    try:
        return printable(path.read_text(encoding="utf-8", errors="replace"))[:300] or None
    except OSError:
        return None
