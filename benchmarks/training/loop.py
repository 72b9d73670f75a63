"""The one training loop: it plays the rounds of any model's game."""

import copy
import json
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from pydantic import JsonValue
from safetensors.torch import load, save
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from benchmarks.core.seeds import derive_seed
from benchmarks.core.tensors import to_float
from benchmarks.training.distributed import WHOLE, Shards
from models.base import GenerativeModel, Player, Step

LOOP = 2
"""Raised whenever the loop trains the same model otherwise: 2 keeps strides and carries buffers."""

EXPLODED = 1e8
"""A mean loss beyond this counts as diverged; sums over the pixels of large images stay below."""


class Diverged(Exception):
    """Training left the finite numbers; the message says which loss and when."""


class StateMismatch(Exception):
    """A state of training is not this model's."""


@dataclass(frozen=True)
class TrainingConfig:
    """How long and on what a model is trained; what it trains with is the model's own recipe.

    Attributes:
        steps: rounds to play.
        batch: images in a batch.
        seed: the base of all randomness; the model's initial weights are not drawn from it here.
        evaluations: how often the model is evaluated, evenly spaced, the last at the end.
        precision: "float32" or "bfloat16" (autocast).
        compile: whether the model's networks are compiled.
    """

    steps: int
    batch: int
    seed: int
    evaluations: int = 10
    precision: str = "float32"
    compile: bool = False


@dataclass
class Trained:
    """What training leaves.

    Attributes:
        model: the weight average after the last step, in evaluation mode.
        last: the parameters and buffers after the last step, before averaging.
        best: the averaged parameters and buffers at the evaluation with the lowest score.
        best_step: when that was.
        history: a row a log point: step, images, seconds, losses, validation_fid.
        seconds: the time the rounds took, evaluations excluded.
    """

    model: GenerativeModel
    last: dict[str, Tensor]
    best: dict[str, Tensor]
    best_step: int
    history: list[dict[str, float]]
    seconds: float


@dataclass(frozen=True)
class TrainingState:
    """Training after `step` rounds, as far as going on with it needs; the rest follows from both.

    Attributes:
        step: rounds played.
        tensors: parameters and buffers of the model, of its average and of the best average so far,
            the optimisers' moments, and the losses since the last log point.
        about: the history, when the average was best, the seconds: all that is no tensor.
    """

    step: int
    tensors: dict[str, Tensor]
    about: dict[str, JsonValue]


class Checkpointer(Protocol):
    """Whoever keeps the state of training while it goes on."""

    def due(self) -> bool:
        """Tell after every round whether its state is to be kept."""

    def save(self, state: TrainingState) -> None:
        """Keep a state; the tensors are the live ones, to be copied or written before returning."""


class Batches:
    """An endless stream of batches of images, uint8, or points, float32.

    Where it stands follows from the batch's number alone.

    Each epoch is a permutation drawn from (seed, epoch); a batch may span two epochs.
    """

    def __init__(self, images: Tensor, size: int, seed: int, device: torch.device) -> None:
        self.images, self.size, self.seed, self.device = images, size, seed, device
        self.epoch, self.order = -1, torch.empty(0, dtype=torch.long)

    def indices(self, start: int, count: int) -> Tensor:
        """Give the image numbers at positions start, …, start + count − 1 of the stream."""
        n = len(self.images)
        epoch, offset = divmod(start, n)
        if epoch != self.epoch:
            rng = torch.Generator().manual_seed(derive_seed(self.seed, epoch))
            self.epoch, self.order = epoch, torch.randperm(n, generator=rng)
        chosen = self.order[offset : offset + count]
        if len(chosen) < count:
            rest = self.indices(start + len(chosen), count - len(chosen))
            chosen = torch.cat([chosen, rest])
        return chosen

    def __getitem__(self, number: int) -> Tensor:
        """Give batch `number`, float32 [size, C, H, W] in [0, 1] on the device."""
        return self.part(number, slice(None))

    def part(self, number: int, rows: slice) -> Tensor:
        """Give these rows of batch `number`."""
        chosen = self.indices(number * self.size, self.size)[rows]
        batch = self.images[chosen.to(self.images.device)]
        return to_float(batch.to(self.device, non_blocking=True))


