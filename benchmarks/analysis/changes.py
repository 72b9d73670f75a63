"""What changed between two results of the same contenders, and whether that is significant.

Contenders are matched by name, their runs by seed. Scores are compared only where everything that
they depend on but the model is the same: data, extractor, number of samples, reference, protocol.

A contender's runs of one seed share initial weights and the order of the data, so that their scores
go up and down together: where both results have the same seeds, five or more, their differences
seed by seed are tested by paired t. Welch's t compares all others; it is valid there too, if not as
sharp. Pairing halves the degrees of freedom, and below five seeds that costs more than it brings.
"""

import json
import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.analysis.audits import name_recipe
from benchmarks.analysis.columns import BY_KEY, COSTS, HEADLINES, PAIRS
from benchmarks.analysis.lookup import (
    find_protocol,
    read_traits,
    runs_by_contender,
    shown_extractor,
)
from benchmarks.analysis.marks import find_metric
from benchmarks.config.spec import CALIBRATION
from benchmarks.core.errors import BadInput
from benchmarks.records.schema import SCORED, Record, Score
from benchmarks.records.store import Results
from benchmarks.statistics.differences import ALPHA, holm, paired, welch
from benchmarks.statistics.intervals import LOG_SCALE
from benchmarks.statistics.rankings import is_lower_better

SAME, BETTER, WORSE = "same", "better", "worse"
UNCHANGED = "no change beyond noise"
INCOMPARABLE, UNJUDGED = "not comparable", "cannot be judged"
MACHINE = "depends on the machine"
FAILS_MORE, FAILS_LESS = "fails more", "fails less"
COLUMNS = (
    *("kind", "contender", "name", "view", "old", "new", "change", "estimate", "low", "high"),
    *("p", "p_holm", "test", "seeds_old", "seeds_new", "verdict", "reason"),
)
FITTED = re.compile(r"deviation [\d.e+-]+, chosen")
"""What a protocol's words say that the model's own validation has found, which may change."""
RUN = re.compile(r"(?P<contender>.+?)(?:-s(?P<seed>\d+))?-[0-9a-f]+")
"""The name of a run, for those that have left no record."""
TROUBLE = "runs not ok"
FEWEST_PAIRS = 5
NAMED = 12
"""Differences of one kind that the terminal lists before it says how many more there are."""


@dataclass(frozen=True)
class Changes:
    """What changed between the results in two folders.

    Attributes:
        frame: a row a contender and score, cost or count of runs, with `COLUMNS`: `change` says
            whether `estimate` is a `ratio` new / old or a `difference` new - old.
        differences: a row a setting, version or part of the hardware that differs, with the
            columns `kind`, `contender`, `name`, `old` and `new`, all text.
        notes: what there is to know beside them, a line each.
    """

    old: str
    new: str
    frame: pd.DataFrame
    differences: pd.DataFrame
    notes: list[str]


@dataclass
class Measured:
    """A contender's values by one score, and all else that they depend on.

    Attributes:
        by_seed: the finite values; a run without a seed has the key None.
        conditions: by name, all that occur in its runs.
    """

    by_seed: dict[int | None, float] = field(default_factory=dict)
    conditions: dict[str, set[Any]] = field(default_factory=lambda: defaultdict(set))


Measurements = dict[tuple[str, str], Measured]
"""By metric, and the name of its extractor where that is not the one that is shown."""
Row = dict[str, Any]


def compare_results(old: Results, new: Results) -> Changes:
    """Compare two suites' results, contender by contender.

    Holm's correction is over the tests of all contenders' headline scores, and apart from these
    over the tests of all further scores, so that these take nothing from the headline's certainty.

    Raises:
        BadInput: they have no contender in common.
    """
    shared = _shared_names(old, new)
    before, after = (runs_by_contender(results.records) for results in (old, new))
    scores = list(_score_rows(shared, _collect_values(old), _collect_values(new)))
    for headline in (True, False):
        _adjust([row for row in scores if is_headline(row) == headline])
    statuses = [_statuses(results) for results in (old, new)]
    rows = scores[:]
    for name in shared:
        rows.append(_status_row(name, *(part.get(name, {}) for part in statuses)))
        rows += _cost_rows(name, before.get(name, []), after.get(name, []))
    frame = pd.DataFrame(rows, columns=list(COLUMNS))
    texts = dict.fromkeys(("view", "test", "reason"), "")
    frame = frame.astype(dict.fromkeys(texts, object)).fillna(texts)
    frame = frame.astype({"seeds_old": "Int64", "seeds_new": "Int64"})
    differences = _differences(shared, before, after)
    return Changes(str(old.folder), str(new.folder), frame, differences, _list_one_sided(old, new))


