"""The footprint of runs: what is followed of a model, and that following it leaves no trace."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from benchmarks.config.suite import build_suite
from benchmarks.data import Dataset, Split
from benchmarks.execution import footprint
from benchmarks.execution.footprint import estimate_footprint, estimate_footprints
from benchmarks.execution.job import Footprint, Job
from benchmarks.execution.plan import plan_runs
from benchmarks.execution.train_one import build_model, count_steps
from benchmarks.training.flops import MemoryCounter, count_training_flops
from metrics.extractors.random import RandomExtractor

FAMILIES = ["gan", "autoencoder", "vae", "cyclegan"]
SMALL = {"backbone": "mlp", "hidden": [16], "latent": 4}

Plan = Callable[..., list[Job]]


def estimate(data: Dataset, name: str, settings: dict[str, Any], **changes: Any) -> Footprint:
    table = {"images": 640, "seeds": 1, "extractor": "random", "contenders": {name: settings}}
    suite = build_suite(table | changes, "test")
    return estimate_footprint(plan_runs(suite, data, "test", device="cpu")[0], data)


def enlarge(data: Dataset, side: int) -> Dataset:
    images = np.broadcast_to(np.uint8(0), (600, 1, side, side))
    splits = ("train", "validation", "test", "source_train", "source_test", "hidden_pairs")
    return replace(data, **dict.fromkeys(splits, Split(images)))


def test_the_peak_is_of_tensors_that_exist_together() -> None:
    with MemoryCounter() as counter:
        first = torch.zeros(1000)
        first.add_(1).view(10, 100)
        second = first + 1
        del first
        third = second[:500].clone()
    assert (counter.peak, counter.now) == (8000, 6000)
    del second, third
    assert counter.now == 0


@pytest.mark.parametrize("name", FAMILIES)
def test_a_model_that_ships_is_followed_and_computes_nothing(plan: Plan, data, name: str) -> None:
    (job,) = plan(name)
    before = torch.get_rng_state()
    found = estimate_footprint(job.spec, data)
    assert torch.equal(torch.get_rng_state(), before)
    model = build_model(job.spec, data.shape)
    counted = count_training_flops(model, job.spec.batch) * count_steps(job.spec, model)
    assert found.flops == counted > 0
    assert footprint.BASE < found.memory < 1.5 * footprint.BASE


@pytest.mark.parametrize("name", FAMILIES)
def test_memory_grows_with_batch_and_size(data: Dataset, name: str) -> None:
    large, conv = enlarge(data, 128), {"backbone": "conv"}
    sizes = [estimate(large, name, conv, batch=batch).memory for batch in (64, 512)]
    sizes.insert(0, estimate(data, name, SMALL).memory)
    assert sizes == sorted(set(sizes))


def test_a_cyclegan_of_128_pixels_takes_gibibytes(data: Dataset) -> None:
    assert 4 * 2**30 < estimate(enlarge(data, 128), "cyclegan", {}, batch=64).memory < 6 * 2**30


def test_mapped_files_are_not_held(data: Dataset, tmp_path: Path, plan: Plan) -> None:
    (spec,) = (job.spec for job in plan("vae"))
    large = replace(data, train=Split(np.zeros((50_000, 1, 8, 8), np.uint8)))
    np.save(tmp_path / "a.npy", large.train.images)
    mapped = replace(data, train=Split(np.load(tmp_path / "a.npy", mmap_mode="r")))
    held = [estimate_footprint(spec, d).memory for d in (mapped, large)]
    assert held[1] - held[0] == large.train.images.nbytes
    (features,) = (estimate_footprint(spec, mapped, [RandomExtractor(1)]).memory,)
    assert features - held[0] >= 50_000 * 64 * 4


def test_an_extractor_of_large_images_counts(data: Dataset, plan: Plan) -> None:
    assert footprint.trace_extractor(RandomExtractor(1), (1, 128, 128)) > 256 * 32 * 128**2 * 4


@pytest.mark.parametrize("body", ["raise SystemExit('no')", "play.images.fill_(0).item(); return"])
def test_what_cannot_be_estimated_is_assumed(
    data: Dataset, tmp_path: Path, plan: Plan, body: str, capfd: pytest.CaptureFixture[str]
) -> None:
    text = (
        f"from models.vae import VAE\nclass Own(VAE):\n    def negative_elbo(self, play): {body}\n"
    )
    (tmp_path / "own.py").write_text(text)
    assert estimate(data, "own", {"model": f"{tmp_path}/own.py:Own", **SMALL}) == Footprint()
    assert capfd.readouterr() == ("", "")


def test_a_model_of_ones_own_has_values_when_it_is_estimated(plan: Plan, data: Dataset) -> None:
    jobs = plan("Average", "vae", seeds=2)
    found = estimate_footprints(jobs, data)
    assert [job.spec for job in found] == [job.spec for job in jobs]
    assert found[0].footprint == found[2].footprint != found[1].footprint
    assert all(job.footprint.flops or job.spec.contender == "average" for job in found)
