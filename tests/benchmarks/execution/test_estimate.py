"""The estimate of `--plan`: what is measured, what is made of it, and that nothing is left."""

import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from benchmarks.cli.dry_run import show_estimate
from benchmarks.config.paths import Paths
from benchmarks.config.suite import build_suite
from benchmarks.data import Dataset
from benchmarks.execution import estimate as estimates
from benchmarks.execution.estimate import Need, estimate_suite
from benchmarks.execution.job import Footprint, Job
from benchmarks.execution.plan import plan_runs
from benchmarks.execution.train_one import build_model

MLP = {"backbone": "mlp", "hidden": [16]}


def plan(data: Dataset, contenders: dict[str, dict[str, Any]], **further: Any) -> list[Job]:
    table = {"images": 6_400, "seeds": 3, "extractor": "random", "contenders": contenders}
    specs = plan_runs(build_suite({**table, **further}, "s.toml"), data, "s.toml", device="cpu")
    return [Job(spec, "s", Paths(Path(), Path(), Path())) for spec in specs]


def show(needs: list[Need], workers: int, folder: Path) -> tuple[int, list[str]]:
    console = Console(width=80, file=io.StringIO())
    code = show_estimate(console, needs, workers, folder)
    return code, console.file.getvalue().splitlines()  # type: ignore[attr-defined]


def test_every_contender_is_measured_and_has_a_row(
    data: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    jobs = plan(data, {"gan": MLP, "vae": MLP})
    needs = estimate_suite([replace(job, footprint=Footprint(memory=7)) for job in jobs], data)
    assert [(need.contender, need.runs, need.steps) for need in needs] == [
        ("gan", 3, 100),
        ("vae", 3, 100),
    ]
    for need in needs:
        assert 0 < need.step_seconds < 10
        assert need.memory == 7
    assert not list(tmp_path.iterdir())
    code, lines = show(needs, 2, tmp_path / "results")
    assert code == 0
    assert sum(line.startswith((" gan  ", " vae  ")) for line in lines) == 2
    assert any(line.startswith("6 runs: ") for line in lines)


def test_disk_is_what_a_run_leaves(data: Dataset) -> None:
    (job,) = plan(data, {"vae": MLP}, seeds=1)
    (need,), spec = estimate_suite([job], data), job.spec
    weights = sum(t.nbytes for t in build_model(spec, data.shape).state_dict().values())
    pixels = spec.samples * 64
    assert 3 * weights + pixels < need.disk < 3 * weights + pixels + 200_000


def test_time_is_cpu_time_by_thread(data: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    (job,) = plan(data, {"vae": MLP}, seeds=1, threads=2)
    ticks = iter((0, 9, 100, 124, 200, 204))  # the first warms up, six steps, and one again
    monkeypatch.setattr(estimates.time, "process_time", lambda: next(ticks))
    monkeypatch.setattr(estimates, "train", lambda *_, **__: None)
    (need,) = estimate_suite([job], data)
    assert need.step_seconds == pytest.approx((24 - 4) / 2 / estimates.STEPS)


def test_totals_are_those_of_all_runs_by_workers(tmp_path: Path) -> None:
    needs = [Need("a", 3, 100, 6.0, 2 * 10**9, 10**6), Need("b", 1, 100, 30.0, 10**9, 10**6)]
    _, lines = show(needs, 2, tmp_path)
    assert "4 runs: 80 min of training, 50 min with 2 side by side; scoring comes on top." in lines
    assert any(
        line.startswith("Memory: 4.0 GB for the largest 2. Disk: 4.0 MB; ") for line in lines
    )


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (
            "def sample(self, n, rng, source=None): raise RuntimeError('a bug\\nin it')",
            "a bug in it",
        ),
        ("def players(self): raise RuntimeError('another bug')", "RuntimeError: another bug"),
        ("def __init__(self, config, shape): raise SystemExit('no licence')", "no licence"),
    ],
)
def test_a_contender_that_fails_is_named_and_the_others_are_estimated(
    data: Dataset, tmp_path: Path, body: str, reason: str
) -> None:
    (tmp_path / "own.py").write_text(
        f"from models.vae import VAE\nclass Failing(VAE):\n    {body}\n", encoding="utf-8"
    )
    bad = {"model": f"{tmp_path}/own.py:Failing", **MLP}
    needs = estimate_suite(plan(data, {"bad": bad, "vae": MLP}), data)
    assert reason in needs[0].error
    assert not needs[1].error
    code, lines = show(needs, 1, tmp_path)
    assert code == 1
    assert f"bad fails its smoke step: {needs[0].error}" in lines
    assert any(line.startswith(" bad ") and "?" in line for line in lines)
