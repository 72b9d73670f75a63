"""Errors and similarities of reconstructions, one value an image.

Every function takes float images [N, C, H, W] in [0, 1] and reconstructions of the same shape and
range, and raises ValueError where they differ in shape, are not float or not in [0, 1]. Where the
images are too small for a metric, it raises NotApplicable.
"""

import math
from collections.abc import Callable
from functools import lru_cache, partial
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from metrics.registry import NotApplicable, metric

WINDOW = 11
"""Side of SSIM's Gaussian window in pixels (Wang et al. 2004); its standard deviation is 1.5."""

SCALES = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
"""Multi-scale SSIM's exponents from the finest scale to the coarsest (Wang et al. 2003)."""

BATCH = 64
"""Images compared at a time where windows or networks move over them, which bounds the memory."""

ALEXNET = "alexnet-owt-7be5be79.pth"
"""The file of torchvision's AlexNet weights in torch's hub folder; it holds tensors alone."""

ROUNDING = 1e-3
"""The distance by which a value may lie outside [0, 1]: rounding noise."""

LPIPS_SIDE = 31
"""The smallest side that AlexNet's strides and poolings leave anything of."""


@metric(
    name="reconstruction_mse",
    symbol="MSE",
    direction="lower",
    low=0.0,
    high=1.0,
    inputs="pairs",
    source="mean squared error over the pixels and channels of an image",
    summary="mean squared error of reconstructed pixels in [0, 1]",
    sees=("fidelity",),
)
def reconstruction_mse(originals: Tensor, reconstructions: Tensor) -> Tensor:
    """Return each image's mean squared error over pixels and channels, float64 [N]."""
    _check_pairs(originals, reconstructions)
    return (originals - reconstructions).square().flatten(1).mean(dim=1, dtype=torch.float64)


@metric(
    name="mae",
    symbol="MAE",
    direction="lower",
    low=0.0,
    high=1.0,
    inputs="pairs",
    source="mean absolute error over the pixels and channels of an image",
    summary="mean absolute error of reconstructed pixels in [0, 1]",
    sees=("fidelity",),
)
def mae(originals: Tensor, reconstructions: Tensor) -> Tensor:
    """Return each image's mean absolute error over pixels and channels, float64 [N]."""
    _check_pairs(originals, reconstructions)
    return (originals - reconstructions).abs().flatten(1).mean(dim=1, dtype=torch.float64)


@metric(
    name="psnr",
    symbol="PSNR",
    direction="higher",
    low=0.0,
    inputs="pairs",
    source="-10 log10 MSE, for a data range of 1",
    summary="peak signal-to-noise ratio of reconstructions in decibels",
    sees=("fidelity",),
)
def psnr(originals: Tensor, reconstructions: Tensor) -> Tensor:
    """Return each image's peak signal-to-noise ratio in decibels, float64 [N].

    An exact copy has an infinite one, and so has then the mean over images; it is not capped,
    since any cap would set the mean.
    """
    return -10 * reconstruction_mse(originals, reconstructions).log10()


@metric(
    name="ssim",
    symbol="SSIM",
    direction="higher",
    low=-1.0,
    high=1.0,
    inputs="pairs",
    source="Wang et al. 2004, eq. 13 and section III.C",
    summary="structural similarity of reconstructions: local means, contrasts and correlation",
    sees=("fidelity",),
)
def ssim(originals: Tensor, reconstructions: Tensor) -> Tensor:
    """Return each image's mean structural similarity, float32 [N], computed by torchmetrics.

    The window is the paper's Gaussian of 11 x 11 pixels and standard deviation 1.5. On images
    smaller than that it is the largest odd size that fits, its standard deviation scaled with it
    (8 x 8 images: 7 x 7 and 0.95). Only windows that lie within the image count, as in the authors'
    own program, where torchmetrics by itself also counts windows over a reflected border. Channels
    are averaged; K1 = 0.01, K2 = 0.03, data range 1. H and W are at least 3.
    """
    _check_pairs(originals, reconstructions)
    side = min(originals.shape[2:])
    window = min(WINDOW, side - (side + 1) % 2)
    if window < 3:
        raise NotApplicable(f"SSIM needs images of 3 x 3 pixels or more, not {side}")
    return _in_batches(partial(_ssim, window), originals, reconstructions)


def _ssim(window: int, originals: Tensor, reconstructions: Tensor) -> Tensor:
    from torchmetrics.functional.image import structural_similarity_index_measure

    _, everywhere = structural_similarity_index_measure(
        reconstructions.float(),
        originals.float(),
        sigma=1.5 * window / WINDOW,  # torchmetrics makes its window 2 * int(3.5 sigma + 0.5) + 1
        reduction="none",
        data_range=1.0,
        return_full_image=True,
    )
    border = window // 2
    return everywhere[..., border:-border, border:-border].flatten(1).mean(dim=1)


@metric(
    name="ms_ssim",
    symbol="MS-SSIM",
    direction="higher",
    low=0.0,
    high=1.0,
    inputs="pairs",
    source="Wang, Simoncelli & Bovik 2003, eq. 7",
    summary="structural similarity of reconstructions over five scales",
    sees=("fidelity",),
)
def ms_ssim(originals: Tensor, reconstructions: Tensor) -> Tensor:
    """Return each image's structural similarity over five scales, float32 [N].

    The product of the mean contrast and structure at four scales and the mean SSIM at the fifth,
    raised to the paper's exponents; a scale is the mean over 2 x 2 pixels of the one before. A
    negative mean counts as 0, its powers being no real numbers. All else is as in `ssim`: at the
    fifth scale torchmetrics by itself also counts windows over a reflected border.
    H and W are at least 176, so that the window fits into the coarsest scale.
    """
    _check_pairs(originals, reconstructions)
    side, fewest = min(originals.shape[2:]), WINDOW * 2 ** (len(SCALES) - 1)
    if side < fewest:
        needed = f"images of {fewest} x {fewest} pixels or more"
        raise NotApplicable(f"multi-scale SSIM needs {needed}, not {side}")
    return _in_batches(_ssim_over_scales, originals, reconstructions)


