"""Runs and engines: what they leave, what they take up again, what they survive."""

import errno
import random
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from own_models import average_ticks
from PIL import Image
from torch import Tensor

from benchmarks.analysis.notes import score_notes
from benchmarks.config import registry
from benchmarks.config.paths import Paths
from benchmarks.config.registry import load_model
from benchmarks.config.suite import build_suite
from benchmarks.core.seeds import derive_seed
from benchmarks.core.tensors import quantize
from benchmarks.data import Dataset, load_dataset
from benchmarks.evaluation.evaluator import Evaluator, load_evaluator
from benchmarks.execution import run_one, train_one
from benchmarks.execution.events import Advanced, Drawn, Event, Noticed, Saved
from benchmarks.execution.job import Job
from benchmarks.execution.plan import plan_runs
from benchmarks.execution.resume import (
    find_finished,
    find_missing,
    has_weights,
    is_begun,
    is_done,
    reuse_training,
)
from benchmarks.execution.run_one import calibrate, is_disk_full, run
from benchmarks.execution.smoke import run_smoke_step
from benchmarks.execution.train_one import build_model, describe_model
from benchmarks.records.schema import Costs, Score
from benchmarks.records.store import read_history, read_picture, read_record, write_record
from benchmarks.training.checkpoint import load_checkpoint, save_checkpoint
from metrics import METRICS, Extractor, Features, Metadata, Metric, RandomExtractor
from models.base import GenerativeModel, ModelConfig

OWN = Path(__file__).parents[1] / "own_models.py"
TABLE: dict[str, Any] = {
    "images": 320,
    "batch": 32,
    "seeds": 1,
    "samples": 64,
    "reconstructions": 10,
    "evaluations": 2,
    "extractor": "random",
}
Plan = Callable[..., list[Job]]


@pytest.fixture(scope="module")
def data() -> Dataset:
    return load_dataset("digits", data_root=Path())


@pytest.fixture
def plan(data: Dataset, tmp_path: Path) -> Plan:
    """Plan runs of the classes of `own_models.py` and of models that ship."""

    def make(*names: str, folder: str = "a", **changes: Any) -> list[Job]:
        contenders = {
            name.lower(): {"model": f"{OWN}:{name}"} if name[0].isupper() else {} for name in names
        }
        suite = build_suite(TABLE | {"contenders": contenders} | changes, "test")
        place = Paths(tmp_path / folder, tmp_path / "data", tmp_path / "cache")
        return [Job(s, "test", place) for s in plan_runs(suite, data, "test", device="cpu")]

    return make


def silent(*_: object) -> None:
    """Ignore an event."""


def test_a_run_leaves_its_record_and_files(plan: Plan) -> None:
    (job,) = plan("vae")
    record = run(job, silent)
    assert record == read_record(job.folder)
    assert (record.status, record.family, record.seed) == ("ok", "vae", 0)
    assert {s.metric for s in record.scores} >= {
        *("fid", "kid", "precision", "reconstruction_mse", "psnr", "ssim", "fid_best")
    }
    assert record.training is not None
    assert (record.training.steps, record.training.images) == (10, 320)
    assert record.costs.parameters == sum(
        p.numel() for p in build_model(job.spec, (1, 8, 8)).parameters()
    )
    for cost in record.costs.model_dump().values():
        assert cost > 0
    archive = np.load(job.folder / "samples.npz", allow_pickle=False)
    assert archive["images"].shape == (64, 1, 8, 8)
    history = read_history(job.folder)
    assert history is not None
    assert history["step"].tolist() == list(range(1, 11))
    assert history["validation_fid"].notna().sum() == 2
    picture = record.pictures["samples"]
    with Image.open(job.folder / picture.file) as image:
        assert image.size == (8 * picture.columns, 8 * picture.rows)


