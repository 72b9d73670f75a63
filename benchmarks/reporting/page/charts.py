"""The charts of a suite's page, and their descriptions in words."""

import re
from collections.abc import Mapping

import pandas as pd

from benchmarks.analysis.columns import AGREEING, COLUMNS, Column
from benchmarks.analysis.frames import Frames
from benchmarks.reporting.comparison import build_cells
from benchmarks.reporting.page.templating import EmbeddedImage, embed_data, show_name
from benchmarks.reporting.plots import PLOTS
from benchmarks.reporting.plots.registry import Plot

NAMED = 12
"""Models whose values the description of a chart lists."""
PIXELS = 1.5
"""Pixels for a point of a chart: a little larger than on paper."""


def embed_charts(section: str, plots: Mapping[str, bytes], frames: Frames) -> list[EmbeddedImage]:
    """Embed the charts of a section that have been drawn, of files by name."""
    charts = []
    for plot in (plot for plot in PLOTS.values() if plot.section == section):
        if content := plots.get(f"{plot.name}.svg"):
            points = re.findall(rb' (?:width|height)="([\d.]+)pt"', content)[:2]
            wide, high = (round(float(size) * PIXELS) for size in points)
            source, words = embed_data(content, "image/svg+xml"), _describe_plot(plot, frames)
            charts.append(EmbeddedImage(source, wide, high, words, plot.heading, plot.caption))
    return charts


def _describe_plot(plot: Plot, frames: Frames) -> str:
    """Describe in words what a plot shows, for a screen reader."""
    if plot.name == "losses":
        players = [str(c)[5:] for c in frames.history if str(c).startswith("loss_")]
        return f"Losses by training images seen, of {', '.join(players)}."
    frame = frames.comparison
    present = {c.key: c for c in COLUMNS if c.key in frame}
    if plot.name == "agreement":
        texts = [_name_best(frame, c) for key, c in present.items() if key in {"fid", *AGREEING}]
    else:
        texts = [_list_values(frame, present[key]) for key in plot.columns if key in present]
    return " ".join(filter(None, texts)) or "A chart without values."


def _name_best(frame: pd.DataFrame, column: Column) -> str:
    """State the best model by a metric: `Best by FID: gan.`."""
    named = zip(frame["contender"], build_cells(frame, column), strict=True)
    best = [show_name(name) for name, cell in named if cell.best]
    return f"Best by {column.heading}: {', '.join(best[:NAMED])}." if best else ""


def _list_values(frame: pd.DataFrame, column: Column) -> str:
    """State a column in words: `FID by model: gan 4.99, vae 5.79 and 3 more.`."""
    named = zip(frame["contender"], build_cells(frame, column), strict=True)
    texts = [f"{show_name(name)} {cell.text}" for name, cell in named if cell.text]
    if not texts:
        return ""
    more = f" and {len(texts) - NAMED:,} more" if len(texts) > NAMED else ""
    return f"{column.heading} by model: {', '.join(texts[:NAMED])}{more}."
