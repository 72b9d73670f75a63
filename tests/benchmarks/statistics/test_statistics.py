import math

import numpy as np
import pandas as pd
import pytest
from effort import count_calls
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from benchmarks.statistics.differences import (
    Sample,
    compare_samples,
    holm,
    pair_samples,
    paired,
    plan_seeds,
    seeds_for,
    welch,
    wilson,
)
from benchmarks.statistics.intervals import (
    SeedInterval,
    geometric_std,
    interval_over_seeds,
    last_over_best,
    student_interval,
)
from benchmarks.statistics.rankings import compare_contenders, friedman, nemenyi, rank_intervals
from benchmarks.statistics.variance import split_variance

POSITIVE = st.floats(1e-6, 1e6)
FINITE = st.floats(-1e6, 1e6)
NAN = math.nan
A, B = [3.1, 4.2, 2.3, 3.9], [2.7, 2.8, 1.8]
DEMSAR_RANKS = [  # the ranks in table 6 of Demšar (2006): C4.5, with m, with cf, with both
    *((4, 3, 2, 1), (1, 2, 3, 4), (4, 1, 2, 3), (4, 1, 3, 2), (4, 2, 3, 1), (1, 2.5, 4, 2.5)),
    *((3, 2, 4, 1), (2.5, 2.5, 4, 1), (4, 3, 2, 1), (2.5, 2.5, 2.5, 2.5), (4, 2.5, 1, 2.5)),
    *((3, 2, 4, 1), (4, 1, 2, 3), (3, 1, 4, 2)),
]


def runs(scores: dict[str, list[float]], metric: str = "fid", family: str = "gan") -> pd.DataFrame:
    rows = [(name, seed, x) for name, xs in scores.items() for seed, x in enumerate(xs)]
    frame = pd.DataFrame(rows, columns=["contender", "seed", metric])
    frame["contender"] = pd.Categorical(frame["contender"], categories=[*scores])
    return frame.assign(family=family, status="ok", seed=frame["seed"].astype("Int64"))


def many(contenders: int, seeds: int) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    means = rng.normal(0, 1, contenders)
    return runs({f"c{i}": np.exp(rng.normal(m, 0.3, seeds)) for i, m in enumerate(means)})


def describe(values: np.ndarray) -> Sample:
    """Samples along the last axis."""
    return Sample(values.shape[-1], values.mean(-1), values.var(-1, ddof=1))


def seeds_needed(
    a: list[float], b: list[float], *, log: bool = False, comparisons: int = 1, power: float = 0.8
) -> float:
    first, second = (Sample.of(np.log(values) if log else np.array(values)) for values in (a, b))
    return float(plan_seeds(first, second, np.float64(comparisons), power))


def probability_of_improvement(
    a: list[float], b: list[float], *, lower_is_better: bool
) -> tuple[float, float, float]:
    """P(a is better than b) with its interval, by a comparison of the two."""
    metric = "mae" if lower_is_better else "psnr"
    pairs = compare_contenders(runs({"a": a, "b": b}, metric), metric)
    if pairs.empty:
        return NAN, NAN, NAN
    found = pairs.iloc[0]
    value, low, high = found[["probability", "probability_low", "probability_high"]]
    return (value, low, high) if found["first"] == "a" else (1 - value, 1 - high, 1 - low)


def simulate_scores(
    rng: np.random.Generator, seeds: int, extractors: int, contenders: int = 6
) -> pd.DataFrame:
    """FIDs with standard deviations 1, 0.4, 0.3 and 0.1 of contender, extractor, seed, sampling."""
    size = contenders, seeds, extractors
    logs = rng.normal(0, 1, (contenders, 1, 1)) + rng.normal(0, 0.4, (contenders, 1, extractors))
    logs = logs + rng.normal(0, 0.3, (contenders, seeds, 1)) + 5 * np.arange(extractors)
    values = np.exp(logs + rng.normal(0, 0.1, size)).ravel()
    contender, seed, extractor = np.indices(size).reshape(3, -1)
    half = math.exp(1.959964 * 0.1)
    frame = {"contender": contender, "seed": seed, "extractor": extractor.astype(str)}
    frame |= {"value": values, "low": values / half, "high": values * half}
    return pd.DataFrame(frame).assign(family="gan", status="ok", metric="fid")


