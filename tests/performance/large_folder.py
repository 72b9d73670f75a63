"""How much memory a large folder of pictures takes to be read, trained on and scored.

Smooth random JPEGs are written to a temporary folder, which `benchmarks.run` trains a small
convolutional VAE on for a few steps and scores with the extractor `random`, under a limit of what a
process may allocate. What is reported is the peak over all processes of their own memory (RssAnon),
and of the mapped files that happen to lie in memory (RssFile), which the system takes back when it
needs the room. Decoding needs twice the pixels' bytes on the disk, 10 GB for 100,000 pictures, all
of it removed in the end. Exit code of 1 means that the model has collapsed after so few steps.

    python tests/performance/large_folder.py
    python tests/performance/large_folder.py --count 2000
"""

import argparse
import io
import os
import resource
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]

SUITE = """
dataset = "folder:{place}"
image_size = {side}
images = 1_280
batch = 64
seeds = 1
evaluations = 1
extractor = "random"
views = []
[contenders.vae]
backbone = "conv"
width = 8
"""


def write_pictures(folder: Path, side: int, numbers: range) -> None:
    """Write pictures of smooth random colours as JPEGs."""
    rng = np.random.default_rng(numbers.start)
    folder.mkdir(parents=True, exist_ok=True)
    for number in numbers:
        coarse = Image.fromarray(rng.integers(0, 256, (4, 4, 3), dtype=np.uint8))
        file = io.BytesIO()
        coarse.resize((side, side), Image.Resampling.BICUBIC).save(file, "JPEG")
        (folder / f"{number:07}.jpg").write_bytes(file.getvalue())


def read_memory(root: int) -> dict[str, float]:
    """Return RssAnon and RssFile of a process and all below it, in MiB."""
    parents, found = {}, {}
    for status in Path("/proc").glob("[0-9]*/status"):
        try:
            lines = dict(line.split(":", 1) for line in status.read_text().splitlines())
        except OSError:  # it has ended
            continue
        parents[int(status.parent.name)] = int(lines["PPid"])
        found[int(status.parent.name)] = lines
    total = {"RssAnon": 0.0, "RssFile": 0.0}
    for pid in found:
        above = pid
        while above not in {0, root}:
            above = parents.get(above, 0)
        for name in total if above == root else ():
            total[name] += int(found[pid].get(name, "0").split()[0]) / 1024
    return total


def watch(command: list[str], limit: float, **environment: str) -> dict[str, float]:
    """Run a command and return its seconds, its exit code and the peaks of its memory in MiB.

    Args:
        command: is run by itself.
        limit: GiB that each process may allocate; mapped files do not count.
        environment: more variables.
    """
    most = int(limit * 2**30)
    started, peak = time.perf_counter(), {"RssAnon": 0.0, "RssFile": 0.0}
    with subprocess.Popen(
        command,
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)} | environment,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_DATA, (most, most)),  # noqa: PLW1509
    ) as process:
        while process.poll() is None:
            peak = {name: max(peak[name], now) for name, now in read_memory(process.pid).items()}
            time.sleep(0.2)
    return {"seconds": time.perf_counter() - started, "exit code": process.returncode, **peak}


def main() -> None:
    """Write the pictures, run twice, the second time on what the first has decoded, and report."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--count", type=int, default=100_000)
    parser.add_argument("--side", type=int, default=128)
    parser.add_argument("--limit", type=float, default=4.0, help="GiB that a process may allocate")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        measure(Path(folder), options.count, options.side, options.limit)


def measure(folder: Path, count: int, side: int, limit: float) -> None:
    """Write the pictures, run on them twice, and print what it took."""
    with ProcessPoolExecutor() as pool:
        parts = [range(start, min(start + 500, count)) for start in range(0, count, 500)]
        tests = max(1, len(parts) // 20)  # a twentieth of the pictures is held out
        names = ["test"] * tests + ["train"] * (len(parts) - tests)
        places = [folder / "pictures" / name for name in names]
        list(pool.map(write_pictures, places, [side] * len(parts), parts))
    suite = folder / "large.toml"
    suite.write_text(SUITE.format(place=folder / "pictures", side=side))
    for name in ("decoding", "decoded"):
        line = [sys.executable, "-m", "benchmarks.run", str(suite), "--out", str(folder / name)]
        found = watch([*line, "--quiet"], limit, BENCHMARKS_CACHE=str(folder / "cache"))
        row = ", ".join(f"{key} {value:,.0f}" for key, value in found.items())
        print(f"{count:,} pictures of {side} pixels, {name}: {row}", flush=True)


if __name__ == "__main__":
    main()
