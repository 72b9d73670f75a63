import math

import numpy as np
import pytest
import torch
from draws import SQUARE, around
from hypothesis import given, settings
from hypothesis import strategies as st

from metrics import mode_coverage
from metrics.intervals.classes import mode_intervals


def test_by_hand():
    """Three points of two modes in quality, one just too far and one between the modes."""
    points = torch.tensor([[0.0, 0.029], [0.0, 0.0], [1.0, -0.03], [0.0, 0.031], [0.5, 0.5]])
    found = mode_coverage(points.double(), SQUARE, 0.01)
    assert found.modes == 2
    assert found.high_quality == pytest.approx(3 / 5)
    expected = 2 / 3 * math.log(4 * 2 / 3) + 1 / 3 * math.log(4 / 3)
    assert found.reverse_kl == pytest.approx(expected, rel=1e-12)


def test_the_mixture_itself():
    found = mode_coverage(around(*[25_000] * 4), SQUARE, 0.01)
    assert found.modes == 4
    assert found.high_quality == pytest.approx(1 - math.exp(-4.5), abs=1e-3)
    assert found.reverse_kl < 1e-4


def test_collapse_to_one_mode():
    found = mode_coverage(around(0, 0, 500, 0), SQUARE, 0.01)
    assert found.modes == 1
    assert found.reverse_kl == pytest.approx(math.log(4), rel=1e-12)


def test_no_point_of_quality():
    points = torch.full((50, 2), 0.5)
    assert mode_coverage(points, SQUARE, 0.01) == (0, 0, pytest.approx(math.log(4)))
    intervals = mode_intervals(points, SQUARE, 0.01)
    assert intervals["modes"].high == 0
    assert intervals["high_quality"].high > 0
    assert math.isnan(intervals["reverse_kl"].low)


def test_few_points_of_quality_do_not_weigh_by_the_poor_ones():
    good = around(30, 20, 0, 0, deviation=0.001)
    poor = torch.full((500, 2), 0.45, dtype=torch.float64)
    alone, among = (mode_coverage(p, SQUARE, 0.01) for p in (good, torch.cat([good, poor])))
    assert among.reverse_kl == alone.reverse_kl
    assert among.high_quality == pytest.approx(50 / 550)


def test_tiny_deviations_far_from_the_origin_keep_their_digits():
    """A distance by way of a matrix product loses all of these."""
    points = SQUARE + 1000 + 2.9e-6 / math.sqrt(2)
    assert mode_coverage(points, SQUARE + 1000, 1e-6) == (4, 1, 0)
    assert mode_coverage(points, SQUARE + 1000, 0.9e-6).modes == 0


@given(seed=st.integers(0, 999), turn=st.floats(0, 6.28), scale=st.floats(0.1, 10))
@settings(max_examples=30, deadline=None)
def test_freedom_of_order_rotation_and_scale(seed, turn, scale):
    points = around(40, 30, 5, 1, deviation=0.012, seed=seed)
    rotation = torch.tensor(
        [[math.cos(turn), -math.sin(turn)], [math.sin(turn), math.cos(turn)]], dtype=torch.float64
    )
    order = np.random.default_rng(seed).permutation(len(points))
    there = mode_coverage(scale * points[order] @ rotation, scale * SQUARE @ rotation, scale * 0.01)
    here = mode_coverage(points, SQUARE, 0.01)
    assert tuple(there) == pytest.approx(tuple(here), abs=1e-9)


@pytest.mark.parametrize(
    ("points", "centres", "deviation", "words"),
    [
        (torch.zeros(5, 2, 1, 1), SQUARE, 0.1, r"points \[N, 2\]"),
        (torch.zeros(5, 3), SQUARE, 0.1, r"\[5, 3\]"),
        (torch.zeros(5, 2), SQUARE, 0.0, "positive deviation"),
        (torch.zeros(5, 2), SQUARE, math.nan, "positive deviation"),
        (torch.zeros(0, 2), SQUARE, 0.1, "one finite point"),
        (torch.full((5, 2), math.nan), SQUARE, 0.1, "one finite point"),
        (torch.zeros(5, 2), SQUARE[:0], 0.1, "one centre"),
    ],
)
def test_what_cannot_be_counted_is_an_error(points, centres, deviation, words):
    with pytest.raises(ValueError, match=words):
        mode_coverage(points, centres, deviation)
