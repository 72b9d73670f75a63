"""The comparison table of a suite's page, with all that is said when a cell is pointed at."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from benchmarks.analysis import columns, lookup
from benchmarks.analysis.frames import Frames
from benchmarks.analysis.marks import Marks, state_audit
from benchmarks.config.registry import list_metrics
from benchmarks.config.spec import CALIBRATION
from benchmarks.core.text import show_number
from benchmarks.records.schema import SCORED, Record, Score
from benchmarks.reporting import comparison
from benchmarks.reporting.comparison import Column
from benchmarks.reporting.page.templating import show_name
from benchmarks.reporting.page.text import state_direction, to_sentence

SHOWN = frozenset(("Generation", "Fidelity and variety", "Modes", "Likelihood", "Reconstruction"))
"""Groups of columns that are shown at first."""
MEANINGS = {
    "reconstruction_protocol": "how held-out images are found back: by one pass of an encoder, by a"
    " search of the code, or by a cycle through the source domain; reconstructions compare within"
    " one route and code size alone",
    "code_size": "how many numbers an image is reconstructed from",
    "seeds": "runs with different seeds whose scores count",
    "diverged": "runs stopped because a loss was no longer finite, of all runs",
    "failed": "runs that failed, of all runs",
    "collapsed": "runs whose samples are all alike, of all runs",
    "fid_spread": "geometric standard deviation of FID over seeds",
    "fid_best": "FID of the checkpoint that is best by validation",
    "fid_last_over_best": "how many times worse the last checkpoint's FID is than the best one's",
    "parameters": "numbers that training fits, in all networks together",
    "training_flops_per_step": "floating-point operations of a training step",
    "training_flops": "floating-point operations of the whole training",
    "sampling_flops_per_image": "floating-point operations for one generated image",
    "train_seconds": "seconds that a run trained, the mean over runs",
    "images_per_second": "training images seen in a second",
    "peak_memory_mb": "largest memory of a run's process, in MB",
    "score_seconds": "seconds that a run was scored",
    "tuned": "values that the recipe sets beside the model's defaults",
    "steps": "training steps of a run",
    "training_images": "training images that a run has seen, repeats included",
}


@dataclass(frozen=True)
class Head:
    """The heading of a column: what it means, and by what protocol its scores were made.

    `kind` is `number` or `text`; `audit` is what the audit of its scores failed for.
    """

    group: int
    title: str
    better: str
    kind: str
    meaning: str
    protocol: str
    audit: str = ""

    @property
    def tip(self) -> str:
        """All that explains the column, in lines."""
        return "\n".join(filter(None, (self.title, self.meaning, self.protocol, self.audit)))


@dataclass(frozen=True)
class Shown:
    """A cell as it is shown and sorted; `value` is None where there is none."""

    group: int
    text: str
    bounds: str
    best: bool
    kind: str
    value: float | str | None
    tip: str


@dataclass(frozen=True)
class Group:
    """Columns that are shown or hidden together."""

    number: int
    title: str
    shown: bool
    heads: list[Head]


@dataclass(frozen=True)
class Row:
    """A contender's cells."""

    name: str
    full: str
    cells: list[Shown]


@dataclass(frozen=True)
class Comparison:
    """The comparison table: groups of columns, the contenders' rows and the calibration's.

    `marks` has a line for each score whose audit failed, with the reason.
    """

    groups: list[Group]
    rows: list[Row]
    calibration: list[Row]
    marks: list[str]


def compare(frames: Frames) -> Comparison:
    """Make the comparison table with all that is said when a cell is pointed at."""
    frame, marks = frames.comparison, frames.marks
    panels = list(comparison.find_panels(frame, marks).items())
    scores = first_scores(frames)
    groups = [
        Group(i, title, title in SHOWN, [_head(i, column, scores, marks) for column in columns])
        for i, (title, columns) in enumerate(panels)
    ]
    rows = _table_rows(frame, panels, scores)
    families = list(frame["family"])
    return Comparison(
        groups,
        [row for row, family in zip(rows, families, strict=True) if family != CALIBRATION],
        [row for row, family in zip(rows, families, strict=True) if family == CALIBRATION],
        comparison.explain_marks((column for _, columns in panels for column in columns), marks),
    )


