"""Findings in words: for each headline score who leads, how sure that is, and further sentences.

A sentence is one function of a `Finding` in `DETAILS`.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.analysis.columns import BY_KEY, HEADLINES, PAIRS
from benchmarks.analysis.finding import (
    NAMED,
    Finding,
    join_few,
    name_models,
    state_lead,
)
from benchmarks.analysis.lookup import name_size
from benchmarks.analysis.marks import UNMARKED, Marks, state_audit
from benchmarks.config.spec import CALIBRATION
from benchmarks.core.text import join_words, plain, show_number, show_share
from benchmarks.records.schema import EXTERNAL, SCORED
from benchmarks.statistics.differences import ALPHA, FEWEST_SEEDS
from benchmarks.statistics.rankings import compare_contenders, rank_intervals

SIDES = ["first", "second"]
"""The contenders of a pair."""


def collect_findings(runs: pd.DataFrame, marks: Marks = UNMARKED) -> list[Finding]:
    """Collect a finding for each headline score that any run has.

    Reconstructions are ranked only within a route and code size: a finding for each of those that
    two contenders have, in which the rows of one training count once.

    Args:
        runs: `frames.Frames.runs`; calibration runs and images of other programs do not compete.
        marks: what their audit found.
    """
    competing = runs[~runs["family"].isin((CALIBRATION, EXTERNAL))]
    findings = [
        finding
        for metric in HEADLINES
        if metric in runs and _has_score(competing, metric).any()
        for finding in _find_all(competing, metric, marks)
    ]
    for finding in findings:
        if not finding.refusal:
            finding.details.extend(_state_external(runs, finding.metric))
    if findings:
        findings[0].details.extend(_state_failures(competing))
    return findings


def _has_score(runs: pd.DataFrame, metric: str) -> np.ndarray:
    return np.isfinite(runs[metric].to_numpy(float, na_value=math.nan))


def _find_all(runs: pd.DataFrame, metric: str, marks: Marks) -> list[Finding]:
    """Return the finding of a score, or those of reconstructions by each route and code size."""
    symbol = BY_KEY[metric].heading
    if refusal := marks.refuse(metric, symbol):
        return [_refuse_ranking(runs, metric, refusal)]
    if metric not in PAIRS:
        return [_build_finding(runs, metric, marks)]
    # Of a training with several samplers, the first that has a score counts.
    named = runs.assign(contender=runs["training"].astype(object))
    once = named.sort_values(metric, key=pd.isna, kind="stable")
    once = once.drop_duplicates(["contender", "seed"]).sort_index()
    known = once[_has_score(once, metric)]
    groups = _group_by_route(known)
    findings = [
        _build_finding(once[once["contender"].isin(names)], metric, marks, route, size)
        for (route, size), names in groups.items()
    ]
    if not findings:
        why = "no two models reconstruct by the same route from codes of the same size"
        findings = [_refuse_ranking(runs, metric, f"No model is ranked by {symbol}: {why}.")]
    ranked = [name for names in groups.values() for name in names]
    findings[0].details[:0] = _state_unranked(known[~known["contender"].isin(ranked)], metric)
    return findings


def _group_by_route(runs: pd.DataFrame) -> dict[tuple[str, int], list[str]]:
    """Group contenders by route and code size: those that two have, or the only one."""
    models = runs.drop_duplicates("contender")
    named = models.groupby(["route", "code_size"], sort=False)["contender"]
    groups: dict[Any, list[str]] = named.agg(list).to_dict()
    return {
        (route, int(size)): names
        for (route, size), names in groups.items()
        if len(models) == 1 or len(names) > 1
    }


def _refuse_ranking(runs: pd.DataFrame, metric: str, refusal: str) -> Finding:
    runs = runs[:0]
    pairs = compare_contenders(runs, metric)
    return Finding(metric, runs, rank_intervals(runs, metric, pairs), pairs, refusal=refusal)


def _build_finding(
    runs: pd.DataFrame, metric: str, marks: Marks, route: str = "", code_size: int | None = None
) -> Finding:
    pairs = compare_contenders(runs, metric)
    ranking = rank_intervals(runs, metric, pairs).merge(_count_runs(runs), on="contender")
    failures = marks.state(metric, BY_KEY[metric].heading)
    finding = Finding(metric, runs, ranking, pairs, failures, "", route, code_size)
    finding.details.extend(state_audit([failures]))
    for state in DETAILS:
        finding.details.extend(state(finding))
    return finding


def _count_runs(runs: pd.DataFrame) -> pd.DataFrame:
    """Count each contender's runs, unscored and collapsed ones; with the column uses_source."""
    counted = runs.assign(
        contender=runs["contender"].astype(object),
        unscored=~runs["status"].isin(SCORED),
        collapsed=runs["status"] == "collapsed",
    )
    groups = counted.groupby("contender", sort=False, as_index=False)
    return groups.agg(
        uses_source=("uses_source", "any"),
        runs=("status", "size"),
        unscored=("unscored", "sum"),
        collapsed=("collapsed", "sum"),
    )


