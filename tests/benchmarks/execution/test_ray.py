"""The Ray engine, on a real cluster whose machines come and go, all of them on this one."""

import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from listeners import Heard

from benchmarks.analysis.export import write_csv
from benchmarks.analysis.frames import scores_frame
from benchmarks.core.errors import BadInput
from benchmarks.core.tensors import as_tensor
from benchmarks.data import Dataset
from benchmarks.evaluation.feature_cache import build_cached, save_classifier
from benchmarks.execution import ray as cluster
from benchmarks.execution.job import Footprint, Job
from benchmarks.execution.local import run_all
from benchmarks.execution.ray import Scheduler, run_cluster
from benchmarks.execution.ray_worker import pack_folder, write_folder
from benchmarks.execution.run_one import run, unfinished
from benchmarks.records.store import read_record
from benchmarks.training.checkpoint import load_checkpoint
from metrics import ClassifierExtractor, Material

ray = pytest.importorskip("ray")

STORE = 100 * 2**20
LONG = 800
Plan = Callable[..., list[Job]]


@pytest.fixture(scope="module")
def machines() -> Iterator[Any]:
    """A cluster: a head that carries out nothing, and two machines of a core each."""
    from ray.cluster_utils import Cluster

    folder = tempfile.mkdtemp(prefix="r")  # sockets in pytest's own would have too long a name
    head = {"num_cpus": 0, "object_store_memory": STORE, "include_dashboard": False}
    with pytest.MonkeyPatch.context() as patch:
        # A machine finds the cluster by a file that Ray's own folder need not have had before.
        patch.setenv("RAY_TMPDIR", folder)
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        running = Cluster(initialize_head=True, head_node_args=head)
        for _ in range(2):
            add_machine(running)
        yield running
        running.shutdown()
    shutil.rmtree(folder, ignore_errors=True)


def add_machine(machines: Any) -> Any:
    return machines.add_node(num_cpus=1, object_store_memory=STORE)


def silent(_: object) -> None:
    """Ignore an event."""


def train_extractor(data: Dataset, cache: Path) -> str:
    """Leave a classifier in the cache that no machine would come to by itself, and name it."""
    images, labels = as_tensor(data.train.images), as_tensor(data.train.labels)
    usual = build_cached("classifier", Material(images, labels, 10, data.fingerprint, cache))
    assert isinstance(usual, ClassifierExtractor)
    usual.network.head.weight.data.mul_(0.5)
    other = ClassifierExtractor(usual.network, usual.shape, "cpu")
    (file,) = cache.glob("classifier-*")
    save_classifier(file, other)
    assert str(other) != str(usual)
    return str(other)


def files(job: Job) -> set[str]:
    return {p.relative_to(job.folder).as_posix() for p in job.folder.rglob("*") if p.is_file()}


def weights(job: Job) -> bytes:
    return (job.checkpoint / "model.safetensors").read_bytes()


@pytest.mark.slow
def test_a_cluster_gives_the_same_scores_and_files_whatever_happens_to_some_runs(
    plan: Plan, data: Dataset, machines: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster, "CRASHES", 2)
    extractor = train_extractor(data, tmp_path / "cache")
    weights = tmp_path / "weights"
    weights.write_bytes(b"sent along, though this extractor does not read them")

    def scored(*names: str, folder: str) -> list[Job]:
        return [
            replace(
                job,
                spec=job.spec.model_copy(update={"extractor": extractor}),
                place=replace(job.place, weights=weights),
            )
            for job in plan(*names, folder=folder, every=0.1)
        ]

    names = ["gan", "Raising", "Average", "Diverging"]
    inline, remote = Heard(), Heard()
    here = scored(*names, folder="one")
    alone = run_all(here, 1, inline)
    jobs = scored("Dying", *names, folder="two")
    dead, *together = run_cluster(jobs, remote, machines.address)
    assert [r.status for r in together] == ["ok", "failed", "ok", "diverged"]
    assert {s.extractor for s in together[0].scores if s.metric == "fid"} == {extractor}
    assert write_csv(scores_frame(together)) == write_csv(scores_frame(alone))
    assert sorted(inline.lines) == sorted(line for line in remote.lines if line[1] != dead.run)
    for job, there, record in zip(here, jobs[1:], together, strict=True):
        # Whether a state was due before a run failed is a matter of time.
        due = {"checkpoint/state.safetensors"} if record.status == "failed" else set()
        assert files(there) - due == files(job) - due
        assert read_record(there.folder) == record
    assert dead == read_record(jobs[0].folder)
    assert dead.status == "failed"
    assert "died 2 times" in (dead.reason or "")
    assert "its worker process died; it resumes from step 0" in remote.notices


