"""The page of a suite: one HTML file that settles the question, made from records alone.

Everything is embedded, and its Content-Security-Policy lets nothing out. Names from records are
hostile until they are shown: Jinja2 escapes them, and `visible` replaces signs that cannot be seen,
such as those that turn the direction of writing. The same records give the same page byte for byte.
"""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pandas as pd

from benchmarks.analysis import lookup, notes
from benchmarks.analysis.export import write_csv
from benchmarks.analysis.frames import Frames, scores_frame
from benchmarks.config.spec import CALIBRATION
from benchmarks.core.text import count, plain, show_amount, show_number
from benchmarks.records.schema import Record
from benchmarks.reporting.comparison import COST, Cell, Column, cells
from benchmarks.reporting.page import pictures, provenance
from benchmarks.reporting.page.answer import describe_finding, state_facts, state_prices
from benchmarks.reporting.page.audit import summarise
from benchmarks.reporting.page.charts import embed_charts
from benchmarks.reporting.page.table import compare, define
from benchmarks.reporting.page.templating import TEMPLATES, hash_source, make_environment
from benchmarks.reporting.page.text import LINES, cut, show_name
from benchmarks.statistics.intervals import SeedInterval, interval_over_seeds
from benchmarks.statistics.variance import split_variance, splits_logarithms

if TYPE_CHECKING:
    from benchmarks.analysis.finding import Finding

CHARTED = ("quality", "training", "complexity")
"""Sections with charts, by what `@plot(...)` says of them."""
ROWS = 30
"""Lines of the list of runs that went wrong."""
COSTS = (
    *COST,
    Column("training_flops", "FLOPs in all", show_amount, "lower"),
    Column("steps", "steps", show_amount),
    Column("training_images", "images seen", show_amount),
    Column("score_seconds", "scoring s", show_number),
)


def build_page(
    frames: Frames,
    findings: "Sequence[Finding]",
    plots: Mapping[str, bytes],
    left_out: Sequence[str],
) -> bytes:
    """Build the page of a suite.

    Args:
        frames: the suite, as `frames.gather` has read it.
        findings: what can be said of it under each score, the most important first.
        plots: contents by file name as `plots.render` gives them; those there are are shown, as
            SVG.
        left_out: a line for each record, history or picture that could not be read.

    Returns:
        HTML in UTF-8.
    """
    from benchmarks.analysis.headline import write_headline

    results, comparison = frames.results, frames.comparison
    style, script = ((TEMPLATES / name).read_text("utf-8") for name in ("page.css", "page.js"))
    page = make_environment().get_template("page.html")
    content = page.render(
        style=style,
        script=script,
        hashes={"style": hash_source(style), "script": hash_source(script)},
        index=results.index,
        file=re.sub(r"[^\w.-]+", "_", results.index.suite),
        facts=state_facts(frames),
        doubts=notes.doubt_features(results.records),
        answer=write_headline(list(findings)),
        prices=state_prices(comparison, findings),
        scores=[describe_finding(finding, frames) for finding in findings],
        left_out=cut(left_out, LINES),
        table=compare(frames),
        audit=summarise(frames),
        csv=write_csv(comparison).decode(),
        caption=notes.caption(results),
        notes=cut(
            [*notes.model_notes(results.records), *notes.score_notes(results.records)], LINES
        ),
        published=notes.compare_published(results, comparison),
        charts={name: embed_charts(name, plots, frames) for name in CHARTED},
        extractors=compare_extractors(frames),
        troubles=cut(list_troubles(results.records), ROWS),
        runs=sum(record.family != CALIBRATION for record in results.records),
        variance=apportion(frames),
        costs=show_costs(comparison),
        galleries=pictures.hang(frames.pictures),
        provenance=provenance.trace(results),
    )
    return content.encode()


@dataclass(frozen=True)
class Plain:
    """A plain table: headings with what they mean, and rows of a name and cells."""

    heads: list[tuple[str, str]]
    rows: list[tuple[str, list[Cell]]]


