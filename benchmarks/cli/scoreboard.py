"""The display of one set of images: the progress of its scoring, and the table of its scores."""

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from rich import box
from rich.console import Console, Group
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from benchmarks.config.registry import list_metrics
from benchmarks.core.text import show_number
from benchmarks.evaluation.request import WARNING, ReportProgress
from benchmarks.records.schema import Record, Score

SILENCE = 10.0  # seconds between two plain lines on how far the work has got

ARROWS = {"lower": " ↓", "higher": " ↑"}
FLOORS = {"fid_floor": "FID's floor"}


@contextmanager
def display_progress(
    console: Console, what: str, units: str = "images"
) -> Iterator[ReportProgress]:
    """Show how many `units` are done: a bar in a terminal, now and then a line anywhere else."""
    if console.is_terminal:
        columns = (
            *(TextColumn("{task.description}", markup=False), BarColumn(bar_width=20)),
            *(MofNCompleteColumn(), TimeRemainingColumn(compact=True)),
        )
        with Progress(*columns, console=console, transient=True) as progress:
            task = progress.add_task(what, total=None)
            yield lambda done, total: progress.update(task, completed=done, total=total)
        return
    printed = time.monotonic()

    def report(done: int, total: int) -> None:
        nonlocal printed
        if time.monotonic() - printed > SILENCE:
            printed = time.monotonic()
            line = f"{what}: {done:,} of {total:,} {units}"
            console.print(line, soft_wrap=True, markup=False, highlight=False)

    yield report


def render_scores(
    title: str, record: Record, scores: list[Score], notes: list[str], count: int | None
) -> Group:
    """Render a table of scores, in their order, and the notes below it; warnings stand out."""
    lines = [Text(note, style="yellow" if note.startswith(WARNING) else "dim") for note in notes]
    if not scores:
        return Group(*lines)
    heading = f"{title} against {record.dataset}, seen by {record.spec['extractor']}"
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 2, 0, 0))
    for column in ("score", "value", "interval", "images", "reference"):
        table.add_column(column, justify="left" if column == "score" else "right")
    for score in scores:
        ends = [show_number(end) for end in (score.low, score.high) if end is not None]
        entry = list_metrics().get(score.metric)
        table.add_row(
            find_symbol(score.metric) + (ARROWS[entry.about["direction"]] if entry else ""),
            "" if score.value is None else show_number(score.value),
            f"[{', '.join(ends)}]" if ends else "",
            f"{score.n:,}",
            f"{score.reference}, {count:,}" if count else score.reference,
        )
    return Group(Text(heading, style="bold"), table, *lines)


def find_own_scores(record: Record) -> list[Score]:
    """Return the scores by the extractor itself."""
    own = {None, record.spec["extractor"]}
    return [score for score in record.scores if score.extractor in own]


def sort_scores(scores: Iterable[Score]) -> list[Score]:
    """Sort scores by the order of a comparison's columns, those that it lacks at the end."""
    from benchmarks.analysis.columns import PANELS

    panels = (PANELS[title] for title in ("Generation", "Fidelity and variety"))
    shown = (column.key for panel in panels for column in panel)
    order = dict.fromkeys(("fid", "fid_floor", "fid_infinity", *shown))
    places = {name: i for i, name in enumerate(order)}
    return sorted(scores, key=lambda score: places.get(score.metric, len(places)))


def list_notes(record: Record, count: int | None) -> list[str]:
    """List the kinds of intervals and the limits of the scores, a line each."""
    scores, kinds = find_own_scores(record), dict[str, list[str]]()
    for score in scores:
        if score.interval and score.low is not None:
            kinds.setdefault(score.interval, []).append(find_symbol(score.metric))
    notes = [f"interval of {', '.join(symbols)}: {words}" for words, symbols in kinds.items()]
    notes += [f"{find_symbol(score.metric)}: {score.note}" for score in scores if score.note]
    found, split = {score.metric for score in scores}, record.spec["split"]
    if split == "nothing":
        return notes
    missing = [find_symbol(name) for name in record.metrics if name not in found]
    if missing:
        notes.append(f"not defined here: {', '.join(missing)}")
    generated = record.spec["samples"]
    if count is None:
        notes.append(
            f"{record.dataset} does not say of how many images it is, nor how these were resized: "
            "FID depends on both"
        )
    elif count != generated and "fid" in found:
        notes.append(
            f"{generated:,} images against {count:,}: FID is biased by both counts, so compare it "
            "with that of as many images only"
        )
    if split == "train":
        notes.append("scored against the training split, where copies of its images score best")
    return notes


def find_symbol(metric: str) -> str:
    """Return the symbol of a metric in print."""
    entry = list_metrics().get(metric)
    return str(entry.about["symbol"]) if entry else FLOORS.get(metric, metric)
