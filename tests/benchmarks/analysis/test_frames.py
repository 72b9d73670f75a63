import math
from pathlib import Path

import numpy as np
import pytest
from synthetic import FOUR, VIEWS, write_suite

from benchmarks.analysis.columns import COLUMNS, COMPARISON_COLUMNS
from benchmarks.analysis.frames import (
    ALL_CURVES,
    CURVES,
    Frames,
    count_drawn_seeds,
    gather,
    scores_of_runs,
    summarise_runs,
)
from benchmarks.analysis.lookup import shown_extractor
from benchmarks.records.schema import Costs
from benchmarks.records.store import read_record, read_suite, write_record
from benchmarks.statistics.intervals import student_interval

FAILURES = {("gan", 0): "diverged", ("vae", 1): "collapsed", ("cyclegan", 0): "failed"}


@pytest.fixture(scope="module")
def frames(tmp_path_factory: pytest.TempPathFactory) -> Frames:
    folder = tmp_path_factory.mktemp("frames") / "suite"
    return gather(read_suite(write_suite(folder, failures=FAILURES, views=VIEWS)))


def test_runs_are_rows_in_the_suites_order_with_calibration_last(frames: Frames) -> None:
    names = [name for name, _ in FOUR]
    runs = frames.runs
    assert list(runs["contender"]) == [n for n in names for _ in range(3)] + ["real", "noise"]
    assert list(runs["contender"].cat.categories) == [*names, "real", "noise"]
    assert list(runs["seed"][:3]) == [0, 1, 2]
    assert runs["seed"][-2:].isna().all()
    assert list(runs["run"]) == [record.run for record in frames.results.records]


def test_a_runs_row_holds_its_scores_and_costs(frames: Frames) -> None:
    record = frames.results.records[3]
    row = frames.runs.iloc[3]
    fid = record.scores[0]
    assert (row["fid"], row["fid_low"], row["fid_high"]) == (fid.value, fid.low, fid.high)
    assert (row["samples"], row["extractor"]) == (fid.n, fid.extractor)
    assert row["training_flops"] == 3000 * record.costs.training_flops_per_step
    assert row["parameters"] == record.costs.parameters
    assert row["training_images"] == 192_000


def test_further_extractors_have_columns_of_their_own(frames: Frames) -> None:
    record = frames.results.records[3]
    values = {s.extractor: s.value for s in record.scores if s.metric == "fid"}
    assert len(values) == 3
    assert [frames.runs[f"fid@{view}"][3] for view in VIEWS] == [values[view] for view in VIEWS]


def test_only_what_was_scored_has_scores(frames: Frames) -> None:
    scored = frames.runs[frames.runs["fid"].notna()]
    assert set(scored["status"]) == {"ok", "collapsed"}
    assert len(scored) == 4 * 3 - 2 + 2
    assert "bits_per_dimension" not in frames.runs


def test_a_run_that_failed_after_it_was_scored_counts_no_more(tmp_path: Path) -> None:
    suite = read_suite(write_suite(tmp_path / "suite", seeds=1))
    record = suite.records[0]
    record.status, record.reason = "failed", "the scores are of another model"
    write_record(suite.run_folder(record), record)
    runs = gather(read_suite(suite.folder)).runs
    assert math.isnan(runs["fid"][0])
    assert runs["reason"][0] == record.reason


def test_hostile_metrics_replace_no_column(tmp_path: Path) -> None:
    suite = read_suite(write_suite(tmp_path / "suite", seeds=1))
    for score, name in zip(suite.records[0].scores, ("status", "contender", "x"), strict=False):
        score.metric = name
    runs = gather(suite).runs
    assert (runs["contender"][0], runs["status"][0]) == ("gan", "ok")
    assert "x" not in runs


def test_contenders_are_summed_up_over_seeds_as_in_the_table(frames: Frames) -> None:
    fids = scores_of_runs(frames.runs, "fid")["autoencoder"][:, 0]
    assert summarise_runs(frames.runs, "fid")["autoencoder"] == student_interval(fids, log=True)
    table = frames.comparison.set_index("contender")
    for metric in ("fid", "inception_score", "precision"):
        for name, interval in summarise_runs(frames.runs, metric).items():
            assert interval.value == table[metric][name]
            assert interval.low == pytest.approx(table[f"{metric}_low"][name], nan_ok=True)


def test_histories_follow_one_another(frames: Frames) -> None:
    history = frames.history
    assert list(dict.fromkeys(history["run"])) == [r.run for r in frames.results.records[:-2]]
    assert set(history["runs"]) == {3}
    gan = history[history["contender"] == "gan"]
    assert gan["loss_generator"].notna().all()
    assert gan["loss_vae"].isna().all()
    assert list(history["contender"].cat.categories) == list(
        frames.runs["contender"].cat.categories
    )


