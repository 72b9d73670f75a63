"""Verdicts, floors and curves of an audit's measurements.

A **verdict** follows from the states of a ladder's levels (`ladders`: worse than the floor of real
images, within it, or better):

- misled: at some level damaged images are better than real ones, or total damage is within the
  floor after less was worse, and so passes for real
- blind: all levels are within the floor
- sees: from some level before the last third on, all levels are worse than the floor
- sees late: the same from a level in the last third on
- undecided: luck would decide. Repetitions and splits are resampled, and fewer than `AGREEMENT` of
  the resamples have the verdict that was measured

A level at which a metric is not defined (NaN) is left out; with fewer than half of its levels a
ladder is undecided.
"""

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy.special import stdtrit

from benchmarks.analysis.audit_files import (
    CURVE_COLUMNS,
    FLOOR_COLUMNS,
    VERDICT_COLUMNS,
    FaultInfo,
    MetricInfo,
)
from benchmarks.auditing.ladders import (
    EQUAL,
    LEVEL,
    MISLED,
    Ladders,
    arrange,
    average,
    deviate,
    find_states,
    find_thresholds,
    read_verdicts,
    resample_states,
    widen,
)
from benchmarks.core.text import show_share

UNDECIDED = "undecided"
DECIDED = ("blind", "sees", "sees late", "misled")
"""As `ladders.read_verdicts` numbers them."""
AGREEMENT = 0.9
"""Of resamples, the share that must agree with a verdict."""


def judge(
    measurements: pd.DataFrame,
    faults: Sequence[FaultInfo],
    metrics: Sequence[MetricInfo],
    seed: int = 0,
) -> pd.DataFrame:
    """Judge every metric × extractor × fault that was measured.

    Args:
        measurements: one value a row, with the columns metric, extractor, fault ("" for floors),
            level, repetition, size ("full" or "quarter"), n and value.
        faults: those to judge by, in the order of the rows.
        metrics: those to judge.
        seed: of the resampling by which undecided verdicts are found.

    Returns:
        `VERDICT_COLUMNS`: `tau` is Kendall's τ-b of the level with the score, averaged over
        repetitions, with Student's 95 % interval; a score that never changes has 0. `threshold`
        is the first level from which on the score is worse than the floor, NaN where there is none.
        `linearity` is R² of a straight line in the share of bad images. `drift` is the mean change
        of the ladder's scores from whole to quarter size as a share of their range.
    """
    signs, steps = _signs(metrics), {fault.name: len(fault.amounts) for fault in faults}
    full, quarter = (arrange(measurements, signs, steps, size) for size in ("full", "quarter"))
    if not len(full.cells):
        return pd.DataFrame(columns=[*VERDICT_COLUMNS])
    frame = full.cells.to_frame(index=False)
    about = {fault.name: fault for fault in faults}
    info = [about[name] for name in frame["fault"]]
    frame["aspect"] = [fault.aspect for fault in info]
    frame["verdict"], frame["note"] = _decide(full, seed)
    frame["tau"], frame["tau_low"], frame["tau_high"] = correlate(full.shifts)
    for column, ladders in (("threshold", full), ("threshold_quarter", quarter)):
        found = find_thresholds(find_states(ladders))
        first = pd.Series(found, ladders.cells).reindex(full.cells).to_numpy(dtype=float)
        frame[column] = np.where(np.isfinite(first), first, np.nan)
    frame["threshold_amount"] = [
        fault.amounts[int(level) - 1] if math.isfinite(level) else math.nan
        for fault, level in zip(info, frame["threshold"], strict=True)
    ]
    frame["linearity"] = [
        straightness([0.0, *fault.amounts], shifts) if fault.share else math.nan
        for fault, shifts in zip(info, average(full.shifts, 1), strict=True)
    ]
    frame["drift"] = _drifts(full, quarter)
    promises = {
        (metric.name, aspect): promise
        for metric in metrics
        for promise, aspects in (("ignores", metric.ignores), ("sees", metric.sees))
        for aspect in aspects
    }
    claims = zip(frame["metric"], frame["aspect"], strict=True)
    frame["promise"] = [promises.get(claim, "") for claim in claims]
    kept = map(is_kept, frame["verdict"], frame["promise"])
    frame["kept"] = pd.Series(list(kept), dtype=object)
    return frame[[*VERDICT_COLUMNS]]


def is_kept(verdict: str, promise: str) -> bool | None:
    """Return whether a verdict fits a claim, None where it is undecided.

    An aspect that a metric is not for should not move it, whether or not it claims so.
    """
    if verdict == "undecided":
        return None
    return verdict in {"sees", "sees late"} if promise == "sees" else verdict == "blind"


