"""All plots of a suite, each a pure function of one of its frames, and as files.

A plot is a function in one of these modules, registered by `@plot(...)`.
"""

from collections.abc import Iterable, Sequence

from benchmarks.analysis.frames import Frames
from benchmarks.core.errors import BadInput, unknown
from benchmarks.reporting.plots.audits import draw_heatmap as draw_heatmap
from benchmarks.reporting.plots.audits import draw_ladder as draw_ladder
from benchmarks.reporting.plots.audits import render_audit as render_audit
from benchmarks.reporting.plots.charts import draw_cost as draw_cost
from benchmarks.reporting.plots.charts import draw_scores as draw_scores
from benchmarks.reporting.plots.charts import draw_variety as draw_variety
from benchmarks.reporting.plots.histories import draw_losses as draw_losses
from benchmarks.reporting.plots.histories import draw_stability as draw_stability
from benchmarks.reporting.plots.histories import draw_training as draw_training
from benchmarks.reporting.plots.pictures import draw_evolution as draw_evolution
from benchmarks.reporting.plots.pictures import draw_interpolations as draw_interpolations
from benchmarks.reporting.plots.pictures import draw_neighbours as draw_neighbours
from benchmarks.reporting.plots.pictures import draw_reconstructions as draw_reconstructions
from benchmarks.reporting.plots.pictures import draw_samples as draw_samples
from benchmarks.reporting.plots.pictures import draw_translations as draw_translations
from benchmarks.reporting.plots.ranks import draw_agreement as draw_agreement
from benchmarks.reporting.plots.ranks import draw_critical_difference as draw_critical_difference
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