def state_flips(finding: Finding) -> list[str]:
    """State which further extractors reverse pairs that differ significantly by FID."""
    lines = []
    for name, other in finding.by_extractor.items():
        turned = finding.significant.merge(other, left_on=SIDES, right_on=SIDES[::-1])
        texts = [
            f"{plain(better)} is {'significantly ' * (p <= ALPHA)}better than {plain(worse)}"
            f"{' (not significantly)' * (not p <= ALPHA)}"
            for worse, better, p in turned[["first_x", "second_x", "p_holm_y"]].to_numpy()
        ]
        if texts:
            lines.append(
                f"With the extractor {plain(name)} the order is reversed: {join_few(texts, '; ')}."
            )
    return lines


def _state_probability(finding: Finding) -> list[str]:
    """State how often a run of the leader is better than one of the runner-up."""
    if finding.pairs.empty or pd.isna(finding.pairs["probability_low"].iloc[0]):
        return []
    pair = finding.pairs.iloc[0]
    share, low, high = (show_share(pair[f"probability{end}"]) for end in ("", "_low", "_high"))
    better, worse = plain(pair["first"]), plain(pair["second"])
    if pair["paired"]:
        start = f"In {share} of their common trainings, {better} is better than {worse}"
    else:
        start = f"A run of {better} is better than one of {worse} in an estimated {share} of cases"
    return [f"{start} (95 % interval {low} to {high})."]


def _state_agreement(finding: Finding) -> list[str]:
    """List the further extractors that order the significantly different pairs alike."""
    found = finding.significant
    agreeing = [
        plain(name)
        for name, other in finding.by_extractor.items()
        if len(found.merge(other, on=SIDES))
        and found.merge(other, left_on=SIDES, right_on=SIDES[::-1]).empty
    ]
    if not agreeing:
        return []
    others = f"extractor{'s' * (len(agreeing) > 1)} {join_words(agreeing)}"
    return [f"Significantly different pairs come in the same order with the {others}."]


def state_head_start(finding: Finding) -> list[str]:
    """State a translator's advantage, and which model leads without it."""
    if finding.route == "cycle":
        return [
            f"{plain(finding.leader)} reconstructs through the source domain, and may hide"
            " information about the original in its translations."
        ]
    if finding.metric in PAIRS:
        return []
    ranking = finding.ranking
    translates = ranking["uses_source"].astype(bool)
    translators, rest = (ranking.loc[rows, "contender"] for rows in (translates, ~translates))
    if translators.empty or rest.empty:
        return []
    starts = "starts" if len(translators) == 1 else "start"
    easier = f"{name_models(translators)} {starts} from real source images, which is an easier task"
    if not translates.iloc[0]:
        return [f"{easier}."]
    leader, pairs = rest.iloc[0], finding.pairs
    if len(rest) == 1:
        return [f"{easier}; only {plain(leader)} starts from noise."]
    rivals = pairs[(pairs["first"] == leader) & pairs["second"].isin(rest)]
    left = rivals.loc[~(rivals["p_holm"] <= ALPHA), "second"]
    lead = f"but is not significantly different from {name_models(left)}"
    if left.empty:
        lead = state_lead(rivals, ranking)
    return [
        f"{easier}; among models that start from noise, {plain(leader)} has the"
        f" {finding.best} {finding.symbol}, {lead}."
    ]


