"""A comparison in print: Markdown, LaTeX and text, the best of each column marked."""

import math
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import pandas as pd
from rich import box
from rich.cells import cell_len
from rich.console import Group
from rich.table import Table
from rich.text import Text

from benchmarks.analysis.columns import FURTHER, PAIRS
from benchmarks.analysis.comparison import comparison_frame
from benchmarks.analysis.marks import MARK, UNMARKED, Marks, set_marks
from benchmarks.analysis.notes import caption, remarks
from benchmarks.config.registry import list_metrics
from benchmarks.config.spec import CALIBRATION
from benchmarks.core.text import (
    escape_latex,
    escape_markdown,
    join_cells,
    plain,
    shorten,
    show_amount,
    show_number,
)
from benchmarks.records.store import Results
from benchmarks.reporting import latex

PROSE = 18  # characters before a terminal's cell of words wraps
ALIKE = ("reconstruction_protocol", "code_size")
"""What reconstructions must have in common to be compared."""
NAME = 16  # characters of a name that a terminal's tables leave room for


@dataclass(frozen=True)
class Column:
    """How a column of `comparison_frame` is shown to a person; `better` marks its best value.

    An `optional` one is left out where nobody has a value. One is `marked` whose audit failed, and
    one that is not `ranked` has no best value. `within` names the columns in whose values rows must
    agree to compete.
    """

    key: str
    heading: str
    show: Callable[[Any], str] = str
    better: str | None = None
    interval: bool = False
    prose: bool = False
    optional: bool = False
    marked: bool = False
    ranked: bool = True
    within: tuple[str, ...] = ()

    @property
    def label(self) -> str:
        """The heading with its mark."""
        return self.heading + MARK * self.marked

    @property
    def title(self) -> str:
        """The heading with its mark and an arrow towards the better values."""
        return self.label + {"lower": " ↓", "higher": " ↑", None: ""}[self.better]


def metric_columns(*names: str, interval: bool = False) -> tuple[Column, ...]:
    """The columns of metrics, as their metadata has them."""
    known = list_metrics()
    return tuple(
        Column(
            name,
            known[name].about["symbol"],
            show_number,
            known[name].about["direction"],
            interval=interval,
            optional=True,
            within=ALIKE if name in PAIRS else (),
        )
        for name in names
    )


GENERATION = (
    Column("fid", "FID", show_number, "lower", interval=True),
    Column("inception_score", "Inception Score", show_number, "higher", True, optional=True),
    *metric_columns("kid"),
)
VARIETY = metric_columns("precision", "recall", "density", "coverage")
COPIES = metric_columns("classes_reached", "class_kl", "authenticity", "near_copies")
MODES = metric_columns("modes", "high_quality", "reverse_kl", interval=True)
LIKELIHOOD = metric_columns("elbo", "iwae", "ais", "bits_per_dimension", interval=True)
RECONSTRUCTION = (
    Column("reconstruction_mse", "MSE", show_number, "lower", interval=True, within=ALIKE),
    *metric_columns("psnr", "ssim"),
    Column("reconstruction_protocol", "reconstructs by", prose=True),
    Column("code_size", "code size", show_amount, optional=True),
)
DIFFICULTY = (
    Column("seeds", "seeds"),
    Column("diverged", "diverged"),
    Column("failed", "failed"),
    Column("collapsed", "collapsed", optional=True),
    Column("fid_spread", "spread", show_number, "lower"),
    Column("fid_best", "best FID", show_number, "lower"),
    Column("fid_last_over_best", "last/best", show_number, "lower"),
)
COST = (
    Column("parameters", "params", show_amount, "lower"),
    Column("training_flops_per_step", "FLOPs/step", show_amount, "lower"),
    Column("sampling_flops_per_image", "FLOPs/img", show_amount, "lower"),
    Column("train_seconds", "train s", show_number, "lower"),
    Column("images_per_second", "img/s", show_amount, "higher"),
    Column("peak_memory_mb", "MB", show_number, "lower"),
    Column("tuned", "tuned", optional=True),
)
HEADLINE = (*GENERATION[:2], RECONSTRUCTION[0], COST[0], COST[3])
"""The columns of a paper's table."""
SHOWN = {c.key for c in (*GENERATION, *VARIETY, *COPIES, *MODES, *LIKELIHOOD)}
PANELS = {
    "Generation": GENERATION,
    "Fidelity and variety": VARIETY,
    "Classes and copies": COPIES,
    "Modes": MODES,
    "Likelihood": LIKELIHOOD,
    "Reconstruction": RECONSTRUCTION,
    "Training": DIFFICULTY,
    "Cost": COST,
    "Further scores": metric_columns(*(name for name in FURTHER[1:] if name not in SHOWN)),
}


