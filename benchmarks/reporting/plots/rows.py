"""Plots with a row a contender: which contenders, how a row is labelled and laid out."""

from collections import Counter
from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from benchmarks.analysis.frames import summarise_runs
from benchmarks.config.spec import CALIBRATION
from benchmarks.records.schema import EXTERNAL, SCORED
from benchmarks.reporting.plots.drawing import (
    COLUMN,
    PAGE,
    Margins,
    break_name,
    contenders,
    label,
    panel_figure,
    small,
    widest,
    write_note,
)


def list_trained(runs: pd.DataFrame) -> list[str]:
    """List the contenders that were trained here, and have more to show than samples."""
    return contenders(runs[~runs["family"].isin([CALIBRATION, EXTERNAL])])


def mean_fids(runs: pd.DataFrame) -> dict[str, float]:
    """Return each contender's FID, the mean over seeds."""
    return {name: interval.value for name, interval in summarise_runs(runs, "fid").items()}


def count_statuses(runs: pd.DataFrame) -> dict[str, Counter[str]]:
    """Count each contender's runs by status, in the order of the first of each."""
    counts: dict[str, Counter[str]] = {name: Counter() for name in contenders(runs)}
    for name, status in zip(runs["contender"], runs["status"], strict=True):
        counts[name][status] += 1
    return counts


def explain_no_score(statuses: Counter[str]) -> str:
    """Explain why a contender has no score."""
    return "not scored" if set(statuses) & SCORED else next(iter(statuses))


def label_row(name: str, counts: Counter[str], statuses: Sequence[str], *, paper: bool) -> str:
    """Return a contender's name, and how many of its runs have one of some statuses."""
    total = counts.total()
    notes = [f"{counts[s]:,}/{total:,} {s}" for s in statuses if counts[s]]
    return "\n".join([break_name(label(name, paper=paper), 32 if paper else 26), *notes])


def make_rows(
    labels: Sequence[str],
    panels: int,
    margins: Margins,
    *,
    paper: bool,
    lines: float = 2,
    note: str = "",
) -> tuple[list[Axes], list[float]]:
    """Make panels with a row a label, in which a line of text is 1 high; rows have `lines` or more.

    `margins` lack the room for the labels. In a paper the note is left out. Returns the panels and
    the rows' middles.
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


def explain_row(axes: Axes, place: float, text: str) -> None:
    """Write in a row why it is empty."""
    transform = axes.get_yaxis_transform()
    write_note(axes, 0.5, place, text, transform=transform, ha="center", va="center")
