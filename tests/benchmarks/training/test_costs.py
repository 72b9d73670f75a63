"""What a run costs, in the units that its record and its tables have them in."""

import resource
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from benchmarks.config.paths import Paths
from benchmarks.config.suite import build_suite
from benchmarks.data import load_dataset
from benchmarks.execution.job import Job
from benchmarks.execution.plan import plan_runs
from benchmarks.execution.run_one import run
from benchmarks.execution.smoke import run_smoke_step
from benchmarks.records.environment import read_environment
from benchmarks.records.store import read_history
from benchmarks.training.flops import count_training_flops, read_peak_memory
from models.base import Adam, GenerativeModel, ModelConfig, Player, Step

PAUSE = 0.02
"""Seconds that a `Slow` model sleeps in every loss, and in every sampling."""


class Slow(GenerativeModel):
    """Decodes four numbers by one matrix, and takes its time."""

    class Config(ModelConfig):
        updates: int = 1

    def __init__(self, config: Any, shape: tuple[int, int, int]) -> None:
        super().__init__(config, shape)
        self.matrix = nn.Parameter(torch.zeros(4, 64))

    def players(self) -> list[Player]:
        return [Player("a", [self.matrix], self.loss, Adam(0.1), updates=self.config.updates)]

    def loss(self, play: Step) -> Tensor:
        time.sleep(PAUSE)
        made = self.decode(len(play.images), play.rng)
        return (made - play.images).square().mean()

    def decode(self, n: int, rng: torch.Generator) -> Tensor:
        return (torch.randn(n, 4, generator=rng) @ self.matrix).sigmoid().view(n, *self.shape)

    def sample(self, n: int, rng: torch.Generator, source: Tensor | None = None) -> Tensor:
        time.sleep(PAUSE)
        return self.decode(n, rng)

    def reconstruct(self, images: Tensor, rng: torch.Generator) -> Tensor:
        return images


@pytest.mark.parametrize("updates", [1, 3])
def test_operations_of_a_matrix_product_are_two_for_every_product(updates: int) -> None:
    model = Slow(Slow.Config(updates=updates), (1, 8, 8))
    product = 2 * 4 * 64
    images = torch.zeros(16, 1, 8, 8, dtype=torch.uint8)
    counted = run_smoke_step(model, 16, images, images)
    assert counted.parameters == 4 * 64
    assert counted.sampling_flops_per_image == product
    # Forwards, and backwards to the matrix alone.
    assert counted.training_flops_per_step == updates * 16 * 2 * product
    assert count_training_flops(model, batch=16) == updates * 16 * 2 * product


@pytest.mark.skipif(sys.platform != "linux", reason="needs Linux's /proc")
def test_the_peak_of_memory_is_in_mebibytes() -> None:
    block = torch.ones(256 * 2**20, dtype=torch.uint8)
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    now = pages * resource.getpagesize() / 2**20
    ever = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
    assert block.all()
    assert 0.95 * now < read_peak_memory(torch.device("cpu")) < 1.05 * ever


def test_a_runs_costs_have_the_units_that_they_are_shown_with(tmp_path: Path) -> None:
    data = load_dataset("digits", data_root=tmp_path)
    table = {"images": 320, "batch": 32, "seeds": 1, "samples": 64, "extractor": "random"}
    suite = build_suite(table | {"contenders": {"slow": {"model": f"{__file__}:Slow"}}}, "test")
    (spec,) = plan_runs(suite, data, "test", device="cpu")
    job = Job(spec, "test", Paths(tmp_path / "results", tmp_path, tmp_path / "cache"))
    started = time.perf_counter()
    found = run(job, lambda _: None).costs
    elapsed = time.perf_counter() - started
    # A sleep is never shorter than asked for, and no part is longer than the whole.
    assert 10 * PAUSE <= found.train_seconds <= elapsed
    assert PAUSE <= found.score_seconds <= elapsed - found.train_seconds
    assert found.images_per_second == pytest.approx(320 / found.train_seconds)
    assert read_history(job.folder)["seconds"].iloc[-1] <= found.train_seconds
    assert found.parameters == 4 * 64
    assert found.sampling_flops_per_image == 2 * 4 * 64
    assert found.training_flops_per_step == 32 * 2 * 2 * 4 * 64
    assert 50 < found.peak_memory_mb < read_environment().memory_mb
