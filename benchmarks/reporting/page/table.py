"""The comparison table of a suite's page, with all that is explained when a cell is pointed at."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pandas as pd

from benchmarks.analysis.columns import STATUSES, Column
from benchmarks.analysis.frames import Frames
from benchmarks.analysis.lookup import runs_by_contender, scores_of
from benchmarks.analysis.marks import Marks, state_audit
from benchmarks.core.text import show_number
from benchmarks.records.schema import SCORED, Score
from benchmarks.reporting.comparison import build_table, explain_marks, find_panels
from benchmarks.reporting.page.templating import show_name
from benchmarks.reporting.table import Cell, Head, Table

SHOWN = frozenset(("Generation", "Fidelity and variety", "Modes", "Likelihood", "Reconstruction"))
"""Panels whose columns are shown at first."""
MODEL = Head("model", left=True)
"""The heading of the models' names."""
BODIES = ("contenders", "calibration")
"""What the groups of rows of a comparison are called."""
Scores = Mapping[str, Mapping[str, Score]]


def build_page_table(frames: Frames) -> dict[str, Any]:
    """Build the comparison table with all that is explained when a cell is pointed at.

    Returns:
        tables: a table for each panel of columns that are shown or hidden together.
        shown: the titles of those shown at first.
        bodies: the rows through all panels, of the contenders and of the calibration.
        marks: a line for each score whose audit failed, with the reason.
    """
    frame, marks = frames.comparison, frames.marks
    # By contender, the scores of its first run that was scored.
    runs = runs_by_contender(r for r in frames.results.records if r.status in SCORED)
    scores = {name: scores_of(own[0], marks.extractor) for name, own in runs.items()}
    panels = find_panels(frame, marks)
    tables = [_explain_table(title, frame, cols, scores, marks) for title, cols in panels.items()]
    return {
        "tables": tables,
        "shown": SHOWN,
        "bodies": [(name, _join_rows(tables, place)) for place, name in enumerate(BODIES)],
        "marks": explain_marks(panels, marks),
    }


def _join_rows(
    tables: Sequence[Table], group: int
) -> list[tuple[Cell, list[tuple[int, Head, Cell]]]]:
    """Join the rows of a group: the cell of the name, and cells with panel number and heading."""
    return [
        (
            parts[0][0],
            [
                (number, head, cell)
                for number, (table, part) in enumerate(zip(tables, parts, strict=True))
                for head, cell in zip(table.header[1:], part[1:], strict=True)
            ],
        )
        for parts in zip(*(table.groups[group] for table in tables), strict=True)
    ]


def _explain_table(
    title: str, frame: pd.DataFrame, columns: Sequence[Column], scores: Scores, marks: Marks
) -> Table:
    """Build the table of a panel, each heading and cell with all that explains it."""
    table = build_table(title, frame, columns, whole=True)
    rows = {str(row["contender"]): row for row in frame.to_dict("records")}
    heads = [MODEL]
    for head, column in zip(table.header[1:], columns, strict=True):
        having = [found[column.key] for found in scores.values() if column.key in found]
        audit = "".join(state_audit([marks.state(column.key, column.heading)]))
        lines = (column.title, column.definition, *_state_protocol(having), audit)
        tip = "\n".join(filter(None, lines))
        heads.append(replace(head, tip=tip, definition=column.definition, audit=audit))
    groups = [
        [_explain_row(row, columns, rows[row[0].text], scores) for row in group]
        for group in table.groups
    ]
    return replace(table, header=heads, groups=groups)


def _state_protocol(scores: Sequence[Score]) -> list[str]:
    """State of how many samples scores are, against what, in whose features and how generated."""
    if not scores:
        return []
    sizes = " or ".join(f"{n:,}" for n in sorted({score.n for score in scores if score.n}))
    parts = [
        ("n = ", [sizes] if sizes else []),
        ("against the split ", sorted({s.reference for s in scores if s.reference})),
        ("features of ", sorted({s.extractor for s in scores if s.extractor})),
    ]
    first = "; ".join(f"{words}{' or '.join(found)}" for words, found in parts if found)
    protocols = list(dict.fromkeys(s.protocol for s in scores if s.protocol))[:5]
    second = f"Protocol: {'; '.join(protocols)}" if protocols else ""
    return [line for line in (first, second) if line]


def _explain_row(
    row: Sequence[Cell], columns: Sequence[Column], values: Mapping[Any, Any], scores: Scores
) -> list[Cell]:
    name = row[0].text
    found = scores.get(name, {})
    return [
        Cell(show_name(name), name),
        *(
            replace(
                cell,
                value=_find_sort_value(column, cell.value),
                tip=_explain_cell(column, cell, values, found.get(column.key)) if cell.text else "",
            )
            for cell, column in zip(row[1:], columns, strict=True)
        ),
    ]


def _find_sort_value(column: Column, value: Any) -> float | str | None:
    """Return what a cell is sorted by: of `1/3` runs that failed, the share."""
    if value is None:
        return None
    if column.key in STATUSES:
        some, _, whole = value.partition("/")
        return int(some) / max(1, int(whole))
    return str(value) if column.prose else float(value)


def _explain_cell(column: Column, cell: Cell, row: Mapping[Any, Any], score: Score | None) -> str:
    lines = [f"{column.heading} of {show_name(row['contender'])}: {cell.text}"]
    low, high = (row.get(f"{column.key}{end}", math.nan) for end in ("_low", "_high"))
    if score and math.isfinite(low + high):
        several = int(row["seeds"]) > 1
        kind = f"Student's t over {row['seeds']} seeds" if several else score.interval
        lines.append(f"95 % interval {show_number(low)} to {show_number(high)}, {kind}")
    lines += _state_protocol([score]) if score else []
    lines += [score.note] if score and score.note else []
    return "\n".join(lines)
