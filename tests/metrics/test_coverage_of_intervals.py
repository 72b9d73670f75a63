"""How often 95 % intervals over generated samples hold what they are for, by simulation."""

import math

import numpy as np
import pytest
import torch
from draws import normal
from torch import Tensor

from metrics import METRICS, Interval, frechet_distance, frechet_interval, jackknife
from metrics.fid import Moments, _expand, frechet_infinity_interval


def cover(intervals: list[Interval], expected: float) -> float:
    return float(np.mean([one.low <= expected <= one.high for one in intervals]))


def features(count: int, d: int, rng: torch.Generator, rectify: bool) -> Tensor:
    """Correlated features of many scales, rectified or not."""
    mixing = torch.linalg.qr(normal(d, d))[0]
    scales = 4 * torch.arange(1, d + 1, dtype=torch.float64) ** -0.75
    drawn = torch.randn(count, d, generator=rng, dtype=torch.float64) * scales @ mixing
    return (drawn + 0.1).clamp(min=0) if rectify else drawn


@pytest.mark.parametrize(
    ("count", "d", "factor", "shift", "rectify"),
    [
        (300, 16, 1.0, 0.0, True),
        (300, 16, 1.05, 0.02, False),
        (300, 16, 1.3, 0.1, True),
        (400, 64, 1.1, 0.05, True),
        (40, 64, 1.3, 0.1, True),
    ],
    ids=["floor", "near the floor", "far", "digits", "fewer images than dimensions"],
)
def test_frechet_interval_covers(count, d, factor, shift, rectify):
    """What the distance is on average for this reference and this many generated images."""
    draws = 150 if d > 16 else 300
    covered, errors, spreads = [], [], []
    for seed in range(3):
        rng = torch.Generator().manual_seed(seed)
        reference = features(count, d, rng, rectify)
        intervals = [
            frechet_interval(reference, factor * features(count, d, rng, rectify) + shift)
            for _ in range(draws)
        ]
        values = np.array([one.value for one in intervals])
        covered.append(cover(intervals, values.mean()))
        errors.append(math.sqrt(np.mean([one.standard_error**2 for one in intervals])))
        spreads.append(values.std(ddof=1))
    assert 0.92 <= np.mean(covered) <= 0.98
    assert np.mean(errors) == pytest.approx(np.mean(spreads), rel=0.2)


@pytest.mark.parametrize(
    ("factor", "shift", "least", "most"), [(1.0, 0, 0.95, 1), (1.3, 0.1, 0.92, 0.98)]
)
def test_infinity_interval_covers_the_distance_of_the_distributions(factor, shift, least, most):
    rng = torch.Generator().manual_seed(0)
    many = features(200_000, 16, rng, rectify=True)
    truth = Moments(many).distance(Moments(factor * many + shift))
    intervals = [
        frechet_infinity_interval(
            features(300, 16, rng, rectify=True), factor * features(300, 16, rng, True) + shift
        )
        for _ in range(300)
    ]
    assert least <= cover(intervals, truth) <= most


def test_the_expansion_is_that_of_weighted_features():
    """The first and second derivatives in the rows' weights, by differences."""
    rng = torch.Generator().manual_seed(0)
    real, fake = features(80, 4, rng, True), 1.2 * features(60, 4, rng, True)
    reference, count = Moments(real), len(fake)

    def weigh(weights: Tensor) -> float:
        mean = weights @ fake
        scatter = (weights[:, None] * (fake - mean)).T @ (fake - mean) * count
        state = {"count": torch.tensor(count), "mean": mean, "scatter": scatter}
        return Moments.from_state(state).distance(reference)

    equal = torch.full((count,), 1 / count, dtype=torch.float64)
    tilts = 1e-5 * (torch.eye(count, dtype=torch.float64) - equal)
    influences = torch.tensor([weigh(equal + t) - weigh(equal - t) for t in tilts]) / 2e-5
    expansion = _expand(fake, real)
    # The unbiased covariance has the factor N/(N-1), which influences of the sample leave out.
    assert influences.var().item() / count == pytest.approx(expansion.variance, rel=0.05)
    step = influences / (count**2 * math.sqrt(expansion.variance)) / 10
    second = (weigh(equal + step) + weigh(equal - step) - 2 * weigh(equal)) * 100
    assert second == pytest.approx(expansion.curvature, rel=0.05)


@pytest.mark.parametrize("rows", [10, 200])
def test_interval_is_about_its_distance(rows):
    real, fake = normal(rows, 20), 1.5 * normal(rows, 20, seed=1)
    interval = frechet_interval(real, fake)
    assert interval.value == frechet_distance(real, fake)
    assert 0 <= interval.low < interval.value < interval.high
    same = frechet_interval(real, real.clone())
    assert same.value <= 1e-9
    assert same.low == pytest.approx(0, abs=1e-9)
    assert same.high > 0


def test_interval_of_features_that_do_not_vary():
    assert frechet_interval(torch.ones(9, 3), torch.zeros(9, 3)) == (3, 3, 3, 0)


def test_jackknife_of_the_inception_score_covers():
    """What the score is on average for this many images, whose bias every such score has."""
    score = METRICS["inception_score"]
    for bias, seed in ((0.0, 0), (0.3, 1)):
        rng = torch.Generator().manual_seed(seed)
        odds = torch.softmax(bias * torch.arange(10), dim=0)
        intervals = []
        for _ in range(150):
            classes = torch.multinomial(odds, 400, replacement=True, generator=rng)
            noise = 1.5 * torch.randn(400, 10, generator=rng)
            intervals.append(jackknife(score, 4 * torch.eye(10)[classes] + noise, log=True))
        expected = float(np.mean([one.value for one in intervals]))
        assert 0.92 <= cover(intervals, expected) <= 0.98
