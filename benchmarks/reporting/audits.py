"""An audit's verdicts laid out for people: metrics by extractors in rows, faults by aspects."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Any

from benchmarks.core.text import (
    count,
    escape_markdown,
    join_cells,
    join_words,
    plain,
    shorten,
    show_duration,
)

if TYPE_CHECKING:
    from benchmarks.analysis.audits import Audit

LONGEST = 30
"""Characters of an amount in words."""
SIGNS = {"sees": "●", "sees late": "◐", "blind": "○", "misled": "×", "undecided": "?"}
"""How each verdict is shown in a cell, beside its word."""
MEANINGS = {
    "sees": "worse than real images among themselves, from a level before the last third on",
    "sees late": "the same, but only from a level in the last third on",
    "blind": "within what real images score among themselves, at every level",
    "misled": "better than real images at some level, or total damage passes for real",
    "undecided": "luck would decide: repetitions and splits chosen otherwise say otherwise",
}
ASPECTS = {
    "fidelity": "damage to single images",
    "classes": "wrong shares of classes",
    "variety": "lost variety within classes",
    "copying": "copies of training images",
    "shape": "a wrong shape of the features' distribution",
}
"""What faults of each aspect are, in words."""
WORDS = {
    "sees": "sees {}",
    "sees late": "sees {} late",
    "blind": "blind to {}",
    "misled": "misled by {}",
    "undecided": "undecided about {}",
}


@dataclass(frozen=True)
class Cell:
    """A verdict and what it was promised to be.

    Attributes:
        promise: `sees`, `ignores` or nothing.
        kept: None where that is undecided.
        row: the verdict's whole row.
    """

    verdict: str
    promise: str
    kept: bool | None
    row: Mapping[Any, Any]

    @property
    def broken(self) -> bool:
        """Whether the metric does not do what it promises."""
        return bool(self.promise) and self.kept is False

    @property
    def sign(self) -> str:
        """The verdict's sign, with an exclamation mark where it breaks a promise."""
        return SIGNS[self.verdict] + ("!" if self.broken else "")


@dataclass(frozen=True)
class Line:
    """A metric's cells by fault; None where it was not measured."""

    metric: Mapping[str, Any]
    cells: dict[str, Cell | None]


@dataclass(frozen=True)
class Block:
    """The metrics that were audited in an extractor's features; of pairs of images, in none."""

    extractor: str
    title: str
    lines: list[Line]


def lay_out(
    audit: "Audit",
    extractors: Sequence[str] | None = None,
    metrics: Iterable[str] | None = None,
) -> list[Block]:
    """Lay the verdicts out: a block an extractor, in their order, those of pairs last.

    Args:
        audit: whose verdicts.
        extractors: the only ones, an empty name for pairs of images; None for all.
        metrics: the only ones; None for all.
    """
    cells = _cells(audit)
    chosen = None if metrics is None else set(metrics)
    blocks = []
    for name in [*audit.about["extractors"], ""] if extractors is None else extractors:
        lines = [
            Line(metric, {f["name"]: found.get(f["name"]) for f in audit.about["faults"]})
            for metric in audit.about["metrics"]
            if (chosen is None or metric["name"] in chosen)
            and (found := cells.get((metric["name"], name)))
        ]
        if lines:
            blocks.append(Block(name, name_extractor(name), lines))
    return blocks


def _cells(audit: "Audit") -> dict[tuple[str, str], dict[str, Cell]]:
    """By metric and extractor, the cells by fault."""
    cells: dict[tuple[str, str], dict[str, Cell]] = {}
    for row in audit.verdicts.to_dict("records"):
        kept = row["kept"]
        cell = Cell(row["verdict"], row["promise"], kept if kept in {True, False} else None, row)
        cells.setdefault((row["metric"], row["extractor"]), {})[row["fault"]] = cell
    return cells


def name_extractor(extractor: str) -> str:
    """An extractor in words, without its hash."""
    if not extractor:
        return "image by image"
    return f"features of {plain(extractor.rpartition('@')[0] or extractor)}"


def group_faults(audit: "Audit") -> list[tuple[str, list[dict[str, Any]]]]:
    """The faults by their aspects, in the audit's order."""
    groups = groupby(audit.about["faults"], key=lambda fault: fault["aspect"])
    return [(aspect, list(faults)) for aspect, faults in groups]


