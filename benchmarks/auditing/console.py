"""An audit in a terminal: verdicts under the first extractor, known answers, recommendations."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from rich.console import Console, Group
from rich.table import Table as RichTable
from rich.text import Text

from benchmarks.analysis.audits import Audit
from benchmarks.core.text import count, plain
from benchmarks.reporting.audits import (
    SIGNS,
    Block,
    Line,
    lay_out_verdicts,
    state_counts,
    state_outcome,
)
from benchmarks.reporting.table import Cell, Head, Table, show_table


def print_audit(console: Console, audit: Audit, paths: Iterable[Path]) -> None:
    """Print what was found, and the paths written."""
    console.print(show_audit(audit))
    for path in paths:
        if path.parent == audit.folder:
            console.print(str(path), soft_wrap=True)


def show_audit(audit: Audit) -> Group:
    """Lay out what is printed of an audit."""
    first, *_ = lay_out_verdicts(audit)
    dataset = plain(audit.about["dataset"]["name"])
    heading = f"Faults that each score detects on {dataset}, {first.title}"
    others = len(audit.about["extractors"]) - 1
    notes = [f"{count(others, 'further extractor')}: see audit.html"] if others else []
    listed = [(a["passed"], plain(a["name"]), plain(a["found"])) for a in audit.about["answers"]]
    answers = [f"- {state_outcome(p)}, {n.replace('_', ' ')}: {found}" for p, n, found in listed]
    return Group(
        Text(heading, style="bold"),
        tabulate_verdicts(first),
        *(Text(note, style="dim") for note in [state_counts(audit), *notes]),
        Text("\nKnown answers", style="bold"),
        *map(Text, answers),
        Text("\nRecommendations", style="bold"),
        *(Text(f"- {plain(sentence)}") for sentence in audit.about["advice"]),
        Text(),
    )


def tabulate_verdicts(block: Block) -> RichTable:
    """Count the faults that each metric sees, and list its other verdicts.

    A fault for which a metric fails its claim has an exclamation mark.
    """
    header = [Head("score", left=True), Head("sees"), Head("other verdicts", prose=True)]
    first, *others = SIGNS
    rows = []
    for line in block.lines:
        known = sum(cell is not None for cell in line.cells.values())
        seen = f"{len(name_faults(line, first))} of {known}"
        listed = [(word, ", ".join(name_faults(line, word))) for word in others]
        rest = "; ".join(f"{word}: {faults}" for word, faults in listed if faults)
        rows.append([Cell(plain(str(line.metric["symbol"]))), Cell(seen), Cell(rest)])
    return show_table(Table("", header, [rows]))


def name_faults(line: Line, verdict: str) -> Sequence[str]:
    """List the faults about which a metric has a verdict."""
    found = [(name, cell) for name, cell in line.cells.items() if cell and cell.verdict == verdict]
    return [plain(name) + ("!" if cell.broken else "") for name, cell in found]
