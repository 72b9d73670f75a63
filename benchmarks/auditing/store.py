"""The files of an audit as it is written; `analysis.audits` says which, and reads them."""

import gzip
import io
import zlib
from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from benchmarks.analysis.audit_files import (
    TABLES,
    AuditAbout,
    digest_table,
    parse_table,
    read_about,
)
from benchmarks.analysis.audits import Audit
from benchmarks.analysis.export import write_csv
from benchmarks.core.errors import BadInput, one_line
from benchmarks.core.files import LARGEST_FILE, check_within, read_bytes, write_atomically
from benchmarks.records.store import write_sealed

MEASUREMENTS = "measurements.csv.gz"
MEASURED = ("metric", "extractor", "fault", "level", "repetition", "size", "n", "value")
PICTURES = ("plots", "strips")


def write_audit(
    audit: Audit, measurements: pd.DataFrame, files: Mapping[str, bytes] | None = None
) -> list[Path]:
    """Write an audit, each file whole or not at all, and remove pictures of an earlier one.

    Args:
        audit: its `about` may lack `digests`.
        measurements: all that was measured.
        files: further content by name: `verdict.md`, `plots/heatmap.svg`.

    Returns:
        The paths written: tables first, `audit.json` after all files that it describes.
    """
    dataset = str(audit.about["dataset"]["name"])
    tables = (audit.verdicts.assign(dataset=dataset), audit.floors, audit.curves)
    contents = {
        name: write_csv(table[[*columns, *table.columns.difference([*columns], sort=False)]])
        for (name, columns), table in zip(TABLES.items(), tables, strict=True)
    }
    measured = write_csv(measurements)
    digests = {name: digest_table(content) for name, content in contents.items()}
    digests[MEASUREMENTS] = digest_table(measured)
    about = AuditAbout.model_validate(audit.about | {"digests": digests})
    contents |= {MEASUREMENTS: _compress(measured), **(files or {})}
    for name, content in contents.items():
        write_atomically(audit.folder / name, content)
    for path in (path for place in PICTURES for path in (audit.folder / place).glob("*.*")):
        if path.relative_to(audit.folder).as_posix() not in contents:
            path.unlink()  # of an earlier audit that had other faults
    return [*(audit.folder / n for n in contents), write_sealed(audit.folder / "audit.json", about)]


def read_measurements(folder: Path) -> pd.DataFrame:
    """Read what was measured in an audit's folder, a row a value; floors have no fault.

    Raises:
        BadInput: it is missing or damaged.
    """
    path = folder / MEASUREMENTS
    check_within(path, folder)
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(read_bytes(path))) as file:
            content = file.read(LARGEST_FILE + 1)
        if len(content) > LARGEST_FILE:
            raise ValueError(f"more than {LARGEST_FILE:,} bytes")
        if digest_table(content) != read_about(folder).digests.get(MEASUREMENTS):
            raise ValueError("its content does not match audit.json beside it")
        return parse_table(content, MEASURED)
    except (ValueError, OverflowError, MemoryError, OSError, EOFError, zlib.error) as error:
        raise BadInput(f"{path} is no readable table: {one_line(error)}") from error


def _compress(content: bytes) -> bytes:
    """Compress without the time, so that the same numbers are the same bytes."""
    buffer = io.BytesIO()
    with gzip.GzipFile(filename="", mode="wb", fileobj=buffer, mtime=0) as file:
        file.write(content)
    return buffer.getvalue()
