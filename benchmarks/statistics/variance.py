"""Components of the variance of scores: contenders, seeds, sampling and extractors."""

import math
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from scipy.special import ndtri

from benchmarks.config.spec import CALIBRATION
from benchmarks.records.schema import SCORED
from benchmarks.statistics.intervals import LEVEL, LOG_SCALE

COMPONENTS = ("contender", "seed", "sampling", "extractor")


class ScoreGrid(NamedTuple):
    """A contender's scores on the scale in use, and their sampling variances: run × extractor."""

    scores: np.ndarray
    sampling: np.ndarray


class Spreads(NamedTuple):
    """Mean squares of contenders whose seeds are nested in them and crossed with extractors.

    Attributes:
        contender: of contenders' means over seeds and extractors.
        interaction: of contenders' means by an extractor, both main effects taken out.
        seed: of runs' means over extractors within a contender.
        residual: of runs by an extractor within a contender, both main effects taken out.
    """

    contender: float
    interaction: float
    seed: float
    residual: float


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

    Args:
        scores: `frames.scores_frame`. Extractors count by which half of the runs are scored, and
            the runs that are scored by all of those.
        metric: the score.

    Returns:
        One row per component: component, variance, deviation, share (of the sum of those known,
        NaN where seed is not).
    """
    cells = _group_scores(scores, metric)
    sampling = _finite_mean(np.concatenate([[], *(part.sampling.ravel() for part in cells)]))
    variances = _components([part.scores for part in cells], sampling)
    frame = pd.DataFrame({"component": COMPONENTS, "variance": [variances[c] for c in COMPONENTS]})
    frame["deviation"] = np.sqrt(frame["variance"])
    total = frame["variance"].sum()
    known = total > 0 and not math.isnan(variances["seed"])
    frame["share"] = frame["variance"] / total if known else math.nan
    return frame


def _components(groups: list[np.ndarray], sampling: float) -> dict[str, float]:
    """Solve the expected mean squares for the variances; groups are runs × extractors each."""
    if not groups:
        return dict.fromkeys(COMPONENTS, math.nan)
    width, squares = groups[0].shape[1], _mean_squares(groups)
    runs = len(groups) / sum(1 / len(group) for group in groups)  # the harmonic mean
    if width == 1:
        shared, own, interaction = squares.seed, 0.0, 0.0
    else:
        shared, own = (squares.seed - squares.residual) / width, squares.residual
        interaction = squares.interaction
    seed = shared + own - (0.0 if math.isnan(sampling) else sampling)
    between = squares.contender - interaction / width - shared / runs
    extractor = interaction - own / runs if width > 1 else math.nan
    estimates = (between, seed, sampling, extractor)
    return {
        name: 0.0 if value < 0 else value for name, value in zip(COMPONENTS, estimates, strict=True)
    }


def _mean_squares(groups: list[np.ndarray]) -> Spreads:
    k, width = len(groups), groups[0].shape[1]
    freedom = sum(len(group) for group in groups) - k
    if freedom < 1:
        return Spreads(*[math.nan] * 4)
    within = [group - group.mean(axis=0) for group in groups]
    lines = [part.mean(axis=1) for part in within]
    left = [part - line[:, None] for part, line in zip(within, lines, strict=True)]
    means = np.array([group.mean(axis=0) for group in groups])
    means = means - means.mean(axis=0)
    levels = means.mean(axis=1)
    crossed = ((means - levels[:, None]) ** 2).sum()
    return Spreads(
        contender=(levels**2).sum() / (k - 1) if k > 1 else math.nan,
        interaction=crossed / ((k - 1) * (width - 1)) if k > 1 and width > 1 else math.nan,
        seed=width * sum((line**2).sum() for line in lines) / freedom,
        residual=sum((part**2).sum() for part in left) / (freedom * (width - 1))
        if width > 1
        else math.nan,
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


def _group_scores(scores: pd.DataFrame, metric: str) -> list[ScoreGrid]:
    """Return the scores of each trained contender, of runs that have one by every extractor."""
    rows, log = _counted(scores, metric), splits_logarithms(scores, metric)
    rows = rows.assign(
        extractor=rows["extractor"].fillna(""),
        contender=rows["contender"].astype(object),
        error=_sampling_variance(rows, log),
        level=np.log(rows["value"]) if log else rows["value"],
    )
    if rows.empty:
        return []
    keys: dict[str, Any] = {"index": ["contender", "seed"], "columns": "extractor"}
    levels = rows.pivot_table("level", **keys)
    levels = levels.dropna(axis="columns", thresh=math.ceil(len(levels) / 2)).dropna()
    errors = rows.pivot_table("error", **keys).reindex(levels.index, columns=levels.columns)
    groups = levels.groupby(level="contender").indices.values()
    return [ScoreGrid(levels.to_numpy()[place], errors.to_numpy()[place]) for place in groups]


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


def _finite_mean(values: np.ndarray) -> float:
    known = values[np.isfinite(values)]
    return float(known.mean()) if len(known) else math.nan
