"""Runs and engines: what they leave, what they take up again, what they survive."""

import io
import multiprocessing
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from rich.console import Console

from benchmarks.checkpoint import load_tensors
from benchmarks.data import Dataset, load_dataset
from benchmarks.display import Bars, Lines
from benchmarks.engines import choose_jobs, run_all, run_local
from benchmarks.records import Record, read_history, read_record, write_record
from benchmarks.runner import (
    Job,
    Place,
    build_model,
    find_finished,
    find_missing,
    is_kept,
    run,
)
from benchmarks.suite import build_suite, plan_runs
from benchmarks.tables import scores_frame, write_csv

OWN = Path(__file__).with_name("own_models.py")
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
        place = Place(tmp_path / folder, tmp_path / "data", tmp_path / "cache")
        return [Job(s, "test", place) for s in plan_runs(suite, data, "test", device="cpu")]

    return make


def silent(*_: object) -> None:
    """Tell nobody."""


class Heard:
    """A display that remembers."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, str, int]] = []

    def start(self, run: str, steps: int) -> None:
        self.lines.append(("start", run, steps))

    def advance(self, run: str, step: int, images: int, losses: dict[str, float]) -> None:
        assert losses
        self.lines.append(("advance", run, step))

    def finish(self, run: str, record: Record) -> None:
        self.lines.append(("finish", run, 0))


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
    model.load_state_dict(load_tensors(job.folder / "checkpoint" / "model.safetensors"))
    samples = torch.from_numpy(np.load(job.folder / "samples.npz")["images"])
    from benchmarks.images import quantise
    from benchmarks.seeds import derive_seed

    rng = torch.Generator().manual_seed(derive_seed(derive_seed(job.seed, "evaluation"), "sample"))
    with torch.no_grad():
        assert torch.equal(quantise(model.sample(64, rng)), samples)


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
    assert is_kept(job)
    earlier = trained.model_copy(update={"scores": trained.scores[:1], "metrics": ["fid"]})
    write_record(job.folder, earlier)
    assert "ssim" in find_missing(read_record(job.folder))
    scored = run(replace(job, trained=True), silent)
    assert scored == read_record(job.folder)
    assert scored.scores == trained.scores
    assert scored.training == trained.training
    assert scored.costs.train_seconds == trained.costs.train_seconds
    assert scored.scored is not None
    assert not find_missing(scored)


def test_a_record_outlives_scoring_that_fails(plan: Plan) -> None:
    (job,) = plan("vae")
    trained = run(job, silent)
    (job.folder / "checkpoint" / "best.safetensors").write_bytes(b"torn")
    assert run(replace(job, trained=True), silent).status == "failed"
    assert read_record(job.folder) == trained
    (job.folder / "checkpoint" / "best.safetensors").unlink()
    assert not is_kept(job)


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


def test_threads_are_set_for_the_run_and_given_back(plan: Plan) -> None:
    before, during = torch.get_num_threads(), []
    (job,) = plan("Average", threads=before + 1, images=64)
    run(job, lambda *_: during.append(torch.get_num_threads()))
    assert set(during) == {before + 1}
    assert torch.get_num_threads() == before


def test_one_process_or_several_give_the_same_scores_whatever_happens_to_the_others(
    plan: Plan,
) -> None:
    names = ["gan", "Raising", "Average", "Diverging"]
    inline, local = Heard(), Heard()
    alone = run_all(plan(*names, folder="one"), 1, inline)
    assert [r.status for r in alone] == ["ok", "failed", "ok", "diverged"]
    jobs = plan("Dying", *names, folder="two")
    dead, *together = run_all(jobs, 2, local)
    assert [r.run for r in together] == [job.spec.name for job in jobs[1:]]
    assert write_csv(scores_frame(together)) == write_csv(scores_frame(alone))
    assert sorted(inline.lines) == sorted(line for line in local.lines if line[1] != dead.run)
    assert dead == read_record(jobs[0].folder)
    assert dead.status == "failed"
    assert f"signal {signal.SIGKILL.value}" in (dead.reason or "")


def test_workers_end_with_what_started_them(plan: Plan) -> None:
    class Impatient(Heard):
        def start(self, run: str, steps: int) -> None:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_local(plan("Average"), 1, Impatient())
    assert not multiprocessing.active_children()


def test_no_jobs_need_no_workers() -> None:
    assert run_all([], 4, Heard()) == []


def test_runs_share_the_cores_and_take_turns_on_a_gpu() -> None:
    assert choose_jobs(3, 1000, "cpu") == 1
    assert choose_jobs(1, 1, "cpu") == 1
    assert choose_jobs(8, 1, "cuda") == 1


@pytest.mark.parametrize("kind", [Bars, Lines])
def test_what_is_shown_fits_a_narrow_terminal(kind: type[Bars] | type[Lines], plan: Plan) -> None:
    console = Console(file=io.StringIO(), width=80, record=True, force_terminal=kind is Bars)
    (good,), (bad,) = plan("Average"), plan("Raising")
    records = [run(job, silent) for job in (good, bad)]
    display = kind(console, 2)
    losses = {"loss_generators": 1234.5678, "loss_discriminators": 0.00012345}
    for record in records:
        display.start(record.run, 10_000)
        display.advance(record.run, 4_321, 276_544, losses)
    if isinstance(display, Bars):
        console.print(display.progress)
    for record in records:
        display.finish(record.run, record)
    text = console.export_text()
    assert "[/with] brackets" in text
    assert "average-s0" in text
    if kind is Bars:
        lines = text.splitlines()
        assert len([line for line in lines if "4,321" in line]) == 2
        assert all("images" not in line or len(line) <= 80 for line in lines)
        assert [line.split()[0] for line in lines[:3]] == ["all", "average-s0", "raising-s0"]