def is_headline(row: Row) -> bool:
    """Return whether a row of `Changes.frame` is of a headline score."""
    return row["name"] in HEADLINES and not row["view"]


def is_worse(changes: Changes) -> bool:
    """Return whether any score is significantly worse, or any contender fails more often."""
    return bool(changes.frame["verdict"].isin([WORSE, FAILS_MORE]).any())


def is_comparable(changes: Changes) -> bool:
    """Return whether any score could be compared: else nothing is known of changes."""
    scores = changes.frame[changes.frame["kind"] == "score"]
    return bool((scores["verdict"] != INCOMPARABLE).any())


def _shared_names(old: Results, new: Results) -> list[str]:
    names = [[entry.name for entry in results.index.contenders] for results in (old, new)]
    shared = [name for name in names[1] if name in set(names[0])]
    if not shared:
        lists = [", ".join(part[:NAMED]) or "none" for part in names]
        raise BadInput(
            f"{old.folder} and {new.folder} have no contender in common: "
            f"{lists[0]} there, {lists[1]} here; a contender keeps its name to be compared"
        )
    return shared


def _collect_values(results: Results) -> dict[str, Measurements]:
    """Collect all values by contender and score of the runs whose scores count."""
    shown = name_recipe(shown_extractor(results.records) or "")
    measured: dict[str, Measurements] = {}
    for record in results.records:
        if record.status not in SCORED or record.family == CALIBRATION:
            continue
        own = measured.setdefault(record.contender, {})
        for score in record.scores:
            name = name_recipe(score.extractor or "")  # hashes may differ
            entry = own.setdefault((score.metric, "" if name == shown else name), Measured())
            if score.value is not None:
                entry.by_seed.setdefault(record.seed, score.value)
            for name, value in _conditions(record, score):
                entry.conditions[name].add(value)
    return measured


def _conditions(record: Record, score: Score) -> Iterator[tuple[str, Any]]:
    """Yield what a score depends on beside the model; a translator, on its sources as well."""
    data = found if isinstance(found := record.spec.get("data"), dict) else {}
    traits = read_traits(record)
    yield "data set", record.dataset
    yield "data fingerprint", str(data.get("fingerprint"))[:8]
    if traits.uses_source:
        yield "source fingerprint", str(data.get("source_fingerprint"))[:8]
    yield "version of the protocol", json.dumps(record.spec.get("protocol"))
    yield "extractor", score.extractor
    yield "samples", score.n
    yield "reference", score.reference
    protocol = find_protocol(record, score)
    yield "protocol", FITTED.sub("deviation chosen", protocol) if protocol else None
    if score.metric in PAIRS:
        yield "code size", traits.code_size
    yield "checkpoint", score.checkpoint


def _score_rows(
    names: Iterable[str], old: dict[str, Measurements], new: dict[str, Measurements]
) -> Iterator[Row]:
    """Yield a row a contender and score that both have, the headline scores first."""
    for name in names:
        before, after = old.get(name, {}), new.get(name, {})
        rows = [
            {"kind": "score", "contender": name, "name": metric, "view": view}
            | _compare(metric, before[metric, view], after[metric, view])
            for metric, view in sorted(before.keys() & after.keys())
            if find_metric(metric) and (before[metric, view].by_seed or after[metric, view].by_seed)
        ]
        yield from sorted(
            rows, key=lambda r: HEADLINES.index(r["name"]) if is_headline(r) else len(HEADLINES)
        )


def _compare(metric: str, old: Measured, new: Measured) -> Row:
    """Compare a score: values, change, test and verdict, before Holm's correction."""
    values = [np.array(list(part.by_seed.values())) for part in (old, new)]
    log = metric in LOG_SCALE and all((part > 0).all() for part in values)
    cells: Row = {
        "old": _centre(values[0], log),
        "new": _centre(values[1], log),
        "change": "ratio" if log else "difference",
        "seeds_old": len(values[0]),
        "seeds_new": len(values[1]),
    }
    reason = _contrast(old.conditions, new.conditions)
    if not reason and not (old.by_seed and new.by_seed):
        reason = f"no finite value in the {'new' if old.by_seed else 'old'} results"
    if reason:
        return cells | {"verdict": INCOMPARABLE, "reason": reason}
    shared = old.by_seed.keys() & new.by_seed.keys()
    if shared and all(old.by_seed[seed] == new.by_seed[seed] for seed in shared):
        fewer = max(map(len, values)) > len(shared)
        reason = f"in the {len(shared)} seeds that both have" if fewer else ""
        return cells | {"verdict": SAME, "reason": reason, "estimate": 1.0 if log else 0.0}
    if min(map(len, values)) < 2:
        estimate = cells["new"] / cells["old"] if log else cells["new"] - cells["old"]
        reason = "one seed alone has no spread to test against"
        return cells | {"verdict": UNJUDGED, "reason": reason, "estimate": estimate}
    return cells | _test(old, new, log=log)


