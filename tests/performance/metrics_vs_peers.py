"""How fast and how exact the metrics are, beside other packages on the same numbers.

Every entry runs in a process of its own, in turns over the rounds, so that whatever else the
machine does falls on all of them, and nobody's memory or warm caches count for another. A section's
first entry is ours; a ratio above 1 says that ours is that many times faster, or needs that many
times less memory (which is what the process grew by beyond its inputs).

    pip install -e ".[peers]"
    python tests/performance/metrics_vs_peers.py --threads 2
"""

import argparse
import copy
import io
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from threadpoolctl import threadpool_limits

from benchmarks.training.flops import read_peak_memory, reset_peak_memory
from metrics import (
    InceptionExtractor,
    Moments,
    frechet_distance,
    kernel_distance_subsets,
    precision_recall_density_coverage,
)
from metrics.extractors.inception import LAYERS

PEERS = ("pytorch-fid", "clean-fid", "torch-fidelity", "torchmetrics", "prdc", "numpy", "scipy")
QUICK = 2.0
"""Seconds below which an entry is called once more to warm up, and timed three times."""


@dataclass(frozen=True)
class Section:
    """A contest: its inputs, and who turns them into a number, ours first.

    Attributes:
        title: what is computed, and at which sizes.
        prepare: makes the inputs, the same in every process.
        entries: by name, a function of the inputs that returns the score.
    """

    title: str
    prepare: Callable[[], Any]
    entries: dict[str, Callable[[Any], float]] = field(default_factory=dict)

    def entry(self, name: str) -> Callable[[Callable[[Any], float]], Callable[[Any], float]]:
        """Enter a function under `name`."""

        def enter(function: Callable[[Any], float]) -> Callable[[Any], float]:
            self.entries[name] = function
            return function

        return enter


SECTIONS: dict[str, Section] = {}


def section(key: str, title: str) -> Callable[[Callable[[], Any]], Section]:
    """Make the function that prepares inputs into a section, to be chosen by `--only key`."""

    def enter(prepare: Callable[[], Any]) -> Section:
        SECTIONS[key] = Section(title, prepare)
        return SECTIONS[key]

    return enter


def draw_features(count: int, d: int, seed: int, shift: float = 0.0) -> torch.Tensor:
    """Features like Inception's: of many scales, correlated, rectified; float32 [count, d]."""
    mixing = torch.randn(d, d, generator=torch.Generator().manual_seed(0)) / d**0.5
    rng = torch.Generator().manual_seed(seed)
    hidden = torch.randn(count, d, generator=rng) * 4 * torch.arange(1, d + 1) ** -0.75
    return (hidden @ mixing * (1 + shift) + 0.1 + shift).clamp(min=0)


def fid_of_statistics(real: Any, fake: Any) -> dict[str, Callable[[], float]]:
    """Other packages' distances of (mean, covariance) in NumPy, by their names."""

    def pytorch_fid() -> float:
        from pytorch_fid.fid_score import calculate_frechet_distance

        return calculate_frechet_distance(*real, *fake)

    def clean_fid() -> float:
        from cleanfid.fid import frechet_distance

        return frechet_distance(*real, *fake)

    def torch_fidelity() -> float:
        from torch_fidelity.metric_fid import fid_statistics_to_metric

        sides = (dict(zip(("mu", "sigma"), side, strict=True)) for side in (real, fake))
        return fid_statistics_to_metric(*sides, verbose=False)["frechet_inception_distance"]

    def torchmetrics() -> float:
        from torchmetrics.image.fid import _compute_fid

        return _compute_fid(*(torch.from_numpy(part) for part in (*real, *fake))).item()

    return {
        "pytorch-fid": pytorch_fid,
        "clean-fid": clean_fid,
        "torch-fidelity": torch_fidelity,
        "torchmetrics": torchmetrics,
    }


def numpy_statistics(features: torch.Tensor) -> tuple[Any, Any]:
    """The mean and covariance as pytorch-fid, clean-fid and torch-fidelity take them."""
    return features.numpy().mean(axis=0), np.cov(features.numpy(), rowvar=False)


@section("fid", "Fréchet distance from moments, N = M = 10,000, d = 2,048")
def fid() -> tuple[Moments, Moments]:
    return Moments(draw_features(10_000, 2048, 1)), Moments(draw_features(10_000, 2048, 2, 0.05))


@fid.entry("ours")
def ours_fid(sides: tuple[Moments, Moments]) -> float:
    # Copies, since the factors of a living matrix are remembered.
    return frechet_distance(*(copy.deepcopy(side) for side in sides))


@section("fid_small", "Fréchet distance from features, N = M = 1,000, d = 2,048")
def fid_small() -> tuple[torch.Tensor, torch.Tensor]:
    return draw_features(1000, 2048, 1), draw_features(1000, 2048, 2, 0.05)


