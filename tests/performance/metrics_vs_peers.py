"""How fast and how exact the metrics are, beside other packages on the same numbers.

Every entry runs in a process of its own, in turns over the rounds, so that whatever else the
machine does falls on all of them, and nobody's memory or warm caches count for another. A section's
first entry is ours; a ratio above 1 says that ours is that many times faster, or needs that many
times less memory (which is what the process grew by beyond its inputs).

    pip install -e ".[peers]"
    python tests/performance/metrics_vs_peers.py --threads 2
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import metadata
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from threadpoolctl import threadpool_limits

from benchmarks import costs

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


def measure(key: str, name: str) -> dict[str, float]:
    """Carry out one entry in this process: its value, median seconds and MiB beyond the inputs."""
    inputs = SECTIONS[key].prepare()
    entry = SECTIONS[key].entries[name]
    device = torch.device("cpu")
    costs.reset_peak_memory(device)
    before = costs.read_peak_memory(device)
    value, seconds = clock(entry, inputs)
    memory = costs.read_peak_memory(device) - before
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
