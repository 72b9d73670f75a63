"""How long suites of many runs take to be planned and reported, and how much memory.

A suite of 10,000 runs, few contenders with many seeds or many with few, is planned by
`benchmarks.run --plan`, and reported from made-up records by `benchmarks.report`, each by a process
of its own whose start counts. The records, histories and pictures lie in a temporary folder.

    python tests/performance/large_suite.py
    python tests/performance/large_suite.py --contenders 100 --seeds 100
"""

import argparse
import os
import shlex
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests/benchmarks"))

from synthetic import write_large_suite  # noqa: E402

MODELS = ("gan", "autoencoder", "vae", "cyclegan")


def write_toml(path: Path, contenders: int, seeds: int) -> Path:
    """Write a suite on the digits: every model in turn up to eight contenders, else a sweep."""
    lines = ['dataset = "digits"', "images = 128_000", f"seeds = {seeds}"]
    for i in range(contenders):
        model = MODELS[i % len(MODELS)] if contenders <= 8 else "vae"
        lines += [f"[contenders.c{i:03d}]", f'model = "{model}"', 'backbone = "mlp"']
        lines += [f"beta = {1 + i / 100}"] if model == "vae" else []
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def write_records(folder: Path, contenders: int, seeds: int) -> Path:
    """Write as many runs as if they had been trained."""
    flush = os.fsync
    os.fsync = lambda _: None  # the disk's time is not what is measured
    try:
        names = tuple((f"c{i:03d}", MODELS[i % len(MODELS)]) for i in range(contenders))
        return write_large_suite(folder, names, seeds)
    finally:
        os.fsync = flush


def measure(command: list[str]) -> tuple[float, float]:
    """Run a command and give its seconds and its peak memory in MiB.

    Raises:
        RuntimeError: it fails.
    """
    started = time.perf_counter()
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, cwd=ROOT)
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - started
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            output.seek(0)
            raise RuntimeError(f"{shlex.join(command)}: {output.read().decode()}")
    return seconds, usage.ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Time the plan and the report of a large suite.")
    parser.add_argument("--contenders", type=int, default=5, help="(default: 5)")
    parser.add_argument("--seeds", type=int, default=2_000, help="of each (default: 2000)")
    parser.add_argument("--rounds", type=int, default=1, help="the best of so many (default: 1)")
    options = parser.parse_args()
    table = Table("what", "seconds", "of at most", "peak MiB", box=None)
    with tempfile.TemporaryDirectory() as place:
        suite = write_toml(Path(place, "large.toml"), options.contenders, options.seeds)
        records = write_records(Path(place, "large"), options.contenders, options.seeds)
        run = [sys.executable, "-m", "benchmarks.run", str(suite), "--out", f"{place}/none"]
        commands = {
            "--dry-run": ([*run, "--dry-run"], 5),
            "--plan": ([*run, "--plan"], 5),
            "report": ([sys.executable, "-m", "benchmarks.report", str(records)], 30),
        }
        for name, (command, limit) in commands.items():
            seconds, memory = min(measure(command) for _ in range(options.rounds))
            table.add_row(name, f"{seconds:.1f}", str(limit), f"{memory:,.0f}")
    console = Console()
    console.print(f"{options.contenders} contenders, {options.seeds} seeds of each")
    console.print(table)


if __name__ == "__main__":
    main()
