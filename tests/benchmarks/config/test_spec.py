"""Specs: a run's name and its training key follow from them, and never change."""

from pathlib import Path

import pytest

from benchmarks.config.spec import CALIBRATION, RunSpec
from benchmarks.records.schema import Record
from benchmarks.records.store import read_record

REFERENCE = Path(__file__).parents[3] / "results" / "reference"
SUITES = sorted(path.parent.name for path in REFERENCE.glob("*/suite.json"))

FIELDS = {
    "protocol": 1,
    "data": {
        "name": "digits",
        "source": "edges",
        "image_size": None,
        "channels": None,
        "fingerprint": "f" * 64,
        "source_fingerprint": "0" * 64,
    },
    "contender": "vae_mixture",
    "family": "vae",
    "model": "vae",
    "model_version": "2",
    "settings": {"latent": 16, "lr": 0.001, "density": "mixture"},
    "images": 128_000,
    "batch": 64,
    "seed": 3,
    "evaluations": 10,
    "samples": 399,
    "reconstructions": 400,
    "extractor": "classifier@6b900b3f",
    "threads": 1,
    "device": "cpu",
    "precision": "float32",
    "compile": False,
    "views": ["random@d3eb92a2"],
    "sampler": {"contender": "vae", "name": "mixture", "validation": {"density": "prior"}},
}


def test_a_spec_keeps_its_name_and_training_key() -> None:
    spec = RunSpec.model_validate(FIELDS)
    assert spec.name == "vae_mixture-s3-37f80469"
    assert spec.training_key == "9a634f558465594f562e402ff382809bf93f470316150d15bf7493ea5054e9ce"


def test_defaults_that_are_written_out_are_no_other_run() -> None:
    written = RunSpec.model_validate(FIELDS).model_dump(mode="json")
    assert written.keys() > FIELDS.keys()
    assert RunSpec.model_validate(written).name == RunSpec.model_validate(FIELDS).name


def read_records(suite: str) -> list[Record]:
    return [read_record(path.parent) for path in REFERENCE.glob(f"{suite}/runs/*/record.json")]


@pytest.mark.parametrize("suite", SUITES)
def test_every_published_run_is_named_by_its_spec(suite: str) -> None:
    records = read_records(suite)
    assert records
    for record in records:
        spec = RunSpec.model_validate(record.spec)
        assert spec.name == record.run
        assert spec.hash == record.run.rpartition("-")[2]


@pytest.mark.parametrize("suite", SUITES)
def test_published_rows_share_a_training_where_a_sampler_makes_them(suite: str) -> None:
    trained: dict[str, set[tuple[str, int]]] = {}
    for record in read_records(suite):
        spec = RunSpec.model_validate(record.spec)
        if spec.family != CALIBRATION:
            contender = spec.sampler.contender if spec.sampler else spec.contender
            trained.setdefault(spec.training_key, set()).add((contender, spec.seed))
    assert all(len(trainings) == 1 for trainings in trained.values())
    assert len(set.union(*trained.values())) == len(trained)
