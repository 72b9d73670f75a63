"""A suite's runs as TensorBoard's event files: curves, final scores and pictures.

    <folder>/tensorboard/<contender>-s<seed>/events.out.tfevents.report

Written by TensorBoard's own messages and file format, without torch. Events are dated by the
seconds of training, so that the same records give the same files, and a file is replaced whole, so
that no curve is doubled.
"""

import io
import json
import math
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from benchmarks.analysis.lookup import scores_of, shown_extractor
from benchmarks.core.errors import BadInput
from benchmarks.core.files import check_links, write_atomically
from benchmarks.core.text import plain
from benchmarks.records.schema import Picture, Record
from benchmarks.records.store import Results, read_history, read_picture

if TYPE_CHECKING:
    from tensorboard.compat.proto.summary_pb2 import Summary

FOLDER = "tensorboard"
FILE = "events.out.tfevents.report"
IDENTITY = ("contender", "family", "status")
NAME = re.compile(r"[A-Za-z0-9][\w.-]*")
COUNTS = ("step", "images", "seconds")
"""Columns of a history that are no curves but what curves are drawn over."""
SMALLEST = 32
"""Pixels that a tile is enlarged to, by a whole factor; beyond, it stays as it is."""
GAP = 2
"""Pixels between tiles."""


def check_installed() -> None:
    """Check that TensorBoard is installed.

    Raises:
        BadInput: it is not installed.
    """
    if find_spec("tensorboard") is None:
        raise BadInput(
            'event files need the package tensorboard: pip install -e ".[tensorboard]" adds it'
        )


def write_events(results: Results) -> tuple[list[Path], list[str]]:
    """Write the event files of all runs, and remove those of runs that are no more.

    Returns:
        The folders of the runs, and a line for each history or picture that could not be read.

    Raises:
        BadInput: TensorBoard is not installed, or a link leads out of the suite's folder.
        OSError: a file cannot be written.
    """
    check_installed()
    check_links(results.folder)
    extractor = shown_extractor(results.records)
    folders, warnings = [], []
    names = name_runs(results.records)
    for record, name in zip(results.records, names, strict=True):
        folder = results.folder / FOLDER / name
        events, left_out = build_events(results, record, extractor)
        write_atomically(folder / FILE, events)
        folders.append(folder)
        warnings += left_out
    for stale in sorted((results.folder / FOLDER).glob(f"*/{FILE}")):
        if stale.parent not in folders:
            stale.unlink()
            if not any(stale.parent.iterdir()):
                stale.parent.rmdir()
    return folders, warnings


def name_runs(records: Sequence[Record]) -> list[str]:
    """Name runs for TensorBoard: contender and seed, where these are one run's alone."""
    names = [
        record.contender if record.seed is None else f"{record.contender}-s{record.seed}"
        for record in records
    ]
    counts = Counter(name.casefold() for name in names)
    return [
        name if NAME.fullmatch(name) and counts[name.casefold()] == 1 else record.run
        for name, record in zip(names, records, strict=True)
    ]


def build_events(
    results: Results, record: Record, extractor: str | None
) -> tuple[bytes, list[str]]:
    """Build the content of a run's event file, and lines on what of it could not be read.

    Args:
        results: whose run it is.
        record: of the run.
        extractor: the features of the scores that are shown.
    """
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.summary.writer.record_writer import RecordWriter

    folder, warnings = results.run_folder(record), list[str]()
    history = _try(lambda: read_history(folder), warnings)
    pictures = {
        kind: tiles
        for kind, picture in record.pictures.items()
        if (tiles := _read(folder, picture, warnings)) is not None
    }
    file = io.BytesIO()
    writer = RecordWriter(file)
    writer.write(Event(wall_time=0, file_version="brain.Event:2").SerializeToString())
    for seconds, step, summary in _summaries(record, history, pictures, extractor):
        event = Event(wall_time=seconds, step=step, summary=summary)
        writer.write(event.SerializeToString(deterministic=True))
    return file.getvalue(), warnings


def _read(folder: Path, picture: Picture, warnings: list[str]) -> np.ndarray | None:
    return _try(lambda: read_picture(folder, picture), warnings)


def _try(read: Any, warnings: list[str]) -> Any:
    """Return what a function reads, or None and add a line on why it cannot be read."""
    try:
        return read()
    except BadInput as error:
        warnings.append(str(error))
        return None


