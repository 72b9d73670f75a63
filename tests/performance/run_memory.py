"""How much memory runs take at their peak, beside what is estimated of them.

Every family is trained for two steps and scored, at several sizes of image, each run in a process
of its own whose peak (VmHWM) is read at its end.

    python tests/performance/run_memory.py
    python tests/performance/run_memory.py --sides 8 28 --families vae
"""

import argparse
import multiprocessing
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import torch
from report import write_tables

from benchmarks.config.paths import Paths, find_cache
from benchmarks.config.suite import build_suite
from benchmarks.data import default_data_root
from benchmarks.execution import train_one
from benchmarks.execution.engine import Engine
from benchmarks.execution.footprint import estimate_footprints
from benchmarks.execution.job import Job
from benchmarks.execution.run_one import run
from benchmarks.execution.suite_run import SuiteRun, plan_suite
from benchmarks.training.flops import read_peak_memory

FAMILIES = {
    "gan": {"backbone": "conv", "inversion_steps": 2},
    "autoencoder": {"backbone": "conv"},
    "vae": {"backbone": "conv"},
    "cyclegan": {},
    "gan_mlp": {"model": "gan", "backbone": "mlp", "inversion_steps": 2},
}


def measure(job: Job) -> tuple[float, float]:
    """Carry out a run; return the peak until its training ends and that of all of it, in MiB."""
    train_one.reset_peak_memory = lambda _: None  # type: ignore[assignment]
    record = run(job, lambda _: None)
    if record.status == "failed":
        raise SystemExit(f"{job.spec.name}: {record.reason}")
    training = record.costs.peak_memory_mb if record.costs else 0.0
    return training, read_peak_memory(torch.device("cpu"))


def plan(side: int, families: list[str], folder: Path, batch: int, channels: int) -> SuiteRun:
    """Plan two training steps of each family on digits of a size."""
    table = {
        "dataset": "digits",
        "image_size": side,
        "channels": channels,
        "batch": batch,
        "images": 2 * batch,
        "seeds": 1,
        "evaluations": 1,
        "extractor": "random",
        "contenders": {name: FAMILIES[name] for name in families},
    }
    suite = build_suite(table, "memory")
    paths = Paths(folder / str(side), default_data_root(), find_cache(), None)
    engine, often = Engine("local"), {"checkpoint_seconds": 0.0}
    return plan_suite(suite, "memory", "memory", paths, engine, often, device="cpu")


def main() -> None:
    """Measure every run and print a line of it."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--sides", type=int, nargs="+", default=[8, 28, 64, 128])
    parser.add_argument("--families", nargs="+", default=list(FAMILIES), choices=FAMILIES)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--channels", type=int, default=1)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the table there too")
    options = parser.parse_args()
    context = multiprocessing.get_context("spawn")
    columns = ["pixels, model", "MiB in training", "MiB in all", "MiB estimated", "ratio", "s"]
    print(*columns, sep=" | ")
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for side in options.sides:
            planned = plan(side, options.families, Path(folder), options.batch, options.channels)
            planned, _ = planned.with_features()
            for job in planned.jobs:
                started = time.perf_counter()
                (estimated,) = estimate_footprints([job], planned.data)
                seconds = time.perf_counter() - started
                with ProcessPoolExecutor(1, mp_context=context) as pool:
                    training, peak = pool.submit(measure, job).result()
                guess = estimated.footprint.memory / 2**20
                row = [f"{side}, {job.spec.contender}"]
                row += [f"{number:,.0f}" for number in (training, peak, guess)]
                rows.append([*row, f"{guess / peak:.2f}", f"{seconds:.2f}"])
                print(*rows[-1], sep=" | ", flush=True)
    if options.json:
        title = "Peak of a run, and what was estimated of it in so many seconds"
        write_tables(options.json, [{"title": title, "columns": columns, "rows": rows}])


if __name__ == "__main__":
    main()