def test_the_checkpoint_is_the_model_that_was_scored(plan: Plan) -> None:
    (job,) = plan("vae")
    run(job, silent)
    model = build_model(job.spec, (1, 8, 8)).eval()
    model.load_state_dict(load_checkpoint(job.folder / "checkpoint" / "model.safetensors")[0])
    samples = torch.from_numpy(np.load(job.folder / "samples.npz")["images"])
    rng = torch.Generator().manual_seed(derive_seed(derive_seed(job.seed, "evaluation"), "sample"))
    with torch.no_grad():
        assert torch.equal(quantize(model.sample(64, rng)), samples)


def weight_of(job: Job, file: str, name: str) -> float:
    return load_checkpoint(job.checkpoint / f"{file}.safetensors")[0][name].item()


def test_last_and_best_are_averages_completed_on_training_images_and_scored_apart(
    plan: Plan, data: Dataset
) -> None:
    own = {"model": f"{OWN}:Ticking", "ema": 0.5}
    (job,) = plan(contenders={"ticking": own}, evaluations=5)
    record = run(job, silent)
    evaluator = Evaluator(data, RandomExtractor(1), 64, 10)
    model, history = build_model(job.spec, data.shape).eval(), read_history(job.folder)
    validated = {}
    for step in (2, 4, 6, 8, 10):
        model.ticks.data.fill_(average_ticks(step, 0.5))
        validated[step] = evaluator.validate(model, derive_seed(job.seed, "validation"))[0]
    assert record.training is not None
    best = record.training.best_step
    assert best == min(validated, key=validated.__getitem__) < 10
    kept = history.set_index("step")["validation_fid"].dropna().to_dict()
    assert kept == pytest.approx(validated, rel=1e-4)
    assert weight_of(job, "unaveraged", "ticks") == pytest.approx(10)

    seed = derive_seed(job.seed, "evaluation")
    scores = {score.metric: score.value for score in record.scores}
    for file, step, metric in (("model", 10, "fid"), ("best", best, "fid_best")):
        model.load_state_dict(load_checkpoint(job.checkpoint / f"{file}.safetensors")[0])
        assert model.ticks.item() == pytest.approx(average_ticks(step, 0.5), rel=1e-5)
        model.finish(evaluator.train, torch.Generator().manual_seed(derive_seed(seed, "finish")))
        expected, *_ = evaluator.score(evaluator.generate(model, seed), model)
        assert (expected.metric, expected.value) == ("fid", scores[metric])


