"""Some kills, as `tests/faults/kills.py` deals out a hundred."""

import signal
from pathlib import Path

import pytest
from kills import put_to_the_test

from benchmarks.config.paths import Paths
from benchmarks.config.suite import build_suite
from benchmarks.core.processes import Death
from benchmarks.data import load_dataset
from benchmarks.execution.job import Job
from benchmarks.execution.local import record_death
from benchmarks.execution.plan import plan_runs
from benchmarks.execution.run_one import run
from benchmarks.records.store import read_record

TABLE = {"images": 320, "batch": 32, "seeds": 1, "samples": 64, "extractor": "random"}


@pytest.mark.slow
def test_a_suite_survives_a_dozen_kills(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    options = ["smoke", "--models", "autoencoder,vae", "--seeds", "1", "--steps", "500"]
    options += ["--jobs", "2", "--extractor", "random", "--samples", "64"]
    summary = put_to_the_test(tmp_path, options, kills=12, every=0.2, drivers=0.2)
    with capsys.disabled():
        print(f"\n{summary}")


def test_a_worker_killed_after_its_last_write_takes_no_record_away(tmp_path: Path) -> None:
    data = load_dataset("digits", data_root=tmp_path)
    suite = build_suite(TABLE | {"contenders": {"vae": {}}}, "test")
    place = Paths(tmp_path / "results", tmp_path / "data", tmp_path / "cache")
    (spec,) = plan_runs(suite, data, "test", device="cpu")
    job = Job(spec, "test", place)
    record = run(job, lambda message: None)
    assert record.status == "ok"
    death = Death(-signal.SIGKILL)
    heard = record_death(job, death, None)
    assert heard.reason == "its worker process was ended by signal 9, perhaps for want of memory"
    assert read_record(job.folder) == record
