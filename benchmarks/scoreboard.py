"""What the user sees of one set of images: how far the work has got, and a table of its scores."""

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from rich import box
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from benchmarks.catalogue import list_metrics
from benchmarks.records import Score

SILENCE = 10.0
"""Seconds between two plain lines on how far the work has got."""


@contextmanager
def watch(
    console: Console, what: str, units: str = "images"
) -> Iterator[Callable[[int, int], None]]:
    """Show how many `units` are done: a bar in a terminal, now and then a line anywhere else.

    Yields:
        What is to be told how many are done, and of how many.
    """
    if console.is_terminal:
        columns = (
            *(TextColumn("{task.description}", markup=False), BarColumn(bar_width=20)),
            *(MofNCompleteColumn(), TimeRemainingColumn(compact=True)),
        )
        with Progress(*columns, console=console, transient=True) as progress:
            task = progress.add_task(what, total=None)
            yield lambda done, total: progress.update(task, completed=done, total=total)
        return
    told = time.monotonic()

    def tell(done: int, total: int) -> None:
        nonlocal told
        if done == total or time.monotonic() - told > SILENCE:
            told = time.monotonic()
            line = f"{what}: {done:,} of {total:,} {units}"
            console.print(line, soft_wrap=True, markup=False, highlight=False)

    yield tell


def arrange(scores: Iterable[Score]) -> list[Score]:
    """Put scores into the order of a comparison's columns, and those that it has not at the end."""
    from benchmarks.tables import GENERATION, VARIETY

    headlines = (column.key for column in (*GENERATION, *VARIETY) if column.key != "fid")
    places = {name: i for i, name in enumerate(("fid", "fid_floor", "fid_infinity", *headlines))}
    return sorted(scores, key=lambda score: places.get(score.metric, len(places)))


def tabulate(scores: Iterable[Score], count: int) -> Table:
    """Give a row a score; `count` is how many reference images there are."""
    from benchmarks.wording import show_number

    table = Table(box=box.SIMPLE_HEAD, padding=(0, 2, 0, 0))
    for heading in ("score", "value", "interval", "images", "reference"):
        table.add_column(heading, justify="left" if heading == "score" else "right")
    for score in scores:
        ends = [show_number(end) for end in (score.low, score.high) if end is not None]
        table.add_row(
            title(score.metric),
            "" if score.value is None else show_number(score.value),
            f"[{', '.join(ends)}]" if ends else "",
            f"{score.n:,}",
            f"{score.reference}, {count:,}",
        )
    return table


def explain_intervals(scores: Iterable[Score]) -> list[str]:
    """Say what the intervals are, a line for each kind."""
    kinds: dict[str, list[str]] = {}
    for score in scores:
        if score.interval and score.low is not None:
            kinds.setdefault(score.interval, []).append(symbol(score.metric))
    return [f"interval of {', '.join(symbols)}: {words}" for words, symbols in kinds.items()]


def title(metric: str) -> str:
    """Give a metric's symbol with an arrow towards the better values."""
    entry = list_metrics().get(metric)
    arrows = {"lower": " ↓", "higher": " ↑"}
    return symbol(metric) + (arrows[entry.about["direction"]] if entry else "")


def symbol(metric: str) -> str:
    """Give what a metric is called in print."""
    entry = list_metrics().get(metric)
    return entry.about["symbol"] if entry else {"fid_floor": "FID's floor"}.get(metric, metric)
