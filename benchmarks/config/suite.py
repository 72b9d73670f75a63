"""A suite: which contenders are trained on what, how long, and how they are scored.

A TOML file becomes a `Suite`, and `plan_runs` resolves it to one `RunSpec` for every contender and
seed.
"""

import os
import tomllib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, JsonValue, ValidationError

from benchmarks import ROOT
from benchmarks.config import registry
from benchmarks.config.spec import Likelihoods
from benchmarks.core.errors import BadInput, one_line, unknown

AUTO = "auto"
"""The extractor that suits the data, whichever that is."""

T = TypeVar("T", bound=BaseModel)
Schedule = Literal["constant", "linear", "constant_linear", "cosine"]
SUITES = ROOT / "benchmarks" / "suites"
RESERVED = ("real", "noise")
FEWEST = 64
"""Images below which no score means anything, generated or real."""


class Contender(BaseModel):
    """A model with its hyper-parameters, as the suite names it, and its samplers.

    Each sampler is a row of its own, scored from the same training; validation uses the first.
    """

    model_config = ConfigDict(frozen=True)

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$", max_length=60)
    model: str
    settings: dict[str, JsonValue]
    samplers: dict[str, dict[str, JsonValue]] = {}

    @property
    def rows(self) -> list[str]:
        """The names of its rows: its own, or one for each of its samplers."""
        return [f"{self.name}_{sampler}" for sampler in self.samplers] or [self.name]


class PublishedScores(BaseModel):
    """Scores that a paper reports, by contender and metric, and their `source`."""

    model_config = ConfigDict(extra="forbid")

    source: str
    scores: dict[str, dict[str, FiniteFloat]]


class Suite(BaseModel):
    """The content of a suite's file; every key but `contenders` has a default."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    summary: str = ""
    dataset: str = "digits"
    source: str | None = None
    image_size: int | None = Field(None, ge=5, le=1024)
    channels: Literal[1, 3] | None = None
    images: int = Field(200_000, ge=1, le=10**12, description="training images a contender sees")
    batch: int = Field(64, ge=2, le=10**6)
    schedule: Schedule | None = Field(None, description="of all contenders that name none")
    seeds: int = Field(3, ge=1, le=10_000)
    evaluations: int = Field(10, ge=1, le=10_000, description="validation scores over training")
    samples: int | None = Field(None, ge=FEWEST, le=10**7, description="None: one a source image")
    reconstructions: int = Field(1_000, ge=10, le=10**7)
    extractor: str = Field(AUTO, description="auto: what suits the data")
    views: list[str] = Field([], description="further extractors by which FID is taken too")
    threads: int = Field(1, ge=1, le=1_024)
    shards: int = Field(1, ge=1, le=FEWEST, description="processes of torchrun for a run")
    likelihood: Likelihoods | None = None
    published: PublishedScores | None = None
    contenders: dict[str, dict[str, JsonValue]]

    def list_contenders(self) -> list[Contender]:
        """List the contenders, with the suite's schedule where they name none."""
        rule = {"schedule": self.schedule} if self.schedule else {}
        return [parse_contender(name, rule | table) for name, table in self.contenders.items()]


def list_suites() -> dict[str, str]:
    """List the suites that ship, each with its summary."""
    return {p.stem: read_toml(p).get("summary", "") for p in sorted(SUITES.glob("*.toml"))}


def find_suite(name: str) -> tuple[str, Path]:
    """Return the name and the file of a shipped suite or of the user's own TOML file.

    Raises BadInput where there is neither, or the file's name is no name of a folder of results.
    """
    shipped = list_suites()
    if name in shipped:
        return name, SUITES / f"{name}.toml"
    path = Path(name)
    if path.suffix != ".toml":
        raise BadInput(unknown("suite", name, shipped) + ", or name a TOML file")
    if not os.path.isfile(path):  # noqa: PTH113 - is_file may raise
        raise BadInput(f"there is no suite file {name}; shipped: {', '.join(shipped)}")
    if not path.stem.strip("."):
        raise BadInput(f"{path}: a suite's file is called after its results, e.g. mine.toml")
    return path.stem, path


def read_toml(path: Path) -> dict[str, Any]:
    """Read a TOML file; raise BadInput if it cannot be read or is no TOML."""
    try:
        with path.open("rb") as file:
            return tomllib.load(file)
    except (OSError, ValueError, RecursionError) as error:
        raise BadInput(f"{path}: {one_line(error)}") from error


