"""An audit's verdicts as tables: metrics by extractors in rows, faults by aspects in columns."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

from benchmarks.analysis.audits import Audit, name_recipe
from benchmarks.core.text import (
    count,
    escape_markdown,
    join_words,
    plain,
    shorten,
    show_duration,
)
from benchmarks.reporting.table import Cell, Head, Table, write_markdown_table

LONGEST, AMOUNT = 36, 30
"""Characters of a fault's or a metric's name in a heading, and of an amount in words."""
SIGNS = {"sees": "●", "sees late": "◐", "blind": "○", "misled": "×", "undecided": "?"}
"""The sign of each verdict in a cell, beside its word."""
MEANINGS = {
    "sees": "worse than real images among themselves, from a level before the last third on",
    "sees late": "the same, but only from a level in the last third on",
    "blind": "within the scores of real images among themselves, at every level",
    "misled": "better than real images at some level, or total damage passes for real",
    "undecided": "other repetitions and splits would change the verdict",
}
ASPECTS = {
    "fidelity": "damage to single images",
    "classes": "wrong shares of classes",
    "variety": "lost variety within classes",
    "copying": "copies of training images",
    "shape": "a wrong shape of the features' distribution",
}
"""The faults of each aspect, in words."""
WORDS = {
    "sees": "sees {}",
    "sees late": "sees {} late",
    "blind": "blind to {}",
    "misled": "misled by {}",
    "undecided": "undecided about {}",
}


@dataclass(frozen=True)
class VerdictCell:
    """A verdict beside what the metric claims.

    Attributes:
        promise: `sees`, `ignores` or nothing.
        kept: None where that is undecided.
        row: the verdict's whole row.
    """

    verdict: str
    promise: str
    kept: bool | None
    row: Mapping[Any, Any] = field(default_factory=dict)

    @property
    def broken(self) -> bool:
        """Whether the metric fails its claim."""
        return bool(self.promise) and self.kept is False

    @property
    def sign(self) -> str:
        """The verdict's sign, with an exclamation mark where the metric fails its claim."""
        return SIGNS[self.verdict] + "!" * self.broken


@dataclass(frozen=True)
class Line:
    """A metric's cells by fault; None where it was not measured."""

    metric: Mapping[str, Any]
    cells: dict[str, VerdictCell | None]


@dataclass(frozen=True)
class Block:
    """The metrics that were audited in an extractor's features; of pairs of images, in none."""

    extractor: str
    title: str
    lines: list[Line]


def lay_out_verdicts(
    audit: Audit,
    extractors: Iterable[str] | None = None,
    metrics: Collection[str] | None = None,
) -> list[Block]:
    """Lay out the verdicts of some extractors and metrics, by default all, those of pairs last.

    The extractor of metrics of pairs of images has an empty name.
    """
    cells: dict[tuple[str, str], dict[str, VerdictCell]] = {}
    for row in audit.verdicts.to_dict("records"):
        kept = row["kept"] if row["kept"] in {True, False} else None
        cell = VerdictCell(row["verdict"], row["promise"], kept, row)
        cells.setdefault((row["metric"], row["extractor"]), {})[row["fault"]] = cell
    faults = [fault["name"] for fault in audit.about["faults"]]
    blocks = []
    for name in [*audit.about["extractors"], ""] if extractors is None else extractors:
        lines = [
            Line(metric, {fault: found.get(fault) for fault in faults})
            for metric in audit.about["metrics"]
            if (metrics is None or metric["name"] in metrics)
            and (found := cells.get((metric["name"], name)))
        ]
        if lines:
            blocks.append(Block(name, name_extractor(name), lines))
    return blocks


def brief(text: str) -> str:
    """Shorten a fault's or a metric's name for a heading."""
    return shorten(plain(text), LONGEST)


def name_extractor(extractor: str) -> str:
    """Return an extractor in words, without its hash."""
    return f"features of {plain(name_recipe(extractor))}" if extractor else "image by image"


def group_faults(audit: Audit) -> list[tuple[str, list[dict[str, Any]]]]:
    """Group the faults by their aspects, in the audit's order."""
    groups = groupby(audit.about["faults"], key=lambda fault: fault["aspect"])
    return [(aspect, list(faults)) for aspect, faults in groups]


def label_levels(fault: Mapping[str, Any]) -> list[str]:
    """Return the amount of a fault at each level in words, that of the undamaged set first."""
    shown = fault.get("shown") or [f"{amount:.4g} {fault['unit']}" for amount in fault["amounts"]]
    return ["none", *(shorten(plain(words), AMOUNT) for words in shown)]


