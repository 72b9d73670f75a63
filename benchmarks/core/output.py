"""Standard output and error that no character and no closed terminal makes fail."""

import errno
import io
import sys
from typing import Any


def configure_output() -> None:
    """Print "?" for a character that the output lacks, and nothing on a closed terminal."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
            if stream.isatty() and not isinstance(getattr(stream.buffer, "raw", None), Terminal):
                raw = io.BufferedWriter(Terminal(stream.fileno(), "w", closefd=False))
                lasting = io.TextIOWrapper(raw, stream.encoding, "replace", line_buffering=True)
                setattr(sys, name, lasting)


class Terminal(io.FileIO):
    """A terminal that may be closed while it is written on, as when a session ends."""

    def write(self, data: Any, /) -> int:
        """Write bytes; on a closed terminal they are lost."""
        try:
            return super().write(data)
        except OSError as error:
            if error.errno != errno.EIO:
                raise
            return len(data)
