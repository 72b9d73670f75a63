"""What a notebook calls: `score` does what `python -m benchmarks.score` does, without a word."""

import warnings
from argparse import Namespace
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.cli.options import check_folder, find_data_root, names
from benchmarks.cli.scoreboard import Result, Watch, silent
from benchmarks.config import registry
from benchmarks.config.suite import AUTO
from benchmarks.core.errors import BadInput, unknown
from benchmarks.data import Dataset, list_datasets, load_dataset
from benchmarks.data.pictures import LARGEST, SMALLEST
from benchmarks.data.registry import DATASETS
from benchmarks.evaluation.comparison import Comparison, check_label, read_comparison
from benchmarks.evaluation.generated import ARRAYS, Images, Range, Source, Statistics, open_images

if TYPE_CHECKING:
    from torch import Tensor

OUT = Path("results") / "scores"
SCORED = ("features", "both_logits", "logits", "training")
"""The inputs of the metrics of generated images, the ones that need training images last."""

RESIZING = "the shorter side by antialiased bicubic filtering, cropped about the centre"


def score(
    images: "Path | str | np.ndarray | Tensor",
    against: "Path | str | np.ndarray | Tensor | None" = None,
    *,
    dataset: str | None = None,
    split: str | None = None,
    image_size: int | None = None,
    channels: int | None = None,
    data_root: Path | str | None = None,
    range: Range | None = None,  # noqa: A002 - as the option is called
    key: str | None = None,
    against_range: Range | None = None,
    against_key: str | None = None,
    resize: int | None = None,
    extractor: str | None = None,
    inception_weights: Path | str | None = None,
    metrics: str | list[str] | None = None,
    device: str = "auto",
    threads: int | None = None,
    save_statistics: Path | str | None = None,
    watch: Watch = silent,
) -> Result:
    """Score images against those of a data set, or against another set.

    Arguments are called as the options of `python -m benchmarks.score`, whose help explains them;
    images may be a path, an array or a tensor. Nothing is printed, and nothing is written but what
    `save_statistics` names.

    Raises:
        BadInput: an argument is wrong, or does not go with another; or images cannot be read.
    """
    return score_images(Namespace(**locals(), into=None, label=None, force=False), watch)


@dataclass(frozen=True)
class Plan:
    """What is to be done, as far as the options say.

    Attributes:
        options: as those of the command line.
        images: where the images to be scored are.
        against: where those are that they are compared with, or None.
        extractor: the extractor's name.
        metrics: the names of the metrics to score by.
        comparison: the results that a row is added to, or None.
    """

    options: Namespace
    images: Source
    against: Source | None
    extractor: str
    metrics: list[str]
    comparison: Comparison | None

    @property
    def spec(self) -> Any:
        """How the rows of the comparison were scored, None without one."""
        return self.comparison.spec if self.comparison else None


@dataclass(frozen=True)
class Target:
    """What images are compared with: a data set, another set, statistics, or nothing.

    Attributes:
        name: what tables call it.
        split: which of its images are the reference, as it stands beside a score.
        real: these images or their statistics; None where nothing is compared.
        data: the data set, where it is one.
        notes: what was done to either set.
    """

    name: str
    split: str
    real: np.ndarray | Images | Statistics | None
    data: Dataset | None = None
    notes: list[str] = field(default_factory=list)

    @property
    def shape(self) -> tuple[int, ...] | None:
        """C, S, S; None where that is unknown."""
        shape = None if self.real is None else self.real.shape
        return shape if shape is None or isinstance(self.real, Statistics) else shape[1:]

    @property
    def count(self) -> int | None:
        """How many images are the reference; None where that is unknown."""
        if isinstance(self.real, Statistics):
            return self.real.count
        return None if self.real is None else len(self.real)


def score_images(options: Namespace, watch: Watch = silent) -> Result:
    """Check everything, then read and score: what the command does but for writing."""
    plan = make_plan(options)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="PIL")
        made = open_images(plan.images)
        if isinstance(made, Statistics):
            raise BadInput(
                f"{plan.images.name} holds statistics, not images: name it by --against, or one of "
                "its arrays by --key"
            )
        target = load_target(plan, watch)
        match(plan, made, target)
        from benchmarks.evaluation.external import evaluate  # which imports torch

        return evaluate(plan, made, target, watch)