def _summaries(
    record: Record,
    history: pd.DataFrame | None,
    pictures: dict[str, np.ndarray],
    extractor: str | None,
) -> Iterator[tuple[float, int, "Summary"]]:
    """Yield all that an event file holds, each with its time in seconds and its step."""
    from tensorboard.plugins.text.summary import text_pb

    yield 0.0, 0, _collect_settings(record)
    yield 0.0, 0, text_pb("record", _describe_run(record))
    rows = [] if history is None else history.to_dict("records")
    for row in rows:
        yield from _curves(row)
    last = rows[-1] if rows else {}
    end = _finite(last.get("seconds")), int(_finite(last.get("step")))
    for name, value in _finals(record, extractor):
        yield *end, _scalar(name, value)
    for kind, tiles in pictures.items():
        if kind == "evolution":
            yield from _evolution(tiles, record.pictures[kind].seen, rows)
        else:
            yield *end, _image(kind, tiles)


def _curves(row: dict[Any, Any]) -> Iterator[tuple[float, int, "Summary"]]:
    """Yield each loss and validation score of a logged row over steps, and over images."""
    seconds = _finite(row.get("seconds"))
    for column, value in row.items():
        if column not in COUNTS and math.isfinite(value):
            name = re.sub(r"^(loss|validation)_", r"\1/", column)
            yield seconds, int(_finite(row["step"])), _scalar(name, value)
            yield seconds, int(_finite(row["images"])), _scalar(f"by_images/{column}", value)


def _finite(value: float | None) -> float:
    return value if value is not None and math.isfinite(value) else 0.0


def _finals(record: Record, extractor: str | None) -> Iterator[tuple[str, float]]:
    """Yield the scores by the extractor that is shown, and the costs."""
    for metric, score in scores_of(record, extractor).items():
        if score.value is not None:
            yield f"scores/{metric}", score.value
    for cost, value in record.costs.model_dump().items():
        if value is not None:
            yield f"costs/{cost}", value


def _evolution(
    tiles: np.ndarray, seen: list[int], rows: list[dict[Any, Any]]
) -> Iterator[tuple[float, int, "Summary"]]:
    """Yield a picture for each validation of an evolution, by training images seen."""
    logged = {row["images"]: row for row in rows}
    for tile, images in zip(tiles, seen, strict=False):
        row = logged.get(images, {"step": 0})
        seconds, step = _finite(row.get("seconds")), int(_finite(row["step"]))
        yield seconds, step, _image("evolution", tile[None])


def _scalar(name: str, value: float) -> "Summary":
    from tensorboard.compat.proto.summary_pb2 import Summary

    return Summary(value=[Summary.Value(tag=name, simple_value=value)])


def _image(kind: str, tiles: np.ndarray) -> "Summary":
    """Draw a picture of tiles, uint8 [rows, columns, H, W, 3], with gaps between them."""
    from PIL import Image
    from tensorboard.compat.proto.summary_pb2 import Summary

    pixels = tile_images(tiles)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "png")
    height, width, _ = pixels.shape
    image = Summary.Image(
        height=height, width=width, colorspace=3, encoded_image_string=file.getvalue()
    )
    return Summary(value=[Summary.Value(tag=f"pictures/{kind}", image=image)])


def tile_images(tiles: np.ndarray) -> np.ndarray:
    """Enlarge tiles and put them side by side on white: uint8 [H, W, 3]."""
    rows, columns, height, width, _ = tiles.shape
    factor = max(1, SMALLEST // max(height, width))
    large = tiles.repeat(factor, axis=2).repeat(factor, axis=3)
    padding = ((0, 0), (0, 0), (0, GAP), (0, GAP), (0, 0))
    padded = np.pad(large, padding, constant_values=255).swapaxes(1, 2)
    whole = padded.reshape(rows * (height * factor + GAP), columns * (width * factor + GAP), 3)
    return whole[:-GAP, :-GAP]


def _collect_settings(record: Record) -> "Summary":
    """Collect a run's settings for TensorBoard's table of hyper-parameters."""
    from tensorboard.plugins.hparams.summary_v2 import hparams_pb

    spec, settings = record.spec, record.spec.get("settings")
    chosen: dict[str, Any] = {name: getattr(record, name) for name in IDENTITY}
    for name, value in (settings if isinstance(settings, dict) else {}).items():
        simple = isinstance(value, bool | int | float | str)
        chosen[name] = value if simple else json.dumps(value)
    for name in ("seed", "images", "batch"):
        if isinstance(value := spec.get(name), int):
            chosen[name] = value
    return hparams_pb(chosen, trial_id=record.run, start_time_secs=0)


def _describe_run(record: Record) -> str:
    """Describe a run in Markdown."""
    facts = {"status": record.status, "reason": record.reason, "data set": record.dataset}
    lines = [f"**{name}**: {plain(str(value))}" for name, value in facts.items() if value]
    spec = json.dumps(record.spec, indent=2)
    return "\n\n".join([*lines, *(f"    {line}" for line in spec.splitlines())])
