"""Records as tidy tables: a row a score, a row a cost, and a row a contender."""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from statistics import fmean
from typing import Any

import pandas as pd

from benchmarks.analysis.traits import find_route, name_training, read_traits
from benchmarks.config.registry import list_metrics
from benchmarks.config.spec import CALIBRATION
from benchmarks.core.text import escape_csv
from benchmarks.records.schema import SCORED, Record, Score
from benchmarks.records.store import Results
from benchmarks.statistics import SeedInterval, geometric_std, interval_over_seeds, last_over_best

TIDY_COLUMNS = (
    *("suite", "dataset", "contender", "family", "seed", "status"),
    *("metric", "value", "low", "high", "n", "reference", "extractor"),
)
COSTS = (
    *("parameters", "training_flops_per_step", "sampling_flops_per_image"),
    *("train_seconds", "images_per_second", "peak_memory_mb", "score_seconds"),
)
HEADLINES = ("fid", "inception_score", "reconstruction_mse")
"""The scores that answers are given by."""
FIRST = (
    *("fid", "fid_best", "inception_score", "reconstruction_mse", "paired_mse", "psnr", "ssim"),
)
FURTHER = ("fid_floor", *(name for name in list_metrics() if name not in FIRST))
AGREEING = (
    *("kid", "inception_score", "precision", "recall", "density", "coverage", "class_kl"),
    *("modes", "high_quality"),
)
"""Metrics whose ranks are compared with those of FID, beside FID by further extractors."""
COMPARISON_COLUMNS = (
    *("contender", "family", "seeds", "fid", "fid_low", "fid_high"),
    *("inception_score", "inception_score_low", "inception_score_high"),
    *("reconstruction_mse", "reconstruction_mse_low", "reconstruction_mse_high"),
    *("reconstruction_protocol", "psnr", "ssim", "parameters", "train_seconds"),
    *("images_per_second", "peak_memory_mb", "diverged"),
    *("failed", "fid_best", "fid_best_low", "fid_best_high", "fid_last_over_best", "fid_spread"),
    *("best_step", "steps", "training_images", "training_flops_per_step", "training_flops"),
    *("sampling_flops_per_image", "score_seconds", "paired_mse", "samples", "reference"),
    *("extractor", "dataset"),
    *(f"{name}{end}" for name in FURTHER for end in ("", "_low", "_high")),
    *("code_size", "tuned", "training"),
)
STATUSES = {
    "diverged": {"diverged"},
    "failed": {"failed", "skipped"},
    "collapsed": {"collapsed"},
}
"""The columns that count runs which did not go well, each with the statuses that it counts."""


def scores_frame(records: Iterable[Record]) -> pd.DataFrame:
    """A row a score, with `TIDY_COLUMNS`.

    A run without scores, such as a diverged one, has one row whose metric and value are empty.
    Where a training has rows by several samplers, a column `training` names its contender.
    """
    rows = [(record, score) for record in records for score in (record.scores or (None,))]
    frame = _tidy((*_identity(record), *_score_cells(score)) for record, score in rows)
    trainings = [name_training(record) for record, _ in rows]
    return frame if trainings == list(frame["contender"]) else frame.assign(training=trainings)


def costs_frame(records: Iterable[Record]) -> pd.DataFrame:
    """A row a measured cost, with `TIDY_COLUMNS`; costs vary from machine to machine."""
    return _tidy(
        (*_identity(record), cost, value, None, None, None, None, None)
        for record in records
        for cost in COSTS
        if (value := getattr(record.costs, cost)) is not None
    )


def comparison_frame(results: Results) -> pd.DataFrame:
    """A row a contender in the suite's order, then the calibration rows, with `COMPARISON_COLUMNS`.

    Scores are summed up over the runs that were scored (`seeds` says how many), as
    `statistics.interval_over_seeds` has it; costs are means over them. `diverged` and `failed`
    (which counts skipped runs too) read "1/3", and so does the column `collapsed`, which is there
    where any run has collapsed. Only the scores of `shown_extractor` are used. `training` names the
    contender that a row by one of its samplers shares its training with.
    """
    calibration = [r.contender for r in results.records if r.family == CALIBRATION]
    names = [entry.name for entry in results.index.contenders] + calibration
    families = {entry.name: entry.family for entry in results.index.contenders}
    extractor = shown_extractor(results.records)
    runs = runs_by_contender(results.records)
    rows = [
        {
            "contender": name,
            "family": families.get(name, CALIBRATION),
            "dataset": results.index.dataset,
            "training": name,
            **_contender_cells(runs.get(name, []), extractor),
        }
        for name in names
    ]
    further = ["collapsed"] if any(r.status == "collapsed" for r in results.records) else []
    frame = pd.DataFrame(rows, columns=[*COMPARISON_COLUMNS, *further])
    whole = ["seeds", "parameters", "best_step", "steps", "training_images", "samples"]
    whole += ["code_size", "tuned"]
    return frame.astype(dict.fromkeys(whole, "Int64"))


def runs_by_contender(records: Iterable[Record]) -> dict[str, list[Record]]:
    """The runs of each contender, in their order."""
    runs: dict[str, list[Record]] = {}
    for record in records:
        runs.setdefault(record.contender, []).append(record)
    return runs