def make_plan(options: Namespace) -> Plan:
    """Check all that can be checked without reading an image.

    Raises:
        BadInput: an option is wrong, or does not go with another.
    """
    images = make_source(options.images, options.range, options.key, options.resize, "--")
    against = None
    if options.against is not None:
        kept = options.against_range, options.against_key
        against = make_source(options.against, *kept, options.resize, "--against-")
    if options.split not in {None, "test", "train"}:
        raise BadInput(f"--split {options.split}: choose test or train")
    check_usage(options, images, against)
    if options.dataset:
        check_dataset(options.dataset)
    metrics, comparison = choose_metrics(options), find_comparison(options)
    extractor = choose_extractor(options, comparison)
    check_places(options)
    return Plan(options, images, against, extractor, metrics, comparison)


def make_source(
    place: Any, value_range: Range | None, key: str | None, resize: int | None, option: str
) -> Source:
    """Describe where images are and how they are kept; an array or tensor in memory is one place.

    Raises:
        BadInput: they are given as something else.
    """
    if isinstance(place, str | Path):
        return Source(Path(place), value_range, key, resize, option)
    if hasattr(place, "detach"):
        tensor = place.detach().cpu()
        place = (tensor.float() if tensor.is_floating_point() else tensor).numpy()
    if not isinstance(place, np.ndarray):
        raise BadInput(f"images are a path, an array or a tensor, not {type(place).__name__}")
    return Source(place, value_range, key, resize, option)


def check_usage(options: Namespace, images: Source, against: Source | None) -> None:
    """Refuse options that do not go together, before anything is read.

    Raises:
        BadInput: one of them has nothing to work on, or too much.
    """
    if not (options.dataset or against or options.into or options.save_statistics):
        raise BadInput("compared with what? add --dataset NAME or --against IMAGES")
    for source in filter(None, (images, against)):
        if source.value_range and source.kind not in ARRAYS:
            raise BadInput(f"{source.option}range: is for arrays of floats, not for pictures")
        if source.key and source.kind != ".npz":
            raise BadInput(f"{source.option}key: is for .npz files, whose arrays have names")
    if not against and (options.against_range or options.against_key):
        option = "--against-range" if options.against_range else "--against-key"
        raise BadInput(f"{option}: add --against IMAGES")
    if options.resize is not None and not SMALLEST <= options.resize <= LARGEST:
        raise BadInput(f"--resize {options.resize}: choose from {SMALLEST} to {LARGEST} pixels")
    alone = ("dataset", "split", "image_size", "channels", "data_root", "into")
    for name in alone if against else ("image_size", "channels") if options.into else ():
        if getattr(options, name) is not None:
            option = f"--{name.replace('_', '-')}"
            other = "--against" if against else "--into"
            raise BadInput(f"{option}: {other} says already what the images are compared with")
    if options.into and options.split == "train":
        raise BadInput("--split train: the rows of a comparison are scored on test images")
    if options.into and not options.label:
        raise BadInput("--into: add --label NAME, what the new row is called")
    if options.force and not options.into:
        raise BadInput("--force: replaces a row, so it needs --into DIR")


def check_dataset(name: str) -> None:
    """Refuse a data set that there is not, or that holds no images."""
    if not name.startswith("folder:") and name not in DATASETS:
        raise BadInput(f"--dataset: {unknown('data set', name, list_datasets())}")
    if name in DATASETS and DATASETS[name].points:
        raise BadInput(f"--dataset {name}: it holds points, and images are scored here")


def choose_metrics(options: Namespace) -> list[str]:
    """Name the metrics to score by.

    Raises:
        BadInput: a name is none of a metric of generated images, or needs training images where
            there are none.
    """
    kinds = {name: entry.about["inputs"] for name, entry in registry.list_metrics().items()}
    valid = [name for name, inputs in kinds.items() if inputs in SCORED]
    learnt = [name for name in valid if kinds[name] == "training"]
    separate = options.against is None and options.split != "train"
    if options.metrics is None and not options.into:
        return [name for name in valid if name not in learnt]
    if options.metrics in (None, "all"):
        return [name for name in valid if separate or name not in learnt]
    wanted = options.metrics
    chosen = names(wanted) if isinstance(wanted, str) else list(wanted)
    for name in chosen or [""]:
        if name not in valid:
            raise BadInput(f"--metrics: {unknown('metric of generated images', name, valid)}")
        if name in learnt and not separate:
            raise BadInput(f"--metrics {name}: compares with training images beside the reference")
    return chosen