def compare_extractors(frames: Frames) -> Plain | None:
    """FID in the features of every extractor, means over seeds; None where there is one alone."""
    runs = frames.runs
    others = [str(column) for column in runs if str(column).startswith("fid@")]
    if not others:
        return None
    means = runs.groupby("contender", observed=True)[["fid", *others]].agg(_mean_fid)
    first = lookup.shown_extractor(frames.results.records) or "FID"
    heads = [(name, f"FID in the features of {name}") for name in (first, *(o[4:] for o in others))]
    rows = [
        (show_name(str(name)), [Cell(show_number(value)) for value in row])
        for name, row in zip(means.index, means.to_numpy(), strict=True)
    ]
    return Plain(heads, rows)


def _mean_fid(values: pd.Series) -> float:
    """The mean over seeds as all tables have it, the geometric one."""
    runs = [SeedInterval(value, math.nan, math.nan) for value in values]
    return interval_over_seeds("fid", runs).value


def list_troubles(records: Iterable[Record]) -> list[str]:
    """A line for each contender and way in which runs of its went wrong, with the first reason."""
    runs: dict[tuple[str, str], list[Record]] = {}
    totals: dict[str, int] = {}
    for record in records:
        totals[record.contender] = totals.get(record.contender, 0) + 1
        if record.status != "ok":
            runs.setdefault((record.contender, record.status), []).append(record)
    return [
        f"{show_name(name)}: {len(bad):,} of {totals[name]:,} {status} "
        f"({provenance.name_seeds(record.seed for record in bad)}): "
        f"{plain(bad[0].reason or '')}{_other_reasons(bad)}"
        for (name, status), bad in runs.items()
    ]


def _other_reasons(records: Sequence[Record]) -> str:
    others = len({record.reason for record in records}) - 1
    return f" ({count(others, 'other reason')})" if others else ""


@dataclass(frozen=True)
class Variance:
    """Where the variation of FID comes from, in a sentence and in parts of the whole."""

    sentence: str
    parts: list[tuple[str, str, float]]


COMPONENTS = {
    "contender": "between contenders",
    "seed": "between seeds of a contender",
    "sampling": "between samples of a run",
    "extractor": "in what extractors disagree on",
}


def apportion(frames: Frames) -> Variance | None:
    """How much of FID's variation is due to whom it is of; None where that cannot be told."""
    records = [r for r in frames.results.records if r.family != CALIBRATION]
    scores = scores_frame(records)
    split = split_variance(scores, "fid")
    split = split[split["share"].notna()]
    if split.empty:
        return None
    parts = [
        (COMPONENTS.get(row["component"], row["component"]), _percent(row["share"]), row["share"])
        for row in split.to_dict("records")
    ]
    largest = max(parts, key=lambda part: part[2])
    others = ", ".join(f"{share} {name}" for name, share, _ in parts if name != largest[0])
    subject = "FID's logarithm" if splits_logarithms(scores) else "FID"
    sentence = f"{largest[1]} of the variance of {subject} lies {largest[0]}"
    return Variance(f"{sentence}, {others}." if others else f"{sentence}.", parts)


def _percent(share: float) -> str:
    return "under 0.1%" if 0 < share < 0.001 else f"{share:.1%}"


def show_costs(comparison: pd.DataFrame) -> Plain | None:
    """What every contender cost, means over runs; None where nothing was measured."""
    frame = comparison[comparison["family"] != CALIBRATION]
    columns = [column for column in COSTS if frame[column.key].notna().any()]
    if not columns:
        return None
    shown = [cells(frame, column) for column in columns]
    return Plain(
        [(column.title, define(column)) for column in columns],
        [
            (show_name(name), list(row))
            for name, row in zip(frame["contender"], zip(*shown, strict=True), strict=True)
        ],
    )
