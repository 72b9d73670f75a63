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
from benchmarks.analysis.marks import Marks
from benchmarks.analysis.tidy import (
    COSTS,
    FIRST,
    FURTHER,
    comparison_frame,
    costs_frame,
    runs_by_contender,
    score_of,
    scores_frame,
    scores_of,
    shown_extractor,
)
from benchmarks.analysis.traits import (
    NO_ROUTE,
    find_protocol,
    find_route,
    name_training,
    read_traits,
)
from benchmarks.config.spec import CALIBRATION
from benchmarks.core.errors import BadInput, unknown
from benchmarks.records.schema import EXTERNAL, SCORED, Record, Score
from benchmarks.records.store import Results, read_history, read_picture, read_suite
from benchmarks.statistics import SeedInterval, interval_over_seeds

CURVES, ALL_CURVES = 100, 1_000
"""Seeds of a contender, and runs in all, whose histories are read."""
EXTRACTORS = 8
"""Extractors beside the shown one whose FID has a column of its own."""
KINDS = {
    "samples": "fid",
    "reconstructions": "reconstruction_mse",
    "translations": None,
    "neighbours": "near_copies",
    "interpolations": None,
    "evolution": "fid",
}
"""Kinds of pictures, each with the metric whose score stands beside it."""
PICTURE_COLUMNS = (
    *("contender", "family", "seed", "run", "status", "reason", "kind", "tiles", "images"),
    *("metric", "value", "protocol", "mean_fid"),
)
EXPECTED = ("samples", "reconstructions")
"""Kinds of pictures whose lack is shown."""
IDENTITY = ("contender", "family", "seed", "status", "reason", "run", "extractor")
MODEL = ("training", "uses_source", "route", "code_size")
LENGTHS = ("samples", "steps", "training_images", "best_step")


ARRAYS = frozenset(("tiles", "images"))
"""Columns of pictures whose cells are arrays and lists."""


