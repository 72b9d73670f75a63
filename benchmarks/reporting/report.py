"""The reports of a folder of results: read from its records, printed and written."""

import gc
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.core.errors import BadInput
from benchmarks.core.files import check_links, write_atomically
from benchmarks.core.text import plain
from benchmarks.records.store import read_suite

if TYPE_CHECKING:
    from rich.console import Console

    from benchmarks.analysis.frames import Frames

NAMED = 10
"""Files that are named one by one where many cannot be read, or are not there yet."""
FORMATS = ("png", "svg", "pdf")
PAPER = "paper"
"""The folder of what is made for a paper, in a suite's folder."""


def write_reports(folder: Path, *, quiet: bool = False, require_audit: bool = False) -> None:
    """Rebuild tables, plots and page of a suite, and print its table and the paths written.

    With `quiet`, print no table; with `require_audit`, rank by no score that has passed no audit.

    Raises:
        BadInput: as `read_frames` and `write_report` have it; nothing is written then.
    """
    with collection_paused():
        frames = read_frames(folder, require_audit=require_audit)
        paths = write_report(frames)
        console = make_console()
        if not quiet:
            print_table(console, frames)
        print_paths(console, paths)


def print_report(folder: Path, *, require_audit: bool = False) -> None:
    """Print a suite's table, and write nothing."""
    with collection_paused():
        print_table(make_console(), read_frames(folder, require_audit=require_audit))


def write_plots(
    folder: Path, chosen: Sequence[str] | None, *, paper: bool, require_audit: bool = False
) -> None:
    """Draw some plots, or with `paper` what goes into a paper: plots as PDF too, and its table.

    Raises:
        BadInput: there is no plot of such a name, or a link leads out of the suite's folder;
            nothing is written then.
    """
    from benchmarks.reporting import comparison, plots

    with collection_paused():
        frames = read_frames(folder, require_audit=require_audit)
        formats = FORMATS if paper else FORMATS[:2]
        place = PAPER if paper else "plots"
        drawn = plots.render(frames, chosen, paper=paper, formats=formats)
        files = {f"{place}/{name}": content for name, content in drawn.items()}
        if paper and chosen is None:
            table = comparison.write_latex(
                frames.results, frames.comparison, frames.marks, paper=True
            )
            files = {f"{place}/table.tex": table} | files
        check_links(folder)
        print_paths(make_console(), write_files(folder, files))
        remove_stale(folder, (f"{place}/{name}" for name in chosen or plots.PLOTS), files)


def write_event_files(folder: Path) -> None:
    """Write TensorBoard's event files of a suite, and print how to look at them."""
    from benchmarks.reporting import tensorboard

    tensorboard.check_installed()
    folders, warnings = tensorboard.write_events(read_suite(folder))
    for line in warnings[:NAMED]:
        print(f"warning: {plain(line)}", file=sys.stderr)
    text = f"{len(folders):,} runs; look at them by: tensorboard --logdir {folders[0].parent}"
    make_console().print(text, soft_wrap=True)


def report_suites(
    folders: Sequence[Path], out: Path | None, *, require_audit: bool = False
) -> None:
    """Compare the contenders of several suites: print it, and write it into `out` if there is one.

    Raises:
        BadInput: as `analysis.suites.read_aggregate` has it.
    """
    from benchmarks.analysis.suites import read_aggregate
    from benchmarks.reporting.overview import show_aggregate, write_aggregate

    console = make_console()
    with collection_paused():
        result = read_aggregate(folders, require_audit=require_audit)
        console.print(show_aggregate(result, console.width))
        if out:
            files = write_aggregate(result)
            print_paths(console, write_files(out, files))
            drawn = (out / "plots").glob("critical_difference_*")
            remove_stale(out, (f"plots/{path.stem}" for path in drawn), files)


def report_changes(old: Path, new: Path, out: Path | None) -> bool:
    """Print what has changed from one folder to another, and write it into `out` if there is one.

    Returns:
        Whether the new results are worse.

    Raises:
        BadInput: a folder holds no readable suite, or none of its scores can be compared.
    """
    from benchmarks.analysis import changes
    from benchmarks.reporting import changelog

    console = make_console()
    with collection_paused():
        found = changes.compare_results(read_suite(old), read_suite(new))
        console.print(changelog.show_changes(found, console.width))
        if out:
            print_paths(console, write_files(out, changelog.write_changes(found)))
    worse = changes.is_worse(found)
    if not worse and not changes.is_comparable(found):
        raise BadInput(f"{new}: no score there can be compared with {old}, as said above")
    return worse