def first_scores(frames: Frames) -> dict[str, dict[str, Score]]:
    """The scores by metric of each contender's first run that was scored."""
    records = frames.results.records
    extractor = lookup.shown_extractor(records)
    return {
        name: lookup.scores_of(scored, extractor) if (scored := _first_scored(runs)) else {}
        for name, runs in lookup.runs_by_contender(records).items()
    }


def _first_scored(runs: Iterable[Record]) -> Record | None:
    return next((run for run in runs if run.status in SCORED), None)


def _head(
    group: int, column: Column, scores: Mapping[str, Mapping[str, Score]], marks: Marks
) -> Head:
    having = [found[column.key] for found in scores.values() if column.key in found]
    return Head(
        group,
        column.title,
        column.better or "",
        "text" if column.prose else "number",
        define(column),
        "\n".join(_protocol(having)),
        "".join(state_audit([marks.state(column.key, column.heading)])),
    )


def define(column: Column) -> str:
    """What a column is, where it comes from and which way is better, in sentences."""
    entry = list_metrics().get(column.key)
    source = f" Source: {entry.about['source']}." if entry else ""
    return f"{to_sentence(explain(column))}{source} {state_direction(column.better)}".strip()


def list_columns() -> Iterable[Column]:
    """All columns there may be, in their order."""
    return (column for panel in comparison.PANELS.values() for column in panel)


def explain(column: Column) -> str:
    """What a column is, in words."""
    entry = list_metrics().get(column.key)
    return MEANINGS[column.key] if entry is None else entry.summary


def _protocol(scores: Sequence[Score]) -> list[str]:
    """Of how many samples scores are, against what, in whose features and how made."""
    if not scores:
        return []
    counts = sorted({score.n for score in scores if score.n})
    sizes = " or ".join(f"{n:,}" for n in counts)
    parts = [
        ("n = ", [sizes] if sizes else []),
        ("against the split ", sorted({s.reference for s in scores if s.reference})),
        ("features of ", sorted({s.extractor for s in scores if s.extractor})),
    ]
    first = "; ".join(f"{words}{' or '.join(found)}" for words, found in parts if found)
    protocols = list(dict.fromkeys(s.protocol for s in scores if s.protocol))[:5]
    return [
        line for line in (first, f"Protocol: {'; '.join(protocols)}" if protocols else "") if line
    ]


def _table_rows(
    frame: pd.DataFrame,
    panels: Sequence[tuple[str, Sequence[Column]]],
    scores: Mapping[str, Mapping[str, Score]],
) -> list[Row]:
    records = frame.to_dict("records")
    columns = [
        [
            _shown(i, column, cell, row, scores.get(row["contender"], {}).get(column.key))
            for cell, row in zip(comparison.cells(frame, column), records, strict=True)
        ]
        for i, (_, group) in enumerate(panels)
        for column in group
    ]
    return [
        Row(show_name(row["contender"]), row["contender"], list(cells))
        for row, cells in zip(records, zip(*columns, strict=True), strict=True)
    ]


def _shown(
    group: int, column: Column, cell: comparison.Cell, row: Mapping[Any, Any], score: Score | None
) -> Shown:
    bounds = f"[{', '.join(cell.bounds)}]" if cell.bounds else ""
    kind = "text" if column.prose else "number"
    value = _sort_value(column, row[column.key])
    tip = _explain_cell(column, cell, row, score) if cell.text else ""
    return Shown(group, cell.text, bounds, cell.best, kind, value, tip)


def _sort_value(column: Column, value: Any) -> float | str | None:
    """What a cell is sorted by: of `1/3` runs that failed, the share."""
    if value is None or pd.isna(value):
        return None
    if column.key in columns.STATUSES:
        some, _, whole = value.partition("/")
        return int(some) / max(1, int(whole))
    return str(value) if column.prose else float(value)


def _explain_cell(
    column: Column, cell: comparison.Cell, row: Mapping[Any, Any], score: Score | None
) -> str:
    lines = [f"{column.heading} of {show_name(row['contender'])}: {cell.text}"]
    low, high = (row.get(f"{column.key}{end}", math.nan) for end in ("_low", "_high"))
    if score and math.isfinite(low + high):
        several = int(row["seeds"]) > 1
        kind = f"Student's t over {row['seeds']} seeds" if several else score.interval
        lines.append(f"95 % interval {show_number(low)} to {show_number(high)}, {kind}")
    lines += _protocol([score]) if score else []
    lines += [score.note] if score and score.note else []
    return "\n".join(lines)
