"""What a model costs: parameters, floating-point operations and peak memory."""

import resource
import sys
import time
import weakref
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

from models.base import GenerativeModel, Player, Step


class FlopCounter(TorchDispatchMode):
    """Adds up the operations of every matrix product and convolution, by PyTorch's own formulas.

    PyTorch's `FlopCounterMode` also keeps track of modules, and fails on the gradient of a
    gradient, as in WGAN-GP's penalty.
    """

    def __init__(self) -> None:
        super().__init__()
        self.total = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Compute one operation and count it."""
        result = func(*args, **(kwargs or {}))
        count = flop_registry.get(func._overloadpacket)
        if count is not None:
            self.total += count(*args, **(kwargs or {}), out_val=result)
        return result


class MemoryCounter(TorchDispatchMode):
    """Follows how many bytes the tensors take that were made in its block and still exist.

    `peak` is the most of them so far. Memory that an operation needs for itself is not seen.
    """

    def __init__(self) -> None:
        super().__init__()
        self.known: dict[int, weakref.ref[torch.UntypedStorage]] = {}
        self.peak = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Compute one operation and add what it returns, views and results in place aside."""
        result = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(result):
            if isinstance(tensor, Tensor):
                storage = tensor.untyped_storage()
                self.known[id(storage)] = weakref.ref(storage)
        self.peak = max(self.peak, self.now)
        return result

    @property
    def now(self) -> int:
        """The bytes of the tensors that exist now."""
        # No callbacks: one that is called while an operation fails would end the process.
        storages = [storage for ref in self.known.values() if (storage := ref()) is not None]
        self.known = {id(storage): weakref.ref(storage) for storage in storages}
        return sum(storage.nbytes() for storage in storages)


class Enough(Exception):
    """The time is up."""


class Deadline(TorchDispatchMode):
    """Raise Enough where an operation would begin after `end`."""

    def __init__(self, end: float) -> None:
        super().__init__()
        self.end = end

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Compute one operation if there is time."""
        if time.perf_counter() > self.end:
            raise Enough
        return func(*args, **(kwargs or {}))


def count_parameters(model: GenerativeModel) -> int:
    """Count the parameters that are learnt, every player's."""
    learnt = (p for player in model.players() for p in player.parameters if p.requires_grad)
    return sum(p.numel() for p in learnt)


def count_training_flops(model: GenerativeModel, batch: int) -> int:
    """Count the floating-point operations of one training step, gradients included.

    Those of matrix products and convolutions, a multiplication and an addition counted as two. The
    model computes them on blank images, `batch` of them at a time, which may change its buffers.
    """
    images = torch.zeros(batch, *model.shape, device=model.device)
    with FlopCounter() as counter:
        for player, loss in compute_losses(model.train(), images, images):
            differentiate(player, loss)
    return counter.total


def compute_losses(
    model: GenerativeModel, images: Tensor, source: Tensor
) -> Iterator[tuple[Player, Tensor]]:
    """Yield the losses of one training step, one for each update; no parameter changes."""
    rng = torch.Generator(model.device).manual_seed(0)
    shown: list[Step] = []
    for player in model.players():
        for turn in range(player.updates):
            if turn == len(shown):
                shown.append(Step(images, source if model.uses_source else None, rng, 0))
            yield player, player.loss(shown[turn])


def differentiate(player: Player, loss: Tensor) -> tuple[Tensor | None, ...]:
    """Return a loss's gradients by the parameters that are learnt; None of those it is not of."""
    learnt = [p for p in player.parameters if p.requires_grad]
    return torch.autograd.grad(loss, learnt, allow_unused=True)


def reset_peak_memory(device: torch.device) -> None:
    """Reset the peak where the system allows it (CUDA, mostly Linux)."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    elif sys.platform == "linux":
        with suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def read_peak_memory(device: torch.device) -> float:
    """Return the peak in MiB: allocated on a CUDA device, else resident in this process.

    The process's includes the interpreter and PyTorch itself, some hundreds of MiB.
    What a CUDA graph keeps for its replays counts as its step is recorded, not while models are
    scored.
    """
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    if sys.platform == "linux":
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
        peak = next(line for line in lines if line.startswith("VmHWM"))
        return int(peak.split()[1]) / 2**10
    scale = 2**20 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / scale