@contextmanager
def collection_paused() -> Iterator[None]:
    """Pause the search for garbage while millions of objects are built that are all in use."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()


def read_frames(folder: Path, *, require_audit: bool = False) -> "Frames":
    """Read a suite, and print to the standard error what could not be read.

    Raises:
        BadInput: the folder holds no readable suite, or no audit though one is required.
    """
    from benchmarks.analysis.audits import demand_audit
    from benchmarks.analysis.frames import gather

    results = read_suite(folder)
    if require_audit:
        demand_audit(results)
    frames = gather(results, require_audit=require_audit)
    for line in list_gaps(frames):
        print(line, file=sys.stderr)
    return frames


def list_gaps(frames: "Frames") -> list[str]:
    """List what is not in a report: what cannot be read by name, what is still to come in one line.

    A suite has its index before it has records, so runs without one are to be expected.
    """
    folder, index = frames.results.folder, frames.results.index
    read = {record.run for record in frames.results.records}
    runs = index.runs + index.calibration
    paths = {run: folder / "runs" / run / "record.json" for run in runs if run not in read}
    absent = [run for run, path in paths.items() if not path.exists()]
    known = {f"{paths[run]} is missing" for run in absent}
    damaged = [w for w in frames.results.warnings + frames.warnings if w not in known]
    lines = [f"warning: {plain(warning)}" for warning in damaged[:NAMED]]
    if len(damaged) > NAMED:
        lines.append(f"warning: and {len(damaged) - NAMED:,} more")
    if absent:
        named = ", ".join(absent[:NAMED] + ["…"] * (len(absent) > NAMED))
        lines.append(plain(f"{len(absent):,} of {len(runs):,} runs have no record yet: {named}"))
    return lines


def write_report(frames: "Frames") -> list[Path]:
    """Write tables, plots and the page, and remove earlier plots that have nothing to show now.

    Returns:
        The paths written: tables first, then plots, the page last.

    Raises:
        BadInput: a link leads out of the suite's folder; nothing is written then.
    """
    from benchmarks.analysis.export import write_csv
    from benchmarks.analysis.findings import collect_findings
    from benchmarks.analysis.frames import TIDY_COLUMNS, costs_frame, scores_frame
    from benchmarks.reporting import comparison, plots
    from benchmarks.reporting.page import build_page

    results, frame = frames.results, frames.comparison
    files = {
        "table.csv": write_csv(frame),
        "table.md": comparison.write_markdown(results, frame, frames.marks),
        "table.tex": comparison.write_latex(results, frame, frames.marks),
        "scores.csv": write_csv(scores_frame(results.records)[list(TIDY_COLUMNS)]),
        "costs.csv": write_csv(costs_frame(results.records)),
    }
    drawn = plots.render(frames)
    files |= {f"plots/{name}": content for name, content in drawn.items()}
    findings = collect_findings(frames.runs, frames.marks)
    files["report.html"] = build_page(frames, findings, drawn, list_gaps(frames))
    check_links(results.folder)
    paths = write_files(results.folder, files)
    remove_stale(results.folder, (f"plots/{name}" for name in plots.PLOTS), files)
    return paths


def remove_stale(folder: Path, names: Iterable[str], files: Mapping[str, bytes]) -> None:
    """Remove the plots of these names, without their ending, that are not among the new files."""
    for file in (f"{name}.{kind}" for name in names for kind in FORMATS):
        if file not in files:
            (folder / file).unlink(missing_ok=True)


def write_files(folder: Path, files: Mapping[str, bytes]) -> list[Path]:
    """Write files by their names in a folder, each whole or not at all, and return their paths.

    Raises:
        BadInput: a file's place is taken by a folder, or a folder's by a file; nothing is written.
    """
    for path in (folder / name for name in files):
        if path.is_dir() or (path.parent.exists() and not path.parent.is_dir()):
            wrong = path if path.is_dir() else path.parent
            raise BadInput(f"{wrong} is in the way of the report: move it away")
    for name, content in files.items():
        write_atomically(folder / name, content)
    return [folder / name for name in files]


def make_console() -> "Console":
    """Make a console that prints names as they are, whatever they hold."""
    from rich.console import Console

    return Console(markup=False, highlight=False)


def print_table(console: "Console", frames: "Frames") -> None:
    """Print a suite's table, the best value of each column starred."""
    from benchmarks.reporting.comparison import show_comparison

    console.print(show_comparison(frames.results, console.width, frames.comparison, frames.marks))


def print_paths(console: "Console", paths: Iterable[Path]) -> None:
    """Print a line a path, however wide the terminal is."""
    for path in paths:
        console.print(str(path), soft_wrap=True)
