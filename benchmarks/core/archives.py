"""Zip archives from unknown sources: opened only if every entry is harmless, never unpacked."""

import io
import stat
import zipfile
from collections import Counter
from pathlib import Path, PureWindowsPath

from benchmarks.core.errors import BadInput, one_line

LARGEST_FILE = 16 * 2**20
"""Bytes of an entry: twice the largest picture, uncompressed at 16 bits RGBA."""

PROPORTION, HARMLESS = 100, 64 * 2**20
"""An archive may inflate to `PROPORTION` times its size or to `HARMLESS` bytes, if that is more."""


def inflate(
    archive: zipfile.ZipFile, entry: zipfile.ZipInfo, most: int = LARGEST_FILE
) -> io.BytesIO:
    """Read an entry, at most the bytes that it declares; refuse one that declares over `most`."""
    if entry.file_size > most:
        raise BadInput(
            f"{archive.filename}:{entry.filename} inflates to {entry.file_size:,} bytes; "
            f"a picture has at most {most:,}"
        )
    with archive.open(entry) as file:
        return io.BytesIO(file.read(entry.file_size))


def open_archive(place: Path) -> zipfile.ZipFile:
    """Open a zip archive; raise BadInput if it is damaged or an entry is harmful."""
    try:
        archive = zipfile.ZipFile(place)
    except Exception as error:  # a broken directory of entries makes zipfile raise anything
        raise BadInput(f"{place} is no readable archive: {one_line(error)}") from error
    try:
        check_entries(place, archive.infolist())
    except BadInput:
        archive.close()
        raise
    return archive


def check_entry(place: Path, entry: zipfile.ZipInfo) -> None:
    """Refuse an entry outside the folder, a link, and one encrypted or unusually compressed."""
    name = f"{place}:{entry.orig_filename}"
    path = PureWindowsPath(entry.orig_filename)
    if path.drive or path.root or ".." in path.parts or "\0" in entry.orig_filename:
        raise BadInput(f"{name!r} leads out of the archive; archive a folder by relative paths")
    if stat.S_ISLNK(entry.external_attr >> 16):
        raise BadInput(f"{name} is a link; archive the images themselves")
    if entry.flag_bits & 0x1:
        raise BadInput(f"{name} is encrypted; archive it without a password")
    # Python inflates other methods without a bound.
    if entry.compress_type not in {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}:
        raise BadInput(f"{name} is compressed in an unusual way; store or deflate it")


def check_entries(place: Path, entries: list[zipfile.ZipInfo]) -> None:
    """Refuse a harmful entry, one that is there twice, and a whole that inflates out of proportion.

    Of an entry that is there twice, programs would read different contents.
    """
    for entry in entries:
        check_entry(place, entry)
    for name, count in Counter(entry.filename for entry in entries).most_common(1):
        if count > 1:
            raise BadInput(f"{place} holds {name!r} {count} times; archive the images anew")
    size, inflated = place.stat().st_size, sum(entry.file_size for entry in entries)
    if inflated > max(HARMLESS, PROPORTION * size):
        raise BadInput(
            f"{place} inflates from {size:,} to {inflated:,} bytes, as a decompression bomb does; "
            "store the images without compression"
        )
