"""The command `python -m benchmarks.report DIR`: tables, plots and a page from records alone."""

import argparse
import gc
import os
import sys
from collections.abc import Container, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.cli.options import REQUIRE_AUDIT, Parser, check_folder, names
from benchmarks.core.errors import BadInput, unknown
from benchmarks.core.output import configure_output

if TYPE_CHECKING:
    import pandas as pd
    from rich.console import Console

    from benchmarks.analysis.frames import Frames

DESCRIPTION = """Rebuild every table, every plot and the page of a suite from its records; never
trains. With several folders, compare their contenders over suites or data sets."""
EXAMPLES = """examples:
  python -m benchmarks.report results/digits                  all of it; open report.html there
  python -m benchmarks.report results/digits --terminal       print the table alone, write nothing
  python -m benchmarks.report results/digits --plots scores,cost --paper
  python -m benchmarks.report results/digits --require-audit  rank by no score that failed its audit
  python -m benchmarks.report results/digits results/mnist    a row a data set
  python -m benchmarks.report --compare OLD NEW               exit code 1 where NEW is worse"""

NAMED = 10
"""Files that are named one by one where many cannot be read, or are not there yet."""

PAPER = "paper"
"""The folder of what is made for a paper, in a suite's folder."""


def load(folder: Path | str, what: str = "scores") -> "pd.DataFrame":
    """Read a suite's folder as a data frame, to be worked on in a notebook.

    Args:
        folder: `results/<suite>`, with its `suite.json`.
        what: `scores` or `costs`, a row each, tidy; `comparison`, a row a contender; `runs`, a row
            a run; `history`, a row a logged step; `pictures`, a row a picture. The functions of
            `benchmarks.reporting.plots` draw the last three.

    Raises:
        BadInput: the folder holds no readable suite, or there is no such frame.
    """
    from benchmarks.analysis import frames

    return frames.load(folder, what)


def publish(folder: Path, *, quiet: bool = False, require_audit: bool = False) -> None:
    """Rebuild all that a suite's folder shows, and print its table and where to look.

    Args:
        folder: of the suite.
        quiet: whether to print no table.
        require_audit: whether to rank nobody by a score that has not passed an audit.

    Raises:
        BadInput: the folder holds no readable suite, or there is no audit that is required;
            nothing is written then.
    """
    with uncollected():
        frames = read_frames(folder, require_audit=require_audit)
        paths = write_report(frames)
        console = make_console()
        if not quiet:
            print_table(console, frames)
        print_paths(console, paths)