def label_levels(fault: Mapping[str, Any]) -> list[str]:
    """The amount of a fault at each level in words, that of the undamaged set first."""
    shown = fault.get("shown") or [f"{amount:.4g} {fault['unit']}" for amount in fault["amounts"]]
    return ["none", *(shorten(plain(words), LONGEST) for words in shown)]


def say(verdict: str, fault: str) -> str:
    """A verdict in words: `blind to dropped classes`."""
    return WORDS[verdict].format(fault)


def list_broken(blocks: Sequence[Block], audit: "Audit") -> list[str]:
    """A line for each metric that breaks promises: what it is blind to, misled or moved by."""
    titles = {fault["name"]: plain(fault["title"]) for fault in audit.about["faults"]}
    return [
        f"{plain(line.metric['symbol'])}, {block.title}: {'; '.join(complaints)}"
        for block in blocks
        for line in block.lines
        if (complaints := _complain(line, titles))
    ]


def _complain(line: Line, titles: Mapping[str, str]) -> list[str]:
    """What a metric is blind to, misled by or moved by against its promise, a clause each."""
    broken = [(name, cell) for name, cell in line.cells.items() if cell and cell.broken]
    clauses = {
        verdict: [titles[n] for n, c in broken if c.promise == "sees" and c.verdict == verdict]
        for verdict in SIGNS
    }
    said = [say(verdict, join_words(names)) for verdict, names in clauses.items() if names]
    moved = [titles[name] for name, cell in broken if cell.promise == "ignores"]
    return said + ([f"moved by {join_words(moved)}, which it promises to ignore"] if moved else [])


def state_counts(audit: "Audit") -> str:
    """Of what and how many images the audit is, in a sentence."""
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


def write_verdict_markdown(audit: "Audit") -> bytes:
    """Write `verdict.md`: the advice, a table an extractor, broken promises, known answers.

    Returns:
        Markdown in UTF-8; texts from files are escaped.
    """
    blocks = lay_out(audit)
    broken = list_broken(blocks, audit) or ["None: every metric does what it promises."]
    sections = [
        f"# Audit of metrics on {escape_markdown(audit.about['dataset']['name'])}",
        _bullets(audit.about["advice"]),
        *(section for block in blocks for section in _write_block(block, audit)),
        _legend(),
        "## Promises that are not kept",
        _bullets(broken),
        "## Known answers",
        _bullets(_state_answer(answer) for answer in audit.about["answers"]),
        "## What was measured",
        escape_markdown(state_counts(audit)),
        f"Made by `{plain(audit.about['command']).replace('`', '')}`.",
    ]
    return ("\n\n".join(section for section in sections if section) + "\n").encode()


def _bullets(lines: Iterable[str]) -> str:
    return "\n".join(f"- {escape_markdown(line)}" for line in lines)


def _write_block(block: Block, audit: "Audit") -> list[str]:
    """A heading and a table: metrics in rows, faults in columns."""
    faults = [escape_markdown(fault["title"]) for fault in audit.about["faults"]]
    rows = [
        join_cells([escape_markdown(line.metric["symbol"]), *map(_show, line.cells.values())])
        for line in block.lines
    ]
    head = [join_cells(["metric", *faults]), join_cells(["---"] * (1 + len(faults)))]
    title = escape_markdown(block.title)
    return [f"## {title[:1].upper()}{title[1:]}", "\n".join([*head, *rows])]


def _show(cell: Cell | None) -> str:
    if cell is None:
        return "–"
    shown = f"{cell.sign} {cell.verdict}"
    return f"**{shown}**" if cell.broken else shown


def _legend() -> str:
    verdicts = [f"- {SIGNS[verdict]} {verdict}: {words}" for verdict, words in MEANINGS.items()]
    marks = ["- **bold and !**: the metric promises otherwise", "- –: not measured"]
    return "\n".join(verdicts + marks)


def _state_answer(answer: Mapping[str, Any]) -> str:
    return (
        f"{state_outcome(answer['passed']).capitalize()}: {answer['question']} "
        f"Expected: {answer['expected']}. Found: {answer['found']}."
    )


def state_outcome(passed: bool | None) -> str:
    """Whether a known answer was found, in words."""
    return {True: "as expected", False: "not as expected", None: "could not be asked"}[passed]
