"""How fast the training loop is, beside loops by hand and those of other packages.

All loops train the networks of suite `mnist`, with its batches, losses and learning rates, on MNIST
or on random images, which cost the same. They take turns within one process, so that whatever else
the machine does falls on all of them. A turn is timed from the end of its second step, which leaves
out what comes before training; compared are the medians over pairs of turns.

    python tests/performance/training_loop.py --threads 2
    git worktree add ../before REVISION
    python tests/performance/training_loop.py --before ../before
"""

import argparse
import importlib.util
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from itertools import chain, count, repeat
from pathlib import Path
from typing import Any

import torch
from peer_loops import train_by_lightning, train_by_pythae
from PIL import Image
from plain_losses import FAMILIES, Losses, cyclegan_paper
from report import write_tables
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import ToTensor

from benchmarks.config.registry import load_model
from benchmarks.config.suite import Contender, build_suite, find_suite, read_toml
from benchmarks.core.errors import BadInput
from benchmarks.core.tensors import as_tensor
from benchmarks.data import default_data_root, load_dataset
from benchmarks.training.flops import count_training_flops
from benchmarks.training.loop import TrainingConfig, train
from models.base import Step

BATCH = 64
SHAPE = (1, 28, 28)
WARM = 2
OURS = "this project's"
BEFORE = "this project's before"


@dataclass
class Clock:
    """Notes when each step of a turn has ended, in seconds by `now`."""

    now: Callable[[], float] = time.perf_counter
    ends: list[float] = field(default_factory=list)

    def due(self) -> bool:
        """Note a step's end; no training state is to be saved."""
        self.tick()
        return False

    def save(self, state: Any) -> None:
        """Save nothing."""

    def tick(self) -> None:
        """Note a step's end."""
        self.ends.append(self.now())

    def seconds(self) -> float:
        """Return the mean time of a step."""
        return (self.ends[-1] - self.ends[WARM - 1]) / (len(self.ends) - WARM)


@dataclass(frozen=True)
class Task:
    """One family's training, which every loop takes up anew: networks, losses, images."""

    contender: Contender
    images: Tensor
    sources: Tensor
    precision: str
    now: Callable[[], float] = time.perf_counter

    def build(self) -> Any:
        """Build the model, with the same weights for every loop."""
        torch.manual_seed(0)
        kind = load_model(self.contender.model)
        return kind(kind.Config(**self.contender.settings), SHAPE).train()

    def adam(self, model: Any, *, fused: bool) -> list[torch.optim.Adam]:
        """Build the players' optimizers."""
        made = partial(torch.optim.Adam, fused=fused)
        return [
            made(p.parameters, lr=p.optimizer.lr, betas=p.optimizer.betas) for p in model.players()
        ]

    def draw(self, images: Tensor) -> Tensor:
        """Draw a batch as one does by hand."""
        return images[torch.randint(len(images), (BATCH,))].float() / 255

    def batches(self) -> Iterator[Step]:
        """Yield steps with batches from the tensors."""
        for number in count():
            source = self.draw(self.sources) if self.contender.model == "cyclegan" else None
            yield Step(self.draw(self.images), source, torch.default_generator, number)


Loop = Callable[[Task, int, Clock], None]


def train_ours(task: Task, steps: int, clock: Clock) -> None:
    """Train by the project's loop, with its weight average, seeds by step and checks."""
    config = TrainingConfig(steps, BATCH, seed=0, evaluations=1, precision=task.precision)
    train(
        *(task.build(), task.images, task.sources, config),
        evaluate=lambda _: 0.0,
        report=lambda *_: None,
        checkpointer=clock,
    )


def train_before(task: Task, steps: int, clock: Clock, *, checkout: Path) -> None:
    """Train by an earlier version's models, suite and loop, in a process of its own."""
    turn = ["--turn", str(steps), "--only", task.contender.name, "--precision", task.precision]
    turn += ["--threads", str(torch.get_num_threads())]
    turn += ["--cpu-time"] * (task.now is time.process_time)
    place = os.environ | {"PYTHONPATH": str(checkout.resolve())}
    command = [sys.executable, __file__, *turn]
    done = subprocess.run(command, env=place, check=True, stdout=subprocess.PIPE, text=True)
    clock.ends += json.loads(done.stdout.splitlines()[-1])


def train_by_hand(
    task: Task,
    steps: int,
    clock: Clock,
    *,
    fused: bool = True,
    ema: bool = False,
    losses: Losses | None = None,
    batches: Callable[[Task], Iterator[Step]] = Task.batches,
) -> None:
    """Train by the shortest loop: losses, gradients, Adam, and a weight average where asked."""
    model = task.build()
    optimizers, losses = task.adam(model, fused=fused), losses or FAMILIES[task.contender.name]
    live = list_averaged(model)
    average = [tensor.clone() for tensor in live]
    for step, _ in zip(batches(task), range(steps), strict=False):
        found = losses(model, step)
        for optimizer in optimizers:
            with torch.autocast("cpu", torch.bfloat16, enabled=task.precision == "bfloat16"):
                loss = next(found)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        if ema:
            torch._foreach_lerp_(average, live, 0.001)
        clock.tick()


