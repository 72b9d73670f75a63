"""A suite: which contenders are trained on what, how long, and how they are scored.

A TOML file becomes a `Suite`, options change it, and `plan_runs` resolves it to one `RunSpec` for
every contender and seed. A run is a function of its spec, and the spec's hash is its name.
"""

import hashlib
import json
import os
import shlex
import tomllib
from collections.abc import Hashable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError

from benchmarks import catalogue
from benchmarks.errors import FAILURES, BadInput, one_line, unknown
from benchmarks.extractors import AUTO, choose_extractor
from benchmarks.imports import hash_own
from benchmarks.records import CALIBRATION, Published

if TYPE_CHECKING:
    from benchmarks.data import Dataset
    from models.game import GenerativeModel

T = TypeVar("T", bound=BaseModel)
Schedule = Literal["constant", "linear", "constant_linear", "cosine"]
SUITES = Path(__file__).with_name("suites")
RESERVED = ("real", "noise")
SCORING = frozenset(("protocol", "extractor", "views", "samples", "reconstructions", "likelihood"))
"""What of a run's spec concerns the scores of a trained model alone."""
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


class Likelihoods(BaseModel):
    """How likelihoods are estimated, and of how many test images.

    Attributes:
        images: test images that are estimated.
        importance: codes a image for the importance-weighted bound.
        chains: chains an image of annealed importance sampling; 0 leaves it out.
        distributions: steps of its annealing.
        simulated: images of the model's own by which it is validated.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    images: int = Field(100, ge=2, le=10**7)
    importance: int = Field(5_000, ge=1, le=10**9)
    chains: int = Field(4, ge=0, le=10**6)
    distributions: int = Field(500, ge=2, le=10**9)
    simulated: int = Field(16, ge=2, le=10**7)


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
    published: Published | None = None
    contenders: dict[str, dict[str, JsonValue]]

    def contestants(self) -> list[Contender]:
        """List the contenders, with the suite's schedule where they name none."""
        rule = {"schedule": self.schedule} if self.schedule else {}
        return [
            Contender.model_validate(read_contender(name, rule | table))
            for name, table in self.contenders.items()
        ]


class DataSpec(BaseModel):
    """The data set of a run, with the fingerprints of its content."""

    model_config = ConfigDict(frozen=True)

    name: str
    source: str | None
    image_size: int | None
    channels: int | None
    fingerprint: str
    source_fingerprint: str


class Sampler(BaseModel):
    """Which of a contender's samplers a row is scored by.

    Attributes:
        contender: whose training it is.
        name: of the sampler; the row is called CONTENDER_NAME.
        validation: the settings of the contender's first sampler, by which validation samples.
    """

    model_config = ConfigDict(frozen=True)

    contender: str
    name: str
    validation: dict[str, JsonValue]


class RunSpec(BaseModel):
    """All that determines a run's outcome on a given machine; see `Suite` for the shared fields."""

    model_config = ConfigDict(frozen=True)

    protocol: int
    data: DataSpec
    contender: str
    family: str
    model: str
    model_version: str
    settings: dict[str, JsonValue]
    images: int
    batch: int
    seed: int
    evaluations: int
    samples: int
    reconstructions: int
    extractor: str
    threads: int = Field(ge=1, le=1_024)
    device: str
    precision: str
    compile: bool
    likelihood: Likelihoods | None = None
    shards: int = 1
    views: tuple[str, ...] = ()
    sampler: Sampler | None = None
    loop: int = 1

    @property
    def name(self) -> str:
        """The run's name: contender, seed (none of calibration rows) and the hash of everything."""
        seed = "" if self.family == CALIBRATION else f"-s{self.seed}"
        return f"{self.contender}{seed}-{self.hash}"

    @property
    def hash(self) -> str:
        """The first 8 hex digits of the SHA-256 of the spec as canonical JSON.

        What is left at its default does not count, so that an option can be added to the specs
        without giving the runs of before other names.
        """
        return hash_fields(self.model_dump(exclude_defaults=True))[:8]

    @property
    def training_key(self) -> str:
        """The SHA-256 of all that determines the trained model.

        Runs that differ in nothing but how they sample or are scored share it, and so their
        training; only the best checkpoint has been chosen by one extractor or the other.
        """
        return hash_fields(self.training.model_dump(exclude_defaults=True, exclude=set(SCORING)))

    @property
    def training(self) -> "RunSpec":
        """The spec that is trained: the contender's, with the settings of its first sampler."""
        if self.sampler is None:
            return self
        fields = {
            "contender": self.sampler.contender,
            "settings": self.settings | self.sampler.validation,
            "sampler": None,
        }
        return self.model_copy(update=fields)