def run(value: float) -> SeedInterval:
    return SeedInterval(value, 0.9 * value, 1.2 * value)


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
    nothing = SeedInterval(*[math.nan] * 3)
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
    assert geometric_std([2.0, 2.0, 2.0]) == pytest.approx(1.0)
    assert geometric_std([1.0, math.e]) == pytest.approx(math.exp(math.sqrt(0.5)))
    assert math.isnan(geometric_std([2.0]))


def test_no_interval_leaves_the_range_of_its_metric() -> None:
    assert interval_over_seeds("precision", [SeedInterval(0.99, 0.95, 1.03)]).high == 1
    assert interval_over_seeds("inception_score", [SeedInterval(1.01, 0.97, 1.05)]).low == 1
    many = interval_over_seeds("recall", [SeedInterval(v, v, v) for v in (0.0, 0.01, 0.2)])
    assert many.low == 0
    kid = interval_over_seeds("kid", [SeedInterval(v, v, v) for v in (-0.01, 0.01, 0.0)])
    assert kid.low < -0.01
    unknown = interval_over_seeds("psnr", [SeedInterval(30.0, math.nan, math.nan)])
    assert math.isnan(unknown.low)
    assert math.isnan(unknown.high)


def test_welch_is_that_of_scipy() -> None:
    found = stats.ttest_ind(A, B, equal_var=False)
    interval = found.confidence_interval()
    expected = (np.mean(A) - np.mean(B), interval.low, interval.high, found.pvalue, found.df)
    assert welch(A, B) == pytest.approx(expected)


def test_welch_on_the_log_scale_gives_ratios() -> None:
    found = stats.ttest_ind(np.log(A), np.log(B), equal_var=False)
    low, high = np.exp(found.confidence_interval())
    ratio = stats.gmean(A) / stats.gmean(B)
    assert welch(A, B, log=True) == pytest.approx((ratio, low, high, found.pvalue, found.df))


def test_paired_is_that_of_scipy_over_complete_pairs() -> None:
    found = stats.ttest_rel(A[:3], B)
    low, high = found.confidence_interval()
    expected = (np.mean(A[:3]) - np.mean(B), low, high, found.pvalue, 2)
    assert paired([*A[:3], NAN, 5.0], [*B, 7.0, math.inf]) == pytest.approx(expected)
    with pytest.raises(ValueError, match="argument 2 is shorter"):
        paired(A, B)


def test_values_that_are_not_finite_are_left_out() -> None:
    assert welch([*A, NAN, math.inf], [-math.inf, *B]) == welch(A, B)


def test_one_value_or_none_has_no_p() -> None:
    for a, b in ([1.0], [2.0, 3.0]), ([], [1.0, 2.0]), ([], []):
        assert math.isnan(welch(a, b).p)
        assert math.isnan(probability_of_improvement(a, b, lower_is_better=True)[1])
        assert math.isnan(seeds_needed(a, b))
    assert welch([1.0], [2.0, 4.0]).estimate == -2
    assert math.isnan(paired([1.0], [2.0]).p)
    assert math.isnan(paired([], []).p)


def test_values_that_do_not_vary_are_no_proof() -> None:
    assert welch([0.1 + 0.2] * 3, [0.3] * 3).p == 1
    assert math.isnan(welch([1.0] * 3, [2.0] * 3).p)
    assert math.isnan(paired([1.0, 2.0, 3.0], [2.0, 3.0, 4.0]).p)
    assert math.isnan(seeds_needed([1.0] * 3, [2.0] * 3))
    assert welch([1.0] * 3, [2.0, 2.1, 2.2]).p < 0.05  # one side varies


def test_logarithms_of_what_is_not_positive_are_refused() -> None:
    for compare in (welch, paired):
        with pytest.raises(ValueError, match="only positive values have logarithms"):
            compare([1.0, 0.0], [1.0, 2.0], log=True)


def test_holm_by_hand() -> None:
    # 0.01 × 4, 0.02 × 3, 0.03 × 2 (no less than the one before), 0.9
    assert holm([0.02, 0.9, 0.01, 0.03]) == pytest.approx([0.06, 0.9, 0.04, 0.06])
    assert holm([0.02, NAN, 0.9]) == pytest.approx([0.04, NAN, 0.9], nan_ok=True)
    assert holm([0.8, 0.9]) == [1, 1]
    assert holm([]) == []