def list_averaged(model: nn.Module) -> list[Tensor]:
    """List parameters and running statistics."""
    running = [b for name, b in model.named_buffers() if "running_" in name]
    return [p.data for p in model.parameters()] + running


class Pictures(Dataset[tuple[Tensor, int]]):
    """Images as torchvision's MNIST gives them: through PIL and a transform, each with a class."""

    def __init__(self, images: Tensor) -> None:
        self.images, self.transform = images[:, 0], ToTensor()

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.transform(Image.fromarray(self.images[index].numpy())), 0


def load_pictures(task: Task) -> Iterator[Step]:
    """Yield steps with batches from the usual DataLoader in the same process."""

    def endless(images: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        loader = DataLoader(Pictures(images), BATCH, shuffle=True, drop_last=True)
        return chain.from_iterable(repeat(loader))

    sources: Any = endless(task.sources) if task.contender.model == "cyclegan" else repeat((None,))
    for number, (target, source) in enumerate(zip(endless(task.images), sources, strict=False)):
        yield Step(target[0], source[0], torch.default_generator, number)


def train_lightning(task: Task, steps: int, clock: Clock) -> None:
    """Train by Lightning's Trainer, with fused Adam and the batches of the loops by hand."""
    model = task.build()
    losses, optimizers = FAMILIES[task.contender.name], task.adam(model, fused=True)
    train_by_lightning(model, losses, optimizers, task.batches(), steps, clock.tick)


def train_pythae(task: Task, steps: int, clock: Clock) -> None:
    """Train by pythae's trainer, on as many images as the steps take."""
    images = task.draw(task.images).repeat(steps, 1, 1, 1)
    model = task.build()
    train_by_pythae(model, images, BATCH, model.players()[0].optimizer.lr, clock.tick)


LOOPS: dict[str, Loop] = {
    OURS: train_ours,
    "by hand, fused Adam, EMA": partial(train_by_hand, ema=True),
    "by hand, fused Adam": train_by_hand,
    "by hand, Adam": partial(train_by_hand, fused=False),
    "DataLoader, ToTensor": partial(train_by_hand, fused=False, batches=load_pictures),
    "Lightning, fused Adam": train_lightning,
    "pythae's trainer": train_pythae,
    "the paper's passes, fused Adam": partial(train_by_hand, losses=cyclegan_paper),
}


def choose_loops(task: Task, before: Path | None) -> dict[str, Loop]:
    """List the loops that train a family, of packages that are installed; say which are not.

    Beside a checkout of an earlier version there are none but that version's and this one's.
    """
    if before:
        return {OURS: train_ours, BEFORE: partial(train_before, checkout=before)}
    family, absent = task.contender.name, set()
    if family not in {"autoencoder", "vae"}:
        absent.add("pythae's trainer")
    if family != "cyclegan":
        absent.add("the paper's passes, fused Adam")
    if task.precision == "bfloat16":
        absent |= {"pythae's trainer", "Lightning, fused Adam"}
    for package, name in (("lightning", "Lightning, fused Adam"), ("pythae", "pythae's trainer")):
        if name not in absent and importlib.util.find_spec(package) is None:
            print(f"left out: {name}; pip install {package}")
            absent.add(name)
    return {name: loop for name, loop in LOOPS.items() if name not in absent}


def measure(loop: Loop, task: Task, steps: int) -> float:
    """Return the seconds of a step in one turn."""
    clock = Clock(task.now)
    loop(task, steps + WARM, clock)
    return clock.seconds()


def compare(
    task: Task, steps: int | None, rounds: int, before: Path | None
) -> list[dict[str, float]]:
    """Return the seconds of a step of each loop, by rounds, after a short turn of each.

    By default a turn takes about half a second.
    """
    loops = choose_loops(task, before)
    for loop in loops.values():
        measure(loop, task, 2)
    steps = steps or max(4, round(0.6 / measure(train_ours, task, 8)))
    return [
        {name: measure(loop, task, steps) for name, loop in loops.items()} for _ in range(rounds)
    ]


def measure_peak(precision: str, now: Callable[[], float]) -> float:
    """Return the most FLOP/s of a matrix product of 1024³, by the library behind each form.

    A plain product is MKL's or another's, a convolution of 1×1 oneDNN's.
    """
    dtype = getattr(torch, precision)
    a, b = (torch.randn(1024, 1024).to(dtype) for _ in range(2))
    image, kernel = a.view(1, 1024, 32, 32), b.view(1024, 1024, 1, 1)
    best = float("inf")
    for product in (lambda: a @ b, lambda: nn.functional.conv2d(image, kernel)) * 12:
        started = now()
        product()
        best = min(best, now() - started)
    return 2 * 1024**3 / best


def load_images(root: Path) -> tuple[Tensor, Tensor]:
    """Return MNIST's training images and edges where they are, else random ones, uint8."""
    try:
        data = load_dataset("mnist", data_root=root, source="edges", download=False)
        return as_tensor(data.train.images), as_tensor(data.source_train.images)
    except BadInput:
        print("no MNIST here: random images instead, which cost the same")
        images = torch.randint(0, 256, (35_000, *SHAPE), dtype=torch.uint8)
        return images, images.flip(0)


def tabulate(
    found: dict[str, list[dict[str, float]]], flops: dict[str, int], peak: float, title: str
) -> list[dict[str, Any]]:
    """Build the table of speeds beside others, and that of the machine's use."""
    rows = []
    for name in (BEFORE, *LOOPS):
        cells = [
            f"{statistics.median(turn[name] / turn[OURS] for turn in turns):.2f}×"
            if name in turns[0]
            else "–"
            for turns in found.values()
        ]
        if name != OURS and set(cells) != {"–"}:
            rows.append([name, *cells])
    uses = []
    for family, turns in found.items():
        seconds = statistics.median(turn[OURS] for turn in turns)
        speed = flops[family] / seconds
        cells = [f"{1 / seconds:,.1f}", f"{flops[family] / 1e9:.2f}", f"{speed / 1e9:.0f}"]
        uses.append([family, *cells, f"{speed / peak:.0%}".replace("%", " %")])
    share = f"share of {peak / 1e9:.0f} GFLOP/s"
    return [
        {
            "title": f"Steps of {OURS} loop for one of another; {title}",
            "columns": ["loop", *found],
            "rows": rows,
        },
        {
            "title": f"Speed of {OURS} loop; {title}",
            "columns": ["family", "steps/s", "GFLOP a step", "GFLOP/s", share],
            "rows": uses,
        },
    ]


def parse() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description="Compare the training loop with others.")
    parser.add_argument("--threads", type=int, default=1, help="threads of torch (default: 1)")
    parser.add_argument("--only", choices=FAMILIES, action="append", metavar="FAMILY",
                        help=f"one of {', '.join(FAMILIES)}; may be repeated")  # fmt: skip
    parser.add_argument("--steps", type=int, help="steps of a turn (default: for half a second)")
    parser.add_argument("--rounds", type=int, default=11, help="turns of each (default: 11)")
    parser.add_argument("--precision", choices=["float32", "bfloat16"], default="float32")
    parser.add_argument("--cpu-time", action="store_true",
                        help="count processor time: on a machine that others use")  # fmt: skip
    parser.add_argument("--before", type=Path, metavar="CHECKOUT",
                        help="compare with an earlier version's suite and loop alone")  # fmt: skip
    parser.add_argument("--turn", type=int, metavar="STEPS", help=argparse.SUPPRESS)
    parser.add_argument("--data-root", type=Path, default=default_data_root(), metavar="DIR")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the tables there too")
    options = parser.parse_args()
    if options.cpu_time and options.threads > 1:
        parser.error("--cpu-time adds up all threads' time: leave out --threads")
    return options


