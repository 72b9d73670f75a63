import math

import numpy as np
import pytest
import torch
from draws import normal
from hypothesis import given, settings
from hypothesis import strategies as st
from torch_fidelity.metric_isc import isc_features_to_metric

from metrics import inception_score


def test_no_information_scores_one():
    assert inception_score(torch.zeros(50, 10)) == pytest.approx(1, abs=1e-12)
    assert inception_score(torch.arange(7.0).repeat(20, 1)) == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize("classes", [2, 10, 1008])
def test_certain_and_balanced_scores_the_number_of_classes(classes):
    assert inception_score(1e4 * torch.eye(classes)) == pytest.approx(classes, rel=1e-12)


def test_probabilities_of_zero_are_no_nan():
    logits = torch.full((6, 3), -math.inf)
    logits[range(6), [0, 1, 2, 0, 1, 2]] = 0.0
    assert inception_score(logits) == pytest.approx(3, rel=1e-12)
    assert inception_score(logits[:1]) == 1


def test_unbalanced_by_hand():
    """Three images certain of one class and one of another: exp of the entropy of (3/4, 1/4)."""
    logits = 1e4 * torch.eye(2)[[0, 0, 0, 1]]
    entropy = -(0.75 * math.log(0.75) + 0.25 * math.log(0.25))
    assert inception_score(logits) == pytest.approx(math.exp(entropy), rel=1e-12)


def test_agrees_with_torch_fidelity_on_one_split():
    logits = 3 * normal(500, 10).float()
    theirs = isc_features_to_metric(logits, splits=1)["inception_score_mean"]
    assert inception_score(logits) == pytest.approx(theirs, rel=1e-12)


def test_splits_agree_with_torch_fidelity_for_the_same_order():
    logits = 3 * normal(500, 10)
    order = torch.randperm(500, generator=torch.Generator().manual_seed(4))
    theirs = isc_features_to_metric(logits[order], splits=10, shuffle=False)
    ours = inception_score(logits, splits=10, seed=4)
    assert ours == pytest.approx(theirs["inception_score_mean"], rel=1e-12)


def test_splits_shuffle_images_that_come_in_class_order():
    logits = 1e4 * torch.eye(10).repeat_interleave(100, dim=0)
    assert inception_score(logits, splits=10) > 8


def test_the_global_random_state_stays():
    state = torch.get_rng_state()
    inception_score(normal(40, 3), splits=4)
    assert torch.equal(state, torch.get_rng_state())


@given(rows=st.integers(1, 40), classes=st.integers(2, 12), seed=st.integers(0, 999))
@settings(max_examples=30, deadline=None)
def test_range_and_freedom_of_order_and_offset(rows, classes, seed):
    logits = 5 * normal(rows, classes, seed=seed)
    value = inception_score(logits)
    assert 1 - 1e-12 <= value <= classes + 1e-9
    order = np.random.default_rng(seed).permutation(rows)
    moved = logits[order] + normal(rows, 1, seed=seed + 1)
    assert inception_score(moved) == pytest.approx(value, rel=1e-10)


@pytest.mark.parametrize(
    ("logits", "splits", "words"),
    [
        (torch.zeros(5), 1, r"\[N, K\]"),
        (torch.zeros(0, 3), 1, "N >= 1"),
        (torch.zeros(5, 3), 6, "6 splits"),
        (torch.zeros(5, 3), 0, "0 splits"),
        (torch.full((5, 3), math.nan), 1, "NaN"),
    ],
)
def test_what_cannot_be_scored_is_an_error(logits, splits, words):
    with pytest.raises(ValueError, match=words):
        inception_score(logits, splits=splits)
