"""Feature extractors: the choice of one, its loading, and its limits in words.

Nothing imports torch before an extractor is loaded.
"""

from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.config.registry import find_extractor_entry, is_reference
from benchmarks.config.suite import AUTO
from benchmarks.core.errors import FAILURES, BadInput, one_line
from benchmarks.core.text import show_share

if TYPE_CHECKING:
    from benchmarks.config.paths import Paths
    from benchmarks.data import Dataset
    from benchmarks.evaluation.scoring import FailedExtractor
    from metrics import Extractor, Material

ENOUGH = 0.85  # the share of held-out images whose class a classifier must find to be trusted

BETTER = "--extractor inception (95 MB, downloaded once) or timm:NAME sees more"


def choose_extractor(name: str, data: "Dataset", weights: Path | None = None) -> str:
    """Return the extractor that `auto` stands for, or any other name as it is.

    That is `classifier` where the images have classes; else `inception` (also by `weights`, a file
    that the user has named) or an encoder of timm, whose weights are on this machine, since nothing
    is downloaded unasked; else `pixels`, which suits points in any case.
    """
    if name != AUTO:
        return name
    if data.truth is not None:
        return "pixels"
    if data.class_names and data.train.labels is not None:
        return "classifier"
    from metrics.extractors import inception, timm

    if weights or inception.find_inception_weights():
        return "inception"
    return next((f"timm:{encoder}" for encoder in timm.list_downloaded()), "pixels")


def check_weights(names: list[str], weights: Path | None) -> None:
    """Refuse a file of weights that none of the extractors reads; one of the user's own may."""
    reading = (
        is_reference(name) or find_extractor_entry(name).about.get("weights") for name in names
    )
    if weights and not any(reading):
        raise BadInput(
            f"--inception-weights: the extractor is {names[0]!r}; add --extractor inception"
        )


def load_extractor(
    name: str, data: "Dataset", paths: "Paths", device: str, *, ready: bool = False
) -> "Extractor":
    """Load an extractor for a data set, training, downloading or reading what it needs.

    Its name has its hash where it must be the same as before. With `ready`, what would take
    training or a download is refused.

    Raises:
        BadInput: the data or the weights are not enough for it, or it has another hash.
        NotReady: with `ready`, it is to be trained or downloaded first.
    """
    from benchmarks.core.tensors import as_tensor

    short = name.partition("@")[0]
    material = make_material(data, paths.cache, paths.weights, device, ready=ready)
    extractor = build_from_material(short, material)
    try:
        extractor(as_tensor(data.test.images[:2]))  # refuses images that it is not made for
    except ValueError as error:
        raise BadInput(f"extractor {short!r}: {one_line(error)}") from error
    if name not in {short, str(extractor)}:
        raise BadInput(f"the extractor is {extractor}, not {name} as when the run was planned")
    return extractor


def load_further_extractor(
    name: str, data: "Dataset", paths: "Paths", device: str, *, ready: bool = False
) -> "Extractor | FailedExtractor":
    """Load as `load_extractor`, or return what stands for an extractor that fails."""
    from benchmarks.evaluation.scoring import FailedExtractor
    from metrics import NotReady

    try:
        return load_extractor(name, data, paths, device, ready=ready)
    except (BadInput, NotReady):
        raise
    except FAILURES as error:
        return FailedExtractor(name, error)


def make_material(
    data: "Dataset", cache: Path, weights: Path | None, device: str, *, ready: bool = False
) -> "Material":
    """Return all that an extractor for a data set may be built from."""
    from benchmarks.core.tensors import as_tensor
    from metrics import Material

    labels = data.train.labels
    return Material(
        images=as_tensor(data.train.images),
        labels=None if labels is None else as_tensor(labels),
        classes=len(data.class_names) if data.class_names else None,
        key=data.fingerprint,
        cache=cache,
        weights=weights,
        device=device,
        ready=ready,
    )


def build_from_material(name: str, material: "Material") -> "Extractor":
    """Build an extractor from what there is."""
    from safetensors import SafetensorError

    from benchmarks.evaluation.feature_cache import build_cached

    try:
        return build_cached(name, material)
    except (ValueError, SafetensorError) as error:
        raise BadInput(f"extractor {name!r}: {one_line(error)}") from error


def doubt_extractor(
    name: str, shape: tuple[int, int, int], accuracy: float | None = None
) -> list[str]:
    """Return a line on why scores by an extractor say little, if they do.

    Its `accuracy` is the share of held-out images whose class it finds, where that is known.
    """
    name = name.partition("@")[0]
    if name == "classifier" and accuracy is not None and accuracy < ENOUGH:
        known, enough = show_share(accuracy, 1), show_share(ENOUGH)
        return [
            f"The feature extractor, a classifier, recognises only {known} of the held-out images; "
            f"below {enough} its scores may miss what matters. {BETTER}."
        ]
    if name == "random" and shape[0] == 3:
        return [
            "An untrained network (random) is no judge of colour: by its features, a GAN of "
            f"checkerboards had a higher precision than real images. {BETTER}."
        ]
    if name == "pixels" and shape[1:] != (1, 1):
        return [
            "Principal components of the pixels tell colours and brightness, but hardly what a "
            f"picture shows. {BETTER}."
        ]
    return []
