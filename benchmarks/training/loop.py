"""The one training loop, of any model's game."""

import copy
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol

import torch
from pydantic import JsonValue
from torch import Tensor, nn

from benchmarks.core.errors import one_line
from benchmarks.core.seeds import derive_seed
from benchmarks.core.tensors import to_float
from benchmarks.training.distributed import ALONE, World
from benchmarks.training.ema import EMA
from benchmarks.training.graphs import StepGraph, can_record, update_players
from benchmarks.training.optimizers import PlayerOptimizer, schedule_factor, select
from models.base import GenerativeModel, Step

LOOP = 2
"""Raised whenever the loop trains the same model otherwise: 2 keeps strides and carries buffers."""

EXPLODED = 1e8
"""A mean loss beyond this counts as diverged; sums over the pixels of large images stay below."""


class Diverged(Exception):
    """Training left the finite numbers; the message says which loss and when."""


class StateMismatch(Exception):
    """A training state is not this model's."""


@dataclass(frozen=True)
class TrainingConfig:
    """How long and on what a model is trained; its optimizers' settings are the model's own.

    Attributes:
        batch: images in a batch, over all processes.
        seed: the base of all randomness; the model's initial weights are not drawn from it here.
        evaluations: how often the model is evaluated, evenly spaced, the last at the end.
        precision: "float32" or "bfloat16" (autocast).
    """

    steps: int
    batch: int
    seed: int
    evaluations: int = 10
    precision: str = "float32"
    compile: bool = False


@dataclass
class Trained:
    """A trained model.

    Attributes:
        model: the EMA after the last step, in evaluation mode.
        last: the parameters and buffers after the last step, without EMA.
        best: the EMA's parameters and buffers at the evaluation, after `best_step`, with the lowest
            score.
        history: a row a log point: step, images, seconds, losses, validation_fid.
        seconds: the time the training steps took, evaluations excluded.
    """

    model: GenerativeModel
    last: dict[str, Tensor]
    best: dict[str, Tensor]
    best_step: int
    history: list[dict[str, float]]
    seconds: float


@dataclass(frozen=True)
class TrainingState:
    """All that resuming after `step` training steps needs; the rest follows from the config.

    Attributes:
        tensors: parameters and buffers of the model, of its EMA and of the best EMA so far,
            the optimizers' moments, and the losses since the last log point.
        about: the history, the best step, the seconds: all that is no tensor.
    """

    step: int
    tensors: dict[str, Tensor]
    about: dict[str, JsonValue]


class Checkpointer(Protocol):
    """An object that saves training states."""

    def due(self) -> bool:
        """Return after every training step whether its state is to be saved."""

    def save(self, state: TrainingState) -> None:
        """Save a state; the tensors are the live ones, to be copied or written before returning."""


class Batches:
    """An endless stream of batches of images, uint8, or points, float32; batch i depends on i only.

    Each epoch is a permutation drawn from (seed, epoch); a batch may span two epochs.
    """

    def __init__(self, images: Tensor, size: int, seed: int, device: torch.device) -> None:
        self.images, self.size, self.seed, self.device = images, size, seed, device
        self.epoch, self.order = -1, torch.empty(0, dtype=torch.long)

    def indices(self, start: int, count: int) -> Tensor:
        """Return the image numbers at positions start, …, start + count − 1 of the stream."""
        n = len(self.images)
        epoch, offset = divmod(start, n)
        if epoch != self.epoch:
            rng = torch.Generator().manual_seed(derive_seed(self.seed, epoch))
            # Drawn on the CPU, whose digits are the same everywhere; sent to a GPU once an epoch,
            # which would else wait for indices in every step.
            order = torch.randperm(n, generator=rng).to(self.images.device, non_blocking=True)
            self.epoch, self.order = epoch, order
        chosen = self.order[offset : offset + count]
        if len(chosen) < count:
            rest = self.indices(start + len(chosen), count - len(chosen))
            chosen = torch.cat([chosen, rest])
        return chosen

    def read(self, number: int, rows: slice = slice(None)) -> Tensor:
        """Return rows of batch `number`, float32 [n, C, H, W] in [0, 1] on the device."""
        chosen = self.indices(number * self.size, self.size)[rows]
        batch = self.images.index_select(0, chosen)
        return to_float(batch.to(self.device, non_blocking=self.device.type == "cuda"))


