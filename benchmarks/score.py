"""The command `python -m benchmarks.score`: score images that any program has made."""

import argparse
import hashlib
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks import catalogue
from benchmarks.comparison import Comparison, add_row, check_label, read_comparison
from benchmarks.data import Dataset, Split, list_datasets, load_dataset
from benchmarks.data.dataset import fingerprint
from benchmarks.data.registry import DATASETS
from benchmarks.errors import BadInput, printable, speak, unknown
from benchmarks.generated import ARRAYS, RANGES, find_kind, fit_channels, read_images
from benchmarks.lock import hold
from benchmarks.options import (
    Parser,
    check_folder,
    choose_device,
    find_cache,
    find_data_root,
    safe,
    whole,
)
from benchmarks.records import EXTERNAL, Picture, Record, Score, environment, write_atomically

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np
    from rich.console import Console

    from metrics import Extractor

DESCRIPTION = """Score images that any program has made against held-out real ones, or against a set
of your own. IMAGES is a folder or .zip of pictures, or a .npy or .npz array, uint8 or float."""
EXAMPLES = """examples:
  python -m benchmarks.score SAMPLES --dataset mnist           by every score of generated images
  python -m benchmarks.score ours.npz --dataset digits --extractor random --metrics fid,kid
  python -m benchmarks.score floats.npy --dataset mnist --range symmetric
  python -m benchmarks.score ours.zip --against theirs         two sets of your own, by inception
  python -m benchmarks.score SAMPLES --into results/mnist --label theirs
                                                               one more row in a comparison
  python -m benchmarks.run --list                              data sets, extractors and metrics"""

OUT = Path("results") / "scores"
MADE = "made by another program"
"""How the scored images came about, as far as one can know."""

SCORED = ("features", "both_logits", "logits", "training")
"""The inputs of the metrics of generated images, the ones that need training images last."""


@dataclass(frozen=True)
class Plan:
    """What is to be done, as far as the options say.

    Attributes:
        options: the command line.
        extractor: the extractor's name.
        metrics: the names of the metrics to score by.
        comparison: the results that a row is added to, or None.
    """

    options: argparse.Namespace
    extractor: str
    metrics: list[str]
    comparison: Comparison | None


@dataclass(frozen=True)
class Target:
    """What images are compared with.

    Attributes:
        data: the data set; a set of one's own is one without classes.
        split: which of its images are the reference, as it stands beside a score.
        reference: these images, uint8 [M, C, S, S].
    """

    data: Dataset
    split: str
    reference: "np.ndarray"


