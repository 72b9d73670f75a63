import math

import numpy as np
import pytest
import torch
from draws import normal
from scipy import stats

from metrics import METRICS, Interval, jackknife, mean_interval
from metrics.intervals.base import jackknife_interval, wilson_interval


def cover(intervals: list[Interval], expected: float) -> float:
    return float(np.mean([one.low <= expected <= one.high for one in intervals]))


def test_mean_interval_is_students():
    values = normal(25).float() + 3
    interval = mean_interval(values)
    low, high = stats.t.interval(0.95, 24, values.mean(), stats.sem(values.double().numpy()))
    assert (interval.low, interval.high) == pytest.approx((low, high), rel=1e-6)


def test_jackknife_of_a_mean_by_single_images_is_students():
    """With one image a block it is the textbook's; two is the least here, so pair equal values."""
    values = normal(30)
    blocks = normal(15)
    interval = jackknife_interval(
        blocks.mean().item(), [(blocks.sum() - b).item() / 14 for b in blocks]
    )
    expected = mean_interval(blocks)
    assert tuple(interval) == pytest.approx(tuple(expected), rel=1e-9)
    assert jackknife(lambda x: x.mean().item(), values, blocks=15).value == pytest.approx(
        values.mean().item()
    )


def test_mean_interval_covers():
    values = normal(2000, 30).exp()
    hits = [one.low <= math.exp(0.5) <= one.high for one in map(mean_interval, values)]
    assert 0.87 <= np.mean(hits) <= 0.97  # a heavy tail costs Student's t some cover
    hits = [one.low <= 0 <= one.high for one in map(mean_interval, normal(2000, 30))]
    assert 0.935 <= np.mean(hits) <= 0.965


@pytest.mark.parametrize("log", [False, True])
def test_jackknife_covers_a_smooth_statistic(log):
    """The ratio of two means, and its true value 2."""
    draws = normal(600, 200, 2) * 0.5 + torch.tensor([2.0, 1.0], dtype=torch.float64)

    def ratio(sample):
        return (sample[:, 0].mean() / sample[:, 1].mean()).item()

    intervals = [jackknife(ratio, draw, log=log) for draw in draws]
    assert 0.92 <= np.mean([one.low <= 2 <= one.high for one in intervals]) <= 0.98


def test_blocks_are_dealt_at_random():
    """Images in class order must not make blocks of one class."""
    logits = 20 * torch.eye(10).repeat_interleave(40, dim=0)
    ordered = jackknife(METRICS["inception_score"], logits)
    assert ordered.standard_error < 0.1
    assert ordered == jackknife(METRICS["inception_score"], logits)


def test_samples_lose_the_same_rows():
    a = normal(50)
    interval = jackknife(lambda x, y: (x - y).abs().max().item(), a, a.clone(), blocks=5)
    assert interval == (0, 0, 0, 0)


def test_log_scale_stays_positive_and_is_symmetric_in_ratio():
    interval = jackknife_interval(2.0, [1.9, 2.1, 2.0, 2.05, 1.95], log=True)
    assert interval.high / interval.value == pytest.approx(interval.value / interval.low)
    near_zero = jackknife_interval(0.0, [0.1, 0.2, 0.15], log=True)
    assert near_zero.low == 0
    assert near_zero.high > 0


def test_too_few_images_are_an_error():
    with pytest.raises(ValueError, match="20 of 39"):
        jackknife(lambda x: x.mean().item(), normal(39))
    with pytest.raises(ValueError, match="2 or more values"):
        mean_interval(normal(1))
    with pytest.raises(ValueError, match="length: 40, 41"):
        jackknife(lambda x, y: 0.0, normal(40), normal(41))


@pytest.mark.parametrize(("successes", "count"), [(0, 10), (3, 10), (10, 10), (989, 1000)])
def test_wilson_agrees_with_scipy(successes, count):
    theirs = stats.binomtest(successes, count).proportion_ci(method="wilson")
    ours = wilson_interval(successes, count)
    assert ours.value == successes / count
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=1e-12)


@pytest.mark.slow
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
