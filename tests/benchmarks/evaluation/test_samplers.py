"""Several samplers of one contender: rows that share a training."""

from pathlib import Path

import pandas as pd
import pytest

from benchmarks.config.paths import Paths
from benchmarks.config.spec import RunSpec
from benchmarks.config.suite import build_suite
from benchmarks.data import load_dataset
from benchmarks.execution.job import Job
from benchmarks.execution.plan import plan_runs
from benchmarks.records.schema import Record
from benchmarks.records.store import read_record
from benchmarks.run import main

QUICK = ("--extractor", "random", "--samples", "64", "--steps", "5", "--seeds", "2", "--jobs", "1")
TABLE = """
[contenders.vae]
hidden = [16]
[contenders.vae.samplers.prior]
density = "prior"
[contenders.vae.samplers.normal]
density = "normal"
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("benchmarks.reporting.plots.render", lambda _: {})
    (tmp_path / "two.toml").write_text(TABLE)
    return tmp_path


def read_records(folder: Path) -> dict[str, Record]:
    records = [read_record(path.parent) for path in sorted(folder.glob("runs/*/record.json"))]
    return {f"{record.contender}-{record.seed}": record for record in records}


def scores(record: Record) -> dict[str, float | None]:
    return {score.metric: score.value for score in record.scores}


def weights(folder: Path, record: Record) -> bytes:
    return (folder / "runs" / record.run / "checkpoint" / "model.safetensors").read_bytes()


def test_samplers_are_rows_of_one_training(here: Path) -> None:
    assert main(["two.toml", *QUICK, "--out", "o"]) == 0
    table = pd.read_csv(here / "o" / "table.csv", index_col="contender")
    assert table.index.tolist() == ["vae_prior", "vae_normal", "real", "noise"]
    rows = (
        "vae\\_prior and vae\\_normal are rows of one training; validation samples as vae\\_prior"
    )
    assert rows in (here / "o" / "table.md").read_text()
    records = read_records(here / "o")
    for seed in range(2):
        prior, normal = (records[f"vae_{name}-{seed}"] for name in ("prior", "normal"))
        assert weights(here / "o", prior) == weights(here / "o", normal)
        assert prior.costs.train_seconds == normal.costs.train_seconds
        assert prior.training == normal.training
        assert prior.training is not None
        assert prior.training.validation["density"] == "prior"
        ours, theirs = scores(prior), scores(normal)
        assert ours["reconstruction_mse"] == theirs["reconstruction_mse"]
        assert ours["fid"] != theirs["fid"]
    # The seed and the training are those of the contender without samplers.
    (here / "one.toml").write_text("[contenders.vae]\nhidden = [16]")
    assert main(["one.toml", *QUICK, "--out", "plain"]) == 0
    plain = read_records(here / "plain")
    for seed in range(2):
        assert weights(here / "plain", plain[f"vae-{seed}"]) == weights(
            here / "o", records[f"vae_normal-{seed}"]
        )
        assert scores(plain[f"vae-{seed}"]) == scores(records[f"vae_prior-{seed}"])


def test_a_row_alone_trains_as_its_contender_does_and_others_take_its_training_over(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    quick = [*QUICK, "--seeds", "1"]
    assert main(["two.toml", *quick, "--out", "whole"]) == 0
    assert main(["two.toml", *quick, "--out", "o", "--only", "vae_normal-s0"]) == 0
    alone = read_records(here / "o")["vae_normal-0"]
    trained = (here / "o/runs" / alone.run / "checkpoint/training.json").read_bytes()
    assert scores(alone) == scores(read_records(here / "whole")["vae_normal-0"])
    assert main(["two.toml", *quick, "--out", "o"]) == 0
    other = read_records(here / "o")["vae_prior-0"]
    assert (here / "o/runs" / other.run / "checkpoint/training.json").read_bytes() == trained
    assert scores(other) == scores(read_records(here / "whole")["vae_prior-0"])
    assert main(["two.toml", *quick, "--out", "o", "--force"]) == 0
    files = (here / "o/runs").glob("vae_*/checkpoint/training.json")
    first, second = (path.read_bytes() for path in files)
    assert first == second != trained


def test_rows_of_a_training_that_failed_fail_with_it(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--set", "vae.lr=1e30", *QUICK, "--seeds", "1", "--steps", "50"]
    assert main(["two.toml", *arguments, "--out", "o"]) == 1
    records = read_records(here / "o")
    prior, normal = records["vae_prior-0"], records["vae_normal-0"]
    assert prior.status == normal.status == "diverged"
    assert normal.reason == f"its training failed in {prior.run}: {prior.reason}"


def plan_vae(samplers: dict[str, dict[str, str]]) -> list[RunSpec]:
    table = {"seeds": 1, "contenders": {"vae": {"samplers": samplers}}}
    data = load_dataset("digits", data_root=Path())
    return plan_runs(build_suite(table, "test"), data, "test", device="cpu")


def test_seed_and_training_come_from_the_contender_and_its_first_sampler() -> None:
    (plain,) = plan_vae({})
    rows = plan_vae({"prior": {"density": "prior"}, "mixture": {"density": "mixture"}})
    turned = plan_vae({"mixture": {"density": "mixture"}, "prior": {"density": "prior"}})
    assert [row.contender for row in rows] == ["vae_prior", "vae_mixture"]
    assert [row.settings["density"] for row in rows] == ["prior", "mixture"]
    assert {row.training_key for row in rows} == {plain.training_key}
    assert {row.training_key for row in turned} != {plain.training_key}
    assert len({spec.hash for spec in (plain, *rows, *turned)}) == 5
    place = Paths(Path(), Path(), Path())
    assert len({Job(spec, "test", place).seed for spec in (plain, *rows, *turned)}) == 1


def test_what_every_sampler_sets_cannot_be_set_for_all(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["two.toml", *QUICK, "--set", "vae.density=mixture", "--out", "o"]) == 2
    assert "the samplers of vae set density, each its own" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("[contenders.vae.samplers.a]\ndensiti = 'prior'", "unknown key 'densiti'"),
        (
            "[contenders.vae.samplers.a]\nlatent = 8",
            "latent concerns training; a sampler sets density, components",
        ),
        ("[contenders.gan.samplers.a]\nr1 = 1.0", "a sampler sets nothing of this model"),
        ("[contenders.vae.samplers.a]\ndensity = 'best'", "samplers.a: density: Input should be"),
        ("[contenders.vae]\nsamplers = 3", "contenders.vae.samplers: write one table per sampler"),
        ("[contenders.vae.samplers.'../x']", "name: String should match pattern"),
        (
            "[contenders.vae.samplers.a]\n[contenders.vae_a]\nmodel = 'vae'",
            "two rows are called 'vae_a'",
        ),
    ],
)
def test_wrong_samplers_are_told_before_anything_is_trained(
    table: str, message: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (here / "bad.toml").write_text(table)
    assert main(["bad.toml", *QUICK, "--out", "o"]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not (here / "o").exists()