def build_suite(table: dict[str, Any], place: str) -> Suite:
    """Validate a suite's table, or raise BadInput; `place` names the file in messages."""
    check_keys(table, Suite.model_fields, place)
    contenders = table.get("contenders")
    if not isinstance(contenders, dict) or not contenders:
        raise BadInput(f"{place}: no contenders; add a table such as [contenders.vae]")
    for name, settings in contenders.items():
        if not isinstance(settings, dict):
            raise BadInput(f"{place}: contenders.{name} must be a table of hyper-parameters")
        check_contender(name, settings, place)
    suite = validate(Suite, table, place)
    check_shards(suite, place)
    check_names(suite, place)
    with at(place):
        for name in {suite.extractor, *suite.views} - {AUTO}:
            registry.find_extractor_entry(name)
    return suite


def check_shards(suite: Suite, place: str) -> None:
    """Refuse a batch that cannot be computed in its shards."""
    batch, shards = suite.batch, suite.shards
    if batch % shards or batch < 2 * shards:
        fitting = [str(n) for n in range(1, min(batch // 2, FEWEST) + 1) if batch % n == 0]
        raise BadInput(
            f"{place}: shards: a batch of {batch} has no {shards} equal parts of 2 or more images; "
            f"choose from {', '.join(fitting)}"
        )


def check_names(suite: Suite, place: str) -> None:
    """Refuse contenders and rows whose names are none of a folder, reserved, or used twice."""
    rows: list[str] = []
    for name, table in suite.contenders.items():
        if name in RESERVED:
            raise BadInput(f"{place}: a contender cannot be called {name!r}, a calibration row is")
        rows += parse_contender(name, table, place).rows
    for row in rows:
        parse_contender(row, {}, place)
        if rows.count(row) > 1:
            raise BadInput(f"{place}: two rows are called {row!r}; rename a contender or sampler")


def parse_contender(name: str, table: dict[str, Any], place: str = "") -> Contender:
    """Build a `Contender` from its table; without a `model` key its name is its model's."""
    settings = {"settings": hyper_parameters(table), "samplers": table.get("samplers", {})}
    return validate(Contender, {"name": name, "model": table.get("model", name)} | settings, place)


def hyper_parameters(table: dict[str, Any]) -> dict[str, Any]:
    """Return the hyper-parameters in a contender's table."""
    return {key: value for key, value in table.items() if key not in {"model", "samplers"}}


def check_contender(name: str, table: dict[str, Any], place: str) -> None:
    """Check a contender's model and the names of its hyper-parameters without importing torch."""
    where = f"{place}: contenders.{name}"
    model = table.get("model", name)
    if not isinstance(model, str):
        raise BadInput(f"{where}.model must be a string, not {model!r}")
    with at(where):
        registry.check_model(model)
    samplers = table.get("samplers", {})
    if not isinstance(samplers, dict) or not all(isinstance(t, dict) for t in samplers.values()):
        example = f"[contenders.{name}.samplers.mixture]"
        raise BadInput(f"{where}.samplers: write one table per sampler, e.g. {example}")
    if ":" not in model:
        entry = registry.list_models()[model]
        check_keys(hyper_parameters(table), entry.fields, where)
        for sampler, settings in samplers.items():
            check_sampler(settings, entry.fields, entry.sampling, f"{where}.samplers.{sampler}")


def check_sampler(
    settings: dict[str, Any], fields: Sequence[str], sampling: Sequence[str], place: str
) -> None:
    """Refuse a sampler that sets a hyper-parameter of training, or an unknown one."""
    check_keys(settings, fields, place)
    for key in settings:
        if key not in sampling:
            choices = ", ".join(sampling) or "nothing of this model"
            raise BadInput(f"{place}: {key} concerns training; a sampler sets {choices}")


def check_keys(table: dict[str, Any], valid: Iterable[str], place: str) -> None:
    """Refuse a key that is not valid, naming the nearest that is."""
    for key in table:
        if key not in valid:
            raise BadInput(f"{place}: {unknown('key', key, valid)}")


@contextmanager
def at(place: str) -> Iterator[None]:
    """Prefix the place of the wrong input in a `BadInput` that is raised within."""
    try:
        yield
    except BadInput as error:
        raise BadInput(f"{place}: {error}") from None


def validate(kind: type[T], table: dict[str, Any], place: str) -> T:
    """Build a pydantic model, or raise BadInput; `place` names the table in messages."""
    try:
        return kind.model_validate(table)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"]) or kind.__name__
        given = f", not {first['input']!r}" if first["loc"] else ""
        message = first["msg"].removeprefix("Value error, ")
        if first["type"] == "extra_forbidden":
            message, given = unknown("key", str(first["loc"][-1]), kind.model_fields), ""
        raise BadInput(f"{place}: {key}: {message}{given}") from None
