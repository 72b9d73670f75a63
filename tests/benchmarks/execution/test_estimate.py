"""The estimate of `--plan`: what is tried, what is made of it, and that nothing is left."""

import io
import math
import time
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from benchmarks.config.spec import RunSpec
from benchmarks.config.suite import build_suite
from benchmarks.core.tensors import as_tensor
from benchmarks.data import Dataset, load_dataset
from benchmarks.execution import estimate as estimates
from benchmarks.execution.estimate import (
    KINDS,
    Estimate,
    Kind,
    Trial,
    choose,
    estimate,
    find_need,
    likeness,
    measure,
    schedule,
    show_bytes,
    show_estimate,
    show_time,
    time_scoring,
)
from benchmarks.execution.plan import plan_runs
from benchmarks.execution.train_one import build_model
from benchmarks.training.flops import count_training_flops
from benchmarks.training.loop import TrainingConfig, TrainingState, train

MLP = {"backbone": "mlp", "hidden": [16]}


@pytest.fixture(autouse=True)
def brief(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(estimates, "SECONDS", 0.1)


@pytest.fixture(scope="module")
def data() -> Dataset:
    return load_dataset("digits", data_root=Path())


def plan(data: Dataset, contenders: dict[str, dict[str, Any]], **further: Any) -> list[RunSpec]:
    table = {"images": 6_400, "seeds": 3, "extractor": "random", "contenders": contenders}
    return plan_runs(build_suite({**table, **further}, "s.toml"), data, "s.toml", device="cpu")


def show(found: Estimate) -> str:
    console = Console(width=80, file=io.StringIO())
    show_estimate(console, found)
    return console.file.getvalue()  # type: ignore[attr-defined, no-any-return]


def test_every_contender_is_tried_and_has_a_row(
    data: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    specs = plan(data, {"gan": MLP, "vae": MLP, "cyclegan": {**MLP, "critic_width": 8}})
    started = time.perf_counter()
    found = estimate(specs, data, 2, tmp_path / "results")
    elapsed = time.perf_counter() - started
    assert [need.contender for need in found.needs] == ["gan", "vae", "cyclegan"]
    assert {(need.runs, need.steps, need.tried) for need in found.needs} == {(3, 100, True)}
    for need in found.needs:
        assert 1e-5 < need.step_seconds < elapsed
        assert need.run_seconds >= need.steps * need.step_seconds
        assert 50 < need.memory_mb < 20_000
    work = found.work_seconds
    assert work / 2 <= found.wall_seconds <= work
    assert found.free is not None
    assert not list(tmp_path.iterdir())
    lines = show(found).splitlines()
    assert max(map(len, lines)) <= 80
    assert sum(line.startswith(("gan  ", "vae  ", "cyclegan  ")) for line in lines) == 3
    assert "9 runs" in show(found)


def test_contenders_that_differ_in_real_numbers_are_of_one_kind(data: Dataset) -> None:
    sweep = {f"vae{i}": {"model": "vae", **MLP, "beta": 0.5 + i} for i in range(20)}
    found = estimate(plan(data, sweep), data, 1)
    assert {need.tried for need in found.needs} == {True}
    assert len({need.run_seconds for need in found.needs}) == 1
    assert "1 of 1 kinds" in found.notes[0]


def test_what_changes_the_work_makes_another_kind(data: Dataset) -> None:
    settings = ({}, {"r1": 0.1}, {"latent": 9}, {"hidden": [8]})
    contenders = {f"gan{i}": {"model": "gan", **MLP, **s} for i, s in enumerate(settings)}
    assert len({likeness(spec) for spec in plan(data, contenders, seeds=2)}) == len(settings)


def test_more_kinds_than_can_be_tried_are_extrapolated(data: Dataset) -> None:
    widths = {
        f"vae{i:02d}": {"model": "vae", "backbone": "mlp", "hidden": [8 * (i + 1)]}
        for i in range(30)
    }
    specs = plan(data, {**widths, "gan": MLP}, seeds=1)
    found = estimate(specs, data, 1)
    tried = [need for need in found.needs if need.tried]
    assert len(tried) == KINDS
    assert {"gan", "vae00", "vae29"} < {need.contender for need in tried}
    assert all(math.isfinite(need.run_seconds) for need in found.needs)
    assert any("~" in note for note in found.notes)
    assert "~" in show(found)
    assert found.needs[28].disk > found.needs[1].disk


def test_operations_grow_with_the_batch_as_they_are_extrapolated(data: Dataset) -> None:
    (spec,) = plan(data, {"gan": {**MLP, "r1": 0.1}}, seeds=1)
    model = build_model(spec, data.shape)
    two, many = (count_training_flops(model, batch) for batch in (2, 64))
    assert many == 32 * two


@pytest.fixture
def failing(tmp_path: Path) -> str:
    """Name a model that learns, but cannot generate."""
    path = tmp_path / "failing.py"
    path.write_text(
        "from models.vae import VAE\n"
        "class Failing(VAE):\n"
        "    def sample(self, n, rng, source=None):\n"
        "        raise RuntimeError('a bug\\nin it')\n"
        "class Broken(VAE):\n"
        "    def players(self):\n"
        "        raise RuntimeError('another bug')\n"
        "class Leaving(VAE):\n"
        "    def __init__(self, config, shape):\n"
        "        raise SystemExit('no licence')\n",
        encoding="utf-8",
    )
    return f"{path}:Failing"


def test_a_contender_that_fails_is_named_and_the_others_are_estimated(
    data: Dataset, failing: str
) -> None:
    specs = plan(data, {"bad": {"model": failing, **MLP}, "vae": MLP})
    found = estimate(specs, data, 2)
    bad, vae = found.needs
    assert math.isnan(bad.run_seconds)
    assert math.isfinite(vae.run_seconds)
    assert "bad failed when it was tried: RuntimeError: a bug in it" in found.notes
    assert math.isfinite(found.wall_seconds)
    assert "?" in show(found)


def test_contenders_that_all_fail_are_all_named(data: Dataset, failing: str) -> None:
    bad = {f"bad{i}": {"model": failing, **MLP, "latent": i + 2} for i in range(KINDS + 2)}
    found = estimate(plan(data, bad, seeds=1), data, 2)
    assert found.wall_seconds == 0
    assert sum("failed when it was tried" in note for note in found.notes) == KINDS


@pytest.mark.parametrize(
    ("name", "reason"),
    [("Broken", "RuntimeError: another bug"), ("Leaving", "SystemExit: no licence")],
)
def test_a_contender_that_cannot_be_measured_is_named_and_the_others_are_estimated(
    data: Dataset, failing: str, name: str, reason: str
) -> None:
    model = failing.replace("Failing", name)
    found = estimate(plan(data, {"bad": {"model": model, **MLP}, "vae": MLP}), data, 1)
    bad, vae = found.needs
    assert math.isnan(bad.run_seconds)
    assert math.isfinite(vae.run_seconds)
    assert f"bad failed when it was tried: {reason}" in found.notes
    alone = estimate(plan(data, {"bad": {"model": model, **MLP}}), data, 1)
    assert alone.wall_seconds == 0


def test_the_longest_runs_come_first_on_the_worker_that_is_free_first() -> None:
    assert schedule([3, 1, 1, 1], 2) == 3
    assert schedule([1, 1, 1], 2) == 2
    assert schedule([3, 4, 3, 5, 3], 2) == 10
    assert schedule([1, 2], 1) == 3


def test_disk_is_what_a_run_leaves(data: Dataset) -> None:
    (spec,) = plan(data, {"vae": MLP}, seeds=1)
    kind = measure(spec, data)
    need = find_need("vae", 1, kind, [Trial(kind, 3, 0.1)], data, 0.0)
    weights = sum(t.nbytes for t in build_model(spec, data.shape).state_dict().values())
    pixels = spec.samples * 64
    assert 3 * weights + pixels < need.disk < 3 * weights + pixels + 200_000


class Scales:
    """Weighs the first state that training keeps."""

    weight = 0

    def due(self) -> bool:
        return not self.weight

    def save(self, state: TrainingState) -> None:
        self.weight = sum(tensor.nbytes for tensor in state.tensors.values())


def test_a_checkpoint_is_as_large_as_training_keeps(data: Dataset) -> None:
    (spec,) = plan(data, {"vae": MLP}, seeds=1)
    kind, scales = measure(spec, data), Scales()
    train(
        build_model(spec, data.shape),
        as_tensor(data.train.images),
        None,
        TrainingConfig(steps=1, batch=8, seed=0, evaluations=1),
        evaluate=lambda _: 0.0,
        report=lambda *_: None,
        checkpointer=scales,
    )
    need = find_need("vae", 1, kind, [Trial(kind, 3, 0.1)], data, 0.0)
    assert need.checkpoint == pytest.approx(scales.weight, rel=0.05)


def test_validation_and_scoring_are_added_up(data: Dataset) -> None:
    (spec,) = plan(data, {"vae": MLP}, seeds=1, samples=80, reconstructions=50, evaluations=4)
    kind = measure(spec, data)
    n = len(data.train)
    acts = {"completion": 1.0, "samples": 10.0, "reconstructions": 100.0}
    alone = time_scoring(spec, Trial(kind, 3, 0.1, acts), data, extract=5.0)
    assert alone == 4 * (n + 64 * 15) + 2 * (n + 80 * 15) + 50 * 100
    late = time_scoring(spec, Trial(kind, 3, 0.1, {"samples": 10.0}), data, extract=0.0)
    assert late == 4 * 64 * 10 + 2 * 80 * 10


def test_of_every_model_the_largest_and_the_smallest_are_chosen() -> None:
    def kind(model: str, flops: float) -> Kind:
        spec = RunSpec.model_construct(model=model)
        return Kind(spec, 1, 1, 1, flops)

    kinds = [kind("a", flops) for flops in range(1, 10)] + [kind("b", 5)]
    chosen = [(k.spec.model, k.flops) for k in choose(kinds)]
    assert len(chosen) == KINDS
    assert {("a", 9), ("a", 1), ("b", 5)} < set(chosen)


def test_amounts_as_people_read_them() -> None:
    times = [show_time(t) for t in (0.5, 12.34, 300, 7_200, 400_000, math.nan)]
    assert times == ["0.500 s", "12.3 s", "5.00 min", "2.00 h", "4.63 days", "?"]
    assert [show_bytes(b) for b in (12_345, 4.56e9, math.nan)] == ["12.3 kB", "4.56 GB", "?"]
