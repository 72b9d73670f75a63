"""Options of `python -m benchmarks.audit`."""

import argparse
from collections.abc import Iterable
from typing import Any

from benchmarks.cli.command import Parser
from benchmarks.cli.options import folder, names, option_group, whole
from benchmarks.cli.suite_options import DIRECT, read_options
from benchmarks.config import registry
from benchmarks.config.suite import Suite
from benchmarks.core.errors import BadInput, unknown
from benchmarks.data import is_points

DESCRIPTION = """Damage real images in known ways and amounts, compute every score under every
extractor, and report which can be trusted for what. Data and extractors are those of the suite."""
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


def make_audit_parser() -> Parser:
    """Build the parser of the command line."""
    parser = Parser("audit", DESCRIPTION, EXAMPLES)
    parser.add_argument("suite", nargs="?", help="a shipped suite or a TOML file")
    add = option_group(parser, "data")
    for name in ("--dataset", "--image-size", "--channels", "--data-root"):
        add(name)
    add = option_group(parser, "metrics, extractors, faults")
    add("--metrics", type=names, metavar="A,B", help="these of the shipped metrics alone")
    add("--metric", action="append", default=[], metavar="FILE:F", help="a metric of your own, too")
    add("--extractor", help="the extractor, or file.py:function for one of your own")
    add("--views", type=names, metavar="A,B", help="further extractors; '' for none")
    add("--inception-weights")
    add("--faults", type=names, metavar="A,B", help="these faults alone")
    add = option_group(parser, "sample sizes and repetitions")
    add("--samples", type=whole, metavar="N", help=f"images in a set (default: up to {SAMPLES:,})")
    add("--splits", type=whole, default=SPLITS, metavar="S", help="pairs of sets for the floor")
    add("--repetitions", type=whole, default=REPETITIONS, metavar="R", help="pairs to be damaged")
    add("--seed", type=int, default=0, metavar="K", help="of all randomness (default: 0)")
    add = option_group(parser, "hardware")
    add("--device")
    add("--jobs", type=whole, metavar="N", help="processes side by side (default: one a core)")
    add = option_group(parser, "output")
    add("--out")
    add("--rebuild", type=folder, metavar="DIR", help="judge again what was measured in DIR/audit")
    return parser


def read_audit_arguments(argv: list[str]) -> argparse.Namespace:
    """Parse and check the command line.

    Raises:
        BadInput: an option is unknown, has a wrong value, or does not go with `--rebuild`.
    """
    parser = make_audit_parser()
    options: argparse.Namespace = parser.parse_args(argv)
    for name, value in vars(options).items() if options.rebuild else ():
        if name != "rebuild" and value != parser.get_default(name):
            shown = value if name == "suite" else f"--{name.replace('_', '-')}"
            raise BadInput(f"--rebuild judges what was measured; leave out {shown}")
    if options.splits < FEWEST_SPLITS:
        raise BadInput(f"--splits {options.splits}: a floor needs {FEWEST_SPLITS} or more")
    if not FEWEST_REPETITIONS <= options.repetitions <= options.splits:
        raise BadInput(
            f"--repetitions {options.repetitions}: choose from {FEWEST_REPETITIONS} to "
            f"{options.splits}, the number of splits"
        )
    return options


def choose_subject(options: argparse.Namespace) -> tuple[str, Suite, list[str]]:
    """Return the results' name, the suite as the options change it, and all extractors.

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
    if is_points(suite.dataset):
        raise BadInput(f"{suite.dataset} holds points, and images are audited here")
    views = suite.views if options.views is None else options.views
    return name, suite, [options.extractor or suite.extractor, *views]


def choose_names(option: str, chosen: list[str] | None, valid: Iterable[str]) -> list[str]:
    """Return the chosen names in their own order, all where none are chosen.

    Raises:
        BadInput: one is unknown.
    """
    valid = list(valid)
    for name in chosen or []:
        if name not in valid:
            raise BadInput(f"--{option}: {unknown(option[:-1], name, valid)}")
    return valid if chosen is None else [name for name in valid if name in chosen]
