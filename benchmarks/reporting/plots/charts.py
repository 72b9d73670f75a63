"""Charts of scores and costs, each a pure function of the frame of runs.

A contender keeps its colour, marker and line style in every plot, also in one of a part of a
frame. In the size for a paper a plot leaves out what its caption would say.
"""

import math
from typing import cast

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.analysis.columns import BY_KEY
from benchmarks.analysis.frames import scores_of_runs, summarise_runs
from benchmarks.config.spec import CALIBRATION
from benchmarks.core.text import plain, shorten
from benchmarks.records.schema import SCORED
from benchmarks.reporting.plots.drawing import (
    BAND,
    FEW,
    GREY,
    LABELS,
    ROWS,
    Look,
    Margins,
    best,
    contenders,
    count_ticks,
    fraction,
    inches,
    labelled_figure,
    left_out,
    looks,
    name_right,
    set_scale,
    show_direction,
    small,
    write_note,
)
from benchmarks.reporting.plots.registry import plot
from benchmarks.reporting.plots.rows import (
    count_statuses,
    explain_no_score,
    explain_row,
    label_row,
    list_trained,
    make_rows,
    mean_fids,
)
from benchmarks.statistics.intervals import LOG_SCALE, SeedInterval

SCORES = {
    "fid": "FID",
    "inception_score": "Inception Score",
    "reconstruction_mse": "Reconstruction MSE",
}
VARIETY = {name: name.capitalize() for name in ("precision", "recall", "density", "coverage")}
COSTS = {key: BY_KEY[key].long_name for key in ("parameters", "train_seconds", "training_flops")}


@plot(
    "runs",
    section="quality",
    heading="Scores between floor and ceiling",
    caption="Means over seeds with 95 % intervals. The floor is real images, the ceiling noise.",
    columns=(*SCORES,),
)
def draw_scores(frame: pd.DataFrame, *, paper: bool = False) -> Figure | None:
    """FID, Inception Score and reconstruction error of `Frames.runs`, between floor and ceiling."""
    return _draw_metrics(frame, _having(frame, SCORES) or {"fid": "FID"}, paper=paper)


@plot(
    "runs",
    section="quality",
    heading="Fidelity and variety",
    caption="Precision and density: how much of what is generated looks real. Recall and coverage:"
    " how much of what is real is generated.",
    columns=(*VARIETY,),
)
def draw_variety(frame: pd.DataFrame, *, paper: bool = False) -> Figure | None:
    """Precision, recall, density and coverage likewise, where any run has them."""
    titles = _having(frame, VARIETY)
    return _draw_metrics(frame, titles, paper=paper) if titles else None


def _having(runs: pd.DataFrame, titles: dict[str, str]) -> dict[str, str]:
    return {m: title for m, title in titles.items() if m in runs and runs[m].notna().any()}


def _draw_metrics(runs: pd.DataFrame, titles: dict[str, str], *, paper: bool) -> Figure | None:
    """Draw a panel a metric, each with a row a contender."""
    everybody, counts = contenders(runs[runs["family"] != CALIBRATION]), count_statuses(runs)
    shown = best(everybody, mean_fids(runs), ROWS)
    if not shown:
        return None
    labels = [label_row(name, counts[name], ("collapsed",), paper=paper) for name in shown]
    many = any(counts[name].total() > FEW for name in shown)
    features = next(iter(runs["extractor"].dropna()), "None")
    note = (
        "large: mean over seeds with its 95 % interval (FID and MSE: geometric mean); "
        f"{'bar: the middle 90 % of seeds' if many else 'small: single seeds'}; "
        f"features: {shorten(plain(features), 60)}{left_out(everybody, ROWS)}"
    )
    margins = Margins(0, 0.15, 0.42 if paper else 0.5, 0.25 if paper else 0.3)
    panels, places = make_rows(labels, len(titles), margins, paper=paper, note=note)
    for axes, (metric, title) in zip(panels, titles.items(), strict=True):
        _draw_metric(axes, runs, metric, dict(zip(shown, places, strict=True)))
        axes.set_title(title + show_direction(metric, paper=paper), pad=14 if paper else 18)
    return cast("Figure", panels[0].figure)