def find_comparison(options: Namespace) -> Comparison | None:
    """Read the comparison that a row is added to, and see whether the row fits into it.

    Raises:
        BadInput: it cannot be added.
    """
    if options.into is None:
        return None
    comparison = read_comparison(options.into)
    check_dataset(comparison.data.name)
    check_label(comparison.results, options.label, force=options.force)
    if options.dataset not in {None, comparison.data.name}:
        raise BadInput(
            f"--dataset {options.dataset}: {options.into} compares on {comparison.data.name}"
        )
    return comparison


def choose_extractor(options: Namespace, comparison: Comparison | None) -> str:
    """Name the extractor, `auto` where it follows from a data set.

    Raises:
        BadInput: there is none of that name, or the comparison has another.
    """
    own = comparison.spec.extractor.rpartition("@")[0] if comparison else None
    usual = AUTO if options.dataset else "inception"
    asked = None if options.extractor == AUTO else options.extractor
    name: str = asked or own or usual
    if name == AUTO:
        return name
    try:
        entry = registry.find_extractor_entry(name)
    except BadInput as error:
        raise BadInput(f"--extractor: {error}") from None
    if own and name != own:
        raise BadInput(f"--extractor {name}: {options.into} is scored by {own}")
    if options.inception_weights and not entry.about.get("weights"):
        raise BadInput(f"--inception-weights: the extractor is {name!r}; add --extractor inception")
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


def load_target(plan: Plan, watch: Watch) -> Target:
    """Load what the images are compared with.

    Raises:
        BadInput: it cannot be loaded, or is not what the comparison was made on.
    """
    options, comparison = plan.options, plan.comparison
    if plan.against:
        real = open_images(plan.against)
        if isinstance(real, Statistics) and set(plan.metrics) != {"fid"} and options.metrics:
            raise BadInput(f"--metrics: statistics, as in {plan.against.name}, serve fid alone")
        return Target(plan.against.title, "against", real)
    name, size, channels = options.dataset, options.image_size, options.channels
    if comparison:
        spec = comparison.data
        name, size, channels = spec.name, spec.image_size, spec.channels
    if name is None:
        return Target(plan.images.title, "nothing", None)
    with watch(f"loading {name}"):
        data = load_dataset(
            name, data_root=Path(find_data_root(options)), image_size=size, channels=channels
        )
    if comparison and data.fingerprint != comparison.data.fingerprint:
        raise BadInput(f"the images of {name} are not those that {options.into} was scored on")
    split = options.split or "test"
    return Target(name, split, getattr(data, split).images, data)


def match(plan: Plan, made: Images, target: Target) -> None:
    """Bring the images and the reference to one number of channels, and note what is done to them.

    Grey is shown as colour where the other is in colour; colour never becomes grey.

    Raises:
        BadInput: they differ in size, or a data set is grey and the images are not.
    """
    notes = target.notes
    notes += [*made.notes, *getattr(target.real, "notes", ())]
    if side := plan.options.resize:
        notes.append(f"resized to {side} × {side} pixels: {RESIZING}")
    if target.shape is None:
        return
    channels, _, side = target.shape
    if made.side != side:
        raise BadInput(
            f"the images are {made.side} × {made.side} pixels and those of {target.name} "
            f"{side} × {side}; {size_remedy(plan, made, target)}"
        )
    if made.channels < channels:
        made.channels = 3
        notes.append(f"{made.source.title} is grey, and shown as colour")
    elif made.channels > channels and target.data is not None:
        remedy = "" if plan.comparison else "add --channels 3, or "
        raise BadInput(
            f"the images are in colour and those of {target.name} grey: {remedy}save them in grey"
        )
    elif made.channels > channels:
        notes.append(f"{target.name} is grey, and shown as colour")
        if isinstance(target.real, Images):
            target.real.channels = 3


def size_remedy(plan: Plan, made: Images, target: Target) -> str:
    """Return the options that bring images and reference to one size."""
    assert target.shape is not None
    side = target.shape[2]
    if isinstance(target.real, Images):
        return f"add --resize {min(made.side, side)} to bring both to one size"
    resize = f"--resize {side} to resize the images"
    if target.data is None or plan.comparison:
        return f"add {resize}"
    return f"add --image-size {made.side} to resize {target.name}, or {resize}"