@dataclass
class Opponent:
    """A player with the optimiser that the loop moves them by."""

    player: Player
    optimizer: torch.optim.Optimizer
    clip: float | None
    total: Tensor
    rounds: int = 0

    def update(
        self,
        plays: dict[int, Step],
        turn: int,
        plan: TrainingConfig,
        model: nn.Module,
        shards: Shards,
    ) -> None:
        """Take one step down this player's loss, the mean over the shards of the batch."""
        parameters = [p for p in self.player.parameters if p.requires_grad]
        used: list[nn.Parameter] = []

        def compute(shard: int) -> list[Tensor]:
            if shards.count > 1:
                purpose = plan.seed, "round", plays[shard].step, self.player.name, turn
                torch.manual_seed(shards.seed(shard, *purpose))
            loss = self.compute_loss(plays[shard], plan.precision)
            gradients = torch.autograd.grad(loss, parameters, allow_unused=True)
            pairs = zip(parameters, gradients, strict=True)
            used[:] = [p for p, gradient in pairs if gradient is not None]  # alike for all shards
            return [*(g for g in gradients if g is not None), loss.detach().float()]

        *gradients, loss = shards.mean(compute, model)
        self.optimizer.zero_grad()
        for p, gradient in zip(used, gradients, strict=True):
            p.grad = in_layout_of(p, gradient)
        if self.clip is not None:
            nn.utils.clip_grad_norm_(used, self.clip)
        self.optimizer.step()
        self.total += loss
        self.rounds += 1

    def compute_loss(self, play: Step, precision: str) -> Tensor:
        """Compute this player's loss, under autocast for bfloat16."""
        if precision == "bfloat16":
            with torch.autocast(play.images.device.type, torch.bfloat16):
                return self.player.loss(play)
        return self.player.loss(play)

    def moments(self) -> dict[str, Tensor]:
        """Name what the optimiser has gathered, a tensor for each parameter and kind."""
        return {
            f"{self.player.name}.{number}.{kind}": value
            for number, p in enumerate(self.player.parameters)
            for kind, value in self.optimizer.state[p].items()
        }

    def take_up(self, moments: dict[str, Tensor]) -> None:
        """Load moments that were gathered before; a parameter without gradients has none."""
        for number, p in enumerate(self.player.parameters):
            for kind, value in select(moments, f"{self.player.name}.{number}.").items():
                alike = value.new_empty(()) if kind == "step" else p
                if value.shape != alike.shape:
                    raise ValueError(f"{kind} of shape {[*value.shape]}, not {[*alike.shape]}")
                own = in_layout_of(alike, value.to(p.device))
                self.optimizer.state[p][kind] = own

    def mean_loss(self) -> float:
        """Give the mean loss since the last call, and start anew."""
        mean = self.total.item() / max(1, self.rounds)
        self.total.zero_()
        self.rounds = 0
        return mean


def in_layout_of(p: Tensor, values: Tensor) -> Tensor:
    """Return `values` with the strides of `p`, which fused Adam on CPUs takes them to have."""
    return values if values.stride() == p.stride() else torch.empty_like(p).copy_(values)


class EMA:
    """Exponential moving average of a model's parameters and batch-normalisation statistics.

    The decay warms up as min(decay, (1 + t) / (10 + t)), so that early weights are forgotten. All
    other buffers (codebooks, vectors of spectral normalisation, counters) are the live model's.
    """

    def __init__(self, model: GenerativeModel, decay: float) -> None:
        self.source, self.decay = model, decay
        self.model = copy.deepcopy(model).eval().requires_grad_(requires_grad=False)
        self.live, self.averaged = list_averaged(model), list_averaged(self.model)

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Move the average towards the model's weights after step `step`."""
        decay = min(self.decay, (1 + step) / (10 + step))
        torch._foreach_lerp_(self.averaged, self.live, 1 - decay)

    @torch.no_grad()
    def copy_buffers(self) -> None:
        """Copy the buffers that are not averaged from the live model."""
        averaged = {id(tensor) for tensor in self.live}
        for own, live in zip(self.model.modules(), self.source.modules(), strict=True):
            for name, buffer in live.named_buffers(recurse=False):
                if id(buffer) not in averaged:
                    setattr(own, name, buffer.clone())


def list_averaged(model: nn.Module) -> list[Tensor]:
    """List the tensors that an EMA averages: parameters and statistics of batch normalisation."""
    norms = [m for m in model.modules() if isinstance(m, _BatchNorm) and m.track_running_stats]
    statistics = [b for m in norms for b in (m.running_mean, m.running_var) if b is not None]
    return [p.data for p in model.parameters()] + statistics


def schedule_factor(name: str, progress: float) -> float:
    """Give the learning rate's factor at `progress` in [0, 1] of training."""
    if name == "linear":
        return 1 - progress
    if name == "constant_linear":
        return min(1.0, 2 - 2 * progress)
    if name == "cosine":
        return (1 + math.cos(math.pi * progress)) / 2
    return 1.0


