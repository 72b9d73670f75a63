"""The command `python -m benchmarks.report DIR`: tables, plots and a page from records alone."""

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.cli.command import Parser, run_command
from benchmarks.cli.options import SHARED, names
from benchmarks.core.errors import BadInput
from benchmarks.core.files import check_folder

if TYPE_CHECKING:
    import pandas as pd

DESCRIPTION = """Rebuild every table, every plot and the page of a suite from its records; never
trains. With several folders, compare their contenders over suites or data sets."""
EXAMPLES = """examples:
  python -m benchmarks.report results/digits                  all of it; open report.html there
  python -m benchmarks.report results/digits --terminal       print the table alone, write nothing
  python -m benchmarks.report results/digits --plots scores,cost --paper
  python -m benchmarks.report results/digits --require-audit  rank by no score that failed its audit
  python -m benchmarks.report results/digits results/mnist    a row a data set
  python -m benchmarks.report --compare OLD NEW               exit code 1 where NEW is worse"""


def load(folder: Path | str, what: str = "scores") -> "pd.DataFrame":
    """Read a suite's folder as a data frame, for a notebook.

    Args:
        folder: `results/<suite>`, with its `suite.json`.
        what: `scores` or `costs`, a row each, tidy; `comparison`, a row a contender; `runs`, a row
            a run; `history`, a row a logged step; `pictures`, a row a picture. The functions of
            `benchmarks.reporting.plots` draw the last three.

    Raises:
        BadInput: the folder holds no readable suite, or there is no such frame.
    """
    from benchmarks.analysis import frames

    return frames.load_frame(folder, what)


def make_report_parser() -> Parser:
    """Return the parser of the command line."""
    parser = Parser("report", DESCRIPTION, EXAMPLES)
    add = parser.add_argument
    add("folders", metavar="DIR", nargs="*", type=Path, help="results/<suite>, with suite.json")
    add("--terminal", action="store_true", help="print the table alone, and write nothing")
    add("--plots", type=names, metavar="A,B", help="draw these plots alone")
    add("--paper", action="store_true", help="plots as a paper has them, PDF too, a short table")
    add("--require-audit", **SHARED["--require-audit"])
    add("--tensorboard", action="store_true", help="write TensorBoard's event files")
    add("--compare", nargs=2, type=Path, metavar=("OLD", "NEW"), help="show what has changed")
    add("--out", type=Path, metavar="DIR", help="where a comparison of folders is written")
    return parser


def read_report_arguments(argv: list[str]) -> argparse.Namespace:
    """Parse the command line.

    Raises:
        BadInput: an option is unknown, lacks its value or does not go with the others.
    """
    options = make_report_parser().parse_args(argv)
    count = len(options.folders)
    alone = [o for o in ("terminal", "plots", "paper", "tensorboard") if getattr(options, o)]
    ranking = options.require_audit or [o for o in alone if o != "terminal"]
    if options.compare and (count or ranking):
        raise BadInput("--compare takes two folders, and nothing else but --out")
    if not options.compare and not count:
        raise BadInput("name a folder written by benchmarks.run, such as results/digits")
    if count > 1 and [o for o in alone if o != "terminal"]:
        raise BadInput(f"--{alone[-1]}: one folder at a time, and {count} are named")
    if options.terminal and len(alone) > 1:
        raise BadInput(f"--terminal writes nothing; leave out --{alone[-1]}")
    if options.require_audit and options.tensorboard:
        raise BadInput("--tensorboard ranks no model: leave out --require-audit")
    if options.plots == []:
        raise BadInput("--plots names no plot; for instance --plots scores,cost")
    if options.out and not options.compare and count == 1:
        raise BadInput("--out: the report of one suite is written into its own folder")
    return options


def rebuild_reports(options: argparse.Namespace, _: list[str]) -> int:
    """Print and write what the options name, and return the exit code."""
    from benchmarks.reporting import report

    folders, required = options.folders, options.require_audit
    if options.compare:
        if options.out:
            check_folder(options.out)
        old, new = options.compare
        return int(report.report_changes(old, new, options.out))
    if len(folders) > 1:
        place = None if options.terminal else options.out or folders[0].parent / "comparison"
        if place:
            if (place / "suite.json").exists():
                raise BadInput(f"{place} is a suite's own folder: name another one by --out")
            check_folder(place)
        report.report_suites(folders, place, require_audit=required)
        return 0
    (folder,) = folders
    if options.terminal:
        report.print_report(folder, require_audit=required)
        return 0
    check_writable(folder, report.PAPER)
    if options.tensorboard:
        report.write_event_files(folder)
    if options.plots is not None or options.paper:
        report.write_plots(folder, options.plots, paper=options.paper, require_audit=required)
    elif not options.tensorboard:
        report.write_reports(folder, require_audit=required)
    return 0


def check_writable(folder: Path, paper: str) -> None:
    """Raise BadInput where a suite's folder cannot be written, before anything is read."""
    for place in (folder, folder / "plots", folder / paper):
        if place.is_dir() and not os.access(place, os.W_OK | os.X_OK):
            raise BadInput(
                f"{place} is read-only: copy {folder} to where its report can be written, or print "
                "its table alone by --terminal"
            )


def main(argv: list[str] | None = None) -> int:
    """Run the command; return its exit code: 1 where NEW is worse, else as `run_command`."""
    return run_command(argv, read_report_arguments, rebuild_reports)


if __name__ == "__main__":
    sys.exit(main())
