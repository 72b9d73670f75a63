"""A suite's results as something that a row of foreign images can be added to."""

import shutil
from contextlib import suppress
from pathlib import Path

from pydantic import ValidationError

from benchmarks.config.spec import CALIBRATION, RunSpec
from benchmarks.config.suite import parse_contender
from benchmarks.core.errors import BadInput
from benchmarks.core.files import check_links, write_atomically
from benchmarks.records.schema import EXTERNAL, IndexEntry, Picture, Record
from benchmarks.records.store import Results, read_index, read_suite, write_index, write_record


def read_comparison(folder: Path) -> tuple[Results, RunSpec]:
    """Read a folder written by `benchmarks.run`, and the spec of its first run that has one.

    All rows have in common its data, extractor, threads, device and version of the protocol.
    """
    results = read_suite(folder)
    for record in results.records:
        with suppress(ValidationError):
            return results, RunSpec.model_validate(record.spec)
    raise BadInput(f"{folder}: no run there says what it was scored on; run its suite again")


def check_label(results: Results, label: str, *, force: bool) -> None:
    """Refuse a name that a row has already, but for images scored before that may be replaced."""
    parse_contender(label, {}, f"--label {label}")
    families = {entry.name: entry.family for entry in results.index.contenders}
    families |= {r.contender: r.family for r in results.records if r.family == CALIBRATION}
    family = families.get(label)
    if family is None or (family == EXTERNAL and force):
        return
    if family == EXTERNAL:
        raise BadInput(f"--label {label}: scored into {results.folder} before; --force replaces it")
    kind = "calibration row" if family == CALIBRATION else "contender"
    raise BadInput(f"--label {label}: {results.folder} has a {kind} of that name; choose another")


def add_row(results: Results, record: Record, pictures: dict[str, tuple[Picture, bytes]]) -> None:
    """Write a record into a suite's folder, and put it into the index in the place of its label's.

    The index is what makes a row appear, so it changes last and in one step; it is read anew, since
    scoring takes a while.
    """
    check_links(results.folder)
    folder = results.folder / "runs" / record.run
    existed = folder.exists()
    try:
        for picture, content in pictures.values():
            write_atomically(folder / picture.file, content)
        write_record(folder, record)
        index = read_index(results.folder)
        entries = [IndexEntry(name=record.contender, family=EXTERNAL)]
        if record.contender in {entry.name for entry in index.contenders}:
            entries = []
        old = {r.run for r in results.records if r.contender == record.contender} | {record.run}
        runs = [run for run in index.runs if run not in old] + [record.run]
        changes = {"contenders": index.contenders + entries, "runs": runs}
        write_index(results.folder, index.model_copy(update=changes))
    except BaseException:
        if not existed:
            shutil.rmtree(folder, ignore_errors=True)
        raise
    for run in old - {record.run}:
        shutil.rmtree(results.folder / "runs" / run, ignore_errors=True)
