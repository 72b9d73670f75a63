import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from benchmarks.statistics import (
    Interval,
    interval_over_seeds,
    last_over_best,
    spread,
    student_interval,
)

POSITIVE = st.floats(1e-6, 1e6)


def run(value: float) -> Interval:
    return Interval(value, 0.9 * value, 1.2 * value)


def test_student_interval_is_that_of_scipy() -> None:
    values = [8.9, 9.3, 8.1]
    expected = stats.t.interval(0.95, 2, np.mean(values), stats.sem(values))
    assert student_interval(values) == pytest.approx((np.mean(values), *expected))


def test_fid_is_summed_up_on_the_log_scale() -> None:
    values = [5.0, 6.5, 9.0]
    logs = np.log(values)
    expected = np.exp(stats.t.interval(0.95, 2, logs.mean(), stats.sem(logs)))
    interval = interval_over_seeds("fid", [run(value) for value in values])
    assert interval == pytest.approx((stats.gmean(values), *expected))


def test_a_known_interval_by_hand() -> None:
    # mean 2, standard deviation 1, t(0.975, 2) = 4.3027
    assert student_interval([1, 2, 3]) == pytest.approx((2, 2 - 2.48414, 2 + 2.48414), abs=1e-5)


def test_student_covers_at_its_level() -> None:
    rng = np.random.default_rng(0)
    intervals = [student_interval(rng.normal(3, 2, 3).tolist()) for _ in range(2000)]
    assert np.mean([low < 3 < high for _, low, high in intervals]) == pytest.approx(0.95, abs=0.015)


def test_one_run_keeps_its_interval_over_samples() -> None:
    nothing = Interval(*[math.nan] * 3)
    assert interval_over_seeds("fid", [nothing, run(4.0)]) == run(4.0)
    assert all(math.isnan(end) for end in interval_over_seeds("fid", [nothing]))
    assert all(math.isnan(end) for end in interval_over_seeds("fid", []))


def test_a_distance_of_zero_is_summed_up_on_the_plain_scale() -> None:
    value, low, high = interval_over_seeds("fid", [run(0.0), run(2.0)])
    assert (value, low) == (1.0, 0.0)
    assert high > 1


def test_no_inception_score_lies_below_one() -> None:
    assert interval_over_seeds("inception_score", [run(1.2), run(9.0)]).low == 1.0


@given(st.sampled_from(["fid", "inception_score", "psnr"]), st.lists(POSITIVE, min_size=2))
def test_an_interval_contains_its_value(metric: str, values: list[float]) -> None:
    value, low, high = interval_over_seeds(metric, [run(value) for value in values])
    assert low <= value <= high


def test_last_over_best_and_spread() -> None:
    assert last_over_best([4.0, 9.0], [2.0, 9.0]) == pytest.approx(math.sqrt(2))
    assert math.isnan(last_over_best([4.0], [math.nan]))
    assert spread([2.0, 2.0, 2.0]) == pytest.approx(1.0)
    assert spread([1.0, math.e]) == pytest.approx(math.exp(math.sqrt(0.5)))
    assert math.isnan(spread([2.0]))


def test_no_interval_leaves_the_range_of_its_metric() -> None:
    assert interval_over_seeds("precision", [Interval(0.99, 0.95, 1.03)]).high == 1
    assert interval_over_seeds("inception_score", [Interval(1.01, 0.97, 1.05)]).low == 1
    many = interval_over_seeds("recall", [Interval(v, v, v) for v in (0.0, 0.01, 0.2)])
    assert many.low == 0
    kid = interval_over_seeds("kid", [Interval(v, v, v) for v in (-0.01, 0.01, 0.0)])
    assert kid.low < -0.01
    unknown = interval_over_seeds("psnr", [Interval(30.0, math.nan, math.nan)])
    assert math.isnan(unknown.low)
    assert math.isnan(unknown.high)
