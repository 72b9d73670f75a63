"""Ranks of contenders: the agreement of metrics, and critical differences over data sets."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from scipy.stats import kendalltau

from benchmarks.analysis.audits import name_recipe
from benchmarks.analysis.columns import AGREEING
from benchmarks.analysis.frames import summarise_runs
from benchmarks.config.registry import list_metrics
from benchmarks.config.spec import CALIBRATION
from benchmarks.core.text import plain, shorten
from benchmarks.reporting.plots.drawing import (
    COLOURS,
    COLUMN,
    GREY,
    LABELS,
    PAGE,
    Margins,
    best,
    contenders,
    label,
    left_out,
    looks,
    name_grid,
    panel_figure,
    small,
    widest,
    write_note,
)
from benchmarks.reporting.plots.registry import plot, style
from benchmarks.reporting.plots.rows import mean_fids

RANKS = LinearSegmentedColormap.from_list("ranks", ["#56A0D3", "#FFFFFF"])


@plot(
    "runs",
    section="quality",
    heading="Do the scores agree?",
    caption="Each model's rank by FID with every extractor, and by other scores. Framed: in a pair"
    " whose order is reversed compared with FID.",
)
def draw_agreement(frame: pd.DataFrame, *, paper: bool = False) -> Figure | None:
    """Ranks of the contenders of `Frames.runs` by metrics and extractors, the best by FID on top.

    Cells have the rank of the mean over seeds, and how many places that is above or below the rank
    by FID. Under each column: Kendall's τ with FID, and how many pairs are the other way round.
    Cells of contenders in such a pair are framed.
    """
    runs = frame[frame["family"] != CALIBRATION]
    fids = mean_fids(runs)
    everybody = [name for name in contenders(runs) if name in fids]
    shown = sorted(best(everybody, fids, LABELS), key=lambda name: fids[name])
    values = _tabulate_means(runs[runs["contender"].isin(shown)], shown)
    if min(values.shape) < 2:
        return None
    labels = [label(name, paper=paper) for name in values.index]
    note = "rank by the mean over seeds; framed: in a pair of the reverse order by FID"
    note = "" if paper else note + left_out(everybody, LABELS)
    names = (str(metric) for metric in values)
    headings = [
        f"FID, {shorten(plain(name_recipe(name.removeprefix('fid@'))), 24)}"
        if name.startswith("fid@")
        else list_metrics()[name].about["symbol"]
        for name in names
    ]
    figure, axes = _make_grid(labels, headings, note, paper=paper)
    ranks = values.rank(method="min").to_numpy(dtype=float)
    axes.imshow((ranks - 1) / (len(values) - 1), cmap=RANKS, vmin=0, vmax=1, aspect="auto")
    for place in range(values.shape[1]):
        _draw_rank_column(axes, values.iloc[:, 0], values.iloc[:, place], place)
    text = "Kendall’s τ with FID\nreversed pairs"
    at = {"ha": "right", "va": "top", "transform": axes.transData}
    write_note(axes, -0.62, len(labels) - 0.4, text, **at)
    return figure


def _tabulate_means(runs: pd.DataFrame, names: list[str]) -> pd.DataFrame:
    """Return means over seeds, a column a metric: FID first, negative if high is good.

    Metrics that only one has are left out.
    """
    others = [str(column) for column in runs if str(column).startswith("fid@")]
    columns = dict[str, pd.Series]()
    for metric in ("fid", *others, *AGREEING):
        means = {name: interval.value for name, interval in summarise_runs(runs, metric).items()}
        higher = metric in AGREEING and list_metrics()[metric].about["direction"] == "higher"
        columns[metric] = pd.Series(means, index=names, dtype=float) * (-1 if higher else 1)
    return pd.DataFrame(columns).dropna(axis="columns", thresh=2)


def _make_grid(
    rows: Sequence[str], columns: Sequence[str], note: str, *, paper: bool
) -> tuple[Figure, Axes]:
    """Make axes for a cell a number, with names on the left and slanting names above."""
    side = max(widest(rows, small()), widest(["Kendall’s τ with FID"], small())) + 0.25
    slanted = [math.sqrt(0.5) * widest([text], small()) for text in columns]
    margins = Margins(side, max(0.1, slanted[-1] - 0.1), max(slanted) + 0.25, 0.38)
    wide, high = 0.62 * len(columns), (0.2 if paper else 0.27) * len(rows)
    if paper:
        room = PAGE - side - margins.right
        wide = min(room, max(0.42 * len(columns), COLUMN - side - margins.right))
    figure, (axes,) = panel_figure((1, 1), (wide, high), margins, note=note)
    name_grid(axes, range(len(columns)), columns, range(len(rows)), rows)
    return figure, axes


def _draw_rank_column(axes: Axes, fids: pd.Series, values: pd.Series, place: int) -> None:
    """Fill a column of the heat map with the ranks of those that have a value."""
    rows = np.flatnonzero(values.notna())
    pair = pd.DataFrame({"fid": fids.iloc[rows], "other": values.iloc[rows]})
    by_fid, by_other = pair.rank(method="min").to_numpy(dtype=int).T
    turned = np.subtract.outer(by_fid, by_fid) * np.subtract.outer(by_other, by_other) < 0
    flips = turned.sum() // 2
    style: dict[str, Any] = {"ha": "center", "fontsize": small()}
    for i, row in enumerate(rows):
        up = by_fid[i] - by_other[i]
        shift = f" {'▲' if up > 0 else '▼'}{abs(up)}" if up else ""
        axes.text(place, float(row), f"{by_other[i]}{shift}", va="center", **style)
        if turned[i].any():
            at = (place - 0.47, row - 0.44)
            axes.add_patch(Rectangle(at, 0.94, 0.88, fill=False, lw=0.9, edgecolor=COLOURS[1]))
    if place:
        agreement = kendalltau(by_fid, by_other).statistic
        shown = "–" if math.isnan(agreement) else f"{agreement:.2f}"
        text = f"{shown}\n{flips}/{math.comb(len(rows), 2)}"
        colour = COLOURS[1] if flips else GREY
        axes.text(place, len(fids) - 0.4, text, va="top", color=colour, **style)


def draw_critical_difference(ranks: pd.DataFrame, cd: float) -> Figure:
    """Draw mean ranks over data sets, 1 the best; bars join those less than `cd` ranks apart.

    Source: Demšar (2006), "Statistical Comparisons of Classifiers over Multiple Data Sets", JMLR
    7, figure 1.
    """
    ranks = ranks.sort_values("rank", kind="stable")
    with style(paper=False):
        values, look = ranks["rank"].to_numpy(dtype=float), looks(ranks["contender"])
        labels = [label(str(name)) for name in ranks["contender"]]
        colours = [look[name].colour for name in ranks["contender"]]
        bars = join_ranks(values, cd)
        half = math.ceil(len(values) / 2)
        line, side = 1.6 * small() / 72, widest(labels, small()) + 0.25
        width = 3.2
        down = line * (3.2 + half) + 0.09 * (1 + len(bars))
        figure = Figure(figsize=(width + 2 * side, down))
        axes = figure.add_axes((side / (width + 2 * side), 0, width / (width + 2 * side), 1))
        last = max(len(values), 2)
        axes.set(xlim=(1, last), ylim=(-down + 2.6 * line, 2.6 * line))
        axes.axis("off")
        _draw_ruler(axes, last, cd, line, labels=int(width / 0.35))
        pad = 0.012 * (last - 1)
        for place, (low, high) in enumerate(bars, 1):
            ends, level = [low - pad, high + pad], -0.09 * place
            axes.plot(ends, [level, level], color="black", lw=2.4, solid_capstyle="butt")
        top = 0.09 * (1 + len(bars))
        for i, (value, name, colour) in enumerate(zip(values, labels, colours, strict=True)):
            left = i < half
            level = -top - line * (0.5 + (i if left else len(values) - 1 - i))
            across = 1 + (-0.01 if left else 1.01) * (last - 1)
            path = [value, value, across], [0, level, level]
            axes.plot(*path, color=colour, lw=0.9, clip_on=False)
            text: dict[str, Any] = {"ha": "right" if left else "left", "va": "center"}
            axes.text(across, level, f" {name} ", color=colour, fontsize=small(), **text)
        return figure


def join_ranks(values: Sequence[float] | np.ndarray, cd: float) -> list[tuple[float, float]]:
    """Return the ends of each largest group of ascending ranks less than `cd` apart."""
    bars = list[tuple[float, float]]()
    for i, low in enumerate(values):
        high = max(value for value in values[i:] if value == low or value - low < cd)
        if high > low and (not bars or high > bars[-1][1]):
            bars.append((float(low), float(high)))
    return bars


def _draw_ruler(axes: Axes, last: int, cd: float, line: float, *, labels: int) -> None:
    """Draw the ranks from 1 to `last` with at most so many labels, and the critical difference."""
    axes.plot([1, last], [0, 0], color="black", lw=0.9)
    every = math.ceil(last / max(2, labels))
    for rank in range(1, last + 1):
        axes.plot([rank, rank], [0, 0.06], color="black", lw=0.9, clip_on=False)
        if (rank - 1) % every == 0:
            axes.text(rank, 0.08, str(rank), ha="center", va="bottom", fontsize=small())
    end = min(1 + cd, last)
    level = 1.6 * line
    axes.plot([1, end], [level, level], "|-", color="black", lw=0.9, clip_on=False)
    text = f"critical difference {cd:.2f}"
    axes.text(1, level + 0.05, text, ha="left", va="bottom", fontsize=small())
