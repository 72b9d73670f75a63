"""The command `python -m benchmarks.report DIR`: tables and plots from records alone."""

import argparse
import sys
from pathlib import Path

from benchmarks.errors import BadInput


def build_report(folder: Path) -> list[Path]:
    """Rebuild every table and plot of a suite's folder from its records; never trains.

    A plot of an earlier report that has nothing to show any more is removed.

    Returns:
        The paths written: tables first, then plots.

    Raises:
        BadInput: if the folder holds no readable suite; nothing is written then.
    """
    from benchmarks import plots, tables
    from benchmarks.records import read_suite, write_atomically

    results = read_suite(folder)
    material = plots.gather(results)
    files = {
        "table.csv": tables.write_csv(material.frame),
        "table.md": tables.write_markdown(results),
        "table.tex": tables.write_latex(results),
        "scores.csv": tables.write_csv(tables.scores_frame(results.records)),
        "costs.csv": tables.write_csv(tables.costs_frame(results.records)),
    }
    files |= {f"plots/{name}": content for name, content in plots.render(material).items()}
    for name, content in files.items():
        write_atomically(folder / name, content)
    for name in plots.PLOTS:
        for stale in {f"plots/{name}.png", f"plots/{name}.svg"} - files.keys():
            (folder / stale).unlink(missing_ok=True)
    for warning in results.warnings + material.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    return [folder / name for name in files]


def show_report(folder: Path, paths: list[Path]) -> None:
    """Print a suite's table, the best value of each column starred, and the paths to look at."""
    from rich.console import Console

    from benchmarks.records import read_suite
    from benchmarks.tables import show_comparison

    console = Console()
    console.print(show_comparison(read_suite(folder), console.width))
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
        paths = build_report(folder)
        show_report(folder, paths)
    except BadInput as error:
        print(error, file=sys.stderr)
        return 2
    except OSError as error:
        print(f"the report cannot be written: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