def hash_fields(fields: dict[str, Any]) -> str:
    """Give the SHA-256 of fields as canonical JSON."""
    text = json.dumps(fields, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


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
            catalogue.find_extractor(name)
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
    rows = [name for contender in suite.contestants() for name in list_rows(contender)]
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
        catalogue.check_model(model)
    except BadInput as error:
        raise BadInput(f"{where}: {error}") from None
    samplers = settings.get("samplers", {})
    if not isinstance(samplers, dict) or not all(isinstance(t, dict) for t in samplers.values()):
        raise BadInput(
            f"{where}.samplers: write one table per sampler, e.g. "
            f"[contenders.{name}.samplers.mixture]"
        )
    if ":" not in model:
        entry = catalogue.list_models()[model]
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
    field = catalogue.load_model(model).Config.model_fields.get("backbone")
    return get_args(field.annotation) if field else ()


def parse_value(text: str) -> Any:
    """Read a value as TOML, or as the plain string that it is."""
    try:
        return parse_toml(f"value = {text}", "the value")["value"]
    except BadInput:
        return text.strip()


def check_code(table: dict[str, Any], named: Iterable[str], place: str) -> None:
    """Refuse to execute what a suite's file alone names: it may come from anybody.

    Args:
        table: the suite's, with the contenders that are left.
        named: the models that the user names.
        place: where the suite stands, for the message.

    Raises:
        BadInput: a contender's model is code that the user has not named.
    """
    models = {name: settings.get("model", name) for name, settings in table["contenders"].items()}
    for name, model in models.items():
        if ":" in model and model not in named:
            chosen = ",".join(m if ":" in m else n for n, m in models.items())
            raise BadInput(
                f"{place}: contenders.{name} executes {model}; if you trust that code, name it "
                f"yourself by --models {shlex.quote(chosen)}"
            )


def select_models(table: dict[str, Any], names: list[str]) -> dict[str, Any]:
    """Keep the contenders of these names; a model the suite lacks enters with its defaults.

    Raises:
        BadInput: a name is neither a contender nor a model.
    """
    chosen: dict[str, Any] = {}
    for name in names:
        matching = {n: s for n, s in table["contenders"].items() if name in {n, s.get("model", n)}}
        if matching:
            chosen.update(matching)
            continue
        if ":" not in name and name not in catalogue.list_models():
            choices = {*table["contenders"], *catalogue.list_models()}
            raise BadInput(
                f"--models: {unknown('model', name, choices)}; "
                "a model of your own is path/to/file.py:ClassName or package.module:ClassName"
            )
        catalogue.check_model(name)
        chosen[name_contender(name, chosen)] = {"model": name}
    return {**table, "contenders": chosen}


def name_contender(model: str, taken: Iterable[str]) -> str:
    """Call a model that enters by itself after its class, and its file where that name is taken.

    Raises:
        BadInput: both are taken.
    """
    place, _, kind = model.rpartition(":")
    short = kind.lower()
    long = f"{place.removesuffix('.py').replace('/', '.').rpartition('.')[2]}.{short}"
    taken = {*taken, *RESERVED, *catalogue.list_models()} - {model}
    free = [name for name in (short, long) if name not in taken]
    if not free:
        raise BadInput(f"--models: two models are called {long!r}; rename a class or a file")
    return free[0]


def resolve_all(
    contenders: list[Contender], shape: tuple[int, int, int], place: str
) -> list[tuple[Contender, "GenerativeModel"]]:
    """Build every contender's model; of those of one kind the first alone gets its weights.

    Raises:
        BadInput: as `resolve`.
    """
    kinds: set[Hashable] = set()
    found = []
    for contender in contenders:
        kind = (contender.model, outline(contender.settings))
        found.append((contender, resolve(contender, shape, place, empty=kind in kinds)))
        kinds.add(kind)
    return found


def outline(value: JsonValue) -> Hashable:
    """Give what settings have in common that differ in nothing but the size of real numbers.

    Those change what a model learns, and hardly ever what that takes; zero turns something off.
    """
    if isinstance(value, dict):
        return tuple(sorted((key, outline(item)) for key, item in value.items()))
    if isinstance(value, list):
        return tuple(map(outline, value))
    return ("real", bool(value)) if isinstance(value, float) else (type(value).__name__, value)


def resolve(
    contender: Contender, shape: tuple[int, int, int], place: str, *, empty: bool = False
) -> "GenerativeModel":
    """Build a contender's model for images of `shape`, so that what cannot work shows at once.

    With `empty` it has no weights if it can be built without, since drawing them takes a while; and
    none where its constructor fails, which its runs find again.

    Raises:
        BadInput: a hyper-parameter's value is wrong or the shape cannot work.
    """
    import torch

    from models.game import GenerativeModel

    kind = catalogue.load_model(contender.model)
    where = f"{place}: contenders.{contender.name}"
    validate(kind.Config, contender.settings, where)
    for name, table in contender.samplers.items():
        fields, its = list(kind.Config.model_fields), sampling_fields(kind)
        check_sampler(table, fields, its, f"{where}.samplers.{name}")
        validate(kind.Config, contender.settings | table, f"{where}.samplers.{name}")
    config = validate(kind.Config, contender.settings | first_sampler(contender), where)
    if empty:
        with suppress(*FAILURES), torch.device("meta"):
            return kind(config, shape)
    try:
        return kind(config, shape)
    except ValueError as error:
        hint = "; --image-size N brings them to another size" if shape[1] > 1 else ""
        raise BadInput(f"{where}: {error}{hint}") from error
    except FAILURES:
        bare = kind.__new__(kind)
        GenerativeModel.__init__(bare, config, shape)
        return bare


def sampling_fields(kind: "type[GenerativeModel]") -> list[str]:
    """List the hyper-parameters of a model that concern sampling alone."""
    extras = {name: field.json_schema_extra for name, field in kind.Config.model_fields.items()}
    return [
        name for name, extra in extras.items() if isinstance(extra, dict) and "sampling" in extra
    ]


def first_sampler(contender: Contender) -> dict[str, JsonValue]:
    """Return the settings of the first of a contender's samplers; empty where it lists none."""
    return next(iter(contender.samplers.values()), {})


def split_rows(contender: Contender, first: RunSpec, model: "GenerativeModel") -> list[RunSpec]:
    """Return a spec for each row of a contender: `first`, or one for each of its samplers."""
    if not contender.samplers:
        return [first]
    validation = {name: first.settings[name] for name in sampling_fields(type(model))}
    rows = []
    for name, row in zip(contender.samplers, list_rows(contender), strict=True):
        settings = contender.settings | contender.samplers[name]
        config = type(model).Config.model_validate(settings).model_dump(mode="json")
        sampler = Sampler(contender=contender.name, name=name, validation=validation)
        fields = {"contender": row, "settings": config, "sampler": sampler}
        rows.append(first.model_copy(update=fields))
    return rows


def plan_runs(
    suite: Suite,
    data: "Dataset",
    place: str,
    *,
    device: str,
    precision: str = "float32",
    compile_: bool = False,
    weights: Path | None = None,
) -> list[RunSpec]:
    """Resolve a suite on its data to its runs, seeds outermost so that early results compare.

    Raises:
        BadInput: a contender cannot work on this data, or there are not enough images.
    """
    from benchmarks.protocol import PROTOCOL
    from benchmarks.training import LOOP

    chosen = choose_extractor(suite.extractor, data, weights)
    suite = suite.model_copy(update={"extractor": chosen})
    models = resolve_all(suite.contestants(), data.shape, place)
    samples = count_samples(suite, data, place, [c.name for c, m in models if m.uses_source])
    shared = suite.model_dump(
        include={"images", "batch", "evaluations", "extractor", "threads", "shards"}
    )
    data_spec = DataSpec(
        name=suite.dataset,
        source=data.source,
        image_size=suite.image_size,
        channels=suite.channels,
        fingerprint=data.fingerprint,
        source_fingerprint=data.source_fingerprint,
    )
    firsts: list[RunSpec] = []
    for contender, model in models:
        first = RunSpec(
            protocol=PROTOCOL,
            data=data_spec,
            contender=contender.name,
            family=type(model).__name__.lower(),
            model=contender.model,
            model_version=model_version(contender.model, model),
            settings=model.config.model_dump(mode="json"),
            seed=0,
            samples=samples,
            reconstructions=min(suite.reconstructions, len(data.test)),
            device=device,
            precision=precision,
            compile=compile_,
            # Models that ship have versions instead, raised where the loop trains them otherwise.
            loop=LOOP if compile_ or ":" in contender.model else 1,
            likelihood=suite.likelihood,
            views=tuple(view for view in dict.fromkeys(suite.views) if view != suite.extractor),
            **shared,
        )
        firsts += split_rows(contender, first, model)
    # Copies are not checked again, which takes a while for thousands of runs.
    return [
        first.model_copy(update={"seed": seed}) for seed in range(suite.seeds) for first in firsts
    ]


def count_samples(suite: Suite, data: "Dataset", place: str, translators: list[str]) -> int:
    """Decide how many images every contender generates.

    Translators generate from held-out source images, each used once; all contenders generate as
    many, since scores at different sample sizes do not compare.

    Raises:
        BadInput: more samples are asked for than there are source images, or there are too few.
    """
    sizes = {"training": len(data.train), "test": len(data.test), "source": len(data.source_test)}
    smallest = min(sizes, key=lambda name: sizes[name])
    if sizes[smallest] < FEWEST:
        raise BadInput(
            f"{place}: {suite.dataset} leaves {sizes[smallest]} {smallest} images, and scores need "
            f"at least {FEWEST}; give more images"
        )
    available = len(data.source_test)
    wanted = suite.samples or min(available, len(data.test))
    if wanted > available and translators:
        raise BadInput(
            f"{place}: samples: {translators[0]} generates from held-out sources, of which "
            f"{suite.dataset} has {available}; ask for fewer or leave {translators[0]} out"
        )
    return wanted


def model_version(reference: str, model: "type[GenerativeModel] | GenerativeModel") -> str:
    """Tell which version of a model's code a run is made with; the user's own by its hash."""
    code = hash_own(reference.rpartition(":")[0]) if ":" in reference else ""
    return f"{model.version}@{code}" if code else str(model.version)
