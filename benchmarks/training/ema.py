"""The exponential moving average (EMA) of a model's weights."""

import copy

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from models.base import GenerativeModel


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
