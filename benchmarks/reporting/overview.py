"""Several suites in tables, a plot and a page: what `aggregate` has found, for people to read."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
from rich.console import Group
from rich.text import Text

from benchmarks.analysis.columns import MARK, PAIRS
from benchmarks.analysis.export import write_csv
from benchmarks.analysis.suites import Aggregate, explain_ranks
from benchmarks.config.registry import list_metrics
from benchmarks.core.text import escape_markdown, plain, show_number
from benchmarks.reporting import latex
from benchmarks.reporting.page.templating import embed_data, render_page
from benchmarks.reporting.table import (
    ARROWS,
    Cell,
    Head,
    Table,
    show_parts,
    write_latex_table,
    write_markdown_table,
)
from benchmarks.statistics.rankings import is_lower_better

PLOT = "critical_difference_{}"
FORMATS = ("png", "svg", "pdf")
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
class Board:
    """A score's table, a row a suite and a column a contender, and what may be concluded from it.

    The contenders with the best ranks come first; mean ranks, wins and ratios are the last rows.
    """

    metric: str
    table: Table
    answer: str


def write_aggregate(result: Aggregate) -> dict[str, bytes]:
    """Write the tables, the page and, with enough data sets, critical-difference diagrams.

    Returns:
        Contents by name; those of plots begin with `plots/`.
    """
    plots, boards = draw_rank_plots(result), build_boards(result)
    return {
        "aggregate.csv": write_csv(result.scores),
        "ranks.csv": write_csv(result.ranks),
        "aggregate.md": _write_boards_markdown(boards, result.notes),
        "aggregate.tex": _write_boards_latex(boards, result.notes),
        **{f"plots/{name}": content for name, content in plots.items()},
        "report.html": _write_boards_page(boards, result, plots),
    }


def draw_rank_plots(result: Aggregate) -> dict[str, bytes]:
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


def build_boards(result: Aggregate) -> list[Board]:
    """Build the table of each headline score."""
    return [
        Board(metric, _build_table(result, metric), explain_ranks(result, metric))
        for metric in result.scores["metric"].unique()
    ]


def _build_table(result: Aggregate, metric: str) -> Table:
    values = result.scores[result.scores["metric"] == metric]
    ranks = result.ranks[result.ranks["metric"] == metric].set_index("contender")
    names = list(dict.fromkeys([*ranks.index, *values["contender"]]))
    lower, ranked = is_lower_better(metric), metric not in result.refusals
    rows = []
    for suite, part in values.groupby("suite", sort=False):
        competing = part[part["rank"].notna()] if metric in PAIRS else part
        order = sorted(set(competing["value"]), reverse=not lower) if ranked else []
        best = dict.fromkeys(competing["contender"], order)
        cells = dict.fromkeys(names, Cell())
        for row in part.to_dict("records"):
            cells[row["contender"]] = _build_score_cell(row, best.get(row["contender"], []))
        rows.append([Cell(str(suite)), *cells.values()])
    symbol = list_metrics()[metric].about["symbol"]
    title = symbol + MARK * (metric in result.marked) + ARROWS["lower" if lower else "higher"]
    header = [Head("data set", left=True), *map(Head, names)]
    return Table(title, header, [rows, _summarise_ranks(ranks, names)])


def _build_score_cell(row: dict[Any, Any], order: Sequence[float]) -> Cell:
    """Build a score's cell, in the row of which values are in this order, the best first."""
    value, ends = row["value"], (row["low"], row["high"])
    mark: latex.Mark = "best" if value in order[:1] else "second" if value in order[1:2] else ""
    note = "" if math.isnan(row["rank"]) else f"({row['rank']:g})"
    if not all(map(math.isfinite, ends)):
        return Cell(show_number(value), value, mark=mark, note=note)
    bounds = f"[{', '.join(map(show_number, ends))}]"
    return Cell(show_number(value), value, ends, bounds, mark, note)


def _summarise_ranks(ranks: pd.DataFrame, names: list[str]) -> list[list[Cell]]:
    if ranks.empty:
        return []
    table = ranks.reindex(names)
    rows = [("mean rank", table["rank"], True), ("wins", table["wins"], False)]
    if table["ratio"].notna().any():
        rows.append(("ratio to best", table["ratio"], True))
    return [[Cell(title), *_mark_best(column, lower)] for title, column, lower in rows]


def _mark_best(column: "pd.Series[float]", lower: bool) -> list[Cell]:
    best = column.min() if lower else column.max()
    return [
        Cell() if math.isnan(value) else Cell(f"{value:.3g}", mark="best" if value == best else "")
        for value in column
    ]


def _write_boards_markdown(boards: Sequence[Board], notes: Sequence[str]) -> bytes:
    sections = ["# Contenders over data sets"]
    for board in boards:
        sections += [f"## {board.table.title}", escape_markdown(board.answer)]
        sections.append(write_markdown_table(board.table))
    listed = "\n".join(f"- {escape_markdown(note)}" for note in notes)
    return ("\n\n".join(filter(None, [*sections, CAPTION, listed])) + "\n").encode()


def _write_boards_latex(boards: Sequence[Board], notes: Sequence[str]) -> bytes:
    answers = [f"{board.table.title}: {board.answer}" for board in boards]
    text = " ".join([*answers, CAPTION, LATEX, *(f"{note}." for note in notes)])
    parts = [write_latex_table(board.table) for board in boards]
    return latex.document(parts, text).encode()


def _write_boards_page(
    boards: Sequence[Board], result: Aggregate, plots: dict[str, bytes]
) -> bytes:
    rows = result.scores[["suite", "dataset", "folder"]].drop_duplicates()
    fids = result.scores[result.scores["metric"] == "fid"].drop_duplicates("suite")
    drawn = {board.metric: plots.get(f"{PLOT.format(board.metric)}.svg") for board in boards}
    return render_page(
        "aggregate.html",
        script="",
        boards=boards,
        suites=rows.to_dict("records"),
        extractors={
            r["suite"]: f"{r['extractor']}, {r['samples']:,} samples against {r['reference']}"
            for r in fids.to_dict("records")
        },
        data_sets=result.data_sets,
        pictures={m: embed_data(svg, "image/svg+xml") if svg else "" for m, svg in drawn.items()},
        caption=CAPTION,
        notes=result.notes,
    )


def show_aggregate(result: Aggregate, width: int) -> Group:
    """Lay the tables out for a terminal of `width` characters, in parts where they are wider."""
    parts: list[Any] = []
    for board in build_boards(result):
        parts += [*show_parts(board.table, width, stacked=True), Text(plain(board.answer)), Text()]
    notes = (Text(plain(note), style="dim") for note in (CAPTION, *result.notes))
    return Group(*parts, *notes)
