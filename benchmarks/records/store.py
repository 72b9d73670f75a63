"""Reading and writing the records and pictures of runs.

Layout of a suite's folder:

    suite.json                  the suite's index: its contenders and runs, in order
    runs/<run>/record.json      one run: status, spec, scores, costs, environment
    runs/<run>/history.csv      step, images, seconds, loss_<player>, validation_fid
    runs/<run>/*.png            pictures, tiles packed without borders
"""

import hashlib
import io
import json
import os
import warnings
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from pydantic import BaseModel, JsonValue, ValidationError

from benchmarks.config.spec import CALIBRATION
from benchmarks.core.errors import BadInput, one_line
from benchmarks.core.files import check_within, read_bytes, write_atomically
from benchmarks.records.schema import LARGEST_NUMBER, Index, Picture, Record

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

Model = TypeVar("Model", bound=BaseModel)


@dataclass(frozen=True)
class Results:
    """A suite's results: its index, its readable records in order, and a warning on each other."""

    folder: Path
    index: Index
    records: list[Record]
    warnings: list[str]

    def run_folder(self, record: Record) -> Path:
        """The folder of a record's run."""
        return self.folder / "runs" / record.run


def write_record(run_folder: Path, record: Record) -> Path:
    """Write `record.json`, sealed, into the folder of its run; return its path."""
    return write_sealed(run_folder / "record.json", record)


def write_index(folder: Path, index: Index) -> Path:
    """Write `suite.json` into a suite's folder; return its path."""
    path = folder / "suite.json"
    write_atomically(path, (index.model_dump_json(by_alias=True, indent=2) + "\n").encode())
    return path


def read_record(run_folder: Path) -> Record:
    """Read the record of a run; raise BadInput if it is missing, damaged or of another schema."""
    return read_sealed(run_folder / "record.json", Record)


def read_index(folder: Path) -> Index:
    """Read a suite's index; raise BadInput if it is damaged or missing, with the nearest folder."""
    path = folder / "suite.json"
    if not os.path.lexists(path):
        raise BadInput(f"{folder} holds no suite.json: {_hint(folder)}")
    try:
        return Index.model_validate_json(read_bytes(path))
    except ValidationError as error:
        raise _damaged(path, error) from error


def read_suite(folder: Path) -> Results:
    """Read a suite's index and its records in order, the calibration runs last.

    A record that is missing, damaged or of another suite is left out and named in `warnings`.
    Raises BadInput where the folder has no readable index or record.
    """
    index = read_index(folder)
    records, left_out = [], []
    for run in dict.fromkeys(index.runs + index.calibration):
        try:
            check_within(folder / "runs" / run / "record.json", folder)
            record = read_record(folder / "runs" / run)
            _check_belongs(record, run, index)
            records.append(record)
        except BadInput as error:
            left_out.append(str(error))
    if not records:
        named = f": {left_out[0]}" if left_out else ", and its suite.json names no runs"
        raise BadInput(f"{folder} holds no readable record{named}")
    return Results(folder, index, records, left_out)


def read_history(run_folder: Path) -> "pd.DataFrame | None":
    """Read a run's `history.csv` (see above), None where there is none; BadInput if damaged."""
    import pandas as pd

    path = run_folder / "history.csv"
    if not os.path.lexists(path):
        return None
    check_within(path, run_folder)
    try:
        history = pd.read_csv(io.BytesIO(read_bytes(path))).astype(float)
        history = history.where(history.abs() <= LARGEST_NUMBER)
    except (ValueError, OverflowError, MemoryError) as error:
        raise BadInput(f"{path} is no readable history: {one_line(error)}") from error
    if missing := {"step", "images"} - set(history.columns):
        raise BadInput(f"{path} is no readable history: no column {', '.join(sorted(missing))}")
    return history


def read_picture(run_folder: Path, picture: Picture) -> "np.ndarray":
    """Read a picture as its tiles: uint8 [rows, columns, H, W, 3].

    Raises BadInput where it is missing, damaged or does not divide into its rows and columns.
    """
    import numpy as np

    from benchmarks.core.pictures import open_picture

    path = run_folder / picture.file
    check_within(path, run_folder)
    try:
        with warnings.catch_warnings(action="ignore"):
            pixels = np.asarray(open_picture(path).convert("RGB"))
    except (ValueError, MemoryError) as error:
        raise BadInput(f"{path} is no readable picture: {one_line(error)}") from error
    rows, columns = picture.rows, picture.columns
    height, width = pixels.shape[0] // rows, pixels.shape[1] // columns
    if pixels.shape != (rows * height, columns * width, 3) or not pixels.size:
        raise BadInput(f"{path} of {pixels.shape[:2]} pixels has no {rows} × {columns} equal tiles")
    return pixels.reshape(rows, height, columns, width, 3).swapaxes(1, 2)


def write_sealed(path: Path, model: BaseModel) -> Path:
    """Write a model as JSON with the checksum of its content; return the path."""
    # The checksum is of the content as written, in which a number that is not finite is null.
    fields = json.loads(model.model_dump_json(by_alias=True))
    text = json.dumps(fields | {"sha256": seal(fields)}, indent=2, ensure_ascii=False)
    write_atomically(path, (text + "\n").encode())
    return path


def read_sealed(path: Path, schema: type[Model]) -> Model:
    """Read what `write_sealed` wrote; raise BadInput if missing, damaged or of another schema."""
    try:
        fields = json.loads(read_bytes(path))
        found = fields.pop("sha256", None) if isinstance(fields, dict) else None
        intact = found == seal(fields)
        model = schema.model_validate(fields)
    except ValidationError as error:
        raise _damaged(path, error) from error
    except (ValueError, RecursionError) as error:
        raise BadInput(f"{path} is damaged or foreign: {one_line(error)}") from error
    if not intact:
        raise BadInput(f"{path} is damaged or foreign: its content does not match its checksum")
    return model


def seal(fields: JsonValue) -> str:
    """Return the SHA-256 of JSON's content, whatever its layout: it shows damage, not forgery."""
    return hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()


def _damaged(path: Path, error: ValidationError) -> BadInput:
    first = error.errors()[0]
    where = ".".join(map(str, first["loc"])) or "the file"
    return BadInput(f"{path} is damaged or foreign: {where}: {first['msg']}")


def _check_belongs(record: Record, run: str, index: Index) -> None:
    """Refuse a record that was copied from another run, suite or data set."""
    for key, found, expected in (
        ("run", record.run, run),
        ("suite", record.suite, index.suite),
        ("dataset", record.dataset, index.dataset),
    ):
        if found != expected:
            raise BadInput(f"runs/{run}/record.json is foreign: {key} {found!r}, not {expected!r}")
    known = {entry.name for entry in index.contenders}
    if record.family != CALIBRATION and record.contender not in known:
        raise BadInput(f"runs/{run}/record.json is foreign: no contender {record.contender!r}")


def _hint(folder: Path) -> str:
    """Return a hint at the nearest folder, beside `folder` or in it, that has an index."""
    parent = folder.resolve().parent
    indices = (*sorted(folder.glob("*/suite.json")), *sorted(parent.glob("*/suite.json")))
    found = {path.parent.name: path.parent for path in reversed(indices) if path.is_file()}
    near = get_close_matches(folder.name, found, n=1, cutoff=0.0)
    return f"did you mean {found[near[0]]}?" if near else "name a folder written by benchmarks.run"