@dataclass(frozen=True)
class Frames:
    """A suite as data frames.

    Attributes:
        results: what they are of.
        runs: a row a run, see `runs_frame`.
        comparison: a row a contender, see `tidy.comparison_frame`.
        history: a row a logged step of the runs that are drawn, see `gather`.
        pictures: a row a picture that is drawn, see `gather`.
        warnings: a line for each history, picture or audit that could not be read.
        audit: the one that covers the scores, None where there is none.
        require_audit: whether scores that have not passed it rank nobody.
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
        """What the audit means for the scores."""
        return Marks(self.audit, shown_extractor(self.results.records), self.require_audit)


def gather(results: Results, *, require_audit: bool = False) -> Frames:
    """Make all frames, reading the histories and pictures that are drawn.

    `history` has the columns contender, seed, run, status, runs (of the contender in all), step,
    images, seconds, validation_fid and loss_<player>, NaN where a run has no such number; of many
    runs, the first seeds of each contender, as `curves` has it.

    `pictures` has the columns contender, family, seed, run, status, reason, kind (of `KINDS`),
    tiles (uint8 [rows, columns, H, W, 3]), images (training images seen at each row of an
    evolution), metric, value and protocol (of the run's score that stands beside the picture) and
    mean_fid (of the contender). One run's pictures stand for its contender. Where a contender
    lacks a picture that it should have, tiles is None, and status and reason tell why.
    """
    warnings = list[str]()
    runs = runs_by_contender(results.records)
    limit = curves(len(_categorical(results, []).categories))
    drawn = [record for records in runs.values() for record in records[:limit]]
    logs = [(r, log) for r in drawn if (log := _log(results, r, warnings)) is not None]
    comparison = comparison_frame(results)
    return Frames(
        results=results,
        runs=runs_frame(results),
        comparison=comparison,
        history=_history(results, logs),
        pictures=_pictures(results, comparison, warnings),
        warnings=warnings,
        audit=find_audit(results, warnings),
        require_audit=require_audit,
    )


def curves(contenders: int) -> int:
    """Of how many seeds of each contender the histories are read."""
    return min(CURVES, max(1, ALL_CURVES // max(1, contenders)))


def runs_frame(results: Results) -> pd.DataFrame:
    """A row a run in the suite's order, the calibration runs last.

    Columns: contender (categorical), family, seed, status, reason, run; extractor, the one of the
    scores; samples, the number that FID was taken of; <metric>, <metric>_low and <metric>_high for
    each metric that any run has, NaN where the run has none or was not scored; fid@<extractor>,
    FID by the other extractors; the costs of `tidy.COSTS`; steps, training_images, best_step and
    training_flops; training, the contender whose training the run comes from (rows by several
    samplers share one); uses_source, route and code_size, as `traits` has them of the model.
    """
    extractor = shown_extractor(results.records)
    others = _other_extractors(results.records, extractor)
    frame = pd.DataFrame([_run_cells(r, extractor, others) for r in results.records])
    found = [name for name in (*FIRST, *FURTHER) if name in frame and frame[name].notna().any()]
    scores = [f"{name}{end}" for name in found for end in ("", "_low", "_high")]
    scores += [f"fid@{other}" for other in others]
    frame = frame.reindex(columns=[*IDENTITY, *scores, *COSTS, *LENGTHS, "training_flops", *MODEL])
    frame["contender"] = _categorical(results, frame["contender"])
    whole = dict.fromkeys(("seed", "parameters", *LENGTHS, "code_size"), "Int64")
    numbers = dict.fromkeys([*scores, *(c for c in COSTS if c != "parameters")], "float64")
    return frame.astype({**whole, **numbers, "training_flops": "float64"})


def scores_of_runs(runs: pd.DataFrame, metric: str) -> dict[str, np.ndarray]:
    """Value and interval of each run that has one: by contender, float [runs, 3]."""
    if metric not in runs:
        return {}
    known = runs[runs[metric].notna()]
    columns = [f"{metric}{end}" for end in ("", "_low", "_high")]
    values = known.reindex(columns=columns).to_numpy(dtype=float)
    groups = known.groupby(known["contender"].astype(object), sort=False).indices
    return {str(name): values[rows] for name, rows in groups.items()}


def summarise(runs: pd.DataFrame, metric: str) -> dict[str, SeedInterval]:
    """The mean over seeds with its interval of each contender that has one, in any order."""
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
    return cells | {
        **{name: getattr(record, name) for name in IDENTITY if name != "extractor"},
        **{cost: getattr(record.costs, cost) for cost in COSTS},
        "extractor": extractor,
        "samples": fid.n if fid else None,
        "steps": training.steps if training else None,
        "training_images": training.images if training else None,
        "best_step": training.best_step if training else None,
        "training_flops": training.steps * per_step if training and per_step else None,
        "training": name_training(record),
        "uses_source": traits.uses_source,
        "route": find_route(record),
        "code_size": traits.code_size,
    }


def _other_extractors(records: Iterable[Record], shown: str | None) -> list[str]:
    """Extractors of further FIDs, in the order of their first."""
    used = (s.extractor for r in records for s in r.scores if s.metric == "fid" and s.extractor)
    return [name for name in dict.fromkeys(used) if name != shown][:EXTRACTORS]


def _categorical(results: Results, names: Iterable[str]) -> "pd.Categorical[Any]":
    """Contenders as categories in the suite's order, whoever else there is at the end."""
    entries = [entry.name for entry in results.index.contenders]
    further = [record.contender for record in results.records]
    return pd.Categorical(list(names), categories=list(dict.fromkeys(entries + further)))


def _log(results: Results, record: Record, warnings: list[str]) -> pd.DataFrame | None:
    try:
        return read_history(results.run_folder(record))
    except BadInput as error:
        warnings.append(str(error))
        return None


def _history(results: Results, logs: Sequence[tuple[Record, pd.DataFrame]]) -> pd.DataFrame:
    """The runs' logs one below the other."""
    counts = Counter(record.contender for record in results.records)
    known = ["step", "images", "seconds", "validation_fid"]
    parts = [log[[c for c in log if c in known or str(c).startswith("loss_")]] for _, log in logs]
    frame = pd.concat([pd.DataFrame(columns=known, dtype=float), *parts], ignore_index=True)
    lengths = [len(part) for part in parts]
    records = [record for record, _ in logs]
    runs = pd.DataFrame(
        {
            "contender": _categorical(results, [record.contender for record in records]),
            "seed": pd.array([record.seed for record in records], dtype="Int64"),
            "run": [record.run for record in records],
            "status": [record.status for record in records],
            "runs": [counts[record.contender] for record in records],
        }
    )
    repeated = runs.loc[runs.index.repeat(lengths)].reset_index(drop=True)
    return pd.concat([repeated, frame], axis="columns")


def _pictures(results: Results, comparison: pd.DataFrame, warnings: list[str]) -> pd.DataFrame:
    """The pictures of a run of each contender, and what is missing of it."""
    runs = runs_by_contender(results.records)
    extractor = shown_extractor(results.records)
    families = {entry.name: entry.family for entry in results.index.contenders}
    fids = dict(zip(comparison["contender"], comparison["fid"], strict=True))
    rows = []
    for name in _categorical(results, []).categories:
        record = pick(runs.get(name, []))
        identity = _picture_identity(name, families.get(name), runs.get(name, []), record)
        for kind in _kinds(record, families.get(name)):
            tiles = _tiles(results, record, kind, warnings)
            if tiles is None and kind not in EXPECTED:
                continue
            cells = {"kind": kind, "tiles": tiles, "images": None, "mean_fid": fids.get(name)}
            if kind == "evolution" and record and tiles is not None:
                seen = record.pictures[kind].seen
                cells["images"] = tuple(seen) if len(seen) == len(tiles) else None
            rows.append({**identity, **cells, **_score_cells(record, KINDS[kind], extractor)})
    frame = pd.DataFrame(rows, columns=[*PICTURE_COLUMNS])
    frame["contender"] = _categorical(results, frame["contender"])
    numbers = {"value": "float64", "mean_fid": "float64"}
    return frame.astype({"seed": "Int64", "tiles": object, "images": object, **numbers})


def pick(records: Sequence[Record]) -> Record | None:
    """The run whose pictures stand for its contender: the first that went well.

    If none did, the first that was scored nevertheless, or that came far enough for samples.
    """
    scored = [record for record in records if record.status in SCORED]
    came_far = (record for record in records if "samples" in record.pictures)
    well = (record for record in scored if record.status == "ok")
    return next(well, None) or next(iter(scored), None) or next(came_far, None)


def _picture_identity(
    name: str, family: str | None, records: Sequence[Record], record: Record | None
) -> dict[str, Any]:
    """Whose picture it is, or of whose lack of pictures the first run tells."""
    shown = record or (records[0] if records else None)
    cells = {key: getattr(shown, key, None) for key in ("seed", "run", "status", "reason")}
    return {"contender": name, "family": family or CALIBRATION, **cells}


def _kinds(record: Record | None, family: str | None) -> list[str]:
    """The kinds of pictures that a run has or should have."""
    trained = family not in {None, EXTERNAL}
    expected = EXPECTED if trained else EXPECTED[:1]
    if record and find_route(record) == NO_ROUTE:
        expected = EXPECTED[:1]
    had = record.pictures if record else {}
    if record and record.status not in SCORED:
        had = {kind: had[kind] for kind in ("samples", "evolution") if kind in had}
    return [kind for kind in KINDS if kind in had or kind in expected]


def _tiles(
    results: Results, record: Record | None, kind: str, warnings: list[str]
) -> np.ndarray | None:
    """A run's picture, None where it has none or it cannot be read."""
    if record is None or kind not in record.pictures:
        return None
    try:
        return read_picture(results.run_folder(record), record.pictures[kind])
    except BadInput as error:
        warnings.append(str(error))
        return None


def _score_cells(
    record: Record | None, metric: str | None, extractor: str | None
) -> dict[str, Any]:
    score: Score | None = None
    if record and metric and record.status in SCORED:
        score = score_of(record, metric, extractor)
    return {
        "metric": metric,
        "value": score.value if score else None,
        "protocol": find_protocol(record, score) if record and score else None,
    }


def load(folder: Path | str, what: str = "scores") -> pd.DataFrame:
    """Read a suite's folder as a data frame.

    Args:
        folder: `results/<suite>`, with its `suite.json`.
        what: `scores` or `costs`, a row each, tidy; `comparison`, a row a contender; `runs`, a row
            a run; `history`, a row a logged step; `pictures`, a row a picture.

    Raises:
        BadInput: the folder holds no readable suite, or there is no such frame.
    """
    frames: dict[str, Callable[[Results], pd.DataFrame]] = {
        "scores": lambda results: scores_frame(results.records),
        "costs": lambda results: costs_frame(results.records),
        "comparison": comparison_frame,
        "runs": lambda results: gather(results).runs,
        "history": lambda results: gather(results).history,
        "pictures": lambda results: gather(results).pictures,
    }
    if what not in frames:
        raise BadInput(unknown("frame", what, frames))
    frame = frames[what](read_suite(Path(folder)))
    texts = [c for c in frame.select_dtypes(["object", "string"]) if c not in ARRAYS]
    return frame.astype(dict.fromkeys(texts, "string"))