def _state_floor(finding: Finding) -> list[str]:
    """List the models whose FID is no larger than that of two samples of one distribution."""
    if finding.metric != "fid" or "fid_floor_high" not in finding.runs:
        return []
    runs, ranking = finding.runs, finding.ranking
    floors = runs.groupby(runs["contender"].astype(object))["fid_floor_high"].mean()
    within = ranking[ranking["value"] <= ranking["contender"].map(floors)]
    if within.empty:
        return []
    floor = show_number(float(floors.max()))
    return [
        f"The FID of {name_models(within['contender'])} is within its floor (up to {floor}): this"
        " many samples show no difference between model and data."
    ]


def _state_single_seeds(finding: Finding) -> list[str]:
    """List the models with only one scored run, in a suite of several seeds."""
    single = finding.ranking[finding.ranking["seeds"] < FEWEST_SEEDS]
    if single.empty or not finding.tested:
        return []
    run = "has only one scored run" if len(single) == 1 else "have only one scored run each"
    return [f"{name_models(single['contender'])} {run} and could not be tested."]


DETAILS: tuple[Callable[[Finding], list[str]], ...] = (
    state_flips,
    _state_probability,
    _state_agreement,
    state_head_start,
    _state_floor,
    _state_single_seeds,
)
"""The sentences below a finding's summary, the most important first; each may have nothing."""


def _state_unranked(runs: pd.DataFrame, metric: str) -> list[str]:
    """List the models whose reconstructions compare with none: route, code size and score."""
    means = rank_intervals(runs, metric)[["contender", "value"]]
    if means.empty:
        return []
    models = runs.drop_duplicates("contender").set_index("contender")
    texts = []
    for name, value in means.to_numpy():
        route, size = models.loc[name, ["route", "code_size"]]
        route = "route unknown" if pd.isna(route) else plain(route)
        size = "codes of unknown size" if pd.isna(size) else name_size(size)
        score = f"{BY_KEY[metric].heading} {show_number(value)}"
        texts.append(f"{plain(name)} ({route}, {size}; {score})")
    return [
        "Reconstructions compare only within a route and code size; not compared:"
        f" {join_few(texts)}."
    ]


def _state_external(runs: pd.DataFrame, metric: str) -> list[str]:
    """List the images of other programs, which have a score but no seeds."""
    rows = runs[(runs["family"] == EXTERNAL) & runs[metric].notna()]
    if rows.empty:
        return []
    scores = zip(rows["contender"], rows[metric], strict=True)
    texts = [f"{plain(str(name))} ({show_number(value)})" for name, value in scores]
    return [f"Generated by another program, without seeds to test: {join_few(texts)}."]


def _state_failures(runs: pd.DataFrame) -> list[str]:
    """List the models of which runs failed or collapsed."""
    counts = _count_runs(runs)
    failed = counts.loc[counts["unscored"] > 0, ["contender", "unscored", "runs"]].to_numpy()
    lines = []
    for name, unscored, total in failed[:NAMED]:
        statuses = runs.loc[runs["contender"] == name, "status"]
        tally = statuses[~statuses.isin(SCORED)].value_counts()
        how = join_words([f"{n} {status}" for status, n in tally.items()])
        rest = "it has no score" if unscored == total else "its scores are those of the others"
        lines.append(f"{plain(name)}: of {total} run{'s' * (total > 1)}, {how}; {rest}.")
    if len(failed) > NAMED:
        lines.append(f"{len(failed) - NAMED} more models have failed runs.")
    collapsed = counts.loc[counts["collapsed"] > 0, ["contender", "collapsed", "runs"]]
    if len(collapsed):
        texts = [f"{plain(name)} ({n} of {total})" for name, n, total in collapsed.to_numpy()]
        lines.append(f"Collapsed runs, scored nevertheless: {join_few(texts)}.")
    return lines
