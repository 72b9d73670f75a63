import math

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F
from torchmetrics.functional.image import (
    learned_perceptual_image_patch_similarity,
    multiscale_structural_similarity_index_measure,
    peak_signal_noise_ratio,
    structural_similarity_index_measure,
)

from metrics import mean_interval, psnr, reconstruction_mse, ssim
from metrics.reconstruction import ALEXNET, SCALES, lpips, mae, ms_ssim
from metrics.registry import METRICS, NotApplicable


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
    absolute = mae(originals, reconstructions)
    assert absolute.tolist() == pytest.approx([0.1, 1 / 16], rel=1e-6)
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


@pytest.mark.parametrize("score", [reconstruction_mse, mae, psnr, ssim])
def test_one_value_an_image_whatever_the_batch(score):
    originals, reconstructions = pairs(8, n=600)
    values = score(originals, reconstructions)
    assert values.shape == (600,)
    torch.testing.assert_close(values[7:8], score(originals[7:8], reconstructions[7:8]))


@pytest.mark.parametrize("score", [reconstruction_mse, mae, psnr, ssim])
def test_what_cannot_be_compared_is_an_error(score):
    originals, reconstructions = pairs(8)
    with pytest.raises(ValueError, match="shape"):
        score(originals, reconstructions[:2])
    with pytest.raises(ValueError, match="float"):
        score(originals.to(torch.uint8), reconstructions.to(torch.uint8))
    reconstructions[0, 0, 0, 0] = math.nan
    with pytest.raises(ValueError, match="free of NaN"):
        score(originals, reconstructions)


@pytest.mark.parametrize("score", [m for m in METRICS.values() if m.metadata.inputs == "pairs"])
@pytest.mark.parametrize(
    ("scale", "shift", "found"), [(2, -1, "from -1 to 1"), (255, 0, "from 0 to 255")]
)
def test_a_metric_of_pairs_refuses_images_of_another_range(score, scale, shift, found):
    images = torch.rand(2, 3, 176, 176)
    images[:, 0, 0, :2] = torch.tensor([0.0, 1.0])
    other = images * scale + shift
    with pytest.raises(ValueError, match=f"originals have values {found}; they must lie in .0, 1."):
        score(other, other)
    with pytest.raises(ValueError, match=f"reconstructions have values {found}; "):
        score(images, other)


def test_rounding_noise_is_within_the_range():
    originals, reconstructions = pairs(8)
    originals[0, 0, 0, :2] = torch.tensor([-0.0009, 1.0009])
    assert mae(originals, reconstructions).isfinite().all()
    assert mae(originals[:0], reconstructions[:0]).shape == (0,)
    originals[0, 0, 0, 0] = 1.0011
    with pytest.raises(ValueError, match=r"originals have values from .* to 1.001; "):
        mae(originals, reconstructions)


def test_ssim_names_the_smallest_size():
    with pytest.raises(NotApplicable, match="3 x 3"):
        ssim(torch.zeros(1, 1, 2, 2), torch.zeros(1, 1, 2, 2))


def smooth_pairs(side: int, channels: int = 1, n: int = 2) -> tuple[Tensor, Tensor]:
    """Images with structure at every scale, and copies with noise and less contrast."""
    rng = torch.Generator().manual_seed(1)
    coarse = torch.rand(n, channels, 12, 12, generator=rng)
    originals = F.interpolate(coarse, size=(side, side + 8), mode="bicubic").clamp(0, 1)
    noise = 0.1 * torch.randn(originals.shape, generator=rng)
    return originals, (0.8 * originals + 0.1 + noise).clamp(0, 1)


