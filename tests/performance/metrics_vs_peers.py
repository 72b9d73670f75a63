"""How fast and how exact the metrics are, beside other packages on the same numbers.

Every entry runs in a process of its own, in turns over the rounds, so that whatever else the
machine does falls on all of them, and nobody's memory or warm caches count for another. It is
called once untimed, so all are warm and have imported what they need. A section's first entry is
ours; a ratio above 1, the median over the rounds, says that ours is that many times faster, or
needs that many times less memory (which is what the process grew by beyond its inputs). A share of
the peak is ours alone: the operations that our way takes, symmetric halves once, over those of a
matrix product in the same process, precision and time.

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
from collections.abc import Callable, Iterator
from contextlib import contextmanager
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
from torch.utils.flop_counter import FlopCounterMode

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
"""Seconds below which a warm entry is timed three times."""

PEAK = 2048
"""Rows, columns and depth of the products whose speed counts as the peak."""


@dataclass(frozen=True)
class Section:
    """A contest: its inputs, and who turns them into a number, ours first.

    Attributes:
        title: what is computed, and at which sizes.
        prepare: makes the inputs, the same in every process.
        count: counts the floating-point operations of ours.
        precision: of these, unless an entry's name has another one.
        entries: by name, a function of the inputs that returns the score.
    """

    title: str
    prepare: Callable[[], Any]
    count: Callable[[], float]
    precision: str = "float32"
    entries: dict[str, Callable[[Any], float]] = field(default_factory=dict)

    def entry(self, name: str) -> Callable[[Callable[[Any], float]], Callable[[Any], float]]:
        """Enter a function under `name`."""

        def enter(function: Callable[[Any], float]) -> Callable[[Any], float]:
            self.entries[name] = function
            return function

        return enter


SECTIONS: dict[str, Section] = {}


def section(
    key: str, title: str, count: Callable[[], float], precision: str = "float32"
) -> Callable[[Callable[[], Any]], Section]:
    """Make the function that prepares inputs into a section, to be chosen by `--only key`."""

    def enter(prepare: Callable[[], Any]) -> Section:
        SECTIONS[key] = Section(title, prepare, count, precision)
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


# Operations: two Cholesky factors, a reduction to a symmetric eigenproblem, and its eigenvalues.
@section(
    "fid",
    "Fréchet distance from moments, N = M = 10,000, d = 2,048",
    lambda: 3 * 2048**3,
    "float64",
)
def fid() -> tuple[Moments, Moments]:
    return Moments(draw_features(10_000, 2048, 1)), Moments(draw_features(10_000, 2048, 2, 0.05))


@fid.entry("ours")
def ours_fid(sides: tuple[Moments, Moments]) -> float:
    # Copies, since the factors of a living matrix are remembered.
    return frechet_distance(*(copy.deepcopy(side) for side in sides))


@section(
    "fid_small",
    "Fréchet distance from features, N = M = 1,000, d = 2,048",
    lambda: 2 * 1000**2 * 2048 + 8 / 3 * 1000**3,
    "float64",
)
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


@section(
    "moments",
    "mean and covariance, N = 10,000, d = 2,048, float32",
    lambda: 10_000 * 2048**2,
    "float64",
)
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


@section(
    "kid",
    "KID, the mean over 100 subsets of 1,000, N = M = 10,000, d = 2,048",
    lambda: 4 * 10_000**2 * (2048 + 100),
)
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


@section(
    "prdc",
    "precision, recall, density, coverage, N = M = 10,000, d = 2,048",
    lambda: 4 * 10_000**2 * 2048,
)
def prdc() -> Sides:
    return draw_features(10_000, 2048, 1), draw_features(10_000, 2048, 2, 0.05)


@section(
    "prdc_narrow",
    "precision, recall, density, coverage, N = M = 10,000, d = 64",
    lambda: 4 * 10_000**2 * 64,
)
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


Networks = tuple[dict[str, InceptionExtractor], Any, torch.Tensor]


@contextmanager
def random_weights() -> Iterator[Path]:
    """A file of random weights for Inception, in the published format."""
    with tempfile.TemporaryDirectory() as folder:
        weights = Path(folder) / "weights.pth"
        torch.save(build_peer_network().state_dict(), weights)
        yield weights


def build_peer_network() -> Any:
    """torch-fidelity's Inception with random weights, the same in every process."""
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    torch.manual_seed(0)
    blank = io.BytesIO()
    torch.save({}, blank)
    blank.seek(0)
    with patch.object(FeatureExtractorInceptionV3, "load_state_dict"):
        network = FeatureExtractorInceptionV3("inception-v3-compat", list(LAYERS), blank)
    for layer in network.modules():
        if isinstance(layer, torch.nn.Conv2d):
            torch.nn.init.kaiming_normal_(layer.weight)
    return network


