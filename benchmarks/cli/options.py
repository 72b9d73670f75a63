"""The options of the commands: those that several have, and all of `python -m benchmarks.run`."""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.cli.command import Parser

DESCRIPTION = "Train, score and compare generative models side by side."
EXAMPLES = """examples:
  python -m benchmarks.run                            the default suite, on embedded data
  python -m benchmarks.run mnist --data-root DIR      a larger one
  python -m benchmarks.run --models vae,gan --seeds 5 --set vae.beta=4
  python -m benchmarks.run --dataset folder:PHOTOS --image-size 32
  python -m benchmarks.run --list                     what there is to choose from"""

ENGINES = ("inline", "local", "ray")
ENGINE = "runs one after another, in local processes, or on a Ray cluster (default: local)"
PRECISIONS = ("auto", "float32", "bfloat16")
PRECISION = (
    "of training; samples and scores are float32 (auto: bfloat16 on CUDA, and for models with "
    "convolutions on CPUs that multiply it)"
)
REQUIRE_AUDIT = (
    "rank nobody by a score whose audit (benchmarks.audit) failed for a fault it should see, or by "
    "one that was not audited; refuse where there is no audit"
)


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
    return read_float(text, lambda x: 0 < x <= 1, "above 0 and at most 1")


def seconds(text: str) -> float:
    """Read a duration."""
    return read_float(text, lambda x: 0 <= x < float("inf"), "a number of seconds from 0")


def read_float(text: str, valid: Callable[[float], bool], what: str) -> float:
    """Read a number that must be valid."""
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not valid(value):
        raise argparse.ArgumentTypeError(f"must be {what}, not {text!r}")
    return value


def folder(text: str) -> Path:
    """Read a folder's name."""
    if not text.strip():
        raise argparse.ArgumentTypeError("must name a folder")
    return Path(text)


SHARED: dict[str, dict[str, Any]] = {
    "--dataset": {"metavar": "D", "help": "a data set's name, or folder:PATH for your own images"},
    "--image-size": {"type": whole, "metavar": "N", "help": "resize images to N pixels"},
    "--channels": {"type": whole, "metavar": "C", "help": "1 for grey, 3 for colour"},
    "--data-root": {"type": Path, "metavar": "DIR", "help": "data sets' files (BENCHMARKS_DATA)"},
    "--extractor": {"metavar": "E", "help": "the feature extractor (default: by the data)"},
    "--inception-weights": {
        "type": Path,
        "metavar": "FILE",
        "help": "weights of inception or timm:NAME",
    },
    "--require-audit": {"action": "store_true", "help": REQUIRE_AUDIT},
    "--device": {"default": "auto", "metavar": "D", "help": "auto, cpu, cuda, cuda:N or mps"},
    "--out": {
        "type": folder,
        "metavar": "DIR",
        "help": "results folder (default: results/<suite>)",
    },
}
"""Options of several commands; a command may give one another help."""


def option_group(parser: argparse.ArgumentParser, title: str) -> Callable[..., None]:
    """Begin a group of options, and return a function that adds one to it.

    It takes what `add_argument` takes; of an option in `SHARED` the name alone is enough.
    """
    group = parser.add_argument_group(title)

    def add(name: str, **about: Any) -> None:
        group.add_argument(name, **SHARED.get(name, {}) | about)

    return add


def make_run_parser() -> Parser:
    """Build the parser of `python -m benchmarks.run`."""
    parser = Parser("run", DESCRIPTION, EXAMPLES)
    parser.add_argument("suite", nargs="?", help="a shipped suite or a TOML file")
    add = option_group(parser, "contenders")
    add("--models", metavar="A,B", help="contenders, models, file.py:ClassName or module:ClassName")
    add("--backbone", metavar="B", help="the network body of every contender that has it")
    add("--set", action="append", default=[], metavar="NAME.KEY=VALUE", help="a hyper-parameter")
    add = option_group(parser, "data")
    add("--dataset")
    add("--source", metavar="S", help="the source domain of translators")
    for name in ("--image-size", "--channels", "--data-root"):
        add(name)
    add = option_group(parser, "training")
    add("--steps", type=whole, metavar="N", help="training batches that each contender sees")
    add("--seeds", type=whole, metavar="N", help="repetitions of each contender")
    add("--samples", type=whole, metavar="N", help="images that each contender generates")
    add = option_group(parser, "scoring")
    add("--extractor")
    add("--views", type=names, metavar="A,B", help="further extractors to take FID by; '' for none")
    add("--require-audit")
    add("--inception-weights")
    add = option_group(parser, "hardware")
    add("--device")
    add("--precision", default="auto", choices=PRECISIONS, help=PRECISION)
    add("--compile", action="store_true", help="compile the networks")
    add("--threads", type=whole, metavar="N", help="threads of a run; part of its spec")
    add("--shards", type=whole, metavar="N", help="processes of torchrun that share a batch")
    add("--engine", default="local", choices=ENGINES, help=ENGINE)
    add("--jobs", type=whole, metavar="N", help="runs side by side (default: by cores and memory)")
    add("--gpu-share", type=share, default=1.0, metavar="X", help="part of a GPU that a run takes")
    add("--address", metavar="ADDR", help="of a Ray cluster, for --engine ray")
    add = option_group(parser, "output")
    add("--out")
    add("--checkpoint-seconds", type=seconds, default=30.0, metavar="S", help="between checkpoints")
    add("--force", action="store_true", help="train again what is finished already")
    add("--only", metavar="RUN", help="do this run alone, whatever became of it before")
    quieter = parser.add_argument_group("display").add_mutually_exclusive_group()
    quieter.add_argument("--plain", action="store_true", help="lines, in a terminal as well")
    quieter.add_argument("--quiet", action="store_true", help="only problems and what is written")
    add("--plan", action="store_true", help="estimate time, memory and disk, and stop")
    add("--dry-run", action="store_true", help="print what is done and what is to do, and stop")
    add("--clean", type=Path, metavar="DIR", help="remove runs that DIR's suite does not name")
    add("--list", action="store_true", help="print what there is to choose from and stop")
    return parser