def contrast_and_similarity(x: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    """Mean contrast-structure and mean SSIM over the windows of 11 x 11 that fit."""
    from scipy.signal import fftconvolve

    bell = np.exp(-((np.arange(11) - 5.0) ** 2) / (2 * 1.5**2))
    window = np.outer(bell, bell) / bell.sum() ** 2
    p, q, xx, yy, xy = (fftconvolve(a, window, "valid") for a in (x, y, x * x, y * y, x * y))
    contrast = (2 * (xy - p * q) + 9e-4) / (xx - p * p + yy - q * q + 9e-4)
    luminance = (2 * p * q + 1e-4) / (p * p + q * q + 1e-4)
    return float(contrast.mean()), float((luminance * contrast).mean())


@pytest.mark.parametrize("side", [176, 190])
def test_ms_ssim_by_hand(side):
    """Wang et al. 2003, eq. 7, in float64 by Fourier transforms."""
    originals, reconstructions = smooth_pairs(side)
    expected = []
    for pair in zip(originals.double(), reconstructions.double(), strict=True):
        factors, scaled = [], list(pair)
        for _ in SCALES:
            factors.append(contrast_and_similarity(*(one[0].numpy() for one in scaled)))
            scaled = [F.avg_pool2d(one, 2) for one in scaled]
        contrasts, similarity = [f[0] for f in factors[:-1]], factors[-1][1]
        expected.append(np.prod(np.array([*contrasts, similarity]) ** SCALES))
    assert ms_ssim(originals, reconstructions).tolist() == pytest.approx(expected, rel=1e-5)


def test_ms_ssim_agrees_with_torchmetrics_but_for_the_border():
    """Its coarsest scale counts windows over a reflected border too; that alone is taken out."""
    originals, reconstructions = smooth_pairs(200, channels=3)
    theirs = multiscale_structural_similarity_index_measure(
        reconstructions, originals, data_range=1.0, reduction="none"
    )
    a, b = (F.avg_pool2d(one, 16) for one in (originals, reconstructions))
    bordered = structural_similarity_index_measure(b, a, data_range=1.0, reduction="none")
    expected = theirs * (ssim(a, b) / bordered) ** SCALES[-1]
    ours = ms_ssim(originals, reconstructions)
    torch.testing.assert_close(ours, expected, rtol=1e-5, atol=0)
    torch.testing.assert_close(ours, theirs, rtol=0.02, atol=0)


def test_ms_ssim_of_copies_and_of_opposites():
    originals, _ = smooth_pairs(176)
    torch.testing.assert_close(ms_ssim(originals, originals), torch.ones(2))
    opposites = ms_ssim(originals, 1 - originals)
    assert opposites.eq(0).all()


def test_ms_ssim_needs_a_window_at_the_coarsest_scale():
    with pytest.raises(NotApplicable, match="176 x 176 pixels or more, not 175"):
        ms_ssim(torch.zeros(1, 1, 175, 300), torch.zeros(1, 1, 175, 300))


@pytest.fixture(scope="module")
def hub(tmp_path_factory):
    """A hub folder with an AlexNet whose weights are random."""
    import torchvision

    folder = tmp_path_factory.mktemp("hub")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        weights = torchvision.models.alexnet().state_dict()
    (folder / "checkpoints").mkdir()
    torch.save(weights, folder / "checkpoints" / ALEXNET)
    before = torch.hub.get_dir()
    torch.hub.set_dir(folder)
    yield folder
    torch.hub.set_dir(before)


@pytest.mark.parametrize("shape", [(3, 31, 40), (1, 64, 64)])
def test_lpips_agrees_with_torchmetrics(hub, shape):
    channels, height, width = shape
    rng = torch.Generator().manual_seed(2)
    originals = torch.rand(3, channels, height, width, generator=rng)
    reconstructions = torch.rand(originals.shape, generator=rng)
    colour = (3, 3, height, width)
    theirs = learned_perceptual_image_patch_similarity(
        originals.expand(colour),
        reconstructions.expand(colour),
        net_type="alex",
        reduction="none",
        normalize=True,
    )
    ours = lpips(originals, reconstructions)
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6)
    assert ours.min() > 0
    assert lpips(originals, originals).eq(0).all()


def test_lpips_is_one_value_an_image_and_leaves_the_random_state(hub):
    originals, reconstructions = pairs(32, n=70)
    state = torch.get_rng_state()
    values = lpips(originals, reconstructions)
    assert torch.equal(state, torch.get_rng_state())
    assert values.shape == (70,)
    torch.testing.assert_close(values[68:], lpips(originals[68:], reconstructions[68:]))


def test_lpips_never_downloads(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", lambda *_: pytest.fail("a download"))
    with pytest.raises(NotApplicable, match=rf"AlexNet weights in {tmp_path}.*{ALEXNET}"):
        lpips(*pairs(32))


@pytest.mark.parametrize("shape", [(2, 3, 30, 64), (2, 2, 64, 64), (2, 2, 1, 1)])
def test_lpips_refuses_what_alexnet_cannot_see(hub, shape):
    with pytest.raises(NotApplicable, match="31 x 31 pixels or more, not"):
        lpips(torch.zeros(shape), torch.zeros(shape))
