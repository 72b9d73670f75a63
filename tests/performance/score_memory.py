"""How much memory `benchmarks.score` takes for folders of many pictures, or for their features.

Each count is scored in a process of its own, of which the peak of memory is printed; it should grow
by nothing but the features. The pictures are a few files of many names. With `--features`, numbers
as wide as what Inception gives stand for pictures, which shows what the scores themselves need for
as many images as papers score.

    python tests/performance/score_memory.py --counts 500 2000 8000 --size 512
    python tests/performance/score_memory.py --features 50000 --metrics fid
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

DIFFERENT = 40
WIDTH, CLASSES = 2048, 1008


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--counts", type=int, nargs="+", default=[500, 2000, 8000])
    parser.add_argument("--size", type=int, default=512, help="of the pictures")
    parser.add_argument("--extractor", default="pixels")
    parser.add_argument("--weights", help="of inception")
    parser.add_argument("--metrics", default="fid")
    parser.add_argument("--features", type=int, help="images of which the features are made up")
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.here:
        score_features(options.features, options.metrics)
    elif options.features:
        measure(f"features of {options.features:,} images", [*sys.argv, "--here"])
    else:
        for count in options.counts:
            measure_folders(count, options)


def measure_folders(count: int, options: argparse.Namespace) -> None:
    """Measure the command on two folders of `count` pictures."""
    with tempfile.TemporaryDirectory() as scratch:
        folders = [Path(scratch, name) for name in ("made", "real")]
        for seed, folder in enumerate(folders):
            write_pictures(folder, count, options.size, seed)
        line = ["-m", "benchmarks.score", str(folders[0]), "--against", str(folders[1])]
        line += ["--extractor", options.extractor, "--metrics", options.metrics]
        line += ["--inception-weights", options.weights] if options.weights else []
        line += ["--device", "cpu", "--out", f"{scratch}/out"]
        what = f"2 × {count:,} pictures of {options.size} pixels"
        measure(what, line, BENCHMARKS_CACHE=f"{scratch}/cache")


def measure(what: str, line: list[str], **variables: str) -> None:
    """Print the peak of memory of a Python command, and how long it takes."""
    started = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, *line], env=os.environ | variables, stdout=subprocess.DEVNULL
    )
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{what}: failed")
    seconds = time.perf_counter() - started
    print(f"{what}: {usage.ru_maxrss / 1024:,.0f} MiB at most, {seconds:,.0f} s", flush=True)


def score_features(count: int, metrics: str) -> None:
    """Score made-up features as the command does when it has taken them."""
    from benchmarks.evaluation.reference import Reference
    from metrics import Features

    def draw(seed: int) -> Features:
        rng = torch.Generator().manual_seed(seed)
        features = torch.rand(count, WIDTH, generator=rng).square_()
        return Features(features, torch.rand(count, CLASSES, generator=rng))

    extractor: Any = type("Named", (), {"dimension": WIDTH, "__str__": lambda _: "made-up"})()
    reference = Reference(extractor, draw(1), "against")
    scores = reference.score_features(range(count), draw(2), "made up", metrics.split(","))
    assert all(score.value is not None for score in scores), scores


def write_pictures(folder: Path, count: int, size: int, seed: int) -> None:
    """Write a few pictures of coloured noise and give them many names."""
    rng = np.random.default_rng(seed)
    folder.mkdir()
    for number in range(count):
        path = folder / f"{number:06}.png"
        if number < DIFFERENT:
            coarse = rng.integers(0, 256, (size // 8, size // 8, 3), dtype=np.uint8)
            Image.fromarray(coarse).resize((size, size)).save(path, compress_level=1)
        else:
            path.hardlink_to(folder / f"{number % DIFFERENT:06}.png")


if __name__ == "__main__":
    main()