@pytest.mark.parametrize("name", ["autoencoder", "cyclegan", "Average"])
def test_a_last_checkpoint_that_is_best_is_kept_and_sampled_once(
    plan: Plan, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    score_best, drawn, known = Evaluator.score_best, [], []

    def draw(self: Evaluator, *arguments: Any) -> torch.Tensor:
        drawn.append(arguments)
        return draw_images(self, *arguments)

    def score(self: Evaluator, *arguments: Any) -> Score:
        known.append(score_best(self, *arguments))
        del drawn[:]
        assert score_best(self, *arguments[:-1]) == known[-1]
        assert len(drawn) == 1
        return known[-1]

    draw_images = Evaluator.draw_images
    monkeypatch.setattr(Evaluator, "draw_images", draw)
    monkeypatch.setattr(Evaluator, "score_best", score)
    (job,) = plan(name, evaluations=1)
    record = run(job, silent)
    assert record.training.best_step == record.training.steps
    assert record.scores[-1] == known[-1]
    assert (job.checkpoint / "best.safetensors").samefile(job.checkpoint / "model.safetensors")
    monkeypatch.undo()
    monkeypatch.setattr(Evaluator, "draw_images", draw)
    del drawn[:]
    assert run(job, silent).scores == record.scores
    assert len(drawn) == 1


def test_a_model_may_be_validated_by_fewer_samples_which_the_history_states(
    plan: Plan, data: Dataset
) -> None:
    (job,) = plan("Slow")
    assert run(job, silent).status == "ok"
    history = read_history(job.folder)
    assert history["validation_samples"].dropna().tolist() == [10, 10]
    assert history["validation_samples"].notna().equals(history["validation_fid"].notna())
    model = build_model(job.spec, data.shape).eval()
    assert len(Evaluator(data, RandomExtractor(1), 64, 10).validate(model, 0)[1]) == 10


def test_a_run_learns_from_training_images_alone(plan: Plan, data: Dataset) -> None:
    shown = load_model(f"{OWN}:Translating").shown  # type: ignore[attr-defined]
    shown.clear()
    (job,) = plan("Translating", evaluations=5)
    assert run(job, silent).status == "ok"

    def keys(images: np.ndarray) -> set[bytes]:
        return {image.tobytes() for image in images}

    unseen = keys(data.validation.images) | keys(data.test.images) | keys(data.source_test.images)
    for what in ("images", "sources", "finish"):
        images = [x if x.dtype == torch.uint8 else quantize(x) for x in shown[what]]
        assert not keys(torch.cat(images).numpy()) & unseen, what
    assert torch.equal(shown["finish"][-1], torch.from_numpy(data.train.images))
    held_out = [bool(keys(quantize(x).numpy()) & unseen) for x in shown["starts"]]
    assert held_out == sorted(held_out), "held-out sources are for scores, after all validations"
    assert held_out.count(False) >= 5
    assert any(held_out)


def test_every_seed_and_every_contender_begins_with_weights_of_its_own(plan: Plan) -> None:
    contenders = {name: {"model": f"{OWN}:Ticking"} for name in "ab"}
    jobs = plan(contenders=contenders, seeds=2) + plan(contenders=contenders, folder="again")
    for job in jobs:
        run(job, silent)
    first = [weight_of(job, "unaveraged", "initial") for job in jobs]
    assert len(set(first[:4])) == 4
    assert first[4:] == first[:2]


def test_the_budget_is_what_the_busiest_player_sees(plan: Plan) -> None:
    (job,) = plan(contenders={"ticking": {"model": f"{OWN}:Ticking", "updates": 5}})
    told: list[Event] = []
    record = run(job, told.append)
    assert record.training is not None
    assert (record.training.steps, record.training.images) == (2, 320)
    assert weight_of(job, "unaveraged", "seen") == 320
    assert [m.images for m in told if isinstance(m, Advanced)] == [160, 320]
    assert read_history(job.folder)["images"].tolist() == [160, 320]


def test_only_a_run_of_the_same_spec_that_went_well_is_finished(plan: Plan) -> None:
    (job,) = plan("Average")
    assert find_finished(job) is None
    record = run(job, silent)
    assert find_finished(job) == record
    assert find_finished(Job(job.spec, "another suite", job.place)) is None
    other = job.spec.model_copy(update={"seed": 1})
    assert find_finished(Job(other, job.suite, job.place)) is None
    (bad,) = plan("Raising")
    run(bad, silent)
    assert find_finished(bad) is None


def test_a_run_of_before_a_metric_is_scored_by_it_from_its_checkpoint(plan: Plan) -> None:
    (job,) = plan("vae")
    trained = run(job, silent)
    assert not find_missing(trained)
    assert has_weights(job)
    earlier = trained.model_copy(update={"scores": trained.scores[:1], "metrics": ["fid"]})
    write_record(job.folder, earlier)
    assert "ssim" in find_missing(read_record(job.folder))
    scored = run(job, silent)
    assert scored == read_record(job.folder)
    assert scored.scores == trained.scores
    assert scored.training == trained.training
    assert scored.costs.train_seconds == trained.costs.train_seconds
    assert scored.scored is not None
    assert not find_missing(scored)


def test_a_record_outlives_scoring_that_fails(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    (job,) = plan("vae")
    trained = run(job, silent)
    monkeypatch.setattr(Evaluator, "score", raise_a_bug)
    assert run(job, silent).status == "failed"
    assert read_record(job.folder) == trained


def raise_a_bug(*_: object) -> None:
    raise RuntimeError("a bug in scoring")


@pytest.mark.parametrize("file", ["model", "best", "unaveraged"])
@pytest.mark.parametrize("how", ["cut short", "altered", "missing", "of another training"])
def test_damaged_weights_are_quarantined_and_trained_again(plan: Plan, file: str, how: str) -> None:
    (job,) = plan("Average")
    trained = run(job, silent)
    path = job.checkpoint / f"{file}.safetensors"
    damage(path, how)
    told: list[Event] = []
    again = run(job, told.append)
    assert (again.status, again.scores) == ("ok", trained.scores)
    (notice,) = (m.text for m in told if isinstance(m, Noticed))
    assert "quarantined" in notice
    assert "\n" not in notice
    assert path.with_name(f"{path.name}.damaged").exists() == (how != "missing")
    assert has_weights(job)


def damage(path: Path, how: str) -> None:
    content = path.read_bytes()
    if how == "missing":
        path.unlink()
    elif how == "of another training":
        save_checkpoint(path, load_checkpoint(path)[0], {"key": "another"})
    elif how == "cut short":
        path.write_bytes(content[: len(content) // 2])
    else:
        path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))


class Killed(BaseException):
    """Ends a run at once, as far as it can tell."""


def kill_after(job: Job, saves: int, told: list[Event] | None = None) -> None:
    """Let a run write down its training so many times, and no more."""
    left = saves

    def tell(message: Event) -> None:
        nonlocal left
        if told is not None:
            told.append(message)
        left -= isinstance(message, Saved)
        if not left:
            raise Killed

    with pytest.raises(Killed):
        run(replace(job, checkpoint_seconds=0), tell)


@pytest.mark.parametrize("name", ["gan", "autoencoder", "vae", "cyclegan", "Average"])
def test_a_run_that_was_killed_ends_as_if_it_had_not_been(plan: Plan, name: str) -> None:
    (whole,), (torn,) = plan(name), plan(name, folder="b")
    expected = run(whole, silent)
    step = random.randrange(1, 10)
    kill_after(torn, step)
    told: list[Event] = []
    record = run(torn, told.append)
    steps = [message.step for message in told if isinstance(message, Advanced)]
    assert steps == list(range(step + 1, 11)), "only the steps not yet played are played"
    assert record.scores == expected.scores
    assert record.training == expected.training
    for file in ("samples.npz", "samples.png", "reconstructions.png", "evolution.png"):
        assert (torn.folder / file).read_bytes() == (whole.folder / file).read_bytes(), file
    for file in ("model", "best", "unaveraged"):
        path = Path("checkpoint", f"{file}.safetensors")
        assert (torn.folder / path).read_bytes() == (whole.folder / path).read_bytes(), file
    histories = [read_history(job.folder).drop(columns="seconds") for job in (whole, torn)]
    assert histories[0].equals(histories[1])
    assert not (torn.checkpoint / "state.safetensors").exists()


@pytest.mark.parametrize("how", ["cut short", "altered"])
def test_a_damaged_checkpoint_is_quarantined_and_training_begins_anew(plan: Plan, how: str) -> None:
    (job,) = plan("Average")
    kill_after(job, 4)
    damage(job.checkpoint / "state.safetensors", how)
    told: list[Event] = []
    assert run(job, told.append).status == "ok"
    assert len([m for m in told if isinstance(m, Noticed)]) == 1
    assert [m.step for m in told if isinstance(m, Advanced)] == list(range(1, 11))
    assert (job.checkpoint / "state.safetensors.damaged").exists()


def test_a_checkpoint_of_another_training_is_no_beginning(plan: Plan) -> None:
    (job,), (other,) = plan("Average"), plan("Average", seeds=1, batch=16, folder="b")
    kill_after(other, 4)
    other.checkpoint.parent.mkdir(exist_ok=True)
    job.folder.mkdir(parents=True)
    other.checkpoint.rename(job.checkpoint)
    assert not is_begun(job)
    told: list[Event] = []
    run(job, told.append)
    assert next(m.step for m in told if isinstance(m, Advanced)) == 1


def test_a_trained_model_is_scored_by_another_extractor_without_training(plan: Plan) -> None:
    (job,), (other,) = plan("vae"), plan("vae", extractor="pixels", samples=100)
    trained = run(job, silent)
    assert job.spec.training_key == other.spec.training_key
    assert job.folder != other.folder
    assert not is_begun(other)
    assert reuse_training(other, [job.folder])
    told: list[Event] = []
    record = run(other, told.append)
    assert not [m for m in told if isinstance(m, Saved | Drawn)]
    assert record.pictures["evolution"] == trained.pictures["evolution"]
    assert read_picture(other.folder, record.pictures["evolution"]).shape[:2] == (2, 8)
    assert record.costs.train_seconds == trained.costs.train_seconds
    scores = {score.metric: score for score in record.scores}
    assert scores["fid"].extractor.startswith("pixels@")
    assert scores["fid"].n == 100
    assert scores["fid_best"].note == f"the checkpoint was chosen by {job.spec.extractor}"
    assert read_record(job.folder) == trained
    (apart,) = plan("vae", batch=16)
    assert not reuse_training(apart, [job.folder, other.folder])


def test_a_run_is_scored_by_further_extractors_as_if_each_were_its_own(plan: Plan) -> None:
    (job,), (other,) = plan("vae", views=["pixels", "random"]), plan("vae", extractor="pixels")
    assert job.spec.views == ("pixels",)
    assert job.spec.training_key == other.spec.training_key
    first, *rest = [score for score in run(job, silent).scores if score.metric == "fid"]
    assert first.extractor.startswith("random@")
    assert rest == [score for score in run(other, silent).scores if score.metric == "fid"]
    assert not is_done(other, job.folder)
    assert is_done(job, job.folder)


def test_the_film_of_a_training_has_a_row_for_every_validation(plan: Plan) -> None:
    (job,) = plan("vae", evaluations=4)
    record = run(job, silent)
    film = record.pictures["evolution"]
    assert film.seen == [64, 160, 256, 320]  # after 2, 5, 8 and 10 steps of 32 images
    tiles = read_picture(job.folder, film)
    assert tiles.shape[:2] == (4, 8)
    assert len({row.tobytes() for row in tiles}) == 4


def test_the_film_outlives_a_kill_after_the_last_step(plan: Plan) -> None:
    (job,), (whole,) = plan("vae", evaluations=4), plan("vae", evaluations=4, folder="b")
    kill_after(job, 10)
    assert run(job, silent).pictures == run(whole, silent).pictures
    film = "evolution.png"
    assert (job.folder / film).read_bytes() == (whole.folder / film).read_bytes()


def test_a_film_that_is_lost_begins_anew(plan: Plan) -> None:
    (job,) = plan("vae", evaluations=4)
    kill_after(job, 6)
    (job.folder / "evolution.png").unlink()
    film = run(job, silent).pictures["evolution"]
    assert (film.rows, film.seen) == (2, [256, 320])


def test_a_training_in_progress_is_taken_over_too(plan: Plan) -> None:
    (job,), (other,) = plan("vae"), plan("vae", samples=100)
    kill_after(job, 4)
    assert reuse_training(other, [job.folder])
    told: list[Event] = []
    run(other, told.append)
    assert next(m.step for m in told if isinstance(m, Advanced)) == 5


def test_a_run_afresh_does_not_go_on(plan: Plan) -> None:
    (job,) = plan("Average")
    kill_after(job, 4)
    told: list[Event] = []
    run(replace(job, afresh=True), told.append)
    assert next(m.step for m in told if isinstance(m, Advanced)) == 1


def test_samples_that_are_all_alike_are_a_collapse_with_its_scores(plan: Plan) -> None:
    (job,) = plan("Average", contenders={"average": {"model": f"{OWN}:Average", "noise": 0.0}})
    record = run(job, silent)
    assert record.status == "collapsed"
    assert "all alike: they vary by 0.0 %" in (record.reason or "")
    assert {"fid", "reconstruction_mse"} <= {score.metric for score in record.scores}
    assert "samples" in record.pictures
    assert find_finished(job) == record


@pytest.mark.parametrize("name", ["Untidy", "vae"])
def test_a_run_is_the_same_bytes_with_and_without_a_smoke_step(
    plan: Plan, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    def outcome(folder: str) -> list[bytes]:
        random.seed(0)
        np.random.seed(0)  # noqa: NPY002
        (job,) = plan(name, folder=folder)
        assert run(job, silent).status == "ok"
        files = ("samples.npz", "checkpoint/model.safetensors", "checkpoint/best.safetensors")
        return [(job.folder / file).read_bytes() for file in files]

    monkeypatch.setattr(train_one, "_tried", {})
    with_it = outcome("a")
    assert train_one._tried
    monkeypatch.setattr(train_one, "measure_costs", lambda *_: Costs())
    assert outcome("b") == with_it


def test_a_contender_is_tried_out_once_for_all_its_seeds(
    plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = []

    def note(model: GenerativeModel, *arguments: Any) -> Costs:
        tried.append(type(model).__name__)
        return run_smoke_step(model, *arguments)

    monkeypatch.setattr(train_one, "_tried", {})
    monkeypatch.setattr(train_one, "run_smoke_step", note)
    records = [run(job, silent) for job in plan("vae", "Average", seeds=2)]
    assert tried == ["VAE", "Average"]
    assert [r.costs.parameters for r in records[:2]] == [r.costs.parameters for r in records[2:]]
    seconds = {record.costs.train_seconds for record in records}
    assert len(seconds) == 4, "what else is measured is each run's own"


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("Doubtful", r"Doubtful\.sample returned values from -\S+ to \S+; it must return images"),
        ("Forgetful", r"Forgetful\.reconstruct returned values that are not finite; it must"),
        ("Exiting", "SystemExit: no licence"),
        ("Leaving", "SystemExit: no licence"),
        ("Broken", "AttributeError: .*missing"),
    ],
)
def test_what_goes_wrong_after_planning_costs_its_run(plan: Plan, name: str, reason: str) -> None:
    (job,) = plan(name)
    record = run(job, silent)
    assert record.status == "failed"
    assert re.match(reason, record.reason or "")
    assert record == read_record(job.folder)


def test_samples_that_repeat_two_images_are_a_collapse(plan: Plan) -> None:
    (job,) = plan("TwoImages")
    record = run(job, silent)
    assert record.status == "collapsed"
    assert "2 of 64 are distinct, and one of them makes 50 %" in (record.reason or "")


@pytest.mark.parametrize("name", ["NoCopy", "Flow"])
def test_a_model_that_does_not_reconstruct_has_all_other_scores(plan: Plan, name: str) -> None:
    (job,), (other,) = plan(name), plan("Average")
    record = run(job, silent)
    assert record.status == "ok"
    names = {score.metric for score in run(other, silent).scores}
    pairs = {name for name, metric in METRICS.items() if metric.metadata.inputs == "pairs"}
    assert {score.metric for score in record.scores} == names - pairs
    assert not find_missing(record)
    assert "reconstructions" not in record.pictures


@pytest.fixture
def raising(monkeypatch: pytest.MonkeyPatch) -> None:
    """A metric of features and one of pairs that fail, the second by ending the program."""

    def dark(*_: object) -> None:
        raise ValueError("too dark; to tell")

    def leave(*_: object) -> None:
        raise SystemExit("no licence")

    about = {"symbol": "x", "direction": "lower", "low": None, "high": None, "source": ""}
    for name, inputs, function in (("brightness", "features", dark), ("likeness", "pairs", leave)):
        metadata = Metadata(name=name, inputs=inputs, summary="", **about)  # type: ignore[arg-type]
        monkeypatch.setitem(METRICS, name, Metric(metadata, function))


@pytest.mark.usefixtures("raising")
def test_a_metric_that_fails_is_a_missing_score_with_its_reason(plan: Plan) -> None:
    (job,) = plan("Average")
    evaluator = load_evaluator(
        *(job.spec.data, job.spec.extractor, 64, 10, job.place, job.spec.device), job.spec.views
    )
    for record in (run(job, silent), *calibrate(job, evaluator)):
        assert record.status == "ok"
        scores = {score.metric: score for score in record.scores}
        assert {name for name, score in scores.items() if score.failed} == {
            *("brightness", "likeness")
        }
        assert scores["fid"].value is not None
        assert scores["reconstruction_mse"].value is not None
        assert scores["brightness"].note == "failed: ValueError: too dark; to tell"
        assert scores["likeness"].note == "failed: SystemExit: no licence"
        assert find_missing(record) == ["brightness", "likeness"], "to be asked again"
    assert score_notes([record])[-2:] == [
        "brightness of noise: failed: ValueError: too dark; to tell",
        "likeness of noise: failed: SystemExit: no licence",
    ]


def test_a_further_extractor_that_fails_costs_its_scores(
    plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    (job,) = plan("Average", views=["pixels"])
    expected = [s for s in run(job, silent).scores if s.extractor != str(job.spec.views[0])]

    def fail(extractor: Extractor, images: Tensor, batch: int | None = None) -> Features:
        if extractor.name == "pixels" and len(images) == 64:
            raise SystemExit("no licence")
        return see(extractor, images, batch)

    see = Extractor.__call__
    monkeypatch.setattr(Extractor, "__call__", fail)
    (again,) = plan("Average", views=["pixels"], folder="b")
    record = run(again, silent)
    assert record.status == "ok"
    (lost,) = [score for score in record.scores if score.failed]
    assert (lost.metric, lost.note) == ("fid", "failed: SystemExit: no licence")
    assert (lost.extractor or "").startswith("pixels@")
    own = [score for score in record.scores if "pixels" not in (score.extractor or "")]
    assert own == [score for score in expected if "pixels" not in (score.extractor or "")]
    assert score_notes([record])[-1] == (
        f"fid by {lost.extractor} of average: failed: SystemExit: no licence"
    )


def test_a_run_that_diverges_keeps_its_picture_so_far(plan: Plan) -> None:
    (job,) = plan("Late")
    record = run(job, silent)
    assert record.status == "diverged"
    picture = record.pictures["samples"]
    assert read_picture(job.folder, picture).shape == (8, 8, 8, 8, 3)
    assert not job.checkpoint.exists() or not list(job.checkpoint.iterdir())


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (MemoryError("4 GiB"), "out of memory: 4 GiB"),
        (torch.cuda.OutOfMemoryError("CUDA out of memory"), "out of memory: CUDA"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), "out of memory: Default"),
        (RuntimeError("MPS backend out of memory"), "out of memory: MPS"),
        (RuntimeError("CUBLAS_STATUS_ALLOC_FAILED when calling"), "out of memory: CUBLAS"),
        (OSError(errno.ENOSPC, "No space left on device", "x"), "no space left on the disk of x"),
        (OSError(errno.EROFS, "Read-only file system", "x"), "OSError: [Errno 30] Read-only"),
    ],
)
def test_what_fails_a_run_is_told_in_one_line(
    plan: Plan, monkeypatch: pytest.MonkeyPatch, error: Exception, reason: str
) -> None:
    def fail(*_: object) -> None:
        raise error

    (job,) = plan("Average")
    monkeypatch.setattr(Evaluator, "generate", fail)
    record = run(job, silent)
    assert record.status == "failed"
    assert (record.reason or "").startswith(reason)
    assert record == read_record(job.folder)
    assert has_weights(job), "what was trained is not lost"


