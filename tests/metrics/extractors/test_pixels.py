import pytest
import torch
from draws import normal
from sklearn.decomposition import PCA

from metrics import Material, build_extractor, frechet_distance
from metrics.extractors.pixels import PixelsExtractor


def shades(n: int = 80, channels: int = 1, side: int = 6, seed: int = 0) -> torch.Tensor:
    """Images whose variances fall from component to component, so that these are well defined."""
    size = channels * side * side
    mix = torch.linalg.qr(normal(size, size, seed=9))[0] * 0.8 ** torch.arange(size)
    flat = normal(n, size, seed=seed) @ mix.T
    return (128 + 60 * flat).clamp(0, 255).round().to(torch.uint8).view(n, channels, side, side)


@pytest.mark.parametrize(("n", "side"), [(200, 6), (30, 12)], ids=["many", "few"])
def test_agrees_with_scikit_learn(n, side):
    images = shades(n, channels=2, side=side)
    extractor = PixelsExtractor(images)
    flat = images.flatten(1).double().numpy() / 255
    pca = PCA(extractor.dimension, svd_solver="full").fit(flat)
    features = extractor(images).features
    assert extractor.dimension == min(64, n - 1)
    theirs = torch.tensor(pca.transform(flat)).float()
    signs = (features * theirs).sum(dim=0).sign()
    torch.testing.assert_close(features, theirs * signs, rtol=0, atol=1e-5)


def test_distances_are_those_of_pixels():
    """Nothing is whitened, and here nothing is left out."""
    images = shades(200, side=6)
    features = PixelsExtractor(images)(images).features
    flat = images.flatten(1).float() / 255
    torch.testing.assert_close(torch.pdist(features), torch.pdist(flat), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("channels", [1, 2, 3, 5])
def test_takes_any_channels(channels):
    images = shades(channels=channels)
    features, logits = PixelsExtractor(images)(shades(9, channels=channels, seed=1))
    assert features.shape == (9, 36 if channels == 1 else 64)
    assert logits is None


def test_points_of_the_plane_are_turned():
    points = torch.rand(500, 2, 1, 1, generator=torch.Generator().manual_seed(0))
    points[:, 1] = 0.5 * points[:, 0] + 0.1 * points[:, 1]
    extractor = PixelsExtractor(points)
    features = extractor(points).features
    assert features.shape == (500, 2)
    torch.testing.assert_close(torch.pdist(features), torch.pdist(points.flatten(1)))
    covariance = features.T.double().cov()
    assert covariance[0, 0] > covariance[1, 1]
    assert covariance[0, 1].abs() < 1e-8
    other = torch.rand(400, 2, 1, 1, generator=torch.Generator().manual_seed(1))
    plain = frechet_distance(points.flatten(1), other.flatten(1))
    assert frechet_distance(features, extractor(other).features) == pytest.approx(plain, rel=1e-5)


def test_is_a_function_of_the_images_bit_for_bit():
    images = shades()
    first, again = PixelsExtractor(images), PixelsExtractor(images.clone())
    assert first.digest == again.digest
    assert first.digest != PixelsExtractor(shades(seed=1)).digest
    largest = first.network.components.abs().argmax(dim=0)
    assert (first.network.components[largest, torch.arange(first.dimension)] > 0).all()


def test_directions_that_nothing_varies_in_are_left_out():
    images = shades()
    images[:, :, 2:] = 7
    assert PixelsExtractor(images).dimension == 12
    assert PixelsExtractor(images[:5]).dimension == 4


def test_many_images_are_thinned(monkeypatch):
    monkeypatch.setattr("metrics.extractors.pixels.ENTRIES", 36 * 50)
    images = shades(500)
    few = PixelsExtractor(images)
    every = torch.linspace(0, 499, 50).round().long()
    monkeypatch.undo()
    assert few.digest == PixelsExtractor(images[every]).digest != PixelsExtractor(images).digest


def test_is_built_from_material(tmp_path):
    images = shades()
    built = build_extractor("pixels", Material(images, None, None, "k", tmp_path))
    assert str(built) == str(PixelsExtractor(images))


@pytest.mark.parametrize(
    ("images", "words"),
    [
        (torch.rand(9, 1, 6, 6), "float32 points"),
        (torch.rand(9, 2), "float32 points"),
        (torch.rand(9, 2, 1, 1).double(), "float32 points"),
        (torch.zeros(9, 1, 6, 6).to(torch.uint8), "differ"),
        (shades()[:1], "differ"),
    ],
)
def test_what_has_no_components_is_an_error(images, words):
    with pytest.raises(ValueError, match=words):
        PixelsExtractor(images)


@pytest.mark.parametrize(
    ("images", "words"),
    [
        (shades(channels=2), "takes such"),
        (shades(side=7), "takes such"),
        (shades().float(), "takes such"),
        (shades()[:0], "takes such"),
    ],
)
def test_refuses_other_images(images, words):
    with pytest.raises(ValueError, match=words):
        PixelsExtractor(shades())(images)


@pytest.mark.parametrize("value", [-0.1, 1.1, float("nan")])
def test_refuses_points_outside(value):
    points = torch.rand(9, 2, 1, 1)
    extractor = PixelsExtractor(points)
    points[3, 1] = value
    with pytest.raises(ValueError, match=r"in \[0, 1\]"):
        extractor(points)
