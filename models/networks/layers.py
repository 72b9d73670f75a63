"""The layers that bodies are made of: normalisation, activation, initial weights."""

from typing import Literal

from torch import Tensor, nn
from torch.nn import functional as F
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


class HalveImages(nn.Conv2d):
    """A 4×4 convolution with stride 2 and padding 1 from images, whose channels are few.

    Computed as a 2×2 one of the four times as many channels that images of half the size have
    (Shi et al. 2016, section 2.2, backwards): convolutions of one or three channels use a
    thirtieth of a processor.
    """

    def __init__(self, colours: int, channels: int) -> None:
        super().__init__(colours, channels, 4, stride=2, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Map images [B, C, 2H, 2W] to [B, channels, H, W]."""
        small = F.pixel_unshuffle(F.pad(x, (1, 1, 1, 1)), 2)
        return F.conv2d(small, F.pixel_unshuffle(self.weight, 2), self.bias)


class DoubleImages(nn.ConvTranspose2d):
    """A 4×4 transposed convolution with stride 2 and padding 1 to images, computed likewise."""

    def __init__(self, channels: int, colours: int) -> None:
        super().__init__(channels, colours, 4, stride=2, padding=1)

    def forward(self, x: Tensor, output_size: list[int] | None = None) -> Tensor:
        """Map [B, channels, H, W] to images [B, C, 2H, 2W]."""
        small = F.conv_transpose2d(x, F.pixel_unshuffle(self.weight, 2))
        images = F.pixel_shuffle(small, 2)[:, :, 1:-1, 1:-1]
        return images if self.bias is None else images + self.bias[:, None, None]


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
