"""The page of an audit, and its section on the page of the suite whose scores it covers."""

import io
import math
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
from PIL import Image

from benchmarks.analysis.audits import Audit
from benchmarks.analysis.columns import COLUMNS
from benchmarks.analysis.frames import Frames
from benchmarks.core.text import count, plain, shorten, show_duration, show_number
from benchmarks.records.schema import Environment
from benchmarks.reporting.audits import (
    ASPECTS,
    MEANINGS,
    SIGNS,
    Block,
    Line,
    VerdictCell,
    describe_verdict,
    group_faults,
    label_levels,
    lay_out_verdicts,
    list_broken,
    state_counts,
    state_outcome,
)
from benchmarks.reporting.page.provenance import Fact, describe_environments
from benchmarks.reporting.page.templating import EmbeddedImage, embed_data, render_page
from benchmarks.reporting.page.text import to_sentence

LONGEST = 36
"""Characters of a fault's or a metric's name in a heading."""
STRIP = 440
"""About how many pixels wide a strip is shown."""


@dataclass(frozen=True)
class Shown:
    """A cell of the heat map: its CSS classes, sign, word and tip."""

    classes: str
    sign: str
    word: str
    tip: str


@dataclass(frozen=True)
class Heading:
    """A fault's column: its name, and all that explains it."""

    title: str
    tip: str


@dataclass(frozen=True)
class Heat:
    """The heat map as a table.

    Attributes:
        aspects: over how many columns each goes, and what it is.
        heads: of the faults.
        blocks: an extractor each: its name, and rows of a metric, what it is and cells.
        legend: sign, word and meaning of each verdict.
    """

    aspects: list[tuple[str, int, str]]
    heads: list[Heading]
    blocks: list[tuple[str, list[tuple[str, str, list[Shown]]]]]
    legend: list[tuple[str, str, str]]


@dataclass(frozen=True)
class ShownAnswer:
    """A known answer: whether it was found, in words, and how it is marked."""

    outcome: str
    style: str
    question: str
    expected: str
    found: str


@dataclass(frozen=True)
class Ladder:
    """A fault's part of the page; a strip has a label for each of its rows."""

    name: str
    title: str
    aspect: str
    summary: str
    labels: list[str]
    strip: EmbeddedImage | None
    curve: EmbeddedImage | None
    words: list[str]


@dataclass(frozen=True)
class Section:
    """The audit on a suite's page; only the command where there is none."""

    command: str
    heat: Heat | None = None
    counts: str = ""
    whole: str = ""
    advice: Sequence[str] = ()
    answers: Sequence[ShownAnswer] = ()
    broken: Sequence[str] = ()


def build_audit_page(
    audit: Audit, plots: Mapping[str, bytes], strips: Mapping[str, bytes]
) -> bytes:
    """Build the page of an audit.

    Args:
        audit: what it has found.
        plots: contents by file name as `plots.audits.render_audit` gives them; of these, each
            fault's ladder is shown.
        strips: PNG by file name, such as `blur.png`: a row of images for each level.

    Returns:
        HTML in UTF-8, with everything embedded.
    """
    blocks = lay_out_verdicts(audit)
    return render_page(
        "audit.html",
        name=plain(audit.about["dataset"]["name"]),
        facts=_state_facts(audit),
        advice=[plain(line) for line in audit.about["advice"]],
        answers=show_answers(audit),
        heat=show_heat(audit, blocks),
        broken=list_broken(blocks, audit),
        ladders=[_ladder(audit, fault, plots, strips) for fault in audit.about["faults"]],
        floors=_show_floors(audit, blocks),
        about=audit.about,
        aspects=ASPECTS,
        command=plain(audit.about["command"]),
        provenance=_trace(audit),
        machine=_machine(audit),
    )


def summarize_audit(frames: Frames) -> Section:
    """Summarize the audit of the scores of a suite's comparison."""
    suite = plain(frames.results.index.suite)
    command = f"python -m benchmarks.audit {shlex.quote(suite)}"
    audit, comparison = frames.audit, frames.comparison
    if audit is None:
        return Section(command)
    keys = [c.key for c in COLUMNS if c.key in comparison and comparison[c.key].notna().any()]
    extractor = audit.find_extractor(frames.marks.extractor)
    blocks = lay_out_verdicts(audit, [extractor or "", ""], keys)
    return Section(
        command,
        show_heat(audit, blocks) if blocks else None,
        state_counts(audit),
        _name_folder(frames, audit),
        [plain(line) for line in audit.about["advice"]],
        show_answers(audit),
        list_broken(blocks, audit),
    )


def _name_folder(frames: Frames, audit: Audit) -> str:
    """State where the whole audit is: beside the records, or among those published."""
    if audit.folder.parent == frames.results.folder:
        return "The page audit/audit.html has all of it."
    return f"It is the published audit of the same data, of the suite {audit.folder.parent.name}."


