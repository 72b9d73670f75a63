"""Several suites in tables, a plot and a page: what `aggregate` has found, for people to read."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
from rich import box
from rich.cells import cell_len
from rich.console import Group
from rich.table import Table
from rich.text import Text

from benchmarks.analysis.columns import PAIRS
from benchmarks.analysis.export import write_csv
from benchmarks.analysis.marks import MARK, set_marks
from benchmarks.analysis.suites import Aggregate, explain
from benchmarks.config.registry import list_metrics
from benchmarks.core.text import (
    escape_latex,
    escape_markdown,
    join_cells,
    plain,
    shorten,
    show_number,
)
from benchmarks.reporting import latex
from benchmarks.reporting.page.templating import embed_data, render_page
from benchmarks.statistics.rankings import is_lower_better

PLOT = "critical_difference_{}"
FORMATS = ("png", "svg", "pdf")
LONGEST = 20
"""Characters of a name in a table's head or at its side in a terminal."""
CAPTION = (
    "Values with their 95 % intervals over seeds (over samples, of one seed); the best of each row"
    " stands out. In parentheses: the rank within the row, ties shared, among the contenders that"
    " have this score in every row that is ranked. Ranks are averaged over data sets, each counting"
    " once; a win is a first place, shared among those tied; the ratio is the geometric mean of how"
    " many times the best value a contender's is. Scores of different extractors and data sets have"
    " no common scale: compare along rows. Reconstructions are ranked only by one route and code"
    " size."
)

LATEX = "Best in bold, second best underlined; ± or the distances above and below: the interval."


@dataclass(frozen=True)
class Cell:
    """A contender's score in a suite, or a number of its summary, as a person reads it."""

    text: str = ""
    bounds: str = ""
    rank: str = ""
    best: bool = False
    second: bool = False
    interval: tuple[float, float, float] | None = None


@dataclass(frozen=True)
class Board:
    """A score's table: a row a suite, a column a contender, those with the best ranks first.

    Attributes:
        title: the score with an arrow towards the better values.
        rows: the suites, each with its cells in the order of `contenders`.
        summary: mean ranks, wins and ratios, likewise.
        answer: what may be concluded.
    """

    metric: str
    title: str
    contenders: list[str]
    rows: list[tuple[str, list[Cell]]]
    summary: list[tuple[str, list[Cell]]]
    answer: str


def write_aggregate(result: Aggregate) -> dict[str, bytes]:
    """Make the tables, the page and, with enough data sets, critical-difference diagrams.

    Returns:
        Contents by name; those of plots begin with `plots/`.
    """
    plots = draw_plots(result)
    return {
        "aggregate.csv": write_csv(result.scores),
        "ranks.csv": write_csv(result.ranks),
        "aggregate.md": _write_markdown(result),
        "aggregate.tex": _write_latex(result),
        **{f"plots/{name}": content for name, content in plots.items()},
        "report.html": _write_page(result, plots),
    }


def draw_plots(result: Aggregate) -> dict[str, bytes]:
    """Draw a critical-difference diagram of each score that was tested, in every format."""
    tested = {m: test for m, test in result.tests.items() if math.isfinite(test.cd)}
    if not tested:
        return {}
    from benchmarks.reporting.plots.ranks import draw_critical_difference
    from benchmarks.reporting.plots.registry import save

    files: dict[str, bytes] = {}
    everybody = result.scores["contender"].unique()
    for metric, test in tested.items():
        # A contender keeps its colour, whatever its rank.
        names = pd.Categorical(test.ranks["contender"], categories=everybody)
        figure = draw_critical_difference(test.ranks.assign(contender=names), test.cd)
        for kind in FORMATS:
            files[f"{PLOT.format(metric)}.{kind}"] = save(figure, kind)
    return files


def boards(result: Aggregate) -> list[Board]:
    """Lay out a table of each headline score."""
    return [_board(result, metric) for metric in result.metrics]


def _board(result: Aggregate, metric: str) -> Board:
    values = result.scores[result.scores["metric"] == metric]
    ranks = result.ranks[result.ranks["metric"] == metric].set_index("contender")
    names = list(dict.fromkeys([*ranks.index, *values["contender"]]))
    lower, ranked = is_lower_better(metric), metric not in result.refusals
    rows = []
    for suite, part in values.groupby("suite", sort=False):
        competing = part[part["rank"].notna()] if metric in PAIRS else part
        order = sorted(set(competing["value"]), reverse=not lower) if ranked else []
        best = dict.fromkeys(competing["contender"], order)
        cells = {
            row["contender"]: _cell(row, best.get(row["contender"], []))
            for row in part.to_dict("records")
        }
        rows.append((str(suite), [cells.get(name, Cell()) for name in names]))
    symbol = list_metrics()[metric].about["symbol"]
    mark = MARK if metric in result.marked else ""
    title = f"{symbol}{mark} {'↓' if lower else '↑'}"
    return Board(metric, title, names, rows, _summary(ranks, names), explain(result, metric))


def _cell(row: dict[Any, Any], order: Sequence[float]) -> Cell:
    """A score, in the row of which values are in this order, the best first."""
    bounded = math.isfinite(row["low"]) and math.isfinite(row["high"])
    return Cell(
        show_number(row["value"]),
        f"[{show_number(row['low'])}, {show_number(row['high'])}]" if bounded else "",
        "" if math.isnan(row["rank"]) else f"({row['rank']:g})",
        row["value"] in order[:1],
        row["value"] in order[1:2],
        (row["value"], row["low"], row["high"]) if bounded else None,
    )


