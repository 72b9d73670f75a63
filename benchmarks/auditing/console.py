"""An audit in a terminal: who sees what under the first extractor, and what to make of it."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich import box
from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from benchmarks.core.text import plain
from benchmarks.reporting.audits import SIGNS, Block, Line, lay_out, state_counts, state_outcome

if TYPE_CHECKING:
    from benchmarks.analysis.audits import Audit


def print_audit(console: Console, audit: "Audit", paths: Iterable[Path]) -> None:
    """Print what was found, and the paths written."""
    console.print(show_audit(audit))
    for path in paths:
        if path.parent == audit.folder:
            console.print(str(path), soft_wrap=True)


def show_audit(audit: "Audit") -> Group:
    """Lay out what is printed of an audit."""
    first, *_ = lay_out(audit, audit.about["extractors"][0]) or lay_out(audit)
    others = len(audit.about["extractors"]) - 1
    dataset = plain(audit.about["dataset"]["name"])
    heading = f"What the scores see on {dataset}, {first.title}"
    notes = [f"{others} more extractors: see audit.html"] if others else []
    return Group(
        Text(heading, style="bold"),
        tabulate(first),
        *(Text(note, style="dim") for note in [state_counts(audit), *notes]),
        Text("\nKnown answers", style="bold"),
        *(Text(line) for line in list_answers(audit)),
        Text("\nWhat to make of it", style="bold"),
        *(Text(f"- {plain(sentence)}") for sentence in audit.about["advice"]),
        Text(),
    )


def tabulate(block: Block) -> Table:
    """Lay out how many faults each metric sees, and what there is to say of the others.

    A fault that a metric breaks its promise about has an exclamation mark.
    """
    table = Table(box=box.SIMPLE, padding=(0, 1), pad_edge=False)
    table.add_column("score", no_wrap=True)
    table.add_column("sees", justify="right", no_wrap=True)
    table.add_column("and of the others")
    first, *others = SIGNS
    for line in block.lines:
        known = sum(cell is not None for cell in line.cells.values())
        seen = f"{len(name_faults(line, first))} of {known}"
        told = [(word, ", ".join(name_faults(line, word))) for word in others]
        rest = "; ".join(f"{word}: {faults}" for word, faults in told if faults)
        table.add_row(Text(plain(str(line.metric["symbol"]))), seen, Text(rest))
    return table


def name_faults(line: Line, verdict: str) -> Sequence[str]:
    """Name the faults about which a metric has a verdict."""
    found = [(name, cell) for name, cell in line.cells.items() if cell and cell.verdict == verdict]
    return [plain(name) + ("!" if cell.broken else "") for name, cell in found]


def list_answers(audit: "Audit") -> list[str]:
    """Give a line for each question whose answer is known."""
    told = [(a["passed"], plain(a["name"]), plain(a["found"])) for a in audit.about["answers"]]
    return [f"- {state_outcome(p)}, {name.replace('_', ' ')}: {found}" for p, name, found in told]
