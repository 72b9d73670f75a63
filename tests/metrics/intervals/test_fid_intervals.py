"""The floor of the Fréchet distance, and how often its intervals hold what they are for."""

import math

import numpy as np
import pytest
import torch
from draws import normal, rectified
from torch import Tensor

from metrics import Interval, Moments, frechet_distance, frechet_floor, frechet_interval
from metrics.intervals.fid import expand_distance, frechet_infinity_interval

SLOW = pytest.mark.slow
SPECTRUM = torch.tensor([9.0, 4, 1, 1, 0.2, 0.01], dtype=torch.float64).sqrt()


@pytest.mark.slow
def test_the_floor_is_the_distance_of_two_samples_of_one_gaussian():
    """Its mean to the next order in 1/N, some percent, its deviation to the simulation's error."""
    floor = frechet_floor(normal(200_000, 6) * SPECTRUM, 300)
    draws = (normal(1000, 2, 400, 6) * SPECTRUM).unbind()
    values = np.array([frechet_distance(real[:300], fake) for real, fake in draws])
    # The reference is 200,000 rows: 1/200,000 + 1/300 is the floor's, 1/300 + 1/400 the draws'.
    share = (1 / 300 + 1 / 400) / (1 / 200_000 + 1 / 300)
    assert values.mean() == pytest.approx(share * floor.mean, rel=0.03)
    assert values.std() == pytest.approx(share * floor.deviation, rel=0.06)


def test_the_floor_of_a_small_sample_is_that_of_its_distribution():
    """Though its eigenvalues spread, which alone would take a tenth off."""
    samples = normal(60, 100, 20)
    expected = (1 / 100 + 1 / 50) * (1.25 * 20 + 20 * 20 / 4)
    assert np.mean([frechet_floor(sample, 50).mean for sample in samples]) == pytest.approx(
        expected, rel=0.03
    )


def test_the_floor_has_the_units_of_the_distance_and_falls_with_the_counts():
    real = rectified(400, 300, 0)
    floor = frechet_floor(real, 400)
    assert frechet_floor(Moments(real), 400) == pytest.approx(floor)
    assert frechet_floor(10 * real, 400) == pytest.approx((100 * floor.mean, 100 * floor.deviation))
    less = frechet_floor(real, 10**9)
    assert less == pytest.approx((floor.mean / 2, floor.deviation / 2), rel=1e-6)
    assert frechet_floor(torch.ones(9, 3), 5) == (0, 0)
    with pytest.raises(ValueError, match="2 or more rows"):
        frechet_floor(real, 1)


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
        pytest.param(300, 16, 1.0, 0.0, True, id="floor", marks=SLOW),
        pytest.param(300, 16, 1.05, 0.02, False, id="near the floor", marks=SLOW),
        pytest.param(300, 16, 1.3, 0.1, True, id="far", marks=SLOW),
        pytest.param(400, 64, 1.1, 0.05, True, id="digits", marks=SLOW),
        pytest.param(40, 64, 1.3, 0.1, True, id="fewer images than dimensions"),
    ],
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


@pytest.mark.slow
@pytest.mark.parametrize(
    ("factor", "shift", "least", "most"), [(1.0, 0, 0.95, 1), (1.3, 0.1, 0.92, 0.98)]
)
def test_infinity_interval_covers_the_distance_of_the_distributions(factor, shift, least, most):
    rng = torch.Generator().manual_seed(0)
    many = features(200_000, 16, rng, rectify=True)
    truth = frechet_distance(Moments(many), Moments(factor * many + shift))
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
        return frechet_distance(Moments.from_state(state), reference)

    equal = torch.full((count,), 1 / count, dtype=torch.float64)
    tilts = 1e-5 * (torch.eye(count, dtype=torch.float64) - equal)
    influences = torch.tensor([weigh(equal + t) - weigh(equal - t) for t in tilts]) / 2e-5
    expansion = expand_distance(fake, real)
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
