"""What stands first on a suite's page: what was compared, what it costs, and a part a score."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pandas as pd

from benchmarks.analysis.columns import PAIRS
from benchmarks.analysis.frames import Frames
from benchmarks.analysis.lookup import name_size
from benchmarks.config.registry import list_metrics
from benchmarks.config.spec import CALIBRATION
from benchmarks.core.text import count, show_amount, show_duration, show_number, show_p
from benchmarks.reporting.page.table import list_columns
from benchmarks.reporting.page.text import Cut, cut, direction, sentence, show_name, span
from benchmarks.statistics.differences import ALPHA
from benchmarks.statistics.intervals import SAME_RANGE
from benchmarks.statistics.rankings import uses_log_scale

if TYPE_CHECKING:
    from benchmarks.analysis.finding import Finding

ROWS = 30
"""Places of a ranking that are shown."""
PAIRED = 8
"""The best by rank of whom every pair is listed."""


def state_facts(frames: Frames) -> list[str]:
    """What was compared, in a few words each."""
    runs = frames.runs[frames.runs["family"] != CALIBRATION]
    per_contender = runs.groupby("contender", observed=True).size()
    seconds = runs.groupby(["training", "seed"], dropna=False)["train_seconds"].max().sum()
    images = span(runs["training_images"].dropna(), "training image")
    samples = span(runs["samples"].dropna(), "sample")
    facts = [
        count(len(frames.results.index.contenders), "contender"),
        f"{each} each" if (each := span(per_contender, "run")) else None,
        f"{images} a run" if images else None,
        f"{samples} scored a run" if samples else None,
        f"{show_duration(seconds)} of training in all" if seconds else None,
    ]
    return [fact for fact in facts if fact]


def state_prices(comparison: pd.DataFrame, findings: "Sequence[Finding]") -> list[str]:
    """What the first under each score cost: parameters, and seconds beside the quickest's."""
    leaders = dict.fromkeys(str(f.ranking["contender"].iloc[0]) for f in findings if len(f.ranking))
    rows = _by_contender(comparison)
    quickest = comparison.loc[comparison["family"] != CALIBRATION, "train_seconds"].min()
    prices = (_price(rows[name], quickest) for name in leaders if name in rows)
    return [price for price in prices if price]


def _price(row: Mapping[Any, Any], quickest: float) -> str | None:
    """A contender's costs in words: `gan: 1.69M parameters, 6 min of training a run`."""
    parts = []
    if not pd.isna(row["parameters"]):
        parts.append(f"{show_amount(row['parameters'])} parameters")
    if not pd.isna(seconds := row["train_seconds"]):
        times = seconds / quickest if quickest else 1.0
        beside = f", {show_number(times)} times as long as the quickest" if times >= 1.05 else ""
        parts.append(f"{show_duration(seconds)} of training a run{beside}")
    return f"{show_name(row['contender'])}: {', '.join(parts)}" if parts else None


def _by_contender(comparison: pd.DataFrame) -> dict[str, dict[Any, Any]]:
    """The rows by the names that findings may have: a contender's, or that of its training."""
    rows = comparison.to_dict("records")
    trainings = {row["training"]: {**row, "contender": row["training"]} for row in rows}
    return trainings | {row["contender"]: row for row in rows}


@dataclass(frozen=True)
class Place:
    """A contender's place under a score; `strip` has its low end, value and high end in 0 to 1."""

    name: str
    rank: str
    value: str
    bounds: str
    strip: tuple[float, float, float] | None


@dataclass(frozen=True)
class Pair:
    """Two contenders compared, as it is shown."""

    first: str
    second: str
    difference: str
    p: str
    apart: bool
    probability: str
    seeds: str
    needed: str


@dataclass(frozen=True)
class ScoreSection:
    """What is said under one score."""

    metric: str
    title: str
    meaning: str
    direction: str
    headline: str
    details: list[str]
    over: str
    scale: str
    places: Cut[Place]
    pairs: Cut[Pair]