@contextmanager
def uncollected() -> Iterator[None]:
    """Spare the search for garbage among millions of objects of which none is garbage yet."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()


def build_report(folder: Path) -> list[Path]:
    """Rebuild all that a suite's folder shows from its records; never trains.

    Returns:
        The paths written: tables first, then plots, the page last.

    Raises:
        BadInput: the folder holds no readable suite; nothing is written then.
    """
    return write_report(read_frames(folder))


def read_frames(folder: Path, *, require_audit: bool = False) -> "Frames":
    """Read a suite, and say on the standard error what could not be read.

    Raises:
        BadInput: the folder holds no readable suite, or there is no audit that is required.
    """
    from benchmarks.analysis.frames import gather
    from benchmarks.auditing.store import demand_audit
    from benchmarks.records.store import read_suite

    results = read_suite(folder)
    if require_audit:
        demand_audit(results)
    frames = gather(results, require_audit=require_audit)
    for line in explain_gaps(frames):
        print(line, file=sys.stderr)
    return frames


def explain_gaps(frames: "Frames") -> list[str]:
    """Say what is not in a report: what cannot be read by name, what is still to come in one line.

    A suite has its index before it has records, so runs without one are to be expected.
    """
    from benchmarks.core.text import plain

    folder, index = frames.results.folder, frames.results.index
    read = {record.run for record in frames.results.records}
    runs = [run for run in index.runs + index.calibration if run not in read]
    paths = {run: folder / "runs" / run / "record.json" for run in runs}
    absent = {run: path for run, path in paths.items() if not path.exists()}
    known = {f"{path} is missing" for path in absent.values()}
    damaged = [w for w in frames.results.warnings + frames.warnings if w not in known]
    lines = [f"warning: {plain(warning)}" for warning in damaged[:NAMED]]
    if len(damaged) > NAMED:
        lines.append(f"warning: and {len(damaged) - NAMED:,} more")
    if absent:
        named = ", ".join([*list(absent)[:NAMED], *(["…"] if len(absent) > NAMED else [])])
        total = len(index.runs + index.calibration)
        lines.append(plain(f"{len(absent):,} of {total:,} runs have no record yet: {named}"))
    return lines


def write_report(frames: "Frames") -> list[Path]:
    """Write tables, plots and the page; a plot of before with nothing to show now is removed.

    Raises:
        BadInput: a link leads out of the suite's folder; nothing is written then.
    """
    from benchmarks.analysis import tidy
    from benchmarks.analysis.findings import find
    from benchmarks.core.files import check_links
    from benchmarks.reporting import plots, tables
    from benchmarks.reporting.page import build_page

    results, frame = frames.results, frames.comparison
    scores = tidy.scores_frame(results.records)
    files = {
        "table.csv": tidy.write_csv(frame),
        "table.md": tables.write_markdown(results, frame, frames.marks),
        "table.tex": tables.write_latex(results, frame, frames.marks),
        "scores.csv": tidy.write_csv(scores[list(tidy.TIDY_COLUMNS)]),
        "costs.csv": tidy.write_csv(tidy.costs_frame(results.records)),
    }
    drawn = plots.render(frames)
    files |= {f"plots/{name}": content for name, content in drawn.items()}
    findings = find(frames.runs, scores, frames.marks)
    page = build_page(frames, findings, drawn, explain_gaps(frames))
    check_links(results.folder)
    paths = write_files(results.folder, files | {"report.html": page})
    remove_stale(results.folder / "plots", plots.PLOTS, files)
    return paths


def remove_stale(place: Path, names: Iterable[str], files: Container[str]) -> None:
    """Remove the plots of before that have nothing to show now."""
    for file in (f"{name}.{kind}" for name in names for kind in ("png", "svg", "pdf")):
        if f"{place.name}/{file}" not in files:
            (place / file).unlink(missing_ok=True)


def write_chosen(frames: "Frames", chosen: list[str] | None, *, paper: bool) -> list[Path]:
    """Draw some plots, or with `paper` what goes into a paper: plots as PDF too, and its table.

    Raises:
        BadInput: there is no plot of such a name, or a link leads out of the suite's folder;
            nothing is written then.
    """
    from benchmarks.core.files import check_links
    from benchmarks.reporting import plots, tables

    formats = ("png", "svg", "pdf") if paper else ("png", "svg")
    drawn = plots.render(frames, chosen, paper=paper, formats=formats)
    files = {f"{PAPER if paper else 'plots'}/{name}": content for name, content in drawn.items()}
    if paper and chosen is None:
        table = tables.write_latex(frames.results, frames.comparison, frames.marks, paper=True)
        files = {f"{PAPER}/table.tex": table} | files
    folder = frames.results.folder
    check_links(folder)
    paths = write_files(folder, files)
    remove_stale(folder / (PAPER if paper else "plots"), chosen or plots.PLOTS, files)
    return paths


def write_files(folder: Path, files: dict[str, bytes]) -> list[Path]:
    """Write files by their names in a folder, each whole or not at all, and give their paths.

    Raises:
        BadInput: a file's place is taken by a folder, or a folder's by a file; nothing is written.
    """
    from benchmarks.core.files import write_atomically

    for path in (folder / name for name in files):
        if path.is_dir() or (path.parent.exists() and not path.parent.is_dir()):
            wrong = path if path.is_dir() else path.parent
            raise BadInput(f"{wrong} is in the way of the report: move it away")
    for name, content in files.items():
        write_atomically(folder / name, content)
    return [folder / name for name in files]


def make_console() -> "Console":
    """Make what is printed on; names may hold anything, and mean nothing to it."""
    from rich.console import Console

    return Console(markup=False, highlight=False)


def print_table(console: "Console", frames: "Frames") -> None:
    """Print a suite's table, the best value of each column starred."""
    from benchmarks.reporting.tables import show_comparison

    console.print(show_comparison(frames.results, console.width, frames.comparison, frames.marks))


def print_paths(console: "Console", paths: list[Path]) -> None:
    """Print a line a path, however wide the terminal is."""
    for path in paths:
        console.print(str(path), soft_wrap=True)