def floors(measurements: pd.DataFrame, metrics: Sequence[MetricInfo]) -> pd.DataFrame:
    """Summarize the scores of undamaged sets.

    Returns:
        A row a metric, extractor, size and count: metric, extractor, size, n, mean, deviation,
        low and high (where 95 % of single sets fall), splits, and bias: by how many deviations of
        whole sets the mean of whole quarter sets differs, NaN on all other rows.
    """
    names = [metric.name for metric in metrics]
    real = measurements[(measurements["fault"] == "") & measurements["metric"].isin(names)]
    rows = []
    for key, group in real.groupby(["metric", "extractor", "size", "n"], sort=False):
        values = group["value"].to_numpy(dtype=float)
        mean, deviation = float(average(values)), float(deviate(values))
        splits = int((~np.isnan(values)).sum())
        half = float(widen(splits)) * deviation
        rows.append((*key, mean, deviation, mean - half, mean + half, splits))
    frame = pd.DataFrame(rows, columns=[*FLOOR_COLUMNS[:-1]])
    frame["bias"] = _biases(frame)
    frame["metric"] = pd.Categorical(frame["metric"], categories=names)
    order = {"metric": True, "extractor": True, "size": True, "n": False}
    frame = frame.sort_values([*order], ascending=[*order.values()])
    return frame.astype({"metric": object}).reset_index(drop=True)


def curves(
    measurements: pd.DataFrame, faults: Sequence[FaultInfo], metrics: Sequence[MetricInfo]
) -> pd.DataFrame:
    """Return the mean score at every level of every ladder, level 0 being undamaged.

    Returns:
        A row a metric, extractor, fault, size and level: metric, extractor, fault, level, amount,
        size, n, mean, low and high (Student's 95 % interval of the mean over repetitions) and
        excess: by how many of the floor's deviations it is worse than the floor's mean at that
        count, infinite where the floor does not vary.
    """
    signs, steps = _signs(metrics), {fault.name: len(fault.amounts) for fault in faults}
    amounts = {fault.name: (0.0, *fault.amounts) for fault in faults}
    rows = []
    for size in ("full", "quarter"):
        ladders = arrange(measurements, signs, steps, size, finite=False)
        whole = measurements[(measurements["size"] == size) & (measurements["fault"] == "")]
        n = whole.groupby(["metric", "extractor"])["n"].max()
        first = ladders.whole[:, : ladders.scores.shape[1], None]
        values = np.concatenate([first, ladders.scores], axis=2)
        floor = np.concatenate([ladders.whole[:, None], ladders.floor], axis=1)
        mean, half = average(values, 1), _half(values, 1)
        excess = _excess(mean, floor)
        for place, cell in enumerate(ladders.cells):
            sign = signs[cell[0]]
            counts = [n.get(cell[:2], math.nan), *ladders.counts[place]]
            for level in range(ladders.steps[place] + 1):
                value, wide = sign * mean[place, level], half[place, level]
                what = (*cell, level, amounts[cell[2]][level], size, counts[level])
                rows.append((*what, value, value - wide, value + wide, excess[place, level]))
    return pd.DataFrame(rows, columns=[*CURVE_COLUMNS]).dropna(subset="n").astype({"n": int})


