"""FID and losses over training: each plot a pure function of `Frames.history`."""

import math
from collections.abc import Sequence
from itertools import chain
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from benchmarks.analysis.frames import curves
from benchmarks.core.text import plain, shorten
from benchmarks.records.schema import SCORED
from benchmarks.reporting.plots.drawing import (
    BAND,
    COLOURS,
    FEW,
    GREY,
    LABELS,
    PAGE,
    PANELS,
    Look,
    Margins,
    best,
    break_name,
    by_contender,
    contenders,
    label,
    labelled_figure,
    left_out,
    looks,
    name_right,
    panel_figure,
    say_direction,
    set_scale,
    show_tick,
    small,
    styled,
)


@styled
def draw_training(frame: pd.DataFrame, *, paper: bool = False) -> Figure | None:
    """FID against the validation split over training, of `Frames.history`.

    The mean over seeds and the band of their range; runs that stopped or collapsed are marked.
    """
    known = frame[np.isfinite(frame["validation_fid"])]
    everybody = contenders(known)
    shown = best(everybody, _final_fids(known), LABELS)
    if not shown:
        return None
    parts, look = by_contender(known), looks(frame["contender"])
    figure, (axes,), height = labelled_figure(shown, 1, 7.0, paper=paper)
    alpha = 0.15 if len(everybody) <= len(COLOURS) else 0.06
    drawn = {name: _draw_course(axes, parts[name], look[name], alpha) for name in shown}
    set_scale(axes.yaxis, [*chain(*drawn.values())])
    axes.xaxis.set_major_locator(MaxNLocator(4 if paper else 7, steps=[1, 2, 2.5, 5, 10]))
    axes.xaxis.set_major_formatter(FuncFormatter(show_tick))
    axes.set(xlabel="training images", ylabel="validation FID" + say_direction("fid", paper=paper))
    if not paper:
        axes.set_title(
            f"line: geometric mean over {_seeds_drawn(frame)}; band: their range; "
            f"×: a run that stopped; ○: one that collapsed{left_out(everybody, LABELS)}",
            loc="left",
            wrap=True,
        )
    colours = {name: look[name].colour for name in shown}
    name_right(axes, {n: v[-1] for n, v in drawn.items()}, colours, height, paper=paper)
    return figure


def _final_fids(known: pd.DataFrame) -> dict[str, float]:
    """The mean of each contender's last validations."""
    last = known.groupby("run", sort=False).tail(1)
    means = last.groupby(last["contender"].astype(object))["validation_fid"].mean()
    return {str(name): float(value) for name, value in means.items()}


def _seeds_drawn(history: pd.DataFrame) -> str:
    """The seeds whose histories are drawn, in words."""
    limit = curves(len(looks(history["contender"])))
    most = int(history["runs"].max())
    return "seeds" if most <= limit else f"the first {limit} of up to {most:,} seeds"


def _draw_course(axes: Axes, history: pd.DataFrame, look: Look, alpha: float) -> list[float]:
    """Draw a contender's validation FID over training and return what was drawn, its end last."""
    ended, stopped = list[pd.Series](), list[pd.Series]()
    for _, run in history.groupby("run", sort=False):
        curve, status = _curve(run, "validation_fid"), run["status"].iloc[0]
        (ended if status in SCORED else stopped).append(curve)
        if status == "collapsed":
            axes.plot(curve.index[-1:], curve.iloc[-1:], "o", color=look.colour, ms=8, mfc="none")
    for curve in stopped:
        axes.plot(curve.index, curve, look.line, color=look.colour, lw=0.8, alpha=0.8)
        axes.plot(curve.index[-1:], curve.iloc[-1:], "x", color=look.colour, ms=7, mew=2)
    drawn = [float(value) for curve in stopped + ended for value in curve]
    if ended:
        together = pd.concat(ended, axis="columns").sort_index()
        # A distance that is estimated near zero may come out below it.
        positive = all((curve > 0).all() for curve in ended)
        mean = np.exp(np.log(together).mean(axis=1)) if positive else together.mean(axis=1)
        low, high = together.min(axis=1), together.max(axis=1)
        axes.fill_between(mean.index, low, high, color=look.colour, alpha=alpha, lw=0)
        axes.plot(mean.index, mean, look.line, color=look.colour, marker=look.marker, ms=4)
        drawn.append(float(mean.iloc[-1]))
    return drawn


