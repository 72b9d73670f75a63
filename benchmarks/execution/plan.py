"""From a suite to the specs of its runs: every contender and seed, with all settings resolved."""

import shlex
from collections.abc import Hashable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import JsonValue

from benchmarks.config import registry
from benchmarks.config.source import hash_user_code
from benchmarks.config.spec import DataSpec, RunSpec, Sampler
from benchmarks.core.errors import FAILURES, BadInput, unknown
from benchmarks.evaluation.extractors import choose_extractor

if TYPE_CHECKING:
    from benchmarks.data import Dataset
    from models.base import GenerativeModel
from benchmarks.config.suite import (
    FEWEST,
    RESERVED,
    Contender,
    Suite,
    check_sampler,
    validate,
)


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
        if ":" not in name and name not in registry.list_models():
            choices = {*table["contenders"], *registry.list_models()}
            raise BadInput(
                f"--models: {unknown('model', name, choices)}; "
                "a model of your own is path/to/file.py:ClassName or package.module:ClassName"
            )
        registry.check_model(name)
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
    taken = {*taken, *RESERVED, *registry.list_models()} - {model}
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

    from models.base import GenerativeModel

    kind = registry.load_model(contender.model)
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
    for name, row in zip(contender.samplers, contender.rows, strict=True):
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
    from benchmarks.config.spec import PROTOCOL
    from benchmarks.training.loop import LOOP

    chosen = choose_extractor(suite.extractor, data, weights)
    suite = suite.model_copy(update={"extractor": chosen})
    models = resolve_all(suite.list_contenders(), data.shape, place)
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
    code = hash_user_code(reference.rpartition(":")[0]) if ":" in reference else ""
    return f"{model.version}@{code}" if code else str(model.version)
