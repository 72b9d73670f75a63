"""Audits as reports read them: an audit's files, and the audit that covers a suite's scores.

Layout of the folder `audit/` in a suite's folder (written by `auditing.store`):

    audit.json                what was audited and how, and the known answers; sealed by a checksum
    verdict.csv               a row a metric, extractor and fault: `VERDICT_COLUMNS`
    floors.csv, curves.csv    the null distributions, and the scores along the ladders
    measurements.csv.gz       every value that was measured
    verdict.md, audit.html, plots/, strips/    the same for people to read

All of it is text and pictures: nothing that is read back is executed.
"""

import argparse
import hashlib
import io
import json
import shlex
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self

import pandas as pd
from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, model_validator

from benchmarks.core.errors import BadInput, one_line
from benchmarks.core.files import check_within, read_bytes
from benchmarks.core.text import join_words, plain, shorten
from benchmarks.records.schema import LARGEST_NUMBER, Environment, Number, Whole
from benchmarks.records.store import Results, read_sealed
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
KEPT = {"True": True, "False": False, "": None}
CHOICES = {
    "verdict": ("sees", "sees late", "blind", "misled", "undecided"),
    "promise": ("sees", "ignores", ""),
    "kept": tuple(KEPT),
    "size": ("full", "quarter"),
}
"""Columns with a fixed set of values."""
TEXTS = (
    *("dataset", "metric", "extractor", "fault", "aspect"),
    *("verdict", "promise", "kept", "note", "size"),
)
"""Columns of words; all others are numbers."""
VERDICT_COLUMNS = (
    *("metric", "extractor", "fault", "aspect", "verdict", "tau", "tau_low", "tau_high"),
    *("threshold", "threshold_amount", "threshold_quarter", "linearity", "drift"),
    *("promise", "kept", "note"),
)
FLOOR_COLUMNS = (
    *("metric", "extractor", "size", "n", "mean", "deviation", "low", "high", "splits", "bias"),
)
CURVE_COLUMNS = (
    *("metric", "extractor", "fault", "level", "amount", "size", "n"),
    *("mean", "low", "high", "excess"),
)
TABLES = {
    "verdict.csv": ("dataset", *VERDICT_COLUMNS),
    "floors.csv": FLOOR_COLUMNS,
    "curves.csv": CURVE_COLUMNS,
}
"""The tables of an audit with the columns that each must have."""
AUDITED = ("dataset", "image-size", "channels", "data-root", "extractor", "inception-weights")
"""Options of a comparison that an audit of its scores has too."""


class _Audited(BaseModel):
    """A part of `audit.json`; fields that later versions add are kept."""

    model_config = ConfigDict(extra="allow", populate_by_name=True, ser_json_inf_nan="null")


class _Data(_Audited):
    name: str
    shape: list[Whole] = Field(min_length=3, max_length=3)
    fingerprint: str


class FaultInfo(_Audited):
    """A fault that images, sets or features were damaged by.

    Attributes:
        name: what it is called on the command line.
        title: a noun phrase that reads well after "blind to".
        aspect: what it damages.
        amounts: how much of it at levels 1..L, the last being total.
        share: whether an amount is a share of bad images.
        unit: what an amount counts, in words.
        summary: what is done, in one line.
        shown: the amounts in words.
    """

    name: str
    title: str
    aspect: str
    amounts: list[FiniteFloat]
    share: bool
    unit: str
    summary: str
    shown: list[str]

    @model_validator(mode="after")
    def _check_amounts(self) -> Self:
        if len(self.shown) != len(self.amounts):
            raise ValueError("as many amounts as words for them are needed")
        return self


class MetricInfo(_Audited):
    """A metric that was audited.

    Attributes:
        name: what it is called on the command line.
        symbol: its heading in a table.
        direction: whichever is better.
        sees: aspects it claims to see.
        ignores: aspects by which it claims not to be moved.
    """

    name: str
    symbol: str
    direction: Literal["lower", "higher"]
    sees: list[str]
    ignores: list[str]


class _Answer(_Audited):
    name: str
    question: str
    expected: str
    found: str
    passed: bool | None
    values: dict[str, Number]


class AuditAbout(_Audited):
    """`audit.json`: what was audited, and how.

    Attributes:
        extractors: `name@hash` each.
        samples: images in each of the sets that are compared.
        quarter: images in them at a quarter of the size.
        training: how many images memorisers draw from.
        pool: how many held-out images the sets are drawn from.
        classes: how many classes there are; found by clustering where `clustered`.
        digests: SHA-256 of each table that is read back, so that no two audits are mixed.
    """

    schema_version: Literal[1] = Field(default=1, alias="schema")
    dataset: _Data
    extractors: list[str]
    samples: Whole
    quarter: Whole
    training: Whole
    pool: Whole
    splits: Whole
    repetitions: Whole
    quarter_repetitions: Whole | None = None
    seed: int
    clustered: bool
    classes: Whole
    faults: list[FaultInfo]
    metrics: list[MetricInfo]
    answers: list[_Answer] = Field(default_factory=list)
    advice: list[str] = Field(default_factory=list)
    command: str = ""
    environment: Environment | None = None
    seconds: FiniteFloat = Field(ge=0, le=LARGEST_NUMBER)
    digests: dict[str, str]

    @model_validator(mode="after")
    def _check_names(self) -> Self:
        for kind, entries in (("faults", self.faults), ("metrics", self.metrics)):
            names = [entry.name for entry in entries]
            if len(set(names)) < len(names):
                raise ValueError(f"two {kind} have the same name")
        return self

    @property
    def fields(self) -> dict[str, Any]:
        """The content as JSON has it."""
        found: dict[str, Any] = json.loads(self.model_dump_json(by_alias=True))
        return found

    def check_known(self, table: pd.DataFrame) -> None:
        """Raise ValueError if a table holds faults, metrics or extractors that were not audited."""
        known = {
            "fault": {fault.name for fault in self.faults},
            "metric": {metric.name for metric in self.metrics},
            "extractor": {"", *self.extractors},
        }
        for column in known.keys() & set(table.columns):
            if foreign := set(table[column]) - known[column]:
                raise ValueError(f"audit.json knows no {column} {min(foreign)!r}")