def present(frame: pd.DataFrame, columns: Iterable[Column]) -> list[Column]:
    """Leave out the optional columns in which nobody has a value."""
    return [c for c in columns if not c.optional or (c.key in frame and frame[c.key].notna().any())]


def find_panels(frame: pd.DataFrame, marks: Marks) -> dict[str, list[Column]]:
    """The columns that there are of each panel, marked by what the audit found."""
    panels = {title: mark(present(frame, columns), marks) for title, columns in PANELS.items()}
    return {title: columns for title, columns in panels.items() if columns}


def mark(columns: Iterable[Column], marks: Marks) -> list[Column]:
    """Mark the scores whose audit failed, and have no best of those not to be ranked by."""
    return [
        replace(c, marked=bool(marks.failures(c.key)), ranked=marks.ranks(c.key)) for c in columns
    ]


def explain_marks(columns: Iterable[Column], marks: Marks) -> list[str]:
    """A line for each column that is marked, with the reason, and one on what is not ranked by."""
    return marks.explain((column.key, column.heading) for column in columns)


@dataclass(frozen=True)
class Cell:
    """What a person reads in a cell: the value, its interval's ends, how it stands in its column.

    Attributes:
        text: the value as it is shown; empty where there is none.
        bounds: the ends of its interval as they are shown.
        best: whether it is the best of its column.
        second: whether nothing but the best is better.
        value: the value itself.
        ends: those of its interval themselves.
    """

    text: str
    bounds: tuple[str, str] | None = None
    best: bool = False
    second: bool = False
    value: Any = None
    ends: tuple[float, float] | None = None


def cells(frame: pd.DataFrame, column: Column) -> list[Cell]:
    """A column of `comparison_frame` as it is shown, its best and second best values marked.

    Calibration rows compete with none, nor does anybody where the column is not ranked. All who
    share a place are marked; a single value has nothing to be the best of, and the worse of two is
    no second.
    """
    podiums = _podiums(frame, column)
    bounds = [f"{column.key}_low", f"{column.key}_high"]
    lows, highs = (
        frame[end] if column.interval and end in frame else [math.nan] * len(frame)
        for end in bounds
    )
    rows = zip(frame[column.key], lows, highs, podiums, strict=True)
    return [_cell(column, *row) for row in rows]


def _podiums(frame: pd.DataFrame, column: Column) -> list[dict[Any, str]]:
    """For each row the best values of those it competes with, rows of one training counted once."""
    podiums: list[dict[Any, str]] = [{}] * len(frame)
    alike = [*column.within]
    rows = frame.reset_index(drop=True)
    rows = rows[(rows["family"] != CALIBRATION) & rows[[column.key, *alike]].notna().all(axis=1)]
    for _, part in rows.groupby(alike) if alike else [("", rows)]:
        values = (part.drop_duplicates("training") if alike else part)[column.key]
        podium = _podium(values, column.better if column.ranked else None)
        for place in part.index:
            podiums[place] = podium
    return podiums


def _podium(values: pd.Series, better: str | None) -> dict[Any, str]:
    """Which value is the best, and which the second best."""
    if better is None or len(values) < 2:
        return {}
    places = sorted(set(values), reverse=better == "higher")
    return dict(zip(places, ("best", "second") if len(values) > 2 else ("best",), strict=False))


