"""Points of the plane: mixtures whose modes are known, on the path of images."""

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import stats

from benchmarks.core.errors import BadInput
from benchmarks.core.tensors import quantize, to_float
from benchmarks.data import Dataset, list_sources, load_dataset, registry
from benchmarks.data.mixtures import draw_mixture
from benchmarks.evaluation.pictures import encode_tiles, render_points
from benchmarks.training.loop import Batches
from metrics.modes import mode_coverage
from models.autoencoder import Autoencoder

NOWHERE = Path("/nonexistent")
SETS = ("ring", "grid")
CPU = torch.device("cpu")


@pytest.fixture(scope="module", params=SETS)
def points(request) -> Dataset:
    return load_dataset(request.param, data_root=NOWHERE)


def coordinates(images: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(images).flatten(1)


def test_they_are_float_images_of_two_channels_and_one_pixel(points) -> None:
    assert points.shape == (2, 1, 1)
    for split in (points.train, points.validation, points.test, points.source_train):
        assert split.images.dtype == np.float32
        assert split.images.min() > 0.1
        assert split.images.max() < 0.9
    assert (len(points.train), len(points.test)) == (100_000, 10_000)


def test_their_distribution_is_the_truth(points) -> None:
    truth = points.truth
    images = coordinates(points.test.images)
    found = mode_coverage(images, torch.tensor(truth.centres), truth.deviation)
    modes = len(truth.centres)
    assert found.modes == modes
    assert found.high_quality == pytest.approx(1 - np.exp(-4.5), abs=0.005)
    assert 2 * 10_000 * found.reverse_kl < stats.chi2.ppf(0.999, modes - 1)
    nearest = torch.cdist(images.double(), torch.tensor(truth.centres)).argmin(1)
    errors = (images - torch.tensor(truth.centres)[nearest]) / truth.deviation
    assert stats.kstest(errors.flatten(), "norm").pvalue > 1e-3


def test_the_truth_is_that_of_the_papers() -> None:
    ring, grid = (registry.DATASETS[name].read(NOWHERE, False).truth for name in SETS)
    plane = 4 * ring.centres - 2
    np.testing.assert_allclose(np.linalg.norm(plane, axis=1), 1)
    np.testing.assert_allclose(plane[1], [np.sqrt(0.5)] * 2)
    assert (len(plane), 4 * ring.deviation) == (8, pytest.approx(0.01))
    plane = 12 * grid.centres - 6
    assert {tuple(point) for point in plane.round(9).tolist()} == {
        (x, y) for x in (-4, -2, 0, 2, 4) for y in (-4, -2, 0, 2, 4)
    }
    assert 12 * grid.deviation == pytest.approx(0.05)


def test_their_content_is_pinned(points) -> None:
    expected = {"ring": "93b97d3af993a8a7", "grid": "04cc9107f10081ab"}
    assert points.fingerprint.startswith(expected[points.name])


def test_no_point_is_in_two_splits(points) -> None:
    parts = [points.train, points.validation, points.test]
    total = np.concatenate([part.images.reshape(-1, 2) for part in parts])
    assert len(np.unique(total, axis=0)) == len(total)


def test_images_have_no_truth() -> None:
    assert load_dataset("digits", data_root=NOWHERE).truth is None


def test_the_source_of_points_is_other_points(points) -> None:
    (other,) = set(SETS) - {points.name}
    assert points.source == other
    assert list_sources(points.name) == (other,)
    assert points.hidden_pairs is None
    assert len(points.source_train) > 100_000
    assert not set(SETS) & set(list_sources("mnist"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"source": "edges"}, "unknown source for ring 'edges': choose from grid"),
        ({"source": "mnist"}, "unknown source for ring 'mnist'"),
        ({"image_size": 8}, "ring: points have no image size or channels to choose"),
        ({"channels": 1}, "ring: points have no image size or channels to choose"),
    ],
)
def test_what_images_have_is_refused_in_one_line(arguments, message) -> None:
    with pytest.raises(BadInput) as caught:
        load_dataset("ring", data_root=NOWHERE, **arguments)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_mixture_of_ones_own() -> None:
    centres = np.array([[0.0, 0.0], [3.0, 0.0]])
    raw = draw_mixture(centres, 0.5, half_width=6.0, seed=1)
    np.testing.assert_allclose(raw.truth.centres, [[0.5, 0.5], [0.75, 0.5]])
    plane = 12 * raw.train.images[:, :, 0, 0] - 6
    np.testing.assert_allclose(plane.mean(axis=0), [1.5, 0], atol=0.02)
    np.testing.assert_allclose(plane.std(axis=0), [np.sqrt(0.25 + 2.25), 0.5], atol=0.02)


def test_batches_hold_points_as_they_are_and_images_divided_by_255() -> None:
    rng = torch.Generator().manual_seed(0)
    points = torch.rand(50, 2, 1, 1, generator=rng)
    images = torch.randint(0, 256, (50, 1, 3, 3), generator=rng, dtype=torch.uint8)
    chosen = Batches(points, 20, 7, CPU).indices(20, 20)
    assert torch.equal(Batches(points, 20, 7, CPU).read(1), points[chosen])
    assert torch.equal(Batches(images, 20, 7, CPU).read(1), images[chosen].float().div_(255))


@torch.no_grad()
def test_a_density_of_codes_is_fitted_to_points_as_they_are(points) -> None:
    model = Autoencoder(Autoencoder.Config(latent=2, components=2, hidden=(8,)), (2, 1, 1)).eval()
    images = torch.from_numpy(points.train.images[:2000])
    model.finish(images, torch.Generator().manual_seed(0))
    codes = model.density.sample(4000, torch.Generator().manual_seed(1))
    expected = model.encoder(images)
    torch.testing.assert_close(codes.mean(0), expected.mean(0), atol=0.05, rtol=0)
    torch.testing.assert_close(codes.std(0), expected.std(0), atol=0.05, rtol=0.1)


def test_points_are_clamped_and_not_rounded() -> None:
    made = torch.tensor([-0.1, 0.123456789, 0.5, 1.1])
    assert quantize(made, torch.float32).tolist() == made.clamp(0, 1).tolist()
    assert quantize(made).tolist() == [0, 31, 128, 255]
    assert torch.equal(to_float(made), made)
    levels = torch.arange(256, dtype=torch.uint8)
    assert torch.equal(to_float(levels), levels.float() / 255)
    assert torch.equal(quantize(to_float(levels)), levels)


def test_a_picture_shows_the_points_where_they_are() -> None:
    right_and_high = torch.tensor([[0.75, 0.9], [0.75, 0.9]])
    picture = render_points(right_and_high, side=100)
    assert picture.dtype == torch.uint8
    assert picture.shape == (3, 100, 100)
    rows, columns = (picture[0] < 255).nonzero(as_tuple=True)
    assert rows.float().mean().item() == pytest.approx(10 - 0.5, abs=0.6)
    assert columns.float().mean().item() == pytest.approx(75 - 0.5, abs=0.6)
    once = render_points(right_and_high[:1, :, None, None], side=100)
    assert picture.sum() < once.sum()
    assert encode_tiles([picture[None]]).startswith(b"\x89PNG")


def test_a_picture_circles_the_modes_that_no_point_reaches(points) -> None:
    empty = render_points(torch.zeros(0, 2), points.truth)
    for x, y in points.truth.centres:
        column, row = round(x * 256), round((1 - y) * 256)
        around = empty[:, row - 9 : row + 9, column - 9 : column + 9]
        assert around.min() < 200
        assert empty[:, row - 2 : row + 2, column - 2 : column + 2].min() == 255
