"""The course of training: FID, losses, and how far the last checkpoint is from the best one."""

import math
from collections.abc import Sequence
from itertools import chain, cycle
from typing import Any, cast

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from benchmarks.analysis.frames import count_drawn_seeds, values_by_contender
from benchmarks.core.text import join_words, plain, shorten, show_number
from benchmarks.records.schema import SCORED
from benchmarks.reporting.plots.drawing import (
    BAND,
    COLOURS,
    FEW,
    LABELS,
    PAGE,
    PANELS,
    ROWS,
    Look,
    Margins,
    best,
    break_name,
    by_contender,
    contenders,
    count_ticks,
    inches,
    label,
    labelled_figure,
    left_out,
    looks,
    name_right,
    panel_figure,
    set_scale,
    show_direction,
    show_tick,
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
from benchmarks.statistics.intervals import last_over_best

TROUBLE = ("diverged", "collapsed", "failed")


@plot(
    "history",
    section="training",
    heading="FID over training",
    caption="FID of validation samples: the mean over seeds, and the band of their range.",
    columns=("fid",),
)
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
    drawn = {name: _draw_validation(axes, parts[name], look[name], alpha) for name in shown}
    set_scale(axes.yaxis, [*chain(*drawn.values())])
    axes.xaxis.set_major_locator(MaxNLocator(4 if paper else 7, steps=[1, 2, 2.5, 5, 10]))
    axes.xaxis.set_major_formatter(FuncFormatter(show_tick))
    axes.set(xlabel="training images", ylabel="validation FID" + show_direction("fid", paper=paper))
    if not paper:
        axes.set_title(
            f"line: geometric mean over {_seeds_drawn(frame)}; band: their range; "
            f"×: a run that stopped; ○: a run that collapsed{left_out(everybody, LABELS)}"
            f"{_note_fewer_samples(known)}",
            loc="left",
            wrap=True,
        )
    colours = {name: look[name].colour for name in shown}
    name_right(axes, {n: v[-1] for n, v in drawn.items()}, colours, height, paper=paper)
    return figure


def _note_fewer_samples(known: pd.DataFrame) -> str:
    """Name the contenders that are validated by fewer samples, of which FID is larger."""
    if "validation_samples" not in known:
        return ""
    counts = known.groupby("contender", observed=True)["validation_samples"].max().dropna()
    names = join_words([f"{label(str(name))} ({count:,.0f})" for name, count in counts.items()])
    return f"; of fewer samples, so that it compares with itself alone: {names}"


def _final_fids(known: pd.DataFrame) -> dict[str, float]:
    """Return the mean of each contender's last validations."""
    last = known.groupby("run", sort=False).tail(1)
    means = last.groupby(last["contender"].astype(object))["validation_fid"].mean()
    return {str(name): value for name, value in means.items()}


def _seeds_drawn(history: pd.DataFrame) -> str:
    """State the seeds whose histories are drawn."""
    limit = count_drawn_seeds(len(looks(history["contender"])))
    most = int(history["runs"].max())
    return "seeds" if most <= limit else f"the first {limit} of up to {most:,} seeds"


def _draw_validation(axes: Axes, history: pd.DataFrame, look: Look, alpha: float) -> list[float]:
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
    """Return a run's column over training images, where it is finite."""
    values, images = run[column].to_numpy(dtype=float), run["images"].to_numpy(dtype=float)
    finite = np.isfinite(values) & np.isfinite(images)
    curve = pd.Series(values[finite], index=images[finite])
    return curve if curve.index.is_unique else curve[~curve.index.duplicated(keep="last")]


@plot(
    "history",
    section="training",
    heading="Losses over training",
    caption="Running mean of every player's loss: a line per seed, or of many seeds the median and"
    " the middle 90 %.",
)
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
    note = f"median and middle 90 % of {_seeds_drawn(frame)}" if many else "one line per seed"
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
        player: [
            curve.rolling(window, min_periods=1).mean()
            for run in runs
            if len(curve := _curve(run, player))
        ]
        for player in map(str, losses)
    }
    if not any(smooth.values()):
        write_note(axes, 0.5, 0.5, "no losses", ha="center")
        axes.set(xticks=[], yticks=[])
        return
    for (player, seeds), colour in zip(smooth.items(), cycle(COLOURS), strict=False):
        if seeds:
            _draw_player(axes, seeds, colour, shorten(plain(player.removeprefix("loss_")), 20))
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


