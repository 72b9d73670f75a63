"""The command `python -m benchmarks.score`: score images that any program has made."""

import argparse
import sys
from functools import partial
from pathlib import Path

from benchmarks.api import OUT, Result, score_images
from benchmarks.cli.command import Parser, run_command
from benchmarks.cli.options import option_group, whole
from benchmarks.core.files import check_folder
from benchmarks.evaluation.comparison import add_row
from benchmarks.evaluation.image_source import VALUE_RANGES
from benchmarks.execution.lock import hold
from benchmarks.records.store import read_suite

DESCRIPTION = """Score images that any program has made against held-out real ones, or against a set
of your own. IMAGES is a folder or .zip of pictures, or a .npy or .npz array, uint8 or float."""
EXAMPLES = """examples:
  python -m benchmarks.score SAMPLES --dataset mnist           by every score of generated images
  python -m benchmarks.score ours.npz --dataset digits --extractor random --metrics fid,kid
  python -m benchmarks.score floats.npy --dataset mnist --range symmetric
  python -m benchmarks.score ours.zip --against theirs         two sets of your own, by inception
  python -m benchmarks.score REAL --save-statistics real.npz   and later: SAMPLES --against real.npz
  python -m benchmarks.score SAMPLES --into results/mnist --label theirs
                                                               one more row in a comparison
  python -m benchmarks.run --list                              data sets, extractors and metrics"""


def make_score_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = Parser("score", DESCRIPTION, EXAMPLES)
    parser.add_argument("images", metavar="IMAGES", type=Path, help="folder, .zip, .npy or .npz")
    add = option_group(parser, "reference")
    add("--dataset", help="a data set's name, or folder:PATH for real images")
    add("--image-size", help="resize the data set to N pixels")
    add("--channels", help="make the data set grey (1) or colour (3)")
    add("--data-root")
    add("--split", choices=("test", "train"), help="its images to compare with (default: test)")
    add("--against", type=Path, metavar="IMAGES", help="another set, or an .npz of mu and sigma")
    add = option_group(parser, "image files")
    add("--range", choices=tuple(VALUE_RANGES), help="floats of IMAGES are in [0, 1] or in [-1, 1]")
    add("--key", metavar="NAME", help="the array's name in an .npz file that holds several")
    add("--against-range", choices=tuple(VALUE_RANGES), help="the same of --against")
    add("--against-key", metavar="NAME", help="the same of --against")
    add("--resize", type=whole, metavar="N", help="bring all images to N pixels, cropping centres")
    add = option_group(parser, "scoring")
    add("--extractor", help="default: auto, by the data; with --against, inception")
    add("--inception-weights")
    add("--metrics", metavar="A,B", help="all, or names; default: all but those of memorization")
    add = option_group(parser, "hardware")
    add("--device")
    add("--threads", type=whole, metavar="N", help="threads (default: one a core)")
    add = option_group(parser, "output")
    add("--out", type=Path, metavar="DIR", help=f"scores.json and .csv (default: below {OUT})")
    add("--into", type=Path, metavar="DIR", help="add a row to the results of benchmarks.run")
    add("--label", metavar="NAME", help="the row's name (default: that of IMAGES)")
    add("--force", action="store_true", help="replace what was scored under that label before")
    add("--save-statistics", type=Path, metavar="FILE", help="mu and sigma of IMAGES, an .npz file")
    return parser


def main(argv: list[str] | None = None) -> int:
    """Run the command; return its exit code: 1 where a score failed, else as `run_command`."""
    return run_command(argv, make_score_parser().parse_args, score_command)


def score_command(options: argparse.Namespace, _: list[str]) -> int:
    """Score, print and write."""
    from rich.console import Console

    from benchmarks.cli.scoreboard import display_progress

    check_folder(options.out or OUT)
    console = Console(markup=False)  # names may hold anything
    result = score_images(options, partial(display_progress, console))
    console.print(result)
    if options.into:
        add_to_comparison(result, options)
    paths = [options.save_statistics] if options.save_statistics else []
    if options.out or (result.scores and not options.into):
        paths += result.write(options.out or OUT / result.record.run)
    for path in paths:
        console.print(str(path), soft_wrap=True, markup=False, highlight=False)
    return int(any(score.failed for score in result.record.scores))


def add_to_comparison(result: Result, options: argparse.Namespace) -> None:
    """Add the scores as a row to a comparison, and write its reports again."""
    from benchmarks.reporting.report import write_reports

    drawn = {name: picture for name, (picture, _) in result.pictures.items()}
    row = result.record.model_copy(update={"pictures": drawn})
    with hold(options.into, ["python", "-m", "benchmarks.score", str(options.images)]):
        add_row(read_suite(options.into), row, result.pictures)
        write_reports(options.into)


if __name__ == "__main__":
    sys.exit(main())