def _ssim_over_scales(originals: Tensor, reconstructions: Tensor) -> Tensor:
    from torchmetrics.functional.image import structural_similarity_index_measure

    x, y = originals.float(), reconstructions.float()
    product = torch.ones(len(x), device=x.device)
    for exponent in SCALES[:-1]:
        _, contrast = structural_similarity_index_measure(
            y, x, reduction="none", data_range=1.0, return_contrast_sensitivity=True
        )
        product *= contrast.clamp(min=0) ** exponent
        x, y = F.avg_pool2d(x, 2), F.avg_pool2d(y, 2)
    return product * _ssim(WINDOW, x, y).clamp(min=0) ** SCALES[-1]


@metric(
    name="lpips",
    symbol="LPIPS",
    direction="lower",
    low=0.0,
    inputs="pairs",
    source="Zhang et al. 2018, eq. 1, AlexNet with linear weights of version 0.1",
    summary="learned perceptual distance of reconstructions: weighted differences inside AlexNet",
    sees=("fidelity",),
)
def lpips(originals: Tensor, reconstructions: Tensor) -> Tensor:
    """Return each image's learned perceptual distance, float32 [N].

    The linear weights come with torchmetrics, those of AlexNet from torch's hub folder: they are
    never downloaded here. Grey images are repeated over three channels. C is 1 or 3,
    H and W at least 31.
    """
    _check_pairs(originals, reconstructions)
    channels, *sides = originals.shape[1:]
    if channels not in (1, 3) or min(sides) < LPIPS_SIDE:
        raise NotApplicable(
            f"LPIPS needs images of 1 or 3 channels and {LPIPS_SIDE} x {LPIPS_SIDE} pixels or "
            f"more, not {channels} of {sides[0]} x {sides[1]}"
        )
    weights = Path(torch.hub.get_dir(), "checkpoints", ALEXNET)
    if not weights.is_file():
        raise NotApplicable(f"LPIPS needs torchvision's AlexNet weights in {weights}")
    network = _load_lpips(weights, originals.device)
    return _in_batches(partial(_lpips, network), originals, reconstructions)


class LpipsNetwork(NamedTuple):
    """AlexNet up to each of its five rectified layers, and a weight for each of their channels."""

    blocks: list[nn.Sequential]
    weights: list[Tensor]


@lru_cache(maxsize=1)
def _load_lpips(file: Path, device: torch.device) -> LpipsNetwork:
    import torchmetrics
    import torchvision

    with torch.random.fork_rng(devices=[]):  # initial weights, which are replaced at once
        alexnet = torchvision.models.alexnet().eval().requires_grad_(False)
    alexnet.load_state_dict(torch.load(file, map_location="cpu", weights_only=True))
    layers = alexnet.features.to(device)
    borders = [0, 2, 5, 8, 10, 12]  # a block ends with its ReLU
    blocks = [layers[start:stop] for start, stop in pairwise(borders)]
    folder = Path(torchmetrics.__file__).parent / "functional" / "image" / "lpips_models"
    linear = torch.load(folder / "alex.pth", map_location=device, weights_only=True)
    return LpipsNetwork(blocks, [linear[f"lin{level}.model.1.weight"] for level in range(5)])


@torch.no_grad()
def _lpips(network: LpipsNetwork, originals: Tensor, reconstructions: Tensor) -> Tensor:
    images = torch.cat([originals, reconstructions]).float()
    shift, scale = images.new_tensor([[-0.030, -0.088, -0.188], [0.458, 0.448, 0.450]])
    x = (2 * images - 1 - shift[:, None, None]) / scale[:, None, None]  # repeats a grey channel
    distance = torch.zeros(len(originals), device=images.device)
    for block, weight in zip(*network, strict=True):
        x = block(x)
        a, b = F.normalize(x, dim=1, eps=1e-10).chunk(2)
        distance += F.conv2d((a - b).square(), weight).mean(dim=(1, 2, 3))
    return distance


def _in_batches(measure: Callable[[Tensor, Tensor], Tensor], *images: Tensor) -> Tensor:
    batches = zip(*(each.split(BATCH) for each in images), strict=True)
    return torch.cat([measure(*batch) for batch in batches])


def _check_pairs(originals: Tensor, reconstructions: Tensor) -> None:
    if originals.shape != reconstructions.shape or originals.ndim != 4:
        raise ValueError(
            "originals and reconstructions must both have shape [N, C, H, W], not "
            f"{list(originals.shape)} and {list(reconstructions.shape)}"
        )
    if not (originals.is_floating_point() and reconstructions.is_floating_point()):
        raise ValueError("originals and reconstructions must be float images in [0, 1]")
    if originals.numel():
        _check_range("originals", originals)
        _check_range("reconstructions", reconstructions)


def _check_range(name: str, images: Tensor) -> None:
    low, high = (end.item() for end in images.detach().aminmax())  # NaN where any value is
    if not math.isfinite(low + high):
        raise ValueError(f"{name} must be free of NaN and infinite values, and lie in [0, 1]")
    if low < -ROUNDING or high > 1 + ROUNDING:
        raise ValueError(
            f"{name} have values from {low:.4g} to {high:.4g}; they must lie in [0, 1]: scale "
            "[-1, 1] by (x + 1) / 2, and 8 bits by x / 255"
        )