@given(st.lists(st.floats(0, 1), max_size=8))
def test_holm_keeps_the_order_and_lies_below_bonferroni(p: list[float]) -> None:
    adjusted = holm(p)
    assert all(x <= y <= min(1, len(p) * x) for x, y in zip(p, adjusted, strict=True))
    order = np.argsort(p, kind="stable")
    assert (np.diff(np.array(adjusted)[order]) >= 0).all()


@pytest.mark.parametrize("spreads", [(1, 1, 1, 1, 1), (0.1, 0.3, 1, 3, 10)])
def test_with_three_seeds_and_five_equal_contenders_few_find_any_difference(
    spreads: tuple[float, ...],
) -> None:
    rng = np.random.default_rng(0)
    logs = describe(rng.normal(0, 1, (4000, 5, 3)) * np.array(spreads)[:, None])
    first, second = np.triu_indices(5, k=1)
    a, b = (Sample(3, logs.mean[:, side], logs.variance[:, side]) for side in (first, second))
    adjusted = np.array([holm(p) for p in compare_samples(a, b).p])
    assert 0.005 < np.mean(adjusted.min(axis=1) <= 0.05) < 0.055  # 0.05 and two standard errors


@pytest.mark.parametrize(("n", "m", "ratio"), [(3, 3, 1), (3, 3, 4), (5, 3, 4), (10, 10, 2)])
def test_welchs_interval_covers(n: int, m: int, ratio: float) -> None:
    rng = np.random.default_rng(1)
    x, y = rng.normal(2, 1, (4000, n)), rng.normal(1, ratio, (4000, m))
    test = compare_samples(describe(x), describe(y))
    assert np.mean((test.low <= 1) & (test.high >= 1)) > (0.94 if n == m else 0.92)


def test_probability_of_improvement_counts_pairs() -> None:
    share = stats.mannwhitneyu(A, B).statistic / (len(A) * len(B))  # of pairs in which A is higher
    assert probability_of_improvement(A, B, lower_is_better=False)[0] == pytest.approx(share)
    assert probability_of_improvement(A, B, lower_is_better=True)[0] == pytest.approx(1 - share)
    assert probability_of_improvement([1, 2], [2, 3], lower_is_better=True)[0] == 0.875


def test_complete_separation_is_no_proof_with_three_seeds_but_with_four() -> None:
    assert probability_of_improvement([1, 2, 3], [4, 5, 6], lower_is_better=True)[1] < 0.5
    assert probability_of_improvement([1, 2, 3, 0], [4, 5, 6, 7], lower_is_better=True)[1] > 0.5


def test_the_interval_of_probability_of_improvement_is_wilsons() -> None:
    low, high = stats.binomtest(2, 5).proportion_ci(method="wilson")
    assert wilson(0.4, 5) == pytest.approx((low, high))


@pytest.mark.parametrize("n", [3, 5, 10])
@pytest.mark.parametrize("ratio", [1, 3])
@pytest.mark.parametrize("theta", [0.5, 0.8, 0.95])
def test_the_interval_of_probability_of_improvement_covers(
    n: int, ratio: float, theta: float
) -> None:
    rng = np.random.default_rng(2)
    x = rng.normal(0, 1, (2000, n, 1))
    y = rng.normal(stats.norm.ppf(theta) * math.hypot(1, ratio), ratio, (2000, 1, n))
    low, high = wilson((x < y).mean(axis=(1, 2)), n)
    assert np.mean((low <= theta) & (theta <= high)) > (0.93 if ratio == 1 else 0.9)


def test_seeds_needed_of_a_textbook_example() -> None:
    # Cohen (1988), table 2.4.1: d = 0.5 takes 64 a side for a power of 0.8, and d = 0.8 takes 26.
    assert [seeds_for(0.5), seeds_for(0.8)] == [64, 26]
    unit = np.array([-1.0, 1.0]) / math.sqrt(2)  # of variance 1
    assert seeds_needed(unit, unit + 0.5) == 64
    assert seeds_needed(np.exp(unit), np.exp(unit + 0.5), log=True) == 64
    assert seeds_needed(unit, unit + 0.5, comparisons=10) > 64
    assert seeds_needed(unit, unit + 0.5, power=0.5) < 64


