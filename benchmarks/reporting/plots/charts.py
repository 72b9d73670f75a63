"""Charts of scores and costs, each a pure function of the frame of runs.

A contender keeps its colour, marker and line style in every plot, also in one of a part of a
frame. In the size for a paper a plot leaves out what its caption would say.
"""

import math
from collections import Counter
from collections.abc import Sequence
from itertools import chain
from typing import Any, cast

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.analysis.frames import scores_of_runs, summarise
from benchmarks.config.spec import CALIBRATION
from benchmarks.core.text import plain, shorten, show_number
from benchmarks.records.schema import EXTERNAL, SCORED
from benchmarks.reporting.plots.drawing import (
    BAND,
    COLUMN,
    FEW,
    GREY,
    LABELS,
    PAGE,
    ROWS,
    Look,
    Margins,
    best,
    break_name,
    contenders,
    count_ticks,
    fraction,
    inches,
    label,
    labelled_figure,
    left_out,
    looks,
    name_right,
    panel_figure,
    say_direction,
    set_scale,
    small,
    styled,
    widest,
)
from benchmarks.statistics import LOG_SCALE, SeedInterval, last_over_best

SCORES = {
    "fid": "FID",
    "inception_score": "Inception Score",
    "reconstruction_mse": "Reconstruction MSE",
}
VARIETY = {
    "precision": "Precision",
    "recall": "Recall",
    "density": "Density",
    "coverage": "Coverage",
}
COSTS = {
    "parameters": "parameters",
    "train_seconds": "training, seconds",
    "training_flops": "training, FLOPs",
}
TROUBLE = ("diverged", "collapsed", "failed")


@styled
def draw_scores(frame: pd.DataFrame, *, paper: bool = False) -> Figure | None:
    """FID, Inception Score and reconstruction error of `Frames.runs`, between floor and ceiling."""
    return _draw_metrics(frame, _having(frame, SCORES) or {"fid": "FID"}, paper=paper)


@styled
def draw_variety(frame: pd.DataFrame, *, paper: bool = False) -> Figure | None:
    """Precision, recall, density and coverage likewise, where anybody has them."""
    titles = _having(frame, VARIETY)
    return _draw_metrics(frame, titles, paper=paper) if titles else None


def _having(runs: pd.DataFrame, titles: dict[str, str]) -> dict[str, str]:
    return {m: title for m, title in titles.items() if m in runs and runs[m].notna().any()}


def _draw_metrics(runs: pd.DataFrame, titles: dict[str, str], *, paper: bool) -> Figure | None:
    """A panel a metric: each contender's value, interval and seeds, the floor and the ceiling."""
    everybody, look = _contenders(runs), looks(runs["contender"])
    shown = best(everybody, _fids(runs), ROWS)
    if not shown:
        return None
    counts = _count_statuses(runs)
    labels = [_row_label(name, counts[name], ("collapsed",), paper=paper) for name in shown]
    many = any(counts[name].total() > FEW for name in shown)
    note = (
        "large: mean over seeds (of FID and MSE geometric) with its 95 % interval; "
        f"{'bar: the middle 90 % of seeds' if many else 'small: single seeds'}; "
        f"features: {_features(runs)}{left_out(everybody, ROWS)}"
    )
    margins = Margins(0, 0.15, 0.42 if paper else 0.5, 0.25 if paper else 0.3)
    panels, places = _draw_rows(labels, len(titles), margins, paper=paper, note=note)
    calibration = contenders(runs[_calibrates(runs)])
    for axes, metric in zip(panels, titles, strict=True):
        scores, intervals = scores_of_runs(runs, metric), summarise(runs, metric)
        ends = list[float]()
        for name, place in zip(shown, places, strict=True):
            if name in scores:
                seeds = scores[name][:, 0].tolist()
                ends += _draw_score(axes, intervals[name], seeds, look[name], place)
            else:
                _note_row(axes, place, _why_none(counts[name]))
        lines = {name: intervals[name].value for name in calibration if name in intervals}
        positive = metric in LOG_SCALE and min(ends, default=0) > 0
        set_scale(axes.xaxis, [*ends, *lines.values()], ticks=count_ticks(axes), positive=positive)
        axes.set_title(titles[metric] + say_direction(metric, paper=paper), pad=14 if paper else 18)
        _draw_calibration(axes, lines)
    return _figure(panels)


def _figure(panels: Sequence[Axes]) -> Figure:
    return cast("Figure", panels[0].figure)