def test_a_record_that_cannot_be_written_is_a_failure_too(
    plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system", "record.json")

    (job,) = plan("Average")
    monkeypatch.setattr("benchmarks.execution.run_one.write_record", refuse)
    record = run(job, silent)
    assert record.status == "failed"
    assert "Read-only file system" in (record.reason or "")


def test_likelihoods_are_estimated_where_the_suite_asks_for_them(plan: Plan) -> None:
    wanted = {"images": 4, "importance": 20, "chains": 2, "distributions": 5, "simulated": 3}
    vae, cyclegan = plan("vae", "cyclegan", likelihood=wanted)
    scores = {score.metric: score for score in run(vae, silent).scores}
    assert {"elbo", "iwae", "ais", "bits_per_dimension", "bdmc_gap"} <= set(scores)
    assert scores["elbo"].value < scores["iwae"].value
    assert (scores["ais"].n, scores["bdmc_gap"].n) == (4, 3)
    assert "chosen on validation images" in str(scores["ais"].protocol)
    assert "ais" not in {score.metric for score in run(cyclegan, silent).scores}
    assert vae.spec.hash != plan("vae")[0].spec.hash


def test_a_run_that_diverges_says_where(plan: Plan) -> None:
    (job,) = plan("Diverging")
    record = run(job, silent)
    assert record == read_record(job.folder)
    assert record.status == "diverged"
    assert record.reason == "loss_mean is inf at step 4"
    assert not record.scores
    assert read_history(job.folder)["step"].iloc[-1] == 4


def test_a_run_that_fails_leaves_its_traceback_until_it_goes_well(plan: Plan) -> None:
    (job,) = plan("Raising")
    record = run(job, silent)
    assert record.status == "failed"
    assert record.reason == "RuntimeError: a bug in this model [/with] brackets"
    mishap = job.folder / "traceback.txt"
    assert "own_models.py" in mishap.read_text()
    (good,) = plan("Average")
    good.folder.mkdir(parents=True)
    mishap.rename(good.folder / "traceback.txt")
    assert run(good, silent).status == "ok"
    assert not (good.folder / "traceback.txt").exists()


def test_a_changed_data_set_fails_the_run(plan: Plan) -> None:
    (job,) = plan("Average")
    data = job.spec.data.model_copy(update={"fingerprint": "0" * 64})
    record = run(Job(job.spec.model_copy(update={"data": data}), "test", job.place), silent)
    assert record.status == "failed"
    assert record.reason == "BadInput: the images of digits have changed since the run was planned"


def test_changed_code_fails_the_run(plan: Plan) -> None:
    (job,) = plan("Average")
    spec = job.spec.model_copy(update={"model_version": "1@00000000"})
    record = run(replace(job, spec=spec), silent)
    assert record.status == "failed"
    assert record.reason == (
        f"BadInput: the code of {OWN}:Average has changed since the run was planned"
    )


def test_a_record_keeps_the_code_that_its_training_began_with(
    plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    (job,), (other,), (new, own) = plan("vae"), plan("vae", samples=100), plan("gan", "Diverging")
    monkeypatch.setattr(registry, "hash_program", lambda module: f"{module} then")
    kill_after(job, 4)
    monkeypatch.setattr(registry, "hash_program", lambda module: f"{module} now")
    assert run(job, silent).code == "models.vae then"
    assert reuse_training(other, [job.folder])
    assert run(other, silent).code == read_record(other.folder).code == "models.vae then"
    assert run(replace(job, afresh=True), silent).code == "models.vae now"
    assert run(new, silent).code == "models.gan now"
    assert run(own, silent).code is None


def test_threads_are_set_for_the_run_and_given_back(plan: Plan) -> None:
    before, during = torch.get_num_threads(), []
    (job,) = plan("Average", threads=before + 1, images=64)
    run(job, lambda *_: during.append(torch.get_num_threads()))
    assert set(during) == {before + 1}
    assert torch.get_num_threads() == before


def test_a_model_that_does_not_reconstruct_has_no_code_size() -> None:
    class Decoder(GenerativeModel):
        class Config(ModelConfig):
            latent: int = 4

    class Autoencoder(Decoder):
        def reconstruct(self, images: Tensor, rng: torch.Generator) -> Tensor:
            return images

    models = (kind(kind.Config(), (1, 8, 8)) for kind in (Decoder, Autoencoder))
    assert [describe_model(model).code_size for model in models] == [None, 4]


def test_a_record_that_finds_no_room_tells_of_the_full_disk(
    plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "record.json")

    (job,) = plan("vae")
    monkeypatch.setattr(run_one, "write_outcome", refuse)
    record = run(job, silent)
    assert record.reason == "its record cannot be written: no space left on the disk of record.json"
    assert is_disk_full(record)