@given(st.floats(0.3, 20), st.floats(0.1, 10), st.sampled_from([1, 3, 10, 1000]))
def test_seeds_needed_is_the_smallest_number_with_that_power(
    effect: float, ratio: float, comparisons: int
) -> None:
    def power(n: int) -> float:
        df = (n - 1) * (1 + ratio) ** 2 / (1 + ratio**2)
        limit = stats.t.ppf(1 - 0.025 / comparisons, df)
        return 1 - stats.nct.cdf(limit, df, effect * math.sqrt(n / (1 + ratio)))

    a, b = Sample(3, np.float64(0), np.float64(1)), Sample(3, np.float64(effect), np.float64(ratio))
    n = int(plan_seeds(a, b, float(comparisons)))
    assert power(n) >= 0.8 - 1e-6
    assert n == 2 or power(n - 1) < 0.8 + 1e-6


def test_with_the_seeds_needed_the_difference_is_found_four_times_in_five() -> None:
    rng = np.random.default_rng(3)
    for effect, ratio, comparisons in ((1.0, 1.0, 1), (1.5, 4.0, 10)):
        a = Sample(3, np.float64(0), np.float64(1))
        b = Sample(3, np.float64(effect), np.float64(ratio**2))
        n = int(plan_seeds(a, b, float(comparisons)))
        x, y = rng.normal(0, 1, (3000, n)), rng.normal(effect, ratio, (3000, n))
        found = compare_samples(describe(x), describe(y)).p <= 0.05 / comparisons
        assert found.mean() == pytest.approx(0.81, abs=0.03)


def test_no_number_of_seeds_finds_no_difference() -> None:
    assert math.isnan(seeds_needed([1.0, 1.1], [1.0, 1.1]))
    assert math.isnan(seeds_needed([1.0, 1.1, 1.2], [1.00001, 1.1, 1.2]))


@given(st.lists(FINITE, max_size=6), st.lists(FINITE, max_size=6))
def test_no_numbers_break_a_test(a: list[float], b: list[float]) -> None:
    test = welch(a, b)
    assert math.isnan(test.p) or 0 <= test.p <= 1
    assert math.isnan(test.low) or test.low <= test.estimate <= test.high
    value, low, high = probability_of_improvement(a, b, lower_is_better=True)
    assert math.isnan(low) or 0 <= low <= value <= high <= 1
    needed = seeds_needed(a, b)
    assert math.isnan(needed) or needed >= 2


def test_contenders_are_compared_pair_by_pair_on_the_log_scale() -> None:
    scores = {"b": [2.0, 2.6, 2.1], "a": [1.0, 1.3], "c": [9.0, 8.0, 11.0, 10.0]}
    pairs = compare_contenders(runs(scores), "fid").set_index(["first", "second"])
    assert list(pairs.index) == [("a", "b"), ("a", "c"), ("b", "c")]
    tests = [welch(scores[first], scores[second], log=True) for first, second in pairs.index]
    columns = ["estimate", "low", "high", "p"]
    assert pairs[columns].to_numpy() == pytest.approx(np.array([test[:4] for test in tests]))
    assert list(pairs["p_holm"]) == pytest.approx(holm([test.p for test in tests]))
    chances = [
        probability_of_improvement(scores[first], scores[second], lower_is_better=True)
        for first, second in pairs.index
    ]
    columns = ["probability", "probability_low", "probability_high"]
    assert pairs[columns].to_numpy() == pytest.approx(np.array(chances))
    assert list(pairs.loc[("a", "c"), ["seeds_first", "seeds_second"]]) == [2, 4]


def test_the_seeds_needed_share_the_level_with_the_pairs_not_found_yet() -> None:
    scores = {"a": [1.0, 1.3, 1.1], "b": [1.4, 1.2, 1.5], "c": [90.0, 95.0, 99.0]}
    pairs = compare_contenders(runs(scores), "fid").set_index(["first", "second"])
    assert list(pairs["p_holm"] <= 0.05) == [False, True, True]
    alone = seeds_needed(scores["a"], scores["b"], log=True)
    assert pairs.loc[("a", "b"), "seeds_needed"] == alone


def same_training(frame: pd.DataFrame, *names: str) -> pd.DataFrame:
    """The runs, those of some contenders being rows of one training."""
    trained = frame["contender"].astype(object)
    return frame.assign(training=trained.where(~trained.isin(names), names[0]))