def _centre(values: np.ndarray, log: bool) -> float:
    """Return the mean, or on the log scale the geometric one; NaN of nothing."""
    if not len(values):
        return math.nan
    return math.exp(np.log(values).mean()) if log else float(values.mean())


def _contrast(old: dict[str, set[Any]], new: dict[str, set[Any]]) -> str:
    """State what two scores do not have in common: `samples 400 → 1000`."""
    return "; ".join(
        f"{name} {_join(old.get(name, set()))} → {_join(found)}"
        for name, found in new.items()
        if found != old.get(name)
    )


def _join(values: Iterable[Any]) -> str:
    words = sorted("none" if value is None else str(value) for value in values)
    return " or ".join(words) or "none"


def _test(old: Measured, new: Measured, *, log: bool) -> Row:
    """Test the change, the difference new - old or the ratio new / old: its interval and p."""
    same_seeds = old.by_seed.keys() == new.by_seed.keys() and len(new.by_seed) >= FEWEST_PAIRS
    before = [old.by_seed[seed] for seed in (new.by_seed if same_seeds else old.by_seed)]
    test = (paired if same_seeds else welch)(list(new.by_seed.values()), before, log=log)
    cells = {"estimate": test.estimate, "low": test.low, "high": test.high, "p": test.p}
    if math.isnan(test.p):
        reason = "scores that do not vary over seeds have no spread to test against"
        return cells | {"verdict": UNJUDGED, "reason": reason}
    name = "paired t" if same_seeds else "Welch's t"
    return cells | {"test": name, "verdict": UNCHANGED}


def _adjust(rows: Sequence[Row]) -> None:
    """Correct the p-values of a family of tests by Holm's method, and set their verdicts."""
    tested = [row for row in rows if not math.isnan(row.get("p", math.nan))]
    for row, p in zip(tested, holm([row["p"] for row in tested]), strict=True):
        row["p_holm"] = p
        if p <= ALPHA:
            rises = row["estimate"] > (1 if row["change"] == "ratio" else 0)
            row["verdict"] = WORSE if rises == is_lower_better(row["name"]) else BETTER


def _statuses(results: Results) -> dict[str, dict[int | None, str]]:
    """Return every run's status by contender and seed; `missing` without a readable record."""
    statuses: dict[str, dict[int | None, str]] = {}
    read = {record.run: record for record in results.records}
    for run in results.index.runs:
        if record := read.get(run):
            statuses.setdefault(record.contender, {})[record.seed] = record.status
        elif named := RUN.fullmatch(run):
            seed = int(named["seed"]) if named["seed"] else None
            statuses.setdefault(named["contender"], {})[seed] = "missing"
    return statuses


def _status_row(name: str, old: dict[int | None, str], new: dict[int | None, str]) -> Row:
    """Count the runs that are not ok: of the seeds that both have, or of all where none are shared.

    A run without a readable record counts as not ok. The verdict states what was counted; the p of
    Fisher's exact test stands beside it.
    """
    from scipy.stats import fisher_exact

    shared = (old.keys() & new.keys()) or (old.keys() | new.keys())
    parts = [Counter(part[seed] for seed in shared & part.keys()) for part in (old, new)]
    well = [part["ok"] for part in parts]
    bad = [part.total() - part["ok"] for part in parts]
    shares = [count / max(1, part.total()) for part, count in zip(parts, bad, strict=True)]
    tallies = [
        ", ".join(f"{n} {status}" for status, n in sorted(part.items())) or "no run"
        for part in parts
    ]
    change = shares[1] - shares[0]
    return {
        "kind": "runs",
        "contender": name,
        "name": TROUBLE,
        "old": bad[0],
        "new": bad[1],
        "change": "difference",
        "estimate": change,
        "p": float(fisher_exact([bad, well]).pvalue) if any(bad) else math.nan,
        "test": "Fisher's exact" if any(bad) else "",
        "seeds_old": parts[0].total(),
        "seeds_new": parts[1].total(),
        "verdict": SAME if not change else FAILS_MORE if change > 0 else FAILS_LESS,
        "reason": f"{tallies[0]} → {tallies[1]}" if len(set(tallies)) > 1 else "",
    }