def _draw_metric(axes: Axes, runs: pd.DataFrame, metric: str, places: dict[str, float]) -> None:
    """Draw each contender's value, interval and seeds in its row, the floor and the ceiling."""
    scores, intervals = scores_of_runs(runs, metric), summarise_runs(runs, metric)
    counts, look = count_statuses(runs), looks(runs["contender"])
    ends = list[float]()
    for name, place in places.items():
        if name in scores:
            seeds = scores[name][:, 0].tolist()
            ends += _draw_score(axes, intervals[name], seeds, look[name], place)
        else:
            explain_row(axes, place, explain_no_score(counts[name]))
    calibration = contenders(runs[runs["family"] == CALIBRATION])
    lines = {name: intervals[name].value for name in calibration if name in intervals}
    positive = metric in LOG_SCALE and min(ends, default=0) > 0
    set_scale(axes.xaxis, [*ends, *lines.values()], ticks=count_ticks(axes), positive=positive)
    _draw_calibration(axes, lines)


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
    """Draw lines at the floor and the ceiling, named above the axes, together if they are near.

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
        write_note(axes, place, 1.01, text, ha=align, va="bottom")


@plot(
    "runs",
    section="complexity",
    heading="Quality against cost",
    caption="FID against parameters, training time and FLOPs. The line is the Pareto front.",
    columns=("fid", "parameters", "train_seconds"),
)
def draw_cost(frame: pd.DataFrame, *, paper: bool = False) -> Figure | None:
    """FID against parameters, training seconds and training FLOPs, of `Frames.runs`.

    Steps join the contenders of which none has both a lower FID and a lower cost. Names stand on
    the right.
    """
    intervals = summarise_runs(frame, "fid")
    named = [name for name in list_trained(frame) if name in intervals]
    if not named:
        return None
    table = pd.DataFrame([intervals[name] for name in named], index=named, dtype=float)
    scored = frame[frame["status"].isin(SCORED)]
    groups = scored[list(COSTS)].astype("float64").groupby(scored["contender"].astype(object))
    table = table.join(groups.mean())
    look = looks(frame["contender"])
    shown = best(named, {name: intervals[name].value for name in named}, LABELS)
    table = table.loc[shown]
    fids = dict(zip(shown, table["value"].tolist(), strict=True))
    calibration = mean_fids(frame[frame["family"] == CALIBRATION])
    floor = {name: calibration[name] for name in ("real",) if name in calibration}
    figure, panels, height = labelled_figure([*shown, *floor], len(COSTS), 2.8, paper=paper)
    ends = table[list(SeedInterval._fields)].to_numpy().ravel()
    set_scale(panels[0].yaxis, [*ends, *floor.values()])
    for axes, cost in zip(panels, COSTS, strict=True):
        for name in shown:
            axes.axhline(fids[name], color=look[name].colour, lw=0.8, alpha=0.3)
        _draw_cost_panel(axes, table.dropna(subset=[cost]), cost, look, count_ticks(axes))
        for value in floor.values():
            axes.axhline(value, color=GREY, lw=1, ls=(0, (4, 3)), zorder=1)
    panels[0].set_ylabel("FID" + show_direction("fid", paper=paper))
    if not paper:
        title = f"steps: the Pareto front{left_out(named, LABELS)}"
        panels[0].set_title(title, loc="left", color=GREY, fontsize=small())
    colours = {name: look[name].colour for name in shown} | dict.fromkeys(floor, GREY)
    name_right(panels[-1], fids | floor, colours, height, paper=paper)
    return figure


def _draw_cost_panel(
    axes: Axes, table: pd.DataFrame, cost: str, look: dict[str, Look], ticks: int
) -> None:
    axes.set_xlabel(COSTS[cost])
    for name, row in table.iterrows():
        own, at = look[str(name)], row[cost]
        axes.plot([at, at], [row["low"], row["high"]], color=own.colour, lw=1.6, alpha=0.5)
        axes.plot([at], [row["value"]], own.marker, color=own.colour, ms=7, mec="white")
    set_scale(axes.xaxis, table[cost].tolist(), ticks=ticks)
    if table.empty:
        write_note(axes, 0.5, 0.7, "not measured", ha="center")
        return
    front = find_front(table[cost], table["value"])
    across = [*table.loc[front, cost], axes.get_xlim()[1]]
    down = [*table.loc[front, "value"], table["value"].min()]
    axes.step(across, down, where="post", color=GREY, lw=1, zorder=1.5)


def find_front(costs: pd.Series, values: pd.Series) -> list[str]:
    """Return those that no other beats or equals in both value and cost, by cost."""
    table = pd.DataFrame({"cost": costs, "value": values}).sort_values(["cost", "value"])
    lowest_before = table["value"].cummin().shift(fill_value=math.inf)
    return list(table.index[table["value"] < lowest_before])
