import math

import numpy as np
import pytest
import torch
from draws import normal
from hypothesis import given, settings
from hypothesis import strategies as st
from torch_fidelity.metric_isc import isc_features_to_metric

from metrics import inception_score


def whole(logits: torch.Tensor) -> float:
    """The score over all images at once."""
    return inception_score(logits, splits=1).inception_score


def test_no_information_scores_one():
    assert whole(torch.zeros(50, 10)) == pytest.approx(1, abs=1e-12)
    assert whole(torch.arange(7.0).repeat(20, 1)) == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize("classes", [2, 10, 1008])
def test_certain_and_balanced_scores_the_number_of_classes(classes):
    assert whole(1e4 * torch.eye(classes)) == pytest.approx(classes, rel=1e-12)


def test_probabilities_of_zero_are_no_nan():
    logits = torch.full((6, 3), -math.inf)
    logits[range(6), [0, 1, 2, 0, 1, 2]] = 0.0
    assert whole(logits) == pytest.approx(3, rel=1e-12)
    assert inception_score(logits[:1], splits=1) == (1, 0, 1)
    assert inception_score(logits, splits=6) == (1, 0, 6)


def test_unbalanced_by_hand():
    """Three images certain of one class and one of another: exp of the entropy of (3/4, 1/4)."""
    logits = 1e4 * torch.eye(2)[[0, 0, 0, 1]]
    entropy = -(0.75 * math.log(0.75) + 0.25 * math.log(0.25))
    assert whole(logits) == pytest.approx(math.exp(entropy), rel=1e-12)


@pytest.mark.parametrize("scale", [1e-3, 1, 30, 1e3])
def test_agrees_with_log_softmax(scale):
    """The mean of Σ p (log p − log p̄), from logarithms that no small probability rounds to -inf."""
    logits = scale * normal(300, 10)
    log_p = logits.log_softmax(dim=1)
    mean = log_p.logsumexp(dim=0) - math.log(300)
    expected = (log_p.exp() * (log_p - mean)).sum(dim=1).mean().exp().item()
    assert whole(logits) == pytest.approx(expected, rel=1e-12)


def test_agrees_with_torch_fidelity_on_one_split():
    logits = 3 * normal(500, 10).float()
    theirs = isc_features_to_metric(logits, splits=1)["inception_score_mean"]
    assert whole(logits) == pytest.approx(theirs, rel=1e-12)


def test_splits_agree_with_torch_fidelity_for_the_same_order():
    """Mean and deviation; it shuffles by numpy's generator, so it is given our order."""
    logits = 3 * normal(500, 10)
    order = torch.randperm(500, generator=torch.Generator().manual_seed(4))
    theirs = isc_features_to_metric(logits[order], splits=10, shuffle=False)
    ours = inception_score(logits, splits=10, seed=4)
    assert ours.inception_score == pytest.approx(theirs["inception_score_mean"], rel=1e-12)
    assert ours.deviation == pytest.approx(theirs["inception_score_std"], rel=1e-10)
    assert ours.splits == 10


@pytest.mark.filterwarnings("ignore:Metric `InceptionScore` will save")
def test_splits_agree_with_torchmetrics_for_the_same_order():
    """It shuffles by the global generator; its deviation is divided by one less than the splits."""
    from torchmetrics.image.inception import InceptionScore

    class Given(torch.nn.Module):
        num_features = 10

        def forward(self, logits: torch.Tensor) -> torch.Tensor:
            return logits

    logits = 3 * normal(500, 10)
    theirs = InceptionScore(feature=Given(), splits=10)
    theirs.update(logits)
    with torch.random.fork_rng():
        torch.manual_seed(4)
        mean, deviation = theirs.compute()
    ours = inception_score(logits, splits=10, seed=4)
    assert ours.inception_score == pytest.approx(mean.item(), rel=1e-6)
    assert ours.deviation == pytest.approx(deviation.item() * math.sqrt(9 / 10), rel=1e-6)


def test_splits_shuffle_images_that_come_in_class_order():
    logits = 1e4 * torch.eye(10).repeat_interleave(100, dim=0)
    assert inception_score(logits).inception_score > 8


def test_the_global_random_state_stays():
    state = torch.get_rng_state()
    inception_score(normal(40, 3), splits=4)
    assert torch.equal(state, torch.get_rng_state())


@given(rows=st.integers(1, 40), classes=st.integers(2, 12), seed=st.integers(0, 999))
@settings(max_examples=30, deadline=None)
def test_range_and_freedom_of_order_and_offset(rows, classes, seed):
    logits = 5 * normal(rows, classes, seed=seed)
    value = whole(logits)
    assert 1 - 1e-12 <= value <= classes + 1e-9
    order = np.random.default_rng(seed).permutation(rows)
    moved = logits[order] + normal(rows, 1, seed=seed + 1)
    assert whole(moved) == pytest.approx(value, rel=1e-10)


@pytest.mark.parametrize(
    ("logits", "splits", "words"),
    [
        (torch.zeros(5), 1, r"\[N, K\]"),
        (torch.zeros(0, 3), 1, "N >= 1"),
        (torch.zeros(5, 3), 6, "6 splits"),
        (torch.zeros(5, 3), 0, "0 splits"),
        (torch.full((5, 3), math.nan), 1, "NaN"),
        (torch.tensor([[0.0, math.inf]]), 1, r"\+inf"),
    ],
)
def test_what_cannot_be_scored_is_an_error(logits, splits, words):
    with pytest.raises(ValueError, match=words):
        inception_score(logits, splits=splits)