def _summary(ranks: pd.DataFrame, names: list[str]) -> list[tuple[str, list[Cell]]]:
    if ranks.empty:
        return []
    table = ranks.reindex(names)
    rows = [("mean rank", table["rank"], True), ("wins", table["wins"], False)]
    if table["ratio"].notna().any():
        rows.append(("ratio to best", table["ratio"], True))
    return [(title, _summary_cells(column, lower)) for title, column, lower in rows]


def _summary_cells(column: "pd.Series[float]", lower: bool) -> list[Cell]:
    best = column.min() if lower else column.max()
    return [
        Cell() if math.isnan(value) else Cell(f"{value:.3g}", best=bool(value == best))
        for value in column
    ]


def _write_markdown(result: Aggregate) -> bytes:
    lines = ["# Contenders over data sets"]
    for board in boards(result):
        header = ["data set", *board.contenders]
        lines += ["", f"## {board.title}", "", escape_markdown(board.answer), ""]
        lines += [join_cells(map(escape_markdown, header))]
        lines += [join_cells(["---", *["---:"] * len(board.contenders)])]
        for name, cells in [*board.rows, *board.summary]:
            lines.append(join_cells([escape_markdown(name), *map(_markdown_cell, cells)]))
    notes = [f"- {escape_markdown(note)}" for note in result.notes]
    return "\n".join([*lines, "", CAPTION, *(["", *notes] if notes else []), ""]).encode()


def _markdown_cell(cell: Cell) -> str:
    text = f"**{cell.text}**" if cell.best else cell.text
    return " ".join(filter(None, (text, escape_markdown(cell.bounds), cell.rank)))


def _write_latex(result: Aggregate) -> bytes:
    parts = []
    for board in boards(result):
        header = [escape_latex(name) for name in ("data set", *board.contenders)]
        alignment = "l" + "r" * len(board.contenders)
        groups = [
            [[escape_latex(name), *map(_latex_cell, cells)] for name, cells in rows]
            for rows in (board.rows, board.summary)
            if rows
        ]
        parts.append(latex.tabulars(escape_latex(board.title), alignment, header, groups))
    answers = [f"{board.title}: {board.answer}" for board in boards(result)]
    notes = " ".join([*answers, CAPTION, LATEX, *(f"{note}." for note in result.notes)])
    return set_marks(latex.document(parts, notes)).encode()


def _latex_cell(cell: Cell) -> str:
    if not cell.text:
        return ""
    mark: latex.Mark = "best" if cell.best else "second" if cell.second else ""
    value = latex.quantity(*cell.interval, mark) if cell.interval else latex.number(cell.text, mark)
    return f"{value} {cell.rank}".strip()


def _write_page(result: Aggregate, plots: dict[str, bytes]) -> bytes:
    rows = result.scores[["suite", "dataset", "folder"]].drop_duplicates()
    return render_page(
        "aggregate.html",
        script="",
        boards=boards(result),
        suites=rows.to_dict("records"),
        extractors=_extractors(result.scores),
        data_sets=result.data_sets,
        pictures={board.metric: _source(plots, board.metric) for board in boards(result)},
        caption=CAPTION,
        notes=result.notes,
    )


def _extractors(values: pd.DataFrame) -> dict[str, str]:
    """What each suite's FID was taken with: extractor, samples and reference."""
    rows = values[values["metric"] == "fid"].drop_duplicates("suite")
    return {
        row["suite"]: f"{row['extractor']}, {row['samples']:,} samples against {row['reference']}"
        for row in rows.to_dict("records")
    }


def _source(plots: dict[str, bytes], metric: str) -> str:
    """A score's diagram as a data URI, empty where there is none."""
    content = plots.get(f"{PLOT.format(metric)}.svg")
    return embed_data(content, "image/svg+xml") if content else ""


def show_aggregate(result: Aggregate, width: int) -> Group:
    """The tables for a terminal of `width` characters, in parts where they are wider than that."""
    parts: list[Any] = []
    for board in boards(result):
        title = board.title
        for places in _parts(board, width):
            parts.append(_terminal_table(board, title, places))
            title = f"{board.title} (continued)"
        parts += [Text(plain(board.answer)), Text()]
    notes = (Text(plain(note), style="dim") for note in (CAPTION, *result.notes))
    return Group(*parts, *notes)


def _parts(board: Board, width: int) -> list[list[int]]:
    """Places of the contenders that stand side by side in each part of a table."""
    rows = [*board.rows, *board.summary]
    side = max(cell_len(_label(name)) for name, _ in rows)
    parts: list[list[int]] = [[]]
    room = width - side - 3
    for place, name in enumerate(board.contenders):
        lines = [line for _, cells in rows for line in _terminal_cell(cells[place]).split("\n")]
        needed = max(cell_len(_label(name)), *(line.cell_len for line in lines)) + 2
        if parts[-1] and needed > room:
            parts.append([])
            room = width - side - 3
        parts[-1].append(place)
        room -= needed
    return parts


def _terminal_table(board: Board, title: str, places: Sequence[int]) -> Table:
    """Some contenders' columns, and the rows in which any of them has something."""
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("", no_wrap=True)
    for place in places:
        heading = Text(_label(board.contenders[place]))
        table.add_column(heading, justify="right", no_wrap=True)
    for rows in (board.rows, board.summary):
        for name, cells in rows:
            if any(cells[place].text for place in places):
                shown = (_terminal_cell(cells[place]) for place in places)
                table.add_row(Text(_label(name)), *shown)
        table.add_section()
    return table


def _label(name: str) -> str:
    return shorten(plain(name), LONGEST)


def _terminal_cell(cell: Cell) -> Text:
    """The value with its rank, over its interval."""
    text = Text(cell.text + "*" * cell.best, style="bold green" if cell.best else "")
    text.append(f" {cell.rank}" if cell.rank else "", style="not bold default")
    return text.append(f"\n{cell.bounds}" if cell.bounds else "", style="not bold dim default")
