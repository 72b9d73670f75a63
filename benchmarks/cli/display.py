"""What the user sees while runs are trained: bars and scores in a terminal, plain lines elsewhere.

Nothing here imports pandas or torch: the process that shows the runs may be short of memory.
"""

import math
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Literal, Protocol

from rich import box
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress import BarColumn, Progress, TaskID, TextColumn
from rich.table import Column, Table
from rich.text import Text

from benchmarks.core.text import plain, shorten, show_duration, show_number
from benchmarks.records.schema import SCORED, Record

SILENCE = 10.0
"""Seconds between two plain lines about the same run."""
SHOWN = {
    "FID": ("fid", "lower"),
    "IS": ("inception_score", "higher"),
    "MSE": ("reconstruction_mse", None),
}
"""The scores that are shown as runs finish, each with its metric and direction.

Reconstructions by different routes have no best.
"""
Mode = Literal["auto", "plain", "quiet"]


class Display(Protocol):
    """Whoever is told how the runs get on."""

    def start(self, run: str, steps: int, done: int) -> None:
        """A run begins, of whose steps an earlier one has played the first `done`."""

    def advance(self, run: str, step: int, images: int, losses: dict[str, float]) -> None:
        """A run has played `step` rounds and seen so many images."""

    def notice(self, run: str, text: str) -> None:
        """A run, or with no name the engine, has something to say."""

    def finish(self, run: str, record: Record) -> None:
        """A run has left its record."""


def make_display(
    console: Console,
    total: int,
    mode: Mode = "auto",
    work: Mapping[str, float] | None = None,
    earlier: Iterable[Record] = (),
) -> AbstractContextManager[Display]:
    """Make the display that suits the console, to be told of runs while it is entered.

    Args:
        console: where it shows; a notebook gets plain lines, since cells have no cursor.
        total: how many runs there are to do.
        mode: `plain` for lines in a terminal as well, `quiet` for nothing but what needs attention.
        work: of each run to do by its name, in any unit, from which the time left is estimated.
        earlier: the records of runs that were finished before.
    """
    if mode == "quiet":
        return Quiet(console, total)
    if mode == "plain" or not console.is_terminal or console.is_dumb_terminal:
        return Lines(console, total, work)
    return Bars(console, total, work, earlier)


@dataclass
class Pace:
    """How fast a run goes."""

    steps: int
    done: int = 0
    started: float = field(default_factory=time.monotonic)
    told: float = 0.0
    step: int = 0

    def rate(self, step: int, images: int) -> float:
        """Give the images per second since the start, those of an earlier start left out."""
        since = images * (step - self.done) / step
        return since / max(1e-9, time.monotonic() - self.started)

    def left(self, step: int) -> float:
        """Give the seconds that are left at this pace."""
        since = time.monotonic() - self.started
        return since * (self.steps - step) / max(1, step - self.done)

    def part(self) -> float:
        """Give the part of the training that this process has played."""
        return max(0, self.step - self.done) / max(1, self.steps)