def _contenders(runs: pd.DataFrame) -> list[str]:
    return contenders(runs[~_calibrates(runs)])


def _trained(runs: pd.DataFrame) -> list[str]:
    """Those that were trained here, and have more to show than samples."""
    return contenders(runs[~runs["family"].isin([CALIBRATION, EXTERNAL])])


def _calibrates(runs: pd.DataFrame) -> pd.Series:
    return runs["family"] == CALIBRATION


def _fids(runs: pd.DataFrame) -> dict[str, float]:
    return {name: interval.value for name, interval in summarise(runs, "fid").items()}


def _count_statuses(runs: pd.DataFrame) -> dict[str, Counter[str]]:
    """How many runs of each contender are ok, diverged and so on, in the order of their first."""
    counts: dict[str, Counter[str]] = {name: Counter() for name in contenders(runs)}
    for name, status in zip(runs["contender"], runs["status"], strict=True):
        counts[name][status] += 1
    return counts


def _why_none(statuses: Counter[str]) -> str:
    """Why a contender has no score."""
    return "not scored" if set(statuses) & SCORED else next(iter(statuses))


def _features(runs: pd.DataFrame) -> str:
    known = runs["extractor"].dropna()
    return shorten(plain(str(known.iloc[0])), 60) if len(known) else "None"


def _row_label(name: str, counts: Counter[str], statuses: Sequence[str], *, paper: bool) -> str:
    """A contender's name, and how many of its runs went badly."""
    total = counts.total()
    notes = [f"{counts[s]:,}/{total:,} {s}" for s in statuses if counts[s]]
    return "\n".join([break_name(label(name, paper=paper), 32 if paper else 26), *notes])


def _draw_rows(
    labels: Sequence[str],
    panels: int,
    margins: Margins,
    *,
    paper: bool,
    lines: float = 2,
    note: str = "",
) -> tuple[list[Axes], list[float]]:
    """Panels with a row a label, in which one text line is 1 high; rows take at least `lines`.

    `margins` lack the room for the labels. In a paper the note is left out.
    """
    high = np.array([max(lines, text.count("\n") + 2) for text in labels])
    side = widest(labels, small()) + 0.2
    margins = margins._replace(left=side, across=0.15)
    across = (COLUMN if panels == 1 and side < 1.5 else PAGE) if paper else 11
    width = (across - side - margins.right - 0.15 * (panels - 1)) / panels
    size = (width, 1.35 * small() / 72 * (high.sum() + 0.4))
    shown = "" if paper else note
    _, axes = panel_figure((1, panels), size, margins, sharey=True, note=shown)
    places = high.cumsum() - high / 2
    axes[0].set(yticks=places, yticklabels=labels, ylim=(high.sum() + 0.2, -0.2))
    for panel in axes:
        panel.grid(visible=False, axis="y")
    return axes, places.tolist()


def _note_row(axes: Axes, place: float, text: str) -> None:
    at: dict[str, Any] = {"transform": axes.get_yaxis_transform(), "ha": "center", "va": "center"}
    axes.text(0.5, place, text, color=GREY, fontsize=small(), **at)


def _draw_score(
    axes: Axes, interval: SeedInterval, seeds: list[float], look: Look, place: float
) -> list[float]:
    """Draw a contender's mean, interval and seeds, and return all that the axis has to hold."""
    value, low, high = interval
    below = [place + 0.6] * len(seeds)
    axes.plot([low, high], [place, place], "-", color=look.colour, lw=2.2, alpha=0.55)
    axes.plot([value], [place], look.marker, color=look.colour, ms=7, mec="white", mew=0.8)
    if len(seeds) > FEW:
        seeds = np.quantile(seeds, BAND).tolist()
        axes.plot(seeds, below[:2], "-", color=look.colour, lw=4, alpha=0.35, solid_capstyle="butt")
    elif len(seeds) > 1:
        axes.plot(seeds, below, look.marker, color=look.colour, ms=3, alpha=0.6, ls="")
    return [x for x in (*interval, *seeds) if math.isfinite(x)]


