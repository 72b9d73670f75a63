"""What checkpoints cost: training with and without them, taking turns within one process.

Every contender of a suite is trained on random images of its data set's size, with nobody keeping
its state and with a checkpoint every few steps, far more often than by default. The time that a
checkpoint takes is told twice: by the clock around it, and as what training by turns took longer,
which includes whatever it does to the steps that follow. Its share is that of training at the
interval that is the command's default.

    python tests/performance/checkpointing.py --suites mnist,digits
"""

import argparse
import statistics
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from benchmarks.cli.options import make_run_parser
from benchmarks.config.registry import load_model
from benchmarks.config.suite import Contender, Suite, build_suite, find_suite, read_toml
from benchmarks.training.checkpoint import save_checkpoint
from benchmarks.training.flops import count_parameters
from benchmarks.training.loop import TrainingConfig, TrainingState, train
from models.base import GenerativeModel

INTERVAL = float(make_run_parser().get_default("checkpoint_seconds"))
BOUND = 0.02
SHAPES = {"mnist": (1, 28, 28), "digits": (1, 8, 8)}


@dataclass
class Checkpointer:
    """Writes every so many steps the state that a run writes every so many seconds."""

    path: Path
    every: int
    rounds: int = 0
    seconds: list[float] = field(default_factory=list)

    def due(self) -> bool:
        """Count a step."""
        self.rounds += 1
        return self.rounds % self.every == 0

    def save(self, state: TrainingState) -> None:
        """Write the state, and note how long that took."""
        started = time.perf_counter()
        save_checkpoint(self.path, state.tensors, state.about | {"key": "", "step": state.step})
        self.seconds.append(time.perf_counter() - started)


@dataclass
class Outcome:
    """What was measured: seconds of a turn without and with checkpoints, and of each checkpoint."""

    parameters: int
    size: int
    without: list[float]
    kept: list[float]
    saves: list[float]
    a_turn: int

    @property
    def by_clock(self) -> float:
        """The seconds of a checkpoint."""
        return statistics.median(self.saves)

    @property
    def by_turns(self) -> float:
        """The seconds by which a checkpoint makes training longer."""
        longer = [b - a for a, b in zip(self.without, self.kept, strict=True)]
        return statistics.median(longer) / self.a_turn


def measure(contender: Contender, suite: Suite, folder: Path, steps: int, rounds: int) -> Outcome:
    """Let training with and without checkpoints take turns."""
    shape = SHAPES[suite.dataset]
    images = torch.randint(0, 256, (5_000, *shape), dtype=torch.uint8)
    checkpointer = Checkpointer(folder / "state.safetensors", max(1, steps // 5))
    outcome = Outcome(
        count_parameters(build(contender, shape)), 0, [], [], [], steps // checkpointer.every
    )
    play(build(contender, shape), images, suite.batch, 3, None)
    for _ in range(rounds):
        outcome.without.append(play(build(contender, shape), images, suite.batch, steps, None))
        outcome.kept.append(play(build(contender, shape), images, suite.batch, steps, checkpointer))
    outcome.saves, outcome.size = checkpointer.seconds, checkpointer.path.stat().st_size
    return outcome


def build(contender: Contender, shape: tuple[int, int, int]) -> GenerativeModel:
    """Build a contender with the same weights every time."""
    torch.manual_seed(0)
    kind = load_model(contender.model)
    return kind(kind.Config.model_validate(contender.settings), shape)


def play(
    model: GenerativeModel,
    images: Tensor,
    batch: int,
    steps: int,
    checkpointer: Checkpointer | None,
) -> float:
    """Train for one turn; give the seconds that it took."""
    plan = TrainingConfig(steps=steps, batch=batch, seed=0, evaluations=1)
    started = time.perf_counter()
    train(
        model,
        images,
        images,
        plan,
        evaluate=lambda _: 0.0,
        report=lambda *_: None,
        checkpointer=checkpointer,
    )
    return time.perf_counter() - started


def main() -> int:
    """Run the comparison and print it; the exit code is 1 where the bound is not kept."""
    parser = argparse.ArgumentParser(description="Measure what checkpoints cost.")
    parser.add_argument("--suites", default="mnist,digits", metavar="A,B", help="of known sizes")
    parser.add_argument("--threads", type=int, default=1, help="threads of torch (default: 1)")
    parser.add_argument("--steps", type=int, default=50, help="steps of a turn (default: 50)")
    parser.add_argument("--rounds", type=int, default=5, help="turns of each (default: 5)")
    parser.add_argument("--folder", type=Path, help="where to write (default: a temporary one)")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    table = Table("contender", "parameters", "state", "training", "with checkpoints", box=None)
    for heading in ("a checkpoint, by clock", "by turns", f"share of {INTERVAL:g} s"):
        table.add_column(heading, justify="right")
    worst = 0.0
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        for name in options.suites.split(","):
            _, path = find_suite(name)
            suite = build_suite(read_toml(path), path.name)
            for contender in suite.list_contenders():
                outcome = measure(contender, suite, Path(folder), options.steps, options.rounds)
                share = max(outcome.by_clock, outcome.by_turns) / INTERVAL
                worst = max(worst, share)
                table.add_row(
                    f"{name} {contender.name}",
                    f"{outcome.parameters:,}",
                    f"{outcome.size / 2**20:.1f} MiB",
                    f"{options.steps / statistics.median(outcome.without):.1f} steps/s",
                    f"{options.steps / statistics.median(outcome.kept):.1f} steps/s",
                    f"{1_000 * outcome.by_clock:.0f} ms",
                    f"{1_000 * outcome.by_turns:.0f} ms",
                    f"{share:.2%}",
                )
    console = Console()
    console.print(table)
    console.print(f"at most {worst:.2%} of training time; the bound is {BOUND:.0%}")
    return int(worst >= BOUND)


if __name__ == "__main__":
    raise SystemExit(main())
