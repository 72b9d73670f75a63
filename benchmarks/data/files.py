"""The picture files below a folder or in a zip archive, found and opened by one rule."""

import functools
import os
import zipfile
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from benchmarks.core.archives import HARMLESS, inflate, open_archive
from benchmarks.core.errors import BadInput
from benchmarks.core.pictures import readable_formats


@functools.cache
def picture_suffixes() -> frozenset[str]:
    """Return the suffixes of pictures in lower case, by Pillow's own registry."""
    from PIL import Image

    readable = readable_formats()
    known = Image.registered_extensions().items()
    return frozenset(suffix for suffix, name in known if name in readable)


@dataclass(frozen=True)
class Files:
    """The pictures of a folder or a zip archive, at any depth.

    Attributes:
        names: their paths in it, sorted, with "/" on every system.
        left_out: how many files that are not hidden were left out, by their suffix in lower case
            ("" for none), since it is no picture's.
        archive: the open archive; None for a folder.
    """

    place: Path
    names: tuple[str, ...]
    left_out: Counter[str] = field(default_factory=Counter)
    archive: zipfile.ZipFile | None = None

    def open(self, name: str) -> Path | BinaryIO:
        """Return the path of a file in a folder, or the content of an entry; safe in threads.

        Raises:
            BadInput: the entry inflates to more than a picture needs.
            Exception: whatever zipfile raises on a broken entry.
        """
        if self.archive is None:
            return self.place / name
        return inflate(self.archive, self.archive.getinfo(name))

    def read(self, name: str) -> bytes | None:
        """Return the content of a file that is no picture; None where there is none."""
        if self.archive is None:
            path = self.place / name
            return path.read_bytes() if path.is_file() else None
        entry = self.archive.NameToInfo.get(name)
        return inflate(self.archive, entry, HARMLESS).read() if entry else None

    def describe(self, name: str) -> str:
        """Return the name of a file in messages, e.g. "pictures/a.png" or "set.zip:a.png"."""
        return str(self.place / name) if self.archive is None else f"{self.place}:{name}"

    def describe_left_out(self) -> str:
        """Return the files left out in words, e.g. "12 .json, 1 without a suffix", or ""."""
        found = sorted(self.left_out.items())
        return ", ".join(f"{count:,} {suffix or 'without a suffix'}" for suffix, count in found)


def list_files(place: Path) -> Files:
    """Find the pictures of a folder or a zip archive, leaving out hidden ones.

    Links are followed, but no folder is entered twice. An archive stays open with what is returned.

    Raises:
        BadInput: there are none, or a folder cannot be read, or the archive is unsafe or damaged.
    """
    archive = None if place.is_dir() else open_archive(place)
    found = walk_folder(place) if archive is None else archive.namelist()
    shown = [name for name in found if not is_hidden(name)]
    suffixes = [PurePosixPath(name).suffix.lower() for name in shown]
    left_out = Counter(suffix for suffix in suffixes if suffix not in picture_suffixes())
    pictures = [n for n, suffix in zip(shown, suffixes, strict=True) if suffix not in left_out]
    files = Files(place, tuple(sorted(pictures)), left_out, archive)
    if not pictures:
        others = f"; it has {files.describe_left_out()}" if left_out else ""
        raise BadInput(f"{place} has no images ({', '.join(sorted(picture_suffixes()))}){others}")
    return files


def is_hidden(name: str) -> bool:
    """Return whether an entry is a folder or hidden, as the copies that macOS makes are."""
    parts = name.split("/")
    return not parts[-1] or any(part.startswith((".", "__MACOSX")) for part in parts)


def walk_folder(folder: Path) -> Iterable[str]:
    """Yield the paths of all files below a folder, those in hidden folders left out."""

    def refuse(error: OSError) -> None:
        raise BadInput(f"{error.filename} cannot be read: {error.strerror}") from error

    entered = set[Path]()
    for parent, folders, names in os.walk(folder, followlinks=True, onerror=refuse):
        folders[:] = sorted(name for name in folders if not is_hidden(name))
        real = Path(parent).resolve()
        if real in entered:
            folders.clear()
            continue
        entered.add(real)
        inner = Path(parent).relative_to(folder)
        yield from ((inner / name).as_posix() for name in names)