class Tally:
    """How far all runs have come, and how long the rest will take."""

    def __init__(self, total: int, work: Mapping[str, float] | None = None) -> None:
        self.total, self.finished, self.failed = total, 0, 0
        self.work = work or {}
        self.waiting = sum(self.work.values()) if work else float(total)
        self.paces: dict[str, Pace] = {}
        self.begun: set[str] = set()
        self.spent = self.achieved = 0.0  # seconds of finished runs, and the work in them
        self.scoring: list[float] = []

    def start(self, run: str, steps: int, done: int) -> Pace:
        """Take in that a run begins, perhaps anew."""
        self._leave_queue(run)
        self.paces[run] = Pace(steps, done, time.monotonic(), step=done)
        return self.paces[run]

    def advance(self, run: str, step: int) -> Pace:
        """Take in where a run is."""
        self.paces[run].step = step
        return self.paces[run]

    def finish(self, run: str, record: Record) -> None:
        """Take in that a run has left its record."""
        self._leave_queue(run)
        self.finished += 1
        self.failed += record.status not in SCORED
        if record.costs.score_seconds is not None:
            self.scoring.append(record.costs.score_seconds)
        if pace := self.paces.pop(run, None):
            part = 1 - pace.done / max(1, pace.steps) if record.status in SCORED else pace.part()
            self.spent += time.monotonic() - pace.started
            self.achieved += part * self._work_of(run)

    def done(self) -> float:
        """Give how many runs are done, those in training by their part."""
        paces = list(self.paces.values())
        return self.finished + sum(pace.step / max(1, pace.steps) for pace in paces)

    def left(self) -> float:
        """Give the seconds until all is done, NaN while nobody can tell.

        What waits takes as long for its work as what has been done; as many runs go side by side
        as do now.
        """
        paces, now = dict(self.paces), time.monotonic()  # a copy: another thread draws
        spent = self.spent + sum(now - pace.started for pace in paces.values())
        achieved = self.achieved + sum(p.part() * self._work_of(r) for r, p in paces.items())
        if not achieved:
            return math.nan
        each = [self._left_of(run, pace, spent / achieved) for run, pace in paces.items()]
        to_come = spent / achieved * max(0.0, self.waiting)
        return max([*each, (sum(each) + to_come) / max(1, len(each))])

    def _left_of(self, run: str, pace: Pace, per_work: float) -> float:
        if pace.step > pace.done:
            return pace.left(pace.step) + (mean(self.scoring) if self.scoring else 0.0)
        return per_work * self._work_of(run) * (1 - pace.done / max(1, pace.steps))

    def describe(self) -> str:
        """Say how many runs are finished, and how long the others will take."""
        parts = [f"{self.finished:,} of {self.total:,} runs"]
        if self.failed:
            parts.append(f"{self.failed:,} failed")
        if self.finished < self.total and not math.isnan(left := self.left()):
            parts.append(f"{show_duration(left)} left")
        return ", ".join(parts)

    def _work_of(self, run: str) -> float:
        return self.work.get(run, 1.0)

    def _leave_queue(self, run: str) -> None:
        if run not in self.begun:
            self.begun.add(run)
            self.waiting -= self._work_of(run)


class Scores:
    """The mean scores of each contender over its seeds that are finished."""

    def __init__(self, earlier: Iterable[Record] = ()) -> None:
        self.runs: dict[str, list[dict[str, float]]] = {}
        self.bad: dict[str, int] = {}
        for record in earlier:
            self.add(record)

    def add(self, record: Record) -> None:
        """Take in a record."""
        if record.status in SCORED:
            scores = find_scores(record)
            if record.costs.train_seconds is not None:
                scores["time"] = record.costs.train_seconds
            self.runs.setdefault(record.contender, []).append(scores)
        else:
            self.runs.setdefault(record.contender, [])
            self.bad[record.contender] = self.bad.get(record.contender, 0) + 1

    def tabulate(self, width: int, rows: int) -> Table | None:
        """Make a table of at most so many rows, the best by FID first, or none without room."""
        averages = {name: average(runs) for name, runs in list(self.runs.items())}
        order = sorted(averages, key=lambda name: averages[name].get("FID", math.inf))
        kept = order if len(order) <= rows else order[: max(0, rows - 1)]
        if not kept:
            return None
        columns = {"seeds": [Text(str(len(self.runs[name]))) for name in kept]}
        if self.bad:
            columns["failed"] = [Text(str(self.bad.get(name, 0))) for name in kept]
        for label in SHOWN:
            if any(label in row for row in averages.values()):
                best = find_best(label, averages)
                columns[label] = [show_score(averages[name].get(label), best) for name in kept]
        times = [averages[name].get("time") for name in kept]
        columns["time"] = [Text("" if t is None else show_duration(t)) for t in times]
        return fit_table(kept, columns, width, len(order) - len(kept))


def fit_table(names: list[str], columns: dict[str, list[Text]], width: int, more: int) -> Table:
    """Make a table whose names give way, and then its last columns, to a narrow console."""
    widths = {key: max(len(key), *map(len, texts)) for key, texts in columns.items()}
    while (room := width - 3 - sum(w + 2 for w in widths.values())) < 9 and len(widths) > 1:
        widths.popitem()
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("contender", no_wrap=True)
    for key in widths:
        table.add_column(key, justify="right", no_wrap=True)
    for name, *texts in zip(names, *(columns[key] for key in widths), strict=True):
        table.add_row(Text(shorten(plain(name), max(8, room))), *texts)
    if more:
        table.add_row(Text(f"and {more} more", style="dim"))
    return table


