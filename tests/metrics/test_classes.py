import math

import pytest
import torch
from draws import logits_of, normal

from metrics import class_coverage


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
