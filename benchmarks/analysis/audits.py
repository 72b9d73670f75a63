"""Audits as reports read them: an audit read back, and the audit that covers a suite's scores."""

import argparse
import shlex
from collections import defaultdict
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from benchmarks.analysis.audit_files import KEPT, TABLES, read_about, read_audit_table
from benchmarks.core.errors import BadInput
from benchmarks.core.files import check_within
from benchmarks.core.text import join_words, plain, shorten
from benchmarks.records.store import Results
from benchmarks.statistics.intervals import SAME_RANGE

FOLDER = "audit"
"""Of a suite's folder, the one of its audit."""
PUBLISHED = Path(__file__).resolve().parents[2] / "results" / "reference"
"""The suites of the checkout, whose audits cover all results on the same data."""
LONGEST = 60
"""Characters of a fault's name."""
NAMED = 5
"""Faults named in a sentence, at most; the rest is counted."""
FAILED = {"blind": "to", "misled": "by"}
"""Verdicts that fail a metric which claims to see a fault, and how they continue in words."""
AUDIT_OPTIONS = ("dataset", "image-size", "channels", "data-root", "extractor", "inception-weights")
"""Options of a comparison that an audit of its scores has too."""


@dataclass(frozen=True)
class Audit:
    """An audit read back.

    Attributes:
        about: the content of `audit.json`, see `AuditAbout`.
        verdicts: a row a metric, extractor and fault, with `VERDICT_COLUMNS`.
        floors: a row a metric, extractor, size and count, with `FLOOR_COLUMNS`.
        curves: a row a metric, extractor, fault, level and size, with `CURVE_COLUMNS`.
    """

    folder: Path
    about: dict[str, Any]
    verdicts: pd.DataFrame
    floors: pd.DataFrame
    curves: pd.DataFrame

    def failures(self, metric: str, extractor: str | None) -> list[str]:
        """Return for which faults a score's audit failed, in words; none where it passed.

        It failed for a fault that the metric claims to see, and to which it is blind or by which it
        is misled.

        Args:
            metric: its name; `fid_best` and the like are as good as what they are made of.
            extractor: `name@hash` of the score. Another hash is another training of the same
                recipe, which an audit covers as well.

        Returns:
            `blind to shift and warp`, `misled by duplicates`: at most one of each.
        """
        rows = self._rows(metric, extractor)
        titles = {fault["name"]: fault["title"] for fault in self.about["faults"]}
        found = defaultdict[str, list[str]](list)
        for fault, verdict in rows.loc[rows["promise"] == "sees", ["fault", "verdict"]].to_numpy():
            found[verdict].append(shorten(plain(titles.get(fault, fault)), LONGEST))
        return [
            f"{verdict} {word} {join_words(found[verdict], NAMED)}"
            for verdict, word in FAILED.items()
            if verdict in found
        ]

    def covers(self, metric: str, extractor: str | None) -> bool:
        """Return whether a score was audited."""
        return not self._rows(metric, extractor).empty

    def find_extractor(self, extractor: str | None) -> str | None:
        """Find the audited extractor for a score's: itself, else one of the same name."""
        audited = list(map(str, self.about["extractors"]))
        if extractor is None or extractor in audited:
            return extractor
        return next((name for name in audited if name_recipe(name) == name_recipe(extractor)), None)

    def _rows(self, metric: str, extractor: str | None) -> pd.DataFrame:
        """Select the verdicts on a score; those on metrics of pairs have no extractor."""
        known = self.verdicts["extractor"].isin(["", self.find_extractor(extractor)])
        return self.verdicts[known & (self.verdicts["metric"] == SAME_RANGE.get(metric, metric))]


