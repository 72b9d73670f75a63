"""A suite: which contenders are trained on what, how long, and how they are scored.

A TOML file becomes a `Suite`, options change it, and `plan_runs` resolves it to one `RunSpec` for
every contender and seed. A run is a function of its spec, and the spec's hash is its name.
"""

import os
import tomllib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args

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
LARGEST_FILE, LONGEST_LINE, DEEPEST = 2**20, 10_000, 20
"""Bytes of a suite's file, characters of a line and tables within tables: parsers take time by the
square of a line, and Python's stack is not endless."""


class Contender(BaseModel):
    """A model with its hyper-parameters, as the suite names it, and its samplers.

    Each sampler is a row of its own, scored from the same training; validation uses the first.
    """

    model_config = ConfigDict(frozen=True)

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$", max_length=60)
    model: str
    settings: dict[str, JsonValue]
    samplers: dict[str, dict[str, JsonValue]] = {}


class PublishedScores(BaseModel):
    """What a paper reports: `scores` by contender and metric, and where they stand."""

    model_config = ConfigDict(extra="forbid")

    source: str
    scores: dict[str, dict[str, FiniteFloat]]


class Suite(BaseModel):
    """What a suite's file says; every key but `contenders` has a default."""

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
    shards: int = Field(1, ge=1, le=FEWEST, description="equal parts that a batch is computed in")
    likelihood: Likelihoods | None = None
    published: PublishedScores | None = None
    contenders: dict[str, dict[str, JsonValue]]

    def list_contenders(self) -> list[Contender]:
        """List the contenders, with the suite's schedule where they name none."""
        rule = {"schedule": self.schedule} if self.schedule else {}
        return [
            Contender.model_validate(read_contender(name, rule | table))
            for name, table in self.contenders.items()
        ]


def list_suites() -> dict[str, str]:
    """List the suites that ship, each with its summary."""
    return {p.stem: read_toml(p).get("summary", "") for p in sorted(SUITES.glob("*.toml"))}


def find_suite(name: str) -> tuple[str, Path]:
    """Give the name and file of a shipped suite or of the user's own TOML file.

    Raises:
        BadInput: there is neither.
    """
    if name in list_suites():
        return name, SUITES / f"{name}.toml"
    path = Path(name)
    if path.suffix == ".toml" and os.path.isfile(path):  # noqa: PTH113 - is_file may raise
        return check_stem(path), path
    if path.suffix == ".toml":
        raise BadInput(f"there is no suite file {name}; shipped: {', '.join(list_suites())}")
    raise BadInput(unknown("suite", name, list_suites()) + ", or name a TOML file")


def check_stem(path: Path) -> str:
    """Give a file's name without its suffix, which is to be a folder's name.

    Raises:
        BadInput: it leads to another folder.
    """
    if not path.stem.strip("."):
        raise BadInput(f"{path}: a suite's file is called after its results, e.g. mine.toml")
    return path.stem


def read_toml(path: Path) -> dict[str, Any]:
    """Parse a TOML file.

    Raises:
        BadInput: it cannot be read, is no TOML, or too large for a suite.
    """
    try:
        with path.open("rb") as file:
            content = file.read(LARGEST_FILE + 1)
        if len(content) > LARGEST_FILE:
            raise BadInput(f"{path}: a suite's file has at most {LARGEST_FILE:,} bytes")
        return parse_toml(content.decode(), str(path))
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"{path}: {one_line(error)}") from error


def parse_toml(text: str, place: str) -> dict[str, Any]:
    """Parse TOML that stands at `place`.

    Raises:
        BadInput: it is none, a line is too long or tables lie too deep in each other.
    """
    if max(map(len, text.splitlines()), default=0) > LONGEST_LINE:
        raise BadInput(f"{place}: a line has at most {LONGEST_LINE:,} characters")
    try:
        table = tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # a ValueError is also a number of 5,000 digits
        raise BadInput(f"{place}: {one_line(error)}") from error
    inner: list[Any] = [table]
    for _ in range(DEEPEST):
        inner = [v for t in inner for v in (t.values() if isinstance(t, dict) else t)]
        inner = [value for value in inner if isinstance(value, dict | list)]
    if inner:
        raise BadInput(f"{place}: tables and arrays lie at most {DEEPEST} deep in each other")
    return table


def build_suite(table: dict[str, Any], place: str) -> Suite:
    """Validate a suite's table; `place` is where it stands, for the message.

    Raises:
        BadInput: a key, a name or a value is wrong.
    """
    check_keys(table, list(Suite.model_fields), place)
    contenders = table.get("contenders")
    if not isinstance(contenders, dict) or not contenders:
        raise BadInput(f"{place}: no contenders; add a table such as [contenders.vae]")
    for name, settings in contenders.items():
        if not isinstance(settings, dict):
            raise BadInput(f"{place}: contenders.{name} must be a table of hyper-parameters")
        check_contender(name, settings, place)
    suite = validate(Suite, table, place)
    validate_all(suite, place)
    try:
        for name in ({suite.extractor} - {AUTO}) | {*suite.views}:
            registry.find_extractor_entry(name)
    except BadInput as error:
        raise BadInput(f"{place}: {error}") from None
    return suite


