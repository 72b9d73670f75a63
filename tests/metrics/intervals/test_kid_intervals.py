import numpy as np
import pytest
import torch
from draws import normal
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from metrics import kernel_distance, kernel_distance_subsets
from metrics.intervals.kid import kernel_interval, kernel_subsets_interval


def pair(rows: int = 300, d: int = 16, seed: int = 0) -> tuple[Tensor, Tensor]:
    return normal(rows, d, seed=seed), 1.1 * normal(rows + 7, d, seed=seed + 1) + 0.1


def cube(a: Tensor, b: Tensor) -> Tensor:
    return (a @ b.T / a.shape[1] + 1) ** 3


def truth(real: Tensor, mean: Tensor, deviation: Tensor) -> float:
    """Mean of the distance over generated sets from a Gaussian, the reference fixed.

    Of a Gaussian z, E(1 + z)³ = (1 + a)³ + 3 (1 + a) v with its mean a and variance v.
    """
    d = real.shape[1]

    def embed(x: Tensor) -> Tensor:
        a, v = 1 + x @ mean / d, (x * deviation / d).square().sum(dim=1)
        return (a**3 + 3 * a * v).mean()

    within = cube(real, real)
    within = (within.sum() - within.trace()) / (len(real) * (len(real) - 1))
    others = embed(mean + deviation * normal(100_000, d, seed=999_999))
    return (within + others - 2 * embed(real)).item()


@given(rows=st.integers(4, 40), d=st.integers(1, 6), seed=st.integers(0, 10_000))
@settings(max_examples=30, deadline=None)
def test_interval_is_about_its_distance(rows, d, seed):
    real, fake = pair(rows, d, seed)
    ends = kernel_interval(real, fake)
    assert ends.value == kernel_distance(real, fake)
    assert ends.standard_error > 0
    assert ends.low < ends.value < ends.high


@pytest.mark.slow
@pytest.mark.parametrize(
    ("d", "heavy", "offset", "shift", "scale"),
    [(64, 1, 0, 0.0, 1.0), (64, 1, 0, 0.2, 1.1), (64, 6, 1, 0.3, 1.0)],
    ids=["one distribution", "another", "one direction dominates"],
)
def test_interval_covers_the_expected_distance(d, heavy, offset, shift, scale):
    """Over draws of the generated set, for several references."""
    deviation = torch.ones(d, dtype=torch.float64)
    deviation[0] = heavy
    mean = torch.full((d,), offset + shift, dtype=torch.float64)
    covered, ratios = [], []
    for number in range(4):
        real = offset + deviation * normal(400, d, seed=90_000 + number)
        expected = truth(real, mean, scale * deviation)
        sets = (
            mean + scale * deviation * normal(400, d, seed=1000 * number + s) for s in range(70)
        )
        draws = [kernel_interval(real, fake) for fake in sets]
        covered += [draw.low <= expected <= draw.high for draw in draws]
        spread = np.std([draw.value for draw in draws])
        ratios.append(np.mean([draw.standard_error for draw in draws]) / spread)
    assert 0.92 <= np.mean(covered) <= 0.98
    assert np.mean(ratios) == pytest.approx(1, abs=0.1)


def test_interval_of_the_subsets_is_at_least_that_of_the_whole():
    """And covers it: draws of subsets are all that is between the two."""
    real, fake = pair(rows=1500)
    subsets, full = kernel_subsets_interval(real, fake), kernel_interval(real, fake)
    assert subsets.value == kernel_distance_subsets(real, fake).kid_subsets != full.value
    assert subsets.standard_error > full.standard_error
    assert subsets.low < full.value < subsets.high