def seat(player: Player, clip: float | None) -> Opponent:
    """Give `player` the optimiser they ask for."""
    settings = player.optimizer
    # Fused Adam takes parameters to lie densely in memory, which views may not.
    dense = all(torch.empty_like(p).stride() == p.stride() for p in player.parameters)
    adam = torch.optim.Adam(player.parameters, lr=settings.lr, betas=settings.betas, fused=dense)
    return Opponent(player, adam, clip, torch.zeros((), device=player.parameters[0].device))


@dataclass
class Clock:
    """A stopwatch that can be paused."""

    seconds: float = 0.0
    started: float = field(default_factory=time.perf_counter)

    def pause(self) -> None:
        """Stop counting."""
        self.seconds += time.perf_counter() - self.started

    def resume(self) -> None:
        """Count on."""
        self.started = time.perf_counter()


def training_step(
    model: nn.Module,
    opponents: list[Opponent],
    batches: Batches,
    sources: Batches | None,
    plan: TrainingConfig,
    step: int,
    shards: Shards,
) -> None:
    """Let every player move: a player with k updates sees the first k batches of the round."""
    most = max(opponent.player.updates for opponent in opponents)
    rounds: list[dict[int, Step]] = []
    # A model of the user's may draw from the global generator, e.g. for dropout.
    torch.manual_seed(derive_seed(plan.seed, "round", step))
    for opponent in opponents:
        for turn in range(opponent.player.updates):
            if turn == len(rounds):
                number = step * most + turn
                rounds.append(open_rounds(batches, sources, plan, step, number, shards))
            opponent.update(rounds[turn], turn, plan, model, shards)


def open_rounds(
    batches: Batches,
    sources: Batches | None,
    plan: TrainingConfig,
    step: int,
    number: int,
    shards: Shards,
) -> dict[int, Step]:
    """Begin a round on each of this process's shards of batch `number`."""
    rounds = {}
    for shard in shards.own:
        rng = torch.Generator(batches.device)
        rng.manual_seed(shards.seed(shard, plan.seed, "play", number))
        rows = shards.rows(plan.batch, shard)
        source = sources.part(number, rows) if sources else None
        rounds[shard] = Step(batches.part(number, rows), source, rng, step)
    return rounds


@dataclass
class Standing:
    """How training stands: what changes with every round, to be written down and taken up again."""

    model: GenerativeModel
    opponents: list[Opponent]
    average: EMA
    history: list[dict[str, float]]
    step: int = 0
    best: dict[str, Tensor] = field(default_factory=dict)
    best_step: int = 0
    best_score: float = math.inf
    clock: Clock = field(default_factory=Clock)

    def write_down(self) -> TrainingState:
        """Give the state of training as it is now."""
        tensors = {f"model.{name}": tensor for name, tensor in self.model.state_dict().items()}
        tensors |= {f"average.{k}": v for k, v in self.average.model.state_dict().items()}
        tensors |= {f"best.{name}": tensor for name, tensor in self.best.items()}
        for opponent in self.opponents:
            tensors |= {f"moments.{name}": value for name, value in opponent.moments().items()}
            tensors[f"total.{opponent.player.name}"] = opponent.total
        about: dict[str, JsonValue] = {
            "history": [dict(row) for row in self.history],
            "rounds": [opponent.rounds for opponent in self.opponents],
            "best_step": self.best_step,
            "best_score": self.best_score,
            "seconds": self.clock.seconds,
        }
        return TrainingState(self.step, tensors, about)

    def take_up(self, state: TrainingState) -> None:
        """Go on from a state that was written down.

        Raises:
            StateMismatch: it is another model's; this one is of no use any more.
        """
        try:
            self._take_up(state, state.about)
        except (KeyError, RuntimeError, TypeError, ValueError) as error:
            raise StateMismatch(" ".join(str(error).split())[:200]) from error

    def _take_up(self, state: TrainingState, about: dict[str, Any]) -> None:
        self.model.load_state_dict(select(state.tensors, "model."))
        self.average.model.load_state_dict(select(state.tensors, "average."))
        self.best = select(state.tensors, "best.")
        moments = select(state.tensors, "moments.")
        for opponent, rounds in zip(self.opponents, about["rounds"], strict=True):
            opponent.take_up(moments)
            opponent.total.copy_(state.tensors[f"total.{opponent.player.name}"])
            opponent.rounds = rounds
        self.step = state.step
        self.history[:] = about["history"]
        self.best_step, self.best_score = about["best_step"], about["best_score"]
        self.clock.seconds = about["seconds"]


