"""Plots of an audit: a heat map of the verdicts, and each fault's ladder."""

import io
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import FuncFormatter, NullLocator
from PIL import Image

from benchmarks.analysis.audits import Audit
from benchmarks.reporting.audits import (
    Block,
    VerdictCell,
    brief,
    group_faults,
    label_levels,
    lay_out_verdicts,
    name_extractor,
)
from benchmarks.reporting.plots.drawing import (
    GREY,
    Look,
    Margins,
    look,
    name_grid,
    name_right,
    panel_figure,
    show_tick,
    small,
    widest,
)
from benchmarks.reporting.plots.registry import save, style

Groups = Sequence[tuple[str, list[dict[str, Any]]]]
"""Aspects, each with its faults."""
Courses = dict[str, "pd.Series[float]"]
"""By metric, what is drawn of it by level."""
HEATMAP = "heatmap"
HUES, DPI = 48, 120
"""Colours of a ladder's picture, and pixels an inch."""
FILLS = {
    "sees": ("#0072B2", "#CFE3F0"),
    "sees late": ("#8CCBF0", "#E6F3FB"),
    "blind": ("#FFFFFF", "#FFFFFF"),
    "misled": ("#E8743B", "#FBE3D8"),
    "undecided": ("#DDDDDD", "#F4F4F4"),
}
"""Colours of cells, which differ in lightness too, and where nothing is claimed."""
BROKEN = "#FFD9A8"
"""A cell that is blind to what the metric claims to see."""
INK, FAINT = "#111111", "#BBBBBB"
CELL, ROW = 0.43, 0.25
"""Inches that a cell is wide, and that a row is high."""
GAP = 0.3
"""Between groups of rows or columns, in cells."""
LINEAR = 2.0
"""Floor deviations within which the axis of a ladder is linear: about the floor's 95 %."""
HIGHEST = 1e6
"""Floor deviations at which the axis of a ladder ends."""
LEGEND = {
    "sees": VerdictCell("sees", "sees", True),
    "sees late": VerdictCell("sees late", "sees", True),
    "blind": VerdictCell("blind", "", True),
    "misled": VerdictCell("misled", "sees", None),
    "undecided": VerdictCell("undecided", "sees", None),
    "framed: claims to see it": VerdictCell("sees", "sees", True),
    "dotted: claims to ignore it": VerdictCell("blind", "ignores", True),
    "pale: no claim": VerdictCell("sees", "", False),
    "thick, !: fails its claim": VerdictCell("blind", "sees", False),
}
"""The key to the heat map."""
NOTE = (
    "Mean over repetitions in standard deviations of what undamaged sets score, worse upwards;"
    " grey: two of them, where about 95 % of undamaged sets fall; ring: beyond the floor from here"
    " on; at the edge: a floor without spread. Image by image: from the best to the worst value of"
    " the ladder."
)


def render_audit(audit: Audit) -> dict[str, bytes]:
    """Draw all plots of an audit: file name, such as `heatmap.svg` or `blur.png`, to content.

    `heatmap` is that of the first extractor, `heatmap_all` of all of them.
    """
    maps = {
        HEATMAP: draw_heatmap(audit, extractor=audit.about["extractors"][0]),
        f"{HEATMAP}_all": draw_heatmap(audit),
    }
    files = {f"{n}.{kind}": save(f, kind) for n, f in maps.items() if f for kind in ("png", "svg")}
    ladders = {fault["name"]: draw_ladder(audit, fault["name"]) for fault in audit.about["faults"]}
    return files | {f"{n}.png": save_thinly(f) for n, f in ladders.items() if f}


def save_thinly(figure: Figure) -> bytes:
    """Return a PNG of fewer pixels and colours, so that a page of many plots stays small."""
    image, file = Image.open(io.BytesIO(save(figure, "png", dpi=DPI))), io.BytesIO()
    thin = image.convert("RGB").quantize(HUES, dither=Image.Dither.NONE)
    thin.save(file, "PNG", optimize=True, dpi=(DPI, DPI))
    return file.getvalue()


def draw_heatmap(audit: Audit, *, extractor: str | None = None) -> Figure | None:
    """Draw the verdicts, under one extractor or all: metrics in rows, faults in columns.

    Each cell has the sign of its verdict; it is full and framed where the metric claims to see
    the fault or to ignore it, and the frame is thick and the sign has an exclamation mark where it
    does not. None where there are no verdicts.
    """
    blocks = lay_out_verdicts(audit, None if extractor is None else [extractor])
    if not blocks:
        return None
    with style(paper=False):
        return _draw_heatmap(blocks, group_faults(audit))