@dataclass
class Clock:
    """A stopwatch that can be paused."""

    seconds: float = 0.0
    started: float = field(default_factory=time.perf_counter)

    def pause(self) -> None:
        """Stop counting."""
        self.seconds += time.perf_counter() - self.started

    def resume(self) -> None:
        """Continue counting."""
        self.started = time.perf_counter()


@dataclass
class Trainer:
    """What changes in training: model, optimizers, EMA, history, the best EMA so far, the time."""

    model: GenerativeModel
    optimizers: list[PlayerOptimizer]
    ema: EMA
    history: list[dict[str, float]]
    step: int = 0
    best: dict[str, Tensor] = field(default_factory=dict)
    best_step: int = 0
    best_score: float = math.inf
    clock: Clock = field(default_factory=Clock)

    def state(self) -> TrainingState:
        """Return the training state as it is now."""
        tensors = {f"model.{name}": tensor for name, tensor in self.model.state_dict().items()}
        tensors |= {f"average.{k}": v for k, v in self.ema.model.state_dict().items()}
        tensors |= {f"best.{name}": tensor for name, tensor in self.best.items()}
        for optimizer in self.optimizers:
            tensors |= {f"moments.{name}": value for name, value in optimizer.state_dict().items()}
            tensors[f"total.{optimizer.player.name}"] = optimizer.total
        about: dict[str, JsonValue] = {
            "history": [dict(row) for row in self.history],
            "rounds": [optimizer.updates for optimizer in self.optimizers],
            "best_step": self.best_step,
            "best_score": self.best_score,
            "seconds": self.clock.seconds,
        }
        return TrainingState(self.step, tensors, about)

    def load(self, state: TrainingState) -> None:
        """Load a training state.

        Raises:
            StateMismatch: it is another model's; this one is of no use any more.
        """
        about: Any = state.about
        try:
            self.model.load_state_dict(select(state.tensors, "model."))
            self.ema.model.load_state_dict(select(state.tensors, "average."))
            self.best = select(state.tensors, "best.")
            moments = select(state.tensors, "moments.")
            for optimizer, updates in zip(self.optimizers, about["rounds"], strict=True):
                optimizer.load_state_dict(moments)
                optimizer.total.copy_(state.tensors[f"total.{optimizer.player.name}"])
                optimizer.updates = updates
            self.step = state.step
            self.history[:] = about["history"]
            self.best_step, self.best_score = about["best_step"], about["best_score"]
            self.clock.seconds = about["seconds"]
        except (KeyError, RuntimeError, TypeError, ValueError) as error:
            raise StateMismatch(one_line(error)[:200]) from error


def training_step(
    optimizers: list[PlayerOptimizer],
    batches: Batches,
    sources: Batches | None,
    seed: int,
    step: int,
    world: World,
    graph: StepGraph | None = None,
) -> None:
    """Update every player on as many batches as the one with the most updates sees."""
    most = max(optimizer.player.updates for optimizer in optimizers)
    # A model of the user's may draw from the global generator, e.g. for dropout.
    seed_default_generators(world.seed(seed, "round", step), batches.device)

    def show(turn: int) -> Step:
        number, rows = step * most + turn, world.rows(batches.size)
        rng = torch.Generator(batches.device)
        rng.manual_seed(world.seed(seed, "play", number))
        source = sources.read(number, rows) if sources else None
        return Step(batches.read(number, rows), source, rng, step)

    if graph:
        graph.take(show)
    else:
        update_players(optimizers, show)


def seed_default_generators(seed: int, device: torch.device) -> None:
    """Seed what is drawn from without a generator, on CPUs and on the device's kind.

    To the digits that `torch.manual_seed` leads to, which calls on all kinds of devices and takes a
    tenth of a small model's step.
    """
    torch.default_generator.manual_seed(seed)
    if device.type != "cpu":
        kind = getattr(torch, device.type)
        getattr(kind, "manual_seed_all", kind.manual_seed)(seed)


