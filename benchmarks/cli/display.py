"""What the user sees while runs are trained: bars and scores in a terminal, plain lines elsewhere.

Nothing here imports pandas or torch: the process that shows the runs may be short of memory.
"""

import math
import time
from collections import Counter, defaultdict
from statistics import fmean, geometric_mean
from typing import Literal, Self

from rich import box
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress import BarColumn, Progress, TaskID, TextColumn
from rich.table import Column, Table
from rich.text import Text

from benchmarks.cli.progress import Tally
from benchmarks.core.text import plain, shorten, show_duration, show_number
from benchmarks.execution.events import Advanced, Event, Finished, Noticed, Planned, Started
from benchmarks.records.schema import SCORED, Record

SILENCE = 10.0
"""Seconds between two plain lines about the same run."""

SHOWN = {"FID": ("fid", min), "IS": ("inception_score", max), "MSE": ("reconstruction_mse", None)}
"""The scores that are shown as runs finish, each with its metric and how the best is found.

Reconstructions by different routes have no best.
"""

Mode = Literal["auto", "plain", "quiet"]


def make_display(console: Console, mode: Mode = "auto") -> "Display":
    """Return the display that suits the console, to be entered and to handle events.

    A notebook gets plain lines, since cells have no cursor; in `quiet` mode there is nothing but
    what needs attention.
    """
    if mode == "quiet":
        return Display(console)
    if mode == "plain" or not console.is_terminal or console.is_dumb_terminal:
        return Lines(console)
    return Bars(console)


class Display:
    """Handles the events of runs and shows what needs attention; the others show more."""

    quiet = True

    def __init__(self, console: Console) -> None:
        self.console, self.tally = console, Tally({})

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        pass

    def handle(self, event: Event) -> None:
        """Show an event."""
        match event:
            case Planned():
                self.plan(event)
            case Started(run, steps, done):
                self.start(run, steps, done)
            case Advanced(run, step, images, losses):
                self.advance(run, step, images, losses)
            case Noticed(run, text, routine):
                self.notice(run, text, routine=routine)
            case Finished(run, record):
                self.finish(run, record)

    def plan(self, event: Planned) -> None:
        """Begin to count runs."""
        self.tally = Tally(event.work)

    def start(self, run: str, steps: int, done: int) -> None:
        """Show nothing."""

    def advance(self, run: str, step: int, images: int, losses: dict[str, float]) -> None:
        """Show nothing."""

    def notice(self, run: str, text: str, *, routine: bool = False) -> None:
        """Print a line; a quiet display leaves out a routine one."""
        if not (routine and self.quiet):
            self.print_line(f"{run}  {text}" if run else text)

    def finish(self, run: str, record: Record) -> None:
        """Print how a run ended; a quiet display leaves out one that ended well."""
        self.tally.finish(run, record)
        if record.status != "ok" or not self.quiet:
            self.print_line(f"{run}  {describe_end(record)}  ({self.tally})")

    def print_line(self, text: str) -> None:
        """Print one line as it is."""
        self.console.print(plain_line(text), soft_wrap=True)


class Lines(Display):
    """Plain lines, for pipes and log files."""

    quiet = False

    def start(self, run: str, steps: int, done: int) -> None:
        """Print that a run starts, or resumes."""
        self.tally.start(run, steps, done)
        begun = f"resumes at step {done:,} of" if done else "started,"
        text = "trained already, scoring it" if done == steps else f"{begun} {steps:,} steps"
        self.print_line(f"{run}  {text}")

    def advance(self, run: str, step: int, images: int, losses: dict[str, float]) -> None:
        """Print where a run is, unless that was printed a moment ago."""
        pace = self.tally.advance(run, step)
        now = time.monotonic()
        if now - max(pace.printed, pace.started) < SILENCE:
            return
        pace.printed = now
        self.print_line(
            f"{run}  step {step:,} of {pace.steps:,}  {pace.rate(images):,.0f} images/s  "
            f"{describe_losses(losses)}  {show_duration(pace.left())} left"
        )


