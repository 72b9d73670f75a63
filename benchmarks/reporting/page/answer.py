"""The first section of a suite's page: what was compared, costs, and a part for each score."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.analysis.columns import PAIRS
from benchmarks.analysis.finding import Finding
from benchmarks.analysis.frames import Frames
from benchmarks.analysis.lookup import name_size
from benchmarks.config.registry import list_metrics
from benchmarks.config.spec import CALIBRATION
from benchmarks.core.text import count, show_amount, show_duration, show_number, show_p, show_share
from benchmarks.reporting.page.templating import show_name
from benchmarks.reporting.page.text import Clipped, clip, show_range, to_sentence
from benchmarks.statistics.differences import ALPHA
from benchmarks.statistics.rankings import uses_log_scale

RANKED = 30
"""Rows of a ranking that are shown."""
PAIRED = 8
"""The best by rank of which every pair is listed."""


def state_facts(frames: Frames) -> list[str]:
    """State what was compared, in a few words each."""
    runs = frames.runs[frames.runs["family"] != CALIBRATION]
    per_contender = runs.groupby("contender", observed=True).size()
    seconds = runs.groupby(["training", "seed"], dropna=False)["train_seconds"].max().sum()
    images = show_range(runs["training_images"].dropna(), "training image")
    samples = show_range(runs["samples"].dropna(), "sample")
    facts = [
        count(len(frames.results.index.contenders), "model"),
        f"{each} each" if (each := show_range(per_contender, "run")) else None,
        f"{images} per run" if images else None,
        f"{samples} scored per run" if samples else None,
        f"{show_duration(seconds)} of training in all" if seconds else None,
    ]
    return [fact for fact in facts if fact]


def state_costs(comparison: pd.DataFrame, findings: Sequence[Finding]) -> list[str]:
    """State what the leader by each score cost: parameters, and seconds beside the fastest's."""
    leaders = dict.fromkeys(finding.leader for finding in findings if len(finding.ranking))
    rows = _index_rows(comparison)
    fastest = comparison.loc[comparison["family"] != CALIBRATION, "train_seconds"].min()
    costs = []
    for row in (rows[name] for name in leaders if name in rows):
        parts = []
        if not pd.isna(row["parameters"]):
            parts.append(f"{show_amount(row['parameters'])} parameters")
        if not pd.isna(seconds := row["train_seconds"]):
            times = seconds / fastest if fastest else 1.0
            beside = f", {show_number(times)} times as long as the fastest" if times >= 1.05 else ""
            parts.append(f"{show_duration(seconds)} of training per run{beside}")
        if parts:
            costs.append(f"{show_name(row['contender'])}: {', '.join(parts)}")
    return costs


def _index_rows(comparison: pd.DataFrame) -> dict[str, dict[Any, Any]]:
    """Index the rows by the names that findings may have: a contender's, or its training's."""
    rows = comparison.to_dict("records")
    trainings = {row["training"]: {**row, "contender": row["training"]} for row in rows}
    return trainings | {row["contender"]: row for row in rows}


def describe_finding(finding: Finding, frames: Frames) -> dict[str, Any]:
    """Describe a finding with its ranks, the values behind them and the tests between pairs."""
    ranking = finding.ranking.sort_values("rank", kind="stable")
    log = uses_log_scale(frames.runs, finding.metric)
    entry = list_metrics()[finding.metric]
    where = f", {finding.route}, {name_size(finding.code_size)}" if finding.code_size else ""
    direction, leading = entry.about["direction"], ranking["contender"].head(PAIRED)
    shown = finding.pairs[["first", "second"]].isin(list(leading)).all(axis="columns")
    pairs = [_show_pair(row, log) for row in finding.pairs[shown].to_dict("records")]
    return {
        "title": f"{'Reconstruction ' * (finding.metric in PAIRS)}{finding.symbol}{where}",
        "meaning": f"{to_sentence(entry.summary)} {direction.capitalize()} is better.",
        "finding": finding,
        "over": "seeds" if (ranking["seeds"] > 1).any() else "samples",
        "scale": "log scale" if log else "linear scale",
        "ranking": clip(_list_ranking(ranking, frames.comparison, finding.metric, log), RANKED),
        "pairs": Clipped(pairs, len(finding.pairs) - len(pairs)),
    }