def make_parser() -> argparse.ArgumentParser:
    """Describe the command line."""
    parser = Parser(
        prog="python -m benchmarks.score",
        description=DESCRIPTION,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("images", metavar="IMAGES", type=Path, help="folder, .zip, .npy or .npz")
    add = parser.add_argument_group("compared with what").add_argument
    add("--dataset", metavar="D", help="a data set's name, or folder:PATH for real images")
    add("--image-size", type=whole, metavar="N", help="resize the data set to N pixels")
    add("--channels", type=whole, metavar="C", help="make the data set grey (1) or colour (3)")
    add("--data-root", type=Path, metavar="DIR", help="data sets' files (BENCHMARKS_DATA)")
    add("--split", choices=("test", "train"), help="its images to compare with (default: test)")
    add("--against", type=Path, metavar="IMAGES", help="another set of images, read likewise")
    add = parser.add_argument_group("how arrays are kept").add_argument
    add("--range", choices=tuple(RANGES), help="floats are in [0, 1] or in [-1, 1]")
    add("--key", metavar="NAME", help="the array's name in an .npz file that holds several")
    add = parser.add_argument_group("scored by what").add_argument
    add("--extractor", metavar="E", help="default: classifier; with --against, inception")
    add("--inception-weights", type=Path, metavar="FILE", help="weights of inception or timm:NAME")
    add("--metrics", metavar="A,B", help="all, or names; default: all but those of memorisation")
    add = parser.add_argument_group("on which machine").add_argument
    add("--device", default="auto", metavar="D", help="auto, cpu, cuda or cuda:N")
    add("--threads", type=whole, metavar="N", help="threads (default: one a core)")
    add = parser.add_argument_group("what is left").add_argument
    add("--out", type=Path, metavar="DIR", help=f"scores.json and .csv (default: below {OUT})")
    add("--into", type=Path, metavar="DIR", help="add a row to the results of benchmarks.run")
    add("--label", metavar="NAME", help="the row's name (default: that of IMAGES)")
    add("--force", action="store_true", help="replace what was scored under that label before")
    return parser


def main(argv: list[str] | None = None) -> int:
    """Run the command.

    Returns:
        0; 1 where the results could not be written; 2 where the input is wrong; 130 after Ctrl-C.
    """
    speak()
    try:
        return score_images(read_arguments(sys.argv[1:] if argv is None else argv))
    except BadInput as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"error: {printable(str(error))}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130


def read_arguments(argv: list[str]) -> argparse.Namespace:
    """Parse the command line.

    Raises:
        BadInput: an option is unknown or has a wrong value.
    """
    parser = make_parser()
    names = vars(parser.parse_args(["IMAGES"])).keys() - {"images"} | {"help"}
    valid = [f"--{name.replace('_', '-')}" for name in names]
    for text in argv:
        if text.startswith("--") and (option := text.partition("=")[0]) not in valid:
            raise BadInput(unknown("option", option, valid))
    return parser.parse_args(argv)


def score_images(options: argparse.Namespace) -> int:
    """Check everything, then read, score, print and write."""
    from rich.console import Console

    plan = make_plan(options)
    console = Console(markup=False)  # names may hold anything
    target = load_target(console, plan)
    images = fit_images(read(console, options, options.images), target)
    record, pictures = judge(console, plan, target, images)
    show(console, plan, target, record)
    write(console, plan, record, pictures)
    return int(any(score.failed for score in record.scores))


def make_plan(options: argparse.Namespace) -> Plan:
    """Check all that can be checked without reading an image.

    Raises:
        BadInput: an option is wrong, or does not go with another.
    """
    check_usage(options)
    metrics = choose_metrics(options)
    comparison = find_comparison(options)
    check_folder(options.out or options.into or OUT)
    return Plan(options, choose_extractor(options, comparison), metrics, comparison)


def check_usage(options: argparse.Namespace) -> None:
    """Refuse options that do not go together, before anything is read.

    Raises:
        BadInput: one of them has nothing to work on, or too much.
    """
    if not (options.dataset or options.against or options.into):
        raise BadInput("compared with what? add --dataset NAME or --against IMAGES")
    kinds = {find_kind(place) for place in (options.images, options.against) if place}
    if options.range and not kinds & set(ARRAYS):
        raise BadInput("--range: is for arrays of floats; the range of pictures is known")
    if options.key and ".npz" not in kinds:
        raise BadInput("--key: is for .npz files, whose arrays have names")
    alone = ("dataset", "split", "image_size", "channels", "data_root", "into")
    for name in alone if options.against else ("image_size", "channels") if options.into else ():
        if getattr(options, name) is not None:
            option = f"--{name.replace('_', '-')}"
            other = "--against" if options.against else "--into"
            raise BadInput(f"{option}: {other} says already what the images are compared with")
    if options.into and options.split == "train":
        raise BadInput("--split train: the rows of a comparison are scored on test images")
    if options.into and not options.label:
        raise BadInput("--into: add --label NAME, what the new row is called")
    if options.force and not options.into:
        raise BadInput("--force: replaces a row, so it needs --into DIR")
    if options.dataset:
        check_dataset(options.dataset)


def check_dataset(name: str) -> None:
    """Refuse a data set that there is not, or that holds no images."""
    if not name.startswith("folder:") and name not in DATASETS:
        raise BadInput(f"--dataset: {unknown('data set', name, list_datasets())}")
    if name in DATASETS and DATASETS[name].points:
        raise BadInput(f"--dataset {name}: it holds points, and images are scored here")


def choose_metrics(options: argparse.Namespace) -> list[str]:
    """Name the metrics to score by.

    Raises:
        BadInput: a name is none of a metric of generated images, or needs training images where
            there are none.
    """
    kinds = {name: entry.about["inputs"] for name, entry in catalogue.list_metrics().items()}
    valid = [name for name, inputs in kinds.items() if inputs in SCORED]
    learnt = [name for name in valid if kinds[name] == "training"]
    separate = not options.against and options.split != "train"
    if options.metrics is None and not options.into:
        return [name for name in valid if name not in learnt]
    if options.metrics in {None, "all"}:
        return [name for name in valid if separate or name not in learnt]
    chosen = [part.strip() for part in options.metrics.split(",")]
    for name in chosen:
        if name not in valid:
            raise BadInput(f"--metrics: {unknown('metric of generated images', name, valid)}")
        if name in learnt and not separate:
            raise BadInput(f"--metrics {name}: compares with training images beside the reference")
    return chosen


def find_comparison(options: argparse.Namespace) -> Comparison | None:
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


def choose_extractor(options: argparse.Namespace, comparison: Comparison | None) -> str:
    """Name the extractor.

    Raises:
        BadInput: there is none of that name, or the comparison has another.
    """
    own = comparison.spec.extractor.rpartition("@")[0] if comparison else None
    name: str = options.extractor or own or ("inception" if options.against else "classifier")
    try:
        entry = catalogue.find_extractor(name)
    except BadInput as error:
        raise BadInput(f"--extractor: {error}") from None
    if own and name != own:
        raise BadInput(f"--extractor {name}: {options.into} is scored by {own}")
    if options.inception_weights and not entry.about.get("weights"):
        raise BadInput(f"--inception-weights: the extractor is {name!r}; add --extractor inception")
    return name


def load_target(console: "Console", plan: Plan) -> Target:
    """Load what the images are compared with.

    Raises:
        BadInput: it cannot be loaded, or is not what the comparison was made on.
    """
    from rich.text import Text

    options, comparison = plan.options, plan.comparison
    if options.against:
        images = read(console, options, options.against)
        return Target(as_dataset(options.against.name, images), "against", images)
    name, size, channels = options.dataset, options.image_size, options.channels
    if comparison:
        spec = comparison.data
        name, size, channels = spec.name, spec.image_size, spec.channels
    with console.status(Text(f"loading {name}")):
        data = load_dataset(
            name, data_root=find_data_root(options), image_size=size, channels=channels
        )
    if comparison and data.fingerprint != comparison.data.fingerprint:
        raise BadInput(f"the images of {name} are not those that {options.into} was scored on")
    split = options.split or "test"
    return Target(data, split, getattr(data, split).images)


def as_dataset(name: str, images: "np.ndarray") -> Dataset:
    """Give a set of one's own as a data set that has nothing but this split."""
    split, nothing = Split(images), Split(images[:0])
    return Dataset(
        name=name,
        train=split,
        validation=nothing,
        test=split,
        class_names=None,
        source="",
        source_train=nothing,
        source_test=nothing,
        hidden_pairs=None,
        fingerprint=fingerprint(split),
        source_fingerprint=fingerprint(nothing),
    )


def read(console: "Console", options: argparse.Namespace, place: Path) -> "np.ndarray":
    """Read a set of images as the options say it is kept."""
    from benchmarks.scoreboard import watch

    with watch(console, f"reading {place.name}") as report:
        return read_images(place, value_range=options.range, key=options.key, report=report)


def fit_images(images: "np.ndarray", target: Target) -> "np.ndarray":
    """Give images of as many channels as those that they are compared with.

    Raises:
        BadInput: they differ in size, or one is grey and the other in colour.
    """
    name, own = target.data.name, target.split == "against"
    channels, side = target.reference.shape[1:3]
    if images.shape[2] != side:
        found = images.shape[2]
        remedy = "bring both to one size" if own else f"add --image-size {found} to resize {name}"
        raise BadInput(
            f"the images are {found} × {found} pixels and those of {name} {side} × {side}; {remedy}"
        )
    remedy = "bring both to grey or both to colour"
    if not own:
        remedy = f"add --channels {images.shape[1]}, or save them with {channels}"
    return fit_channels(images, channels, name, remedy)


def judge(
    console: "Console", plan: Plan, target: Target, images: "np.ndarray"
) -> tuple[Record, dict[str, tuple[Picture, bytes]]]:
    """Score images and draw some of them."""
    import torch

    from benchmarks.protocol import (
        MEMORISATION,
        VIEWED,
        as_tensor,
        draw_neighbours,
        draw_samples,
    )
    from benchmarks.reference import Reference
    from benchmarks.runner import fixed_threads
    from benchmarks.scoreboard import watch

    extractor = prepare(console, plan, target)
    remembers = not MEMORISATION.isdisjoint(plan.metrics)
    training = as_tensor(target.data.train.images) if remembers else None
    made, real = as_tensor(images), as_tensor(target.reference)
    with fixed_threads(plan.options.threads or torch.get_num_threads()):
        with console.status("taking the features of the real images"):
            reference = Reference(
                extractor, real, target.split, training=training, cache=find_cache()
            )
        with watch(console, f"{extractor} sees {plan.options.images.name}") as report:
            features = reference.extract(made, lambda done: report(done, len(made)))
        with console.status("scoring"):
            scores = reference.score_features(made, features, MADE, plan.metrics)
            for view in prepare_views(plan, target):
                other = Reference(view, real, target.split, cache=find_cache())
                scores += other.score(made, MADE, VIEWED)
            pictures = {"samples": draw_samples(made)}
            if remembers:
                pictures["neighbours"] = draw_neighbours(reference, made, features.features)
    return make_record(plan, target, images, extractor, scores), pictures


def prepare(console: "Console", plan: Plan, target: Target) -> "Extractor":
    """Build the extractor, with as many threads as suites do, since its training depends on them.

    Raises:
        BadInput: it cannot be built, is not that of the comparison, or lacks what is to be scored.
    """
    from rich.text import Text

    from benchmarks.job import Place
    from benchmarks.protocol import PROTOCOL
    from benchmarks.runner import fixed_threads, load_extractor

    options, spec = plan.options, plan.comparison.spec if plan.comparison else None
    if spec and spec.protocol != PROTOCOL:
        raise BadInput(
            f"{options.into} was scored by version {spec.protocol} of the protocol, and this is "
            f"{PROTOCOL}; run its suite again"
        )
    device = choose_device(spec.device if spec and options.device == "auto" else options.device)
    place = Place(OUT, find_data_root(options), find_cache(), options.inception_weights)
    with (
        fixed_threads(spec.threads if spec else 1),
        console.status(Text(f"preparing the {plan.extractor} features")),
    ):
        extractor = load_extractor(plan.extractor, target.data, place, device)
    if spec and str(extractor) != spec.extractor:
        raise BadInput(
            f"the extractor is {extractor} here, and {options.into} is scored by "
            f"{spec.extractor}; scores of different extractors do not compare"
        )
    if options.metrics not in {None, "all"} and extractor.classes is None:
        check_logits(plan)
    return extractor


def prepare_views(plan: Plan, target: Target) -> "Iterator[Extractor]":
    """Build the further extractors by which the rows of the comparison have an FID.

    Raises:
        BadInput: one is not what it was there.
    """
    from benchmarks.job import Place
    from benchmarks.runner import find_extractor

    options, spec = plan.options, plan.comparison.spec if plan.comparison else None
    place = Place(OUT, find_data_root(options), find_cache(), options.inception_weights)
    for name in spec.views if spec else ():
        yield find_extractor(name, target.data, place, choose_device(options.device))


def check_logits(plan: Plan) -> None:
    """Refuse metrics asked for by name that an extractor without classes cannot give."""
    known = catalogue.list_metrics()
    for name in plan.metrics:
        if known[name].about["inputs"] in {"logits", "both_logits"}:
            raise BadInput(f"--metrics {name}: the extractor {plan.extractor} knows no classes")


def make_record(
    plan: Plan, target: Target, images: "np.ndarray", extractor: "Extractor", scores: list[Score]
) -> Record:
    """Put down what was scored, and how."""
    import torch

    from benchmarks.protocol import PROTOCOL

    options, data = plan.options, target.data
    label = options.label or safe(options.images.stem) or "images"
    spec: dict[str, Any] = {
        "protocol": PROTOCOL,
        "images": fingerprint(Split(images)),
        "samples": len(images),
        "data": {"name": data.name, "shape": list(data.shape), "fingerprint": data.fingerprint},
        "split": target.split,
        "extractor": str(extractor),
        "metrics": sorted(plan.metrics),
    }
    text = json.dumps(spec, sort_keys=True, separators=(",", ":"))
    on_gpu = extractor.device.type == "cuda"
    return Record(
        run=f"{label}-{hashlib.sha256(text.encode()).hexdigest()[:8]}",
        suite=plan.comparison.results.index.suite if plan.comparison else OUT.name,
        dataset=data.name,
        contender=label,
        family=EXTERNAL,
        status="ok",
        spec=spec,
        scores=scores,
        metrics=sorted(plan.metrics),
        environment=environment(torch.cuda.get_device_name(extractor.device) if on_gpu else None),
    )


def show(console: "Console", plan: Plan, target: Target, record: Record) -> None:
    """Print a table of the scores, and what to keep in mind when reading it."""
    from rich.text import Text

    from benchmarks.scoreboard import arrange, explain_intervals, tabulate

    heading = f"{plan.options.images.name} against {target.data.name}, seen by "
    console.print(Text(heading + str(record.spec["extractor"]), style="bold"))
    own = {None, record.spec["extractor"]}
    scores = arrange(score for score in record.scores if score.extractor in own)
    console.print(tabulate(scores, len(target.reference)))
    notes = list_notes(plan, target, scores)
    for note in (*explain_intervals(scores), *notes):
        console.print(Text(note, style="dim"))


def list_notes(plan: Plan, target: Target, scores: list[Score]) -> list[str]:
    """List what limits the scores, a line each."""
    from benchmarks.scoreboard import symbol

    notes = [f"{symbol(score.metric)}: {score.note}" for score in scores if score.note]
    found = {score.metric for score in scores}
    if missing := [symbol(name) for name in plan.metrics if name not in found]:
        notes.append(f"not defined here: {', '.join(missing)}")
    made, real = (scores[0].n or 0) if scores else 0, len(target.reference)
    if made != real and "fid" in found:
        notes.append(
            f"{made:,} images against {real:,}: FID is biased by both counts, so compare it with "
            "that of as many images only"
        )
    if target.split == "train":
        notes.append("scored against the training split, where copies of its images score best")
    return notes


def write(
    console: "Console", plan: Plan, record: Record, pictures: dict[str, tuple[Picture, bytes]]
) -> None:
    """Write the scores into a folder of their own, or as a row of the comparison, or both."""
    from benchmarks.report import publish
    from benchmarks.tidy import scores_frame, write_csv

    if plan.comparison:
        drawn = {name: picture for name, (picture, _) in pictures.items()}
        row, folder = record.model_copy(update={"pictures": drawn}), plan.options.into
        with hold(folder, ["python", "-m", "benchmarks.score", str(plan.options.images)]):
            add_row(plan.comparison.results, row, pictures)
            publish(folder)
    if plan.options.out or not plan.comparison:
        text = record.model_dump_json(by_alias=True, indent=2) + "\n"
        files = {"scores.csv": write_csv(scores_frame([record])), "scores.json": text.encode()}
        for name, content in files.items():
            path = (plan.options.out or OUT / record.run) / name
            write_atomically(path, content)
            console.print(str(path), soft_wrap=True, markup=False, highlight=False)


if __name__ == "__main__":
    sys.exit(main())