def _draw_calibration(axes: Axes, values: dict[str, float]) -> None:
    """Vertical lines at the floor and the ceiling, named above the axes, together if they are near.

    What is zero or less stands at the end of a logarithmic axis, with its value.
    """
    named = list[tuple[float, str]]()
    for name, value in values.items():
        if value <= 0 and axes.get_xscale() == "log":
            named.append((0.0, f"{name} {value:g}"))
        else:
            axes.axvline(value, color=GREY, lw=1, ls=(0, (4, 3)), zorder=1)
            named.append((fraction(axes.xaxis, value), name))
    named.sort()
    if len(named) == 2 and (named[1][0] - named[0][0]) * inches(axes) < 0.5:
        named = [((named[0][0] + named[1][0]) / 2, f"{named[0][1]}, {named[1][1]}")]
    for place, text in named:
        edge = 0.3 if ", " in text else 0.05
        align = "left" if place < edge else "right" if place > 1 - edge else "center"
        at: dict[str, Any] = {"transform": axes.transAxes, "ha": align, "va": "bottom"}
        axes.text(place, 1.01, text, color=GREY, fontsize=small(), **at)


@styled
def draw_stability(frame: pd.DataFrame, *, paper: bool = False) -> Figure | None:
    """Each seed's last FID against its best checkpoint's by validation, of `Frames.runs`.

    Rows name how many runs diverged, collapsed or failed.
    """
    everybody, look = _trained(frame), looks(frame["contender"])
    shown = best(everybody, _fids(frame), ROWS)
    if not shown:
        return None
    counts, pairs = _count_statuses(frame), _pairs(frame)
    labels = [_row_label(name, counts[name], TROUBLE, paper=paper) for name in shown]
    most = max((len(pair) for pair in pairs.values() if len(pair) <= FEW), default=1)
    room = 0.55 * most
    many = any(counts[name].total() > FEW for name in shown)
    drawn = "the median seed, bars: the middle 90 %" if many else "a line a seed"
    note = f"open: best by validation; filled: last; {drawn}{left_out(everybody, ROWS)}"
    margins = Margins(0, 0.6, 0.25, 0.42 if paper else 0.5)
    lines = max(2, room)
    (axes,), places = _draw_rows(labels, 1, margins, paper=paper, lines=lines, note=note)
    for name, place in zip(shown, places, strict=True):
        if name in pairs:
            _draw_pairs(axes, pairs[name], look[name], place, room)
        else:
            _note_row(axes, place, _why_none(counts[name]))
    ends = [*chain(*(_shown_seeds(pairs[name]).ravel() for name in shown if name in pairs))]
    set_scale(axes.xaxis, ends, ticks=count_ticks(axes), positive=True)
    axes.set_xlabel(f"FID{say_direction('fid', paper=paper)}")
    at: dict[str, Any] = {"transform": axes.transAxes, "va": "bottom"}
    axes.text(1 + 0.06 / inches(axes), 1.0, "last/best", color=GREY, fontsize=small(), **at)
    return _figure([axes])


def _pairs(runs: pd.DataFrame) -> dict[str, np.ndarray]:
    """FID of the best and of the last checkpoint of each scored run: float [runs, 2]."""
    if "fid" not in runs:
        return {}
    known = runs[runs["fid"].notna()]
    values = known.reindex(columns=["fid_best", "fid"]).to_numpy(dtype=float)
    groups = known.groupby(known["contender"].astype(object), sort=False).indices
    return {str(name): values[rows] for name, rows in groups.items()}


def _shown_seeds(pairs: np.ndarray) -> np.ndarray:
    """The pairs themselves if they are few, else the ends of their band: float [rows, 2]."""
    if len(pairs) <= FEW:
        return pairs
    return np.quantile(_whole(pairs), BAND, axis=0)


def _whole(pairs: np.ndarray) -> np.ndarray:
    """The seeds that have both; where none has, those with the last alone."""
    whole = pairs[np.isfinite(pairs).all(axis=1)]
    return whole if len(whole) else pairs


def _draw_pairs(axes: Axes, pairs: np.ndarray, look: Look, place: float, room: float) -> None:
    """Draw a contender's seeds in a row `room` high, and beside it how much they have got worse."""
    shown = _shown_seeds(pairs)
    levels = place + room * ((np.arange(len(shown)) + 0.5) / len(shown) - 0.5)
    if len(pairs) > FEW:
        levels = place + np.array([-0.45, 0.45])
        for ends, level in zip(shown.T, levels, strict=True):
            bar: dict[str, Any] = {"lw": 4, "alpha": 0.35, "solid_capstyle": "butt"}
            axes.plot(ends, [level] * 2, color=look.colour, **bar)
        _draw_pair(axes, np.median(_whole(pairs), axis=0), levels, look)
    else:
        for pair, level in zip(shown, levels, strict=True):
            _draw_pair(axes, pair, np.array([level, level]), look)
    ratio = show_number(last_over_best(pairs[:, 1].tolist(), pairs[:, 0].tolist()))
    at: dict[str, Any] = {"transform": axes.get_yaxis_transform(), "va": "center"}
    axes.text(1 + 0.06 / inches(axes), place, ratio, color=GREY, fontsize=small(), **at)