def test_a_run_stands_for_its_contenders_pictures(frames: Frames) -> None:
    shown = frames.pictures.set_index(["contender", "kind"])
    assert {name: shown["seed"][name, "samples"] for name, _ in FOUR} == {
        "gan": 1,
        "autoencoder": 0,
        "vae": 0,
        "cyclegan": 1,
    }
    assert shown["tiles"]["cyclegan", "translations"].shape == (3, 10, 8, 8, 3)
    assert ("gan", "translations") not in shown.index
    assert shown["value"]["gan", "samples"] == frames.runs["fid"][1]
    assert shown["protocol"]["vae", "reconstructions"] == "encoder"
    assert shown["value"]["gan", "neighbours"] == 0.011
    assert shown["images"]["gan", "evolution"] == tuple(300 * 64 * np.arange(1, 11))


def test_what_a_contender_lacks_is_a_row_with_its_reason(tmp_path: Path) -> None:
    failures = {("gan", 0): "failed", ("vae", 0): "diverged"}
    frames = gather(read_suite(write_suite(tmp_path / "suite", seeds=1, failures=failures)))
    shown = frames.pictures.set_index(["contender", "kind"])
    assert shown["tiles"]["gan", "samples"] is None
    assert tuple(shown.loc["gan", "samples"][["status", "reason"]]) == ("failed", "out of memory")
    assert shown["tiles"]["vae", "samples"].shape[:2] == (8, 8)
    assert shown["tiles"]["vae", "reconstructions"] is None
    assert shown["tiles"]["vae", "evolution"].shape[:2] == (2, 8)


def test_missing_and_damaged_files_are_named(tmp_path: Path) -> None:
    folder = write_suite(tmp_path / "suite", seeds=1)
    (folder / "runs/gan-s0-1a2b3c4d/samples.png").write_bytes(b"")
    (folder / "runs/gan-s0-1a2b3c4d/interpolations.png").unlink()
    (folder / "runs/vae-s0-1a2b3c4d/history.csv").write_text("step\n1\n")
    frames = gather(read_suite(folder))
    assert sorted(warning.split(": ")[0].split()[0] for warning in frames.warnings) == [
        str(folder / "runs/gan-s0-1a2b3c4d/interpolations.png"),
        str(folder / "runs/gan-s0-1a2b3c4d/samples.png"),
        str(folder / "runs/vae-s0-1a2b3c4d/history.csv"),
    ]
    shown = frames.pictures.set_index(["contender", "kind"])
    assert shown["tiles"]["gan", "samples"] is None
    assert shown["status"]["gan", "samples"] == "ok"
    assert ("gan", "interpolations") not in shown.index
    assert len(shown["images"]["vae", "evolution"]) == 10
    assert "vae" not in set(frames.history["contender"])


def test_the_histories_that_are_read_are_bounded() -> None:
    assert count_drawn_seeds(4) == CURVES
    assert count_drawn_seeds(100) * 100 <= ALL_CURVES
    assert count_drawn_seeds(10 * ALL_CURVES) == 1


def test_a_film_that_does_not_say_when_it_was_taken_is_shown_all_the_same(tmp_path: Path) -> None:
    folder = write_suite(tmp_path / "suite", (("gan", "gan"),), seeds=1)
    run = folder / "runs" / "gan-s0-1a2b3c4d"
    record = read_record(run)
    record.pictures["evolution"].seen.clear()
    write_record(run, record)
    pictures = gather(read_suite(folder)).pictures
    assert [images for images in pictures["images"] if images is not None] == []


def test_the_extractor_of_most_runs_is_shown(tmp_path: Path) -> None:
    folder = write_suite(tmp_path / "suite", (("gan", "gan"), ("vae", "vae")), seeds=2)
    run = folder / "runs" / "gan-s0-1a2b3c4d"
    record = read_record(run)
    scores = [s.model_copy(update={"extractor": s.extractor and "other@1"}) for s in record.scores]
    write_record(run, record.model_copy(update={"scores": scores}))
    assert shown_extractor(read_suite(folder).records) != "other@1"


def test_every_cost_of_a_record_is_one_column() -> None:
    costs = [column for column in COLUMNS if column.cost]
    assert {column.key for column in costs} == set(Costs.model_fields)
    assert all(column.heading and column.meaning for column in COLUMNS)
    assert {key.removesuffix("_low").removesuffix("_high") for key in COMPARISON_COLUMNS} == {
        column.key for column in COLUMNS if column.key != "collapsed"
    }