def show_answers(audit: Audit) -> list[ShownAnswer]:
    """Return the known answers in words."""
    styles = {True: "right", False: "wrong", None: "unasked"}
    return [
        ShownAnswer(
            state_outcome(answer["passed"]),
            styles[answer["passed"]],
            *(plain(answer[key]) for key in ("question", "expected", "found")),
        )
        for answer in audit.about["answers"]
    ]


def show_heat(audit: Audit, blocks: Sequence[Block]) -> Heat:
    """Build the heat map with the tips of its cells."""
    faults = {fault["name"]: fault for fault in audit.about["faults"]}
    return Heat(
        [
            (aspect, len(members), to_sentence(ASPECTS.get(aspect, aspect)))
            for aspect, members in group_faults(audit)
        ],
        [
            Heading(_brief(fault["title"]), f"{plain(fault['title'])}\n{plain(fault['summary'])}")
            for fault in faults.values()
        ],
        [
            (
                block.title,
                [
                    (
                        _brief(line.metric["symbol"]),
                        _explain_metric(line.metric),
                        [_show(audit, block, line, faults[name]) for name in line.cells],
                    )
                    for line in block.lines
                ],
            )
            for block in blocks
        ],
        [(SIGNS[verdict], verdict, meaning) for verdict, meaning in MEANINGS.items()],
    )


def _brief(text: str) -> str:
    return shorten(plain(text), LONGEST)


def _explain_metric(metric: Mapping[str, Any]) -> str:
    """Describe what a metric claims."""
    lines = [plain(metric["symbol"])]
    for verb, aspects in (
        ("Claims to see", metric["sees"]),
        ("Claims to ignore", metric["ignores"]),
    ):
        if aspects:
            lines.append(f"{verb}: {', '.join(ASPECTS.get(a, plain(a)) for a in aspects)}.")
    return "\n".join(lines)


def _show(audit: Audit, block: Block, line: Line, fault: Mapping[str, Any]) -> Shown:
    cell = line.cells[fault["name"]]
    place = f"{plain(line.metric['symbol'])}, {block.title}"
    if cell is None:
        return Shown("none", "–", "not measured", f"{place}\nNot measured with this fault.")
    classes = [cell.verdict.replace(" ", "-"), f"promise-{cell.promise or 'none'}"]
    classes += ["broken"] if cell.broken else []
    title = f"{place}: {describe_verdict(cell.verdict, plain(fault['title']))}"
    lines = [title, *_explain(cell, fault, audit), _state_promise(cell)]
    return Shown(
        " ".join(classes), cell.sign, cell.verdict, "\n".join(line for line in lines if line)
    )


def _explain(cell: VerdictCell, fault: Mapping[str, Any], audit: Audit) -> list[str]:
    """Describe what a verdict rests on, in lines."""
    row, about = cell.row, audit.about
    lines = []
    if _known(row["tau"]):
        ends = f"{_signed(row['tau_low'])} to {_signed(row['tau_high'])}"
        lines.append(f"Kendall's τ with the damage: {_signed(row['tau'])} (95 %: {ends})")
    lines.append(_state_threshold(row["threshold"], row["threshold_quarter"], fault, about))
    if _known(row["linearity"]):
        lines.append(f"R² of a line in the share of bad images: {row['linearity']:.2f}")
    if _known(row["drift"]):
        sizes = f"from {about['samples']:,} to {about['quarter']:,} images"
        lines.append(f"Drift {sizes}: {row['drift']:.0%} of the ladder's range")
    return [*lines, plain(str(row["note"] or ""))]


def _known(value: Any) -> bool:
    return bool(pd.notna(value)) and math.isfinite(value)


def _signed(value: float) -> str:
    return f"{value:.2f}".replace("-", "−") if _known(value) else "not known"


def _state_threshold(
    level: float, quarter: float, fault: Mapping[str, Any], about: Mapping[str, Any]
) -> str:
    """State from which level on a score is beyond its floor."""
    labels = label_levels(fault)
    first = (
        f"from level {level:.0f} ({labels[min(int(level), len(labels) - 1)]}) on"
        if _known(level)
        else "at no level"
    )
    fewer = f"from level {quarter:.0f} on" if _known(quarter) else "at no level"
    return f"Worse than the floor {first}; with {about['quarter']:,} images {fewer}"


def _state_promise(cell: VerdictCell) -> str:
    """State the metric's claim and whether it holds."""
    aspect = ASPECTS.get(cell.row["aspect"], plain(cell.row["aspect"]))
    outcome = {True: "holds", False: "fails", None: "undecided"}[cell.kept]
    if cell.promise:
        verb = "claims to see" if cell.promise == "sees" else "claims to ignore"
        return f"It {verb} {aspect}: {outcome}"
    moved = "; it moves nevertheless" if cell.kept is False else ""
    return f"It claims nothing about {aspect}{moved}"