def correlate(shifts: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Kendall's τ-b of level and score (Kendall 1945), averaged over repetitions, with interval.

    Args:
        shifts: [C, R, levels], NaN where there is none; equal up to rounding counts as a tie.

    Returns:
        Mean and Student's 95 % interval cut to [-1, 1], [C] each. A score without any order has 0;
        the interval of a single repetition is NaN.
    """
    low, high = np.triu_indices(shifts.shape[2], 1)
    change = shifts[..., high] - shifts[..., low]
    size = np.nan_to_num(np.abs(shifts)).max((1, 2), initial=0.0)[:, None, None]
    known = ~np.isnan(change)
    signs = np.where(known & (np.abs(change) > 1e-9 * size), np.sign(np.nan_to_num(change)), 0.0)
    pairs, untied = known.sum(-1), np.abs(signs).sum(-1)
    norm = np.sqrt(np.maximum(pairs * untied, 1))
    taus = np.where(pairs > 0, signs.sum(-1) / norm, np.nan)
    mean, half = average(taus, 1), _half(taus, 1)
    return mean, (mean - half).clip(-1, 1), (mean + half).clip(-1, 1)


def straightness(amounts: Sequence[float], values: np.ndarray) -> float:
    """Return R² of a straight line through the values at each amount, NaN where nothing varies."""
    values = values[: len(amounts)]
    known = np.isfinite(values)
    if known.sum() < 3 or np.ptp(values[known]) <= 1e-9 * np.abs(values[known]).max():
        return math.nan
    return float(np.corrcoef(np.asarray(amounts)[known], values[known])[0, 1] ** 2)


def _signs(metrics: Sequence[MetricInfo]) -> dict[str, float]:
    return {metric.name: -1.0 if metric.direction == "higher" else 1.0 for metric in metrics}


def _decide(ladders: Ladders, seed: int) -> tuple[list[str], list[str]]:
    """Return the verdict on each cell, and a note."""
    states = find_states(ladders)
    found = read_verdicts(states, ladders.steps)
    drawn = read_verdicts(resample_states(ladders, seed), ladders.steps)
    shares = np.stack([(drawn == verdict).mean(0) for verdict in range(len(DECIDED))], axis=1)
    verdicts, notes = [], []
    for cell, verdict in enumerate(found):
        defined, steps = int(ladders.defined[cell].sum()), int(ladders.steps[cell])
        parts = [] if defined == steps else [f"defined at {defined} of {steps} levels"]
        decided = 2 * defined >= steps and shares[cell, verdict] >= AGREEMENT
        if not decided and 2 * defined >= steps:
            order = [v for v in np.argsort(-shares[cell], kind="stable") if shares[cell, v] > 0]
            drawn_as = [f"{DECIDED[v]} in {show_share(shares[cell, v])}" for v in order]
            parts = [f"{', '.join(drawn_as)} of resamples", *parts]
        elif decided and verdict == MISLED:
            better = np.flatnonzero(states[cell, :steps] < 0) + 1
            levels = f"level{'s' * (len(better) > 1)} {', '.join(map(str, better))}"
            how = f"better than real images at {levels}"
            parts = [how if len(better) else "total damage passes for real images", *parts]
        verdicts.append(DECIDED[verdict] if decided else UNDECIDED)
        notes.append("; ".join(parts))
    return verdicts, notes


def _drifts(full: Ladders, quarter: Ladders) -> np.ndarray:
    """Return the mean change of each ladder's scores to quarter size, in shares of their range."""
    large, small = (
        np.concatenate([average(part.whole)[:, None], average(part.scores, 1)], axis=1)
        for part in (full, quarter)
    )
    absent = np.full((1, large.shape[1]), np.nan)
    small = np.concatenate([small, absent])[quarter.cells.get_indexer(full.cells)]
    change = average(np.abs(small - large))
    known = ~np.isnan(large)
    high, low = (np.where(known, sign * large, -np.inf).max(1) for sign in (1, -1))
    span = np.maximum(high + low, 0.0)
    return np.where(change == 0, 0.0, change / np.where(span > 0, span, np.nan))


def _biases(frame: pd.DataFrame) -> pd.Series:
    """Return the shift of the mean from whole to quarter sets, in deviations of whole sets."""
    most = frame.groupby(["metric", "extractor", "size"])["n"].transform("max")
    whole = frame[frame["n"] == most]
    full = whole[whole["size"] == "full"].set_index(["metric", "extractor"])
    small = whole[whole["size"] == "quarter"]
    means, deviations = (
        full[column].reindex(pd.MultiIndex.from_frame(small[["metric", "extractor"]])).to_numpy()
        for column in ("mean", "deviation")
    )
    with np.errstate(invalid="ignore"):
        change = small["mean"] - means
    return (change / np.where(deviations > 0, deviations, np.nan)).reindex(frame.index)


def _excess(mean: np.ndarray, floor: np.ndarray) -> np.ndarray:
    """Return by how many of the floor's deviations means exceed its mean; infinite without any."""
    centre, deviation = average(floor), deviate(floor)
    with np.errstate(invalid="ignore", divide="ignore"):
        same = (mean == centre) | (np.abs(mean - centre) < EQUAL * np.abs(mean))
        return np.where(same, 0.0, (mean - centre) / deviation)


def _half(values: np.ndarray, axis: int) -> np.ndarray:
    """Return half the width of Student's 95 % interval of means, NaN of fewer than two values."""
    n = (~np.isnan(values)).sum(axis)
    known = np.where(n > 1, n, 2)
    half = stdtrit(known - 1, (1 + LEVEL) / 2) * deviate(values, axis) / np.sqrt(known)
    return np.where(n > 1, half, np.nan)
