"""A player's optimizer: Adam by the schedule, on gradients averaged over the processes."""

import math

import torch
from torch import Tensor, nn
from torch.optim.adam import adam

from benchmarks.training.distributed import World
from models.base import Player, Step

MOMENTS = ("step", "exp_avg", "exp_avg_sq")
"""What Adam keeps of each parameter."""


class PlayerOptimizer:
    """A player, the optimizer of the player's parameters, and the mean of their loss so far.

    `clip` is the largest norm of the gradient, None for any; the loss is float32, or bfloat16 under
    autocast; the gradient is averaged over the parts of a batch of the processes of `world`.
    """

    def __init__(self, player: Player, clip: float | None, precision: str, world: World) -> None:
        self.player, self.clip, self.world = player, clip, world
        # Fused Adam takes parameters to lie densely in memory, which views may not.
        self.fused = all(torch.empty_like(p).stride() == p.stride() for p in player.parameters)
        device = player.parameters[0].device
        self.lr: float | Tensor = player.optimizer.lr
        if self.fused and device.type == "cuda":
            self.lr = torch.tensor(self.lr, device=device)  # which a CUDA graph reads anew
        self.moments: dict[Tensor, dict[str, Tensor]] = {}
        self.autocast = torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16")
        self.total = torch.zeros((), device=device)
        self.updates = 0

    def set_rate(self, factor: float) -> None:
        """Set the learning rate to the player's own times a factor."""
        rate = self.player.optimizer.lr * factor
        self.lr = self.lr.fill_(rate) if isinstance(self.lr, Tensor) else rate

    def update(self, step: Step) -> None:
        """Take one step down the player's loss."""
        parameters = [p for p in self.player.parameters if p.requires_grad]
        with self.autocast:
            loss = self.player.loss(step)
        found = torch.autograd.grad(loss, parameters, allow_unused=True)
        used = [(p, g) for p, g in zip(parameters, found, strict=True) if g is not None]
        *gradients, loss = self.world.mean([*(g for _, g in used), loss.detach().float()])
        self.descend([p for p, _ in used], gradients)
        self.total += loss
        self.updates += 1

    @torch.no_grad()
    def descend(self, parameters: list[Tensor], gradients: list[Tensor]) -> None:
        """Take one step of Adam; parameters without gradients stay, and their moments too.

        By the function behind `torch.optim.Adam`, whose own bookkeeping takes a third of the time.
        """
        gradients = [in_layout_of(p, g) for p, g in zip(parameters, gradients, strict=True)]
        for p, gradient in zip(parameters, gradients, strict=True):
            p.grad = gradient
        if self.clip is not None:
            nn.utils.clip_grad_norm_(parameters, self.clip)
        moments = [self.moments.get(p) or self.start(p) for p in parameters]
        steps, means, squares = ([m[kind] for m in moments] for kind in MOMENTS)
        beta1, beta2 = self.player.optimizer.betas
        adam(
            parameters,
            gradients,
            means,
            squares,
            [],
            steps,
            fused=self.fused,
            lr=self.lr,
            beta1=beta1,
            beta2=beta2,
            eps=1e-8,
            weight_decay=0,
            amsgrad=False,
            maximize=False,
        )

    def start(self, p: Tensor) -> dict[str, Tensor]:
        """Return new moments of a parameter, zeros; plain Adam counts its steps on the CPU."""
        steps = torch.zeros((), device=p.device if self.fused else None)
        values = (steps, torch.zeros_like(p), torch.zeros_like(p))
        self.moments[p] = dict(zip(MOMENTS, values, strict=True))
        return self.moments[p]

    def pop_mean_loss(self) -> float:
        """Return the mean loss since the last call."""
        mean = self.total.item() / max(1, self.updates)
        self.total.zero_()
        self.updates = 0
        return mean

    def state_dict(self) -> dict[str, Tensor]:
        """Return Adam's moments, a tensor for each parameter and kind."""
        return {
            f"{self.player.name}.{number}.{kind}": value
            for number, p in enumerate(self.player.parameters)
            for kind, value in self.moments.get(p, {}).items()
        }

    def load_state_dict(self, moments: dict[str, Tensor]) -> None:
        """Load moments of `state_dict`; raise ValueError where one is of another shape.

        A parameter without gradients has none.
        """
        for number, p in enumerate(self.player.parameters):
            for kind, value in select(moments, f"{self.player.name}.{number}.").items():
                like = value.new_empty(()) if kind == "step" else p
                if value.shape != like.shape:
                    raise ValueError(f"{kind} of shape {[*value.shape]}, not {[*like.shape]}")
                self.moments.setdefault(p, {})[kind] = in_layout_of(like, value.to(p.device))


def in_layout_of(p: Tensor, values: Tensor) -> Tensor:
    """Return `values` with the strides of `p`, which fused Adam on CPUs takes them to have."""
    return values if values.stride() == p.stride() else torch.empty_like(p).copy_(values)


def select(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Return the tensors whose names begin with `prefix`, without it."""
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}


def schedule_factor(name: str, progress: float) -> float:
    """Return the factor of the learning rate at `progress` in [0, 1] of training."""
    if name == "linear":
        return 1 - progress
    if name == "constant_linear":
        return min(1.0, 2 - 2 * progress)
    if name == "cosine":
        return (1 + math.cos(math.pi * progress)) / 2
    return 1.0