def main() -> None:
    """Run the comparison and print it."""
    options = parse()
    torch.set_num_threads(options.threads)
    images, sources = load_images(options.data_root)
    now = time.process_time if options.cpu_time else time.perf_counter
    name, path = find_suite("mnist")
    contenders = {c.name: c for c in build_suite(read_toml(path), name).list_contenders()}
    families = options.only or FAMILIES
    tasks = [Task(contenders[f], images, sources, options.precision, now) for f in families]
    if options.turn:
        clock = Clock(now)
        train_ours(tasks[0], options.turn, clock)
        print(json.dumps(clock.ends))
        return
    peak = measure_peak(options.precision, now)
    flops = {task.contender.name: count_training_flops(task.build(), BATCH) for task in tasks}
    found = {
        task.contender.name: compare(task, options.steps, options.rounds, options.before)
        for task in tasks
    }
    threads = f"{options.threads} thread{'s' * (options.threads > 1)}"
    title = f"{threads}, {options.precision}" + ", processor time" * options.cpu_time
    tables = tabulate(found, flops, peak, title)[: 1 if options.before else 2]
    for table in tables:
        shown = Table(*table["columns"], title=table["title"], box=None)
        for row in table["rows"]:
            shown.add_row(*row)
        Console().print(shown)
    if options.json:
        write_tables(options.json, tables)


if __name__ == "__main__":
    main()
