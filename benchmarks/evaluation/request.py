"""A request to score images of another program: both sets of images, opened and matched."""

from argparse import Namespace
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field

import numpy as np

from benchmarks.config.paths import Paths
from benchmarks.config.spec import RunSpec
from benchmarks.core.errors import BadInput
from benchmarks.data import Dataset, load_dataset
from benchmarks.evaluation.feature_statistics import FeatureStatistics
from benchmarks.evaluation.image_sets import ImageSet, open_image_set
from benchmarks.evaluation.image_source import ImageSource

RESIZING = "the shorter side by antialiased bicubic filtering, cropped about the centre"

WARNING = "warning: "  # the beginning of a note that says the scores mean little

ReportProgress = Callable[[int, int], None]
"""A function of the number of images that are done, and of all."""

OpenProgress = Callable[[str], AbstractContextManager[ReportProgress]]
"""Opens a display of the progress of a piece of work, named in words."""


def hide_progress(_: str) -> AbstractContextManager[ReportProgress]:
    """Display nothing."""
    return nullcontext(lambda *_: None)


@dataclass(frozen=True)
class ScoringRequest:
    """Images to be scored, and how, as far as the options say.

    Attributes:
        against: the source of what the images are compared with, or None.
        spec: of the rows of the comparison that one is added to, None without one.
        suite: the name of that comparison, or of scores alone.
        label: the name of the images in a table.
    """

    options: Namespace
    images: ImageSource
    against: ImageSource | None
    extractor: str
    metrics: list[str]
    spec: RunSpec | None
    suite: str
    paths: Paths
    label: str


@dataclass(frozen=True)
class Target:
    """The reference of images: a data set, another set, statistics, or nothing.

    Attributes:
        name: in tables.
        split: which of its images are the reference, as it stands beside a score.
        real: these images or their statistics; None where nothing is compared.
        data: the data set, where it is one.
        notes: the processing of either set.
    """

    name: str
    split: str
    real: np.ndarray | ImageSet | FeatureStatistics | None
    data: Dataset | None = None
    notes: list[str] = field(default_factory=list)

    @property
    def shape(self) -> tuple[int, ...] | None:
        """C, S, S; None where that is unknown."""
        if isinstance(self.real, FeatureStatistics):
            return self.real.shape
        return None if self.real is None else self.real.shape[1:]

    @property
    def count(self) -> int | None:
        """The number of images of the reference; None where that is unknown."""
        if isinstance(self.real, FeatureStatistics):
            return self.real.count
        return None if self.real is None else len(self.real)


def open_request(request: ScoringRequest, progress: OpenProgress) -> tuple[ImageSet, Target]:
    """Open the images to be scored and their reference, and bring both to the same form."""
    images = open_image_set(request.images)
    if isinstance(images, FeatureStatistics):
        raise BadInput(
            f"{request.images.name} holds statistics, not images: name it by --against, or one of "
            "its arrays by --key"
        )
    target = load_target(request, progress)
    match_form(request, images, target)
    return images, target


def load_target(request: ScoringRequest, progress: OpenProgress) -> Target:
    """Load the reference of the images."""
    options, known = request.options, request.spec and request.spec.data
    if request.against:
        real = open_image_set(request.against)
        named = set(request.metrics) != {"fid"} and options.metrics
        if isinstance(real, FeatureStatistics) and named:
            raise BadInput(f"--metrics: statistics, as in {request.against.name}, serve fid alone")
        return Target(request.against.title, "against", real)
    name, size, channels = options.dataset, options.image_size, options.channels
    if known:
        name, size, channels = known.name, known.image_size, known.channels
    if name is None:
        return Target(request.images.title, "nothing", None)
    with progress(f"loading {name}"):
        root = request.paths.data_root
        data = load_dataset(name, data_root=root, image_size=size, channels=channels)
    if known and data.fingerprint != known.fingerprint:
        raise BadInput(f"the images of {name} are not those that {options.into} was scored on")
    split = options.split or "test"
    return Target(name, split, getattr(data, split).images, data)


def match_form(request: ScoringRequest, images: ImageSet, target: Target) -> None:
    """Bring the images and the reference to one number of channels, and note how.

    Grey is shown as colour where the other is in colour; colour never becomes grey.
    """
    notes = target.notes
    notes += [*images.notes, *getattr(target.real, "notes", ())]
    if side := request.options.resize:
        notes.append(f"resized to {side} × {side} pixels: {RESIZING}")
    if target.shape is None:
        return
    channels, _, side = target.shape
    if images.side != side:
        raise BadInput(
            f"the images are {images.side} × {images.side} pixels and those of {target.name} "
            f"{side} × {side}; {suggest_size(request, images, target)}"
        )
    if images.channels < channels:
        images.channels = 3
        notes.append(f"{images.source.title} is grey, and shown as colour")
    elif images.channels > channels and target.data is not None:
        remedy = "" if request.spec else "add --channels 3, or "
        raise BadInput(
            f"the images are in colour and those of {target.name} grey: {remedy}save them in grey"
        )
    elif images.channels > channels:
        notes.append(f"{target.name} is grey, and shown as colour")
        if isinstance(target.real, ImageSet):
            target.real.channels = 3


def suggest_size(request: ScoringRequest, images: ImageSet, target: Target) -> str:
    """Return the options that bring images and reference to one size."""
    assert target.shape is not None
    side = target.shape[2]
    if isinstance(target.real, ImageSet):
        return f"add --resize {min(images.side, side)} to bring both to one size"
    resize = f"--resize {side} to resize the images"
    if target.data is None or request.spec:
        return f"add {resize}"
    return f"add --image-size {images.side} to resize {target.name}, or {resize}"
