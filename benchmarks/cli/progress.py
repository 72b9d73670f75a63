"""How far runs have come, and how long the rest will take."""

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass

from benchmarks.core.text import show_duration
from benchmarks.records.schema import SCORED, Record


@dataclass
class Pace:
    """How fast a run trains; steps of earlier commands do not count.

    Attributes:
        done: steps that earlier commands have done.
        started: when it started here.
        printed: when a line on it was last printed.
    """

    steps: int
    done: int
    started: float
    step: int
    printed: float = 0.0

    @property
    def elapsed(self) -> float:
        """Seconds since it started here."""
        return time.monotonic() - self.started

    @property
    def part(self) -> float:
        """The part of the training that was done here."""
        return max(0, self.step - self.done) / max(1, self.steps)

    def rate(self, images: int) -> float:
        """Return the images per second, `images` being all that the run has seen."""
        return images * (self.step - self.done) / self.step / max(1e-9, self.elapsed)

    def left(self) -> float:
        """Return the seconds that are left at this pace."""
        return self.elapsed * (self.steps - self.step) / max(1, self.step - self.done)


class Tally:
    """How far all runs have come, from the work of each by its name, in any unit."""

    def __init__(self, work: Mapping[str, float]) -> None:
        self.work, self.waiting = work, dict(work)
        self.finished = self.failed = 0
        self.paces: dict[str, Pace] = {}
        self.spent = self.achieved = 0.0  # seconds of finished runs, and the work in them
        self.scoring: list[float] = []

    def start(self, run: str, steps: int, done: int) -> None:
        """Count a run that starts, perhaps again."""
        self.waiting.pop(run, None)
        self.paces[run] = Pace(steps, done, time.monotonic(), done)

    def advance(self, run: str, step: int) -> Pace:
        """Count a run's steps."""
        self.paces[run].step = step
        return self.paces[run]

    def finish(self, run: str, record: Record) -> None:
        """Count a run that has ended."""
        self.waiting.pop(run, None)
        self.finished += 1
        self.failed += record.status not in SCORED
        if record.costs.score_seconds is not None:
            self.scoring.append(record.costs.score_seconds)
        if pace := self.paces.pop(run, None):
            part = 1 - pace.done / max(1, pace.steps) if record.status in SCORED else pace.part
            self.spent += pace.elapsed
            self.achieved += part * self._work_of(run)

    def done(self) -> float:
        """Return how many runs are done, those in training by their part."""
        paces = list(self.paces.values())
        return self.finished + sum(pace.step / max(1, pace.steps) for pace in paces)

    def left(self) -> float:
        """Return the seconds until all is done, NaN while that is unknown.

        Waiting runs are taken to need as long for their work as earlier ones, as many side by side
        as now.
        """
        paces = dict(self.paces)  # a copy: another thread draws
        spent = self.spent + sum(pace.elapsed for pace in paces.values())
        achieved = self.achieved + sum(p.part * self._work_of(r) for r, p in paces.items())
        if not achieved:
            return math.nan
        each = [self._left_of(run, pace, spent / achieved) for run, pace in paces.items()]
        to_come = spent / achieved * sum([*self.waiting.values()])
        return max([*each, (sum(each) + to_come) / max(1, len(each))])

    def __str__(self) -> str:
        parts = [f"{self.finished:,} of {len(self.work):,} runs"]
        if self.failed:
            parts.append(f"{self.failed:,} failed")
        if self.finished < len(self.work) and not math.isnan(left := self.left()):
            parts.append(f"{show_duration(left)} left")
        return ", ".join(parts)

    def _left_of(self, run: str, pace: Pace, per_work: float) -> float:
        if pace.step > pace.done:
            return pace.left() + math.fsum(self.scoring) / max(1, len(self.scoring))
        return per_work * self._work_of(run) * (1 - pace.done / max(1, pace.steps))

    def _work_of(self, run: str) -> float:
        return self.work.get(run, 1.0)