@pytest.mark.slow
def test_a_run_resumes_from_what_has_reached_this_machine(plan: Plan, machines: Any) -> None:
    (undisturbed,) = plan("gan", images=32 * LONG, every=0.1, folder="one")
    (job,) = plan("gan", images=32 * LONG, every=0.1, folder="two")
    reached: list[int] = []

    def take_down_step() -> None:
        reached.append(load_checkpoint(job.checkpoint / "state.safetensors")[1]["step"])

    def interrupt() -> None:
        take_down_step()
        raise KeyboardInterrupt

    def lose_all_machines() -> None:
        take_down_step()
        for machine in list(machines.worker_nodes):
            machines.remove_node(machine, allow_graceful=False)
        add_machine(machines)

    with pytest.raises(KeyboardInterrupt):
        run_cluster([job], Heard(interrupt, LONG // 4), machines.address)
    assert not ray.is_initialized()
    again = Heard(lose_all_machines, LONG // 2)
    (record,) = run_cluster([job], again, machines.address)
    assert record.reason is None
    assert 0 < reached[0] < reached[1]
    assert [done for kind, _, done in again.lines if kind == "start"] == reached
    assert f"its machine was lost; it resumes from step {reached[1]:,}" in again.notices
    alone = run(undisturbed, silent)
    assert write_csv(scores_frame([record])) == write_csv(scores_frame([alone]))
    assert weights(job) == weights(undisturbed)
    assert files(job) == files(undisturbed)


def test_a_ray_of_this_machine_alone_starts_and_leaves_the_terminal_to_the_display(
    tmp_path: Path,
) -> None:
    code = """
from benchmarks.execution.ray import joined
with joined(None) as ray:
    print(ray.get(ray.remote(lambda: 6 * 7).remote()))
"""
    # Ray leaves a token in the user's own folder.
    environment = os.environ | {"HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", code], check=False, capture_output=True, env=environment
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, b"42\n", b"")


def test_runs_that_no_machine_has_room_for_are_named(plan: Plan) -> None:
    heard = Heard()
    scheduler = Scheduler(FakeRay(), plan("Average", threads=3), heard, 1.0)
    text = "3 CPUs, 0 GPUs and 1.25 GiB of memory for a run"
    with pytest.raises(BadInput, match=f"this machine does not have {text}"):
        scheduler.check_room(alone=True)
    scheduler.check_room(alone=False)
    assert heard.notices == [f"no machine of the cluster has {text}: it waits for one"]
    Scheduler(FakeRay(), plan("Average", threads=2), heard, 1.0).check_room(alone=True)


def test_an_earlier_training_counts_unless_it_is_to_be_done_afresh(plan: Plan) -> None:
    (job,) = plan("Average")
    run(job, silent)
    sent: list[tuple[Job, set[str]]] = []
    for each in (job, replace(job, afresh=True)):
        scheduler = Scheduler(FakeRay(), [each], Heard(), 1.0)
        scheduler.task = SimpleNamespace(
            options=lambda **_: SimpleNamespace(
                remote=lambda job, files, shared: sent.append((job, set(files)))
            )
        )
        scheduler.submit_waiting()
    (_, first), (again, second) = sent
    assert {"record.json", "checkpoint/training.json", "checkpoint/model.safetensors"} <= first
    assert "record.json" in second
    assert not any(name.startswith("checkpoint") for name in second)
    assert not again.afresh


class FakeRay:
    """A Ray whose tasks end in an error."""

    exceptions = ray.exceptions

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error
        self.cancelled: list[Any] = []

    def remote(self, **_: Any) -> Any:
        return lambda task: task

    def nodes(self) -> list[dict[str, Any]]:
        """Give a machine that will do for two threads, and larger ones that will not."""
        return [
            {"Alive": True, "Resources": {"CPU": 2.0, "memory": 2.0**31}},
            {"Alive": False, "Resources": {"CPU": 8.0, "memory": 2.0**31}},
            {"Alive": True, "Resources": {"CPU": 8.0, "memory": 2.0**20}},
        ]

    def cluster_resources(self) -> dict[str, float]:
        return {"CPU": 1}

    def get(self, answer: Any) -> Any:
        if self.error:
            raise self.error
        return answer

    def cancel(self, stream: Any, force: bool) -> None:
        self.cancelled.append(stream)


def receive(job: Job, fake: FakeRay, *answers: Any) -> Scheduler:
    """Let a scheduler hear what the one stream of a job has to say."""
    scheduler, stream = Scheduler(fake, [job], Heard(), 1.0), iter(answers)
    scheduler.running[stream] = scheduler.waiting.popleft()
    for _ in answers:
        scheduler.receive(stream)
    return scheduler


def test_a_run_that_takes_too_much_memory_fails_and_says_so(plan: Plan) -> None:
    (job,) = plan("Average")
    error = ray.exceptions.OutOfMemoryError("the node was\nrunning low on memory")
    scheduler = receive(job, FakeRay(error), None)
    assert scheduler.records[job.spec.name] == read_record(job.folder)
    assert (read_record(job.folder).reason or "").startswith("out of memory: ")
    assert "running low on memory" in (job.folder / "traceback.txt").read_text()


def test_what_once_went_well_stays_on_record_though_its_machine_fails(plan: Plan) -> None:
    (job,) = plan("Average")
    record = run(job, silent)
    scheduler = receive(job, FakeRay(ray.exceptions.RaySystemError("no")), None)
    assert scheduler.records[job.spec.name].status == "failed"
    assert read_record(job.folder) == record


def test_a_machine_whose_disk_is_full_stops_everything(plan: Plan) -> None:
    (job,) = plan("Average")
    record = unfinished(job, "failed", "no space left on the disk of there")
    with pytest.raises(OSError, match="a machine of the cluster has no space left"):
        receive(job, FakeRay(), (record, {}))


@pytest.mark.parametrize("name", ["../x", "/tmp/x", "a/../../x", "link/x", "C:\\x", "..", ""])
def test_a_node_writes_nothing_outside_the_folder_of_its_run(name: str, plan: Plan) -> None:
    (job,) = plan("Average")
    outside = job.place.folder / "outside"
    outside.mkdir(parents=True)
    job.folder.mkdir(parents=True)
    (job.folder / "link").symlink_to(outside)
    fake = FakeRay()
    scheduler = receive(job, fake, (None, {"good": b"", name: b"bad"}))
    assert "no path inside" in (scheduler.records[job.spec.name].reason or "")
    assert files(job) == {"record.json", "traceback.txt"}
    assert not list(outside.iterdir())
    assert len(fake.cancelled) == 1
    with pytest.raises(ValueError, match="inside"):
        write_folder({name: b""}, job.folder)


def test_a_copy_follows_a_folder(tmp_path: Path) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    (here / "deep").mkdir(parents=True)
    (here / "deep" / "a").write_bytes(b"1")
    (here / ".hidden").write_bytes(b"")
    write_folder(pack_folder(here), there)
    (here / "b").write_bytes(b"2")
    (here / "deep" / "a").write_bytes(b"33")
    for path, age in (("b", 1), ("deep/a", 2)):
        os.utime(here / path, (age, age))
    files = pack_folder(here)
    assert list(files) == ["b", "deep/a"]  # the oldest first
    write_folder(files, there)
    (here / "b").unlink()
    write_folder(pack_folder(here), there)
    found = {p.relative_to(there).as_posix(): p.read_bytes() for p in there.rglob("?")}
    assert found == {"deep/a": b"33"}


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("ray://127.0.0.1:1", "write HOST:PORT, and start this on a machine of the cluster"),
        ("somewhere", "write HOST:PORT, as `ray start --head` tells it"),
        ("127.0.0.1:1", "nothing answers there"),
    ],
)
def test_a_cluster_that_cannot_be_joined_is_refused(address: str, message: str, plan: Plan) -> None:
    with pytest.raises(BadInput, match=message):
        run_cluster(plan("Average"), Heard(), address)


def test_what_listens_but_is_no_cluster_is_refused_in_good_time(
    plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster, "ANSWER", 2.0)
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        with pytest.raises(BadInput, match="no head of a Ray cluster"):
            run_cluster(plan("Average"), Heard(), address)


def test_without_ray_the_user_is_told_how_to_get_it(
    plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(BadInput, match=r'pip install -e "\.\[cluster\]"'):
        run_cluster(plan("Average"), Heard())


def test_ray_chooses_the_gpu(plan: Plan) -> None:
    (job,) = plan("Average")
    job = replace(job, spec=job.spec.model_copy(update={"device": "cuda:1"}))
    with pytest.raises(BadInput, match="write --device cuda"):
        run_cluster([job], Heard())
    needs = Scheduler(FakeRay(), [], Heard(), 0.25).resources
    assert needs(replace(job, spec=job.spec.model_copy(update={"device": "cuda"})))["GPU"] == 0.25
    spec = job.spec.model_copy(update={"device": "cpu", "threads": 3})
    job = replace(job, spec=spec, footprint=Footprint(memory=5))
    assert needs(job) == {"CPU": 3, "GPU": 0, "memory": 5}


def test_no_jobs_need_no_cluster() -> None:
    assert run_cluster([], Heard()) == []
