import math

import numpy as np
import pytest
import torch
from torch import Tensor
from torchmetrics.functional.image import peak_signal_noise_ratio

from metrics import mean_interval, psnr, reconstruction_mse, ssim


def pairs(side: int = 28, channels: int = 1, n: int = 6) -> tuple[Tensor, Tensor]:
    rng = torch.Generator().manual_seed(0)
    originals = torch.rand(n, channels, side, side, generator=rng)
    noise = 0.1 * torch.randn(originals.shape, generator=rng)
    return originals, (originals + noise).clamp(0, 1)


def test_by_hand():
    originals, reconstructions = torch.zeros(2, 1, 4, 4), torch.zeros(2, 1, 4, 4)
    reconstructions[0] = 0.1
    reconstructions[1, 0, 0, 0] = 1.0
    mse = reconstruction_mse(originals, reconstructions)
    assert mse.tolist() == pytest.approx([0.01, 1 / 16], rel=1e-6)
    assert psnr(originals, reconstructions).tolist() == pytest.approx(
        [20, 10 * math.log10(16)], rel=1e-6
    )


def test_psnr_agrees_with_torchmetrics_image_by_image():
    originals, reconstructions = pairs()
    theirs = [
        peak_signal_noise_ratio(b[None], a[None], data_range=1.0).item()
        for a, b in zip(originals, reconstructions, strict=True)
    ]
    assert psnr(originals, reconstructions).tolist() == pytest.approx(theirs, rel=1e-5)


def test_exact_copies():
    originals, _ = pairs()
    assert reconstruction_mse(originals, originals).eq(0).all()
    assert psnr(originals, originals).eq(math.inf).all()
    torch.testing.assert_close(ssim(originals, originals), torch.ones(6))
    mean = mean_interval(psnr(originals, originals))
    assert mean.value == math.inf
    assert math.isnan(mean.low)


def test_ssim_averages_channels():
    originals, reconstructions = pairs(12, channels=3)
    apart = [ssim(originals[:, c : c + 1], reconstructions[:, c : c + 1]) for c in range(3)]
    torch.testing.assert_close(ssim(originals, reconstructions), sum(apart) / 3)


def similarity_by_hand(x: np.ndarray, y: np.ndarray, window: int) -> float:
    """Wang et al. 2004, eq. 13, over every window that fits, pixel by pixel."""
    at = np.arange(window) - window // 2
    bell = np.exp(-(at**2) / (2 * (1.5 * window / 11) ** 2))
    weights = np.outer(bell, bell) / bell.sum() ** 2
    values = []
    for i in range(len(x) - window + 1):
        for j in range(len(x) - window + 1):
            a, b = x[i : i + window, j : j + window], y[i : i + window, j : j + window]
            p, q = (weights * a).sum(), (weights * b).sum()
            s, t = (weights * (a - p) ** 2).sum(), (weights * (b - q) ** 2).sum()
            c = (weights * (a - p) * (b - q)).sum()
            top = (2 * p * q + 1e-4) * (2 * c + 9e-4)
            values.append(top / ((p * p + q * q + 1e-4) * (s + t + 9e-4)))
    return float(np.mean(values))


@pytest.mark.parametrize(
    ("side", "window"), [(3, 3), (4, 3), (6, 5), (8, 7), (9, 9), (10, 9), (11, 11), (16, 11)]
)
def test_ssim_scales_its_window_to_small_images(side, window):
    originals, reconstructions = pairs(side, n=2)
    expected = [
        similarity_by_hand(a[0].double().numpy(), b[0].double().numpy(), window)
        for a, b in zip(originals, reconstructions, strict=True)
    ]
    assert ssim(originals, reconstructions).tolist() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("score", [reconstruction_mse, psnr, ssim])
def test_one_value_an_image_whatever_the_batch(score):
    originals, reconstructions = pairs(8, n=600)
    values = score(originals, reconstructions)
    assert values.shape == (600,)
    torch.testing.assert_close(values[7:8], score(originals[7:8], reconstructions[7:8]))


@pytest.mark.parametrize("score", [reconstruction_mse, psnr, ssim])
def test_what_cannot_be_compared_is_an_error(score):
    originals, reconstructions = pairs(8)
    with pytest.raises(ValueError, match="shape"):
        score(originals, reconstructions[:2])
    with pytest.raises(ValueError, match="float"):
        score(originals.to(torch.uint8), reconstructions.to(torch.uint8))


def test_ssim_names_the_smallest_size():
    with pytest.raises(ValueError, match="3 x 3"):
        ssim(torch.zeros(1, 1, 2, 2), torch.zeros(1, 1, 2, 2))