def _cost_rows(name: str, old: Sequence[Record], new: Sequence[Record]) -> Iterator[Row]:
    """Yield a row a cost: exact ones are the same, more or less; others depend on the machine."""
    for cost in COSTS:
        before, after = (
            [c for r in part if r.status in SCORED and (c := getattr(r.costs, cost)) is not None]
            for part in (old, new)
        )
        if before and after:
            means = sum(before) / len(before), sum(after) / len(after)
            verdict = SAME if means[0] == means[1] else "more" if means[1] > means[0] else "less"
            yield {
                "kind": "cost",
                "contender": name,
                "name": cost,
                "old": means[0],
                "new": means[1],
                "change": "ratio",
                "estimate": means[1] / means[0] if means[0] else math.nan,
                "seeds_old": len(before),
                "seeds_new": len(after),
                "verdict": verdict if BY_KEY[cost].cost == "exact" else MACHINE,
            }


def _differences(
    names: Sequence[str], old: dict[str, list[Record]], new: dict[str, list[Record]]
) -> pd.DataFrame:
    """Build a row for each key of specs and environments that differs, with its contenders."""
    found: dict[tuple[str, str, str, str], list[str]] = defaultdict(list)
    for name in names:
        parts = [part.get(name, []) for part in (old, new)]
        if not all(parts):
            continue
        for kind, read in (("setting", _settings), ("environment", _surroundings)):
            before, after = (_gather(map(read, part)) for part in parts)
            for key in dict.fromkeys((*before, *after)):
                values = _join(before[key]), _join(after[key])
                if values[0] != values[1]:
                    found[kind, key, *values].append(name)
    rows = [
        (kind, "all" if len(who) == len(names) else ", ".join(who), key, *values)
        for (kind, key, *values), who in found.items()
    ]
    rows.sort(key=lambda row: row[0], reverse=True)
    return pd.DataFrame(rows, columns=["kind", "contender", "name", "old", "new"])


def _gather(tables: Iterable[dict[str, Any]]) -> dict[str, set[str]]:
    """Collect all values that occur of each key, nested keys joined by dots."""
    gathered = defaultdict[str, set[str]](set)
    for key, value in chain.from_iterable(map(_flatten, tables)):
        gathered[key].add(value)
    return gathered


def _settings(record: Record) -> dict[str, Any]:
    """Return a run's spec but for its seed."""
    return {k: v for k, v in record.spec.items() if k not in {"seed", "contender"}}


def _surroundings(record: Record) -> dict[str, Any]:
    """Return versions and hardware of a run's scoring, by default those of its training."""
    environment = record.scored or record.environment
    return environment.model_dump() if environment else {}


def _flatten(table: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for key, value in table.items():
        if isinstance(value, dict) and value:
            yield from _flatten(value, f"{prefix}{key}.")
        else:
            words = "none" if value is None else json.dumps(value)
            yield f"{prefix}{key}", value if isinstance(value, str) else words


def _list_one_sided(old: Results, new: Results) -> list[str]:
    """List contenders and scores of one side alone, changed calibration, and what was not read."""
    sides = (old, new)
    names = [[entry.name for entry in results.index.contenders] for results in sides]
    metrics = [sorted({s.metric for r in results.records for s in r.scores}) for results in sides]
    notes = [
        f"only the {side} results have {kind}{', '.join(extra)}"
        for kind, parts in (("", names), ("scores by ", metrics))
        for side, own, other in (("old", *parts), ("new", *parts[::-1]))
        if (extra := [name for name in own if name not in set(other)])
    ]
    notes += _calibration_notes(old, new)
    for side, results in (("old", old), ("new", new)):
        notes += [f"{side} results: {warning}" for warning in results.warnings[:NAMED]]
        if len(results.warnings) > NAMED:
            notes.append(f"{side} results: {len(results.warnings) - NAMED:,} more such records")
    return notes


def _calibration_notes(old: Results, new: Results) -> Iterator[str]:
    """Yield a line where scores of calibration rows differ: these have no model."""
    before, after = (
        {
            (r.contender, s.metric, s.extractor, s.n): s.value
            for r in results.records
            if r.family == CALIBRATION
            for s in r.scores
        }
        for results in (old, new)
    )
    moved = [key for key, value in after.items() if before.get(key, value) != value]
    if moved:
        rows = ", ".join(f"{name} {metric}" for name, metric, *_ in moved[:NAMED])
        more = " …" if len(moved) > NAMED else ""
        yield f"the scoring itself has changed: no model is behind {rows}{more}"
