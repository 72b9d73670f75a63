"""The options of `benchmarks.score` and of `api.score`, checked before any image is read."""

from argparse import Namespace
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.cli.options import names
from benchmarks.config import registry
from benchmarks.config.paths import Paths, find_cache
from benchmarks.config.spec import RunSpec
from benchmarks.config.suite import AUTO
from benchmarks.core.errors import BadInput, unknown
from benchmarks.core.files import check_folder
from benchmarks.core.text import safe
from benchmarks.data import default_data_root, is_points, list_datasets
from benchmarks.data.resizing import LARGEST, SMALLEST
from benchmarks.evaluation.comparison import check_label, read_comparison
from benchmarks.evaluation.extractors import check_weights
from benchmarks.evaluation.image_source import ARRAY_SUFFIXES, ImageSource, ValueRange
from benchmarks.evaluation.request import ScoringRequest

OUT = Path("results") / "scores"

GENERATED_INPUTS = ("features", "both_logits", "logits", "training")
"""The inputs of the metrics of generated images, the ones that need training images last."""

OF_THE_DATA = ("split", "image_size", "channels", "data_root")


def build_request(options: Namespace) -> ScoringRequest:
    """Check all that can be checked without reading an image."""
    images = make_image_source(options.images, options.range, options.key, options.resize, "--")
    against = None
    if options.against is not None:
        kept = options.against_range, options.against_key
        against = make_image_source(options.against, *kept, options.resize, "--against-")
    check_usage(options)
    for source in filter(None, (images, against)):
        check_source(source)
    if options.dataset:
        check_dataset(options.dataset)
    metrics, (spec, suite) = choose_metrics(options), find_comparison(options)
    extractor = find_extractor_name(options, spec)
    check_places(options)
    weights = options.inception_weights and Path(options.inception_weights)
    paths = Paths(OUT, Path(options.data_root or default_data_root()), find_cache(), weights)
    label = options.label or safe(Path(images.title).stem) or "images"
    return ScoringRequest(options, images, against, extractor, metrics, spec, suite, paths, label)


def make_image_source(
    place: Any, value_range: ValueRange | None, key: str | None, resize: int | None, option: str
) -> ImageSource:
    """Describe the place of images, a path, an array or a tensor, and how they are kept."""
    if isinstance(place, str | Path):
        place = Path(place)
    elif hasattr(place, "detach"):
        tensor = place.detach().cpu()
        place = (tensor.float() if tensor.is_floating_point() else tensor).numpy()
    if not isinstance(place, Path | np.ndarray):
        raise BadInput(f"images are a path, an array or a tensor, not {type(place).__name__}")
    return ImageSource(place, value_range, key, resize, option)


def check_usage(options: Namespace) -> None:
    """Refuse options that have no effect or contradict another."""
    into, against = options.into is not None, options.against is not None
    if options.split not in {None, "test", "train"}:
        raise BadInput(f"--split {options.split}: choose test or train")
    if against:
        reason = "--against says already what the images are compared with"
        refuse_options(options, ("dataset", *OF_THE_DATA, "into"), reason)
    else:
        refuse_options(options, ("against_range", "against_key"), "add --against IMAGES")
        if not (options.dataset or into):
            if not options.save_statistics:
                raise BadInput("compared with what? add --dataset NAME or --against IMAGES")
            reason = "nothing is compared; add --dataset NAME or --against IMAGES"
            refuse_options(options, (*OF_THE_DATA, "metrics"), reason)
    if options.resize is not None and not SMALLEST <= options.resize <= LARGEST:
        raise BadInput(f"--resize {options.resize}: choose from {SMALLEST} to {LARGEST} pixels")
    if not into:
        refuse_options(options, ("force",), "replaces a row, so it needs --into DIR")
        return
    reason = "--into says already what the images are compared with"
    refuse_options(options, ("image_size", "channels"), reason)
    if options.split == "train":
        raise BadInput("--split train: the rows of a comparison are scored on test images")
    if not options.label:
        raise BadInput("--into: add --label NAME, what the new row is called")


def refuse_options(options: Namespace, refused: Iterable[str], reason: str) -> None:
    """Refuse some options."""
    for name in refused:
        value = getattr(options, name)
        if value is not None and value is not False:
            raise BadInput(f"--{name.replace('_', '-')}: {reason}")


def check_source(source: ImageSource) -> None:
    """Refuse images that are not there, and a range or a key of images that have none."""
    if source.value_range and source.kind not in ARRAY_SUFFIXES:
        raise BadInput(f"{source.option}range: is for arrays of floats, not for pictures")
    if source.key and source.kind != ".npz":
        raise BadInput(f"{source.option}key: is for .npz files, whose arrays have names")


def check_dataset(name: str) -> None:
    """Refuse a data set that there is not, or that holds no images."""
    if not name.startswith("folder:") and name not in list_datasets():
        raise BadInput(f"--dataset: {unknown('data set', name, list_datasets())}")
    if is_points(name):
        raise BadInput(f"--dataset {name}: it holds points, and images are scored here")


def choose_metrics(options: Namespace) -> list[str]:
    """Return the names of the metrics to score by; refuse those that cannot be computed here."""
    kinds = {name: entry.about["inputs"] for name, entry in registry.list_metrics().items()}
    valid = [name for name, inputs in kinds.items() if inputs in GENERATED_INPUTS]
    learned = [name for name in valid if kinds[name] == "training"]
    separate = options.against is None and options.split != "train"
    if options.metrics is None and not options.into:
        return [name for name in valid if name not in learned]
    if options.metrics in (None, "all"):
        return [name for name in valid if separate or name not in learned]
    wanted = options.metrics
    chosen = names(wanted) if isinstance(wanted, str) else list(wanted)
    for name in chosen or [""]:
        if name not in valid:
            raise BadInput(f"--metrics: {unknown('metric of generated images', name, valid)}")
        if name in learned and not separate:
            raise BadInput(f"--metrics {name}: compares with training images beside the reference")
    return chosen


def find_comparison(options: Namespace) -> tuple[RunSpec | None, str]:
    """Check that a row can be added to a comparison; return the spec of its rows, and its name."""
    if options.into is None:
        return None, OUT.name
    results, spec = read_comparison(options.into)
    name = spec.data.name
    check_dataset(name)
    check_label(results, options.label, force=options.force)
    if options.dataset not in {None, name}:
        raise BadInput(f"--dataset {options.dataset}: {options.into} compares on {name}")
    return spec, results.index.suite


def find_extractor_name(options: Namespace, spec: RunSpec | None) -> str:
    """Return the name of the extractor, `auto` where it follows from a data set."""
    own = spec.extractor.rpartition("@")[0] if spec else None
    usual = AUTO if options.dataset else "inception"
    asked = None if options.extractor == AUTO else options.extractor
    name: str = asked or own or usual
    if name == AUTO:
        return name
    try:
        registry.find_extractor_entry(name)
    except BadInput as error:
        raise BadInput(f"--extractor: {error}") from None
    if own and name != own:
        raise BadInput(f"--extractor {name}: {options.into} is scored by {own}")
    check_weights([name], options.inception_weights)
    return name


def check_places(options: Namespace) -> None:
    """Refuse places that cannot be written to."""
    if options.into:
        check_folder(options.into)
    if options.save_statistics is not None:
        path = Path(options.save_statistics)
        if path.suffix != ".npz" or path.is_dir():
            raise BadInput(f"--save-statistics {path}: name a file that ends in .npz")
        check_folder(path.parent, "--save-statistics")
