"""Shards of a batch, by one process and by the two that torchrun starts."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
import torch
from pandas.testing import assert_frame_equal
from torch import Tensor, nn

from benchmarks import run
from benchmarks.cli.options import read_arguments
from benchmarks.config.spec import RunSpec
from benchmarks.config.suite import build_suite
from benchmarks.records.store import read_record
from benchmarks.training import distributed
from benchmarks.training.checkpoint import read_about
from benchmarks.training.distributed import Shards
from benchmarks.training.loop import TrainingConfig, train
from metrics import Moments
from models.base import Adam, GenerativeModel, Player, Step

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
inversion_steps = 5

[contenders.dcgan]
model = "gan"
backbone = "conv"
width = 8
inversion_steps = 5

[contenders.autoencoder]

[contenders.vae]

[contenders.cyclegan]
width = 8
critic_width = 8
"""

FAILING = """
import os

from models.vae import VAE


class Everywhere(VAE):
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


class Line(GenerativeModel):
    """A game without chance or statistics over the batch."""

    def __init__(self, config: GenerativeModel.Config, shape: tuple[int, int, int]) -> None:
        super().__init__(config, shape)
        self.line = nn.Linear(16, 16)
        self.register_buffer("seen", torch.zeros(()))

    def players(self) -> list[Player]:
        return [Player("line", list(self.line.parameters()), self.error, Adam(0.01))]

    def error(self, play: Step) -> Tensor:
        self.seen += play.images.mean()
        x = play.images.flatten(1)
        return (self.line(x) - x).square().sum(1).mean()


def train_line(shards: Shards) -> Line:
    torch.manual_seed(0)
    model = Line(Line.Config(), (1, 4, 4))
    images = torch.randint(0, 256, (50, 1, 4, 4), dtype=torch.uint8)
    plan = TrainingConfig(steps=20, batch=12, seed=1, evaluations=1)
    train(model, images, None, plan, evaluate=lambda _: 0.0, report=lambda *_: None, shards=shards)
    return model


@pytest.mark.parametrize("count", [2, 3, 6])
def test_shards_move_a_player_as_the_whole_batch_does(count: int) -> None:
    whole, parts = train_line(Shards()), train_line(Shards(count))
    torch.testing.assert_close(parts.line.weight, whole.line.weight, rtol=1e-4, atol=1e-6)
    assert parts.seen != whole.seen


def test_every_shard_finds_the_same_buffers_and_the_first_leaves_its_own() -> None:
    model = nn.Module()
    model.register_buffer("seen", torch.tensor([5.0]))
    found = {}

    def compute(shard: int) -> list[Tensor]:
        found[shard] = model.seen.item()
        model.seen.fill_(shard)
        return [torch.tensor([1.0 + shard])]

    (mean,) = Shards(4).mean(compute, model)
    assert found == dict.fromkeys(range(4), 5.0)
    assert model.seen.item() == 0
    assert mean.item() == 2.5


@pytest.mark.parametrize(("total", "count"), [(12, 3), (64, 5), (7, 2), (5, 1)])
def test_shards_are_all_of_the_rows_in_order(total: int, count: int) -> None:
    shards = Shards(count)
    rows = [row for shard in shards.own for row in range(total)[shards.rows(total, shard)]]
    assert rows == list(range(total))


def test_processes_share_the_shards_out_in_order() -> None:
    assert [list(Shards(6, rank, 3).own) for rank in range(3)] == [[0, 1], [2, 3], [4, 5]]


def test_moments_of_shards_are_those_of_all() -> None:
    features = torch.randn(50, 3, generator=torch.Generator().manual_seed(0))
    merged = Shards(3).summarise(list(features.split([20, 20, 10])))
    assert isinstance(merged, Moments)
    torch.testing.assert_close(merged.covariance, Moments(features).covariance)
    assert Shards().summarise([features]) is features


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
    with pytest.raises(run.BadInput, match=rf"x.toml: shards: a batch of {batch} has no {shards}"):
        build_suite(table, "x.toml")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("--jobs 2", "--jobs 2: all processes of torchrun"),
        ("--engine ray", "--engine ray: all processes of torchrun"),
        ("--device cuda:1", "--device cuda:1: each process of torchrun"),
        ("--shards 1", "shards: 1 cannot be shared out evenly among the 2 processes"),
    ],
)
def test_options_that_several_processes_cannot_have_are_refused(
    line: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "2")
    options = read_arguments(["smoke", *line.split()])
    with pytest.raises(run.BadInput, match=message):
        run.compare(options, [])


def test_a_process_that_does_not_answer_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distributed, "READY", 0.1)
    team = distributed.Team(torch.distributed.HashStore(), 0, 2)
    with pytest.raises(RuntimeError, match="does not answer"), team.call("train", "{}"):
        pytest.fail("nobody is ready")
    assert team.lost
    monkeypatch.setattr(distributed, "_team", team)
    with pytest.raises(ConnectionError, match="a process of torchrun is lost"):
        distributed.check_team()


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
    (path / "failing.py").write_text(FAILING)
    return path


def test_two_processes_score_as_one_though_they_are_interrupted_and_killed(folder: Path) -> None:
    suite, two, one = (str(folder / name) for name in ("mine.toml", "two", "one"))
    alone = start("benchmarks.run", suite, "--shards", "2", "--engine", "inline", "--out", one)
    command = (*TORCHRUN, "benchmarks.run", suite, "--checkpoint-seconds", "0", "--out", two)

    def step() -> int:
        files = Path(two).glob("runs/cyclegan-*/checkpoint/state.safetensors")
        return max((read_about(file).get("step", 0) for file in files), default=0)

    reached = 0
    for number in (signal.SIGINT, signal.SIGKILL):
        process = start(*command)
        wait_for(lambda before=reached: step() > before + 2)
        process.send_signal(number)
        assert ("interrupted; the same" in end(process)) == (number == signal.SIGINT)
        reached = step()
    last = start(*command)
    text = end(last)
    assert last.returncode in {0, 1}, text  # 1 where samples of so short a training are all alike
    assert "resumes at step" in text
    assert alone.wait(600) in {0, 1}
    expected, found = (pd.read_csv(f"{path}/scores.csv") for path in (one, two))
    assert set(expected["contender"]) >= {"gan", "dcgan", "autoencoder", "vae", "cyclegan"}
    assert_frame_equal(found, expected, rtol=1e-5, atol=1e-9)
    assert {p.name for p in Path(one, "runs").iterdir()} == {
        p.name for p in Path(two, "runs").iterdir()
    }
    alone.communicate()


def test_a_failure_of_one_or_all_processes_is_a_record_and_the_others_go_on(folder: Path) -> None:
    names = ("Everywhere", "Exploding", "Elsewhere")
    models = ",".join(f"{folder / 'failing.py'}:{name}" for name in names)
    process = start(
        *TORCHRUN,
        *("benchmarks.run", str(folder / "mine.toml"), "--models", f"{models},vae"),
        *("--steps", "4", "--out", str(folder / "failures")),
    )
    text = end(process)
    assert process.returncode == 1, text
    records = [read_record(path) for path in (folder / "failures/runs").iterdir()]
    found = {record.contender: (record.status, record.reason) for record in records}
    assert found["everywhere"] == ("failed", "KeyError: 'a bug'")
    assert found["exploding"][0] == "diverged"
    assert found["elsewhere"][1] == "RuntimeError: process 1 of torchrun: KeyError: 'not there'"
    assert found["vae"][0] in {"ok", "collapsed"}


def test_bad_input_is_said_once(folder: Path) -> None:
    process = start(*TORCHRUN, "benchmarks.run", "smoke", "--shards", "5")
    text = end(process)
    errors = [line for line in text.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert "a batch of 64 has no 5 equal parts" in errors[0]
    assert "exitcode  : 2" in text