def _draw_heatmap(blocks: Sequence[Block], groups: Groups) -> Figure:
    titles = [brief(fault["title"]) for _, faults in groups for fault in faults]
    names = [brief(line.metric["symbol"]) for block in blocks for line in block.lines]
    heads = [brief(block.title) for block in blocks]
    order = [(fault["name"], gaps) for gaps, (_, own) in enumerate(groups) for fault in own]
    across = {name: place + GAP * gaps for place, (name, gaps) in enumerate(order)}
    down, above = _rows(blocks)
    wide, high = max(across.values()) + 1, max(down.values()) + 0.5
    side = max(widest(names, small()), widest(heads, small()) - 0.3) + 0.2
    slanted = [math.sqrt(0.5) * widest([title], small()) for title in titles]
    right = max(width - CELL * (len(titles) - 1 - i) for i, width in enumerate(slanted)) + 0.1
    right = max(right, 0.1)
    key = _place_key((side + right) / CELL + wide)
    below = ROW * (key[-1][1] + 0.7)
    margins = Margins(side, right, max(slanted) + 0.2, below + 0.3)
    figure, (axes,) = panel_figure((1, 1), (CELL * wide, ROW * (high + 0.5)), margins)
    axes.set(xlim=(-0.5, wide - 0.5), ylim=(high, -0.5))
    name_grid(axes, [*across.values()], titles, [*down.values()], names)
    axes.tick_params(pad=2)
    for place, heading in zip(above, heads, strict=True):
        _write(axes, (0, place), (4 - 72 * side, 0), heading, ha="left", va="center")
    for block in blocks:
        for line in block.lines:
            for fault, found in line.cells.items():
                spot = across[fault], down[block.extractor, line.metric["name"]]
                _draw_cell(axes, spot, found)
    for aspect, faults in groups:
        first, last = (across[faults[end]["name"]] for end in (0, -1))
        axes.plot((first - 0.42, last + 0.42), (high, high), color=GREY, lw=1, clip_on=False)
        place = (first + last) / 2 or 1e-9
        _write(axes, (place, high), (0, -4), aspect, ha="center", va="top")
    _explain_cells(figure, key, below / ROW)
    return figure


def _rows(blocks: Sequence[Block]) -> tuple[dict[tuple[str, str], float], list[float]]:
    """Return the places of rows by extractor and metric, and of each extractor's heading."""
    places: dict[tuple[str, str], float] = {}
    headings, y = list[float](), 0.0
    for block in blocks:
        headings.append(y)
        for line in block.lines:
            y += 1
            places[block.extractor, line.metric["name"]] = y
        y += 1 + GAP
    return places, headings


def _write(
    axes: Axes, at: tuple[float, float], offset: tuple[float, float], text: str, **how: Any
) -> None:
    """Write grey words some points from a place in cells; `at[0]` 0 is the left edge."""
    where = ("data" if at[0] else "axes fraction"), "data"
    how |= {"color": GREY, "fontsize": small()}
    axes.annotate(text, at, xytext=offset, xycoords=where, textcoords="offset points", **how)


def _draw_cell(axes: Axes, place: tuple[float, float], cell: VerdictCell | None) -> None:
    """Draw a cell around a place; one that was not measured is a dash."""
    sign: dict[str, Any] = {"ha": "center", "va": "center", "fontsize": small() + 1}
    if cell is None:
        axes.text(*place, "–", color=FAINT, **sign)
        return
    corner = place[0] - 0.44, place[1] - 0.42
    fill = FILLS[cell.verdict][not cell.promise]
    if cell.broken and cell.verdict == "blind":
        fill = BROKEN
    frame: dict[str, Any] = {"edgecolor": INK if cell.promise else FAINT}
    frame["linewidth"] = 2.2 if cell.broken else 0.9 if cell.promise else 0.5
    frame["linestyle"] = ":" if cell.promise == "ignores" and not cell.broken else "-"
    axes.add_patch(Rectangle(corner, 0.88, 0.84, facecolor=fill, clip_on=False, **frame))
    white = cell.promise and cell.verdict == "sees"
    sign |= {"color": "white" if white else INK}
    axes.text(*place, cell.sign, fontweight="bold" if cell.broken else "normal", **sign)


def _place_key(width: float) -> list[tuple[float, float]]:
    """Return the place of each entry of the key, in cells, in as many lines as a width needs."""
    places, x, y = list[tuple[float, float]](), 0.6, 0.5
    for words in LEGEND:
        room = 1.5 + widest([words], small()) / CELL
        if places and x + room - 0.7 > width:
            x, y = 0.6, y + 1
        places.append((x, y))
        x += room
    return places


def _explain_cells(figure: Figure, key: Sequence[tuple[float, float]], high: float) -> None:
    """Draw a key at the foot, `high` rows high: a cell of each kind and what it means."""
    axes = figure.add_axes((0, 0, 1, 1), frameon=False)
    across, bottom = figure.get_figwidth() / CELL, figure.axes[0].get_position().y0
    axes.set_position((0, 0, 1, bottom - 0.3 / figure.get_figheight()))
    axes.set(xlim=(0, across), ylim=(high, 0), xticks=[], yticks=[])
    axes.grid(visible=False)
    for (x, y), (words, shown) in zip(key, LEGEND.items(), strict=True):
        _draw_cell(axes, (x, y), shown)
        axes.text(x + 0.6, y, words, va="center", color=GREY, fontsize=small())


