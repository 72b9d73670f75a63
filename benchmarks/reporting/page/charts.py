"""The charts of a suite's page by panels, and what they show in words."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from benchmarks.analysis.columns import AGREEING
from benchmarks.analysis.frames import Frames
from benchmarks.config.registry import list_metrics
from benchmarks.reporting import comparison
from benchmarks.reporting.comparison import Column
from benchmarks.reporting.page.table import list_columns
from benchmarks.reporting.page.templating import embed_data
from benchmarks.reporting.page.text import show_name

NAMED = 12
"""Contenders whose values the description of a chart gives."""
DESCRIBED = {
    "scores": ("fid", "inception_score", "reconstruction_mse"),
    "variety": ("precision", "recall", "density", "coverage"),
    "training": ("fid",),
    "stability": ("fid_best", "fid_last_over_best"),
    "cost": ("fid", "parameters", "train_seconds"),
}
"""Columns whose values the description of a chart gives."""
PIXELS = 1.5
"""Pixels for a point of a chart: a little larger than on paper."""


@dataclass(frozen=True)
class Chart:
    """A chart of a panel: its plot's name, its heading and the line under it."""

    plot: str
    heading: str
    caption: str


PANELS = {
    "quality": (
        Chart(
            "scores",
            "Scores between floor and ceiling",
            "Means over seeds with their 95 % intervals; real images are the floor, noise the"
            " ceiling.",
        ),
        Chart(
            "variety",
            "Fidelity and variety",
            "Precision and density: how much of what is generated looks real; recall and coverage:"
            " how much of what is real is generated.",
        ),
        Chart(
            "agreement",
            "Do the scores agree?",
            "Each contender's rank by FID in every extractor's features, and by other scores;"
            " framed are pairs that come the other way round than by FID.",
        ),
    ),
    "training": (
        Chart(
            "training",
            "FID over training",
            "Of validation samples, with the band of the seeds.",
        ),
        Chart("losses", "Losses over training", "Of every player, with the band of the seeds."),
        Chart(
            "stability",
            "Best against last",
            "The checkpoint that is best by validation against the one at the end of training.",
        ),
    ),
    "complexity": (
        Chart(
            "cost",
            "Quality against cost",
            "FID against parameters, seconds and FLOPs; the line joins those that nobody beats in"
            " both.",
        ),
    ),
}


@dataclass(frozen=True)
class Picture:
    """A chart as it is embedded, with its width and height in pixels where it tells them."""

    heading: str
    caption: str
    alt: str
    source: str
    width: int | None
    height: int | None


def embed_charts(
    panel: Sequence[Chart], plots: Mapping[str, bytes], frames: Frames
) -> list[Picture]:
    """Embed those charts of a panel that have been drawn, of files by name."""
    return [
        Picture(
            chart.heading,
            chart.caption,
            describe_chart(chart.plot, frames),
            embed_data(content, "image/svg+xml"),
            *measure(content),
        )
        for chart in panel
        if (content := plots.get(f"{chart.plot}.svg"))
    ]


def measure(svg: bytes) -> tuple[int | None, int | None]:
    """Width and height at which a chart is shown, in pixels; None where it does not tell them."""
    found = re.search(rb'<svg[^>]* width="([\d.]+)pt" height="([\d.]+)pt"', svg)
    if found is None:
        return None, None
    width, height = (round(float(points) * PIXELS) for points in found.groups())
    return width, height


def describe_chart(plot: str, frames: Frames) -> str:
    """Say in words what a chart shows, for those who do not see it."""
    if plot == "losses":
        players = [str(c)[5:] for c in frames.history if str(c).startswith("loss_")]
        return f"Losses by training images seen, of {', '.join(players)}."
    present = [c for c in list_columns() if c.key in frames.comparison]
    if plot == "agreement":
        ranked = [c for c in present if c.key in {"fid", *AGREEING}]
        return " ".join(filter(None, (_name_best(frames.comparison, c) for c in ranked)))
    known = {column.key: column for column in present}
    values = [
        _list_values(frames.comparison, known[k]) for k in DESCRIBED.get(plot, ()) if k in known
    ]
    return " ".join(filter(None, values)) or "A chart without values."


def _name_best(frame: pd.DataFrame, column: Column) -> str:
    """Who is best by a metric: `Best by FID: gan.`."""
    if column.key not in list_metrics():
        return ""
    named = zip(frame["contender"], comparison.cells(frame, column), strict=True)
    best = [show_name(name) for name, cell in named if cell.best]
    return f"Best by {column.heading}: {', '.join(best[:NAMED])}." if best else ""


def _list_values(frame: pd.DataFrame, column: Column) -> str:
    """A column in words: `FID by contender: gan 4.99, vae 5.79 and 3 more.`."""
    named = list(zip(frame["contender"], comparison.cells(frame, column), strict=True))
    texts = [f"{show_name(name)} {cell.text}" for name, cell in named if cell.text]
    if not texts:
        return ""
    more = f" and {len(texts) - NAMED:,} more" if len(texts) > NAMED else ""
    return f"{column.heading} by contender: {', '.join(texts[:NAMED])}{more}."
