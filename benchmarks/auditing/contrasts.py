"""Scores of sets of images beside those of as many undamaged ones.

A set is **worse** by a metric where its mean score over the repetitions lies on the worse side of
where 95 % of single sets of as many undamaged images fall (see `ladders`), **better** where it lies
on the other side. That is a mean against the range of single sets, so that luck seldom passes.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from benchmarks.analysis.audits import name_recipe
from benchmarks.auditing.ladders import ROUNDING, widen
from benchmarks.auditing.measurements import Session, ask_all
from metrics import METRICS, Features

SPLITS = 20
"""Splits that make a floor, at most."""


@dataclass(frozen=True)
class Contrast:
    """Scores of sets beside those of as many undamaged images.

    Attributes:
        scores: of the sets, one a repetition.
        floor: of the undamaged images, one a split.
    """

    metric: str
    extractor: str
    scores: Sequence[float]
    floor: Sequence[float]

    @property
    def value(self) -> float:
        """The mean score of the sets."""
        return float(np.mean(self.scores))

    @property
    def usual(self) -> float:
        """The mean score of undamaged images."""
        return float(np.mean(self.floor))

    @property
    def excess(self) -> float:
        """By how many of the floor's deviations the sets are worse; infinite where it has none."""
        sign = -1 if METRICS[self.metric].metadata.direction == "higher" else 1
        shift = sign * (self.value - self.usual)
        deviation = float(np.std(self.floor, ddof=1))
        if deviation > ROUNDING * abs(self.usual):
            return shift / deviation
        return math.copysign(math.inf, shift) if abs(shift) > ROUNDING * abs(self.usual) else 0.0

    @property
    def worse(self) -> bool:
        """Whether the sets are worse than undamaged images, beyond the floor."""
        return bool(self.excess > widen(len(self.floor)))

    @property
    def better(self) -> bool:
        """Whether the sets are better than undamaged images, beyond the floor."""
        return bool(self.excess < -widen(len(self.floor)))


def symbol(metric: str) -> str:
    """Return a metric's symbol."""
    return METRICS[metric].metadata.symbol


def score_set(
    session: Session, names: Iterable[str], extractor: str, split: int, fake: Features
) -> dict[str, float]:
    """Score a set by those of some metrics that can be asked about it, against a split's A."""
    real = session.reference(split, "full", extractor)
    return dict(ask_all(names, real, fake, session.training[extractor]))


def score_real(
    session: Session, names: Iterable[str], extractor: str, count: int | None = None
) -> dict[str, list[float]]:
    """Score the first `count` images of B of every split, by default all; a list a metric."""
    names = list(names)
    rows = [session.held_out(s, "full")[:count] for s in session.splits[:SPLITS]]
    seen = [session.bank.see(extractor, chosen) for chosen in rows]
    found = [score_set(session, names, extractor, s, fake) for s, fake in enumerate(seen)]
    return {name: [scores[name] for scores in found] for name in found[0]}


def contrast_sets(
    session: Session, names: Iterable[str], extractor: str, sets: Sequence[Tensor]
) -> dict[str, Contrast]:
    """Contrast sets of rows, one a repetition, with undamaged images; by metric.

    All are cut to as many as the smallest has.
    """
    names, count = list(names), min(map(len, sets))
    seen = [session.bank.see(extractor, rows[:count]) for rows in sets]
    found = [score_set(session, names, extractor, r, fake) for r, fake in enumerate(seen)]
    floor = score_real(session, names, extractor, count)
    return {
        name: Contrast(name, extractor, [scores[name] for scores in found], floor[name])
        for name in floor
    }


def merge_values(contrasts: Iterable[Contrast]) -> dict[str, float]:
    """Return the numbers of several contrasts, named."""
    values = dict[str, float]()
    for one in contrasts:
        what = f"{symbol(one.metric)} ({name_recipe(one.extractor)})"
        values |= {what: one.value, f"{what}, real images": one.usual}
    return values
