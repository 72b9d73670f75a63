"""Which feature extractor suits a data set, and what there is to doubt in one that was chosen."""

from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.config.registry import find_extractor_entry, is_reference
from benchmarks.config.suite import AUTO
from benchmarks.core.errors import BadInput

if TYPE_CHECKING:
    from benchmarks.data import Dataset


ENOUGH = 0.85
"""The share of held-out images whose class a classifier must find to be trusted."""

BETTER = "--extractor inception (95 MB, downloaded once) or timm:NAME sees more"


def choose_extractor(name: str, data: "Dataset", weights: Path | None = None) -> str:
    """Return the extractor that `auto` stands for, or any other name as it is.

    That is `classifier` where the images have classes; else `inception`, or an encoder of timm,
    whose weights are on this machine, since nothing is downloaded unasked; else `pixels`, which
    suits points in any case.

    Args:
        name: of the extractor, or `auto`.
        data: whose images it is to see.
        weights: a file of Inception's weights that the user has named.
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
    """Refuse a file of weights that none of the extractors reads; one of the user's own may.

    Raises:
        BadInput: naming what would read it.
    """
    reading = (
        is_reference(name) or find_extractor_entry(name).about.get("weights") for name in names
    )
    if weights and not any(reading):
        raise BadInput(
            f"--inception-weights: the extractor is {names[0]!r}; add --extractor inception"
        )


def doubt_extractor(
    name: str, shape: tuple[int, int, int], accuracy: float | None = None
) -> list[str]:
    """Return a line on why scores by an extractor say little, if they do.

    Args:
        name: of the extractor, with its hash or without.
        shape: channels, height and width of the images.
        accuracy: the share of held-out images whose class it finds, where that is known.
    """
    name = name.partition("@")[0]
    if name == "classifier" and accuracy is not None and accuracy < ENOUGH:
        return [
            f"The feature extractor, a classifier, recognises only {accuracy:.1%} of the held-out "
            f"images; below {ENOUGH:.0%} its scores may miss what matters. {BETTER}."
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