def share_state(state: TrainingState | None, shards: Shards) -> TrainingState | None:
    """Give every process the state that the first one has, or none."""
    if shards.ranks == 1:
        return state
    known = None if state is None else json.dumps([state.step, state.about]).encode()
    tensors = shards.share_content(None if state is None else save(state.tensors))
    known = shards.share_content(known)
    if known is None or tensors is None:
        return None
    step, about = json.loads(known)
    return TrainingState(step, load(tensors), about)


def select(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Give the tensors whose names begin with `prefix`, without it."""
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}


def train(
    model: GenerativeModel,
    images: Tensor,
    source: Tensor | None,
    plan: TrainingConfig,
    *,
    evaluate: Callable[[GenerativeModel], float],
    report: Callable[[int, dict[str, float]], None],
    history: list[dict[str, float]] | None = None,
    state: TrainingState | None = None,
    checkpointer: Checkpointer | None = None,
    shards: Shards = WHOLE,
) -> Trained:
    """Train `model` by the plan and give its weight average.

    Args:
        model: in its initial state, on the device to train on.
        images: the target domain, uint8 [N, C, H, W], on the device or in memory.
        source: the source domain, likewise, for a model that `uses_source`.
        plan: how long and on what.
        evaluate: scores the averaged model on validation images, lower is better.
        report: is told the step and the mean losses at every log point.
        history: a list to keep the history in, for those who want it though training fails.
        state: where an earlier training by the same plan stood; the outcome is that of one which
            was never interrupted, bit for bit.
        checkpointer: keeps such states.
        shards: the parts that a batch is computed in, and which of them are this process's; those
            processes that do not lead get weights and state from the one that does.

    Raises:
        Diverged: a loss is not finite or has exploded.
        StateMismatch: the state is another model's.
    """
    device = model.device
    model.train()
    shards.share_model(model)
    state = share_state(state, shards)
    opponents = [seat(player, model.config.clip) for player in model.players()]
    now = Standing(
        model, opponents, EMA(model, model.config.ema), [] if history is None else history
    )
    if state is not None:
        now.take_up(state)
    if plan.compile:
        for network in model.compilable():
            network.compile()
    batches = Batches(images, plan.batch, derive_seed(plan.seed, "images"), device)
    sources = (
        Batches(source, plan.batch, derive_seed(plan.seed, "sources"), device)
        if source is not None and model.uses_source
        else None
    )
    log_points = set(evenly_spaced(plan.steps, 100))
    evaluation_points = set(evenly_spaced(plan.steps, plan.evaluations))
    seen = plan.batch * max(opponent.player.updates for opponent in opponents)
    now.clock.resume()

    for step in range(now.step, plan.steps):
        # The learning rate is a function of the step alone.
        if model.config.schedule != "constant":
            factor = schedule_factor(model.config.schedule, step / plan.steps)
            for opponent in opponents:
                opponent.optimizer.param_groups[0]["lr"] = opponent.player.optimizer.lr * factor

        # One round of play, then the weights' average.
        training_step(model, opponents, batches, sources, plan, step, shards)
        now.average.update(step)
        now.step = done = step + 1

        # Losses leave the device at log points only.
        if done in log_points or done in evaluation_points:
            losses = {f"loss_{o.player.name}": o.mean_loss() for o in opponents}
            now.clock.pause()
            row = {"step": done, "images": done * seen, "seconds": now.clock.seconds, **losses}
            now.history.append(row)
            report(done, losses)
            check_finite(losses, done)

            # Which step is best is decided on validation images only.
            if done in evaluation_points:
                now.average.copy_buffers()
                # A copy, since an evaluation may complete the model, e.g. fit a density to codes.
                row["validation_fid"] = score = evaluate(copy.deepcopy(now.average.model))
                if score < now.best_score or not now.best:
                    now.best, now.best_step, now.best_score = (
                        snapshot(now.average.model),
                        done,
                        score,
                    )
            now.clock.resume()

        # What was played is not lost when the process is.
        if checkpointer is not None and checkpointer.due():
            now.clock.pause()
            checkpointer.save(now.write_down())
            now.clock.resume()

    now.clock.pause()
    now.average.copy_buffers()
    return Trained(
        now.average.model, snapshot(model), now.best, now.best_step, now.history, now.clock.seconds
    )


def evenly_spaced(steps: int, points: int) -> Iterator[int]:
    """Give at most `points` steps evenly spaced over 1, …, steps, the last included."""
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