@fid_small.entry("ours")
def ours_fid_small(sides: tuple[torch.Tensor, torch.Tensor]) -> float:
    return frechet_distance(*(side.clone() for side in sides))


for peer in ("pytorch-fid", "clean-fid", "torch-fidelity", "torchmetrics"):

    @fid.entry(peer)
    def fid_peer(sides: tuple[Moments, Moments], peer: str = peer) -> float:
        statistics = [(side.mean.numpy(), side.covariance.numpy()) for side in sides]
        return fid_of_statistics(*statistics)[peer]()

    @fid_small.entry(peer)
    def fid_small_peer(sides: tuple[torch.Tensor, torch.Tensor], peer: str = peer) -> float:
        return fid_of_statistics(*map(numpy_statistics, sides))[peer]()


@section("moments", "mean and covariance, N = 10,000, d = 2,048, float32")
def moments() -> torch.Tensor:
    return draw_features(10_000, 2048, 1)


@moments.entry("ours")
def ours_moments(features: torch.Tensor) -> float:
    return Moments(features).covariance.trace().item()


@moments.entry("numpy.mean, numpy.cov")
def numpy_moments(features: torch.Tensor) -> float:
    return numpy_statistics(features)[1].trace()


@moments.entry("torchmetrics")
def torchmetrics_moments(features: torch.Tensor) -> float:
    """Its sums as `FrechetInceptionDistance.update` and `compute` take them."""
    doubled = features.double()
    total, square = doubled.sum(dim=0), doubled.t().mm(doubled)
    mean = (total / len(doubled)).unsqueeze(0)
    covariance = (square - len(doubled) * mean.t().mm(mean)) / (len(doubled) - 1)
    return covariance.trace().item()


Sides = tuple[torch.Tensor, torch.Tensor]


@section("kid", "KID, the mean over 100 subsets of 1,000, N = M = 10,000, d = 2,048")
def kid() -> Sides:
    return draw_features(10_000, 2048, 1), draw_features(10_000, 2048, 2, 0.05)


@kid.entry("ours")
def ours_kid(sides: Sides) -> float:
    return kernel_distance_subsets(*sides).kid_subsets


@kid.entry("torch-fidelity")
def torch_fidelity_kid(sides: Sides) -> float:
    from torch_fidelity.metric_kid import kid_features_to_metric

    options = {"kid_subsets": 100, "kid_subset_size": 1000, "verbose": False}
    return kid_features_to_metric(*sides, **options)["kernel_inception_distance_mean"]


@kid.entry("torchmetrics")
def torchmetrics_kid(sides: Sides) -> float:
    from torchmetrics.image.kid import KernelInceptionDistance

    kid = KernelInceptionDistance(feature=torch.nn.Identity())
    kid.real_features, kid.fake_features = [sides[0]], [sides[1]]
    return kid.compute()[0].item()


@kid.entry("clean-fid")
def clean_fid_kid(sides: Sides) -> float:
    from cleanfid.fid import kernel_distance

    return kernel_distance(*(side.numpy() for side in sides))


@section("prdc", "precision, recall, density, coverage, N = M = 10,000, d = 2,048")
def prdc() -> Sides:
    return draw_features(10_000, 2048, 1), draw_features(10_000, 2048, 2, 0.05)


@section("prdc_narrow", "precision, recall, density, coverage, N = M = 10,000, d = 64")
def prdc_narrow() -> Sides:
    return draw_features(10_000, 64, 1), draw_features(10_000, 64, 2, 0.05)


for contest in (prdc, prdc_narrow):

    @contest.entry("ours")
    def ours_prdc(sides: Sides) -> float:
        # Views of their own, since the radii of a living tensor are remembered.
        return sum(precision_recall_density_coverage(*(side[:] for side in sides)))

    @contest.entry("prdc")
    def peer_prdc(sides: Sides) -> float:
        from prdc import compute_prdc

        # It starts eight threads whatever it is told: on as many cores as the others have.
        if hasattr(os, "sched_setaffinity"):
            cores = sorted(os.sched_getaffinity(0))
            os.sched_setaffinity(0, cores[: torch.get_num_threads()])
        return sum(compute_prdc(*(side.numpy() for side in sides), 5).values())


Networks = tuple[InceptionExtractor, Any, torch.Tensor]


