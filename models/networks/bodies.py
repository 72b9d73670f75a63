"""The encoder and the decoder that the families share, so that they compete on equal terms.

A convolutional body is that of Chen et al. (2016, appendix C.1) for any size: it halves the side,
rounding up, at least twice and until it is at most 7, doubling the channels each time, and ends in
a dense layer, which gives digits their global shape much sooner than a deeper DCGAN does. The
decoder runs the same path backwards.

The `tanh` body is the fully connected one of Wu et al. (2017, section 5.2): tanh units in the
decoder, which `hidden` lists from the code to the image; encoders have them in the opposite order.
"""

import math
from collections.abc import Callable

from torch import nn

from models.networks.conv import Shape, conv_down, conv_plan, conv_up
from models.networks.layers import Centre, Norm, normalise, outer_norm
from models.networks.mlp import mlp


def encoder(
    backbone: str,
    shape: Shape,
    outputs: int,
    *,
    hidden: tuple[int, ...],
    width: int,
    norm: Norm,
    activation: Callable[[], nn.Module],
) -> nn.Sequential:
    """Build a body from images [B, C, H, W] in [0, 1] to [B, outputs]; also the discriminator's."""
    if backbone in {"mlp", "tanh"}:
        pixels = math.prod(shape)
        inner = hidden if backbone == "mlp" else hidden[::-1]
        layers = mlp([pixels, *inner, outputs], activation, norm)
        return nn.Sequential(Centre(), nn.Flatten(), *layers)
    sides, channels, dense = conv_plan(shape, width)
    return nn.Sequential(
        Centre(),
        *conv_down(sides, channels, activation, norm),
        nn.Flatten(),
        *normalise(nn.Linear(channels[-1] * sides[-1] ** 2, dense), dense, norm),
        activation(),
        *normalise(nn.Linear(dense, outputs), outputs, outer_norm(norm)),
    )


def decoder(
    backbone: str,
    inputs: int,
    shape: Shape,
    *,
    hidden: tuple[int, ...],
    width: int,
    norm: Norm = "batch",
) -> nn.Sequential:
    """Build a body from [B, inputs] to the pixels' logits [B, C, H, W]; also the generator's."""
    if backbone in {"mlp", "tanh"}:
        pixels = math.prod(shape)
        activation = nn.ReLU if backbone == "mlp" else nn.Tanh
        return nn.Sequential(*mlp([inputs, *hidden, pixels], activation), nn.Unflatten(1, shape))
    sides, channels, dense = conv_plan(shape, width)
    sides, channels = sides[::-1], channels[::-1]
    small = channels[0] * sides[0] ** 2
    return nn.Sequential(
        *normalise(nn.Linear(inputs, dense), dense, norm),
        nn.ReLU(),
        nn.Linear(dense, small),
        nn.Unflatten(1, (channels[0], sides[0], sides[0])),
        *normalise(nn.Identity(), channels[0], norm),
        nn.ReLU(),
        *conv_up(sides, channels, nn.ReLU, norm),
    )
