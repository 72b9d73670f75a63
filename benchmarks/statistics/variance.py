"""Components of the variance of scores: contenders, seeds, sampling and extractors."""

import math
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import ndtri

from benchmarks.config.spec import CALIBRATION
from benchmarks.records.schema import SCORED
from benchmarks.statistics.intervals import LEVEL, LOG_SCALE

COMPONENTS = ("contender", "seed", "sampling", "extractor")


def split_variance(scores: pd.DataFrame, metric: str = "fid") -> pd.DataFrame:
    """Split the variance of a score into components, by the method of moments.

    Of the logarithms where `LOG_SCALE` has the metric and all scores are positive, so that a
    deviation of 0.1 is about 10 %. Extractors differ in scale, so each one's mean is subtracted
    first. The components add up to the variance of one run's score by one extractor:

    - contender: between contenders, as far as the extractors agree;
    - extractor: between contenders, where extractors disagree (the interaction);
    - seed: between runs of one contender, beyond sampling;
    - sampling: between sets of samples of one model, by the scores' own intervals.

    Seeds must be independent between contenders, so of rows of one training, by several samplers,
    only the first counts.

    An estimate below zero is set to 0. NaN where there are no data for it: all but sampling with
    one seed each, contender and extractor with one contender, extractor with one extractor,
    sampling without intervals (it is then part of seed).

    Of `frames.scores_frame`, extractors count by which half of the runs are scored, and the runs
    that are scored by all of those.

    Returns:
        One row per component: component, variance, deviation, share (of the sum of those known,
        NaN where seed is not).
    """
    variances = _components(*_group_scores(scores, metric))
    frame = pd.DataFrame({"component": COMPONENTS, "variance": variances})
    frame["deviation"] = np.sqrt(frame["variance"])
    total = frame["variance"].sum()
    known = total > 0 and not math.isnan(variances[COMPONENTS.index("seed")])
    frame["share"] = frame["variance"] / total if known else math.nan
    return frame


def _components(groups: list[np.ndarray], sampling: float) -> list[float]:
    """Solve the expected mean squares for the variances; groups are runs × extractors each."""
    if not groups:
        return [math.nan] * len(COMPONENTS)
    width, (contender, interaction, run, own) = groups[0].shape[1], _mean_squares(groups)
    runs = len(groups) / sum(1 / len(group) for group in groups)  # the harmonic mean
    if width == 1:
        own = interaction = 0.0
    shared = (run - own) / width
    seed = shared + own - (0.0 if math.isnan(sampling) else sampling)
    between = contender - interaction / width - shared / runs
    extractor = interaction - own / runs if width > 1 else math.nan
    estimates = (between, seed, sampling, extractor)
    return [0.0 if value < 0 else float(value) for value in estimates]


def _mean_squares(groups: list[np.ndarray]) -> tuple[float, float, float, float]:
    """Return mean squares where seeds are nested in contenders and crossed with extractors.

    Of contenders' means over all; of contenders by an extractor, both main effects taken out; of
    runs' means over extractors; of runs by an extractor, likewise, the two within a contender.
    """
    k, width = len(groups), groups[0].shape[1]
    freedom = sum(len(group) for group in groups) - k
    if freedom < 1:
        return math.nan, math.nan, math.nan, math.nan
    within = [group - group.mean(axis=0) for group in groups]
    lines = [part.mean(axis=1) for part in within]
    left = [part - line[:, None] for part, line in zip(within, lines, strict=True)]
    means = np.array([group.mean(axis=0) for group in groups])
    means = means - means.mean(axis=0)
    levels = means.mean(axis=1)
    crossed = ((means - levels[:, None]) ** 2).sum()
    squares = sum((part**2).sum() for part in left)
    return (
        (levels**2).sum() / (k - 1) if k > 1 else math.nan,
        crossed / ((k - 1) * (width - 1)) if k > 1 and width > 1 else math.nan,
        width * sum((line**2).sum() for line in lines) / freedom,
        squares / (freedom * (width - 1)) if width > 1 else math.nan,
    )


def splits_logarithms(scores: pd.DataFrame, metric: str = "fid") -> bool:
    """Return whether `split_variance` takes logarithms: a metric of `LOG_SCALE`, all positive."""
    return metric in LOG_SCALE and bool((_counted(scores, metric)["value"] > 0).all())


def _counted(scores: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Return the scores by a metric of the runs that were trained and scored, by any extractor."""
    counted = scores["status"].isin(SCORED) & scores["seed"].notna()
    rows = scores[counted & (scores["metric"] == metric) & (scores["family"] != CALIBRATION)]
    if "training" in rows:
        first = rows.groupby("training")["contender"].transform("first")
        rows = rows[rows["contender"] == first]
    return rows[np.isfinite(rows["value"].to_numpy(dtype=float))]


def _group_scores(scores: pd.DataFrame, metric: str) -> tuple[list[np.ndarray], float]:
    """Return each trained contender's scores [runs, extractors], and their mean sampling variance.

    On the scale in use, of runs that have a score by every extractor.
    """
    rows, log = _counted(scores, metric), splits_logarithms(scores, metric)
    rows = rows.assign(
        extractor=rows["extractor"].fillna(""),
        contender=rows["contender"].astype(object),
        error=_sampling_variance(rows, log),
        level=np.log(rows["value"]) if log else rows["value"],
    )
    if rows.empty:
        return [], math.nan
    keys: dict[str, Any] = {"index": ["contender", "seed"], "columns": "extractor"}
    levels = rows.pivot_table("level", **keys)
    levels = levels.dropna(axis="columns", thresh=math.ceil(len(levels) / 2)).dropna()
    errors = rows.pivot_table("error", **keys).reindex(levels.index, columns=levels.columns)
    places = [*levels.groupby(level="contender").indices.values()]
    known = np.concatenate([[], *(errors.to_numpy()[place].ravel() for place in places)])
    known = known[np.isfinite(known)]
    sampling = float(known.mean()) if len(known) else math.nan
    return [levels.to_numpy()[place] for place in places], sampling


def _sampling_variance(rows: pd.DataFrame, log: bool) -> np.ndarray:
    """Return the squared standard errors of the scores, from their intervals over samples.

    On the log scale, where an interval reaches down to zero, its upper half stands for both.
    """
    value, low, high = (rows[name].to_numpy(dtype=float) for name in ("value", "low", "high"))
    z = float(ndtri((1 + LEVEL) / 2))
    if not log:
        return np.asarray(((high - low) / (2 * z)) ** 2)
    with np.errstate(divide="ignore", invalid="ignore"):
        whole, half = np.log(high / low) / (2 * z), np.log(high / value) / z
    return np.asarray(np.where(low > 0, whole, half) ** 2)