def shown_extractor(records: Iterable[Record]) -> str | None:
    """The extractor by which most runs have an FID, the first of them where several are equal.

    Numbers of different extractors never share a column.
    """
    used = (s.extractor for r in records for s in r.scores if s.metric == "fid" and s.extractor)
    counts = Counter(used)
    return max(counts, key=lambda name: counts[name], default=None)


def score_of(record: Record, metric: str, extractor: str | None) -> Score | None:
    """A run's score by a metric, leaving out those of other extractors than `extractor`."""
    found = (s for s in record.scores if s.metric == metric and s.extractor in {None, extractor})
    return next(found, None)


def scores_of(record: Record, extractor: str | None) -> dict[str, Score]:
    """All that `score_of` finds, by metric."""
    scores = reversed(record.scores)
    return {score.metric: score for score in scores if score.extractor in {None, extractor}}


def write_csv(frame: pd.DataFrame) -> bytes:
    """CSV with the shortest digits that give back every float, LF line ends, and no formulas."""
    texts = {
        str(name): pd.Series(map(_write_cell, column), frame.index, dtype=object)
        for name, column in frame.select_dtypes(exclude="number").items()
    }
    shown = frame.assign(**texts).rename(columns=_write_cell)
    return shown.to_csv(index=False, lineterminator="\n").encode()


def _write_cell(value: Any) -> Any:
    return escape_csv(value) if isinstance(value, str) else value


def _identity(r: Record) -> tuple[Any, ...]:
    return r.suite, r.dataset, r.contender, r.family, r.seed, r.status


def _score_cells(s: Score | None) -> tuple[Any, ...]:
    if s is None:
        return (None,) * 7
    return s.metric, s.value, s.low, s.high, s.n, s.reference, s.extractor


def _tidy(rows: Iterable[tuple[Any, ...]]) -> pd.DataFrame:
    frame = pd.DataFrame(list(rows), columns=list(TIDY_COLUMNS))
    numbers = dict.fromkeys(("value", "low", "high"), "float64")
    return frame.astype({"seed": "Int64", "n": "Int64", **numbers})


def _contender_cells(records: Sequence[Record], extractor: str | None) -> dict[str, Any]:
    """The row of one contender from all its runs."""
    scored = [record for record in records if record.status in SCORED]
    runs = [scores_of(record, extractor) for record in scored]
    cells: dict[str, Any] = {"seeds": len(scored)}
    for metric in (*FIRST, *FURTHER):
        value, low, high = interval_over_seeds(metric, _intervals(runs, metric))
        cells |= {metric: value, f"{metric}_low": low, f"{metric}_high": high}
    for column, statuses in STATUSES.items():
        cells[column] = f"{sum(r.status in statuses for r in records)}/{len(records)}"
    last, best = ([run.value for run in _intervals(runs, metric)] for metric in ("fid", "fid_best"))
    cells |= {"fid_last_over_best": last_over_best(last, best), "fid_spread": geometric_std(last)}
    return cells | _provenance_cells(runs) | _cost_cells(scored) | _model_cells(scored or records)


def _intervals(runs: Sequence[dict[str, Score]], metric: str) -> list[SeedInterval]:
    """Each run's value and interval over samples, NaN where it has none."""
    scores = [run.get(metric) for run in runs]
    bounds = [(s.value, s.low, s.high) if s else (None,) * 3 for s in scores]
    return [SeedInterval(*(math.nan if x is None else x for x in b)) for b in bounds]


def _provenance_cells(runs: Sequence[dict[str, Score]]) -> dict[str, Any]:
    fid = _first(run.get("fid") for run in runs)
    return {
        "samples": fid.n if fid else None,
        "reference": fid.reference if fid else None,
        "extractor": fid.extractor if fid else None,
    }


def _model_cells(records: Sequence[Record]) -> dict[str, Any]:
    """What the contender's model is like, by its first run."""
    if not records:
        return {}
    traits = read_traits(records[0])
    return {
        "reconstruction_protocol": find_route(records[0]),
        "code_size": traits.code_size,
        "tuned": traits.tuned,
        "training": name_training(records[0]),
    }


def _cost_cells(scored: Sequence[Record]) -> dict[str, Any]:
    """Means over runs of the costs and of the training's length."""
    trained = [r.training for r in scored if r.training]
    cells = {cost: _mean([getattr(r.costs, cost) for r in scored]) for cost in COSTS}
    steps = _mean([t.steps for t in trained])
    per_step = cells["training_flops_per_step"]
    return cells | {
        "parameters": _whole(cells["parameters"]),
        "steps": _whole(steps),
        "best_step": _whole(_mean([t.best_step for t in trained])),
        "training_images": _whole(_mean([t.images for t in trained])),
        "training_flops": None if steps is None or per_step is None else steps * per_step,
    }


def _first(scores: Iterable[Score | None]) -> Score | None:
    return next((score for score in scores if score), None)


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return fmean(known) if known else None


def _whole(value: float | None) -> int | None:
    return None if value is None else round(value)
