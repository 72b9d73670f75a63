"""A suite's records as data frames, read once: what its plots, its tables and its page are made of.

Each frame is tidy and stands for itself: a contender is a categorical whose categories are all
contenders in the suite's order, then the calibration runs, so that a part of a frame still tells
the place, and with it the colour, of whom it is about.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.analysis.audits import Audit, find_audit
from benchmarks.analysis.columns import COSTS, FIRST, FURTHER, WHOLE
from benchmarks.analysis.comparison import comparison_frame
from benchmarks.analysis.lookup import (
    categorize,
    find_route,
    list_record_extractors,
    name_training,
    read_or_warn,
    read_traits,
    runs_by_contender,
    scores_of,
    shown_extractor,
)
from benchmarks.analysis.marks import Marks
from benchmarks.analysis.pictures import ARRAYS, pictures_frame
from benchmarks.core.errors import BadInput, unknown
from benchmarks.records.schema import SCORED, Record
from benchmarks.records.store import Results, read_history, read_suite
from benchmarks.statistics.intervals import SeedInterval, interval_over_seeds

CURVES, ALL_CURVES = 100, 1_000
"""Seeds of a contender, and runs in all, whose histories are read."""
RUN_COLUMNS = ("suite", "dataset", "contender", "family", "seed", "status")
SCORE_COLUMNS = ("metric", "value", "low", "high", "n", "reference", "extractor")
TIDY_COLUMNS = (*RUN_COLUMNS, *SCORE_COLUMNS)
EXTRACTORS = 8
"""Extractors beside the shown one whose FID has a column of its own."""
IDENTITY = ("contender", "family", "seed", "status", "reason", "run", "extractor")
MODEL = ("training", "uses_source", "route", "code_size")
LENGTHS = ("samples", "steps", "training_images", "best_step")


@dataclass(frozen=True)
class Frames:
    """A suite as data frames.

    Attributes:
        runs: a row a run, see `runs_frame`.
        comparison: a row a contender, see `comparison.comparison_frame`.
        history: a row a logged step of the runs that are drawn, see `gather`.
        pictures: a row a picture that is drawn, see `gather`.
        warnings: a line for each history, picture or audit that could not be read.
        audit: the one that covers the scores.
        require_audit: whether no contender is ranked by scores that have not passed it.
    """

    results: Results
    runs: pd.DataFrame
    comparison: pd.DataFrame
    history: pd.DataFrame
    pictures: pd.DataFrame
    warnings: list[str]
    audit: Audit | None = None
    require_audit: bool = False

    @property
    def marks(self) -> Marks:
        """The audit's marks on the scores."""
        return Marks(self.audit, shown_extractor(self.results.records), self.require_audit)


def gather(results: Results, *, require_audit: bool = False) -> Frames:
    """Build all frames, reading the histories and pictures that are drawn.

    `history` has the columns contender, seed, run, status, runs (of the contender in all), step,
    images, seconds, validation_fid, loss_<player> and, where a model asks for fewer than others,
    validation_samples, NaN where a run has no such number; of many runs, the first seeds of each
    contender, as `count_drawn_seeds` has it.

    `pictures` has the columns contender, family, seed, run, status, reason, kind (of `KINDS`),
    tiles (uint8 [rows, columns, H, W, 3]), images (training images seen at each row of an
    evolution), metric, value and protocol (of the run's score that stands beside the picture) and
    mean_fid (of the contender). One run's pictures stand for its contender. Where a contender
    lacks a picture that it should have, tiles is None, and status and reason tell why.
    """
    warnings = list[str]()
    runs = runs_by_contender(results.records)
    limit = count_drawn_seeds(len(categorize(results, []).categories))
    drawn = [record for records in runs.values() for record in records[:limit]]
    logs = [read_or_warn(read_history, results.run_folder(r), warnings=warnings) for r in drawn]
    comparison = comparison_frame(results)
    return Frames(
        results=results,
        runs=runs_frame(results),
        comparison=comparison,
        history=_history(results, drawn, logs),
        pictures=pictures_frame(results, comparison, warnings),
        warnings=warnings,
        audit=find_audit(results, warnings),
        require_audit=require_audit,
    )


