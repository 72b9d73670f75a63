"""Runs side by side against one after another, as whole commands that take turns.

The default, `--engine local` with as many single-threaded runs side by side as there are cores, is
compared in wall time with `--jobs 1 --threads 2`. Before that the scores of two runs side by side
must be those of one after another with as many threads, byte for byte. Options that are not this
script's are the command's own.

    python tests/performance/side_by_side.py --rounds 3
    python tests/performance/side_by_side.py --rounds 1 --seeds 1 --steps 300
"""

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

SIDE_BY_SIDE: tuple[str, ...] = ()
IN_TURN = ("--jobs", "1", "--threads", "2")


def carry_out(folder: Path, *options: str) -> float:
    """Carry out a command as a whole, into an empty folder; give the seconds that it took.

    Raises:
        SystemExit: it did not go well.
    """
    shutil.rmtree(folder, ignore_errors=True)
    command = [sys.executable, "-m", "benchmarks.run", *options, "--out", str(folder)]
    started = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"exit code {done.returncode}: {done.stdout}{done.stderr}")
    return time.perf_counter() - started


def check_scores(folder: Path, options: list[str]) -> None:
    """Compare the scores of two runs side by side with those of one after another.

    Raises:
        SystemExit: they differ.
    """
    scores = []
    for jobs in ("2", "1"):
        carry_out(folder, *options, "--jobs", jobs, "--threads", "1")
        scores.append((folder / "scores.csv").read_bytes())
    if scores[0] != scores[1]:
        raise SystemExit("--jobs 2 --threads 1 does not score as --jobs 1 --threads 1 does")


def take_turns(folder: Path, options: list[str], rounds: int) -> list[tuple[float, float]]:
    """Give the seconds of both commands in each round, the order of the two changing."""
    turns = []
    for number in range(rounds):
        seconds = {}
        for extra in (SIDE_BY_SIDE, IN_TURN) if number % 2 else (IN_TURN, SIDE_BY_SIDE):
            seconds[extra] = carry_out(folder, *options, *extra)
        turns.append((seconds[SIDE_BY_SIDE], seconds[IN_TURN]))
    return turns


def main() -> int:
    """Run the comparison and print it; the exit code is 1 where the default is not the faster."""
    parser = argparse.ArgumentParser(description="Compare runs side by side with one by one.")
    parser.add_argument("--suite", default="digits", help="(default: digits)")
    parser.add_argument("--rounds", type=int, default=3, help="turns of each (default: 3)")
    options, own = parser.parse_known_args()
    own = [options.suite, *own]
    with tempfile.TemporaryDirectory() as folder:
        check_scores(Path(folder) / "results", own)
        print("scores.csv of --jobs 2 and --jobs 1, of one thread each, is the same", flush=True)
        turns = take_turns(Path(folder) / "results", own, options.rounds)
    table = Table("round", "default", " ".join(IN_TURN), "default is", box=None)
    for number, (default, in_turn) in enumerate(turns, 1):
        table.add_row(
            str(number), f"{default:.1f} s", f"{in_turn:.1f} s", f"{in_turn / default:.2f}×"
        )
    ratio = statistics.median(in_turn / default for default, in_turn in turns)
    console = Console()
    console.print(table)
    console.print(
        f"the default is {ratio:.2f}× as fast on {os.cpu_count()} cores (median of {len(turns)})"
    )
    return int(ratio <= 1)


if __name__ == "__main__":
    raise SystemExit(main())