def test_rows_of_one_training_are_compared_by_the_paired_t() -> None:
    scores = {"a": [1.0, 2.0, 3.0, NAN], "b": [1.1, 2.3, 3.2, 9.0], "c": [2.0, 2.6, 2.1, 2.2]}
    frame = same_training(runs(scores), "a", "b")
    pairs = compare_contenders(frame, "fid").set_index(["first", "second"])
    test = paired(scores["a"][:3], scores["b"][:3], log=True)
    row = pairs.loc[("a", "b")]
    assert row[["estimate", "low", "high", "p"]].to_list() == pytest.approx(list(test[:4]))
    shared = ["paired", "seeds_first", "seeds_second", "probability"]
    assert row[shared].to_list() == [True, 3, 3, 1]
    welchs = pairs[~pairs["paired"].astype(bool)]
    expected = [welch(scores[x], scores[y], log=True).p for x, y in welchs.index]
    assert list(welchs["p"]) == pytest.approx(expected)
    assert list(pairs["p_holm"]) == pytest.approx(holm(pairs["p"].to_list()))
    alone = compare_contenders(frame[frame["seed"] == 0], "fid")
    assert alone["p"].isna().all()


def test_what_shared_seeds_contradict_is_not_claimed() -> None:
    scores = {"a": [1.1, 1.2, 1.31, 0.01], "b": [1.0, 1.1, 1.2, NAN]}
    pairs = compare_contenders(same_training(runs(scores), "a", "b"), "fid")
    assert list(pairs.iloc[0][["first", "second", "p"]]) == ["a", "b", 1.0]


def test_pairs_are_planned_by_the_noncentral_t_of_one_sample() -> None:
    # Cohen (1988): a paired d of 0.5 takes 34 pairs for a power of 0.8.
    unit = np.array([-1.0, 1.0]) / math.sqrt(2)
    wobble = np.array([5.0, -5.0])
    a, b = pair_samples(wobble + unit + 0.5, wobble)
    assert int(plan_seeds(a, b, 1.0)) == 34


def test_with_rows_of_one_training_few_equal_suites_find_any_difference() -> None:
    rng = np.random.default_rng(11)
    trainings = np.array([0, 0, 1, 1, 2])
    luck = rng.normal(0, 1, (3000, 3, 3))
    rows = luck[:, trainings] + 0.2 * rng.normal(0, 1, (3000, 5, 3))
    p = []
    for x, y in zip(*np.triu_indices(5, k=1), strict=True):
        a, b = describe(rows[:, x]), describe(rows[:, y])
        if trainings[x] == trainings[y]:
            a = a._replace(variance=(rows[:, x] - rows[:, y]).var(-1, ddof=1))
            b = b._replace(variance=0.0)
        p.append(compare_samples(a, b).p)
    adjusted = np.array([holm(column) for column in np.array(p).T])
    assert 0.005 < np.mean(adjusted.min(axis=1) <= 0.05) < 0.058  # 0.05 and two standard errors


@pytest.mark.slow
def test_rank_intervals_hold_with_rows_of_one_training() -> None:
    rng = np.random.default_rng(12)
    wrong = 0
    for _ in range(200):
        luck = rng.normal(0, 1, 4)
        scores = {name: np.exp(luck + 0.1 * rng.normal(0, 1, 4)).tolist() for name in "ab"}
        scores |= {"c": np.exp(rng.normal(0, 1, 4)).tolist()}
        ranks = rank_intervals(same_training(runs(scores), "a", "b"), "fid")
        wrong += bool((ranks["rank_low"] > 1).any() or (ranks["rank_high"] < 3).any())
    assert 0 < wrong <= 10 + 2 * math.sqrt(200 * 0.05 * 0.95)


def test_the_variance_counts_a_training_once() -> None:
    frame = simulate_scores(np.random.default_rng(13), 3, 1)
    frame = frame.assign(contender=frame["contender"].astype(str))
    twin = frame[frame["contender"] == "0"].assign(contender="twin")
    both = pd.concat([frame, twin]).assign(training=lambda x: x["contender"].replace("twin", "0"))
    pd.testing.assert_frame_equal(split_variance(both), split_variance(frame))


def test_higher_scores_win_where_higher_is_better() -> None:
    scores = {"a": [1.0, 1.3, 1.1], "b": [4.0, 4.1, 4.4]}
    pairs = compare_contenders(runs(scores, "inception_score"), "inception_score")
    assert list(pairs[["first", "second", "probability"]].iloc[0]) == ["b", "a", 1.0]
    test = welch(scores["b"], scores["a"])
    assert list(pairs[["estimate", "p"]].iloc[0]) == pytest.approx([test.estimate, test.p])