def count_drawn_seeds(contenders: int) -> int:
    """Return of how many seeds of each contender the histories are read."""
    return min(CURVES, max(1, ALL_CURVES // max(1, contenders)))


def runs_frame(results: Results) -> pd.DataFrame:
    """Build a row a run in the suite's order, the calibration runs last.

    Columns: contender (categorical), family, seed, status, reason, run; extractor, the one of the
    scores; samples, the number that FID was taken of; <metric>, <metric>_low and <metric>_high for
    each metric that any run has, NaN where the run has none or was not scored; fid@<extractor>,
    FID by the other extractors; the costs of `columns.COSTS`; steps, training_images, best_step and
    training_flops; training, the contender whose training the run comes from (rows by several
    samplers share one); uses_source, route and code_size, as `traits` has them of the model.
    """
    extractor = shown_extractor(results.records)
    used = dict.fromkeys(list_record_extractors(results.records))
    others = [name for name in used if name != extractor][:EXTRACTORS]
    frame = pd.DataFrame([_run_cells(r, extractor, others) for r in results.records])
    found = [name for name in (*FIRST, *FURTHER) if name in frame and frame[name].notna().any()]
    scores = [f"{name}{end}" for name in found for end in ("", "_low", "_high")]
    scores += [f"fid@{other}" for other in others]
    frame = frame.reindex(columns=[*IDENTITY, *scores, *COSTS, *LENGTHS, "training_flops", *MODEL])
    frame["contender"] = categorize(results, frame["contender"])
    numbers = dict.fromkeys([*scores, *COSTS, "training_flops"], "float64")
    whole = dict.fromkeys(("seed", *(c for c in frame if c in WHOLE)), "Int64")
    return frame.astype(numbers | whole)


def scores_of_runs(runs: pd.DataFrame, metric: str) -> dict[str, np.ndarray]:
    """Return value and interval of each run that has one: by contender, float [runs, 3]."""
    return values_by_contender(runs, metric, [f"{metric}{end}" for end in ("", "_low", "_high")])


def values_by_contender(
    runs: pd.DataFrame, metric: str, columns: list[str]
) -> dict[str, np.ndarray]:
    """Return columns of each run that has a value by a metric: by contender, float [runs, n]."""
    if metric not in runs:
        return {}
    known = runs[runs[metric].notna()]
    values = known.reindex(columns=columns).to_numpy(dtype=float)
    groups = known.groupby(known["contender"].astype(object), sort=False).indices
    return {str(name): values[rows] for name, rows in groups.items()}


def summarise_runs(runs: pd.DataFrame, metric: str) -> dict[str, SeedInterval]:
    """Return the mean over seeds with its interval of each contender that has one."""
    kind = "fid" if metric.startswith("fid@") else metric
    return {
        name: interval_over_seeds(kind, [SeedInterval(*score) for score in scores.tolist()])
        for name, scores in scores_of_runs(runs, metric).items()
    }


def _run_cells(record: Record, extractor: str | None, others: Sequence[str]) -> dict[str, Any]:
    cells: dict[str, Any] = {}
    scores = scores_of(record, extractor) if record.status in SCORED else {}
    for name, score in scores.items():
        cells |= {name: score.value, f"{name}_low": score.low, f"{name}_high": score.high}
    if others and scores:
        further = {s.extractor: s.value for s in reversed(record.scores) if s.metric == "fid"}
        cells |= {f"fid@{other}": further.get(other) for other in others}
    fid, training = scores.get("fid"), record.training
    per_step, traits = record.costs.training_flops_per_step, read_traits(record)
    if training:
        cells |= {
            "steps": training.steps,
            "training_images": training.images,
            "best_step": training.best_step,
            "training_flops": training.steps * per_step if per_step else None,
        }
    return cells | {
        **{name: getattr(record, name) for name in IDENTITY if name != "extractor"},
        **{cost: getattr(record.costs, cost) for cost in COSTS},
        "extractor": extractor,
        "samples": fid.n if fid else None,
        "training": name_training(record),
        "uses_source": traits.uses_source,
        "route": find_route(record),
        "code_size": traits.code_size,
    }


def _history(
    results: Results, records: Sequence[Record], logs: Sequence[pd.DataFrame | None]
) -> pd.DataFrame:
    """Join the runs' logs, one below the other."""
    counts = Counter(record.contender for record in results.records)
    known = ["step", "images", "seconds", "validation_fid"]
    kept = {*known, "validation_samples"}
    read = [(r, log) for r, log in zip(records, logs, strict=True) if log is not None]
    parts = [log[[c for c in log if c in kept or str(c).startswith("loss_")]] for _, log in read]
    frame = pd.concat([pd.DataFrame(columns=known, dtype=float), *parts], ignore_index=True)
    rows = [(r.contender, r.seed, r.run, r.status, counts[r.contender]) for r, _ in read]
    runs = pd.DataFrame(rows, columns=["contender", "seed", "run", "status", "runs"])
    runs["contender"] = categorize(results, runs["contender"])
    lengths = [len(part) for part in parts]
    repeated = runs.loc[runs.index.repeat(lengths)].reset_index(drop=True)
    return pd.concat([repeated.astype({"seed": "Int64"}), frame], axis="columns")


def load_frame(folder: Path | str, what: str) -> pd.DataFrame:
    """Read a suite's folder as a data frame; see `benchmarks.report.load`."""
    frames: dict[str, Callable[[Results], pd.DataFrame]] = {
        "scores": lambda results: scores_frame(results.records),
        "costs": lambda results: costs_frame(results.records),
        "comparison": comparison_frame,
        "runs": runs_frame,
        "history": lambda results: gather(results).history,
        "pictures": lambda results: gather(results).pictures,
    }
    if what not in frames:
        raise BadInput(unknown("frame", what, frames))
    frame = frames[what](read_suite(Path(folder)))
    texts = [c for c in frame.select_dtypes(["object", "string"]) if c not in ARRAYS]
    return frame.astype(dict.fromkeys(texts, "string"))


def scores_frame(records: Iterable[Record]) -> pd.DataFrame:
    """Build a row a score, with `TIDY_COLUMNS`.

    A run without scores, such as a diverged one, has one row whose metric and value are empty.
    Where a training has rows by several samplers, a column `training` names its contender.
    """
    rows = [(record, score) for record in records for score in (record.scores or (None,))]
    frame = _tidy(
        tuple(getattr(record, name) for name in RUN_COLUMNS)
        + tuple(getattr(score, name, None) for name in SCORE_COLUMNS)
        for record, score in rows
    )
    trainings = [name_training(record) for record, _ in rows]
    return frame if trainings == list(frame["contender"]) else frame.assign(training=trainings)


def costs_frame(records: Iterable[Record]) -> pd.DataFrame:
    """Build a row a cost, with `TIDY_COLUMNS`; costs vary from machine to machine."""
    return _tidy(
        (*(getattr(record, name) for name in RUN_COLUMNS), cost, value, *[None] * 5)
        for record in records
        for cost in COSTS
        if (value := getattr(record.costs, cost)) is not None
    )


def _tidy(rows: Iterable[tuple[Any, ...]]) -> pd.DataFrame:
    frame = pd.DataFrame(list(rows), columns=list(TIDY_COLUMNS))
    numbers = dict.fromkeys(("value", "low", "high"), "float64")
    return frame.astype({"seed": "Int64", "n": "Int64", **numbers})
