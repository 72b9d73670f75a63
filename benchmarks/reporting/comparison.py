"""The comparison of a suite in print: Markdown, LaTeX and text, the best of each column marked.

The writers take the results, their `comparison_frame` where it has been made already, and the marks
of their audit.
"""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import pandas as pd
from rich.console import Group
from rich.text import Text

from benchmarks.analysis.columns import PANELS, PAPER, Column
from benchmarks.analysis.comparison import comparison_frame
from benchmarks.analysis.marks import UNMARKED, Marks
from benchmarks.analysis.notes import caption, remarks
from benchmarks.config.spec import CALIBRATION
from benchmarks.core.text import escape_latex, escape_markdown, plain
from benchmarks.records.store import Results
from benchmarks.reporting import latex
from benchmarks.reporting.latex import Mark
from benchmarks.reporting.table import (
    Cell,
    Head,
    Table,
    show_parts,
    write_latex_table,
    write_markdown_table,
)

BEST = "* the best of its column; of reconstructions, among those by one route and code size."


def find_panels(frame: pd.DataFrame, marks: Marks) -> dict[str, list[Column]]:
    """Return the columns that there are of each panel, marked by what the audit found."""
    panels = {title: mark_columns(columns, frame, marks) for title, columns in PANELS.items()}
    return {title: columns for title, columns in panels.items() if columns}


def mark_columns(columns: Iterable[Column], frame: pd.DataFrame, marks: Marks) -> list[Column]:
    """Mark the scores whose audit failed, without the optional columns that have no value."""
    return [
        replace(c, marked=bool(marks.failures(c.key)), ranked=marks.ranks(c.key))
        for c in columns
        if not c.optional or (c.key in frame and frame[c.key].notna().any())
    ]


def explain_marks(panels: Mapping[str, Sequence[Column]], marks: Marks) -> list[str]:
    """Return a line for each column that is marked, and one on what no model is ranked by."""
    return marks.explain((c.key, c.heading) for columns in panels.values() for c in columns)


def build_table(
    title: str, frame: pd.DataFrame, columns: Sequence[Column], *, whole: bool = False
) -> Table:
    """Build a table of some columns of a `comparison_frame`, the calibration rows apart.

    Of these, those without a score in the columns are left out, unless the table is `whole`.
    """
    heads = (Head(c.label, c.better or "", prose=c.prose) for c in columns)
    shown = zip(*(build_cells(frame, column) for column in columns), strict=True)
    groups: tuple[list[list[Cell]], list[list[Cell]]] = ([], [])
    for name, family, cells in zip(frame["contender"], frame["family"], shown, strict=True):
        calibration = family == CALIBRATION
        scored = any(c.text for c, column in zip(cells, columns, strict=True) if column.better)
        if whole or scored or not calibration:
            groups[calibration].append([Cell(name), *cells])
    return Table(title, [Head("contender", left=True), *heads], groups)


def build_cells(frame: pd.DataFrame, column: Column) -> list[Cell]:
    """Build the cells of a column of `comparison_frame`, its best and second best values marked.

    Calibration rows compete with none, nor does any row where the column is not ranked. All that
    share a place are marked; a single value has nothing to be the best of, and the worse of two is
    no second.
    """
    marks, unknown = _find_marks(frame, column), [math.nan] * len(frame)
    ends = (f"{column.key}_low", f"{column.key}_high")
    lows, highs = (frame.get(end, unknown) if column.interval else unknown for end in ends)
    cells = []
    for value, low, high, places in zip(frame[column.key], lows, highs, marks, strict=True):
        if pd.isna(value):
            cells.append(Cell())
            continue
        cell = Cell(column.show(value), value, mark=places.get(value, ""))
        if not (pd.isna(low) or pd.isna(high)):
            bounds = f"[{column.show(low)}, {column.show(high)}]"
            cell = replace(cell, interval=(low, high), bounds=bounds)
        cells.append(cell)
    return cells


def _find_marks(frame: pd.DataFrame, column: Column) -> list[dict[Any, Mark]]:
    """Find for each row the best values among those it competes with, a training counted once."""
    marks: list[dict[Any, Mark]] = [{}] * len(frame)
    if column.better is None or not column.ranked:
        return marks
    alike = [*column.within]
    rows = frame.reset_index(drop=True)
    rows = rows[(rows["family"] != CALIBRATION) & rows[[column.key, *alike]].notna().all(axis=1)]
    for _, part in rows.groupby(alike) if alike else [("", rows)]:
        values = (part.drop_duplicates("training") if alike else part)[column.key]
        order = sorted(set(values), reverse=column.better == "higher")
        names: list[Mark] = ["best", "second"]
        best = dict(zip(order, names[: len(values) - 1], strict=False))
        for place in part.index:
            marks[place] = best
    return marks


def write_markdown(
    results: Results, frame: pd.DataFrame | None = None, marks: Marks = UNMARKED
) -> bytes:
    """Write a Markdown table of all columns, the best values in bold, with its caption under it."""
    frame = comparison_frame(results) if frame is None else frame
    panels = find_panels(frame, marks)
    columns = [column for panel in panels.values() for column in panel]
    table = write_markdown_table(build_table("", frame, columns, whole=True))
    notes = [caption(results), *explain_marks(panels, marks), *remarks(results, frame)]
    # A paragraph must not read as a list, a heading or a rule.
    texts = [re.sub(r"^(\d*)([-+=.)])", r"\1\\\2", escape_markdown(note)) for note in notes]
    return "\n".join([table, *(f"\n{text}" for text in texts), ""]).encode()


def write_latex(
    results: Results,
    frame: pd.DataFrame | None = None,
    marks: Marks = UNMARKED,
    *,
    paper: bool = False,
) -> bytes:
    """Write tabulars in LaTeX, one a panel, or with `paper` one of the headline scores alone.

    The best values are in bold, the second underlined. The file compiles as it is, and in a paper.
    """
    frame = comparison_frame(results) if frame is None else frame
    panels = find_panels(frame, marks)
    if paper:
        panels = {"": mark_columns((c for c in PAPER if frame[c.key].notna().any()), frame, marks)}
    parts = [
        write_latex_table(build_table(title, frame, columns)) for title, columns in panels.items()
    ]
    parts += [f"{escape_latex(line)}\\par\n" for line in explain_marks(panels, marks)]
    what = "± (or the distances above and below, where they differ)"
    notes = f"{caption(results, what, brief=paper)} Best in bold, second best underlined."
    return latex.document(parts, notes).encode()


def show_comparison(
    results: Results, width: int, frame: pd.DataFrame | None = None, marks: Marks = UNMARKED
) -> Group:
    """Lay out the table for a terminal of `width` characters: panels, the best values starred."""
    frame = comparison_frame(results) if frame is None else frame
    panels = find_panels(frame, marks)
    tables = [
        table
        for title, columns in panels.items()
        for table in show_parts(build_table(title, frame, columns), width)
    ]
    notes = (BEST, *explain_marks(panels, marks), caption(results), *remarks(results, frame))
    return Group(*tables, *(Text(plain(note), style="dim") for note in notes))
