"""The page of a suite: one HTML file that settles the question, made from records alone.

Everything is embedded, and its Content-Security-Policy lets nothing out. Names from records are
hostile until they are shown: `render_page` escapes them. The same records give the same page byte
for byte.
"""

import re
from collections.abc import Mapping, Sequence

from benchmarks.analysis import notes
from benchmarks.analysis.export import write_csv
from benchmarks.analysis.finding import Finding
from benchmarks.analysis.frames import Frames
from benchmarks.analysis.headline import write_headline
from benchmarks.config.spec import CALIBRATION
from benchmarks.reporting.page.answer import describe_finding, state_costs, state_facts
from benchmarks.reporting.page.audit import summarize_audit
from benchmarks.reporting.page.charts import embed_charts
from benchmarks.reporting.page.panels import (
    compare_extractors,
    list_troubles,
    show_costs,
    split_fid_variance,
)
from benchmarks.reporting.page.pictures import build_galleries
from benchmarks.reporting.page.provenance import trace_results
from benchmarks.reporting.page.table import build_page_table
from benchmarks.reporting.page.templating import render_page
from benchmarks.reporting.page.text import LINES, clip

CHARTED = ("quality", "training", "complexity")
"""Sections with charts, by what `@plot(...)` says of them."""
TROUBLES = 30
"""Lines of the list of runs that went wrong."""


def build_page(
    frames: Frames,
    findings: Sequence[Finding],
    plots: Mapping[str, bytes],
    left_out: Sequence[str],
) -> bytes:
    """Build the page of a suite.

    Args:
        frames: the suite, as `frames.gather` has read it.
        findings: its findings, the most important first.
        plots: contents by file name, as `plots.render` returns them; those of SVG are shown.
        left_out: a line for each record, history or picture that could not be read.
    """
    results, comparison, records = frames.results, frames.comparison, frames.results.records
    return render_page(
        "page.html",
        index=results.index,
        file=re.sub(r"[^\w.-]+", "_", results.index.suite),
        facts=state_facts(frames),
        doubts=notes.doubt_features(records),
        headline=write_headline(findings),
        prices=state_costs(comparison, findings),
        scores=[describe_finding(finding, frames) for finding in findings],
        left_out=clip(left_out, LINES),
        table=build_page_table(frames),
        audit=summarize_audit(frames),
        csv=write_csv(comparison).decode(),
        caption=notes.caption(results),
        notes=clip([*notes.model_notes(records), *notes.score_notes(records)], LINES),
        published=notes.compare_published(results, comparison),
        charts={name: embed_charts(name, plots, frames) for name in CHARTED},
        extractors=compare_extractors(frames),
        troubles=clip(list_troubles(records), TROUBLES),
        runs=sum(record.family != CALIBRATION for record in records),
        variance=split_fid_variance(frames),
        costs=show_costs(comparison),
        galleries=build_galleries(frames.pictures),
        provenance=trace_results(results),
    )
