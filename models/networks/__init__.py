"""Networks that the families share; densities of codes are in `models.networks.density`."""

from models.networks.bodies import decoder, encoder
from models.networks.conv import (
    Shape,
    conv_down,
    conv_plan,
    conv_up,
    halvings,
    kernel,
    patch_discriminator,
    resnet_translator,
)
from models.networks.layers import (
    Centre,
    DoubleImages,
    HalveImages,
    Norm,
    Residual,
    initialise_dcgan,
    leaky_relu,
    normalise,
    outer_norm,
)
from models.networks.mlp import mlp

__all__ = [
    "Centre",
    "DoubleImages",
    "HalveImages",
    "Norm",
    "Residual",
    "Shape",
    "conv_down",
    "conv_plan",
    "conv_up",
    "decoder",
    "encoder",
    "halvings",
    "initialise_dcgan",
    "kernel",
    "leaky_relu",
    "mlp",
    "normalise",
    "outer_norm",
    "patch_discriminator",
    "resnet_translator",
]
