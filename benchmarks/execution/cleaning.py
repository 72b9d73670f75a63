"""Removing what a results folder holds beside its suite: `python -m benchmarks.run --clean DIR`."""

import shutil
from collections.abc import Iterator
from pathlib import Path

from benchmarks.execution.lock import hold
from benchmarks.records.store import read_index


def clean(folder: Path, argv: list[str], *, dry: bool) -> int:
    """List the runs that a folder's suite does not name, and leftovers; remove them unless `dry`.

    Raises:
        BadInput: there is no suite in the folder, or a command is at work in it.
    """
    index = read_index(folder)
    with hold(folder, ["python", "-m", "benchmarks.run", *argv]):
        total = 0
        for path in find_unnamed(folder, {*index.runs, *index.calibration}):
            files = path.rglob("*") if path.is_dir() else [path]
            size = sum(file.lstat().st_size for file in files if not file.is_dir())
            total += size
            print(f"{path}  {size / 2**20:,.1f} MiB")
            if not dry:
                shutil.rmtree(path) if path.is_dir() else path.unlink()
    print(f"{total / 2**20:,.1f} MiB {'could be' if dry else 'have been'} freed")
    return 0


def find_unnamed(folder: Path, named: set[str]) -> Iterator[Path]:
    """Yield the folders of runs outside of `named`, and the files that were torn or quarantined.

    Folders of anything but runs stay, and links are not followed.
    """
    for path in sorted((folder / "runs").glob("*")):
        if path.is_symlink() or not path.is_dir():
            continue
        if path.name not in named:
            if (path / "record.json").exists() or (path / "checkpoint").is_dir():
                yield path
            continue
        for place in (path, path / "checkpoint"):
            yield from sorted([*place.glob(".*.tmp"), *place.glob("*.damaged")])
