import math

import numpy as np
import pytest
import torch
from draws import SQUARE, around, logits_of

from metrics import INTERVALS, METRICS, class_coverage, mode_coverage
from metrics.intervals.classes import divergence_interval, mode_intervals


def test_intervals_of_classes_hold_their_scores():
    real, fake = logits_of(500, 300, 200), logits_of(700, 283, 17)
    values = class_coverage(real, fake)._asdict()
    for name, interval in INTERVALS["class_kl"].function(real, fake).items():
        assert interval.value == values[name] == METRICS[name](real, fake)
        assert interval.low <= interval.value <= interval.high
    reached = INTERVALS["classes_reached"].function(real, fake)["classes_reached"]
    assert (reached.low, reached.value, reached.high) == pytest.approx((2 / 3, 2 / 3, 1))


def test_an_infinite_divergence_has_no_interval():
    real, fake = logits_of(50, 50, 0), logits_of(50, 40, 10)
    interval = INTERVALS["class_kl"].function(real, fake)["class_kl"]
    assert interval.value == math.inf
    assert math.isnan(interval.low)
    assert math.isnan(interval.high)


@pytest.mark.parametrize("tilt", [0.0, 0.02, 0.1, 0.2, 0.5])
@pytest.mark.parametrize("total", [1000, 5000])
def test_the_divergence_interval_covers(tilt, total):
    """From the null, where it is one-sided, to a clear difference."""
    share = torch.full((10,), 0.1, dtype=torch.float64)
    drawn = share * (tilt * torch.linspace(-2, 2, 10, dtype=torch.float64)).exp()
    drawn /= drawn.sum()
    truth = (drawn * (drawn / share).log()).sum().item()
    counts = np.random.default_rng(1).multinomial(total, drawn.numpy(), size=1000)
    intervals = [divergence_interval(torch.tensor(row), share) for row in counts]
    cover = np.mean([one.low <= truth + 1e-12 and truth <= one.high for one in intervals])
    assert cover >= 0.92
    if tilt >= 0.2:
        assert cover <= 0.98


def test_the_interval_of_classes_reached_covers():
    """Two of six classes stand near their thresholds, one on each side."""
    real = logits_of(*[100] * 6)
    needed = 0.1 / 6
    shares = np.array([0.0, 0.6 * needed, 1.5 * needed, 0.25, 0.3, 0.0])
    shares[5] = 1 - shares.sum()
    rng = np.random.default_rng(2)
    hits = []
    for _ in range(300):
        fake = logits_of(*rng.multinomial(1000, shares))
        found = INTERVALS["classes_reached"].function(real, fake)["classes_reached"]
        hits.append(found.low <= 4 / 6 + 1e-9 and found.high + 1e-9 >= 4 / 6)
    assert np.mean(hits) >= 0.92


def test_intervals_of_modes_hold_their_scores():
    points = around(60, 30, 1, 0)
    values = mode_coverage(points, SQUARE, 0.01)._asdict()
    for name, interval in INTERVALS["modes"].function(points, SQUARE, 0.01).items():
        assert interval.value == values[name] == METRICS[name](points, SQUARE, 0.01)
        assert interval.low <= interval.value <= interval.high


@pytest.mark.parametrize("mean", [0.3, 2.0, 6.0])
def test_the_interval_of_modes_covers_what_others_recover(mean):
    """Points fall on 200 modes at `mean` a mode; the truth is how many that finds on average."""
    modes, rng = 200, np.random.default_rng(3)
    centres = torch.stack([torch.arange(modes), torch.zeros(modes)], dim=1).double()
    truth = modes * (1 - (1 - 1 / modes) ** int(mean * modes))
    hits = []
    for _ in range(200):
        points = centres[rng.integers(modes, size=int(mean * modes))]
        found = mode_intervals(points, centres, 0.01)["modes"]
        hits.append(found.low <= truth <= found.high)
    assert np.mean(hits) >= 0.92


@pytest.mark.parametrize(
    "weights", [(0.25, 0.25, 0.25, 0.25), (0.4, 0.3, 0.2, 0.1), (0.9, 0.1, 0, 0)]
)
def test_the_interval_of_the_divergence_covers(weights):
    rng = np.random.default_rng(4)
    truth = sum(w * math.log(4 * w) for w in weights if w)
    hits = []
    for _ in range(500):
        points = SQUARE[np.repeat(np.arange(4), rng.multinomial(1000, weights))]
        found = mode_intervals(points, SQUARE, 0.01)["reverse_kl"]
        hits.append(found.low <= truth + 1e-12 and truth <= found.high)
    assert np.mean(hits) >= 0.92
    if truth:
        assert np.mean(hits) <= 0.98
