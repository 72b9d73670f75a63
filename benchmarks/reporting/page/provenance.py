"""The origin of a suite's numbers: data, extractor, versions, hardware, commits, durations."""

import json
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.analysis.lookup import runs_by_contender
from benchmarks.config.spec import CALIBRATION
from benchmarks.core.text import count, join_words, show_duration
from benchmarks.records.schema import Environment, Record
from benchmarks.records.store import Results
from benchmarks.reporting.page.templating import show_name

VALUES = 4
"""Different values of one thing that are named."""
SPECS = 200
"""Contenders whose specs are given."""
RANGES = 8
"""Ranges of seeds that are named."""


@dataclass(frozen=True)
class Fact:
    """A thing and its values in the records; `flagged` where they make the result less sure."""

    name: str
    lines: list[str]
    flagged: bool = False


def trace_results(results: Results) -> dict[str, Any]:
    """Trace where the numbers of a suite come from; specs are name, runs in words, and JSON."""
    records = results.records
    trained = [record.environment for record in records if record.environment]
    scored = [e for record in records if (e := record.scored or record.environment)]
    contenders = list(runs_by_contender(r for r in records if r.family != CALIBRATION).items())
    machines = (("Training", trained), ("Scoring", scored))
    return {
        "command": results.index.command,
        "facts": [fact for fact in _list_facts(records) if fact.lines],
        "machines": [(title, describe_environments(found)) for title, found in machines],
        "specs": [_show_spec(name, runs) for name, runs in contenders[:SPECS]],
        "more": max(0, len(contenders) - SPECS),
    }


def _list_facts(records: Sequence[Record]) -> list[Fact]:
    trained = [record for record in records if record.family != CALIBRATION]
    data = [record.spec.get("data") for record in trained]
    sets = [value for value in data if isinstance(value, dict)]
    extractors = [s.extractor for r in records for s in r.scores if s.extractor]
    return [
        Fact("Data set", tally(record.dataset for record in trained)),
        Fact("Data fingerprint (SHA-256)", tally(value.get("fingerprint") for value in sets)),
        Fact("Source images' fingerprint", tally(v.get("source_fingerprint") for v in sets)),
        Fact("Extractors, with their hashes", _shorten_list(sorted(set(extractors)))),
        Fact("Device", tally(record.spec.get("device") for record in trained)),
        Fact("Precision", tally(record.spec.get("precision") for record in trained)),
        Fact("Training in all", _show_total(record.costs.train_seconds for record in trained)),
        Fact("Scoring in all", _show_total(record.costs.score_seconds for record in records)),
    ]


def describe_environments(environments: Sequence[Environment]) -> list[Fact]:
    """List versions, hardware and commits of the machines of some runs."""
    getters: dict[str, Callable[[Environment], Any]] = {
        "Python": lambda e: e.python,
        "Platform": lambda e: e.platform,
        "CPU": lambda e: e.cpu and f"{e.cpu}{f', {e.cores} cores' if e.cores else ''}",
        "Memory": lambda e: e.memory_mb and f"{e.memory_mb / 1024:,.0f} GiB",
        "GPU": lambda e: e.gpu or "none used",
        "Packages": lambda e: ", ".join(f"{k} {v}" for k, v in sorted(e.versions.items())),
    }
    facts = [Fact(name, tally(map(get, environments))) for name, get in getters.items()]
    commits = tally(
        f"{e.git.commit}, {'with uncommitted changes' if e.git.dirty else 'clean'}"
        if e.git
        else "no checkout: the code that ran is not known"
        for e in environments
    )
    dirty = any(e.git is None or e.git.dirty for e in environments)
    return [fact for fact in (*facts, Fact("Git", commits, flagged=dirty)) if fact.lines]


def tally(values: Iterable[Any]) -> list[str]:
    """Tally different values, the most frequent first, with their runs if there are several.

    At most `VALUES` are named; the last line says how many more there are.
    """
    counts = Counter(str(value) for value in values if value is not None)
    if len(counts) == 1:
        return list(counts)
    return _shorten_list([f"{value} ({count(n, 'run')})" for value, n in counts.most_common()])


def _show_total(seconds: Iterable[float | None]) -> list[str]:
    known = [value for value in seconds if value is not None]
    return [show_duration(sum(known))] if known else []


def _show_spec(name: str, runs: Sequence[Record]) -> tuple[str, str, str]:
    """Show the spec of a contender, that of its first run: seeds differ in nothing else."""
    seeds = name_seeds(run.seed for run in runs)
    fields = {key: value for key, value in runs[0].spec.items() if key != "seed"}
    text = json.dumps(fields, indent=2, ensure_ascii=False)
    about = f"{runs[0].family}, {count(len(runs), 'run')}"
    return show_name(name), f"{about}, {seeds}" if seeds else about, text


def name_seeds(seeds: Iterable[int | None]) -> str:
    """List seeds in a few words: `seed 3`, `seeds 0 to 2 and 7`."""
    known = sorted(seed for seed in seeds if seed is not None)
    ranges: list[list[int]] = []
    for seed in known:
        if ranges and seed <= ranges[-1][1] + 1:
            ranges[-1][1] = seed
        else:
            ranges.append([seed, seed])
    words = [f"{first}" if first == last else f"{first} to {last}" for first, last in ranges]
    if len(words) > RANGES:
        words = [*words[:RANGES], f"{len(words) - RANGES:,} more"]
    return f"{'seed' if len(known) == 1 else 'seeds'} {join_words(words)}" if words else ""


def _shorten_list(values: Sequence[str]) -> list[str]:
    """Return the first values, and how many more there are."""
    more = len(values) - VALUES
    return [*values[:VALUES], *([f"and {more:,} more"] if more > 0 else [])]
