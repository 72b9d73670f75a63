"""Ladders of damage as arrays, and the state of each level: worse than real images, or better.

All scores are turned so that larger is worse. The **floor** at a count of images is where 95 % of
single undamaged sets fall: the two-sided prediction interval μ₀ ± t s₀ √(1 + 1/S) of a further
value after S splits with mean μ₀ and deviation s₀ (Hahn & Meeker 1991, Statistical Intervals,
chapter 4; t is Student's 97.5 % quantile with S - 1 degrees of freedom). It is made for normal
values. Where they do not vary at all, any difference beyond rounding counts.

The **state** of a level is 1 where its mean is worse than the floor, -1 where it is better, and 0
within. Since floors may be skewed, or end at a metric's best value, better means beyond a floor for
99 % of sets and beyond the best split as well. The mean is a regression estimate (Cochran 1977,
Sampling Techniques, chapter 7): as far as a damaged set's score goes along with that of the same
set undamaged, it is freed of what sets the splits that were damaged apart from all splits.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd
from scipy.special import stdtrit

LEVEL = 0.95
"""Of single sets of real images, the share that falls within the floor."""
BETTER = 0.99
"""The same where damaged images shall be better than real ones: that takes more to be believed."""
ROUNDING = 1e-6
"""Differences below this share of the floor's mean are those of single precision."""
EQUAL = 1e-12
"""The same of double precision."""
FEWEST_PAIRS = 4
"""Repetitions from which on a slope is estimated."""
CHANCE = 3
"""Standard errors below which a shift from the floor's mean is not significant (six levels)."""
RESAMPLES = 400
EARLY = 2 / 3
"""Of a ladder's levels, those from which on a fault is not seen late."""
CELL = ["metric", "extractor", "fault"]
BLIND, SEES, LATE, MISLED = range(4)


@dataclass(frozen=True)
class Ladders:
    """Ladders of one size as arrays over cells C, repetitions R, levels L and splits S.

    Attributes:
        cells: metric, extractor and fault of each, [C].
        steps: how many levels each has [C]; beyond them arrays are NaN.
        counts: images in the damaged sets [C, L], NaN where nothing was measured.
        scores: those of the damaged sets [C, R, L], larger being worse.
        floor: scores of undamaged sets of the same counts [C, L, S]; damaged were the first R.
        whole: scores of undamaged sets of whole size [C, S]; the first R are level 0.
    """

    cells: pd.MultiIndex
    steps: np.ndarray
    counts: np.ndarray
    scores: np.ndarray
    floor: np.ndarray
    whole: np.ndarray

    @cached_property
    def shifts(self) -> np.ndarray:
        """By how much sets are worse than real ones of their count, levels 0..L [C, R, L + 1]."""
        first = (self.whole - average(self.whole)[:, None])[:, : self.scores.shape[1], None]
        levels = self.scores - average(self.floor)[:, None, :]
        return np.concatenate([first, levels], axis=2)

    @cached_property
    def defined(self) -> np.ndarray:
        """Whether a level has values to judge, and a floor to judge them by [C, L]."""
        return np.isfinite(average(self.scores, 1)) & np.isfinite(average(self.floor))

    @cached_property
    def slopes(self) -> np.ndarray:
        """Slopes of damaged sets' scores in those of the same sets undamaged [C, L], 0 to 1.

        0 where there are too few repetitions to estimate one: their plain mean counts then.
        """
        own = self._own
        paired = np.isfinite(self.scores) & np.isfinite(own)
        x, y = (np.where(paired, part, np.nan) for part in (own, self.scores))
        x, y = (part - average(part, 1)[:, None] for part in (x, y))
        below, across = (np.where(paired, part, 0.0).sum(1) for part in (x * x, x * y))
        known = (below > 0) & (paired.sum(1) >= FEWEST_PAIRS)
        return np.where(known, across / np.where(known, below, 1.0), 0.0).clip(0.0, 1.0)

    @cached_property
    def freed(self) -> np.ndarray:
        """Scores of the damaged sets less what the slope makes of the same sets' own [C, R, L]."""
        own = np.where(np.isfinite(self._own), self._own, average(self.floor)[:, None])
        return self.scores - self.slopes[:, None] * own

    @property
    def _own(self) -> np.ndarray:
        return np.swapaxes(self.floor[:, :, : self.scores.shape[1]], 1, 2)


