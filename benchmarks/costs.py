"""What a model costs: parameters, floating-point operations and peak memory."""

import copy
import resource
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from models.game import GenerativeModel, Round


class FlopCounter(TorchDispatchMode):
    """Adds up the operations of every matrix product and convolution, by PyTorch's own formulas.

    PyTorch's `FlopCounterMode` also keeps track of modules, and fails on the gradient of a
    gradient, as in WGAN-GP's penalty.
    """

    def __init__(self) -> None:
        super().__init__()
        self.total = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Carry out one operation and count it."""
        result = func(*args, **(kwargs or {}))
        count = flop_registry.get(func._overloadpacket)
        if count is not None:
            self.total += count(*args, **(kwargs or {}), out_val=result)
        return result


def count_parameters(model: GenerativeModel) -> int:
    """Count the parameters that are learnt, every player's."""
    return sum(p.numel() for player in model.players() for p in player.parameters)


def count_training_flops(model: GenerativeModel, batch: int) -> int:
    """Count the floating-point operations of one round of play, gradients included.

    Those of matrix products and convolutions, a multiplication and an addition counted as two. A
    copy of the model plays, on blank images, `batch` of them at a time.
    """
    twin = copy.deepcopy(model).train()
    images = torch.zeros(batch, *model.shape, device=model.device)
    rng = torch.Generator(model.device).manual_seed(0)
    rounds: list[Round] = []
    with FlopCounter() as counter:
        for player in twin.players():
            for turn in range(player.updates):
                if turn == len(rounds):
                    rounds.append(Round(images, images if model.uses_source else None, rng, 0))
                torch.autograd.grad(player.loss(rounds[turn]), player.parameters)
    return counter.total


@torch.no_grad()
def count_sampling_flops(model: GenerativeModel) -> int:
    """Count the floating-point operations of generating one image, as above."""
    twin = copy.deepcopy(model).eval()
    source = torch.zeros(1, *model.shape, device=model.device) if model.uses_source else None
    rng = torch.Generator(model.device).manual_seed(0)
    with FlopCounter() as counter:
        twin.sample(1, rng, source)
    return counter.total


def reset_peak_memory(device: torch.device) -> None:
    """Start measuring the peak anew where the system allows it (CUDA, mostly Linux)."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    elif sys.platform == "linux":
        with suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def read_peak_memory(device: torch.device) -> float:
    """Give the peak in MiB: allocated on a CUDA device, else resident in this process.

    The process's includes the interpreter and PyTorch itself, some hundreds of MiB.
    """
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    if sys.platform == "linux":
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
        peak = next(line for line in lines if line.startswith("VmHWM"))
        return int(peak.split()[1]) / 2**10
    scale = 2**20 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / scale