def _curve(run: pd.DataFrame, column: str) -> pd.Series:
    """A run's column over training images, where it is finite."""
    values, images = run[column].to_numpy(dtype=float), run["images"].to_numpy(dtype=float)
    finite = np.isfinite(values) & np.isfinite(images)
    curve = pd.Series(values[finite], index=images[finite])
    return curve if curve.index.is_unique else curve[~curve.index.duplicated(keep="last")]


@styled
def draw_losses(frame: pd.DataFrame, *, paper: bool = False) -> Figure | None:
    """Each player's loss over training, smoothed, of `Frames.history`: a thin line a seed."""
    everybody = contenders(frame)
    shown = best(everybody, _final_fids(frame[np.isfinite(frame["validation_fid"])]), PANELS)
    if not shown:
        return None
    parts = by_contender(frame)
    columns = min(len(shown), 4 if len(shown) > 6 else 3 if len(shown) > 4 else 2)
    rows = math.ceil(len(shown) / columns)
    across = PAGE if paper else 2.6 * max(columns, 3)
    wide = (across - 1.05 - 0.6 * (columns - 1)) / columns
    titles = [break_name(label(name, paper=paper), round((wide + 0.3) * 11)) for name in shown]
    head = 1.35 * small() / 72 * (1 + max(title.count("\n") for title in titles)) + 0.1
    many = max(part["run"].nunique() for part in parts.values()) > FEW
    note = f"median and middle 90 % of {_seeds_drawn(frame)}" if many else "a line a seed"
    figure, panels = panel_figure(
        (rows, columns),
        (wide, 1.1 if paper else 1.75),
        Margins(0.85, 0.2, head, 0.42 if paper else 0.5, 0.6, head + 0.25),
        note="" if paper else note + left_out(everybody, PANELS),
    )
    for axes, name, title in zip(panels, shown, titles, strict=False):
        _draw_players(axes, parts[name])
        axes.set_title(title)
    for axes in panels[len(shown) :]:
        axes.remove()
    for i in range(0, len(shown), columns):
        panels[i].set_ylabel("loss, running mean")
    for axes in panels[max(0, len(shown) - columns) : len(shown)]:
        axes.set_xlabel("training images")
    return figure


def _draw_players(axes: Axes, history: pd.DataFrame) -> None:
    losses = history.filter(regex="^loss_").dropna(axis="columns", how="all")
    runs = [run for _, run in history.groupby("run", sort=False)]
    window = max(1, max(map(len, runs)) // 50)
    smooth = {
        player: [_smooth(c, window) for run in runs if len(c := _curve(run, player))]
        for player in map(str, losses)
    }
    if not any(smooth.values()):
        at: dict[str, Any] = {"ha": "center", "transform": axes.transAxes}
        axes.text(0.5, 0.5, "no losses", color=GREY, **at)
        axes.set(xticks=[], yticks=[])
        return
    for place, (player, seeds) in enumerate(smooth.items()):
        if seeds:
            name = shorten(plain(player.removeprefix("loss_")), 20)
            _draw_player(axes, seeds, COLOURS[place % len(COLOURS)], name)
    # The first steps' losses may be many times the later ones: they leave the panel.
    values = np.concatenate([curve.to_numpy() for seeds in smooth.values() for curve in seeds])
    set_scale(axes.yaxis, [float(v) for v in np.quantile(values, [0.005, 0.98])])
    axes.xaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 2.5, 5, 10]))
    axes.xaxis.set_major_formatter(FuncFormatter(show_tick))
    axes.legend(loc="best", fontsize=7, labelcolor="linecolor", handlelength=0.8, labelspacing=0.25)


def _draw_player(axes: Axes, seeds: Sequence[pd.Series], colour: str, name: str) -> None:
    """Draw the curves of a player's seeds, as a band if there are many."""
    if len(seeds) > FEW:
        together = pd.concat(seeds, axis="columns").sort_index()
        low, middle, high = (together.quantile(q, axis="columns") for q in (BAND[0], 0.5, BAND[1]))
        axes.fill_between(together.index, low, high, color=colour, alpha=0.2, lw=0)
        seeds = [middle]
    for i, curve in enumerate(seeds):
        shown = name if i == 0 else None
        axes.plot(curve.index, curve, color=colour, lw=0.8, alpha=0.8, label=shown)


def _smooth(curve: pd.Series, window: int) -> pd.Series:
    return curve.rolling(window, min_periods=1).mean()