def describe_verdict(verdict: str, fault: str) -> str:
    """Return a verdict in words: `blind to dropped classes`."""
    return WORDS[verdict].format(fault)


def list_broken(blocks: Sequence[Block], audit: Audit) -> list[str]:
    """List the metrics that fail their claims, with what they are blind to, misled or moved by."""
    titles = {fault["name"]: plain(fault["title"]) for fault in audit.about["faults"]}
    return [
        f"{plain(line.metric['symbol'])}, {block.title}: {'; '.join(complaints)}"
        for block in blocks
        for line in block.lines
        if (complaints := _complain(line, titles))
    ]


def describe_verdicts(found: Iterable[tuple[str, str]], most: int | None = None) -> list[str]:
    """Return verdicts on faults in words, equal ones together: `blind to blur and shift`."""
    faults = defaultdict[str, list[str]](list)
    for verdict, fault in found:
        faults[verdict].append(fault)
    return [describe_verdict(v, join_words(faults[v], most)) for v in SIGNS if v in faults]


def _complain(line: Line, titles: Mapping[str, str]) -> list[str]:
    """Return what a metric is blind to, misled or moved by against its claim, a clause each."""
    broken = [(name, cell) for name, cell in line.cells.items() if cell and cell.broken]
    clauses = describe_verdicts((c.verdict, titles[n]) for n, c in broken if c.promise == "sees")
    moved = [titles[name] for name, cell in broken if cell.promise == "ignores"]
    return clauses + ([f"moved by {join_words(moved)}, which it claims to ignore"] if moved else [])


def state_counts(audit: Audit) -> str:
    """State the size of the audit, in a sentence."""
    about = audit.about
    parts = [
        f"{about['samples']:,} images a set",
        f"{about['quarter']:,} for the stability over sample size",
        f"{about['splits']:,} splits for the floors",
        f"{count(about['repetitions'], 'repetition')} of each ladder",
        f"seed {about['seed']}",
        show_duration(about["seconds"]),
    ]
    return f"{plain(about['dataset']['name'])}: {', '.join(parts)}."


def write_verdict_markdown(audit: Audit) -> bytes:
    """Write `verdict.md`: recommendations, a table an extractor, failed claims, known answers."""
    blocks = lay_out_verdicts(audit)
    broken = list_broken(blocks, audit) or ["None: every metric does what it claims."]
    legend = [f"- {SIGNS[verdict]} {verdict}: {words}" for verdict, words in MEANINGS.items()]
    legend += ["- **bold and !**: the metric claims otherwise", "- –: not measured"]
    answers = (
        f"{state_outcome(answer['passed']).capitalize()}: {answer['question']} "
        f"Expected: {answer['expected']}. Found: {answer['found']}."
        for answer in audit.about["answers"]
    )
    sections = [
        f"# Audit of metrics on {escape_markdown(audit.about['dataset']['name'])}",
        _bullets(audit.about["advice"]),
        *(section for block in blocks for section in _write_block(block, audit)),
        "\n".join(legend),
        "## Metrics that fail their claims",
        _bullets(broken),
        "## Known answers",
        _bullets(answers),
        "## What was measured",
        escape_markdown(state_counts(audit)),
        f"Made by `{plain(audit.about['command']).replace('`', '')}`.",
    ]
    return ("\n\n".join(section for section in sections if section) + "\n").encode()


def _bullets(lines: Iterable[str]) -> str:
    return "\n".join(f"- {escape_markdown(line)}" for line in lines)


def _write_block(block: Block, audit: Audit) -> list[str]:
    """Return a heading and a table: metrics in rows, faults in columns."""
    header = [Head("metric", left=True)]
    header += [Head(plain(fault["title"]), left=True) for fault in audit.about["faults"]]
    rows = [
        [Cell(plain(line.metric["symbol"])), *map(_show_cell, line.cells.values())]
        for line in block.lines
    ]
    title = escape_markdown(block.title)
    heading = f"## {title[:1].upper()}{title[1:]}"
    return [heading, write_markdown_table(Table("", header, [rows]))]


def _show_cell(cell: VerdictCell | None) -> Cell:
    if cell is None:
        return Cell("–")
    return Cell(f"{cell.sign} {cell.verdict}", mark="worse" if cell.broken else "")


def state_outcome(passed: bool | None) -> str:
    """Return in words whether a known answer was found."""
    return {True: "as expected", False: "not as expected", None: "could not be asked"}[passed]
