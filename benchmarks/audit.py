"""The command `python -m benchmarks.audit`: ask the scores what they can see, on your own data."""

import argparse
import shlex
import signal
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.cli.options import (
    DIRECT,
    Parser,
    check_folder,
    choose_device,
    find_cache,
    find_data_root,
    folder,
    names,
    read_options,
    whole,
)
from benchmarks.config import registry
from benchmarks.config.suite import Suite
from benchmarks.core.errors import BadInput, printable, unknown
from benchmarks.core.output import configure_output
from benchmarks.core.processes import count_cores
from benchmarks.core.signals import Interrupted, interruptible, uninterruptible
from benchmarks.data.registry import DATASETS
from benchmarks.evaluation.extractors import check_weights, choose_extractor

if TYPE_CHECKING:
    import pandas as pd
    from rich.console import Console

    from benchmarks.analysis.audits import Audit
    from benchmarks.auditing.trial import Request
    from benchmarks.data import Dataset
    from metrics import Material

DESCRIPTION = """Damage real images in known ways and amounts, ask every score under every
extractor, and say which can be trusted for what. Data and extractors are those of the suite."""
EXAMPLES = """examples:
  python -m benchmarks.audit                     of the default suite, into results/digits/audit
  python -m benchmarks.audit mnist --data-root DIR
  python -m benchmarks.audit --dataset folder:PHOTOS --image-size 32
  python -m benchmarks.audit --metric mine.py:distance --metrics fid,kid
  python -m benchmarks.audit --extractor mine.py:build_blocks --faults blur,drop
  python -m benchmarks.audit --rebuild results/digits"""

SAMPLES = 1_500
"""Images in a set, unless there are fewer or the user says otherwise."""
SPLITS, REPETITIONS = 60, 10
"""Pairs of held-out sets of which the floor is made, and how many of them are damaged."""
FEWEST_SPLITS, FEWEST_REPETITIONS = 20, 3
SOURCE = "edges"
"""A source domain that is made from target images, so that these are held out as well."""


