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

from benchmarks.analysis.lookup import read_or_warn, scores_of, shown_extractor
from benchmarks.analysis.pictures import join_tiles
from benchmarks.core.errors import BadInput
from benchmarks.core.files import check_links, write_atomically
from benchmarks.core.text import plain
from benchmarks.records.schema import Record
from benchmarks.records.store import Results, read_history, read_picture

if TYPE_CHECKING:
    from tensorboard.compat.proto.summary_pb2 import Summary

FOLDER = "tensorboard"
FILE = "events.out.tfevents.report"
NAME = re.compile(r"[A-Za-z0-9][\w.-]*")
COUNTS = ("step", "images", "seconds")
"""Columns of a history that are no curves but what curves are drawn over."""
SMALLEST = 32
"""Pixels that a tile is enlarged to, by a whole factor; beyond, it stays as it is."""
Row = dict[Any, Any]
"""A row of a history."""


def check_installed() -> None:
    """Raise BadInput unless TensorBoard is installed."""
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
    extractor, warnings = shown_extractor(results.records), list[str]()
    folders = [results.folder / FOLDER / name for name in name_runs(results.records)]
    for record, folder in zip(results.records, folders, strict=True):
        write_atomically(folder / FILE, _build_events(results, record, extractor, warnings))
    for stale in sorted((results.folder / FOLDER).glob(f"*/{FILE}")):
        if stale.parent not in folders:
            stale.unlink()
            if not any(stale.parent.iterdir()):
                stale.parent.rmdir()
    return folders, warnings


def name_runs(records: Sequence[Record]) -> list[str]:
    """Name runs for TensorBoard: contender and seed, where these are one run's alone."""
    names = [r.contender if r.seed is None else f"{r.contender}-s{r.seed}" for r in records]
    counts = Counter(map(str.casefold, names))
    return [
        name if NAME.fullmatch(name) and counts[name.casefold()] == 1 else record.run
        for name, record in zip(names, records, strict=True)
    ]


def _build_events(
    results: Results, record: Record, extractor: str | None, warnings: list[str]
) -> bytes:
    """Build the content of a run's event file; add a line on each part that cannot be read."""
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.summary.writer.record_writer import RecordWriter

    folder = results.run_folder(record)
    history = read_or_warn(read_history, folder, warnings=warnings)
    rows = [] if history is None else history.to_dict("records")
    pictures = {
        kind: tiles
        for kind, picture in record.pictures.items()
        if (tiles := read_or_warn(read_picture, folder, picture, warnings=warnings)) is not None
    }
    file = io.BytesIO()
    writer = RecordWriter(file)
    writer.write(Event(wall_time=0, file_version="brain.Event:2").SerializeToString())
    for row, summary in _summaries(record, rows, pictures, extractor):
        dates = (row.get(name, 0.0) for name in ("seconds", "step"))
        seconds, step = (value if math.isfinite(value) else 0.0 for value in dates)
        event = Event(wall_time=seconds, step=int(step), summary=summary)
        writer.write(event.SerializeToString(deterministic=True))
    return file.getvalue()


def _summaries(
    record: Record, rows: list[Row], pictures: dict[str, np.ndarray], extractor: str | None
) -> Iterator[tuple[Row, "Summary"]]:
    """Yield all that an event file holds, each with the logged row that dates it."""
    from tensorboard.plugins.text.summary import text_pb

    yield {}, _collect_settings(record)
    yield {}, text_pb("record", _describe_run(record))
    for row in rows:
        yield from _curves(row)
    last = rows[-1] if rows else {}
    scores = {f"scores/{name}": s.value for name, s in scores_of(record, extractor).items()}
    costs = {f"costs/{name}": value for name, value in record.costs.model_dump().items()}
    for name, value in (scores | costs).items():
        if value is not None:
            yield last, _scalar(name, value)
    logged = {row["images"]: row for row in rows}
    for kind, tiles in pictures.items():
        if kind == "evolution":
            for tile, images in zip(tiles, record.pictures[kind].seen, strict=False):
                yield logged.get(images, {}), _image(kind, tile[None])
        else:
            yield last, _image(kind, tiles)


def _curves(row: Row) -> Iterator[tuple[Row, "Summary"]]:
    """Yield each loss and validation score of a logged row over steps, and over images."""
    by_images = row | {"step": row["images"]}
    for column, value in row.items():
        if column not in COUNTS and math.isfinite(value):
            yield row, _scalar(re.sub(r"^(loss|validation)_", r"\1/", column), value)
            yield by_images, _scalar(f"by_images/{column}", value)


def _scalar(name: str, value: float) -> "Summary":
    from tensorboard.compat.proto.summary_pb2 import Summary

    return Summary(value=[Summary.Value(tag=name, simple_value=value)])


def _image(kind: str, tiles: np.ndarray) -> "Summary":
    """Draw a picture of tiles, uint8 [rows, columns, H, W, 3], with gaps between them."""
    from PIL import Image
    from tensorboard.compat.proto.summary_pb2 import Summary

    pixels = join_tiles(tiles, max(1, SMALLEST // max(tiles.shape[2:4])))
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "png")
    height, width, _ = pixels.shape
    png = file.getvalue()
    image = Summary.Image(height=height, width=width, colorspace=3, encoded_image_string=png)
    return Summary(value=[Summary.Value(tag=f"pictures/{kind}", image=image)])


def _collect_settings(record: Record) -> "Summary":
    """Collect a run's settings for TensorBoard's table of hyper-parameters."""
    from tensorboard.plugins.hparams.summary_v2 import hparams_pb

    spec, settings = record.spec, record.spec.get("settings")
    chosen: dict[str, Any] = {k: getattr(record, k) for k in ("contender", "family", "status")}
    for name, value in (settings if isinstance(settings, dict) else {}).items():
        chosen[name] = value if isinstance(value, int | float | str) else json.dumps(value)
    numbers = {name: spec.get(name) for name in ("seed", "images", "batch")}
    chosen |= {name: value for name, value in numbers.items() if isinstance(value, int)}
    return hparams_pb(chosen, trial_id=record.run, start_time_secs=0)


def _describe_run(record: Record) -> str:
    """Describe a run in Markdown."""
    facts = {"status": record.status, "reason": record.reason, "data set": record.dataset}
    lines = [f"**{name}**: {plain(str(value))}" for name, value in facts.items() if value]
    spec = json.dumps(record.spec, indent=2)
    return "\n\n".join([*lines, *(f"    {line}" for line in spec.splitlines())])