@plot(
    "runs",
    section="training",
    heading="Best and last checkpoint",
    caption="FID of the checkpoint that is best by validation (open) and of the last one (filled).",
    columns=("fid_best", "fid_last_over_best"),
)
def draw_stability(frame: pd.DataFrame, *, paper: bool = False) -> Figure | None:
    """Each seed's last FID beside its best checkpoint's by validation, of `Frames.runs`."""
    everybody, look = list_trained(frame), looks(frame["contender"])
    shown = best(everybody, mean_fids(frame), ROWS)
    if not shown:
        return None
    counts = count_statuses(frame)
    pairs = values_by_contender(frame, "fid", ["fid_best", "fid"])  # of each scored run
    labels = [label_row(name, counts[name], TROUBLE, paper=paper) for name in shown]
    room = 0.55 * max((len(pair) for pair in pairs.values() if len(pair) <= FEW), default=1)
    many = any(counts[name].total() > FEW for name in shown)
    drawn = "the median seed, bars: the middle 90 %" if many else "one line per seed"
    note = f"open: best by validation; filled: last; {drawn}{left_out(everybody, ROWS)}"
    margins = Margins(0, 0.6, 0.25, 0.42 if paper else 0.5)
    (axes,), places = make_rows(labels, 1, margins, paper=paper, lines=max(2, room), note=note)
    for name, place in zip(shown, places, strict=True):
        if name in pairs:
            _draw_stability_row(axes, pairs[name], look[name], place, room)
        else:
            explain_row(axes, place, explain_no_score(counts[name]))
    ends = [*chain(*(_drawn_seeds(pairs[name]).ravel() for name in shown if name in pairs))]
    set_scale(axes.xaxis, ends, ticks=count_ticks(axes), positive=True)
    axes.set_xlabel(f"FID{show_direction('fid', paper=paper)}")
    write_note(axes, 1 + 0.06 / inches(axes), 1.0, "last/best", va="bottom")
    return cast("Figure", axes.figure)


def _drawn_seeds(pairs: np.ndarray) -> np.ndarray:
    """Return the pairs if they are few, else the ends of their band: float [rows, 2]."""
    return pairs if len(pairs) <= FEW else np.quantile(_complete_pairs(pairs), BAND, axis=0)


def _complete_pairs(pairs: np.ndarray) -> np.ndarray:
    """Return the seeds that have both; where none has, those with the last alone."""
    whole = pairs[np.isfinite(pairs).all(axis=1)]
    return whole if len(whole) else pairs


def _draw_stability_row(
    axes: Axes, pairs: np.ndarray, look: Look, place: float, room: float
) -> None:
    """Draw a contender's seeds in a row `room` high, and beside it how much they have got worse."""
    shown = _drawn_seeds(pairs)
    levels = place + room * ((np.arange(len(shown)) + 0.5) / len(shown) - 0.5)
    if len(pairs) > FEW:
        levels = place + np.array([-0.45, 0.45])
        band: dict[str, Any] = {"lw": 4, "alpha": 0.35, "solid_capstyle": "butt"}
        for ends, level in zip(shown.T, levels, strict=True):
            axes.plot(ends, [level, level], color=look.colour, **band)
        _draw_best_to_last(axes, np.median(_complete_pairs(pairs), axis=0), levels, look)
    else:
        for pair, level in zip(shown, levels, strict=True):
            _draw_best_to_last(axes, pair, np.array([level, level]), look)
    ratio = show_number(last_over_best(pairs[:, 1].tolist(), pairs[:, 0].tolist()))
    transform = axes.get_yaxis_transform()
    write_note(axes, 1 + 0.06 / inches(axes), place, ratio, transform=transform, va="center")


def _draw_best_to_last(axes: Axes, pair: np.ndarray, levels: np.ndarray, look: Look) -> None:
    """Draw a line from the best checkpoint's FID, open, to the last one's, filled."""
    axes.plot(pair, levels, "-", color=look.colour, lw=1, alpha=0.6)
    axes.plot(pair[:1], levels[:1], look.marker, color=look.colour, ms=4, mfc="white", mew=0.9)
    axes.plot(pair[1:], levels[1:], look.marker, color=look.colour, ms=4, mew=0.9)
