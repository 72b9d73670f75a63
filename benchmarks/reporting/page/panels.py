"""Small tables and lists of a suite's page: extractors, runs that went wrong, variance, costs."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import pandas as pd

from benchmarks.analysis.columns import ALL_COSTS
from benchmarks.analysis.frames import Frames, scores_frame, summarise_runs
from benchmarks.config.spec import CALIBRATION
from benchmarks.core.text import count, join_words, plain, show_number, show_share
from benchmarks.records.schema import Record
from benchmarks.reporting.comparison import build_table
from benchmarks.reporting.page.provenance import name_seeds
from benchmarks.reporting.page.table import MODEL
from benchmarks.reporting.page.templating import show_name
from benchmarks.reporting.table import Cell, Head, Table
from benchmarks.statistics.variance import split_variance, splits_logarithms

SOURCES = {
    "contender": "between models",
    "seed": "between seeds of a model",
    "sampling": "between samples of a run",
    "extractor": "in disagreement between extractors",
}
"""Where each component of `split_variance` lies."""


def compare_extractors(frames: Frames) -> Table | None:
    """Compare FID in the features of every extractor; None where there is only one."""
    runs = frames.runs
    others = [str(column) for column in runs if str(column).startswith("fid@")]
    if not others:
        return None
    means = [summarise_runs(runs, fid) for fid in ("fid", *others)]
    names = (frames.marks.extractor or "FID", *(o[4:] for o in others))
    heads = [Head(name, tip=f"FID in the features of {name}") for name in names]
    rows = [
        [Cell(name), *(Cell(show_number(m[name].value) if name in m else "") for m in means)]
        for name in runs["contender"].cat.remove_unused_categories().cat.categories
    ]
    return Table("", [MODEL, *heads], [rows])


def list_troubles(records: Sequence[Record]) -> list[str]:
    """List how runs of each contender went wrong, a line a status, with the first reason."""
    totals = Counter(record.contender for record in records)
    runs: dict[tuple[str, str], list[Record]] = {}
    for record in records:
        if record.status != "ok":
            runs.setdefault((record.contender, record.status), []).append(record)
    lines = []
    for (name, status), bad in runs.items():
        others = len({record.reason for record in bad}) - 1
        more = f" ({count(others, 'other reason')})" if others else ""
        lines.append(
            f"{show_name(name)}: {len(bad):,} of {totals[name]:,} {status} "
            f"({name_seeds(record.seed for record in bad)}): {plain(bad[0].reason or '')}{more}"
        )
    return lines


def split_fid_variance(frames: Frames) -> tuple[str, list[tuple[str, str, float]]] | None:
    """Split FID's variance: a sentence, and source, share in words and share of each component."""
    scores = scores_frame([r for r in frames.results.records if r.family != CALIBRATION])
    parts = split_variance(scores).dropna(subset="share")[["component", "share"]].to_numpy()
    if not len(parts):
        return None
    shares = [(SOURCES[source], show_share(share), share) for source, share in parts]
    texts = [f"{text} {'lies ' * (i == 0)}{name}" for i, (name, text, _) in enumerate(shares)]
    subject = "log FID" if splits_logarithms(scores) else "FID"
    return f"Of the variance of {subject}, {join_words(texts)}.", shares


def show_costs(comparison: pd.DataFrame) -> Table | None:
    """Show every contender's costs, means over runs; None where nothing was measured."""
    frame = comparison[comparison["family"] != CALIBRATION]
    columns = [column for column in ALL_COSTS if frame[column.key].notna().any()]
    if not columns:
        return None
    table = build_table("", frame, columns)
    heads = [
        replace(head, tip=column.definition)
        for head, column in zip(table.header[1:], columns, strict=True)
    ]
    return replace(table, header=[MODEL, *heads])
