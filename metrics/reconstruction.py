"""How near reconstructions come to their originals, image by image."""

import torch
from torch import Tensor

from metrics.score import metric

WINDOW = 11
"""Side of SSIM's Gaussian window in pixels (Wang et al. 2004); its standard deviation is 1.5."""

BATCH = 64
"""Images compared by SSIM at a time, few enough for the processor's cache."""


@metric(
    name="reconstruction_mse",
    symbol="MSE",
    direction="lower",
    low=0.0,
    high=1.0,
    inputs="pairs",
    source="mean squared error over the pixels and channels of an image",
    summary="mean squared error of reconstructed pixels in [0, 1]",
)
def reconstruction_mse(originals: Tensor, reconstructions: Tensor) -> Tensor:
    """Return each image's mean squared error over pixels and channels, float64 [N].

    Args:
        originals: float images [N, C, H, W] in [0, 1].
        reconstructions: images of the same shape and range.

    Raises:
        ValueError: where the shapes differ or the images are not float.
    """
    _check(originals, reconstructions)
    return (originals - reconstructions).square().flatten(1).mean(dim=1, dtype=torch.float64)


@metric(
    name="psnr",
    symbol="PSNR",
    direction="higher",
    low=0.0,
    high=None,
    inputs="pairs",
    source="-10 log10 MSE, for a data range of 1",
    summary="peak signal-to-noise ratio of reconstructions in decibels",
)
def psnr(originals: Tensor, reconstructions: Tensor) -> Tensor:
    """Return each image's peak signal-to-noise ratio in decibels, float64 [N].

    An exact copy has an infinite one, and so has then the mean over images; it is not capped,
    since any cap would set the mean.

    Args:
        originals: float images [N, C, H, W] in [0, 1].
        reconstructions: images of the same shape and range.

    Raises:
        ValueError: where the shapes differ or the images are not float.
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
)
def ssim(originals: Tensor, reconstructions: Tensor) -> Tensor:
    """Return each image's mean structural similarity, float32 [N], computed by torchmetrics.

    The window is the paper's Gaussian of 11 x 11 pixels and standard deviation 1.5. On images
    smaller than that it is the largest odd size that fits, its standard deviation scaled with it
    (8 x 8 images: 7 x 7 and 0.95). Only windows that lie within the image count, as in the authors'
    own program, where torchmetrics by itself also counts windows over a reflected border. Channels
    are averaged; K1 = 0.01, K2 = 0.03, data range 1.

    Args:
        originals: float images [N, C, H, W] in [0, 1], H and W at least 3.
        reconstructions: images of the same shape and range.

    Raises:
        ValueError: where the shapes differ, or the images are not float or too small.
    """
    _check(originals, reconstructions)
    side = min(originals.shape[2:])
    window = min(WINDOW, side - (side + 1) % 2)
    if window < 3:
        raise ValueError(f"SSIM needs images of 3 x 3 pixels or more, not {side}")
    batches = zip(originals.split(BATCH), reconstructions.split(BATCH), strict=True)
    return torch.cat([_similarity(*batch, window) for batch in batches])


def _similarity(originals: Tensor, reconstructions: Tensor, window: int) -> Tensor:
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


def _check(originals: Tensor, reconstructions: Tensor) -> None:
    if originals.shape != reconstructions.shape or originals.ndim != 4:
        raise ValueError(
            "originals and reconstructions must both have shape [N, C, H, W], not "
            f"{list(originals.shape)} and {list(reconstructions.shape)}"
        )
    if not (originals.is_floating_point() and reconstructions.is_floating_point()):
        raise ValueError("originals and reconstructions must be float images in [0, 1]")
