"""What the command line says: options become a suite, a folder and a device."""

import argparse
import os
from pathlib import Path
from typing import NoReturn

from benchmarks.config import registry
from benchmarks.config.overrides import apply_settings, set_backbone
from benchmarks.config.suite import (
    Suite,
    build_suite,
    find_suite,
    list_suites,
    read_toml,
)
from benchmarks.core.errors import BadInput, unknown
from benchmarks.execution.plan import check_code, select_models

DESCRIPTION = "Train, score and compare generative models side by side."
EXAMPLES = """examples:
  python -m benchmarks.run                            the default suite, on embedded data
  python -m benchmarks.run mnist --data-root DIR      a larger one
  python -m benchmarks.run --models vae,gan --seeds 5 --set vae.beta=4
  python -m benchmarks.run --dataset folder:PHOTOS --image-size 32
  python -m benchmarks.run --list                     what there is to choose from"""

DIRECT = (
    *("dataset", "source", "image_size", "channels"),
    *("seeds", "samples", "extractor", "views", "threads", "shards"),
)
"""Options that replace the suite's key of the same name."""

OF_THE_DATA = ("source", "published")
"""Keys of a suite that mean nothing on another data set."""


PRECISIONS = ("auto", "float32", "bfloat16")
PRECISION = "of training, on CPUs and GPUs; samples and scores are float32 (auto: bfloat16 on CUDA)"
REQUIRE_AUDIT = (
    "rank nobody by a score whose audit (benchmarks.audit) failed for a fault it should see, or by "
    "one that was not audited; refuse where there is no audit"
)


class Parser(argparse.ArgumentParser):
    """A parser whose errors are one line like all others."""

    def error(self, message: str) -> NoReturn:
        """Refuse an argument."""
        raise BadInput(message.removeprefix("argument "))


def whole(text: str) -> int:
    """Read a whole number of at least 1."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number of at least 1, not {text!r}")
    return int(text)


def names(text: str) -> list[str]:
    """Read names with commas between them."""
    return [name for part in text.split(",") if (name := part.strip())]


def share(text: str) -> float:
    """Read a part of one."""
    try:
        value = float(text)
    except ValueError:
        value = -1
    if not 0 < value <= 1:
        raise argparse.ArgumentTypeError(f"must be above 0 and at most 1, not {text!r}")
    return value


def folder(text: str) -> Path:
    """Read a folder's name."""
    if not text.strip():
        raise argparse.ArgumentTypeError("must name a folder")
    return Path(text)


def seconds(text: str) -> float:
    """Read a duration."""
    try:
        value = float(text)
    except ValueError:
        value = -1
    if not 0 <= value < float("inf"):
        raise argparse.ArgumentTypeError(f"must be a number of seconds from 0, not {text!r}")
    return value


