"""Convolutional networks for images of any size.

Kernels are 4×4 where the larger side is even and 3×3 where it is odd, which makes every side work.
"""

from collections.abc import Callable
from itertools import pairwise

from torch import nn

from models.networks.layers import (
    Centre,
    DoubleImages,
    HalveImages,
    Norm,
    Residual,
    leaky_relu,
    normalise,
    outer_norm,
)

Shape = tuple[int, int, int]


def halvings(side: int, count: int) -> list[int]:
    """List the sides from `side` down through `count` halvings, each rounded up."""
    sides = [side]
    for _ in range(count):
        sides.append((sides[-1] + 1) // 2)
    return sides


def kernel(larger_side: int) -> int:
    """Return the kernel that halves `larger_side`, rounding up, with stride 2 and padding 1."""
    return 4 if larger_side % 2 == 0 else 3


def halve(i: int, o: int, side: int, *, images: bool) -> nn.Module:
    """Build the convolution from `side` to its half, of images or of features."""
    if images and kernel(side) == 4:
        return HalveImages(i, o)
    return nn.Conv2d(i, o, kernel(side), stride=2, padding=1)


def double(i: int, o: int, side: int, *, images: bool) -> nn.Module:
    """Build the transposed convolution from half of `side` to it, to images or to features."""
    if images and kernel(side) == 4:
        return DoubleImages(i, o)
    return nn.ConvTranspose2d(i, o, kernel(side), stride=2, padding=1)


def conv_down(
    sides: list[int], channels: list[int], activation: Callable[[], nn.Module], norm: Norm
) -> list[nn.Module]:
    """Halve along `sides`; channels has an entry a side. The first layer is not normalised."""
    layers: list[nn.Module] = []
    for level, (i, o) in enumerate(pairwise(channels)):
        conv = halve(i, o, sides[level], images=level == 0)
        layers += [*normalise(conv, o, norm if level > 0 else outer_norm(norm)), activation()]
    return layers


def conv_up(
    sides: list[int], channels: list[int], activation: Callable[[], nn.Module], norm: Norm
) -> list[nn.Module]:
    """Double along `sides`, smallest first; the last layer has neither norm nor activation."""
    layers: list[nn.Module] = []
    for level, (i, o) in enumerate(pairwise(channels)):
        last = level == len(sides) - 2
        conv = double(i, o, sides[level + 1], images=last)
        layers += [conv] if last else [*normalise(conv, o, norm), activation()]
    return layers


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
