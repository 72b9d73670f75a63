"""A table as people read it, and its writers for terminals, Markdown and LaTeX.

The writer for HTML is the macro `numbers` of `page/templates/macros.html`.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from rich import box
from rich.cells import cell_len
from rich.table import Table as RichTable
from rich.text import Text

from benchmarks.core.text import escape_latex, escape_markdown, join_cells, plain, shorten
from benchmarks.reporting import latex
from benchmarks.reporting.latex import Mark

ARROWS = {"lower": " ↓", "higher": " ↑", "": ""}
STYLES = {
    "best": "bold green",
    "second": "underline",
    "better": "bold green",
    "worse": "bold red",
    "": "",
}
PLAIN = "not bold not underline"
PROSE = 18
"""Characters before a terminal's cell of words wraps."""
NAME = 16
"""Characters of a row's name that a terminal's tables leave room for."""
LONGEST = 20
"""Characters of a heading in a terminal."""


@dataclass(frozen=True)
class Cell:
    """A cell of a table.

    Attributes:
        text: the value as it is shown; empty where there is none.
        value: the value itself, by which the page sorts.
        bounds: its interval as it is shown, `[1.2, 3.4]`.
        mark: how it stands among those that it competes with.
        note: words behind it, such as its rank.
        tip: all that the page explains of it.
    """

    text: str = ""
    value: Any = None
    interval: tuple[float, float] | None = None
    bounds: str = ""
    mark: Mark = ""
    note: str = ""
    tip: str = ""

    @property
    def best(self) -> bool:
        """Whether it is the best of those that it competes with."""
        return self.mark == "best"


@dataclass(frozen=True)
class Head:
    """The heading of a column.

    Attributes:
        better: `lower` or `higher`, where either is better.
        left: whether its cells are aligned to the left.
        prose: whether its cells are words, which may wrap in a terminal.
        tip: all that the page explains of it.
        definition: what it is.
        audit: what the audit of its scores failed for.
    """

    text: str
    better: str = ""
    left: bool = False
    prose: bool = False
    tip: str = ""
    definition: str = ""
    audit: str = ""

    @property
    def title(self) -> str:
        """Its name with an arrow towards the better values."""
        return self.text + ARROWS[self.better]

    @property
    def align(self) -> Literal["left", "right"]:
        """Where its cells are aligned to, in a terminal and in LaTeX."""
        return "left" if self.left or self.prose else "right"


@dataclass(frozen=True)
class Table:
    """Groups of rows under a header, a rule between groups; the first cell of a row is its name."""

    title: str
    header: Sequence[Head]
    groups: Sequence[Sequence[Sequence[Cell]]]

    @property
    def rows(self) -> list[Sequence[Cell]]:
        """The rows of all groups."""
        return [row for group in self.groups for row in group]

    def select(self, places: Sequence[int]) -> "Table":
        """Return the names with the columns at some places.

        Rows are left out that are empty there; where columns are ranked, those beyond the first
        group that have nothing there that can be ranked.
        """
        ranked = any(head.better for head in self.header)
        scored = [i for i in places if self.header[i].better or not ranked]
        kept = [0, *places]
        groups = [
            [
                [row[i] for i in kept]
                for row in group
                if (ranked and group is self.groups[0]) or any(row[i].text for i in scored)
            ]
            for group in self.groups
        ]
        return replace(self, header=[self.header[i] for i in kept], groups=groups)


def write_markdown_table(table: Table) -> str:
    """Write a table in Markdown, marked cells in bold, without its title."""
    header = [escape_markdown(head.title) for head in table.header]
    rule = ["---" if head.left else "---:" for head in table.header]
    rows = [join_cells(map(_write_markdown_cell, row)) for row in table.rows]
    return "\n".join([join_cells(header), join_cells(rule), *rows])


def _write_markdown_cell(cell: Cell) -> str:
    text = escape_markdown(cell.text)
    strong = f"**{text}**" if cell.mark not in {"", "second"} else text
    return " ".join(filter(None, (strong, cell.bounds, cell.note)))


