"""The page of an audit, and its section on the page of the suite whose scores it covers."""

import io
import math
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
from PIL import Image

from benchmarks.analysis.audits import Audit
from benchmarks.analysis.columns import COLUMNS
from benchmarks.analysis.frames import Frames
from benchmarks.core.text import count, plain, show_duration, show_number, show_share
from benchmarks.records.schema import Environment
from benchmarks.reporting.audits import (
    ASPECTS,
    MEANINGS,
    SIGNS,
    Block,
    Line,
    VerdictCell,
    brief,
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
from benchmarks.reporting.table import Head

STRIP = 440
"""About how many pixels wide a strip is shown."""


def build_audit_page(
    audit: Audit, plots: Mapping[str, bytes], strips: Mapping[str, bytes]
) -> bytes:
    """Build the page of an audit: HTML in UTF-8, with everything embedded.

    Args:
        audit: what it has found.
        plots: as `plots.audits.render_audit` returns them; each fault's ladder is shown.
        strips: PNG by file name, such as `blur.png`: a row of images for each level.
    """
    blocks, about = lay_out_verdicts(audit), audit.about
    environment = about.get("environment")
    machine = [Environment.model_validate(environment)] if environment else []
    return render_page(
        "audit.html",
        name=plain(about["dataset"]["name"]),
        facts=_state_facts(about),
        advice=[*map(plain, about["advice"])],
        answers=show_answers(audit),
        heat=show_heat(audit, blocks),
        broken=list_broken(blocks, audit),
        ladders=[_show_ladder(blocks, fault, plots, strips) for fault in about["faults"]],
        floors=_show_floors(audit, blocks),
        about=about,
        command=plain(about["command"]),
        provenance=_trace(about),
        machine=describe_environments(machine) if machine else [],
    )


def summarize_audit(frames: Frames) -> dict[str, Any]:
    """Summarize the audit of the scores of a suite's comparison; without one, how to make it."""
    suite = plain(frames.results.index.suite)
    audit, comparison = frames.audit, frames.comparison
    if audit is None:
        command = f"python -m benchmarks.audit {shlex.quote(suite)}"
        return {"command": command, "heat": None, "counts": ""}
    keys = [c.key for c in COLUMNS if c.key in comparison and comparison[c.key].notna().any()]
    extractor = audit.find_extractor(frames.marks.extractor)
    blocks = lay_out_verdicts(audit, [extractor or "", ""], keys)
    whole = f"It is the published audit of the same data, of the suite {audit.folder.parent.name}."
    if audit.folder.parent == frames.results.folder:
        whole = "The page audit/audit.html has all of it."
    return {
        "heat": show_heat(audit, blocks) if blocks else None,
        "counts": state_counts(audit),
        "whole": whole,
        "advice": [*map(plain, audit.about["advice"])],
        "answers": show_answers(audit),
        "broken": list_broken(blocks, audit),
    }


def show_answers(audit: Audit) -> list[dict[str, Any]]:
    """Return the known answers, each with its outcome in words and how it is marked."""
    styles = {True: "right", False: "wrong", None: "unasked"}
    return [
        {**answer, "outcome": state_outcome(answer["passed"]), "style": styles[answer["passed"]]}
        for answer in audit.about["answers"]
    ]


def show_heat(audit: Audit, blocks: Sequence[Block]) -> dict[str, Any]:
    """Build the heat map: its header, blocks of metrics with cells, and the verdicts' meanings."""
    faults = audit.about["faults"]
    aspects = [
        (aspect, len(members), to_sentence(ASPECTS.get(aspect, aspect)))
        for aspect, members in group_faults(audit)
    ]
    heads = [
        Head(brief(fault["title"]), tip=f"{plain(fault['title'])}\n{plain(fault['summary'])}")
        for fault in faults
    ]
    shown = []
    for block in blocks:
        rows = []
        for line in block.lines:
            cells = [_render_verdict(audit, block, line, fault) for fault in faults]
            rows.append((brief(line.metric["symbol"]), _explain_metric(line.metric), cells))
        shown.append((block.title, rows))
    legend = [(SIGNS[verdict], verdict, meaning) for verdict, meaning in MEANINGS.items()]
    return {"aspects": aspects, "heads": heads, "blocks": shown, "legend": legend}


def _explain_metric(metric: Mapping[str, Any]) -> str:
    """Describe what a metric claims."""
    claims = ("Claims to see", metric["sees"]), ("Claims to ignore", metric["ignores"])
    lines = [
        f"{verb}: {', '.join(ASPECTS.get(a, plain(a)) for a in aspects)}."
        for verb, aspects in claims
        if aspects
    ]
    return "\n".join([plain(metric["symbol"]), *lines])


def _render_verdict(
    audit: Audit, block: Block, line: Line, fault: Mapping[str, Any]
) -> dict[str, str]:
    """Return a cell of the heat map: its CSS classes, sign, word and tip."""
    cell = line.cells[fault["name"]]
    place = f"{plain(line.metric['symbol'])}, {block.title}"
    if cell is None:
        tip = f"{place}\nNot measured with this fault."
        return {"classes": "none", "sign": "–", "word": "not measured", "tip": tip}
    classes = f"{cell.verdict.replace(' ', '-')} promise-{cell.promise or 'none'}"
    title = f"{place}: {describe_verdict(cell.verdict, plain(fault['title']))}"
    lines = [title, *_explain_verdict(cell, fault, audit), _state_promise(cell)]
    return {
        "classes": classes + " broken" * cell.broken,
        "sign": cell.sign,
        "word": cell.verdict,
        "tip": "\n".join(filter(None, lines)),
    }


def _explain_verdict(cell: VerdictCell, fault: Mapping[str, Any], audit: Audit) -> list[str]:
    """Describe what a verdict rests on, in lines."""
    row, quarter = cell.row, f"{audit.about['quarter']:,} images"
    labels = label_levels(fault)
    lines = []
    if _known(row["tau"]):
        ends = f"{_signed(row['tau_low'])} to {_signed(row['tau_high'])}"
        lines.append(f"Kendall's τ with the damage: {_signed(row['tau'])} (95 %: {ends})")
    first = fewer = "at no level"
    if _known(level := row["threshold"]):
        first = f"from level {level:.0f} ({labels[min(int(level), len(labels) - 1)]}) on"
    if _known(level := row["threshold_quarter"]):
        fewer = f"from level {level:.0f} on"
    lines.append(f"Worse than the floor {first}; with {quarter} {fewer}")
    if _known(row["linearity"]):
        lines.append(f"R² of a line in the share of bad images: {row['linearity']:.2f}")
    if _known(row["drift"]):
        sizes = f"from {audit.about['samples']:,} to {quarter}"
        lines.append(f"Drift {sizes}: {show_share(row['drift'])} of the ladder's range")
    return [*lines, plain(str(row["note"] or ""))]


def _known(value: Any) -> bool:
    return bool(pd.notna(value)) and math.isfinite(value)


def _signed(value: float) -> str:
    return f"{value:.2f}".replace("-", "−") if _known(value) else "not known"


def _state_promise(cell: VerdictCell) -> str:
    """State the metric's claim and whether it holds."""
    aspect = ASPECTS.get(cell.row["aspect"], plain(cell.row["aspect"]))
    if cell.promise:
        verb = "claims to see" if cell.promise == "sees" else "claims to ignore"
        outcome = {True: "holds", False: "fails", None: "undecided"}[cell.kept]
        return f"It {verb} {aspect}: {outcome}"
    moved = "; it moves nevertheless" if cell.kept is False else ""
    return f"It claims nothing about {aspect}{moved}"


def _state_facts(about: Mapping[str, Any]) -> list[str]:
    """List what was audited, in a few words each."""
    facts = [
        *(count(len(about[f"{kind}s"]), kind) for kind in ("metric", "extractor", "fault")),
        f"{about['samples']:,} images a set",
        f"{about['splits']:,} splits",
        count(about["repetitions"], "repetition"),
    ]
    return facts + ([show_duration(about["seconds"])] if about.get("seconds") else [])


def _show_ladder(
    blocks: Sequence[Block],
    fault: Mapping[str, Any],
    plots: Mapping[str, bytes],
    strips: Mapping[str, bytes],
) -> dict[str, Any]:
    """Return a fault's part of the page; a strip has a label for each of its rows."""
    title, file = plain(fault["title"]), f"{fault['name']}.png"
    alt = f"Response of each metric to {title}. {' '.join(_list_verdicts(blocks, fault['name']))}"
    return {
        "title": title,
        "aspect": plain(fault["aspect"]),
        "summary": to_sentence(plain(fault["summary"]).rstrip(".") or title),
        "labels": label_levels(fault),
        "strip": _embed_png(strips[file]) if file in strips else None,
        "curve": _embed_png(plots[file], alt) if file in plots else None,
    }


def _embed_png(content: bytes, alt: str = "") -> EmbeddedImage:
    """Embed a plot at a page's pixels an inch, or a strip, enlarged by a whole factor."""
    image = Image.open(io.BytesIO(content))
    resolution = image.info.get("dpi")
    scale = 96 / resolution[0] if resolution else max(1, round(STRIP / image.width))
    size = round(image.width * scale), round(image.height * scale)
    return EmbeddedImage(embed_data(content, "image/png"), *size, alt)


def _list_verdicts(blocks: Sequence[Block], fault: str) -> list[str]:
    """List the metrics by their verdicts on a fault, a sentence an extractor."""
    sentences = []
    for block in blocks:
        names: dict[str, list[str]] = {}
        for line in block.lines:
            if cell := line.cells[fault]:
                names.setdefault(cell.verdict, []).append(plain(line.metric["symbol"]))
        if names:
            listed = [f"{word}: {', '.join(names[word])}" for word in SIGNS if word in names]
            sentences.append(to_sentence(f"{block.title}: {'; '.join(listed)}"))
    return sentences


def _show_floors(audit: Audit, blocks: Sequence[Block]) -> list[tuple[str, list[list[str]]]]:
    """Return by extractor rows of a metric with its floor at both sizes."""
    sizes = {"full": audit.about["samples"], "quarter": audit.about["quarter"]}
    floors = {
        (row["metric"], row["extractor"], row["size"]): row
        for row in audit.floors.to_dict("records")
        if row["n"] == sizes.get(row["size"])
    }
    found = []
    for block in blocks:
        rows = []
        for metric in (line.metric for line in block.lines):
            full, quarter = (floors.get((metric["name"], block.extractor, s)) for s in sizes)
            if full:
                mean, deviation, low, high = (
                    _number(full[key]) for key in ("mean", "deviation", "low", "high")
                )
                small, bias = ((quarter or {}).get(key, math.nan) for key in ("mean", "bias"))
                shift = f"{bias:+.1f}".replace("-", "−") if _known(bias) else ""
                symbol = brief(metric["symbol"])
                rows.append([symbol, mean, deviation, f"{low} to {high}", _number(small), shift])
        found.append((block.title, rows))
    return found


def _number(value: float) -> str:
    return show_number(value) if _known(value) else ("∞" if value == math.inf else "–")


def _trace(about: Mapping[str, Any]) -> list[Fact]:
    """List the sources of the audit's numbers."""
    data = about["dataset"]
    shape = " × ".join(f"{side:,}" for side in data["shape"])
    found = "found by clustering" if about["clustered"] else "by the data set's labels"
    facts = {
        "Data set": [plain(data["name"]), f"images of {shape}"],
        "Data fingerprint (SHA-256)": [plain(data["fingerprint"])],
        "Extractors, with their hashes": [plain(name) for name in about["extractors"]],
        "Held-out images": [f"{about['pool']:,}"],
        "Training images that memorisers draw from": [f"{about['training']:,}"],
        "Images in a set": [f"{about['samples']:,}, and {about['quarter']:,} at a quarter"],
        "Splits, repetitions": [f"{about['splits']:,}, {about['repetitions']:,}"],
        "Classes": [f"{about['classes']:,}, {found}"],
        "Seed": [f"{about['seed']}"],
    }
    return [Fact(name, lines) for name, lines in facts.items()]
