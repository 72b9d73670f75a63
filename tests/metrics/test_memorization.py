import sys

import numpy as np
import pytest
import torch
from draws import CASES, normal, related
from scipy.spatial.distance import cdist
from torch import Tensor

from metrics import find_nearest, memorization, neighbors, precision_recall_density_coverage


def squares(a: Tensor, b: Tensor) -> np.ndarray:
    return cdist(a.double().numpy(), b.double().numpy(), "sqeuclidean")


@pytest.mark.parametrize("name", CASES)
def test_the_nearest_is_that_of_brute_force(name):
    train, fake = CASES[name]
    distances, index = find_nearest(train, fake)
    expected = squares(fake, train)
    assert index.dtype == torch.int64
    picked = np.take_along_axis(expected, index[:, None].numpy(), axis=1)[:, 0]
    np.testing.assert_allclose(picked, expected.min(axis=1), rtol=1e-12)
    np.testing.assert_allclose(distances.square(), expected.min(axis=1), rtol=1e-12)


def test_copies_are_found_out():
    train, real = normal(400, 6), normal(400, 6, seed=1)
    copies = train[:200] + 1e-3 * normal(200, 6, seed=2)
    mixed = torch.cat([copies, normal(200, 6, seed=3)])
    honest, stolen = memorization(real, real.flip(0), train), memorization(real, copies, train)
    assert honest.near_copies == pytest.approx(0.01, abs=0.003)
    assert honest.authenticity > 0.4
    assert stolen == (0, 1)
    assert memorization(real, mixed, train).near_copies == pytest.approx(0.5, abs=0.02)


def test_authenticity_by_hand():
    train = torch.tensor([[0.0], [1.0], [5.0], [5.0]])
    fake = torch.tensor([[-2.0], [-1.0], [0.4], [5.0], [4.9], [7.0]])
    # Farther than another training image: -2, tied: -1, 5 on a doubled image; beyond it: 4.9, 7.
    assert memorization(train, fake, train).authenticity == pytest.approx(3 / 6)


def test_an_exact_copy_is_no_authentic_image_even_of_a_doubled_one():
    train = normal(30, 4).repeat(2, 1)
    assert memorization(normal(30, 4, seed=1), train[:10], train) == (0, 1)


def test_copies_agree_with_brute_force():
    train, real = CASES["offset"]
    fake = torch.cat([real[:50], train[:50] + 1e-4])
    own = squares(train, train)
    np.fill_diagonal(own, np.inf)
    across = squares(fake, train)
    authentic = across.min(axis=1) > own.min(axis=1)[across.argmin(axis=1)]
    bar = np.quantile(np.sqrt(squares(real, train).min(axis=1)), 0.01)
    near = np.sqrt(across.min(axis=1)) < bar
    assert memorization(real, fake, train) == pytest.approx((authentic.mean(), near.mean()))


def test_copies_of_one_training_image_cannot_be_told():
    with pytest.raises(ValueError, match="2 or more rows, not 1"):
        memorization(normal(9, 3), normal(9, 3), normal(1, 3))


def test_the_reference_is_searched_once(monkeypatch):
    real, fake = related()
    calls = []
    plain = neighbors.find_neighbors
    for module in (neighbors, sys.modules["metrics.memorization"]):
        monkeypatch.setattr(
            module, "find_neighbors", lambda *a, **b: calls.append(0) or plain(*a, **b)
        )
    precision_recall_density_coverage(real, fake)
    precision_recall_density_coverage(real, fake + 1)
    memorization(real, fake, real + 2)
    assert len(calls) == 3 + 3
