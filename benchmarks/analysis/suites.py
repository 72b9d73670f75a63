"""Several suites side by side: a row a data set, a column a contender, and ranks over data sets.

Scores of different data sets have no common scale, so contenders are ranked within each data set
and the ranks averaged, as Demšar (2006) has it. Suites of the same data set are rows of their own,
but count as one data set: they say nothing about others.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.analysis.audits import demand_audit, find_audit, find_fingerprints
from benchmarks.analysis.columns import HEADLINES, MARK, PAIRS
from benchmarks.analysis.comparison import comparison_frame
from benchmarks.analysis.lookup import name_route, shown_extractor
from benchmarks.analysis.marks import Marks
from benchmarks.analysis.notes import doubt_features
from benchmarks.config.registry import list_metrics
from benchmarks.config.spec import CALIBRATION
from benchmarks.core.errors import BadInput
from benchmarks.core.text import count, state_p
from benchmarks.records.store import Results, read_suite
from benchmarks.statistics.differences import ALPHA
from benchmarks.statistics.intervals import LOG_SCALE
from benchmarks.statistics.rankings import FEWEST_DATA_SETS, Friedman, friedman, is_lower_better

FURTHER = ("{0.index.dataset} ({0.index.suite})", "{0.index.dataset} ({0.folder})")
"""What a row is called where the name of its data set is not enough, and where that is not."""
VALUE_COLUMNS = (
    *("metric", "suite", "dataset", "folder", "contender", "seeds", "value", "low", "high"),
    *("rank", "ratio", "samples", "reference", "extractor", "route", "code_size"),
)
RANK_COLUMNS = ("metric", "contender", "rank", "wins", "ratio", "data_sets", "suites")


@dataclass(frozen=True)
class Aggregate:
    """Several suites' headline scores.

    Attributes:
        scores: a row a score, suite and contender, with `VALUE_COLUMNS`: `suite` names the row,
            `rank` and `ratio` (to the best value, of scores on the log scale) are within it, among
            the contenders that have this score in every suite that is ranked. Of reconstructions
            the most that are by one route and, in each suite, from codes of one size are ranked,
            and a training by several samplers counts once.
        ranks: a row a score and contender of those, the best first, with `RANK_COLUMNS`: the mean
            rank, on how many data sets it is the best (a tie shares the win) and the geometric mean
            of its ratios.
        tests: Friedman's test by score, of those that have ranks.
        notes: a line each on what was left out and why.
        marked: the scores whose audit failed in any suite; a note says for what.
        refusals: by score, why nobody is ranked by it, where audits are required.
    """

    scores: pd.DataFrame
    ranks: pd.DataFrame
    tests: dict[str, Friedman]
    notes: list[str]
    marked: list[str] = field(default_factory=list)
    refusals: dict[str, str] = field(default_factory=dict)

    @property
    def data_sets(self) -> int:
        """How many different data sets there are."""
        return int(self.scores["dataset"].nunique())


def read_aggregate(folders: Sequence[Path], *, require_audit: bool = False) -> Aggregate:
    """Read several suites and rank their contenders by each headline score.

    With `require_audit`, by no score that has not passed every suite's audit.

    Raises:
        BadInput: a folder holds no readable suite, or they are fewer than two, or have no score, or
            no audit that is required.
    """
    if len({folder.resolve() for folder in folders}) < max(2, len(folders)):
        raise BadInput("several suites are compared: name two or more different folders")
    suites = [read_suite(folder) for folder in folders]
    for results in suites if require_audit else ():
        demand_audit(results)
    values = _values(suites)
    if values.empty:
        names = ", ".join(map(str, folders))
        raise BadInput(f"{names}: no run there has one of {', '.join(HEADLINES)}")
    warnings = list[str]()
    marks = {
        label: Marks(find_audit(own, warnings), shown_extractor(own.records), require_audit)
        for label, own in zip(_labels(suites), suites, strict=True)
    }
    failed, refusals = defaultdict[str, list[str]](list), dict[str, str]()
    for metric, suite in values[["metric", "suite"]].drop_duplicates().to_numpy():
        if state := marks[suite].state(metric, f"on {suite}"):
            failed[metric].append(state)
        if reason := marks[suite].refuse(metric, _symbol(metric)):
            refusals.setdefault(metric, f"On {suite}: {reason}")
    parts, ranks, tests = [], [], {}
    left_out = defaultdict[str, list[str]](list)
    for metric, rows in ((str(name), rows) for name, rows in values.groupby("metric", sort=False)):
        ranked, reasons = _rank(metric, rows, refusals.get(metric))
        parts.append(ranked)
        for reason in reasons:
            left_out[reason].append(_symbol(metric))
        if ranked["rank"].notna().any():
            summary, tests[metric] = _summarise(metric, ranked)
            ranks.append(summary)
    notes = [f"{MARK} {_symbol(metric)}: {'; '.join(found)}" for metric, found in failed.items()]
    notes += [*_list_suite_caveats(suites, values), *warnings]
    notes += [f"Not ranked by {', '.join(metrics)}: {why}" for why, metrics in left_out.items()]
    summaries = pd.concat(ranks) if ranks else pd.DataFrame(columns=list(RANK_COLUMNS))
    return Aggregate(pd.concat(parts), summaries, tests, notes, [*failed], refusals)


def _values(suites: Sequence[Results]) -> pd.DataFrame:
    """Collect all headline scores of all suites, not yet ranked."""
    labels, data_sets = _labels(suites), _data_sets(suites)
    frames = []
    for suite, label, data_set in zip(suites, labels, data_sets, strict=True):
        table = comparison_frame(suite)
        table = table[table["family"] != CALIBRATION]
        for metric in HEADLINES:
            scores = [table[f"{metric}{end}"] for end in ("", "_low", "_high")]
            rows = table[["contender", "seeds", "samples", "reference", "extractor"]].assign(
                metric=metric, suite=label, dataset=data_set, folder=str(suite.folder)
            )
            rows[["value", "low", "high"]] = pd.concat(scores, axis="columns").to_numpy(float)
            if metric in PAIRS:
                rows[["route", "code_size"]] = table[["reconstruction_protocol", "code_size"]]
                rows = rows.assign(contender=table["training"]).drop_duplicates("contender")
            frames.append(rows[np.isfinite(rows["value"])])
    values = pd.concat(frames).reindex(columns=list(VALUE_COLUMNS))
    order = values["metric"].map(HEADLINES.index)
    values = values.iloc[np.argsort(order, kind="stable")].reset_index(drop=True)
    pixels = values["metric"] == "reconstruction_mse"
    values.loc[pixels, ["samples", "extractor"]] = None
    return values


def _data_sets(suites: Sequence[Results]) -> list[str]:
    """Name the data set of each suite by its first name: the same name or content is one."""
    known: dict[str, str] = {}
    found = []
    for suite in suites:
        marks = {suite.index.dataset, *find_fingerprints(suite)}
        name = next((known[mark] for mark in sorted(marks) if mark in known), suite.index.dataset)
        known |= dict.fromkeys(marks, name)
        found.append(name)
    return found


def _labels(suites: Sequence[Results]) -> list[str]:
    """Name each row: its data set, with the suite or folder where that is not enough."""
    names = [suite.index.dataset for suite in suites]
    for further in FURTHER:
        counts = Counter(names)
        names = [
            name if counts[name] == 1 else further.format(suite)
            for name, suite in zip(names, suites, strict=True)
        ]
    return names


def _symbol(metric: str) -> str:
    return str(list_metrics()[metric].about["symbol"])


def _rank(metric: str, rows: pd.DataFrame, refusal: str | None) -> tuple[pd.DataFrame, list[str]]:
    """Rank within each suite the contenders that all suites have; and name those left out."""
    rows = rows.assign(rank=math.nan, ratio=math.nan)
    if refusal:
        return rows, []
    table = rows.pivot_table(index="suite", columns="contender", values="value", sort=False)
    alone = _alone(table)
    notes = [f"{', '.join(alone)}, with fewer than two of the other contenders"] if alone else []
    table = table.drop(index=alone).dropna(axis="columns", how="all")
    complete = table.dropna(axis="columns")
    if len(table) < 2 or complete.shape[1] < 2:
        return rows, [*notes, "any contender, since no two have this score on every data set"]
    notes += _left_out(table)
    among = rows["contender"].isin(complete) & rows["suite"].isin(table.index)
    if metric in PAIRS:
        alike = _most_alike(rows[among])
        if len(alike) < 2:
            why = "any contender, since no two reconstruct by one route from codes of one size"
            return rows, [*notes, why]
        if others := [str(name) for name in complete if name not in alike]:
            notes.append(f"{', '.join(others)}, by another route or from codes of another size")
        among &= rows["contender"].isin(alike)
    scores = rows[among].groupby("suite")["value"]
    rows.loc[among, "rank"] = scores.rank(ascending=is_lower_better(metric))
    if metric in LOG_SCALE and (rows.loc[among, "value"] > 0).all():
        rows.loc[among, "ratio"] = rows.loc[among, "value"] / scores.transform("min")
    return rows, notes


def _most_alike(rows: pd.DataFrame) -> list[str]:
    """Find the most contenders of one route and, in each suite, of one code size."""
    groups: dict[tuple[Any, ...], list[str]] = {}
    for name, part in rows.dropna(subset=["route", "code_size"]).groupby("contender", sort=False):
        key = tuple(part[["suite", "route", "code_size"]].sort_values("suite").to_numpy().ravel())
        groups.setdefault(key, []).append(str(name))
    return max(groups.values(), key=len, default=[])


def _alone(table: pd.DataFrame) -> list[str]:
    """Find suites that share fewer than two contenders with the others, which leaves no ranks."""
    known = table.notna()
    few = (known & (known.sum() > 1)).sum(axis="columns") < 2
    return [] if few.all() else list(map(str, table.index[few]))


def _left_out(table: pd.DataFrame) -> list[str]:
    """Name the contenders that lack a score somewhere, by where they lack it."""
    missing: dict[str, list[str]] = {}
    for name, lacking in table.isna().items():
        if lacking.any():
            missing.setdefault(", ".join(table.index[lacking]), []).append(str(name))
    return [f"{', '.join(who)}, without a score on {where}" for where, who in missing.items()]


def _summarise(metric: str, rows: pd.DataFrame) -> tuple[pd.DataFrame, Friedman]:
    """Compute mean ranks and wins over data sets; suites of one data set are averaged first."""
    ranked = rows.dropna(subset=["rank"])
    ranks = ranked.pivot_table(index="dataset", columns="contender", values="rank", sort=False)
    test = friedman(ranks)
    first = ranks.eq(ranks.min(axis="columns"), axis="index")
    wins = first.div(first.sum(axis="columns"), axis="index").sum()
    logs = ranked.assign(log=np.log(ranked["ratio"]))
    ratio = np.exp(logs.groupby(["dataset", "contender"])["log"].mean().groupby("contender").mean())
    summary = test.ranks.assign(
        metric=metric,
        data_sets=len(ranks),
        suites=ranked["suite"].nunique(),
        wins=test.ranks["contender"].map(wins),
        ratio=test.ranks["contender"].map(ratio),
    )
    return summary[list(RANK_COLUMNS)], test


def _list_suite_caveats(suites: Sequence[Results], values: pd.DataFrame) -> list[str]:
    """Return a line for each caveat on rows that are read together."""
    notes = [f"{suite.folder}: {warning}" for suite in suites for warning in suite.warnings[:3]]
    notes += [
        f"{suite.folder}: {more:,} more records could not be read"
        for suite in suites
        if (more := len(suite.warnings) - 3) > 0
    ]
    notes += [f"{s.index.suite}: {line}" for s in suites for line in doubt_features(s.records)]
    rows = values[["suite", "dataset"]].drop_duplicates().groupby("dataset", sort=False)["suite"]
    return notes + [
        f"One data set, {data_set}, in rows of their own that count once in mean ranks:"
        f" {', '.join(names)}"
        for data_set, names in rows
        if len(names) > 1
    ]


def explain_ranks(result: Aggregate, metric: str) -> str:
    """State in a sentence or two what the ranks by a score show, and no more than the tests do."""
    if metric in result.refusals:
        return result.refusals[metric]
    if metric not in result.tests:
        return "No ranks: fewer than two contenders have this score everywhere."
    test = result.tests[metric]
    have = count(test.data_sets, "data set")
    leaders = test.ranks["contender"][test.ranks["rank"] == test.ranks["rank"].min()]
    verb = "has" if len(leaders) == 1 else "share"
    ranked = count(len(test.ranks), "contender")
    if metric in PAIRS:
        rows = result.scores[(result.scores["metric"] == metric) & result.scores["rank"].notna()]
        ranked += f" that {name_route(rows['route'].iloc[0])}"
    lead = f"Of {ranked} ranked on {have}, {' and '.join(leaders)} {verb} the best mean rank"
    if math.isnan(test.p):
        needed = f"{FEWEST_DATA_SETS} data sets or more: {FEWEST_DATA_SETS - test.data_sets} to go"
        return f"{lead}. A test of the ranks takes {needed}."
    differ = "differ" if test.p <= ALPHA else "do not differ"
    words = f"{lead}; the ranks {differ} significantly (Friedman test, {state_p(test.p)})."
    return f"{words} {_separated(test)}" if test.p <= ALPHA else words


def _separated(test: Friedman) -> str:
    """State which contenders are further apart than the critical difference."""
    ranks = dict(zip(test.ranks["contender"], test.ranks["rank"], strict=True))
    apart = {a: [b for b in ranks if ranks[b] - ranks[a] >= test.cd] for a in ranks}
    leads = "; ".join(
        f"{a} is significantly better than {', '.join(behind)}"
        for a, behind in apart.items()
        if behind
    )
    critical = f"By the Nemenyi test (critical difference {test.cd:.2f})"
    return f"{critical}, {leads or 'no two differ significantly'}."