def find_scores(record: Record) -> dict[str, float]:
    """Find the scores that are shown by their labels; of several extractors the first counts."""
    values: dict[str, float] = {}
    for score in record.scores:
        if score.value is not None:
            values.setdefault(score.metric, score.value)
    return {label: values[key] for label, (key, _) in SHOWN.items() if key in values}


def average(runs: list[dict[str, float]]) -> dict[str, float]:
    """Average each score over the runs that have it, as the report does: FID and MSE by logs."""
    found = {label: [run[label] for run in runs if label in run] for label in (*SHOWN, "time")}
    return {label: _average(label, values) for label, values in found.items() if values}


def _average(label: str, values: list[float]) -> float:
    if label in {"FID", "MSE"} and min(values) > 0:
        return math.exp(mean([math.log(value) for value in values]))
    return mean(values)


def mean(values: Sequence[float]) -> float:
    """Average at least one number."""
    return math.fsum(values) / len(values)


def find_best(label: str, averages: dict[str, dict[str, float]]) -> float | None:
    """Find the best of a column; a single value has nothing to be the best of."""
    values = [row[label] for row in averages.values() if label in row]
    direction = SHOWN[label][1]
    if len(values) < 2 or direction is None:
        return None
    return min(values) if direction == "lower" else max(values)


def show_score(value: float | None, best: float | None) -> Text:
    """Write a score, with a star where it is the best."""
    if value is None:
        return Text("")
    return (
        Text(f"{show_number(value)}*", "bold green") if value == best else Text(show_number(value))
    )


def describe_losses(losses: dict[str, float]) -> str:
    """Write losses in a few characters each."""
    return "  ".join(f"{name.removeprefix('loss_')} {loss:.3g}" for name, loss in losses.items())


def describe_end(record: Record) -> str:
    """Say in a few words how a run ended."""
    if record.status != "ok":
        return f"{record.status}: {record.reason}"
    return "  ".join(f"{label} {value:.3g}" for label, value in find_scores(record).items())


class Quiet:
    """Nothing but what needs attention."""

    def __init__(self, console: Console, total: int) -> None:
        self.console, self.tally = console, Tally(total)

    def __enter__(self) -> "Quiet":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def start(self, run: str, steps: int, done: int) -> None:
        """Say nothing."""

    def advance(self, run: str, step: int, images: int, losses: dict[str, float]) -> None:
        """Say nothing."""

    def notice(self, run: str, text: str) -> None:
        """Print a line."""
        self.say(f"{run}  {text}" if run else text)

    def finish(self, run: str, record: Record) -> None:
        """Say how a run ended that did not end well."""
        self.tally.finish(run, record)
        if record.status != "ok":
            self.say(f"{run}  {describe_end(record)}  ({self.tally.describe()})")

    def say(self, text: str) -> None:
        """Print one line as it is."""
        self.console.print(plain_line(text), soft_wrap=True)


class Lines(Quiet):
    """Plain lines, for pipes and log files."""

    def __init__(
        self, console: Console, total: int, work: Mapping[str, float] | None = None
    ) -> None:
        self.console, self.tally = console, Tally(total, work)

    def __enter__(self) -> "Lines":
        return self

    def start(self, run: str, steps: int, done: int) -> None:
        """Say that a run begins, or goes on."""
        self.tally.start(run, steps, done)
        if done == steps:
            self.say(f"{run}  trained already, scoring it")
        else:
            self.say(
                f"{run}  {f'goes on at step {done:,} of' if done else 'started,'} {steps:,} steps"
            )

    def advance(self, run: str, step: int, images: int, losses: dict[str, float]) -> None:
        """Say where a run is, unless it was said a moment ago."""
        pace = self.tally.advance(run, step)
        now = time.monotonic()
        if now - max(pace.told, pace.started) < SILENCE:
            return
        pace.told = now
        self.say(
            f"{run}  step {step:,} of {pace.steps:,}  {pace.rate(step, images):,.0f} images/s  "
            f"{describe_losses(losses)}  {show_duration(pace.left(step))} left"
        )

    def finish(self, run: str, record: Record) -> None:
        """Say how a run ended."""
        self.tally.finish(run, record)
        self.say(f"{run}  {describe_end(record)}  ({self.tally.describe()})")