def write_latex_table(table: Table) -> str:
    """Write a table in LaTeX, the best in bold, the second underlined; see `latex.tabulars`."""
    alignment = "".join(head.align[0] for head in table.header)
    header = [escape_latex(head.title) for head in table.header]
    groups = [
        [[escape_latex(row[0].text), *map(_write_latex_cell, row[1:])] for row in group]
        for group in table.groups
    ]
    return latex.tabulars(escape_latex(table.title), alignment, header, groups)


def _write_latex_cell(cell: Cell) -> str:
    if cell.interval:
        value = latex.quantity(cell.value, *cell.interval, cell.mark)
    else:
        value = latex.number(cell.text, cell.mark)
    return f"{value} {cell.note}".strip()


def show_table(table: Table, *, stacked: bool = False) -> RichTable:
    """Lay out a table for a terminal, whatever its width; `stacked`, intervals below values."""
    title = plain(table.title) or None
    shown = RichTable(title=title, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for head in table.header:
        shown.add_column(Text(plain(head.text)), justify=head.align)
    for group in filter(None, table.groups):
        if shown.row_count:
            shown.add_section()
        for row in group:
            shown.add_row(*(show_cell(cell, stacked=stacked) for cell in row))
    return shown


def show_parts(table: Table, width: int, *, stacked: bool = False) -> Iterator[RichTable]:
    """Lay out a table for a terminal of some width, in parts that leave room for its names.

    Only cells of words wrap; names give way by their middle, and so do intervals that find no room.
    """
    longest = max((cell_len(plain(row[0].text)) for row in table.rows), default=0)
    room = width - 4 - min(longest, LONGEST if stacked else NAME)
    widths = []
    for place in range(1, len(table.header)):
        widths.append(_measure_column(table, place, stacked=stacked))
        if widths[-1] + 2 > room:
            table = _drop_intervals(table, place)
            widths[-1] = _measure_column(table, place, stacked=stacked)
    for number, places in enumerate(_split_columns(widths, room)):
        names = max(8, width - 4 - sum(widths[place - 1] + 2 for place in places))
        title = f"{table.title} (continued)" if number else table.title
        part = replace(table.select(places), title=title)
        heads = [replace(h, text=shorten(plain(h.text), LONGEST)) for h in part.header]
        groups = [
            [[replace(own, text=shorten(plain(own.text), names)), *row] for own, *row in group]
            for group in part.groups
        ]
        shown = show_table(replace(part, header=heads, groups=groups), stacked=stacked)
        for column, place in zip(shown.columns[1:], places, strict=True):
            column.width = widths[place - 1]
        yield shown


def _measure_column(table: Table, place: int, *, stacked: bool) -> int:
    """Return how many characters a column takes."""
    cells = [show_cell(row[place], stacked=stacked) for row in table.rows]
    lines = [line for cell in cells for line in cell.plain.split("\n")]
    head = table.header[place]
    widest = max(map(cell_len, [shorten(plain(head.text), LONGEST), *lines]))
    return min(widest, PROSE) if head.prose else widest


def _split_columns(widths: Sequence[int], room: int) -> list[list[int]]:
    """Return the places of the columns that stand side by side in each part."""
    parts: list[list[int]] = [[]]
    left = room
    for place, width in enumerate(widths, 1):
        if parts[-1] and width + 2 > left:
            parts.append([])
            left = room
        parts[-1].append(place)
        left -= width + 2
    return parts


def _drop_intervals(table: Table, place: int) -> Table:
    groups = [
        [[*row[:place], replace(row[place], bounds=""), *row[place + 1 :]] for row in group]
        for group in table.groups
    ]
    return replace(table, groups=groups)


def show_cell(cell: Cell, *, stacked: bool = False) -> Text:
    """Return a cell for a terminal, the best starred."""
    text = Text(plain(cell.text) + "*" * cell.best, style=STYLES[cell.mark])
    note = (f" {cell.note}" if cell.note else "", f"{PLAIN} default")
    separator = "\n" if stacked else " "
    bounds = (f"{separator}{cell.bounds}" if cell.bounds else "", f"{PLAIN} dim default")
    return text.append_tokens([note, bounds] if stacked else [bounds, note])