def make_parser() -> argparse.ArgumentParser:
    """Describe the command line."""
    parser = Parser(
        prog="python -m benchmarks.run",
        description=DESCRIPTION,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("suite", nargs="?", help="a shipped suite or a TOML file")
    add = parser.add_argument_group("what is compared").add_argument
    add("--models", metavar="A,B", help="contenders, models, file.py:ClassName or module:ClassName")
    add("--backbone", metavar="B", help="the network body of every contender that has it")
    add("--set", action="append", default=[], metavar="NAME.KEY=VALUE", help="a hyper-parameter")
    add = parser.add_argument_group("on which data").add_argument
    add("--dataset", metavar="D", help="a data set's name, or folder:PATH for your own images")
    add("--source", metavar="S", help="the source domain of translators")
    add("--image-size", type=whole, metavar="N", help="resize images to N pixels")
    add("--channels", type=whole, metavar="C", help="1 for grey, 3 for colour")
    add("--data-root", type=Path, metavar="DIR", help="data sets' files (BENCHMARKS_DATA)")
    add = parser.add_argument_group("how long, how often").add_argument
    add("--steps", type=whole, metavar="N", help="training batches that each contender sees")
    add("--seeds", type=whole, metavar="N", help="repetitions of each contender")
    add("--samples", type=whole, metavar="N", help="images that each contender generates")
    add = parser.add_argument_group("scored by what").add_argument
    add("--extractor", metavar="E", help="the feature extractor (default: by the data)")
    add("--views", type=names, metavar="A,B", help="further extractors to take FID by; '' for none")
    add("--require-audit", action="store_true", help=REQUIRE_AUDIT)
    add("--inception-weights", type=Path, metavar="FILE", help="weights of inception or timm:NAME")
    add = parser.add_argument_group("on which machine").add_argument
    add("--device", default="auto", metavar="D", help="auto, cpu, cuda or cuda:N")
    add("--precision", default="auto", choices=PRECISIONS, help=PRECISION)
    add("--compile", action="store_true", help="compile the networks")
    add("--threads", type=whole, metavar="N", help="threads of a run; part of its spec")
    add(
        "--shards",
        type=whole,
        metavar="N",
        help="processes of torchrun that share a batch",
    )
    add("--engine", default="local", choices=("inline", "local", "ray"), help="see the README")
    add("--jobs", type=whole, metavar="N", help="runs side by side (default: by cores and memory)")
    add("--gpu-share", type=share, default=1.0, metavar="X", help="part of a GPU that a run takes")
    add("--address", metavar="ADDR", help="of a Ray cluster, for --engine ray")
    add = parser.add_argument_group("what is left").add_argument
    add("--out", type=folder, metavar="DIR", help="results folder (default: results/<suite>)")
    add("--checkpoint-seconds", type=seconds, default=30.0, metavar="S", help="between checkpoints")
    add("--force", action="store_true", help="train again what is finished already")
    add("--only", metavar="RUN", help="do this run alone, whatever became of it before")
    quieter = parser.add_argument_group("what is printed").add_mutually_exclusive_group()
    quieter.add_argument("--plain", action="store_true", help="lines, in a terminal as well")
    quieter.add_argument("--quiet", action="store_true", help="only problems and what is written")
    add("--plan", action="store_true", help="estimate time, memory and disk, and stop")
    add("--dry-run", action="store_true", help="print what is done and what is to do, and stop")
    add("--clean", type=Path, metavar="DIR", help="remove runs that DIR's suite does not name")
    add("--list", action="store_true", help="print what there is to choose from and stop")
    return parser


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


def choose_suite(options: argparse.Namespace) -> str:
    """Return the suite that is named, or else the one for the data set.

    That is the shipped suite of the data set's name, `folder` for all other images, and `digits`
    for points.
    """
    if options.suite or options.dataset is None:
        return options.suite or "digits"
    from benchmarks.data import is_points

    if options.dataset in list_suites():
        return str(options.dataset)
    return "digits" if is_points(options.dataset) else "folder"


def describe_choices() -> str:
    """List the suites, data sets, models, metrics, extractors and faults, a line each."""
    from benchmarks.data import list_datasets

    sections = {
        "suites": list_suites(),
        "data sets": list_datasets(),
        "models": {name: entry.summary for name, entry in registry.list_models().items()},
        "metrics": {name: entry.summary for name, entry in registry.list_metrics().items()},
        "extractors": {name: e.summary for name, e in registry.list_extractors().items()},
        "faults of the audit": {name: e.summary for name, e in registry.list_faults().items()},
    }
    lines = []
    for title, entries in sections.items():
        lines += [title, *(f"  {name:<20} {summary}" for name, summary in entries.items()), ""]
    return "\n".join(lines).rstrip()


def read_options(options: argparse.Namespace) -> tuple[str, Suite, str, list[str]]:
    """Return the results' name, the suite as the options have changed it, and the place of both.

    Last come lines on what was chosen without being named.

    Raises:
        BadInput: an option, a name or a value in the suite's file is wrong.
    """
    name, path = find_suite(choose_suite(options))
    table = original = read_toml(path)
    build_suite(table, path.name)
    notes = []
    if options.dataset and not options.suite:
        notes += [f"suite {name}: {table['summary']} (name another as the first argument)"]
    changed = options.dataset not in {None, table.get("dataset")}
    if changed:
        table = {key: value for key, value in table.items() if key not in OF_THE_DATA}
    for key in DIRECT:
        if (value := getattr(options, key)) is not None:
            table = {**table, key: value}
            shown = ",".join(value) if isinstance(value, list) else value
            build_suite(table, f"--{key.replace('_', '-')} {shown}")
    names = [part.strip() for part in (options.models or "").split(",")]
    if options.models is not None:
        table = select_models(table, names)
    check_code(table, names, path.name)
    if options.backbone is not None:
        table, kept = set_backbone(table, options.backbone)
        end = "has no such network body and keeps its own"
        notes += [f"--backbone {options.backbone}: {name} {end}" for name in kept]
    table = apply_settings(table, options.set)
    if options.steps is not None:
        batch = table.get("batch", Suite.model_fields["batch"].default)
        table = {**table, "images": options.steps * batch}
    place = path.name if table == original else f"{path.name} with options"
    suite = build_suite(table, place)
    if suite.dataset == "folder:":
        raise BadInput(f"{place}: of which pictures? add --dataset folder:PATH")
    own = safe(suite.dataset.removeprefix(f"{name}:"))
    return (f"{name}-{own}" if changed else name), suite, place, notes


def check_options(options: argparse.Namespace, suite: Suite, place: str) -> None:
    """Refuse options that do not go with the suite or with each other.

    Raises:
        BadInput: naming what would be right.
    """
    if suite.shards != count_processes():
        raise BadInput(
            f"{place}: shards: {suite.shards} takes as many processes, not {count_processes()}: "
            f"torchrun --nproc-per-node {suite.shards} -m benchmarks.run {choose_suite(options)}"
        )
    if options.address and options.engine != "ray":
        raise BadInput(f"--address: the engine is {options.engine!r}; add --engine ray")


def safe(text: str) -> str:
    """Make a folder's name of a data set's."""
    return "".join(c if c.isalnum() else "-" for c in text).strip("-")


def share_out(options: argparse.Namespace) -> list[str]:
    """Give each process of `torchrun` one shard, unless the suite or the user says how many.

    Returns:
        What the command line lacks to say so.

    Raises:
        BadInput: an option makes no sense for several processes.
    """
    processes = count_processes()
    if processes == 1:
        return []
    if options.engine == "ray" or (options.jobs or 1) > 1:
        wrong = "--engine ray" if options.engine == "ray" else f"--jobs {options.jobs}"
        raise BadInput(f"{wrong}: all processes of torchrun compute one run together; leave it out")
    if options.device.startswith("cuda:"):
        raise BadInput(f"--device {options.device}: each process of torchrun has its own; use cuda")
    if options.shards or "shards" in read_toml(find_suite(choose_suite(options))[1]):
        return []
    options.shards = processes
    return ["--shards", str(processes)]


def count_processes() -> int:
    """Tell how many processes `torchrun` or its like has started to compute each run together."""
    return int(os.environ.get("WORLD_SIZE", "1")) if "RANK" in os.environ else 1


def choose_device(name: str) -> str:
    """Check the device, `auto` being CUDA where there is one.

    Raises:
        BadInput: there is no such device.
    """
    import torch

    count = torch.cuda.device_count()
    here = int(os.environ.get("LOCAL_WORLD_SIZE", "1")) if count_processes() > 1 else 1
    if count and here > count and name in {"auto", "cuda"}:
        raise BadInput(
            f"--device {name}: torchrun has started {here} processes here, where there are {count} "
            f"GPUs; give it --nproc-per-node {count}, or add --device cpu"
        )
    if name == "auto":
        return "cuda" if count else "cpu"
    valid = ["cpu", *(["cuda"] if count else []), *(f"cuda:{i}" for i in range(count))]
    if name not in valid:
        raise BadInput(f"--device {name}: this machine has {', '.join(valid)}")
    return name


def check_folder(folder: Path, setting: str = "--out") -> None:
    """Refuse a folder that cannot be written, before anything is done and without a trace.

    Args:
        folder: of results, or another.
        setting: by which it was chosen.

    Raises:
        BadInput: it or the nearest folder above it is a file or read-only.
    """
    nearest = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if not nearest.is_dir():
        raise BadInput(f"{setting} {folder}: {nearest} is a file, not a folder")
    if not os.access(nearest, os.W_OK | os.X_OK):
        raise BadInput(f"{setting} {folder}: {nearest} is read-only")


def find_data_root(options: argparse.Namespace) -> Path:
    """Choose the folder of the data sets' files."""
    from benchmarks.data import default_data_root

    return options.data_root or default_data_root()


def find_cache() -> Path:
    """Choose the folder of trained extractors: $BENCHMARKS_CACHE, or the user's cache folder."""
    from platformdirs import user_cache_path

    chosen = os.environ.get("BENCHMARKS_CACHE")
    return (Path(chosen) if chosen else user_cache_path("generative-benchmarks")) / "extractors"


def without_engine(argv: list[str]) -> list[str]:
    """Leave out of a command line what `--only RUN --engine inline` replaces."""
    kept, skip = [], False
    for word in argv:
        name, equals, _ = word.partition("=")
        if not skip and name not in {"--only", "--engine", "--address", "--force"}:
            kept.append(word)
        skip = not skip and not equals and name in {"--only", "--engine", "--address"}
    return kept