def draw_ladder(audit: Audit, fault: str) -> Figure | None:
    """Draw each metric against the level of a fault, a panel an extractor; None without values.

    Upwards is worse, in standard deviations of the floor, that is of what sets of undamaged images
    score; the ring is where a metric is beyond the floor for good. Metrics of pairs, whose floor
    has no spread, are drawn from their best to their worst value on the ladder.
    """
    (about,) = (known for known in audit.about["faults"] if known["name"] == fault)
    curves = audit.curves[(audit.curves["fault"] == fault) & (audit.curves["size"] == "full")]
    courses = {e: _courses(audit, curves, e) for e in [*audit.about["extractors"], ""]}
    courses = {extractor: found for extractor, found in courses.items() if found}
    if not courses:
        return None
    with style(paper=False):
        return _draw_ladder(audit, about, courses)


def _courses(audit: Audit, curves: pd.DataFrame, extractor: str) -> Courses:
    """Return the values of each metric under an extractor, by level."""
    found: Courses = {}
    for metric in audit.about["metrics"]:
        rows = curves[(curves["extractor"] == extractor) & (curves["metric"] == metric["name"])]
        rows = rows.sort_values("level").set_index("level")
        values = rows["excess"] if extractor else _spread(rows["mean"], metric["direction"])
        if values.notna().any():
            found[metric["name"]] = values.dropna()
    return found


def _spread(values: pd.Series, direction: str) -> pd.Series:
    """Scale a ladder from its best to its worst value to 0 to 1; NaN where all are the same."""
    worse = values.astype(float) * (1 if direction == "lower" else -1)
    worse = worse.where(np.isfinite(worse))
    span = worse.max() - worse.min()
    return (worse - worse.min()) / (span if span > 0 else math.nan)


def _draw_ladder(audit: Audit, fault: Mapping[str, Any], courses: Mapping[str, Courses]) -> Figure:
    names = {metric["name"]: brief(metric["symbol"]) for metric in audit.about["metrics"]}
    seen = {name: look(place) for place, name in enumerate(names)}
    labels = label_levels(fault)
    columns = min(len(courses), 2)
    room = widest([names[m] for found in courses.values() for m in found], small()) + 0.45
    most = max(map(len, courses.values()))
    below = math.sqrt(0.5) * widest(labels, small()) + 0.4
    margins = Margins(0.65, room, 0.3, below, room + 0.55, below + 0.35)
    high = max(2.4, 1.5 * small() / 72 * most)
    shape = math.ceil(len(courses) / columns), columns
    figure, panels = panel_figure(shape, (3.5, high), margins, note=NOTE)
    # The ends of the axis that all extractors share; infinite values are at an end.
    shared = [c for extractor, found in courses.items() if extractor for c in found.values()]
    values = np.concatenate([[0.0], *shared])
    known = values[np.isfinite(values)].clip(-HIGHEST, HIGHEST)
    limits = min(-2 * LINEAR, 1.5 * known.min()), max(5 * LINEAR, 1.5 * known.max())
    rows = audit.verdicts[audit.verdicts["fault"] == fault["name"]]
    rings = rows.set_index(["metric", "extractor"])["threshold"].astype(float)
    for axes, (extractor, found) in zip(panels, courses.items(), strict=False):
        axes.set_title(name_extractor(extractor), loc="left")
        axes.set_xticks(range(len(labels)), labels, rotation=45, ha="right", rotation_mode="anchor")
        axes.set_xlim(-0.2, len(labels) - 0.8)
        _set_scale(axes, limits if extractor else None)
        for metric, course in found.items():
            _draw_course(axes, course, seen[metric], rings.get((metric, extractor), math.nan))
        ends = {names[m]: float(np.clip(c.iloc[-1], *axes.get_ylim())) for m, c in found.items()}
        name_right(axes, ends, {names[m]: seen[m].colour for m in found}, high, paper=False)
    for axes in panels[len(courses) :]:
        axes.remove()
    return figure


def _set_scale(axes: Axes, limits: tuple[float, float] | None) -> None:
    """Scale an axis of floor deviations, linear within and logarithmic beyond; None for shares."""
    if limits is None:
        axes.set(ylim=(-0.06, 1.06), ylabel="from best to worst")
        return
    axes.set_yscale("symlog", linthresh=LINEAR, linscale=0.6)
    axes.set(ylim=limits, ylabel="worse by floor deviations")
    decades = [10.0**k for k in range(1, 7)]
    axes.set_yticks([-v for v in reversed(decades)] + [-LINEAR, 0, LINEAR, *decades])
    axes.set_ylim(limits)
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(show_tick))
    axes.axhspan(-LINEAR, LINEAR, color="0.9", lw=0, zorder=0)


def _draw_course(axes: Axes, course: pd.Series, seen: Look, threshold: float) -> None:
    """Draw a metric's line over the levels, ringed where it is beyond the floor for good."""
    values = course.clip(*axes.get_ylim())
    marks: dict[str, Any] = {"color": seen.colour, "marker": seen.marker, "ms": 3}
    axes.plot(values.index, values, seen.line, clip_on=False, **marks)
    if threshold in values.index:
        ring: dict[str, Any] = {"ms": 9, "mfc": "none", "mew": 1.4, "clip_on": False}
        axes.plot([threshold], [values[threshold]], "o", color=seen.colour, **ring)