def _state_facts(audit: Audit) -> list[str]:
    """List what was audited, in a few words each."""
    about = audit.about
    facts = [
        count(len(about["metrics"]), "metric"),
        count(len(about["extractors"]), "extractor"),
        count(len(about["faults"]), "fault"),
        f"{about['samples']:,} images a set",
        f"{about['splits']:,} splits",
        count(about["repetitions"], "repetition"),
    ]
    return facts + ([show_duration(about["seconds"])] if about.get("seconds") else [])


def _ladder(
    audit: Audit,
    fault: Mapping[str, Any],
    plots: Mapping[str, bytes],
    strips: Mapping[str, bytes],
) -> Ladder:
    name, labels = fault["name"], label_levels(fault)
    strip, curve = strips.get(f"{name}.png"), plots.get(f"{name}.png")
    words = _tell(audit, fault)
    alt = f"Response of each metric to {plain(fault['title'])}. {' '.join(words)}"
    return Ladder(
        name,
        plain(fault["title"]),
        plain(fault["aspect"]),
        to_sentence(plain(fault["summary"]).rstrip(".") or plain(fault["title"])),
        labels,
        _embed_strip(strip) if strip else None,
        EmbeddedImage(embed_data(curve, "image/png"), *_measure_png(curve), alt) if curve else None,
        words,
    )


def _measure_png(picture: bytes) -> tuple[int, int]:
    """Return the size of a plot, at as many pixels an inch as a page has."""
    image = Image.open(io.BytesIO(picture))
    scale = 96 / image.info.get("dpi", (96, 96))[0]
    return round(image.width * scale), round(image.height * scale)


def _embed_strip(content: bytes) -> EmbeddedImage:
    """Embed a strip, every pixel enlarged by the same whole factor."""
    width, height = Image.open(io.BytesIO(content)).size
    factor = max(1, round(STRIP / width))
    return EmbeddedImage(embed_data(content, "image/png"), width * factor, height * factor)


def _tell(audit: Audit, fault: Mapping[str, Any]) -> list[str]:
    """List the metrics by their verdicts on a fault, a sentence an extractor."""
    sentences = []
    for block in lay_out_verdicts(audit):
        names: dict[str, list[str]] = {}
        for line in block.lines:
            if cell := line.cells[fault["name"]]:
                names.setdefault(cell.verdict, []).append(plain(line.metric["symbol"]))
        said = [f"{verdict}: {', '.join(names[verdict])}" for verdict in SIGNS if verdict in names]
        if said:
            sentences.append(to_sentence(f"{block.title}: {'; '.join(said)}"))
    return sentences


def _show_floors(audit: Audit, blocks: Sequence[Block]) -> list[tuple[str, list[list[str]]]]:
    """Return by extractor rows of a metric with its floor at both sizes."""
    sizes = {"full": audit.about["samples"], "quarter": audit.about["quarter"]}
    floors = {
        (row["metric"], row["extractor"], row["size"]): row
        for row in audit.floors.to_dict("records")
        if row["n"] == sizes.get(row["size"])
    }
    return [
        (
            block.title,
            [
                [
                    _brief(line.metric["symbol"]),
                    *_floor_cells(*(floors.get((*key, size), {}) for size in sizes)),
                ]
                for line in block.lines
                if (*(key := (line.metric["name"], block.extractor)), "full") in floors
            ],
        )
        for block in blocks
    ]


def _floor_cells(full: Mapping[Any, Any], quarter: Mapping[Any, Any]) -> list[str]:
    bias = quarter.get("bias", math.nan)
    return [
        _number(full["mean"]),
        _number(full["deviation"]),
        f"{_number(full['low'])} to {_number(full['high'])}",
        _number(quarter.get("mean", math.nan)),
        f"{bias:+.1f}".replace("-", "−") if _known(bias) else "",
    ]


def _number(value: float) -> str:
    return show_number(value) if _known(value) else ("∞" if value == math.inf else "–")


def _trace(audit: Audit) -> list[Fact]:
    """List the sources of the audit's numbers."""
    about = audit.about
    data = about["dataset"]
    found = "found by clustering" if about["clustered"] else "by the data set's labels"
    return [
        Fact("Data set", [plain(data["name"]), f"images of {_shape(data['shape'])}"]),
        Fact("Data fingerprint (SHA-256)", [plain(data["fingerprint"])]),
        Fact("Extractors, with their hashes", [plain(name) for name in about["extractors"]]),
        Fact("Held-out images", [f"{about['pool']:,}"]),
        Fact("Training images that memorisers draw from", [f"{about['training']:,}"]),
        Fact("Images in a set", [f"{about['samples']:,}, and {about['quarter']:,} at a quarter"]),
        Fact("Splits, repetitions", [f"{about['splits']:,}, {about['repetitions']:,}"]),
        Fact("Classes", [f"{about['classes']:,}, {found}"]),
        Fact("Seed", [f"{about['seed']}"]),
    ]


def _shape(shape: Iterable[int]) -> str:
    return " × ".join(f"{side:,}" for side in shape)


def _machine(audit: Audit) -> list[Fact]:
    environment = audit.about.get("environment")
    return describe_environments([Environment.model_validate(environment)]) if environment else []
