import math

import numpy as np
import pytest
import torch
from draws import normal
from scipy import stats
from torch import Tensor

from metrics import INTERVALS, METRICS
from metrics.classes import class_coverage, divergence_interval, wilson_interval


def logits_of(*counts: int) -> Tensor:
    """So many certain images of each class, in class order."""
    classes = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    return 20 * torch.eye(len(counts))[classes]


def test_by_hand():
    """Shares of a half, a quarter and a quarter against three quarters and a quarter."""
    found = class_coverage(logits_of(50, 25, 25), logits_of(75, 25, 0))
    assert found.classes_reached == pytest.approx(2 / 3)
    expected = 0.75 * math.log(0.75 / 0.5) + 0.25 * math.log(0.25 / 0.25)
    assert found.class_kl == pytest.approx(expected, rel=1e-12)


def test_the_same_images_reach_everything():
    logits = normal(500, 10)
    assert class_coverage(logits, logits[torch.randperm(500)]) == (1, 0)


def test_collapse_to_one_of_ten_classes():
    fake = logits_of(100, *[0] * 9)
    found = class_coverage(logits_of(*[50] * 10), fake)
    assert found.classes_reached == pytest.approx(0.1)
    assert found.class_kl == pytest.approx(math.log(10), rel=1e-12)


@pytest.mark.parametrize(("stray", "reached"), [(0, 1), (1, 1), (49, 1), (50, 2), (51, 2)])
def test_stray_images_do_not_count_as_a_class(stray, reached):
    """Half of the real images, so a twentieth of the fakes is what it takes."""
    found = class_coverage(logits_of(100, 100), logits_of(1000 - stray, stray))
    assert found.classes_reached == pytest.approx(reached / 2)


def test_classes_that_no_real_image_has():
    found = class_coverage(logits_of(50, 50, 0), logits_of(50, 40, 10))
    assert found == (1, math.inf)
    assert class_coverage(logits_of(50, 50, 0), logits_of(50, 50, 0)).classes_reached == 1


def test_intervals_hold_their_scores():
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


@pytest.mark.parametrize(("successes", "count"), [(0, 10), (3, 10), (10, 10), (989, 1000)])
def test_wilson_agrees_with_scipy(successes, count):
    theirs = stats.binomtest(successes, count).proportion_ci(method="wilson")
    ours = wilson_interval(successes, count)
    assert ours.value == successes / count
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=1e-12)


@pytest.mark.parametrize(
    ("real", "fake", "words"),
    [
        (torch.zeros(5), torch.zeros(5), r"\[N, K\]"),
        (torch.zeros(5, 3), torch.zeros(5, 4), r"\[5, 3\] and \[5, 4\]"),
        (torch.zeros(0, 3), torch.zeros(5, 3), "0 and 5"),
        (torch.full((5, 3), math.nan), torch.zeros(5, 3), "NaN"),
    ],
)
def test_what_cannot_be_compared_is_an_error(real, fake, words):
    with pytest.raises(ValueError, match=words):
        class_coverage(real, fake)