def validate_all(suite: Suite, place: str) -> None:
    """Check the contenders' names, and that a batch can be computed in its shards."""
    batch, shards = suite.batch, suite.shards
    if batch % shards or batch < 2 * shards:
        fitting = [str(n) for n in range(1, min(batch // 2, FEWEST) + 1) if batch % n == 0]
        raise BadInput(
            f"{place}: shards: a batch of {batch} has no {shards} equal parts of 2 or more images; "
            f"choose from {', '.join(fitting)}"
        )
    for name, table in suite.contenders.items():
        if name in RESERVED:
            raise BadInput(f"{place}: a contender cannot be called {name!r}, a calibration row is")
        validate(Contender, read_contender(name, table), place)
    rows = [name for contender in suite.list_contenders() for name in list_rows(contender)]
    for name in rows:
        validate(Contender, {"name": name, "model": name, "settings": {}}, place)
        if rows.count(name) > 1:
            raise BadInput(f"{place}: two rows are called {name!r}; rename a contender or sampler")


def check_contender(name: str, settings: dict[str, Any], place: str) -> None:
    """Check a contender's model and the names of its hyper-parameters without importing torch."""
    where = f"{place}: contenders.{name}"
    model = settings.get("model", name)
    if not isinstance(model, str):
        raise BadInput(f"{where}.model must be a string, not {model!r}")
    try:
        registry.check_model(model)
    except BadInput as error:
        raise BadInput(f"{where}: {error}") from None
    samplers = settings.get("samplers", {})
    if not isinstance(samplers, dict) or not all(isinstance(t, dict) for t in samplers.values()):
        raise BadInput(
            f"{where}.samplers: write one table per sampler, e.g. "
            f"[contenders.{name}.samplers.mixture]"
        )
    if ":" not in model:
        entry = registry.list_models()[model]
        check_keys(without_model(settings), entry.fields, where)
        for sampler, table in samplers.items():
            check_sampler(table, entry.fields, entry.sampling, f"{where}.samplers.{sampler}")


def without_model(settings: dict[str, Any]) -> dict[str, Any]:
    """Return a contender's hyper-parameters alone."""
    return {key: value for key, value in settings.items() if key not in {"model", "samplers"}}


def read_contender(name: str, table: dict[str, Any]) -> dict[str, Any]:
    """Return the fields of a `Contender`; without a `model` key its name is its model's."""
    return {
        "name": name,
        "model": table.get("model", name),
        "settings": without_model(table),
        "samplers": table.get("samplers", {}),
    }


def list_rows(contender: Contender) -> list[str]:
    """List the names of a contender's rows: its own, or one for each of its samplers."""
    return [f"{contender.name}_{sampler}" for sampler in contender.samplers] or [contender.name]


def check_keys(table: dict[str, Any], valid: Iterable[str], place: str) -> None:
    """Refuse a key that is not valid, naming the nearest that is."""
    for key in table:
        if key not in valid:
            raise BadInput(f"{place}: {unknown('key', key, valid)}")


def check_sampler(
    table: dict[str, Any], fields: Sequence[str], sampling: Sequence[str], place: str
) -> None:
    """Refuse a sampler that sets anything but what concerns sampling alone."""
    check_keys(table, fields, place)
    for key in table:
        if key not in sampling:
            choices = ", ".join(sampling) or "nothing of this model"
            raise BadInput(f"{place}: {key} concerns training; a sampler sets {choices}")


def validate(kind: type[T], table: dict[str, Any], place: str) -> T:
    """Build a pydantic model, or say in one line which value is wrong and what would be right."""
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


def apply_settings(table: dict[str, Any], assignments: list[str]) -> dict[str, Any]:
    """Apply `--set NAME.KEY=VALUE`, NAME a contender or a model, to a suite's table.

    Raises:
        BadInput: an assignment is malformed or names no contender.
    """
    contenders = {name: dict(settings) for name, settings in table["contenders"].items()}
    for text in assignments:
        target, equals, value = text.partition("=")
        name, dot, key = target.strip().rpartition(".")
        if not equals or not dot or not key:
            raise BadInput(f"--set {text}: write NAME.KEY=VALUE, e.g. --set vae.beta=4")
        chosen = [n for n, s in contenders.items() if name in {n, s.get("model", n)}]
        if not chosen:
            raise BadInput(f"--set {text}: {unknown('contender', name, contenders)}")
        for one in chosen:
            samplers = contenders[one].get("samplers")
            if isinstance(samplers, dict) and any(key in s for s in samplers.values()):
                raise BadInput(f"--set {text}: the samplers of {one} set {key}, each its own")
            contenders[one][key] = parse_value(value)
            check_contender(one, contenders[one], f"--set {text}")
    return {**table, "contenders": contenders}


def set_backbone(table: dict[str, Any], backbone: str) -> tuple[dict[str, Any], list[str]]:
    """Set the network body of every contender whose model has it.

    Returns:
        The suite's table, and the contenders that keep their own.

    Raises:
        BadInput: no model has it.
    """
    models = {name: settings.get("model", name) for name, settings in table["contenders"].items()}
    bodies = {name: list_bodies(model) for name, model in models.items()}
    chosen = [name for name, known in bodies.items() if backbone in known]
    if not chosen:
        known = {body for found in bodies.values() for body in found}
        why = unknown("network body", backbone, known) if known else "no contender has any"
        raise BadInput(f"--backbone: {why}")
    table = apply_settings(table, [f'{name}.backbone="{backbone}"' for name in chosen])
    return table, [name for name in bodies if name not in chosen]


def list_bodies(model: str) -> tuple[str, ...]:
    """List the values of a model's hyper-parameter `backbone`; none where it has no such one."""
    field = registry.load_model(model).Config.model_fields.get("backbone")
    return get_args(field.annotation) if field else ()


def parse_value(text: str) -> Any:
    """Read a value as TOML, or as the plain string that it is."""
    try:
        return parse_toml(f"value = {text}", "the value")["value"]
    except BadInput:
        return text.strip()