def _list_ranking(
    ranking: pd.DataFrame, comparison: pd.DataFrame, metric: str, log: bool
) -> list[dict[str, Any]]:
    """List name, rank, value, bounds and strip: low end, value and high end from 0 to 1."""
    rows = _index_rows(comparison)
    ranked = [rank for rank in ranking.to_dict("records") if rank["contender"] in rows]
    keys = (f"{metric}_low", metric, f"{metric}_high")
    ends = [tuple(float(rows[rank["contender"]][key]) for key in keys) for rank in ranked]
    return [
        {
            "name": show_name(rank["contender"]),
            "rank": show_ranks(rank["rank"], rank["rank_low"], rank["rank_high"]),
            "value": show_number(value),
            "bounds": _show_interval("", show_number(low), show_number(high)).strip(),
            "strip": strip,
        }
        for rank, (low, value, high), strip in zip(ranked, ends, scale_ends(ends, log), strict=True)
    ]


def show_ranks(rank: float, low: float, high: float) -> str:
    """Show an interval of ranks: `1`, `2–4`; the rank alone where it has none."""
    if not math.isfinite(low + high):
        return f"{rank:g}" if math.isfinite(rank) else ""
    return f"{low:.0f}" if low == high else f"{low:.0f}–{high:.0f}"


def scale_ends(
    ends: Sequence[tuple[float, ...]], log: bool
) -> list[tuple[float, float, float] | None]:
    """Scale intervals (low, value, high) to an axis from 0 to 1, None where there is no value.

    The axis reaches from the least to the largest value and as far beyond as they are apart, so
    that one endless interval does not press all others into a point; it is cut there.
    """
    table = np.array(ends, dtype=float).reshape(-1, 3)
    values = table[:, 1]
    if log and (values[np.isfinite(values)] > 0).all():
        with np.errstate(divide="ignore", invalid="ignore"):
            table = np.where(table > 0, np.log(table), np.where(np.isnan(table), table, -np.inf))
        values = table[:, 1]
    middle, finite = values[np.isfinite(values)], table[np.isfinite(table)]
    if not middle.size:
        return [None] * len(ends)
    room = float(np.ptp(middle)) or 1.0
    start, stop = max(finite.min(), middle.min() - room), min(finite.max(), middle.max() + room)
    filled = np.where(np.isnan(table), values[:, None], table)
    places = np.clip((filled - start) / ((stop - start) or 1.0), 0, 1).tolist()
    return [
        (low, value, high) if math.isfinite(known) else None
        for (low, value, high), known in zip(places, values, strict=True)
    ]


def _show_pair(row: Mapping[Any, Any], log: bool) -> dict[str, Any]:
    estimate, low, high = (show_number(row[key]) for key in ("estimate", "low", "high"))
    chance = (row[f"probability{end}"] for end in ("", "_low", "_high"))
    sure, least, most = (show_share(x) if math.isfinite(x) else "" for x in chance)
    needed = row["seeds_needed"]
    significant = row["p_holm"] <= ALPHA
    return {
        "first": show_name(row["first"]),
        "second": show_name(row["second"]),
        "difference": _show_interval(f"× {estimate}" if log and estimate else estimate, low, high),
        "p": show_p(row["p_holm"]),
        "significant": significant,
        "probability": _show_interval(sure, least, most) if least else "",
        "seeds": f"{row['seeds_first']:,} and {row['seeds_second']:,}",
        "needed": "" if significant or needed is None or pd.isna(needed) else f"{int(needed):,}",
    }


def _show_interval(value: str, low: str, high: str) -> str:
    return f"{value} [{low}, {high}]" if low and high else value
