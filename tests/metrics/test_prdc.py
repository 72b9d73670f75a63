import numpy as np
import pytest
import torch
from draws import CASES, lattice, normal, related
from hypothesis import given, settings
from hypothesis import strategies as st
from prdc import compute_prdc
from scipy.spatial.distance import cdist
from torch import Tensor

from metrics import matrices, neighbors, precision_recall_density_coverage
from metrics.intervals.neighbors import neighbor_intervals


def squares(a: Tensor, b: Tensor) -> np.ndarray:
    return cdist(a.double().numpy(), b.double().numpy(), "sqeuclidean")


def brute(real: Tensor, fake: Tensor, k: int = 5) -> tuple[float, ...]:
    """In float64 from differences, with every distance in memory."""

    def radii(features: Tensor) -> np.ndarray:
        distances = squares(features, features)
        np.fill_diagonal(distances, np.inf)
        return np.sort(distances, axis=1)[:, k - 1]

    across = squares(real, fake)
    in_real = (across < radii(real)[:, None]) | (across == 0)
    in_fake = (across < radii(fake)) | (across == 0)
    precision, coverage = in_real.any(axis=0).mean(), in_real.any(axis=1).mean()
    return precision, in_fake.any(axis=1).mean(), in_real.sum(axis=0).mean() / k, coverage


@pytest.mark.parametrize("name", CASES)
def test_every_decision_is_that_of_brute_force(name):
    real, fake = CASES[name]
    assert precision_recall_density_coverage(real, fake) == pytest.approx(brute(real, fake))


@pytest.mark.parametrize("k", [1, 5, 80])
def test_so_it_is_over_several_tiles_and_in_any_order(k):
    real, fake = related(1300, 2)
    real, fake = (side[side[:, 0].argsort()] for side in (real, fake[:1030]))
    assert precision_recall_density_coverage(real, fake, k) == pytest.approx(brute(real, fake, k))


@pytest.mark.parametrize("k", [1, 3, 20])
def test_agrees_with_prdc(k):
    real, fake = related()
    theirs = compute_prdc(real.numpy(), fake.numpy(), k)
    ours = precision_recall_density_coverage(real, fake, k)
    assert ours._asdict() == pytest.approx(theirs, abs=1e-9)


@pytest.mark.parametrize(
    "features", [normal(40, 3), normal(5, 3).repeat(9, 1), torch.zeros(9, 2), lattice(50, 0)]
)
def test_identical_sets_are_within_each_other(features):
    precision, recall, density, coverage = precision_recall_density_coverage(features, features)
    assert (precision, recall, coverage) == (1, 1, 1)
    assert density > 0


def test_an_image_holds_fewer_than_k_others():
    features = normal(200, 4)
    assert precision_recall_density_coverage(features, features.clone()).density == 1


@given(
    rows=st.integers(6, 50),
    d=st.integers(1, 6),
    seed=st.integers(0, 10_000),
    k=st.integers(1, 5),
    tile=st.sampled_from([7, 16, 1024]),
)
@settings(max_examples=40, deadline=None)
def test_in_range_and_free_of_order_rotation_and_tiles(rows, d, seed, k, tile):
    real, fake = related(rows, d, seed)
    fake = fake[: max(rows - 3, k + 1)]
    result = precision_recall_density_coverage(real, fake, k)
    assert all(0 <= share <= 1 for share in (result.precision, result.recall, result.coverage))
    assert result.density >= result.precision / k
    rotation = torch.linalg.qr(normal(d, d, seed=seed + 2))[0]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(matrices, "ROWS", tile)
        turned = (real @ rotation)[torch.randperm(rows)], (fake @ rotation).flip(0)
        assert precision_recall_density_coverage(*turned, k) == pytest.approx(result)
    mirrored = precision_recall_density_coverage(fake, real, k)
    assert (mirrored.precision, mirrored.recall) == (result.recall, result.precision)


def test_screening_leaves_few_distances_to_be_measured(monkeypatch):
    """Else the products were of no use."""
    measured = []
    plain = neighbors._square_distances

    def measure(x, y, i, j):
        measured.append(len(i))
        return plain(x, y, i, j)

    monkeypatch.setattr(neighbors, "_square_distances", measure)
    precision_recall_density_coverage(*related(500, 32))
    assert sum(measured) < 1.1 * 1000


@pytest.mark.parametrize(
    ("real", "fake", "k", "words"),
    [
        (normal(9, 3), normal(9, 4), 5, "3 and 4 dimensions"),
        (normal(9, 3), normal(5, 3), 5, "6 or more rows, not 5"),
        (normal(9, 3), normal(9), 5, r"\[N, d\]"),
        (normal(9, 3), normal(9, 3) / 0, 5, "NaN or infinite"),
        (normal(9, 3), normal(9, 3), 0, "1 or more, not 0"),
    ],
)
def test_what_cannot_be_compared_is_an_error(real, fake, k, words):
    with pytest.raises(ValueError, match=words):
        precision_recall_density_coverage(real, fake, k)
    with pytest.raises(ValueError, match=words):
        neighbor_intervals(real, fake, k)
