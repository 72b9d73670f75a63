"""The pictures of a suite as a data frame, a row a picture."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from benchmarks.analysis.lookup import (
    NO_ROUTE,
    categorize,
    find_protocol,
    find_route,
    read_or_warn,
    runs_by_contender,
    score_of,
    shown_extractor,
)
from benchmarks.config.spec import CALIBRATION
from benchmarks.records.schema import EXTERNAL, SCORED, Record
from benchmarks.records.store import Results, read_picture

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
ARRAYS = frozenset(("tiles", "images"))
"""Columns of pictures whose cells are arrays and lists."""


def pictures_frame(results: Results, comparison: pd.DataFrame, warnings: list[str]) -> pd.DataFrame:
    """Build a row for each picture of one run of each contender, and for those missing."""
    runs = runs_by_contender(results.records)
    extractor = shown_extractor(results.records)
    families = {entry.name: entry.family for entry in results.index.contenders}
    fids = dict(zip(comparison["contender"], comparison["fid"], strict=True))
    rows = []
    for name in categorize(results, []).categories:
        own = runs.get(name, [])
        record = choose_shown_run(own)
        shown = record or next(iter(own), None)  # the first run's reason for the lack of a picture
        identity = {key: getattr(shown, key, None) for key in ("seed", "run", "status", "reason")}
        identity |= {"contender": name, "family": families.get(name) or CALIBRATION}
        for kind in _kinds(record, families.get(name)):
            tiles = None
            if record and kind in record.pictures:
                folder, picture = results.run_folder(record), record.pictures[kind]
                tiles = read_or_warn(read_picture, folder, picture, warnings=warnings)
            if tiles is None and kind not in EXPECTED:
                continue
            cells = {"kind": kind, "tiles": tiles, "images": None, "mean_fid": fids.get(name)}
            if kind == "evolution" and record and tiles is not None:
                seen = record.pictures[kind].seen
                cells["images"] = tuple(seen) if len(seen) == len(tiles) else None
            metric, score = KINDS[kind], None
            if record and metric and record.status in SCORED:
                score = score_of(record, metric, extractor)
            cells |= {"metric": metric, "value": score and score.value}
            cells["protocol"] = find_protocol(record, score) if record and score else None
            rows.append(identity | cells)
    frame = pd.DataFrame(rows, columns=[*PICTURE_COLUMNS])
    frame["contender"] = categorize(results, frame["contender"])
    numbers = {"value": "float64", "mean_fid": "float64"}
    return frame.astype({"seed": "Int64", "tiles": object, "images": object, **numbers})


def choose_shown_run(records: Sequence[Record]) -> Record | None:
    """Pick the run whose pictures stand for its contender: the first that is ok.

    If none is, the first that was scored nevertheless, or that came far enough for samples.
    """
    well = [record for record in records if record.status == "ok"]
    scored = [record for record in records if record.status in SCORED]
    came_far = [record for record in records if "samples" in record.pictures]
    return next(iter([*well, *scored, *came_far]), None)


def _kinds(record: Record | None, family: str | None) -> list[str]:
    """List the kinds of pictures that a run has or should have."""
    codeless = record is not None and find_route(record) == NO_ROUTE
    expected = EXPECTED[:1] if codeless or family in {None, EXTERNAL} else EXPECTED
    had = record.pictures if record else {}
    if record and record.status not in SCORED:
        had = {kind: had[kind] for kind in ("samples", "evolution") if kind in had}
    return [kind for kind in KINDS if kind in had or kind in expected]


def join_tiles(tiles: np.ndarray, scale: int) -> np.ndarray:
    """Enlarge tiles, uint8 [rows, columns, H, W, 3], two white pixels apart: uint8 [H, W, 3]."""
    large = tiles.repeat(scale, axis=2).repeat(scale, axis=3)
    framed = np.pad(large, ((0, 0), (0, 0), (0, 2), (0, 2), (0, 0)), constant_values=255)
    rows, columns, height, width, channels = framed.shape
    joined = framed.swapaxes(1, 2).reshape(rows * height, columns * width, channels)
    return joined[:-2, :-2]
