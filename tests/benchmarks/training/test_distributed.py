"""Trainings by the processes that torchrun starts: each computes its part of every batch."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from benchmarks import run
from benchmarks.cli.options import make_run_parser
from benchmarks.config.spec import RunSpec
from benchmarks.config.suite import build_suite
from benchmarks.core.errors import BadInput
from benchmarks.records.schema import Record
from benchmarks.records.store import read_record
from benchmarks.training.checkpoint import load_checkpoint, read_metadata
from benchmarks.training.distributed import ALONE, World

SUITE = """
dataset = "digits"
images = 640
batch = 16
seeds = 1
samples = 64
reconstructions = 10
evaluations = 2
extractor = "random"

[contenders.gan]
backbone = "conv"
width = 8
inversion_steps = 5

[contenders.vae]

[contenders.cyclegan]
width = 8
critic_width = 8
"""

MODELS = """
from torch import nn

from models.base import Adam, GenerativeModel, Player, map_batches
from models.vae import VAE


class Exact(GenerativeModel):
    def __init__(self, config, shape):
        super().__init__(config, shape)
        self.net = nn.Sequential(nn.Flatten(), nn.Linear(64, 64), nn.Unflatten(1, shape))

    def players(self):
        return [Player("exact", list(self.parameters()), self.error, Adam(0.01))]

    def error(self, play):
        return (self.net(play.images) - play.images).square().mean()

    def sample(self, n, rng, source=None):
        return self.net(torch.rand(n, *self.shape, generator=rng)).sigmoid()


class Failing(VAE):
    def negative_elbo(self, play):
        if play.step == 2:
            raise KeyError("a bug")
        return super().negative_elbo(play)


class Exploding(VAE):
    def negative_elbo(self, play):
        return super().negative_elbo(play) * 1e30


class Elsewhere(VAE):
    def __init__(self, config, shape):
        super().__init__(config, shape)
        if os.environ.get("RANK") == "1":
            raise KeyError("not there")
