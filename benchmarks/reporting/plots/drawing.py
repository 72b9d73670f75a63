"""The common parts of plots: a contender's look, names, scales, panels, and who is shown."""

import functools
import math
import re
import textwrap
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple, cast

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.axis import Axis, XAxis
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.textpath import TextPath
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator
from scipy.optimize import isotonic_regression

from benchmarks.config.registry import list_metrics
from benchmarks.core.text import plain, shorten
from benchmarks.reporting.plots.registry import STYLES

_STYLE = mpl.rc_params_from_file(STYLES[0], use_default_template=False)
COLOURS: tuple[str, ...] = tuple(_STYLE["axes.prop_cycle"].by_key()["color"])
MARKERS = ("o", "s", "^", "D", "v", "P")
LINES = ("-", "--", ":", "-.")
LARGEST = 1e200
"""The largest number that an axis reaches: beyond it, matplotlib's own sums overflow."""
GREY = "0.45"
COLUMN, PAGE = 3.3, 6.9
"""Inches of a paper's column and of both."""
LONGEST, LONGEST_IN_PAPER = 60, 32
"""Characters of a contender's name that are shown; a suite's own names are no longer than 60."""
PANELS, LABELS, ROWS = 24, 40, 200
"""Contenders that are shown at most, in panels, by a label beside a plot or by a row: the best by
FID."""
FEW = 20
"""Seeds that are drawn one by one; of more, the middle 90 % as a band."""
BAND = (0.05, 0.95)


class Look(NamedTuple):
    """A contender's appearance in every plot."""

    colour: str
    marker: str
    line: str


def looks(names: pd.Series) -> dict[str, Look]:
    """Return each contender's look, by its place among the categories, shown or not."""
    return {name: look(place) for place, name in enumerate(_categories(names))}


