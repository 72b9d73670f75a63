"""All plots of a suite, each a pure function of one of its frames, and as files."""

from collections.abc import Callable, Iterable, Sequence

from matplotlib.figure import Figure

from benchmarks.analysis.frames import Frames
from benchmarks.core.errors import BadInput, unknown
from benchmarks.reporting.plots.audits import draw_heatmap, draw_ladder, render_audit
from benchmarks.reporting.plots.charts import draw_cost, draw_scores, draw_stability, draw_variety
from benchmarks.reporting.plots.drawing import METADATA, Draw, save
from benchmarks.reporting.plots.histories import draw_losses, draw_training
from benchmarks.reporting.plots.pictures import (
    draw_evolution,
    draw_interpolations,
    draw_neighbours,
    draw_reconstructions,
    draw_samples,
    draw_translations,
)
from benchmarks.reporting.plots.ranks import draw_agreement, draw_critical_difference

__all__ = [
    "PLOTS",
    "draw_agreement",
    "draw_cost",
    "draw_critical_difference",
    "draw_evolution",
    "draw_heatmap",
    "draw_interpolations",
    "draw_ladder",
    "draw_losses",
    "draw_neighbours",
    "draw_reconstructions",
    "draw_samples",
    "draw_scores",
    "draw_stability",
    "draw_training",
    "draw_translations",
    "draw_variety",
    "render",
    "render_audit",
]

Plot = Callable[..., Figure | None]


def _of(frame: str, draw: Draw) -> Plot:
    """A plot of one of the frames."""

    def plot(frames: Frames, *, paper: bool = False) -> Figure | None:
        return draw(getattr(frames, frame), paper=paper)

    return plot


PLOTS: dict[str, Plot] = {
    "samples": _of("pictures", draw_samples),
    "reconstructions": _of("pictures", draw_reconstructions),
    "translations": _of("pictures", draw_translations),
    "neighbours": _of("pictures", draw_neighbours),
    "interpolations": _of("pictures", draw_interpolations),
    "evolution": _of("pictures", draw_evolution),
    "scores": _of("runs", draw_scores),
    "variety": _of("runs", draw_variety),
    "training": _of("history", draw_training),
    "losses": _of("history", draw_losses),
    "stability": _of("runs", draw_stability),
    "cost": _of("runs", draw_cost),
    "agreement": _of("runs", draw_agreement),
}
"""Plots by name, each a function of `Frames`."""


def render(
    frames: Frames,
    names: Iterable[str] | None = None,
    *,
    paper: bool = False,
    formats: Sequence[str] = ("png", "svg"),
) -> dict[str, bytes]:
    """Draw plots that have something to show: file name, such as `scores.png`, to content.

    Args:
        frames: what they are of.
        names: those of `PLOTS` that are drawn, None for all.
        paper: in the sizes for a paper's column or page.
        formats: of png, svg and pdf.

    Raises:
        BadInput: there is no plot or format of such a name.
    """
    chosen = list(PLOTS) if names is None else list(names)
    for name in chosen:
        if name not in PLOTS:
            raise BadInput(unknown("plot", name, PLOTS))
    for kind in formats:
        if kind not in METADATA:
            raise BadInput(unknown("format", kind, METADATA))
    files: dict[str, bytes] = {}
    for name in chosen:
        if figure := PLOTS[name](frames, paper=paper):
            files |= {f"{name}.{kind}": save(figure, kind, paper=paper) for kind in formats}
    return files
