"""The command `benchmarks.score` beside those of torch-fidelity and clean-fid, on two folders.

Each command runs in a process of its own, in turns over the rounds, on as many threads, from the
start of Python to the FID, with one set of random Inception weights. Seconds are those of the clock
and those of all cores together, which other work on the machine does not lengthen. Pictures of 299
pixels are resized by nobody, so all three agree; others torch-fidelity and we enlarge as TensorFlow
1 does, and clean-fid by Pillow's bicubic filter, which is another FID by design.

    pip install -e ".[peers]"
    python tests/performance/score_vs_peers.py --count 512 --threads 2
"""

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from unittest.mock import patch

import numpy as np
import torch
from PIL import Image, ImageFilter
from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

CLEAN_FID = """
import sys, torch
from cleanfid.fid import compute_fid
from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

weights, threads, one, other = sys.argv[1:]
network = FeatureExtractorInceptionV3("inception", ["2048"], weights).eval()
with torch.inference_mode():
    print("FID", compute_fid(
        one, other, device="cpu", num_workers=int(threads), verbose=False,
        custom_feat_extractor=lambda x: network(x.round().to(torch.uint8))[0],
    ))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--count", type=int, default=512, help="pictures in each folder")
    parser.add_argument("--sizes", type=int, nargs="+", default=[299, 64], help="of the pictures")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        weights = write_weights(scratch / "weights.pth")
        for size in options.sizes:
            folders = [scratch / f"{kind}-{size}" for kind in ("ours", "theirs")]
            for seed, folder in enumerate(folders):
                write_pictures(folder, options.count, size, seed)
            compare(commands(weights, folders, options.threads, scratch), size, options)


def commands(
    weights: Path, folders: list[Path], threads: int, scratch: Path
) -> dict[str, list[str]]:
    """Return the commands by their names."""
    one, other = map(str, folders)
    python, fidelity = sys.executable, str(Path(sys.executable).with_name("fidelity"))
    ours = [python, "-m", "benchmarks.score", one, "--against", other, "--metrics", "fid"]
    options = ["--feature-extractor-weights-path", str(weights), "--silent", "--json"]
    return {
        "benchmarks.score": [
            *(*ours, "--inception-weights", str(weights), "--device", "cpu"),
            *("--threads", str(threads), "--out", str(scratch / "out")),
        ],
        "torch-fidelity": [fidelity, "--fid", "--input1", one, "--input2", other, *options],
        "clean-fid": [python, "-c", CLEAN_FID, str(weights), str(threads), one, other],
    }


def compare(commands: dict[str, list[str]], size: int, options: argparse.Namespace) -> None:
    """Run the commands in turns, and print how long they took and what they found."""
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in commands}
    found = {}
    for _ in range(options.rounds):
        for name, command in commands.items():
            seconds, found[name] = run(command, options.threads)
            taken[name].append(seconds)
    print(f"2 folders of {options.count} pictures of {size} pixels, {options.threads} threads")
    ours = next(iter(commands))
    for name, rounds in taken.items():
        apart = abs(found[name] / found[ours] - 1)
        print(f"  {name:<17} FID {found[name]:.9g}, apart {apart:.1e}")
        for kind, column in (("clock", 0), ("cores", 1)):
            own = [seconds[column] for seconds in rounds]
            ratios = [a / b[column] for a, b in zip(own, taken[ours], strict=True)]
            print(
                f"    {kind} {statistics.median(own):7.1f} s, {statistics.median(ratios):.2f} "
                f"times ours ({min(ratios):.2f} to {max(ratios):.2f})"
            )


def run(command: list[str], threads: int) -> tuple[tuple[float, float], float]:
    """Return how long a command took, by the clock and by all cores, and the FID that it found."""
    with tempfile.TemporaryDirectory() as cache:
        environment = os.environ | {"OMP_NUM_THREADS": str(threads), "BENCHMARKS_CACHE": cache}
        before, started = os.times(), time.perf_counter()
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        clock, after = time.perf_counter() - started, os.times()
    cores = after.children_user + after.children_system
    seconds = clock, cores - before.children_user - before.children_system
    if done.returncode:
        raise SystemExit(done.stderr)
    if "--out" in command:
        record = json.loads(Path(command[-1], "scores.json").read_text())
        return seconds, next(s["value"] for s in record["scores"] if s["metric"] == "fid")
    (value,) = re.findall(r'(?:FID|frechet_inception_distance":) ([\d.e-]+)', done.stdout)
    return seconds, float(value)


def write_weights(path: Path) -> Path:
    """Write random weights of torch-fidelity's network under which features vary."""
    torch.manual_seed(0)
    blank = path.with_name("blank.pth")
    torch.save({}, blank)
    with patch.object(FeatureExtractorInceptionV3, "load_state_dict"):
        network = FeatureExtractorInceptionV3("inception", ["2048"], str(blank))
    for module in network.modules():
        if isinstance(module, torch.nn.Conv2d):
            torch.nn.init.kaiming_normal_(module.weight)
    torch.save(network.state_dict(), path)
    return path


def write_pictures(folder: Path, count: int, size: int, seed: int) -> None:
    """Write pictures of coloured clouds; the second folder's are a little smoother."""
    rng = np.random.default_rng(seed)
    folder.mkdir()
    for number in range(count):
        coarse = rng.integers(0, 256, (8 + number % 24, 8 + number % 24, 3), dtype=np.uint8)
        cloud = Image.fromarray(coarse).resize((size, size), Image.Resampling.BICUBIC)
        noise = rng.normal(0, 12, (size, size, 3))
        pixels = (np.asarray(cloud) + noise).clip(0, 255).astype(np.uint8)
        picture = Image.fromarray(pixels).filter(ImageFilter.GaussianBlur(seed * 0.7))
        picture.save(folder / f"{number:05}.png", compress_level=1)


if __name__ == "__main__":
    main()
