"""A suite's comparison: a row a contender, its scores and costs summed up over its runs."""

import math
from collections.abc import Iterable, Sequence
from statistics import fmean
from typing import Any

import pandas as pd

from benchmarks.analysis.columns import COMPARISON_COLUMNS, COSTS, FIRST, FURTHER, STATUSES, WHOLE
from benchmarks.analysis.lookup import (
    find_route,
    name_training,
    read_traits,
    runs_by_contender,
    scores_of,
    shown_extractor,
)
from benchmarks.config.spec import CALIBRATION
from benchmarks.records.schema import SCORED, Record, Score
from benchmarks.records.store import Results
from benchmarks.statistics.intervals import (
    SeedInterval,
    geometric_std,
    interval_over_seeds,
    last_over_best,
)


def comparison_frame(results: Results) -> pd.DataFrame:
    """Build a row a contender in the suite's order, then calibration, with `COMPARISON_COLUMNS`.

    Scores are summed up over the runs that were scored (`seeds` says how many), as
    `statistics.interval_over_seeds` has it; costs are means over them. `diverged` and `failed`
    read "1/3", and so does the column `collapsed`, which is there where any run has collapsed. Only
    the scores of `shown_extractor` are used. `training` names the contender that a row by one of
    its samplers shares its training with.
    """
    entries = [(entry.name, entry.family) for entry in results.index.contenders]
    entries += [(r.contender, CALIBRATION) for r in results.records if r.family == CALIBRATION]
    extractor = shown_extractor(results.records)
    runs = runs_by_contender(results.records)
    rows = [
        {
            "contender": name,
            "family": family,
            "dataset": results.index.dataset,
            "training": name,
            **_contender_cells(runs.get(name, []), extractor),
        }
        for name, family in entries
    ]
    further = ["collapsed"] if any(r.status == "collapsed" for r in results.records) else []
    frame = pd.DataFrame(rows, columns=[*COMPARISON_COLUMNS, *further])
    return frame.astype(dict.fromkeys(WHOLE, "Int64"))


def _contender_cells(records: Sequence[Record], extractor: str | None) -> dict[str, Any]:
    """Build the row of one contender from all its runs."""
    scored = [record for record in records if record.status in SCORED]
    runs = [scores_of(record, extractor) for record in scored]
    cells: dict[str, Any] = {"seeds": len(scored)}
    for metric in (*FIRST, *FURTHER):
        value, low, high = interval_over_seeds(metric, _intervals(runs, metric))
        cells |= {metric: value, f"{metric}_low": low, f"{metric}_high": high}
    for status in STATUSES:
        cells[status] = f"{sum(r.status == status for r in records)}/{len(records)}"
    last, best = ([run.value for run in _intervals(runs, metric)] for metric in ("fid", "fid_best"))
    cells |= {"fid_last_over_best": last_over_best(last, best), "fid_spread": geometric_std(last)}
    fid = next((run["fid"] for run in runs if "fid" in run), None)
    cells |= {"samples": fid and fid.n, "reference": fid and fid.reference}
    cells |= {"extractor": fid and fid.extractor}
    if first := next(iter(scored or records), None):
        traits = read_traits(first)
        cells |= {"reconstruction_protocol": find_route(first), "code_size": traits.code_size}
        cells |= {"tuned": traits.tuned, "training": name_training(first)}
    return cells | _cost_cells(scored)


def _intervals(runs: Sequence[dict[str, Score]], metric: str) -> list[SeedInterval]:
    """Return each run's value and interval over samples, NaN where it has none."""
    scores = [run.get(metric) for run in runs]
    bounds = [(s.value, s.low, s.high) if s else (None,) * 3 for s in scores]
    return [SeedInterval(*(math.nan if x is None else x for x in b)) for b in bounds]


def _cost_cells(scored: Sequence[Record]) -> dict[str, Any]:
    """Average the costs and the training's length over runs."""
    trained = [r.training for r in scored if r.training]
    means = {cost: _mean(getattr(r.costs, cost) for r in scored) for cost in COSTS}
    means["steps"] = steps = _mean(t.steps for t in trained)
    means["best_step"] = _mean(t.best_step for t in trained)
    means["training_images"] = _mean(t.images for t in trained)
    per_step = means["training_flops_per_step"]
    total = None if steps is None or per_step is None else steps * per_step
    whole = {
        name: round(mean) for name, mean in means.items() if name in WHOLE and mean is not None
    }
    return means | whole | {"training_flops": total}


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return fmean(known) if known else None