def make_parser() -> argparse.ArgumentParser:
    """Describe the command line."""
    parser = Parser(
        prog="python -m benchmarks.audit",
        description=DESCRIPTION,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("suite", nargs="?", help="a shipped suite or a TOML file")
    add = parser.add_argument_group("on which data").add_argument
    add("--dataset", metavar="D", help="a data set's name, or folder:PATH for your own images")
    add("--image-size", type=whole, metavar="N", help="resize images to N pixels")
    add("--channels", type=whole, metavar="C", help="1 for grey, 3 for colour")
    add("--data-root", type=Path, metavar="DIR", help="data sets' files (BENCHMARKS_DATA)")
    add = parser.add_argument_group("what is asked").add_argument
    add("--metrics", type=names, metavar="A,B", help="these of the shipped metrics alone")
    add("--metric", action="append", default=[], metavar="FILE:F", help="a metric of your own, too")
    add("--extractor", metavar="E", help="the extractor, or file.py:function for one of your own")
    add("--views", type=names, metavar="A,B", help="further extractors; '' for none")
    add("--inception-weights", type=Path, metavar="FILE", help="weights of inception or timm:NAME")
    add("--faults", type=names, metavar="A,B", help="these faults alone")
    add = parser.add_argument_group("how thoroughly").add_argument
    add("--samples", type=whole, metavar="N", help=f"images in a set (default: up to {SAMPLES:,})")
    add("--splits", type=whole, default=SPLITS, metavar="S", help="pairs of sets for the floor")
    add("--repetitions", type=whole, default=REPETITIONS, metavar="R", help="pairs to be damaged")
    add("--seed", type=int, default=0, metavar="K", help="of all randomness (default: 0)")
    add = parser.add_argument_group("on which machine").add_argument
    add("--device", default="auto", metavar="D", help="auto, cpu, cuda or cuda:N")
    add("--jobs", type=whole, metavar="N", help="processes side by side (default: one a core)")
    add = parser.add_argument_group("what is left").add_argument
    add("--out", type=folder, metavar="DIR", help="results folder (default: results/<suite>)")
    add("--rebuild", type=folder, metavar="DIR", help="judge again what was measured in DIR/audit")
    return parser


def main(argv: list[str] | None = None) -> int:
    """Run the command.

    Returns:
        0; 1 where the audit could not be written or was ended; 2 where the input is wrong; 130
        after Ctrl-C, 143 after SIGTERM, 129 after SIGHUP.
    """
    configure_output()
    argv = sys.argv[1:] if argv is None else argv
    try:
        with interruptible():
            return obey(read_arguments(argv), argv)
    except BadInput as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except (OSError, MemoryError) as error:
        print(f"error: {printable(str(error))}", file=sys.stderr)
        return 1
    except (Interrupted, KeyboardInterrupt) as wish:
        print("interrupted; nothing was written", file=sys.stderr)
        return 128 + (wish.number if isinstance(wish, Interrupted) else signal.SIGINT)


def read_arguments(argv: list[str]) -> argparse.Namespace:
    """Parse the command line.

    Raises:
        BadInput: an option is unknown or has a wrong value.
    """
    options, rest = make_parser().parse_known_args(argv)
    if rest and rest[0].startswith("-"):
        valid = [f"--{name.replace('_', '-')}" for name in vars(options) if name != "suite"]
        raise BadInput(unknown("option", rest[0].partition("=")[0], valid))
    if rest:
        raise BadInput(f"{rest[0]!r}: one suite at a time, and {options.suite!r} is named already")
    return options


def obey(options: argparse.Namespace, argv: Sequence[str]) -> int:
    """Check everything, then measure, judge, write and print; or only judge anew."""
    from rich.console import Console

    console = Console(markup=False, highlight=False)
    if options.rebuild:
        check_alone(options)
        return rebuild(console, options.rebuild)
    name, suite, extractors = find_subject(options)
    faults = choose("fault", options.faults, registry.list_faults())
    metrics = choose("metric", options.metrics, list_audited())
    check_numbers(options)
    place = options.out or Path("results") / name
    check_folder(place)

    from benchmarks.auditing.trial import Request

    request = Request(
        extractors=tuple(extractors),
        metrics=tuple(metrics),
        own=tuple(options.metric),
        faults=tuple(faults),
        samples=options.samples,
        most=min(SAMPLES, suite.samples or SAMPLES),
        splits=options.splits,
        repetitions=options.repetitions,
        seed=options.seed,
    )
    return carry_out(console, options, suite, request, place, argv)


def check_alone(options: argparse.Namespace) -> None:
    """Refuse options that mean nothing where only what was measured is judged again."""
    parser = make_parser()
    others = {k: v for k, v in vars(options).items() if k != "rebuild"}
    for name, value in others.items():
        if value != parser.get_default(name):
            shown = value if name == "suite" else f"--{name.replace('_', '-')}"
            raise BadInput(f"--rebuild judges what was measured; leave out {shown}")


def find_subject(options: argparse.Namespace) -> tuple[str, Suite, list[str]]:
    """Give the results' name, the suite as the options have changed it, and all extractors.

    Raises:
        BadInput: a name is wrong, or the data set holds no images.
    """
    chosen = [e for e in (options.extractor, *(options.views or [])) if e is not None]
    shipped = [e for e in chosen if not registry.is_reference(e)]
    asked: dict[str, Any] = dict.fromkeys((*DIRECT, "models", "backbone", "steps"))
    asked |= {key: getattr(options, key) for key in ("suite", "dataset", "image_size", "channels")}
    asked["extractor"] = options.extractor if options.extractor in shipped else None
    asked["views"] = [v for v in options.views or [] if v in shipped] if options.views else None
    name, suite, *_ = read_options(argparse.Namespace(**asked, set=[]))
    if suite.dataset in DATASETS and DATASETS[suite.dataset].points:
        raise BadInput(f"{suite.dataset} holds points, and images are audited here")
    views = suite.views if options.views is None else options.views
    return name, suite, [options.extractor or suite.extractor, *views]


def check_numbers(options: argparse.Namespace) -> None:
    """Refuse designs too small to say anything."""
    if options.splits < FEWEST_SPLITS:
        raise BadInput(f"--splits {options.splits}: a floor needs {FEWEST_SPLITS} or more")
    if not FEWEST_REPETITIONS <= options.repetitions <= options.splits:
        raise BadInput(
            f"--repetitions {options.repetitions}: choose from {FEWEST_REPETITIONS} to "
            f"{options.splits}, the number of splits"
        )


def list_audited() -> list[str]:
    """List the shipped metrics that can be asked about a set of images."""
    return [n for n, e in registry.list_metrics().items() if e.about["inputs"] in registry.AUDITED]


def choose(kind: str, chosen: list[str] | None, valid: Iterable[str]) -> list[str]:
    """Check names; all where none are chosen.

    Raises:
        BadInput: one is unknown.
    """
    valid = list(valid)
    for name in chosen or []:
        if name not in valid:
            raise BadInput(f"--{kind}s: {unknown(kind, name, valid)}")
    return valid if chosen is None else [name for name in valid if name in chosen]


def carry_out(
    console: "Console",
    options: argparse.Namespace,
    suite: Suite,
    request: "Request",
    folder: Path,
    argv: Sequence[str],
) -> int:
    """Measure with one thread a process, so that scores are the same everywhere; judge, write."""
    from rich.text import Text

    from benchmarks.analysis.audits import FOLDER
    from benchmarks.auditing import trial as trials
    from benchmarks.cli.scoreboard import display_progress
    from benchmarks.core.threads import fixed_threads
    from benchmarks.execution.lock import hold

    started = time.perf_counter()
    device = choose_device(options.device)
    command = ["python", "-m", "benchmarks.audit", *argv]
    jobs = 1 if device != "cpu" else options.jobs or count_cores()
    with fixed_threads(1):
        with console.status(Text(f"loading {suite.dataset}")):
            data = load(options, suite)
        first, *views = request.extractors
        first = choose_extractor(first, data, options.inception_weights)
        request = replace(request, extractors=tuple(dict.fromkeys([first, *views])))
        check_weights([*request.extractors], options.inception_weights)
        with console.status(Text(f"showing the images to {', '.join(request.extractors)}")):
            trial = trials.prepare(data, request, make_material(options, data, device))
        with hold(folder / FOLDER, command):
            with display_progress(console, f"auditing {suite.dataset}", "parts") as tell:
                measurements, answers = trials.measure(trial, jobs, tell)
            about = trials.describe(trial, command, find_gpu(device))
            about["answers"] = [asdict(answer) for answer in answers]
            about["seconds"] = time.perf_counter() - started
            # An audit that is being written is finished first: half of one would be none.
            with console.status("judging and drawing"), uninterruptible():
                runs = read_runs(folder, data.fingerprint)
                audit = trials.conclude(folder / FOLDER, about, measurements, runs)
                paths = trials.write(audit, measurements, trials.draw_all_strips(trial))
    show(console, audit, paths)
    renew(folder)
    return 0


def load(options: argparse.Namespace, suite: Suite) -> "Dataset":
    """Load the data with a source domain made from target images, so that these are held out too.

    Raises:
        BadInput: it cannot be loaded.
    """
    from benchmarks.data import load_dataset

    return load_dataset(
        suite.dataset,
        data_root=find_data_root(options),
        source=SOURCE,
        image_size=suite.image_size,
        channels=suite.channels,
    )


def make_material(options: argparse.Namespace, data: "Dataset", device: str) -> "Material":
    """Give what extractors are built from, as every run has it."""
    from benchmarks.core.tensors import as_tensor
    from metrics import Material

    labels = data.train.labels
    return Material(
        images=as_tensor(data.train.images),
        labels=None if labels is None else as_tensor(labels),
        classes=len(data.class_names) if data.class_names else None,
        key=data.fingerprint,
        cache=find_cache(),
        weights=options.inception_weights,
        device=device,
    )


def find_gpu(device: str) -> str | None:
    """Give the name of the GPU that is used, None for the CPU."""
    import torch

    return torch.cuda.get_device_name(device) if device.startswith("cuda") else None


def read_runs(folder: Path, fingerprint: str) -> "pd.DataFrame | None":
    """Read the suite's runs, if there are any on these data, for what seeds add."""
    from benchmarks.analysis.audits import find_fingerprints
    from benchmarks.analysis.frames import runs_frame
    from benchmarks.records.store import read_suite

    if not (folder / "suite.json").exists():
        return None
    results = read_suite(folder)
    return runs_frame(results) if find_fingerprints(results) == {fingerprint} else None


def rebuild(console: "Console", folder: Path) -> int:
    """Judge again what was measured, and write all that follows from it anew.

    Raises:
        BadInput: the folder holds no readable audit.
    """
    from benchmarks.analysis.audits import FOLDER, read_about
    from benchmarks.auditing import trial as trials
    from benchmarks.auditing.store import read_measurements
    from benchmarks.execution.lock import hold

    place = folder / FOLDER
    about, measurements = read_about(place).fields, read_measurements(place)
    command = ["python", "-m", "benchmarks.audit", "--rebuild", str(folder)]
    with hold(place, command), uninterruptible():
        runs = read_runs(folder, about["dataset"]["fingerprint"])
        audit = trials.conclude(place, about, measurements, runs)
        strips = {path.name: path.read_bytes() for path in sorted(place.glob("strips/*.png"))}
        paths = trials.write(audit, measurements, strips)
    show(console, audit, paths)
    renew(folder)
    return 0


def renew(folder: Path) -> None:
    """Bring the audit into the suite's report, if there is one."""
    from benchmarks.execution.lock import hold
    from benchmarks.reporting.report import write_reports

    if not (folder / "suite.json").exists():
        return
    try:
        with hold(folder, ["python", "-m", "benchmarks.audit"]):
            write_reports(folder, quiet=True)
    except BadInput as error:
        command = f"python -m benchmarks.report {shlex.quote(str(folder))}"
        print(f"the report is as it was ({error}); later: {command}", file=sys.stderr)


def show(console: "Console", audit: "Audit", paths: Sequence[Path]) -> None:
    """Print what was found, and where it is."""
    from benchmarks.auditing.console import show_audit

    console.print(show_audit(audit))
    for path in paths:
        if path.parent == audit.folder:
            console.print(str(path), soft_wrap=True)


if __name__ == "__main__":
    sys.exit(main())
