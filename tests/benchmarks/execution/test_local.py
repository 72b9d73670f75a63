"""Runs one after another and side by side: what they share, and what ends them."""

import errno
import multiprocessing
import os
import signal
from collections.abc import Callable

import pytest
from listeners import Heard

from benchmarks.analysis.export import write_csv
from benchmarks.analysis.frames import scores_frame
from benchmarks.execution import local
from benchmarks.execution.events import Event, Started
from benchmarks.execution.job import Job
from benchmarks.execution.local import (
    choose_gpu,
    choose_jobs,
    run_all,
    run_local,
    visible_gpus,
)
from benchmarks.records.store import read_record

Plan = Callable[..., list[Job]]


@pytest.mark.parametrize("workers", [1, 2])
def test_a_full_disk_stops_all_runs(
    plan: Plan, monkeypatch: pytest.MonkeyPatch, workers: int
) -> None:
    jobs = plan("Filling", "Average", "vae")
    with pytest.raises(OSError, match="No space left") as raised:
        run_all(jobs, workers, Heard())
    assert raised.value.errno == errno.ENOSPC
    assert "no space left on the disk" in (read_record(jobs[0].folder).reason or "")
    assert not list(jobs[0].place.folder.rglob("*.tmp"))


@pytest.mark.slow
def test_one_process_or_several_give_the_same_scores_whatever_happens_to_the_others(
    plan: Plan,
) -> None:
    names = ["gan", "Raising", "Average", "Diverging", "Exiting"]
    inline, local = Heard(), Heard()
    alone = run_all(plan(*names, folder="one"), 1, inline)
    assert [r.status for r in alone] == ["ok", "failed", "ok", "diverged", "failed"]
    jobs = plan("Dying", *names, folder="two")
    dead, *together = run_all(jobs, 2, local)
    assert [r.run for r in together] == [job.spec.name for job in jobs[1:]]
    assert write_csv(scores_frame(together)) == write_csv(scores_frame(alone))
    assert sorted(inline.lines) == sorted(line for line in local.lines if line[1] != dead.run)
    assert dead == read_record(jobs[0].folder)
    assert dead.status == "failed"
    assert f"signal {signal.SIGKILL.value}" in (dead.reason or "")


def test_workers_end_with_what_started_them(plan: Plan) -> None:
    def interrupt(event: Event) -> None:
        if isinstance(event, Started):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_local(plan("Average"), 1, interrupt)
    assert not multiprocessing.active_children()


def test_no_jobs_need_no_workers() -> None:
    assert run_all([], 4, Heard()) == []


def test_runs_share_the_cores_and_take_turns_on_a_gpu() -> None:
    assert choose_jobs([1] * 3, 1000, "cpu") == (1, "")
    assert choose_jobs([1], 1, "cpu") == (1, "")
    assert choose_jobs([1] * 8, 1, "cuda") == (1, "")


def test_runs_side_by_side_fit_into_the_memory_that_is_free(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(64), raising=False)
    assert local.available_memory() > 0
    needs = [2**30 * gib for gib in (1, 5, 1, 3)]
    for free, runs in ((10, 4), (9.9, 3), (8, 2), (7.9, 1), (1, 1)):
        monkeypatch.setattr(local, "available_memory", lambda free=free: free * 2**30)
        count, note = choose_jobs(needs, 1, "cpu")
        assert count == runs
        text = f"memory limits the runs side by side to {runs} of 4: {free:.1f} GiB are free, and "
        assert note == ("" if runs == 4 else f"{text}a run takes up to 5.0 GiB")


def test_gpus_are_shared_out_by_the_declared_part(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,5,7")
    many = [2**60] * 100
    assert choose_jobs(many, 1, "cuda") == (3, "")
    assert choose_jobs(many, 1, "cuda", 0.5) == (6, "")
    assert choose_jobs(many, 1, "cuda", 0.4) == (6, "")
    assert choose_jobs(many, 1, "cuda:1", 0.25) == (4, "")
    assert choose_jobs(many[:2], 1, "cuda", 0.1) == (2, "")
    shown = []
    gpus = visible_gpus()
    for number in range(5):
        choose_gpu(gpus, number)
        shown.append(os.environ["CUDA_VISIBLE_DEVICES"])
    assert shown == ["2", "5", "7", "2", "5"]
