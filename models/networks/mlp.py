"""Fully connected networks."""

from collections.abc import Callable
from itertools import pairwise

from torch import nn

from models.networks.layers import Norm, normalise, outer_norm


def mlp(
    sizes: list[int], activation: Callable[[], nn.Module], norm: Norm = "none"
) -> nn.Sequential:
    """Stack linear layers of the given sizes, normalised and activated but for the last.

    Weights are drawn after Glorot & Bengio (2010, eq. 16). PyTorch's own smaller ones let so little
    of the noise through that a generator's images all look alike, from which a GAN never recovers.
    """
    layers: list[nn.Module] = []
    for level, (i, o) in enumerate(pairwise(sizes), start=1):
        linear = nn.Linear(i, o)
        nn.init.xavier_uniform_(linear.weight)
        nn.init.zeros_(linear.bias)
        if level < len(sizes) - 1:
            layers += [*normalise(linear, o, norm), activation()]
        else:
            layers += normalise(linear, o, outer_norm(norm))
    return nn.Sequential(*layers)