def _cell(column: Column, value: Any, low: float, high: float, places: dict[Any, str]) -> Cell:
    if pd.isna(value):
        return Cell("")
    bounded = pd.notna(low) and pd.notna(high)
    place = places.get(value)
    return Cell(
        column.show(value),
        (column.show(low), column.show(high)) if bounded else None,
        place == "best",
        place == "second",
        value,
        (low, high) if bounded else None,
    )


def write_markdown(
    results: Results, frame: pd.DataFrame | None = None, marks: Marks = UNMARKED
) -> bytes:
    """A Markdown table of all columns, the best values in bold, with its caption under it.

    Args:
        results: what it is of.
        frame: their `comparison_frame`, where it has been made already.
        marks: what their audit found.
    """
    frame = comparison_frame(results) if frame is None else frame
    columns = [column for panel in find_panels(frame, marks).values() for column in panel]
    header, rows = _grid(frame, columns, _markdown_cell, escape_markdown)
    lines = [join_cells(header), join_cells(["---"] + ["---:"] * (len(header) - 1))]
    lines += [join_cells(row) for row in rows]
    notes = [caption(results), *explain_marks(columns, marks), *remarks(results, frame)]
    return "\n".join([*lines, *(f"\n{_paragraph(note)}" for note in notes), ""]).encode()


def write_latex(
    results: Results,
    frame: pd.DataFrame | None = None,
    marks: Marks = UNMARKED,
    *,
    paper: bool = False,
) -> bytes:
    """Tabulars in LaTeX, one a panel, the best values in bold, the second underlined.

    The file compiles as it is, and within a paper.

    Args:
        results: what it is of.
        frame: their `comparison_frame`, where it has been made already.
        marks: what their audit found.
        paper: whether only to give the table of the headline scores.
    """
    frame = comparison_frame(results) if frame is None else frame
    panels = find_panels(frame, marks)
    if paper:
        panels = {"": mark((c for c in HEADLINE if frame[c.key].notna().any()), marks)}
    parts = [_latex_panel(frame, title, columns) for title, columns in panels.items()]
    columns = [column for panel in panels.values() for column in panel]
    parts += [f"{escape_latex(line)}\\par\n" for line in explain_marks(columns, marks)]
    what = "± (or the distances above and below, where they differ)"
    notes = f"{caption(results, what, brief=paper)} Best in bold, second best underlined."
    return set_marks(latex.document(parts, notes)).encode()


def _latex_panel(frame: pd.DataFrame, title: str, columns: Sequence[Column]) -> str:
    """A panel's tabulars, the calibration rows apart where they have a score."""
    shown = [[_latex_cell(cell) for cell in cells(frame, column)] for column in columns]
    header = ["contender", *(escape_latex(column.title) for column in columns)]
    groups: tuple[list[list[str]], list[list[str]]] = ([], [])
    scored = [i for i, column in enumerate(columns, 1) if column.better]
    for name, family, *texts in zip(frame["contender"], frame["family"], *shown, strict=True):
        row = [escape_latex(name), *texts]
        if family != CALIBRATION or any(row[i] for i in scored):
            groups[family == CALIBRATION].append(row)
    alignment = "l" + "".join("l" if column.prose else "r" for column in columns)
    return latex.tabulars(title, alignment, header, groups)


def _grid(
    frame: pd.DataFrame,
    columns: Sequence[Column],
    show: Callable[[Cell], str],
    escape: Callable[[str], str],
) -> tuple[list[str], list[list[str]]]:
    """Header and rows of the one wide table of Markdown, a row a contender."""
    shown = [[show(cell) for cell in cells(frame, column)] for column in columns]
    header = ["contender"] + [escape(column.title) for column in columns]
    names = [escape(name) for name in frame["contender"]]
    return header, [list(row) for row in zip(names, *shown, strict=True)]


def _markdown_cell(cell: Cell) -> str:
    value = f"**{cell.text}**" if cell.best else escape_markdown(cell.text)
    return f"{value} [{', '.join(cell.bounds)}]" if cell.bounds else value