def draw_pictures(count: int) -> torch.Tensor:
    """Smooth colours, 32 x 32; the second half is darker, so that halves are at a distance."""
    coarse = torch.rand(count, 3, 5, 5, generator=torch.Generator().manual_seed(1))
    shades = 255 * torch.nn.functional.interpolate(coarse, size=32, mode="bilinear")
    shades[count // 2 :] /= 2
    return shades.round().to(torch.uint8)


def count_inception(images: int) -> float:
    """Count the operations of ours, by those of one image."""
    with random_weights() as weights:
        network = InceptionExtractor(weights)
    with FlopCounterMode(display=False) as counter:
        network(draw_pictures(1))
    return images * counter.get_total_flops()


def build_networks(images: int, *, compiled: bool) -> Networks:
    """Inception with random weights, ours in two precisions and torch-fidelity's, and images."""
    with random_weights() as weights:
        ours = {
            precision: InceptionExtractor(weights, compile=compiled, precision=precision)
            for precision in ("float32", "bfloat16")
        }
    return ours, build_peer_network(), draw_pictures(images)


@section(
    "inception",
    "Inception features and the FID of 64 and 64 images, eager",
    lambda: count_inception(128),
)
def inception() -> Networks:
    return build_networks(128, compiled=False)


@section(
    "inception_compiled",
    "Inception features and the FID of 64 and 64 images, compiled",
    lambda: count_inception(128),
)
def inception_compiled() -> Networks:
    return build_networks(128, compiled=True)


def distance_of_halves(features: torch.Tensor) -> float:
    return frechet_distance(*features.chunk(2))


for contest in (inception, inception_compiled):
    for name, precision in (("ours", "float32"), ("ours, bfloat16", "bfloat16")):

        @contest.entry(name)
        def ours_inception(networks: Networks, precision: str = precision) -> float:
            ours, _, images = networks
            return distance_of_halves(ours[precision](images).features)

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
    rounds = 3 if seconds < QUICK else 1
    seconds = statistics.median(clock(entry, inputs)[1] for _ in range(rounds))
    outcome = {"value": value, "seconds": seconds, "memory": max(memory, 0.0)}
    if name.startswith("ours"):
        precision = name.partition(", ")[2] or SECTIONS[key].precision
        outcome["share"] = SECTIONS[key].count() / seconds / measure_peak(precision)
    return outcome


def measure_peak(precision: str) -> float:
    """The operations a second of a product of matrices, by the quickest library at hand."""
    a, b = torch.randn(2, PEAK, PEAK).to(getattr(torch, precision))
    image = a.view(1, PEAK, -1, 64).contiguous(memory_format=torch.channels_last)
    kernel = b[:, :, None, None].contiguous(memory_format=torch.channels_last)
    ways: list[Callable[[], Any]] = [lambda: a @ b]
    if precision != "float64":
        ways.append(lambda: torch.nn.functional.conv2d(image, kernel))  # by oneDNN
    if precision != "bfloat16":
        x, y = a.numpy(), b.numpy()
        ways.append(lambda: x @ y)
    times = []
    for way in ways * 5:
        start = time.perf_counter()
        way()
        times.append(time.perf_counter() - start)
    return 2 * PEAK**3 / min(times)


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


def hold(key: str, threads: int, rounds: int) -> dict[str, Any]:
    """Let a section's entries take turns, and set every one against the first, in a table."""
    contest = SECTIONS[key]
    outcomes: dict[str, list[dict[str, float]]] = {name: [] for name in contest.entries}
    for _ in range(rounds):
        for name, results in outcomes.items():
            results.append(measure_apart(key, name, threads))
    ours = outcomes[next(iter(outcomes))]
    columns = ["", "value", "seconds", "MiB", "times slower", "times the memory", "of the peak"]
    rows = [[name, *compare(results, ours)] for name, results in outcomes.items()]
    title = f"{contest.title}; threads: {threads}"
    return {"title": title, "columns": columns, "rows": rows}


def compare(results: list[dict[str, float]], ours: list[dict[str, float]]) -> list[str]:
    """The cells of an entry's row."""
    pairs = list(zip(results, ours, strict=True))
    median = statistics.median
    return [
        f"{results[0]['value']:.9g}",
        f"{median(r['seconds'] for r in results):.3f}",
        f"{median(r['memory'] for r in results):,.0f}",
        f"{median(r['seconds'] / o['seconds'] for r, o in pairs):.2f}",
        f"{median(r['memory'] / max(o['memory'], 1) for r, o in pairs):.2f}",
        f"{median(r['share'] for r in results):.0%}" if "share" in results[0] else "",
    ]


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
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the tables there too")
    parser.add_argument("--entry", nargs=2, metavar=("SECTION", "NAME"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.entry:
        with threadpool_limits(options.threads):
            print(json.dumps(measure(*options.entry)))
        return
    console, tables = Console(), []
    for key in options.only:
        tables.append(hold(key, options.threads, options.rounds))
        shown = Table(*tables[-1]["columns"], title=tables[-1]["title"])
        for row in tables[-1]["rows"]:
            shown.add_row(*row)
        console.print(shown)
    if options.json:
        options.json.write_text(json.dumps(tables, ensure_ascii=False, indent=1) + "\n", "utf-8")
    console.print(describe_versions(options.threads), highlight=False)


if __name__ == "__main__":
    main()