"""

TORCHRUN = ("torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m")


@pytest.mark.parametrize(("batch", "size"), [(12, 3), (64, 4), (6, 2), (5, 1)])
def test_ranks_have_all_rows_of_a_batch_in_order(batch: int, size: int) -> None:
    rows = [range(batch)[World(rank, size).rows(batch)] for rank in range(size)]
    assert [row for part in rows for row in part] == list(range(batch))
    assert len({len(part) for part in rows}) == 1


def test_every_rank_has_seeds_of_its_own_and_a_process_alone_the_usual_ones() -> None:
    from benchmarks.core.seeds import derive_seed

    seeds = [World(rank, 2).seed("noise", 3) for rank in (0, 1)]
    assert len({*seeds, ALONE.seed("noise", 3)}) == 3
    assert ALONE.seed("noise", 3) == derive_seed("noise", 3)


def test_one_shard_leaves_a_spec_its_name() -> None:
    data = dict.fromkeys(("name", "fingerprint", "source_fingerprint"), "x")
    data |= {"source": None, "image_size": None, "channels": None}
    words = ("contender", "family", "model", "model_version", "extractor", "device", "precision")
    numbers = ("protocol", "images", "batch", "seed", "evaluations", "samples", "threads")
    spec = RunSpec.model_validate(
        dict.fromkeys(words, "x")
        | dict.fromkeys(numbers, 1)
        | {"data": data, "settings": {}, "reconstructions": 1, "compile": False}
    )
    fields = spec.model_dump(exclude={"shards"})
    assert RunSpec.model_validate(fields) == spec
    assert RunSpec.model_validate(fields | {"shards": 1}).name == spec.name
    other = RunSpec.model_validate(fields | {"shards": 2})
    assert other.name != spec.name
    assert other.training_key != spec.training_key


@pytest.mark.parametrize(("batch", "shards"), [(64, 3), (4, 4), (10, 4)])
def test_a_batch_without_equal_shards_is_refused(batch: int, shards: int) -> None:
    table = {"batch": batch, "shards": shards, "contenders": {"vae": {}}}
    with pytest.raises(BadInput, match=rf"x.toml: shards: a batch of {batch} has no {shards}"):
        build_suite(table, "x.toml")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("--jobs 2", "--jobs 2: all processes of torchrun"),
        ("--engine ray", "--engine ray: all processes of torchrun"),
        ("--device cuda:1", "--device cuda:1: each process of torchrun"),
        ("--shards 1", "shards: 1 takes as many processes, not 2: torchrun --nproc-per-node 1"),
    ],
)
def test_options_that_several_processes_cannot_have_are_refused(
    line: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "2")
    options = make_run_parser().parse_args(["smoke", *line.split()])
    with pytest.raises(BadInput, match=message):
        run.compare_suite(options, [])


def test_shards_without_torchrun_are_refused_with_its_command(capsys) -> None:
    assert run.main(["smoke", "--shards", "2"]) == 2
    error = capsys.readouterr().err
    assert "shards: 2 takes as many processes, not 1: torchrun --nproc-per-node 2" in error
    assert error.count("\n") == 1


def start(*arguments: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", *arguments],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def end(process: "subprocess.Popen[str]") -> str:
    return process.communicate(timeout=600)[0]


def wait_for(happens: Callable[[], bool]) -> None:
    limit = time.monotonic() + 600
    while not happens():
        assert time.monotonic() < limit
        time.sleep(0.05)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("parallel")
    (path / "mine.toml").write_text(SUITE)
    (path / "own.py").write_text("import os\n\nimport torch\n" + MODELS)
    return path


def read_records(results: Path) -> dict[str, Record]:
    records = [read_record(path) for path in (results / "runs").iterdir()]
    return {record.contender: record for record in records}


@pytest.mark.slow
def test_two_processes_train_as_one_and_failures_alike_cost_their_run_alone(folder: Path) -> None:
    own = folder / "own.py"
    names = [f"{own}:{name}" for name in ("Exact", "Failing", "Exploding")]
    options = (str(folder / "mine.toml"),)
    models = ("--models", ",".join(names[:1]))
    alone = start("benchmarks.run", *options, *models, "--out", str(folder / "one"))
    models = ("--models", ",".join([*names, "vae"]))
    process = start(*TORCHRUN, "benchmarks.run", *options, *models, "--out", str(folder / "two"))
    text = end(process)
    assert process.returncode == 1, text
    end(alone)
    found = read_records(folder / "two")
    assert (found["failing"].status, found["failing"].reason) == ("failed", "KeyError: 'a bug'")
    assert found["exploding"].status == "diverged"
    assert found["vae"].status in {"ok", "collapsed"}
    one, two = (
        load_checkpoint(next((folder / name).glob("runs/exact-*/checkpoint/model.safetensors")))[0]
        for name in ("one", "two")
    )
    for name, weights in one.items():
        torch.testing.assert_close(two[name], weights, rtol=1e-4, atol=1e-5)
    assert found["exact"].run not in {r.run for r in read_records(folder / "one").values()}


@pytest.mark.slow
def test_a_failure_of_one_process_ends_all(folder: Path) -> None:
    model = f"{folder / 'own.py'}:Elsewhere"
    out = str(folder / "alone")
    command = ("benchmarks.run", str(folder / "mine.toml"), "--models", model, "--out", out)
    process = start(*TORCHRUN, *command)
    text = end(process)
    assert process.returncode == 1
    assert "error: rank 1 of torchrun alone has failed: KeyError: 'not there'" in text
    assert not list(Path(out).glob("runs/elsewhere-*/record.json"))


@pytest.mark.slow
def test_what_is_interrupted_or_killed_ends_as_if_it_had_not_been(folder: Path) -> None:
    suite = str(folder / "mine.toml")
    broken, whole = folder / "broken", folder / "whole"
    command = (*TORCHRUN, "benchmarks.run", suite, "--checkpoint-seconds", "0", "--out")

    def step() -> int:
        files = broken.glob("runs/cyclegan-*/checkpoint/state.safetensors")
        return max((read_metadata(file).get("step", 0) for file in files), default=0)

    process = start(*command, str(broken))
    wait_for(lambda: step() > 2)
    process.send_signal(signal.SIGINT)
    assert "interrupted; the same command" in end(process)
    assert step() > 2
    process = start(*command, str(broken))
    text = end(process)
    assert process.returncode in {0, 1}, text  # 1 where samples of so short a training are alike
    end(start(*command, str(whole)))
    expected = sorted(whole.glob("runs/*/checkpoint/*.safetensors"))
    assert len(expected) == 9
    for path in expected:
        other = load_checkpoint(broken / path.relative_to(whole))[0]
        tensors = load_checkpoint(path)[0]
        assert all(torch.equal(other[name], values) for name, values in tensors.items()), path


def test_bad_input_is_printed_once(folder: Path) -> None:
    process = start(*TORCHRUN, "benchmarks.run", "smoke", "--shards", "5")
    text = end(process)
    errors = [line for line in text.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert "a batch of 64 has no 5 equal parts" in errors[0]
    assert "exitcode  : 2" in text
