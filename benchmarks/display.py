"""What the user sees while runs are trained: bars in a terminal, plain lines anywhere else."""

import time
from dataclasses import dataclass, field
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Column
from rich.text import Text

from benchmarks.records import Record

SILENCE = 10.0
"""Seconds between two plain lines about the same run."""


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


@dataclass
class Pace:
    """How fast a run goes."""

    steps: int
    done: int = 0
    started: float = field(default_factory=time.monotonic)
    told: float = 0.0

    def rate(self, step: int, images: int) -> float:
        """Give the images per second since the start, those of an earlier start left out."""
        since = images * (step - self.done) / step
        return since / max(1e-9, time.monotonic() - self.started)

    def left(self, step: int) -> float:
        """Give the seconds that are left at this pace."""
        since = time.monotonic() - self.started
        return since * (self.steps - step) / max(1, step - self.done)


def describe_losses(losses: dict[str, float]) -> str:
    """Write losses in a few characters each."""
    return "  ".join(f"{name.removeprefix('loss_')} {loss:.3g}" for name, loss in losses.items())


def describe_end(record: Record) -> str:
    """Say in a few words how a run ended."""
    if record.status != "ok":
        return f"{record.status}: {record.reason}"
    scores = {score.metric: score.value for score in record.scores}
    shown = (("FID", "fid"), ("IS", "inception_score"), ("MSE", "reconstruction_mse"))
    return "  ".join(
        f"{label} {scores[key]:.3g}" for label, key in shown if scores.get(key) is not None
    )


class Lines:
    """Plain lines, for pipes and log files."""

    def __init__(self, console: Console, total: int) -> None:
        self.console, self.total = console, total
        self.paces: dict[str, Pace] = {}
        self.finished = 0

    def start(self, run: str, steps: int, done: int) -> None:
        """Say that a run begins, or goes on."""
        self.paces[run] = Pace(steps, done)
        if done == steps:
            self.say(f"{run}  trained already, scoring it")
        else:
            self.say(
                f"{run}  {f'goes on at step {done:,} of' if done else 'started,'} {steps:,} steps"
            )

    def advance(self, run: str, step: int, images: int, losses: dict[str, float]) -> None:
        """Say where a run is, unless it was said a moment ago."""
        pace = self.paces[run]
        now = time.monotonic()
        if now - max(pace.told, pace.started) < SILENCE:
            return
        pace.told = now
        self.say(
            f"{run}  step {step:,} of {pace.steps:,}  {pace.rate(step, images):,.0f} images/s  "
            f"{describe_losses(losses)}  {pace.left(step):.0f} s left"
        )

    def notice(self, run: str, text: str) -> None:
        """Print a line."""
        self.say(f"{run}  {text}" if run else text)

    def finish(self, run: str, record: Record) -> None:
        """Say how a run ended."""
        self.finished += 1
        self.say(f"{run}  {describe_end(record)}  ({self.finished} of {self.total} runs)")

    def say(self, text: str) -> None:
        """Print one line as it is."""
        self.console.print(text, markup=False, highlight=False, soft_wrap=True)


class Bars:
    """A bar for every run in training, and one for all of them."""

    def __init__(self, console: Console, total: int) -> None:
        self.progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=10),
            TextColumn("{task.percentage:>3.0f} %"),
            TimeRemainingColumn(compact=True),
            # In a narrow terminal the note alone gives way.
            TextColumn(
                "{task.fields[note]}", style="dim", table_column=Column(ratio=1, no_wrap=True)
            ),
            console=console,
            expand=True,
        )
        self.console = console
        self.all = self.progress.add_task("all runs", total=total, note="")
        self.tasks: dict[str, TaskID] = {}
        self.paces: dict[str, Pace] = {}

    def __enter__(self) -> "Bars":
        self.progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.progress.stop()

    def start(self, run: str, steps: int, done: int) -> None:
        """Add a run's bar."""
        self.paces[run] = Pace(steps, done)
        if run in self.tasks:  # it goes on elsewhere
            self.progress.remove_task(self.tasks.pop(run))
        self.tasks[run] = self.progress.add_task(
            run.rpartition("-")[0],
            total=steps,
            completed=done,
            note="scoring" if done == steps else "",
        )

    def advance(self, run: str, step: int, images: int, losses: dict[str, float]) -> None:
        """Move a run's bar."""
        pace = self.paces[run]
        done = "scoring" if step == pace.steps else f"step {step:,}"
        note = f"{done}  {pace.rate(step, images):,.0f} img/s  {describe_losses(losses)}"
        self.progress.update(self.tasks[run], completed=step, note=note)

    def notice(self, run: str, text: str) -> None:
        """Print a line above the bars."""
        self.console.print(Text(f"{run}  {text}" if run else text), soft_wrap=True)

    def finish(self, run: str, record: Record) -> None:
        """Replace a run's bar by a line on how it ended."""
        if run in self.tasks:
            self.progress.remove_task(self.tasks.pop(run))
        mark = ("✓", "green") if record.status == "ok" else ("✗", "red")
        name = run.rpartition("-")[0]
        self.console.print(Text.assemble(mark, f" {name}  {describe_end(record)}"))
        self.progress.advance(self.all)