def make_parser() -> argparse.ArgumentParser:
    """Describe the command line."""
    parser = Parser(
        prog="python -m benchmarks.report",
        description=DESCRIPTION,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("folders", metavar="DIR", nargs="*", type=Path, help="results/<suite>, with suite.json")
    add("--terminal", action="store_true", help="print the table alone, and write nothing")
    add("--plots", type=names, metavar="A,B", help="draw these plots alone")
    add("--paper", action="store_true", help="plots as a paper has them, PDF too, a short table")
    add("--require-audit", action="store_true", help=REQUIRE_AUDIT)
    add("--tensorboard", action="store_true", help="write TensorBoard's event files")
    add("--compare", nargs=2, type=Path, metavar=("OLD", "NEW"), help="show what has changed")
    add("--out", type=Path, metavar="DIR", help="where a comparison of folders is written")
    return parser


def read_arguments(argv: list[str] | None) -> argparse.Namespace:
    """Parse the command line.

    Raises:
        BadInput: an option is unknown, lacks its value or does not go with the others.
    """
    options, rest = make_parser().parse_known_args(argv)
    if rest:
        valid = [f"--{name.replace('_', '-')}" for name in vars(options) if name != "folders"]
        raise BadInput(unknown("option", rest[0].partition("=")[0], valid))
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
        raise BadInput("--tensorboard ranks nobody: leave out --require-audit")
    if options.plots == []:
        raise BadInput("--plots names no plot; for instance --plots scores,cost")
    if options.out and not options.compare and count == 1:
        raise BadInput("--out: the report of one suite is written into its own folder")
    return options


def obey(options: argparse.Namespace) -> int:
    """Do what the options ask for, and give the exit code."""
    if options.compare:
        old, new = options.compare
        return compare_results(old, new, options.out)
    if len(options.folders) > 1:
        write, required = not options.terminal, options.require_audit
        return compare_suites(options.folders, options.out, write=write, require_audit=required)
    (folder,) = options.folders
    if not options.terminal:
        check_writable(folder)
    if not (options.terminal or options.plots is not None or options.paper or options.tensorboard):
        publish(folder, require_audit=options.require_audit)
        return 0
    console = make_console()
    with uncollected():
        if options.tensorboard:
            write_events(console, folder)
        if options.terminal or options.plots is not None or options.paper:
            frames = read_frames(folder, require_audit=options.require_audit)
        if options.terminal:
            print_table(console, frames)
        elif options.plots is not None or options.paper:
            print_paths(console, write_chosen(frames, options.plots, paper=options.paper))
    return 0


def check_writable(folder: Path) -> None:
    """Refuse a suite's folder that cannot be written, before anything is read.

    Raises:
        BadInput: it cannot.
    """
    for place in (folder, folder / "plots", folder / PAPER):
        if place.is_dir() and not os.access(place, os.W_OK | os.X_OK):
            raise BadInput(
                f"{place} is read-only: copy {folder} to where its report can be written, or print "
                "its table alone by --terminal"
            )


def write_events(console: "Console", folder: Path) -> None:
    """Write TensorBoard's event files, and say how they are looked at."""
    from benchmarks.core.text import plain
    from benchmarks.records.store import read_suite
    from benchmarks.reporting import tensorboard

    tensorboard.check_installed()
    folders, warnings = tensorboard.write_events(read_suite(folder))
    for line in warnings[:NAMED]:
        print(f"warning: {plain(line)}", file=sys.stderr)
    place = folders[0].parent
    text = f"{len(folders):,} runs; look at them by: tensorboard --logdir {place}"
    console.print(text, soft_wrap=True)


def compare_suites(
    folders: list[Path], out: Path | None, *, write: bool, require_audit: bool = False
) -> int:
    """Compare the contenders of several suites: print it, and write it beside the first one."""
    from benchmarks.analysis.suites import read_aggregate
    from benchmarks.reporting.overview import show_aggregate, write_aggregate

    place = out or folders[0].parent / "comparison"
    if write and (place / "suite.json").exists():
        raise BadInput(f"{place} is a suite's own folder: name another one by --out")
    if write:
        check_folder(place)
    console = make_console()
    with uncollected():
        result = read_aggregate(folders, require_audit=require_audit)
        console.print(show_aggregate(result, console.width))
        if write:
            files = write_aggregate(result)
            print_paths(console, write_files(place, files))
            for path in (place / "plots").glob("critical_difference_*"):
                if f"plots/{path.name}" not in files:
                    path.unlink()
    return 0


def compare_results(old: Path, new: Path, out: Path | None) -> int:
    """Print what has changed from one folder to another; exit code 1 where it is for the worse.

    Raises:
        BadInput: a folder holds no readable suite, or none of its scores can be compared.
    """
    from benchmarks.analysis import changes
    from benchmarks.records.store import read_suite
    from benchmarks.reporting import changelog

    if out:
        check_folder(out)
    console = make_console()
    with uncollected():
        found = changes.compare_results(read_suite(old), read_suite(new))
        console.print(changelog.show_changes(found, console.width))
        if out:
            print_paths(console, write_files(out, changelog.write_changes(found)))
    if changes.is_worse(found):
        return 1
    if not changes.is_comparable(found):
        raise BadInput(f"{new}: no score there can be compared with {old}, as said above")
    return 0


def main(argv: list[str] | None = None) -> int:
    """Run the command.

    Returns:
        0; 1 where a comparison of two results finds the new one worse, or nothing can be written; 2
        where the input is wrong.
    """
    configure_output()
    try:
        return obey(read_arguments(argv))
    except BadInput as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"error: the report cannot be written: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