def test_a_distance_of_zero_puts_all_pairs_on_the_plain_scale() -> None:
    scores = {"a": [0.0, 0.3, 0.1], "b": [4.0, 4.1, 4.4], "c": [7.0, 7.1, 9.0]}
    pairs = compare_contenders(runs(scores), "fid")
    assert pairs["estimate"].iloc[2] == pytest.approx(welch(scores["b"], scores["c"]).estimate)


def test_calibration_and_contenders_without_a_score_do_not_compete() -> None:
    frame = runs({"a": [1.0, 1.3], "b": [NAN, NAN], "c": [2.0, math.inf], "real": [0.1]})
    frame.loc[frame["contender"] == "real", "family"] = "calibration"
    pairs = compare_contenders(frame, "fid")
    assert pairs[["first", "second"]].to_numpy().tolist() == [["a", "c"]]
    assert pairs[["p", "p_holm", "low", "probability_low"]].isna().all(axis=None)
    assert list(rank_intervals(frame, "fid")["contender"]) == ["a", "c"]
    assert compare_contenders(frame, "psnr").empty
    assert rank_intervals(frame, "psnr").empty


def test_ranks_are_as_open_as_the_tests_leave_them() -> None:
    scores = {"a": [1.0, 1.1, 1.2], "b": [1.1, 1.2, 1.3], "c": [50.0, 55.0, 52.0], "d": [60.0]}
    ranks = rank_intervals(runs(scores), "fid").set_index("contender")
    assert ranks["rank"].to_list() == [1, 2, 3, 4]
    assert ranks["rank_low"].to_list() == [1, 1, 3, 1]
    assert ranks["rank_high"].to_list() == [3, 3, 4, 4]
    assert ranks["value"].to_list() == pytest.approx([stats.gmean(x) for x in scores.values()])


def test_equal_means_share_a_rank() -> None:
    scores = {"a": [1.0, 2.0], "b": [1.0, 2.0], "c": [4.0, 5.0]}
    assert rank_intervals(runs(scores), "fid")["rank"].to_list() == [1, 1, 3]


def test_rank_intervals_hold_the_true_ranks_together() -> None:
    rng = np.random.default_rng(4)
    means = np.array([0.0, 0.4, 0.8, 3.0])
    covered = []
    for _ in range(80):
        scores = {str(i): np.exp(rng.normal(mean, 0.3, 3)) for i, mean in enumerate(means)}
        ranks = rank_intervals(runs(scores), "fid")
        true = ranks["contender"].astype(int) + 1
        covered.append(((ranks["rank_low"] <= true) & (true <= ranks["rank_high"])).all())
    assert np.mean(covered) >= 0.95 - 2 * math.sqrt(0.05 * 0.95 / 80)


@pytest.mark.parametrize(
    ("contenders", "seeds", "calls"), [(100, 100, 100_000), (5, 2_000, 20_000)]
)
def test_many_runs_are_compared_all_at_once(contenders: int, seeds: int, calls: int) -> None:
    frame = many(contenders, seeds)
    assert len(compare_contenders(frame, "fid")) == contenders * (contenders - 1) / 2
    assert count_calls(lambda: compare_contenders(frame, "fid")) < calls


def test_the_variance_of_made_up_scores_is_split_into_what_it_was_made_of() -> None:
    rng = np.random.default_rng(5)
    for extractors, expected in ((1, (1.16, 0.09, 0.01, NAN)), (3, (1, 0.09, 0.01, 0.16))):
        parts = [split_variance(simulate_scores(rng, 3, extractors)) for _ in range(30)]
        means = np.mean([part["variance"] for part in parts], axis=0)
        assert means == pytest.approx(np.array(expected), rel=0.3, nan_ok=True)
        shares = [part["share"].sum() for part in parts]
        assert shares == pytest.approx(np.ones(30))


def test_the_variance_by_hand() -> None:
    e = math.e
    frame = simulate_scores(np.random.default_rng(0), 2, 1, contenders=2)
    frame = frame.assign(value=[1, e**2, e**4, e**6], low=np.nan, high=np.nan)
    parts = split_variance(frame).set_index("component")
    # means 1 and 5 have variance 8, of which 2 / 2 is that of two seeds of variance 2
    assert parts["variance"].to_dict() == pytest.approx(
        {"contender": 7, "seed": 2, "sampling": NAN, "extractor": NAN}, nan_ok=True
    )
    assert parts.loc["seed", "deviation"] == pytest.approx(math.sqrt(2))
    assert parts.loc["seed", "share"] == pytest.approx(2 / 9)