def read_audit(folder: Path) -> Audit:
    """Read an audit's folder.

    Raises:
        BadInput: it is missing or damaged, or its files are of different audits.
    """
    about = read_about(folder)
    tables = {name: read_audit_table(folder / name, about) for name in TABLES}
    verdicts = tables["verdict.csv"].drop(columns="dataset")
    verdicts["kept"] = pd.Series(map(KEPT.get, verdicts["kept"]), verdicts.index, dtype=object)
    return Audit(folder, about.fields, verdicts, tables["floors.csv"], tables["curves.csv"])


def find_audit(results: Results, warnings: list[str]) -> Audit | None:
    """Find the audit that covers a suite's scores: its own, else the published one of its data.

    `warnings` gets a line where the audit is damaged or of other data, which covers nothing.
    """
    return find_audit_of(results.folder, find_fingerprints(results), warnings)


def find_audit_of(folder: Path, fingerprints: Iterable[str], warnings: list[str]) -> Audit | None:
    """Find the audit that covers scores in a suite's folder on data of these fingerprints.

    Results without a fingerprint are covered by their folder's own audit alone.
    """
    data, own = set(fingerprints), folder / FOLDER
    for place in (own, *sorted(path.parent for path in PUBLISHED.glob(f"*/{FOLDER}/audit.json"))):
        try:
            if not (place / "audit.json").exists():
                continue
            check_within(place / "audit.json", place.parent)
            found = {read_about(place).dataset.fingerprint}
            if data == found or (place == own and not data):
                return read_audit(place)
            if place == own:
                why = "of other data than the results beside it: it is left out"
                warnings.append(f"{own} is {why}")
        except BadInput as error:
            warnings.append(str(error))
    return None


def demand_audit(results: Results) -> Audit:
    """Find the audit of a suite's scores where one is required.

    Raises:
        BadInput: there is none that can be read; names the command that makes one.
    """
    fingerprints, options = find_fingerprints(results), recall_options(results.index.command)
    return demand_audit_of(results.folder, fingerprints, options, results.index.dataset)


def demand_audit_of(
    folder: Path, fingerprints: Iterable[str], options: Sequence[str], dataset: str
) -> Audit:
    """Find the audit of the scores that a comparison with these options writes into a folder."""
    warnings = list[str]()
    if audit := find_audit_of(folder, fingerprints, warnings):
        return audit
    why = warnings[0] if warnings else f"no audit covers the scores in {folder}"
    command = suggest_audit(options, dataset, folder)
    raise BadInput(f"--require-audit: {why}; make one by {command}")


def recall_options(command: str) -> list[str]:
    """Return the options in a recorded command of a comparison, none where it is another one."""
    with suppress(ValueError):
        words = shlex.split(command)
        if words[:3] == ["python", "-m", "benchmarks.run"]:
            return words[3:]
    return []


def suggest_audit(options: Sequence[str], dataset: str, folder: Path) -> str:
    """Return the command that audits the scores of a comparison with these options."""
    parser = argparse.ArgumentParser(allow_abbrev=False, add_help=False, exit_on_error=False)
    for name in AUDIT_OPTIONS:
        parser.add_argument(f"--{name}")
    suite = [word for word in options[:1] if not word.startswith("-")]
    given: dict[str, str | None] = {}
    with suppress(argparse.ArgumentError):
        given = vars(parser.parse_known_args(options[len(suite) :])[0])
    words = [w for k, v in given.items() if v for w in (f"--{k.replace('_', '-')}", v)]
    if not suite and "--dataset" not in words:
        words = ["--dataset", dataset, *words]
    return shlex.join(["python", "-m", "benchmarks.audit", *suite, *words, "--out", str(folder)])


def find_fingerprints(results: Results) -> set[str]:
    """Return the fingerprints of the data of a suite's runs: normally one."""
    data = (record.spec.get("data") for record in results.records)
    return {str(d["fingerprint"]) for d in data if isinstance(d, dict) and d.get("fingerprint")}


def name_recipe(extractor: str) -> str:
    """Return an extractor's name without the hash of its weights."""
    return extractor.rpartition("@")[0] or extractor