class Bars(Display):
    """A bar for all runs, one for each in training, and a table of the scores so far."""

    quiet = False

    def __init__(self, console: Console) -> None:
        super().__init__(console)
        self.scores = Scores()
        rest = Column(ratio=1, no_wrap=True)  # in a narrow terminal the note alone gives way
        self.progress = Progress(
            TextColumn("{task.description}", markup=False, table_column=Column(no_wrap=True)),
            BarColumn(bar_width=10),
            TextColumn("{task.percentage:>3.0f} %", markup=False),
            TextColumn("{task.fields[note]}", style="dim", markup=False, table_column=rest),
            console=console,
            expand=True,
        )
        self.all = self.progress.add_task("all runs", note="")
        self.tasks: dict[str, TaskID] = {}
        self.live = Live(console=console, get_renderable=self.render)

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self.scores = Scores()  # the report follows
        self.live.stop()

    def plan(self, event: Planned) -> None:
        """Begin to draw."""
        super().plan(event)
        self.progress.update(self.all, total=max(1, len(event.work)))
        for record in event.finished:
            self.scores.add(record)
        self.live.start()

    def render(self) -> RenderableType:
        """Draw what fits into the console: bars in half of its height at most, then scores."""
        self.progress.update(self.all, completed=self.tally.done(), note=str(self.tally))
        tasks, height = self.progress.tasks, self.console.height
        kept = tasks if len(tasks) <= max(2, height // 2) else tasks[: max(2, height // 2) - 1]
        parts: list[RenderableType] = [self.progress.make_tasks_table(kept)]
        if len(kept) < len(tasks):
            parts.append(Text(f"and {len(tasks) - len(kept)} more in training", style="dim"))
        # The table's head and foot and the cursor's line take five.
        room = height - len(kept) - (len(kept) < len(tasks)) - 5
        table = self.scores.tabulate(self.console.width, room)
        return Group(*parts, *([table] if table else []))

    def start(self, run: str, steps: int, done: int) -> None:
        """Add a run's bar, in place of the one that it had on another machine."""
        self.tally.start(run, steps, done)
        self.remove_bar(run)
        self.tasks[run] = self.progress.add_task(
            shorten(plain(run.rpartition("-")[0]), max(8, self.console.width // 3)),
            total=steps,
            completed=done,
            note="scoring" if done == steps else "",
        )

    def advance(self, run: str, step: int, images: int, losses: dict[str, float]) -> None:
        """Move a run's bar."""
        pace = self.tally.advance(run, step)
        left = f"{show_duration(pace.left())} left  step {step:,}"
        stage = "scoring" if step == pace.steps else left
        note = f"{stage}  {pace.rate(images):,.0f} img/s  {describe_losses(losses)}"
        self.progress.update(self.tasks[run], completed=step, note=note)

    def finish(self, run: str, record: Record) -> None:
        """Replace a run's bar by a line on how it ended."""
        self.tally.finish(run, record)
        self.scores.add(record)
        self.remove_bar(run)
        mark = ("✓ ", "green") if record.status == "ok" else ("✗ ", "red")
        name = shorten(run.rpartition("-")[0], max(20, self.console.width // 2))
        end = plain_line(f"{name}  {describe_end(record)}")
        self.console.print(Text.assemble(mark, end))

    def remove_bar(self, run: str) -> None:
        """Remove a run's bar, if it has one."""
        if run in self.tasks:
            self.progress.remove_task(self.tasks.pop(run))


class Scores:
    """The mean scores of each contender over its seeds that are finished."""

    def __init__(self) -> None:
        self.runs: defaultdict[str, list[dict[str, float]]] = defaultdict(list)
        self.bad = Counter[str]()

    def add(self, record: Record) -> None:
        """Add a record."""
        runs, seconds = self.runs[record.contender], record.costs.train_seconds
        if record.status in SCORED:
            runs.append(find_scores(record) | ({} if seconds is None else {"time": seconds}))
        else:
            self.bad[record.contender] += 1

    def tabulate(self, width: int, rows: int) -> Table | None:
        """Return a table of at most so many rows, the best by FID first, or none without room."""
        averages = {name: average_scores(runs) for name, runs in list(self.runs.items())}
        order = sorted(averages, key=lambda name: averages[name].get("FID", math.inf))
        kept = order if len(order) <= rows else order[: max(0, rows - 1)]
        if not kept:
            return None
        columns = {"seeds": [Text(str(len(self.runs[name]))) for name in kept]}
        if self.bad:
            columns["failed"] = [Text(str(self.bad[name])) for name in kept]
        for label in SHOWN:
            if any(label in row for row in averages.values()):
                columns[label] = show_scores(label, averages, kept)
        times = [averages[name].get("time") for name in kept]
        columns["time"] = [Text("" if t is None else show_duration(t)) for t in times]
        return fit_table(kept, columns, width, len(order) - len(kept))


def fit_table(names: list[str], columns: dict[str, list[Text]], width: int, more: int) -> Table:
    """Return a table whose names, and then its last columns, give way to a narrow console."""
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
    """Return the scores that are shown by their labels; of several extractors the first counts."""
    values = {s.metric: s.value for s in reversed(record.scores) if s.value is not None}
    return {label: values[key] for label, (key, _) in SHOWN.items() if key in values}


def average_scores(runs: list[dict[str, float]]) -> dict[str, float]:
    """Average each score over the runs that have it, FID and MSE geometrically as in the report."""
    averages = {}
    for label in (*SHOWN, "time"):
        if values := [run[label] for run in runs if label in run]:
            logarithmic = label in {"FID", "MSE"} and min(values) > 0
            averages[label] = geometric_mean(values) if logarithmic else fmean(values)
    return averages


def show_scores(label: str, averages: dict[str, dict[str, float]], names: list[str]) -> list[Text]:
    """Format a score of these contenders, with a star where it is the best of several."""
    known = [row[label] for row in averages.values() if label in row]
    find_best = SHOWN[label][1]
    best = find_best(known) if find_best and len(known) > 1 else None
    texts = []
    for value in (averages[name].get(label) for name in names):
        shown = "" if value is None else show_number(value)
        starred = value is not None and value == best
        texts.append(Text(f"{shown}*", "bold green") if starred else Text(shown))
    return texts


def describe_losses(losses: dict[str, float]) -> str:
    """Format losses in a few characters each."""
    return "  ".join(f"{name.removeprefix('loss_')} {loss:.3g}" for name, loss in losses.items())


def describe_end(record: Record) -> str:
    """Format in a few words how a run ended."""
    if record.status != "ok":
        return f"{record.status}: {record.reason}"
    return "  ".join(f"{label} {value:.3g}" for label, value in find_scores(record).items())


def plain_line(text: str) -> Text:
    """Return a line that does nothing to a terminal, its double spaces kept."""
    return Text("  ".join(plain(part) for part in text.split("  ")))
