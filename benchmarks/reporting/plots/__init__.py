"""All plots of a suite, each a pure function of one of its frames, and as files.

A plot is a function in one of these modules, registered by `@plot(...)`.
"""

from collections.abc import Iterable, Sequence

from benchmarks.analysis.frames import Frames
from benchmarks.core.errors import BadInput, unknown
from benchmarks.reporting.plots.audits import draw_heatmap, draw_ladder, render_audit
from benchmarks.reporting.plots.charts import draw_cost, draw_scores, draw_variety
from benchmarks.reporting.plots.histories import draw_losses, draw_stability, draw_training
from benchmarks.reporting.plots.pictures import (
    draw_evolution,
    draw_interpolations,
    draw_neighbours,
    draw_reconstructions,
    draw_samples,
    draw_translations,
)
from benchmarks.reporting.plots.ranks import draw_agreement, draw_critical_difference
from benchmarks.reporting.plots.registry import METADATA, PLOTS, save

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


def render(
    frames: Frames,
    names: Iterable[str] | None = None,
    *,
    paper: bool = False,
    formats: Sequence[str] = ("png", "svg"),
) -> dict[str, bytes]:
    """Draw plots that have something to show: file name, such as `scores.png`, to content.

    Args:
        frames: the suite.
        names: the plots of `PLOTS` to draw, None for all.
        paper: in the sizes for a paper's column or page.
        formats: of png, svg and pdf.

    Raises:
        BadInput: there is no plot or format of such a name.
    """
    chosen = list(PLOTS) if names is None else list(names)
    for noun, given, known in (("plot", chosen, PLOTS), ("format", formats, METADATA)):
        for name in given:
            if name not in known:
                raise BadInput(unknown(noun, name, known))
    files: dict[str, bytes] = {}
    for name in chosen:
        if figure := PLOTS[name](frames, paper=paper):
            files |= {f"{name}.{kind}": save(figure, kind, paper=paper) for kind in formats}
    return files