def build_networks(images: int, *, compiled: bool) -> Networks:
    """Inception with random weights, ours and torch-fidelity's, and images 32 x 32 in two halves.

    The second half is darker, so that there is a distance between them.
    """
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    torch.manual_seed(0)
    blank = io.BytesIO()
    torch.save({}, blank)
    blank.seek(0)
    with patch.object(FeatureExtractorInceptionV3, "load_state_dict"):
        theirs = FeatureExtractorInceptionV3("inception-v3-compat", list(LAYERS), blank)
    for layer in theirs.modules():
        if isinstance(layer, torch.nn.Conv2d):
            torch.nn.init.kaiming_normal_(layer.weight)
    with tempfile.TemporaryDirectory() as folder:
        weights = Path(folder) / "weights.pth"
        torch.save(theirs.state_dict(), weights)
        ours = InceptionExtractor(weights, compile=compiled)
    coarse = torch.rand(images, 3, 5, 5)
    shades = 255 * torch.nn.functional.interpolate(coarse, size=32, mode="bilinear")
    shades[images // 2 :] /= 2
    pictures = shades.round().to(torch.uint8)
    if compiled:
        ours(pictures[:16])
    return ours, theirs, pictures


@section("inception", "Inception features and the FID of 64 and 64 images, eager")
def inception() -> Networks:
    return build_networks(128, compiled=False)


@section("inception_compiled", "Inception features and the FID of 64 and 64 images, compiled")
def inception_compiled() -> Networks:
    return build_networks(128, compiled=True)


def distance_of_halves(features: torch.Tensor) -> float:
    return frechet_distance(*features.chunk(2))


for contest in (inception, inception_compiled):

    @contest.entry("ours")
    def ours_inception(networks: Networks) -> float:
        ours, _, images = networks
        return distance_of_halves(ours(images).features)

    for batch, words in ((64, "its default"), (16, "as ours")):

        @contest.entry(f"torch-fidelity, batches of {batch}, {words}")
        @torch.inference_mode()
        def peer_inception(networks: Networks, batch: int = batch) -> float:
            _, theirs, images = networks
            return distance_of_halves(torch.cat([theirs(part)[0] for part in images.split(batch)]))


def measure(key: str, name: str) -> dict[str, float]:
    """Carry out one entry in this process: its value, median seconds and MiB beyond the inputs."""
    inputs = SECTIONS[key].prepare()
    entry = SECTIONS[key].entries[name]
    device = torch.device("cpu")
    reset_peak_memory(device)
    before = read_peak_memory(device)
    value, seconds = clock(entry, inputs)
    memory = read_peak_memory(device) - before
    if seconds < QUICK:
        seconds = statistics.median(clock(entry, inputs)[1] for _ in range(3))
    return {"value": value, "seconds": seconds, "memory": max(memory, 0.0)}


def clock(entry: Callable[[Any], float], inputs: Any) -> tuple[float, float]:
    """Call an entry and give its value and its seconds."""
    start = time.perf_counter()
    value = float(entry(inputs))
    return value, time.perf_counter() - start


def measure_apart(key: str, name: str, threads: int) -> dict[str, float]:
    """Carry out one entry in a fresh process; its own error is shown as it is."""
    command = [sys.executable, __file__, "--threads", str(threads), "--entry", key, name]
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    limits = dict.fromkeys(names, str(threads))
    environment = os.environ | limits
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if done.returncode:
        sys.exit(f"{key}, {name} failed:\n{done.stderr}")
    outcome: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return outcome


def hold(key: str, threads: int, rounds: int) -> Table:
    """Let a section's entries take turns, and set every one against the first."""
    contest = SECTIONS[key]
    outcomes: dict[str, list[dict[str, float]]] = {name: [] for name in contest.entries}
    for _ in range(rounds):
        for name, results in outcomes.items():
            results.append(measure_apart(key, name, threads))
    ours = next(iter(outcomes))
    table = Table("", "value", "seconds", "MiB", "times slower", "times the memory")
    table.title = contest.title
    for name, results in outcomes.items():
        pairs = list(zip(results, outcomes[ours], strict=True))
        table.add_row(
            name,
            f"{results[0]['value']:.9g}",
            f"{statistics.median(r['seconds'] for r in results):.3f}",
            f"{statistics.median(r['memory'] for r in results):,.0f}",
            f"{statistics.median(r['seconds'] / o['seconds'] for r, o in pairs):.2f}",
            f"{statistics.median(r['memory'] / max(o['memory'], 1) for r, o in pairs):.2f}",
        )
    return table


def describe_versions(threads: int) -> str:
    """Say what ran."""
    versions = [f"{name} {metadata.version(name)}" for name in ("torch", *PEERS)]
    return f"{threads} threads; " + ", ".join(versions)


def main() -> None:
    """Hold the contests and print a table each."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", nargs="+", choices=SECTIONS, default=list(SECTIONS))
    parser.add_argument("--entry", nargs=2, metavar=("SECTION", "NAME"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.entry:
        with threadpool_limits(options.threads):
            print(json.dumps(measure(*options.entry)))
        return
    console = Console()
    for key in options.only:
        console.print(hold(key, options.threads, options.rounds))
    console.print(describe_versions(options.threads), highlight=False)


if __name__ == "__main__":
    main()
