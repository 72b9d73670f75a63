"""What the user sees of one set of images: how far the work has got, and a table of its scores."""

import io
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from math import nan
from pathlib import Path
from typing import TYPE_CHECKING

from rich import box
from rich.console import Console, Group
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from benchmarks.config.registry import list_metrics
from benchmarks.core.files import write_atomically
from benchmarks.evaluation.generated import Images, Statistics
from benchmarks.records.schema import Picture, Record, Score

if TYPE_CHECKING:
    import pandas as pd

    from benchmarks.api import Target

SILENCE = 10.0
"""Seconds between two plain lines on how far the work has got."""


WARNING = "warning: "
"""How a note begins that says the scores mean little."""

Report = Callable[[int, int], None]
"""Is told how many images are done, and of how many."""

Watch = Callable[[str], AbstractContextManager[Report]]
"""Opens a display of how far a piece of work, named in words, has got, and yields what is told."""


@contextmanager
def silent(_: str) -> Iterator[Report]:
    """Show nothing."""
    yield lambda *_: None


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
        if time.monotonic() - told > SILENCE:
            told = time.monotonic()
            line = f"{what}: {done:,} of {total:,} {units}"
            console.print(line, soft_wrap=True, markup=False, highlight=False)

    yield tell


@dataclass(frozen=True)
class Result:
    """The scores of a set of images; `result["fid"]` is a value, NaN of a metric that failed.

    Attributes:
        record: all that is known, as it is written.
        title: what the images are called.
        notes: what to keep in mind when reading the scores.
        pictures: of the images, for a row of a comparison, by what they show.
        count: of the reference's images, None where that is unknown.
    """

    record: Record
    title: str
    notes: list[str]
    pictures: dict[str, tuple[Picture, bytes]] = field(repr=False)
    count: int | None = None

    def __getitem__(self, metric: str) -> float:
        value = {score.metric: score.value for score in self.scores}[metric]
        return nan if value is None else value

    @property
    def scores(self) -> list[Score]:
        """The scores by the extractor itself, in the order of tables."""
        own = {None, self.record.spec["extractor"]}
        return arrange(score for score in self.record.scores if score.extractor in own)

    @property
    def frame(self) -> "pd.DataFrame":
        """A row a score, with the columns of `scores.csv`."""
        from benchmarks.analysis.frames import scores_frame

        return scores_frame([self.record])

    def __rich__(self) -> Group:
        notes = [
            Text(note, style="yellow" if note.startswith(WARNING) else "dim") for note in self.notes
        ]
        if not self.scores:
            return Group(*notes)
        by = self.record.spec["extractor"]
        heading = f"{self.title} against {self.record.dataset}, seen by {by}"
        return Group(Text(heading, style="bold"), tabulate(self.scores, self.count), *notes)

    def __str__(self) -> str:
        file = io.StringIO()
        Console(file=file, width=100, markup=False).print(self)
        return file.getvalue()

    __repr__ = __str__

    def _repr_html_(self) -> str:
        columns = ["metric", "value", "low", "high", "n", "reference", "extractor"]
        return str(self.frame[columns].to_html(index=False))

    def write(self, folder: Path) -> list[Path]:
        """Write `scores.csv` and `scores.json` into a folder and return their paths."""
        from benchmarks.analysis.export import write_csv

        text = self.record.model_dump_json(by_alias=True, indent=2) + "\n"
        files = {"scores.csv": write_csv(self.frame), "scores.json": text.encode()}
        for name, content in files.items():
            write_atomically(folder / name, content)
        return [folder / name for name in files]


def list_notes(record: Record, made: Images, target: "Target") -> list[str]:
    """List what the intervals are and what limits the scores, a line each."""
    scores = [s for s in record.scores if s.extractor in {None, record.spec["extractor"]}]
    notes = explain_intervals(scores)
    notes += [f"{symbol(score.metric)}: {score.note}" for score in scores if score.note]
    found = {score.metric for score in scores}
    missing = [symbol(name) for name in record.metrics if name not in found]
    if missing and target.real is not None:
        notes.append(f"not defined here: {', '.join(missing)}")
    if target.count is not None and target.count != len(made) and "fid" in found:
        notes.append(
            f"{len(made):,} images against {target.count:,}: FID is biased by both counts, so "
            "compare it with that of as many images only"
        )
    if isinstance(target.real, Statistics) and target.count is None:
        notes.append(
            f"{target.name} does not say of how many images it is, nor how these were resized: "
            "FID depends on both"
        )
    if target.split == "train":
        notes.append("scored against the training split, where copies of its images score best")
    return notes


def arrange(scores: Iterable[Score]) -> list[Score]:
    """Put scores into the order of a comparison's columns, and those that it has not at the end."""
    from benchmarks.reporting.comparison import GENERATION, VARIETY

    headlines = (column.key for column in (*GENERATION, *VARIETY) if column.key != "fid")
    places = {name: i for i, name in enumerate(("fid", "fid_floor", "fid_infinity", *headlines))}
    return sorted(scores, key=lambda score: places.get(score.metric, len(places)))


def tabulate(scores: Iterable[Score], count: int | None) -> Table:
    """Build a row per score; `count` is the number of reference images, if known."""
    from benchmarks.core.text import show_number

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
            f"{score.reference}, {count:,}" if count else score.reference,
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