def arrange(
    measurements: pd.DataFrame,
    signs: Mapping[str, float],
    steps: Mapping[str, int],
    size: str,
    *,
    finite: bool = True,
) -> Ladders:
    """Arrange the measurements of one size as arrays.

    Args:
        measurements: one value a row: metric, extractor, fault ("" for floors), level, repetition,
            size, n and value. Sets of one level all have the same count n.
        signs: the metrics to arrange, in order: -1 where the higher is better, 1 otherwise.
        steps: the faults to arrange, in order, with the number of their levels.
        size: which size of sets.
        finite: let scores that are infinite stand beyond all others of their metric and extractor
            by ten times the range of these, so that means and deviations exist.
    """
    frame = measurements[(measurements["size"] == size) & measurements["metric"].isin([*signs])]
    signed = frame["value"].astype(float) * frame["metric"].map(signs).astype(float)
    frame = frame.assign(value=signed)
    if finite:
        frame = frame.assign(value=_bound(frame))
    real, ladder = frame[frame["fault"] == ""], frame[frame["fault"].isin([*steps])]
    cells = _order_cells(ladder[CELL].drop_duplicates(ignore_index=True), list(signs), list(steps))
    depth = max(steps.values(), default=0)
    repetitions = int(ladder["repetition"].max() + 1) if len(cells) else 1
    counts = np.full((len(cells), depth), np.nan)
    values = np.full((len(cells), repetitions, depth), np.nan)
    at, level = cells.get_indexer(pd.MultiIndex.from_frame(ladder[CELL])), ladder["level"] - 1
    values[at, ladder["repetition"], level] = ladder["value"]
    counts[at, level] = ladder["n"]
    whole, floor = _floors(real, cells, counts)
    lengths = np.array([steps[fault] for _, _, fault in cells], dtype=int)
    return Ladders(cells, lengths, counts, values, floor, whole)


def find_states(ladders: Ladders) -> np.ndarray:
    """Return the state of each level as it was measured [C, L]."""
    centre = average(ladders.floor)
    level = average(ladders.freed, 1) + ladders.slopes * centre
    return _compare_to_floors(ladders, level, centre, deviate(ladders.floor))


def resample_states(ladders: Ladders, seed: int) -> np.ndarray:
    """Return the states under resampled repetitions and splits [RESAMPLES, C, L].

    Repetitions and splits are drawn with replacement. Their means vary less than they should, by
    the factor √(1 - 1/n), and so are stretched, as are the deviations. Where the mean that was
    measured is within `CHANCE` errors of the floor's, resamples are centred on the latter: the luck
    of these images would otherwise count twice. All cells share the draws: a cell's states do not
    depend on what else was measured.
    """
    rng = np.random.default_rng(seed)
    freed = np.moveaxis(ladders.freed, 1, 2)
    shown, _ = _redraw(freed, rng)
    mean, deviation = _redraw(ladders.floor, rng)
    level = shown + ladders.slopes * mean - _chance(ladders)
    return _compare_to_floors(ladders, level, mean, deviation)


def read_verdicts(states: np.ndarray, steps: np.ndarray) -> np.ndarray:
    """Return the verdicts [..., C] that follow from the states of levels [..., C, L]."""
    last = np.take_along_axis(
        states, np.broadcast_to(steps[:, None] - 1, (*states.shape[:-1], 1)), axis=-1
    )[..., 0]
    thresholds = find_thresholds(states)
    misled = (states < 0).any(-1) | ((states > 0).any(-1) & (last <= 0))
    seen = np.where(thresholds <= EARLY * steps + EQUAL, SEES, LATE)
    return np.where(misled, MISLED, np.where((states == 0).all(-1), BLIND, seen))


def find_thresholds(states: np.ndarray) -> np.ndarray:
    """Return the first level from which on all are worse than the floor [..., C], or infinity."""
    tail = np.logical_and.accumulate(states[..., ::-1] > 0, axis=-1).sum(-1)
    return np.where(tail > 0, states.shape[-1] - tail + 1.0, np.inf)


def average(values: np.ndarray, axis: int = -1) -> np.ndarray:
    """Average what is no NaN, NaN where there is nothing."""
    known = ~np.isnan(values)
    count = known.sum(axis)
    total = np.where(known, values, 0.0).sum(axis)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def deviate(values: np.ndarray, axis: int = -1) -> np.ndarray:
    """Return the deviation of what is no NaN: 0 where it is but one value, or always the same."""
    known = ~np.isnan(values)
    mean = np.expand_dims(average(values, axis), axis)
    kept = np.where(known, values, mean)
    high, low = kept.max(axis), kept.min(axis)
    with np.errstate(invalid="ignore"):  # infinite values have no deviation unless they are all so
        same = (high == low) | (high - low <= EQUAL * np.abs(high))
        squares = np.where(known, (kept - mean) ** 2, 0.0).sum(axis)
    return np.where(same, 0.0, np.sqrt(squares / np.maximum(known.sum(axis) - 1, 1)))