def look(place: int) -> Look:
    """Return the look of the contender at a place of its suite."""
    return Look(
        COLOURS[place % len(COLOURS)],
        MARKERS[(place + place // len(COLOURS)) % len(MARKERS)],
        LINES[place // len(COLOURS) % len(LINES)],
    )


def contenders(frame: pd.DataFrame) -> list[str]:
    """List the contenders that a frame has rows of, in the suite's order."""
    present = set(frame["contender"])
    return [name for name in _categories(frame["contender"]) if name in present]


def _categories(names: pd.Series) -> list[str]:
    if isinstance(names.dtype, pd.CategoricalDtype):
        return list(names.cat.categories)
    return list(dict.fromkeys(names))


def by_contender(frame: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Return the rows of each contender that has any, in the suite's order."""
    parts = dict(iter(frame.groupby(frame["contender"].astype(object), sort=False)))
    return {name: parts[name] for name in contenders(frame)}


def best(names: Sequence[str], values: dict[str, float], limit: int) -> list[str]:
    """Return the `limit` names with the lowest values, in their order."""
    ranked = pd.Series(values, dtype=float).reindex(list(names)).sort_values(kind="stable")
    chosen = set(ranked.index[:limit])
    return [name for name in names if name in chosen]


def left_out(names: Sequence[str], limit: int) -> str:
    """Return a note on how many models are not shown, if there are too many."""
    more = len(names) - limit
    return f"; not shown: {more:,} more models, of higher FID or none" if more > 0 else ""


def label(name: str, *, paper: bool = False) -> str:
    """Return a contender's name as it is shown."""
    return shorten(plain(name), LONGEST_IN_PAPER if paper else LONGEST)


def show_direction(metric: str, *, paper: bool) -> str:
    """Return the direction to put after a metric's name: in words, or an arrow in a paper."""
    lower = list_metrics()[metric].about["direction"] == "lower"
    if paper:
        return " ↓" if lower else " ↑"
    return " (lower is better)" if lower else " (higher is better)"


def write_note(axes: Axes, x: float, y: float, text: str, **how: Any) -> None:
    """Write a small grey text at a place in axes, of which `how` may be another transform."""
    given: dict[str, Any] = {"transform": axes.transAxes, "color": GREY, "fontsize": small()}
    axes.text(x, y, text, **(given | how))


def shorten_reason(text: str | None) -> str:
    """Return a run's reason as it is shown."""
    return textwrap.shorten(plain(text or ""), 100, placeholder=" …")


def break_name(name: str, width: int) -> str:
    """Break a text into lines of at most `width` characters, after a space or sign if it can be."""
    lines = [""]
    for piece in re.findall(rf"[^\s_\-/.]{{0,{width - 1}}}[\s_\-/.]?|.", name):
        if len(lines[-1]) + len(piece) > width:
            lines.append("")
        lines[-1] += piece
    return "\n".join(line.strip() for line in lines)


def small() -> float:
    """Return the size of notes and labels in points."""
    return float(mpl.rcParams["legend.fontsize"])


@functools.cache
def text_width(text: str, points: float) -> float:
    """Return how many inches wide a line of text is."""
    font = FontProperties(family=mpl.rcParams["font.family"])
    return float(TextPath((0, 0), text, size=points, prop=font).get_extents().width) / 72


def widest(texts: Iterable[str], points: float) -> float:
    """Return the inches of the widest line among texts."""
    lines = (line for text in texts for line in text.splitlines() if line.strip())
    return max((text_width(line, points) for line in lines), default=0.0)


def set_scale(
    axis: Axis, values: Sequence[float], *, ticks: int = 6, positive: bool = False
) -> None:
    """Set an axis to plain numbers, logarithmic where positive values range over more than tenfold.

    It holds all values, or the `positive` ones alone, so that these may be on a logarithmic axis.
    """
    axes, letter = axis.axes, "x" if isinstance(axis, XAxis) else "y"
    values = [v for v in values if abs(v) <= LARGEST and (v > 0 or not positive)]
    low, high = min(values, default=0.0), max(values, default=0.0)
    if low > 0 and high > 10 * low:
        axes.set(**{f"{letter}scale": "log"})
        decades = math.log10(high / low)
        fitting = (s for s in ((1.0, 2.0, 5.0), (1.0, 3.0)) if len(s) * decades <= ticks)
        axis.set_major_locator(LogLocator(subs=next(fitting, (1.0,)), numticks=ticks))
        axis.set_minor_locator(NullLocator())
        pad = (high / low) ** 0.06
        ends = (low / pad, high * pad)
    else:
        steps = MaxNLocator(max(3, ticks - 1), steps=[1, 2, 2.5, 5, 10])
        axis.set_major_locator(steps if values else NullLocator())
        margin = 0.06 * (high - low) or 0.1 * abs(high) or 1.0
        ends = (low - margin, high + margin)
    axes.set(**{f"{letter}lim": ends})
    axis.set_major_formatter(FuncFormatter(show_tick))


def show_tick(value: float, _: int | None = None) -> str:
    """Show a number at an axis: up to four digits with a suffix."""
    for size, suffix in ((1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "K")):
        if abs(value) >= size:
            return f"{value / size:.4g}{suffix}"
    return f"{value:.4g}"


def fraction(axis: Axis, value: float) -> float:
    """Return where on an axis a value is: 0 at its lower and 1 at its upper end."""
    low, high, at = axis.get_transform().transform(np.array([*axis.get_view_interval(), value]))
    return float((at - low) / (high - low))


def inches(axes: Axes) -> float:
    """Return the width of axes in inches."""
    return float(axes.get_position().width * cast("Figure", axes.figure).get_figwidth())


def count_ticks(axes: Axes) -> int:
    """Return the number of ticks that a horizontal axis has room for."""
    return int(np.clip(inches(axes) / 0.5, 3, 6))


def name_right(
    axes: Axes, values: dict[str, float], colours: dict[str, str], height: float, *, paper: bool
) -> None:
    """Names on the right of axes `height` inches high, level with their values or led to them."""
    width = inches(axes)
    gap = 1.45 * small() / 72 / height
    order = sorted((n for n in values if math.isfinite(values[n])), key=lambda name: values[name])
    places = [fraction(axes.yaxis, values[name]) for name in order]
    for name, place, level in zip(order, places, spread_out(places, gap), strict=True):
        leader = {"arrowstyle": "-", "color": colours[name], "lw": 0.8, "alpha": 0.6}
        axes.annotate(
            label(name, paper=paper),
            xy=(1.0, place),
            xytext=(1 + 0.3 / width, level),
            xycoords="axes fraction",
            va="center",
            fontsize=small(),
            color=colours[name],
            arrowprops=leader | {"relpos": (0, 0.5), "shrinkA": 2, "shrinkB": 0},
            annotation_clip=False,
        )


def name_grid(
    axes: Axes,
    columns: Sequence[float],
    headings: Sequence[str],
    rows: Sequence[float],
    names: Sequence[str],
) -> None:
    """Name the columns of a grid above at a slant and its rows on the left, without axes."""
    axes.xaxis.tick_top()
    axes.set_xticks(columns, headings, rotation=45, ha="left", rotation_mode="anchor")
    axes.set_yticks(rows, names)
    axes.tick_params(length=0)
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)


def spread_out(places: Sequence[float], gap: float) -> list[float]:
    """Move ascending places of [0, 1] at least `gap` apart, as little as least squares can.

    Less `gap` times their rank, they have only to ascend: an isotonic regression.
    """
    if not places:
        return []
    steps = gap * np.arange(len(places))
    ascending = isotonic_regression(np.asarray(places) - steps).x
    return (ascending.clip(0, max(0.0, 1 - steps[-1])) + steps).tolist()


class Margins(NamedTuple):
    """Inches around and between panels."""

    left: float
    right: float
    top: float
    bottom: float
    across: float = 0.0
    down: float = 0.0


def panel_figure(
    shape: tuple[int, int],
    size: tuple[float, float],
    margins: Margins,
    *,
    sharey: bool = False,
    note: str = "",
) -> tuple[Figure, list[Axes]]:
    """Make rows and columns of panels of one size in inches, with a note below on reading them."""
    (rows, columns), (wide, high) = shape, size
    across = margins.left + columns * wide + (columns - 1) * margins.across + margins.right
    if note:
        fitting = 0.95 * (across - 0.2) / text_width(note, small())
        note = textwrap.fill(note, max(20, int(fitting * len(note))))
    below = margins.bottom + (1.4 * small() / 72 * (note.count("\n") + 1) if note else 0)
    down = below + rows * high + (rows - 1) * margins.down + margins.top
    figure = Figure(figsize=(across, down))
    grid = figure.add_gridspec(
        *(rows, columns),
        left=margins.left / across,
        right=1 - margins.right / across,
        bottom=below / down,
        top=1 - margins.top / down,
        wspace=margins.across / wide,
        hspace=margins.down / high,
    )
    if note:
        at: dict[str, Any] = {"ha": "center", "va": "bottom"}
        figure.text(0.5, 0.04 / down, note, color=GREY, fontsize=small(), **at)
    return figure, list(grid.subplots(sharey=sharey, squeeze=False).ravel())


def labelled_figure(
    names: Sequence[str], panels: int, width: float, *, paper: bool
) -> tuple[Figure, list[Axes], float]:
    """Make panels `width` inches wide with room for names on their right, and the panels' height.

    In a paper they fill a column, if there is room for the names beside a panel, or a page.
    """
    room = widest([label(name, paper=paper) for name in names], small()) + 0.4
    height = max((1.9 if panels == 1 else 2.2) if paper else 3.0, 1.5 * small() / 72 * len(names))
    margins = Margins(0.85, room, 0.3, 0.5, 0.3)
    if paper:
        margins = Margins(0.75, room, 0.12, 0.42, 0.3)
        across = COLUMN if panels == 1 and COLUMN - margins.left - room > 1.5 else PAGE
        width = (across - margins.left - room - 0.3 * (panels - 1)) / panels
    figure, axes = panel_figure((1, panels), (width, height), margins, sharey=True)
    return figure, axes, height