def describe_finding(finding: "Finding", frames: Frames) -> ScoreSection:
    """Show a finding with its ranks, the values behind them and the tests between pairs."""
    ranking = finding.ranking.sort_values("rank", kind="stable")
    log = uses_log_scale(frames.runs, finding.metric)
    entry = list_metrics()[SAME_RANGE.get(finding.metric, finding.metric)]
    heading = next((c.heading for c in list_columns() if c.key == finding.metric), finding.metric)
    where = f", {finding.route}, {name_size(finding.code_size)}" if finding.code_size else ""
    return ScoreSection(
        metric=finding.metric,
        title=f"Reconstruction {heading}{where}" if finding.metric in PAIRS else heading,
        meaning=sentence(entry.summary),
        direction=direction(entry.about["direction"]),
        headline=finding.summary,
        details=finding.details,
        over="seeds" if (ranking["seeds"] > 1).any() else "samples",
        scale="log scale" if log else "linear scale",
        places=cut(_places(ranking, _by_contender(frames.comparison), finding.metric, log), ROWS),
        pairs=_pairs(finding.pairs, list(ranking["contender"]), log),
    )


def _places(
    ranking: pd.DataFrame, rows: Mapping[str, Mapping[Any, Any]], metric: str, log: bool
) -> list[Place]:
    ranked = [place for place in ranking.to_dict("records") if place["contender"] in rows]
    ends = [
        tuple(float(rows[place["contender"]][f"{metric}{end}"]) for end in ("_low", "", "_high"))
        for place in ranked
    ]
    strips = lay_out(ends, log=log)
    return [
        Place(
            show_name(place["contender"]),
            show_ranks(place["rank"], place["rank_low"], place["rank_high"]),
            show_number(value),
            f"[{show_number(low)}, {show_number(high)}]" if math.isfinite(low + high) else "",
            strip,
        )
        for place, (low, value, high), strip in zip(ranked, ends, strips, strict=True)
    ]


def show_ranks(rank: float, low: float, high: float) -> str:
    """An interval of ranks: `1`, `2–4`; the rank alone where it has none."""
    if not math.isfinite(low + high):
        return f"{rank:g}" if math.isfinite(rank) else ""
    return f"{low:.0f}" if low == high else f"{low:.0f}–{high:.0f}"


def lay_out(
    ends: Sequence[tuple[float, ...]], *, log: bool
) -> list[tuple[float, float, float] | None]:
    """Lay intervals (low, value, high) out between 0 and 1, None where there is no value.

    The axis reaches from the least to the largest value and as far beyond as they are apart, so
    that one endless interval does not press all others into a point; it is cut there.
    """
    positive = all(value > 0 for _, value, _ in ends if math.isfinite(value))

    def scale(x: float) -> float:
        return x if not (log and positive) else math.log(x) if x > 0 else -math.inf

    scaled = [tuple(scale(x) for x in triple) for triple in ends]
    values = [value for _, value, _ in scaled if math.isfinite(value)]
    known = [x for triple in scaled for x in triple if math.isfinite(x)]
    if not values:
        return [None] * len(ends)
    room = (max(values) - min(values)) or 1.0
    start, stop = max(min(known), min(values) - room), min(max(known), max(values) + room)
    width = (stop - start) or 1.0

    def place(x: float, otherwise: float) -> float:
        return min(max(((otherwise if math.isnan(x) else x) - start) / width, 0.0), 1.0)

    return [
        (place(low, value), place(value, value), place(high, value))
        if math.isfinite(value)
        else None
        for low, value, high in scaled
    ]


def _pairs(pairs: pd.DataFrame, ranked: Sequence[str], log: bool) -> Cut[Pair]:
    """The pairs among the best by rank."""
    best = set(ranked[:PAIRED])
    chosen = pairs[pairs["first"].isin(best) & pairs["second"].isin(best)]
    return Cut([_pair(row, log) for row in chosen.to_dict("records")], len(pairs) - len(chosen))


def _pair(row: Mapping[Any, Any], log: bool) -> Pair:
    estimate, low, high = (show_number(row[key]) for key in ("estimate", "low", "high"))
    chance = (row[f"probability{end}"] for end in ("", "_low", "_high"))
    sure, least, most = (f"{x:.0%}" if math.isfinite(x) else "" for x in chance)
    needed = row["seeds_needed"]
    apart = row["p_holm"] <= ALPHA
    return Pair(
        first=show_name(row["first"]),
        second=show_name(row["second"]),
        difference=_between(f"× {estimate}" if log and estimate else estimate, low, high),
        p=show_p(row["p_holm"]),
        apart=apart,
        probability=_between(sure, least, most) if least else "",
        seeds=f"{row['seeds_first']:,} and {row['seeds_second']:,}",
        needed="" if apart or needed is None or pd.isna(needed) else f"{int(needed):,}",
    )


def _between(value: str, low: str, high: str) -> str:
    return f"{value} [{low}, {high}]" if low and high else value
