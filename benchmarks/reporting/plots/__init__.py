"""All plots of a suite, each a pure function of one of its frames, and as files.

A plot is a function in one of these modules, registered by `@plot(...)`.
"""

from collections.abc import Iterable, Sequence

from benchmarks.analysis.frames import Frames
from benchmarks.core.errors import BadInput, unknown
from benchmarks.reporting.plots.audits import draw_heatmap, draw_ladder, render_audit  # noqa: F401
from benchmarks.reporting.plots.charts import draw_cost, draw_scores, draw_variety  # noqa: F401
from benchmarks.reporting.plots.histories import draw_losses, draw_stability, draw_training  # noqa: F401
from benchmarks.reporting.plots.pictures import (  # noqa: F401
    draw_evolution,
    draw_interpolations,
    draw_neighbours,
    draw_reconstructions,
    draw_samples,
    draw_translations,
)
from benchmarks.reporting.plots.ranks import draw_agreement, draw_critical_difference  # noqa: F401
from benchmarks.reporting.plots.registry import METADATA, save
from benchmarks.reporting.plots.registry import PLOTS as PLOTS


def render(
    frames: Frames,
    names: Iterable[str] | None = None,
    *,
    paper: bool = False,
    formats: Sequence[str] = ("png", "svg"),
) -> dict[str, bytes]:
    """Draw plots that have something to show: file name, such as `scores.png`, to content.

    All of `PLOTS` or those named, on request in the sizes for a paper, in formats of `METADATA`.

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
