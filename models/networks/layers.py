"""The layers that bodies are made of: normalisation, activation, initial weights."""

from typing import Literal

from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

Norm = Literal["none", "batch", "instance", "layer", "spectral"]


class Centre(nn.Module):
    """Move images from [0, 1] to [-1, 1].

    Without it the dark background of digits is silent to the first layer, and the discriminator of
    a plain GAN wins before the generator has learnt anything.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Return 2x − 1."""
        return 2 * x - 1


class Residual(nn.Module):
    """Add what the body computes to its input (He et al. 2016, eq. 1)."""

    def __init__(self, *body: nn.Module) -> None:
        super().__init__()
        self.body = nn.Sequential(*body)

    def forward(self, x: Tensor) -> Tensor:
        """Return x + body(x)."""
        return x + self.body(x)


def normalise(layer: nn.Module, channels: int, norm: Norm) -> list[nn.Module]:
    """Return `layer` and its normalisation, or constrain it spectrally (Miyato et al. 2018).

    Layer and instance normalisation are group normalisation with one group, and with a group a
    channel (Wu & He 2018, section 3.1), which is the faster form on CPUs.
    """
    if norm == "spectral":
        return [spectral_norm(layer)]
    if norm == "batch":
        flat = isinstance(layer, nn.Linear)
        return [layer, nn.BatchNorm1d(channels) if flat else nn.BatchNorm2d(channels)]
    if norm == "instance":
        return [layer, nn.GroupNorm(channels, channels)]
    if norm == "layer":
        return [layer, nn.GroupNorm(1, channels)]
    return [layer]


def outer_norm(norm: Norm) -> Norm:
    """Return the norm next to images and outputs, which statistics would distort."""
    return "spectral" if norm == "spectral" else "none"


def leaky_relu() -> nn.Module:
    """Return the discriminators' activation (Radford et al. 2016, section 3)."""
    return nn.LeakyReLU(0.2)


def initialise_dcgan(network: nn.Module) -> None:
    """Draw weights from N(0, 0.02²), and BatchNorm's around 1 (Radford et al. 2016, section 4)."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            nn.init.normal_(module.weight, 0, 0.02)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            nn.init.normal_(module.weight, 1, 0.02)
            nn.init.zeros_(module.bias)
