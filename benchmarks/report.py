"""The command `python -m benchmarks.report DIR`: tables and plots from records alone."""

import argparse
import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.errors import BadInput

if TYPE_CHECKING:
    from benchmarks.plots import Material

NAMED = 10
"""Files that are named one by one where many cannot be read, or are not there yet."""


def publish(folder: Path) -> None:
    """Rebuild every table and plot of a suite's folder, and print its table and where they are.

    Raises:
        BadInput: if the folder holds no readable suite; nothing is written then.
    """
    with uncollected():
        material = read_material(folder)
        print_report(material, write_report(material))


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
    """Rebuild every table and plot of a suite's folder from its records; never trains.

    Returns:
        The paths written: tables first, then plots.

    Raises:
        BadInput: if the folder holds no readable suite; nothing is written then.
    """
    return write_report(read_material(folder))


def read_material(folder: Path) -> "Material":
    """Read a suite, and say on the standard error what could not be read.

    Raises:
        BadInput: if the folder holds no readable suite.
    """
    from benchmarks.plots import gather
    from benchmarks.records import read_suite

    material = gather(read_suite(folder))
    for line in explain_gaps(material):
        print(line, file=sys.stderr)
    return material


def explain_gaps(material: "Material") -> list[str]:
    """Say what is not in a report: what cannot be read by name, what is still to come in one line.

    A suite has its index before it has records, so runs without one are to be expected.
    """
    from benchmarks.tables import plain

    folder, index = material.results.folder, material.results.index
    read = {record.run for record in material.results.records}
    runs = [run for run in index.runs + index.calibration if run not in read]
    paths = {run: folder / "runs" / run / "record.json" for run in runs}
    absent = {run: path for run, path in paths.items() if not path.exists()}
    known = {f"{path} is missing" for path in absent.values()}
    damaged = [w for w in material.results.warnings + material.warnings if w not in known]
    lines = [f"warning: {plain(warning)}" for warning in damaged[:NAMED]]
    if len(damaged) > NAMED:
        lines.append(f"warning: and {len(damaged) - NAMED:,} more")
    if absent:
        names = ", ".join([*list(absent)[:NAMED], *(["…"] if len(absent) > NAMED else [])])
        total = len(index.runs + index.calibration)
        lines.append(plain(f"{len(absent):,} of {total:,} runs have no record yet: {names}"))
    return lines


def write_report(material: "Material") -> list[Path]:
    """Write every table and plot; a plot of an earlier report with nothing to show is removed.

    Raises:
        BadInput: a link leads out of the suite's folder; nothing is written then.
    """
    from benchmarks import plots, tables
    from benchmarks.records import check_links, write_atomically

    results, frame = material.results, material.frame
    check_links(results.folder)
    files = {
        "table.csv": tables.write_csv(frame),
        "table.md": tables.write_markdown(results, frame),
        "table.tex": tables.write_latex(results, frame),
        "scores.csv": tables.write_csv(tables.scores_frame(results.records)),
        "costs.csv": tables.write_csv(tables.costs_frame(results.records)),
    }
    files |= {f"plots/{name}": content for name, content in plots.render(material).items()}
    for name, content in files.items():
        write_atomically(results.folder / name, content)
    for name in plots.PLOTS:
        for stale in {f"plots/{name}.png", f"plots/{name}.svg"} - files.keys():
            (results.folder / stale).unlink(missing_ok=True)
    return [results.folder / name for name in files]


def print_report(material: "Material", paths: list[Path]) -> None:
    """Print a suite's table, the best value of each column starred, and the paths to look at."""
    from rich.console import Console

    from benchmarks.tables import show_comparison

    console = Console()
    console.print(show_comparison(material.results, console.width, material.frame))
    for path in paths:
        console.print(str(path), soft_wrap=True, markup=False, highlight=False)


def main(argv: list[str] | None = None) -> int:
    """Run the command and return its exit code: 0, or 2 where the input is wrong."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.report",
        description="Rebuild every table and plot of a suite from its records; never trains.",
    )
    parser.add_argument("folder", metavar="DIR", type=Path, help="results/<suite>, with suite.json")
    folder = parser.parse_args(argv).folder
    try:
        publish(folder)
    except BadInput as error:
        print(error, file=sys.stderr)
        return 2
    except OSError as error:
        print(f"the report cannot be written: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
