"""Loading evaluators and extractors, each built once in a process."""

from functools import lru_cache

from safetensors import SafetensorError

from benchmarks.config.paths import Paths
from benchmarks.config.spec import DataSpec
from benchmarks.core.errors import FAILURES, BadInput, one_line
from benchmarks.data import Dataset, load_dataset
from benchmarks.evaluation.evaluator import (
    Evaluator,
    as_tensor,
)
from benchmarks.evaluation.feature_cache import build_cached
from benchmarks.evaluation.reference import Lost
from metrics import Extractor, Material, NotReady


@lru_cache(maxsize=2)
def load_evaluator(
    data: DataSpec,
    extractor: str,
    samples: int,
    reconstructions: int,
    place: Paths,
    device: str,
    views: tuple[str, ...] = (),
) -> Evaluator:
    """Load the data and the extractor of a run, once a process."""
    images = load_dataset(
        data.name,
        data_root=place.data_root,
        source=data.source,
        image_size=data.image_size,
        channels=data.channels,
        download=False,
    )
    if images.fingerprint != data.fingerprint:
        raise BadInput(f"the images of {data.name} have changed since the run was planned")
    built = find_extractor(extractor, images, place, device)
    further = [find_view(name, images, place, device) for name in views]
    return Evaluator(images, built, samples, reconstructions, place.cache, further)


def find_view(
    name: str, images: Dataset, place: Paths, device: str, *, ready: bool = False
) -> Extractor | Lost:
    """Build a further extractor of a run, or what stands for it where it fails.

    Raises:
        BadInput: as `find_extractor`.
        NotReady: as `load_extractor`.
    """
    try:
        return find_extractor(name, images, place, device, ready=ready)
    except (BadInput, NotReady):
        raise
    except FAILURES as error:
        return Lost(name, "test", error)


def find_extractor(
    name: str, images: Dataset, place: Paths, device: str, *, ready: bool = False
) -> Extractor:
    """Build the extractor of a run.

    Raises:
        BadInput: it is not the one that the run was planned with.
        NotReady: as `load_extractor`.
    """
    built = load_extractor(name.partition("@")[0], images, place, device, ready=ready)
    if "@" in name and str(built) != name:
        raise BadInput(f"the extractor is {built}, not {name} as when the run was planned")
    return built


def load_extractor(
    name: str, images: Dataset, place: Paths, device: str, *, ready: bool = False
) -> Extractor:
    """Build the extractor `name`, training, downloading or reading what it needs.

    Raises:
        BadInput: the data or the weights are not enough for it.
        NotReady: with `ready`, it is to be trained or downloaded first.
    """
    labels = images.train.labels
    material = Material(
        images=as_tensor(images.train.images),
        labels=None if labels is None else as_tensor(labels),
        classes=len(images.class_names) if images.class_names else None,
        key=images.fingerprint,
        cache=place.cache,
        weights=place.weights,
        device=device,
        ready=ready,
    )
    built = build(name, material)
    try:
        built(as_tensor(images.test.images[:2]))  # refuses what it cannot see
    except ValueError as error:
        raise BadInput(f"extractor {name!r}: {one_line(error)}") from error
    return built


def build(name: str, material: Material) -> Extractor:
    """Build the extractor `name`; else as `load_extractor`."""
    try:
        return build_cached(name, material)
    except (ValueError, SafetensorError) as error:
        raise BadInput(f"extractor {name!r}: {one_line(error)}") from error