def _latex_cell(cell: Cell) -> str:
    mark: latex.Mark = "best" if cell.best else "second" if cell.second else ""
    if cell.ends:
        return latex.quantity(cell.value, *cell.ends, mark)
    return latex.number(cell.text, mark)


def _paragraph(text: str) -> str:
    """A text as a paragraph of Markdown, not as a list, a heading or a rule."""
    return re.sub(r"^(\d*)([-+=.)])", r"\1\\\2", escape_markdown(text))


def show_comparison(
    results: Results, width: int, frame: pd.DataFrame | None = None, marks: Marks = UNMARKED
) -> Group:
    """The table for a terminal of `width` characters: panels, the best values starred.

    Args:
        results: what it is of.
        width: of the terminal.
        frame: their `comparison_frame`, where it has been made already.
        marks: what their audit found.
    """
    frame = comparison_frame(results) if frame is None else frame
    panels = find_panels(frame, marks)
    tables = [
        table
        for title, columns in panels.items()
        for table in _terminal_tables(frame, title, columns, width)
    ]
    found = explain_marks((column for panel in panels.values() for column in panel), marks)
    best = "* the best of its column; of reconstructions, among those by one route and code size."
    notes = (best, *found, caption(results), *remarks(results, frame))
    return Group(*tables, *(Text(plain(note), style="dim") for note in notes))


def _terminal_tables(
    frame: pd.DataFrame, title: str, columns: Sequence[Column], width: int
) -> list[Table]:
    """A panel, in as many tables as leave room for its names."""
    longest = max((cell_len(plain(name)) for name in frame["contender"]), default=0)
    room = width - 4 - min(longest, NAME)
    shown = [_terminal_column(frame, column, room) for column in columns]
    parts: list[list[TerminalColumn]] = [[]]
    for column in shown:
        if parts[-1] and sum(c.width + 2 for c in [*parts[-1], column]) > room:
            parts.append([])
        parts[-1].append(column)
    titles = [title] + ["continued"] * (len(parts) - 1)
    return [_terminal_table(frame, *part, width) for part in zip(titles, parts, strict=True)]


@dataclass(frozen=True)
class TerminalColumn:
    """A column as a terminal shows it, and how many characters it takes."""

    column: Column
    texts: list[Text]
    width: int


def _terminal_column(frame: pd.DataFrame, column: Column, room: int) -> TerminalColumn:
    """A column without its intervals where there is no room for them."""
    values = cells(frame, column)
    for bounded in (True, False):
        texts = [_terminal_cell(cell, bounded) for cell in values]
        widest = max(cell_len(column.label), *(text.cell_len for text in texts))
        widest = min(widest, PROSE) if column.prose else widest
        if widest + 2 <= room:
            break
    return TerminalColumn(column, texts, widest)


def _terminal_table(
    frame: pd.DataFrame, title: str, columns: Sequence[TerminalColumn], width: int
) -> Table:
    """A table whose only cells to wrap are prose; names give way by their middle."""
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("")
    for shown in columns:
        justify: Literal["left", "right"] = "left" if shown.column.prose else "right"
        table.add_column(shown.column.label, width=shown.width, justify=justify)
    room = max(8, width - 4 - sum(shown.width + 2 for shown in columns))
    rows = zip(*(shown.texts for shown in columns), strict=True)
    scored = [i for i, shown in enumerate(columns) if shown.column.better]
    for name, family, texts in zip(frame["contender"], frame["family"], rows, strict=True):
        if family != CALIBRATION or any(texts[i].plain for i in scored):
            table.add_row(Text(shorten(plain(name), room)), *texts)
    return table


def _terminal_cell(cell: Cell, bounded: bool) -> Text:
    style = "bold green" if cell.best else "underline" if cell.second else ""
    text = Text(plain(cell.text), style=style)
    if cell.best:
        text.append("*")
    if bounded and cell.bounds:
        text.append(f" [{', '.join(cell.bounds)}]", style="not bold not underline dim")
    return text