def widen(splits: np.ndarray | int, level: float = LEVEL) -> np.ndarray:
    """Return half the width of the floor in deviations, by the number of splits they are of."""
    quantile = stdtrit(np.maximum(splits - 1, 1), (1 + level) / 2)
    return quantile * np.sqrt(1 + 1 / np.maximum(splits, 1))


def _redraw(values: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return means and deviations of resamples of the last axis, stretched [RESAMPLES, C, L]."""
    length = values.shape[-1]
    counts = rng.multinomial(length, np.full(length, 1 / length), RESAMPLES).astype(float)
    known = ~np.isnan(values)
    n, centre = known.sum(-1), average(values)
    distance = np.where(known, values - centre[..., None], 0.0)
    drawn = np.maximum(known @ counts.T, 1.0)
    mean = distance @ counts.T / drawn
    square = distance**2 @ counts.T / drawn - mean**2
    stretch = np.sqrt(n / np.maximum(n - 1, 1))[..., None]
    mean, deviation = stretch * mean + centre[..., None], stretch**2 * np.sqrt(square.clip(0.0))
    return np.moveaxis(mean, -1, 0), np.moveaxis(deviation, -1, 0)


def _chance(ladders: Ladders) -> np.ndarray:
    """Return the shifts from the floor's mean below `CHANCE` errors; 0 for larger ones."""
    errors = [
        deviate(part) ** 2 / np.maximum((~np.isnan(part)).sum(-1), 1)
        for part in (np.moveaxis(ladders.freed, 1, 2), ladders.floor)
    ]
    error = np.sqrt(errors[0] + (1 - ladders.slopes) ** 2 * errors[1])
    shift = average(ladders.freed, 1) - (1 - ladders.slopes) * average(ladders.floor)
    return np.where(np.abs(shift) < CHANCE * error, shift, 0.0)


def _compare_to_floors(
    ladders: Ladders, level: np.ndarray, mean: np.ndarray, deviation: np.ndarray
) -> np.ndarray:
    """Return the states [..., C, L] of levels; undefined ones are as the last before them."""
    known = np.isfinite(ladders.floor)
    splits, rounding = known.sum(-1), ROUNDING * np.abs(mean)
    worse = mean + np.maximum(widen(splits) * deviation, rounding)
    best = np.where(known, ladders.floor, np.inf).min(-1) - rounding
    better = np.minimum(mean - widen(splits, BETTER) * deviation, best)
    states = (level > worse).astype(np.int8) - (level < better)
    levels = np.arange(1, states.shape[-1] + 1)
    last = np.maximum.accumulate(np.where(ladders.defined, levels, 0), axis=-1)
    padded = np.concatenate([np.zeros_like(states[..., :1]), states], axis=-1)
    return np.take_along_axis(padded, np.broadcast_to(last, states.shape), axis=-1)


def _bound(frame: pd.DataFrame) -> pd.Series:
    values, keys = frame["value"], [frame["metric"], frame["extractor"]]
    if not np.isinf(values).any():
        return values
    known = values.where(np.isfinite(values)).groupby(keys, sort=False)
    low, high = (known.transform(end).fillna(0.0) for end in ("min", "max"))
    beyond = 10 * (high - low).where(high > low, 1 + high.abs())
    return values.mask(values == np.inf, high + beyond).mask(values == -np.inf, low - beyond)


def _order_cells(cells: pd.DataFrame, metrics: list[str], faults: list[str]) -> pd.MultiIndex:
    """Return cells in the order of metrics, extractors as they first came, and faults."""
    orders = {"metric": metrics, "extractor": list(cells["extractor"].unique()), "fault": faults}
    places = {name: cells[name].map(order.index) for name, order in orders.items()}
    return pd.MultiIndex.from_frame(cells.loc[cells.assign(**places).sort_values(CELL).index])


def _floors(
    real: pd.DataFrame, cells: pd.MultiIndex, counts: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return undamaged sets' scores at whole size [C, S], and at each level's count [C, L, S]."""
    keys = real.groupby(["metric", "extractor", "n"], sort=False).ngroup().to_numpy()
    splits = int(real["repetition"].max() + 1) if len(real) else 1
    table = np.full((len(real) + 1, splits), np.nan)  # its last row stays NaN
    table[keys, real["repetition"]] = real["value"]
    floors = zip(real["metric"], real["extractor"], real["n"], strict=True)
    place = dict(zip(floors, keys, strict=True))
    most = real.groupby(["metric", "extractor"])["n"].max().to_dict()
    rows = [
        [place.get((metric, extractor, n), -1) for n in (most.get((metric, extractor)), *own)]
        for (metric, extractor, _), own in zip(cells, counts.tolist(), strict=True)
    ]
    picked = table[np.array(rows, dtype=int).reshape(len(cells), counts.shape[1] + 1)]
    return picked[:, 0], picked[:, 1:]
