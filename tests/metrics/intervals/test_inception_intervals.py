import numpy as np
import pytest
import torch
from draws import normal

from metrics import INTERVALS, METRICS, inception_score, jackknife


def whole(logits: torch.Tensor) -> float:
    """The score over all images at once."""
    return inception_score(logits, splits=1).inception_score


def test_the_column_is_over_all_images_and_its_interval_a_jackknife():
    logits = 3 * normal(400, 10)
    assert METRICS["inception_score"](logits) == whole(logits)
    interval = INTERVALS["inception_score"].function(logits)
    assert interval == jackknife(whole, logits, log=True)
    assert interval.value == whole(logits)


def test_ten_splits_are_lower_and_so_is_their_interval():
    logits = 3 * normal(400, 10)
    score = METRICS["inception_score_10"](logits)
    assert score == inception_score(logits, splits=10).inception_score < whole(logits)
    interval = INTERVALS["inception_score_10"].function(logits)
    assert interval.value == score
    assert interval.standard_error == pytest.approx(inception_score(logits).deviation / 3)


def test_the_interval_of_ten_splits_covers_what_they_score_on_average():
    draws = [2 * normal(300, 10, seed=seed) for seed in range(300)]
    intervals = [INTERVALS["inception_score_10"].function(draw) for draw in draws]
    truth = np.mean([one.value for one in intervals])
    assert 0.92 <= np.mean([one.low <= truth <= one.high for one in intervals]) <= 0.98
