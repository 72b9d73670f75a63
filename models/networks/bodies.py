"""The network bodies that the families share, so that they compete on equal terms.

A convolutional body is that of Chen et al. (2016, appendix C.1) for any size: it halves the side,
rounding up, at least twice and until it is at most 7, doubling the channels each time, and ends in
a dense layer, which gives digits their global shape much sooner than a deeper DCGAN does. The
decoder runs the same path backwards. Kernels are 4×4 where the larger side is even and 3×3 where it
is odd, which makes every side work.

The `tanh` body is the fully connected one of Wu et al. (2017, section 5.2): tanh units in the
decoder, which `hidden` lists from the code to the image; encoders have them in the opposite order.
"""

from collections.abc import Callable
from itertools import pairwise
from typing import Literal

from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

Shape = tuple[int, int, int]
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


def halvings(side: int, count: int) -> list[int]:
    """List the sides from `side` down through `count` halvings, each rounded up."""
    sides = [side]
    for _ in range(count):
        sides.append((sides[-1] + 1) // 2)
    return sides


def normalise(layer: nn.Module, channels: int, norm: Norm) -> list[nn.Module]:
    """Follow `layer` by its normalisation, or constrain it spectrally (Miyato et al. 2018).

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


def kernel(larger_side: int) -> int:
    """Give the kernel that halves `larger_side`, rounding up, with stride 2 and padding 1."""
    return 4 if larger_side % 2 == 0 else 3


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


def outer_norm(norm: Norm) -> Norm:
    """Give the norm next to images and outputs, which statistics would distort."""
    return "spectral" if norm == "spectral" else "none"


def conv_down(
    sides: list[int], channels: list[int], activation: Callable[[], nn.Module], norm: Norm
) -> list[nn.Module]:
    """Halve along `sides`; channels has an entry a side. The first layer is not normalised."""
    layers: list[nn.Module] = []
    for level, (i, o) in enumerate(pairwise(channels)):
        conv = nn.Conv2d(i, o, kernel(sides[level]), stride=2, padding=1)
        layers += [*normalise(conv, o, norm if level > 0 else outer_norm(norm)), activation()]
    return layers


def conv_up(
    sides: list[int], channels: list[int], activation: Callable[[], nn.Module], norm: Norm
) -> list[nn.Module]:
    """Double along `sides`, smallest first; the last layer has neither norm nor activation."""
    layers: list[nn.Module] = []
    for level, (i, o) in enumerate(pairwise(channels)):
        conv = nn.ConvTranspose2d(i, o, kernel(sides[level + 1]), stride=2, padding=1)
        layers += [*normalise(conv, o, norm), activation()] if level < len(sides) - 2 else [conv]
    return layers


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
        pixels = shape[0] * shape[1] * shape[2]
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
        pixels = shape[0] * shape[1] * shape[2]
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


def conv_plan(shape: Shape, width: int) -> tuple[list[int], list[int], int]:
    """List the sides of a convolutional body, the channels at each, and its dense layer's units.

    Raises:
        ValueError: the images are not square or too small to be halved twice.
    """
    colours, height, side = shape
    if height != side or side <= 4:
        raise ValueError(
            f"a conv backbone needs square images of at least 5 pixels, not {height}×{side}"
        )
    count = next(k for k in range(2, side) if halvings(side, k)[-1] <= 7)
    channels = [colours, *(width * 2**level for level in range(count))]
    return halvings(side, count), channels, 8 * width


def resnet_translator(shape: Shape, width: int, blocks: int, downsamplings: int) -> nn.Sequential:
    """Build CycleGAN's generator from images in [0, 1] to logits of images of the same shape.

    Johnson et al. (2016) as in Zhu et al. (2017, section 7.2), for small images: the first
    convolution is itself a downsampling, since at 28 pixels a body at full size costs most of the
    time and sees least.

    Raises:
        ValueError: the images are not square or too small for so many downsamplings.
    """
    colours, height, side = shape
    sides = halvings(side, downsamplings)
    if height != side or sides[-1] < 4:
        raise ValueError(
            f"{downsamplings} downsamplings need square images of at least "
            f"{3 * 2**downsamplings + 1} pixels, not {height}×{side}"
        )
    channels = [colours, *(width * 2**level for level in range(downsamplings))]
    wide = channels[-1]

    def convolve() -> list[nn.Module]:
        return normalise(nn.Conv2d(wide, wide, 3, padding=1), wide, "instance")

    bodies = [Residual(*convolve(), nn.ReLU(), *convolve()) for _ in range(blocks)]
    return nn.Sequential(
        Centre(),
        *conv_down(sides, channels, nn.ReLU, "instance"),
        *bodies,
        *conv_up(sides[::-1], channels[::-1], nn.ReLU, "instance"),
    )


def patch_discriminator(shape: Shape, width: int, downsamplings: int) -> nn.Sequential:
    """Build a PatchGAN critic (Isola et al. 2017, section 3.2.2): a map of scores, one a patch."""
    sides = halvings(shape[1], downsamplings)
    channels = [shape[0], *(width * 2**level for level in range(downsamplings))]
    return nn.Sequential(
        Centre(),
        *conv_down(sides, channels, leaky_relu, "instance"),
        nn.Conv2d(channels[-1], 1, 3, padding=1),
    )


def leaky_relu() -> nn.Module:
    """Give the discriminators' activation (Radford et al. 2016, section 3)."""
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