def train(
    model: GenerativeModel,
    images: Tensor,
    source: Tensor | None,
    config: TrainingConfig,
    *,
    evaluate: Callable[[GenerativeModel], float],
    report: Callable[[int, dict[str, float]], None],
    history: list[dict[str, float]] | None = None,
    state: TrainingState | None = None,
    checkpointer: Checkpointer | None = None,
    world: World = ALONE,
) -> Trained:
    """Train `model` and return its EMA.

    Args:
        model: in its initial state, on the device to train on.
        images: the target domain, uint8 [N, C, H, W], on the device or in memory.
        source: the source domain, likewise, for a model that `uses_source`.
        config: how long and on what.
        evaluate: scores the EMA on validation images, lower is better.
        report: is called with the step and the mean losses at every log point.
        history: a list to keep the history in, for those who want it though training fails.
        state: of an earlier training by the same config; the outcome is that of one which was
            never interrupted, bit for bit.
        checkpointer: saves such states.
        world: the processes that train together; weights, buffers, state and scores are those of
            rank 0, which alone evaluates and saves.

    Raises:
        Diverged: a loss is not finite or has exploded.
        StateMismatch: the state is another model's.
    """
    device, settings = model.device, model.config
    model.train()
    world.share(tensor.data for tensor in (*model.parameters(), *model.buffers()))
    clip, precision, players = settings.clip, config.precision, model.players()
    optimizers = [PlayerOptimizer(player, clip, precision, world) for player in players]
    now = Trainer(model, optimizers, EMA(model, settings.ema), [] if history is None else history)
    state = world.broadcast(state)
    if state is not None:
        now.load(state)
    if config.compile:
        for network in model.compilable():
            network.compile()
    batches = Batches(images, config.batch, derive_seed(config.seed, "images"), device)
    sources = None
    if source is not None and model.uses_source:
        sources = Batches(source, config.batch, derive_seed(config.seed, "sources"), device)
    log_points = set(evenly_spaced(config.steps, 100))
    evaluation_points = set(evenly_spaced(config.steps, config.evaluations))
    seen = config.batch * max(player.updates for player in players)
    recorded = can_record(model, optimizers, config.compile, world)
    graph = StepGraph(model, optimizers) if recorded else None
    now.clock.resume()

    for step in range(now.step, config.steps):
        # The learning rate is a function of the step alone.
        if settings.schedule != "constant":
            for optimizer in optimizers:
                optimizer.set_rate(schedule_factor(settings.schedule, step / config.steps))

        training_step(optimizers, batches, sources, config.seed, step, world, graph)
        world.share(buffer.data for buffer in model.buffers())
        now.ema.update(step)
        now.step = done = step + 1

        # Losses leave the device at log points only.
        if done in log_points or done in evaluation_points:
            losses = {f"loss_{o.player.name}": o.pop_mean_loss() for o in optimizers}
            now.clock.pause()
            row = {"step": done, "images": done * seen, "seconds": now.clock.seconds, **losses}
            now.history.append(row)
            report(done, losses)
            check_finite(losses, done)

            # Which step is best is decided on validation images only.
            if done in evaluation_points:
                now.ema.copy_buffers()
                # A copy, since an evaluation may complete the model, e.g. fit a density to codes.
                average = copy.deepcopy(now.ema.model)
                row["validation_fid"] = score = world.on_rank_0(partial(evaluate, average))
                if score < now.best_score or not now.best:
                    now.best, now.best_step = snapshot(now.ema.model), done
                    now.best_score = score
            now.clock.resume()

        # An interruption costs no more than the steps since the last state.
        if checkpointer is not None and checkpointer.due():
            now.clock.pause()
            checkpointer.save(now.state())
            now.clock.resume()

    now.clock.pause()
    now.ema.copy_buffers()
    known = (now.best, now.best_step, now.history, now.clock.seconds)
    return Trained(now.ema.model, snapshot(model), *known)


def evenly_spaced(steps: int, points: int) -> Iterator[int]:
    """Yield at most `points` steps evenly spaced over 1, …, steps, the last included."""
    points = min(points, steps)
    return (round(steps * (i + 1) / points) for i in range(points))


def check_finite(losses: dict[str, float], step: int) -> None:
    """Raise Diverged where a loss is not finite or has exploded."""
    for name, loss in losses.items():
        if not abs(loss) < EXPLODED:
            raise Diverged(f"{name} is {loss:g} at step {step}")


def snapshot(model: nn.Module) -> dict[str, Tensor]:
    """Copy a model's parameters and buffers to the CPU's memory."""
    return {name: tensor.detach().cpu().clone() for name, tensor in model.state_dict().items()}
