"""The files of an audit, read and checked.

Layout of the folder `audit/` in a suite's folder (written by `auditing.store`):

    audit.json                what was audited and how, and the known answers; sealed by a checksum
    verdict.csv               a row a metric, extractor and fault: `VERDICT_COLUMNS`
    floors.csv, curves.csv    the null distributions, and the scores along the ladders
    measurements.csv.gz       every value that was measured
    verdict.md, audit.html, plots/, strips/    the same for people to read

All of it is text and pictures: nothing that is read back is executed.
"""

import hashlib
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, Self

import pandas as pd
from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, model_validator

from benchmarks.core.errors import BadInput, one_line
from benchmarks.core.files import check_within, read_bytes
from benchmarks.records.schema import LARGEST_NUMBER, Environment, Number, Whole
from benchmarks.records.store import read_sealed

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
        title: a noun phrase that reads well after "blind to".
        amounts: how much of it at levels 1..L, the last being total.
        share: whether an amount is a share of bad images.
        unit: what an amount counts, in words.
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
    """A metric that was audited, with the aspects that it claims to see and to ignore."""

    name: str
    symbol: str
    direction: Literal["lower", "higher"]
    sees: list[str]
    ignores: list[str]


class KnownAnswer(_Audited):
    """The outcome of a question whose answer is known.

    Attributes:
        question: what was done, and what is asked.
        expected: the answer that is known.
        found: what was found, or why it could not be asked.
        passed: whether that is as expected; None where it could not be asked.
        values: the numbers behind it, by what they are.
    """

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
    answers: list[KnownAnswer] = Field(default_factory=list)
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


def read_about(folder: Path) -> AuditAbout:
    """Read `audit.json` alone.

    Raises:
        BadInput: it is missing or damaged.
    """
    return read_sealed(folder / "audit.json", AuditAbout)


def digest_table(content: bytes) -> str:
    """Return the SHA-256 of a table, however its lines end."""
    return hashlib.sha256(content.replace(b"\r\n", b"\n")).hexdigest()


def read_audit_table(path: Path, about: AuditAbout) -> pd.DataFrame:
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
        known = {
            "fault": {fault.name for fault in about.faults},
            "metric": {metric.name for metric in about.metrics},
            "extractor": {"", *about.extractors},
        }
        for column in known.keys() & set(table.columns):
            if foreign := set(table[column]) - known[column]:
                raise ValueError(f"audit.json knows no {column} {min(foreign)!r}")
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
