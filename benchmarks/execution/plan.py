"""From a suite to the specs of its runs: every contender and seed, with all settings resolved."""

from collections.abc import Hashable
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from pydantic import JsonValue
from torch import nn

from benchmarks.config import registry
from benchmarks.config.source import hash_user_code
from benchmarks.config.spec import PROTOCOL, DataSpec, RunSpec, Sampler
from benchmarks.config.suite import FEWEST, Contender, Suite, check_sampler, validate
from benchmarks.core.devices import multiplies_bfloat16
from benchmarks.core.errors import FAILURES, BadInput
from benchmarks.data import Dataset
from benchmarks.evaluation.extractors import choose_extractor
from benchmarks.training.loop import LOOP
from models.base import GenerativeModel


def plan_runs(
    suite: Suite,
    data: Dataset,
    place: str,
    *,
    device: str,
    precision: str = "float32",
    compile_: bool = False,
    weights: Path | None = None,
) -> list[RunSpec]:
    """Resolve a suite on its data to its runs, seeds outermost so that early results compare.

    Messages say that the suite stands in `place`. Without a file of the extractor's weights they
    are downloaded.

    Raises:
        BadInput: a contender cannot work on this data, or there are not enough images.
    """
    chosen = choose_extractor(suite.extractor, data, weights)
    suite = suite.model_copy(update={"extractor": chosen})
    models = build_models(suite.list_contenders(), data.shape, place)
    translators = [contender.name for contender, model in models if model.uses_source]
    shared = describe_suite(suite, data, count_samples(suite, data, place, translators))
    shared |= {"device": device, "compile": compile_}
    firsts: list[RunSpec] = []
    for contender, model in models:
        first = RunSpec(
            contender=contender.name,
            family=type(model).__name__.lower(),
            model=contender.model,
            model_version=model_version(contender.model, model),
            settings=model.config.model_dump(mode="json"),
            seed=0,
            precision=choose_precision(device, model) if precision == "auto" else precision,
            # Models that ship have versions instead, raised where the loop trains them otherwise.
            loop=LOOP if compile_ or ":" in contender.model else 1,
            **shared,
        )
        firsts += split_rows(contender, first, model)
    # Copies are not checked again, which takes a while for thousands of runs.
    return [
        first.model_copy(update={"seed": seed}) for seed in range(suite.seeds) for first in firsts
    ]


def choose_precision(device: str, model: GenerativeModel) -> str:
    """Return the precision in which a model trains fastest at equal scores; docs/performance.md."""
    convolves = any(isinstance(m, nn.Conv2d | nn.ConvTranspose2d) for m in model.modules())
    gains = device.startswith("cuda") or (device == "cpu" and convolves and multiplies_bfloat16())
    return "bfloat16" if gains else "float32"


def describe_suite(suite: Suite, data: Dataset, samples: int) -> dict[str, Any]:
    """Return the fields of specs that all runs of a suite share."""
    copied = {"images", "batch", "evaluations", "extractor", "threads", "shards"}
    return suite.model_dump(include=copied) | {
        "protocol": PROTOCOL,
        "data": DataSpec(
            name=suite.dataset,
            source=data.source,
            **suite.model_dump(include={"image_size", "channels"}),
            fingerprint=data.fingerprint,
            source_fingerprint=data.source_fingerprint,
        ),
        "samples": samples,
        "reconstructions": min(suite.reconstructions, len(data.test)),
        "likelihood": suite.likelihood,
        "views": tuple(view for view in dict.fromkeys(suite.views) if view != suite.extractor),
    }


def build_models(
    contenders: list[Contender], shape: tuple[int, int, int], place: str
) -> list[tuple[Contender, GenerativeModel]]:
    """Build every contender's model; of those of one kind the first alone gets its weights."""
    firsts: dict[Hashable, Contender] = {}
    kinds = ((c, (c.model, outline_settings(c.settings))) for c in contenders)
    return [
        (c, build_contender(c, shape, place, empty=firsts.setdefault(kind, c) is not c))
        for c, kind in kinds
    ]


def outline_settings(value: JsonValue) -> Hashable:
    """Return what settings have in common that differ in nothing but the size of real numbers.

    Those change what a model learns, and hardly ever what that takes; zero turns something off.
    """
    if isinstance(value, dict):
        return tuple(sorted((key, outline_settings(item)) for key, item in value.items()))
    if isinstance(value, list):
        return tuple(map(outline_settings, value))
    return ("real", bool(value)) if isinstance(value, float) else (type(value).__name__, value)


def build_contender(
    contender: Contender, shape: tuple[int, int, int], place: str, *, empty: bool = False
) -> GenerativeModel:
    """Build a contender's model for images of `shape`, so that what cannot work shows at once.

    With `empty` it has no weights if it can be built without, since drawing them takes a while; and
    none where its constructor fails, which its runs find again.

    Raises:
        BadInput: a hyper-parameter's value is wrong, a sampler sets what does not concern sampling,
            or the shape cannot work.
    """
    kind = registry.load_model(contender.model)
    where = f"{place}: contenders.{contender.name}"
    validate(kind.Config, contender.settings, where)
    fields, sampling = list(kind.Config.model_fields), sampling_fields(kind)
    for name, table in contender.samplers.items():
        check_sampler(table, fields, sampling, f"{where}.samplers.{name}")
        validate(kind.Config, contender.settings | table, f"{where}.samplers.{name}")
    sampler = next(iter(contender.samplers.values()), {})
    config = validate(kind.Config, contender.settings | sampler, where)
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


def sampling_fields(kind: type[GenerativeModel]) -> list[str]:
    """List the hyper-parameters of a model that concern sampling alone."""
    extras = {name: field.json_schema_extra for name, field in kind.Config.model_fields.items()}
    return [
        name for name, extra in extras.items() if isinstance(extra, dict) and "sampling" in extra
    ]


def split_rows(contender: Contender, first: RunSpec, model: GenerativeModel) -> list[RunSpec]:
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


def count_samples(suite: Suite, data: Dataset, place: str, translators: list[str]) -> int:
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


def model_version(reference: str, model: type[GenerativeModel] | GenerativeModel) -> str:
    """Return the version of a model's code; of the user's own with the hash of that code."""
    code = hash_user_code(reference.rpartition(":")[0]) if ":" in reference else ""
    return f"{model.version}@{code}" if code else str(model.version)