def _draw_pair(axes: Axes, pair: np.ndarray, levels: np.ndarray, look: Look) -> None:
    """A line from the best checkpoint's FID, open, to the last one's, filled."""
    axes.plot(pair, levels, "-", color=look.colour, lw=1, alpha=0.6)
    axes.plot(pair[:1], levels[:1], look.marker, color=look.colour, ms=4, mfc="white", mew=0.9)
    axes.plot(pair[1:], levels[1:], look.marker, color=look.colour, ms=4, mew=0.9)


@styled
def draw_cost(frame: pd.DataFrame, *, paper: bool = False) -> Figure | None:
    """FID against parameters, training seconds and training FLOPs, of `Frames.runs`.

    Steps join the contenders of which none has both a lower FID and a lower cost. Names stand on
    the right.
    """
    table = _costs(frame)
    if table.empty:
        return None
    everybody, look = [str(name) for name in table.index], looks(frame["contender"])
    shown = best(everybody, dict(zip(everybody, table["value"], strict=True)), LABELS)
    table = table.loc[shown]
    fids = dict(zip(shown, table["value"].tolist(), strict=True))
    floor = {name: fid for name, fid in _fids(frame[_calibrates(frame)]).items() if name == "real"}
    figure, panels, height = labelled_figure([*shown, *floor], len(COSTS), 2.8, paper=paper)
    set_scale(
        panels[0].yaxis, [*table[list(SeedInterval._fields)].to_numpy().ravel(), *floor.values()]
    )
    for axes, cost in zip(panels, COSTS, strict=True):
        for name in shown:
            axes.axhline(fids[name], color=look[name].colour, lw=0.8, alpha=0.3)
        _draw_cost(axes, table.dropna(subset=[cost]), cost, look, count_ticks(axes))
        for value in floor.values():
            axes.axhline(value, color=GREY, lw=1, ls=(0, (4, 3)), zorder=1)
    panels[0].set_ylabel("FID" + say_direction("fid", paper=paper))
    if not paper:
        title = f"steps: the Pareto front{left_out(everybody, LABELS)}"
        panels[0].set_title(title, loc="left", color=GREY, fontsize=small())
    colours = {name: look[name].colour for name in shown} | dict.fromkeys(floor, GREY)
    name_right(panels[-1], fids | floor, colours, height, paper=paper)
    return figure


def _costs(runs: pd.DataFrame) -> pd.DataFrame:
    """FID with its interval and mean costs of those who were trained and scored."""
    intervals = summarise(runs, "fid")
    named = [name for name in _trained(runs) if name in intervals]
    table = pd.DataFrame([intervals[name] for name in named], index=named, dtype=float)
    scored = runs[runs["status"].isin(SCORED)]
    groups = scored[list(COSTS)].astype("float64").groupby(scored["contender"].astype(object))
    return table.reindex(columns=SeedInterval._fields).join(groups.mean())


def _draw_cost(
    axes: Axes, table: pd.DataFrame, cost: str, look: dict[str, Look], ticks: int
) -> None:
    axes.set_xlabel(COSTS[cost])
    for name, row in table.iterrows():
        own, at = look[str(name)], row[cost]
        axes.plot([at, at], [row["low"], row["high"]], color=own.colour, lw=1.6, alpha=0.5)
        axes.plot([at], [row["value"]], own.marker, color=own.colour, ms=7, mec="white")
    set_scale(axes.xaxis, table[cost].tolist(), ticks=ticks)
    if table.empty:
        middle: dict[str, Any] = {"ha": "center", "transform": axes.transAxes}
        axes.text(0.5, 0.7, "not measured", color=GREY, **middle)
        return
    front = find_front(table[cost], table["value"])
    end = axes.get_xlim()[1]
    steps = [*table.loc[front, cost], end], [*table.loc[front, "value"], table["value"].min()]
    axes.step(*steps, where="post", color=GREY, lw=1, zorder=1.5)


def find_front(costs: pd.Series, values: pd.Series) -> list[str]:
    """Those of whom no other has a lower or the same value at a lower or the same cost, by cost."""
    front, lowest = list[str](), math.inf
    for _, value, name in sorted(zip(costs, values, costs.index, strict=True)):
        if value < lowest:
            front.append(name)
            lowest = value
    return front