@dataclass(frozen=True)
class Audit:
    """An audit read back.

    Attributes:
        folder: where it is.
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
        rows = rows[rows["promise"] == "sees"]
        found = {verdict: rows.loc[rows["verdict"] == verdict, "fault"] for verdict in FAILED}
        return [
            f"{verdict} {FAILED[verdict]} {join_words(list(map(self.name_fault, faults)), NAMED)}"
            for verdict, faults in found.items()
            if len(faults)
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

    def name_fault(self, fault: str) -> str:
        """Return what a fault is called in a sentence."""
        titles = {known["name"]: known["title"] for known in self.about["faults"]}
        return shorten(plain(titles.get(fault, fault)), LONGEST)

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
    tables = {name: _read_table(folder / name, about) for name in TABLES}
    verdicts = tables["verdict.csv"].drop(columns="dataset")
    verdicts["kept"] = pd.Series(map(KEPT.get, verdicts["kept"]), verdicts.index, dtype=object)
    return Audit(folder, about.fields, verdicts, tables["floors.csv"], tables["curves.csv"])


def read_about(folder: Path) -> AuditAbout:
    """Read `audit.json` alone.

    Raises:
        BadInput: it is missing or damaged.
    """
    return read_sealed(folder / "audit.json", AuditAbout)


def find_audit(results: Results, warnings: list[str] | None = None) -> Audit | None:
    """Find the audit that covers a suite's scores: its own, else the published one of its data.

    An audit of other data covers nothing.

    Args:
        results: the suite.
        warnings: gets a line where the audit is damaged or of other data.
    """
    return find_audit_of(results.folder, find_fingerprints(results), warnings)


def find_audit_of(
    folder: Path, fingerprints: Iterable[str], warnings: list[str] | None = None
) -> Audit | None:
    """Find the audit that covers scores in a suite's folder on data of these fingerprints.

    Results without a fingerprint are covered by their folder's own audit alone.
    """
    data, lines = set(fingerprints), [] if warnings is None else warnings
    own = folder / FOLDER
    for place in (own, *sorted(path.parent for path in PUBLISHED.glob(f"*/{FOLDER}/audit.json"))):
        try:
            if not (place / "audit.json").exists():
                continue
            check_within(place / "audit.json", place.parent)
            found = {read_about(place).dataset.fingerprint}
            if data == found or (place == own and not data):
                return read_audit(place)
            if place == own:
                lines.append(f"{own} is of other data than the results beside it: it is left out")
        except BadInput as error:
            lines.append(str(error))
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
    audit = find_audit_of(folder, fingerprints, warnings)
    if audit is None:
        why = warnings[0] if warnings else f"no audit covers the scores in {folder}"
        command = suggest_audit(options, dataset, folder)
        raise BadInput(f"--require-audit: {why}; make one by {command}")
    return audit


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
    for name in AUDITED:
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


def digest_table(content: bytes) -> str:
    """Return the SHA-256 of a table, however its lines end."""
    return hashlib.sha256(content.replace(b"\r\n", b"\n")).hexdigest()


def _read_table(path: Path, about: AuditAbout) -> pd.DataFrame:
    """Read a table of an audit.

    Raises:
        BadInput: it is missing, damaged or of another audit.
    """
    check_within(path, path.parent)
    content = read_bytes(path)
    if digest_table(content) != about.digests.get(path.name):
        raise BadInput(f"{path} is damaged: its content does not match audit.json beside it")
    try:
        table = parse_table(content, TABLES[path.name])
        about.check_known(table)
    except (ValueError, OverflowError, MemoryError) as error:
        raise BadInput(f"{path} is no readable table: {one_line(error)}") from error
    return table


def parse_table(content: bytes, columns: Sequence[str]) -> pd.DataFrame:
    """Read CSV: words where words belong, even if they read `nan`, and numbers elsewhere."""
    table = pd.read_csv(
        io.BytesIO(content),
        dtype=dict.fromkeys(TEXTS, "str"),
        keep_default_na=False,
        na_values=[""],
    )
    if missing := set(columns) - set(table.columns):
        raise ValueError(f"no column {', '.join(sorted(missing))}")
    words = [name for name in columns if name in TEXTS]
    table[words] = table[words].fillna("").astype(object)
    for name in columns:
        if wrong := set(table[name]) - set(CHOICES[name]) if name in CHOICES else None:
            raise ValueError(f"{name} {min(wrong)!r}")
        if name not in words and table[name].dtype.kind not in "if":
            table[name] = table[name].astype(float)
    return table