class Bars:
    """A bar for all runs, one for each in training, and a table of the scores so far."""

    def __init__(
        self,
        console: Console,
        total: int,
        work: Mapping[str, float] | None = None,
        earlier: Iterable[Record] = (),
    ) -> None:
        self.console, self.tally, self.scores = console, Tally(total, work), Scores(earlier)
        self.progress = Progress(
            TextColumn("{task.description}", markup=False, table_column=Column(no_wrap=True)),
            BarColumn(bar_width=10),
            TextColumn("{task.percentage:>3.0f} %", markup=False),
            # In a narrow terminal the note alone gives way.
            TextColumn(
                "{task.fields[note]}",
                style="dim",
                markup=False,
                table_column=Column(ratio=1, no_wrap=True),
            ),
            console=console,
            expand=True,
        )
        self.all = self.progress.add_task("all runs", total=max(1, total), note="")
        self.tasks: dict[str, TaskID] = {}
        self.live = Live(console=console, get_renderable=self.render)

    def __enter__(self) -> "Bars":
        self.live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self.scores = Scores()  # the report follows
        self.live.stop()

    def render(self) -> RenderableType:
        """Draw what fits into the console: bars in half of its height at most, then scores."""
        self.progress.update(self.all, completed=self.tally.done(), note=self.tally.describe())
        tasks, height = self.progress.tasks, self.console.height
        kept = tasks if len(tasks) <= max(2, height // 2) else tasks[: max(2, height // 2) - 1]
        parts: list[RenderableType] = [self.progress.make_tasks_table(kept)]
        if len(kept) < len(tasks):
            parts.append(Text(f"and {len(tasks) - len(kept)} more in training", style="dim"))
        # Its head and foot and the cursor's line take five.
        room = height - len(kept) - (len(kept) < len(tasks)) - 5
        table = self.scores.tabulate(self.console.width, room)
        return Group(*parts, *([table] if table else []))

    def start(self, run: str, steps: int, done: int) -> None:
        """Add a run's bar."""
        self.tally.start(run, steps, done)
        if run in self.tasks:  # it goes on elsewhere
            self.progress.remove_task(self.tasks.pop(run))
        self.tasks[run] = self.progress.add_task(
            shorten(plain(run.rpartition("-")[0]), max(8, self.console.width // 3)),
            total=steps,
            completed=done,
            note="scoring" if done == steps else "",
        )

    def advance(self, run: str, step: int, images: int, losses: dict[str, float]) -> None:
        """Move a run's bar."""
        pace = self.tally.advance(run, step)
        if step == pace.steps:
            done = "scoring"
        else:
            done = f"{show_duration(pace.left(step))} left  step {step:,}"
        note = f"{done}  {pace.rate(step, images):,.0f} img/s  {describe_losses(losses)}"
        self.progress.update(self.tasks[run], completed=step, note=note)

    def notice(self, run: str, text: str) -> None:
        """Print a line above the bars."""
        self.console.print(plain_line(f"{run}  {text}" if run else text), soft_wrap=True)

    def finish(self, run: str, record: Record) -> None:
        """Replace a run's bar by a line on how it ended."""
        self.tally.finish(run, record)
        self.scores.add(record)
        if run in self.tasks:
            self.progress.remove_task(self.tasks.pop(run))
        mark = ("✓ ", "green") if record.status == "ok" else ("✗ ", "red")
        name = shorten(run.rpartition("-")[0], max(20, self.console.width // 2))
        end = plain_line(f"{name}  {describe_end(record)}")
        self.console.print(Text.assemble(mark, end))


def plain_line(text: str) -> Text:
    """A line that does nothing to a terminal, its double spaces kept."""
    return Text("  ".join(plain(part) for part in text.split("  ")))