def test_the_variance_of_one_seed_is_not_split() -> None:
    rng = np.random.default_rng(6)
    single = split_variance(simulate_scores(rng, 1, 3)).set_index("component")
    assert single["variance"].isna().to_list() == [True, True, False, True]
    assert single["share"].isna().all()
    lonely = split_variance(simulate_scores(rng, 3, 3, contenders=1)).set_index("component")
    assert lonely["variance"].isna().to_list() == [True, False, False, True]
    frame = simulate_scores(rng, 3, 2)
    assert split_variance(frame.iloc[:0])["variance"].isna().all()
    assert split_variance(frame.assign(family="calibration"))["variance"].isna().all()
    assert split_variance(frame, "psnr")["variance"].isna().all()


def test_no_component_is_below_zero() -> None:
    frame = simulate_scores(np.random.default_rng(7), 3, 1)
    wide = frame.assign(low=frame["value"] / 100, high=frame["value"] * 100)
    assert split_variance(wide).set_index("component").loc["seed", "variance"] == 0
    touching = frame.assign(low=0.0)
    sampling = split_variance(touching).set_index("component").loc["sampling", "variance"]
    assert sampling == pytest.approx(0.01)  # by the upper half


def test_friedman_is_that_of_demsar() -> None:
    found = friedman(pd.DataFrame(DEMSAR_RANKS, columns=["base", "m", "cf", "both"]))
    ranks = found.ranks.set_index("contender")["rank"].round(3).to_dict()
    assert ranks == {"both": 1.964, "m": 2.0, "cf": 2.893, "base": 3.143}
    assert found.cd == pytest.approx(1.25, abs=0.005)
    # The paper's 9.28 and 3.69 are without the correction for ties.
    tied = 1 - sum(size**3 - size for size in (2, 2, 4, 2)) / (14 * (4**3 - 4))
    plain = found.chi2 * tied
    assert plain == pytest.approx(9.28, abs=0.005)
    assert 13 * plain / (14 * 3 - plain) == pytest.approx(3.69, abs=0.005)
    assert found.p < 0.05


def test_friedman_is_that_of_scipy() -> None:
    scores = np.random.default_rng(8).integers(0, 6, (9, 4))
    found = friedman(pd.DataFrame(scores), lower_is_better=False)
    assert found.chi2 == pytest.approx(stats.friedmanchisquare(*scores.T).statistic)
    assert found.p == pytest.approx(stats.f.sf(found.f, 3, 24))


def test_friedman_finds_differences_in_five_percent_where_there_are_none() -> None:
    rng = np.random.default_rng(9)
    p = np.array([friedman(pd.DataFrame(rng.random((8, 5)))).p for _ in range(400)])
    assert np.mean(p <= 0.05) < 0.05 + 2 * math.sqrt(0.05 * 0.95 / 400)


def test_below_five_data_sets_there_are_ranks_and_no_verdict() -> None:
    frame = pd.DataFrame({"a": [1.0, 2, 3, 1, NAN], "b": [2.0, 3, 4, 2, 7]})
    found = friedman(frame)
    assert found.data_sets == 4
    assert found.ranks["rank"].to_list() == [1, 2]
    assert all(math.isnan(x) for x in (found.p, found.cd, nemenyi(3, 4)))
    same = friedman(pd.DataFrame({"a": [1.0] * 6, "b": [1.0] * 6}))
    assert same.p == 1


def test_full_agreement_of_data_sets_is_as_likely_as_it_is() -> None:
    found = friedman(pd.DataFrame([[1.0, 2.0]] * 5))
    assert found.p == pytest.approx(1 / 16)


def test_nemenyis_difference_is_that_of_the_table() -> None:
    # q of 1.960, 2.343, 2.569 and 3.164 for 2, 3, 4 and 10 contenders: Demšar (2006), table 5 (a)
    for k, q in ((2, 1.960), (3, 2.343), (4, 2.569), (10, 3.164)):
        assert nemenyi(k, 10) == pytest.approx(q * math.sqrt(k * (k + 1) / 60), abs=1e-3)
