import math
from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from audited import fault_info, metric_info
from effort import count_calls
from scipy import stats

from benchmarks.analysis.audit_files import VERDICT_COLUMNS, FaultInfo, MetricInfo
from benchmarks.auditing.verdicts import (
    correlate,
    curves,
    floors,
    judge,
    straightness,
)

NAN, INF = math.nan, math.inf
SHARES = (0.05, 0.1, 0.2, 0.4, 0.7, 1.0)
STATIC = fault_info("static", "uniform noise", "fidelity", SHARES, True, "of the images")
DROP = fault_info("drop", "dropped classes", "classes", SHARES, True, "of the classes")
COPIES = fault_info("memoriser", "copies of training images", "copying", SHARES, True, "copied")
METRIC = metric_info("score", "Score", "lower", ("fidelity", "classes"), ("copying",))
Score = Callable[[float, int, int], float]
"""Of a share of bad images, a repetition and a number of images."""


def measure(
    score: Score,
    name: str = "score",
    fault: FaultInfo = STATIC,
    counts: tuple[int, ...] = (400,) * 6,
    repetitions: int = 8,
    splits: int = 20,
) -> pd.DataFrame:
    """What an audit would measure of a score; sets of one level have so many images."""
    rows = [
        (name, "classifier@1", label, level, r, size, n // part, score(share, r, n // part))
        for size, part in (("full", 1), ("quarter", 4))
        for label, level, share, n, times in (
            *(("", 0, 0.0, n, splits) for n in sorted({400, *counts})),
            *(
                (fault.name, level, share, n, repetitions)
                for level, (share, n) in enumerate(zip(fault.amounts, counts, strict=True), 1)
            ),
        )
        for r in range(times)
    ]
    columns = ["metric", "extractor", "fault", "level", "repetition", "size", "n", "value"]
    return pd.DataFrame(rows, columns=columns)


def judge_one(
    frame: pd.DataFrame, fault: FaultInfo = STATIC, metric: MetricInfo = METRIC, seed: int = 0
) -> pd.Series:
    verdicts = judge(frame, [fault], [metric], seed)
    assert tuple(verdicts.columns) == VERDICT_COLUMNS
    assert len(verdicts) == 1
    return verdicts.iloc[0]


def noisy(curve: Callable[[float], float], deviation: float = 1.0, seed: int = 0) -> Score:
    """A score with a part of chance, shared half and half by what is made of one split."""
    rng = np.random.default_rng(seed)
    own = rng.normal(size=1000)
    return lambda share, r, n: curve(share) + deviation * (own[r] + rng.normal()) / math.sqrt(2)


def test_a_constant_is_blind() -> None:
    row = judge_one(measure(lambda share, r, n: 0.1))
    assert (row["verdict"], row["tau"], row["drift"]) == ("blind", 0, 0)
    assert row["kept"] is False
    assert math.isnan(row["threshold"])
    assert math.isnan(row["linearity"])


@pytest.mark.parametrize("seed", range(10))
def test_a_random_number_is_blind(seed: int) -> None:
    rng = np.random.default_rng(seed)
    row = judge_one(measure(lambda share, r, n: rng.random()))
    assert row["verdict"] == "blind"
    assert row["tau_low"] < 0 < row["tau_high"] or abs(row["tau"]) < 0.3


def test_the_exact_share_of_bad_images_sees_from_the_first_level_on() -> None:
    row = judge_one(measure(lambda share, r, n: share))
    assert (row["verdict"], row["tau"], row["tau_low"], row["tau_high"]) == ("sees", 1, 1, 1)
    assert (row["threshold"], row["threshold_amount"], row["threshold_quarter"]) == (1, 0.05, 1)
    assert row["linearity"] == pytest.approx(1)
    assert row["kept"] is True


def test_the_share_of_good_images_sees_as_well_and_as_high_is_better() -> None:
    metric = metric_info("score", "Score", "higher", ("fidelity",), ())
    row = judge_one(measure(lambda share, r, n: 1 - share), metric=metric)
    assert (row["verdict"], row["tau"], row["kept"]) == ("sees", 1, True)


def test_a_score_that_falls_with_the_number_of_images_is_blind_to_dropped_classes() -> None:
    """The smaller sets score worse, but no worse than real sets of that size."""
    frame = measure(
        lambda share, r, n: 100 / n + 0.01 * math.sin(r),
        fault=DROP,
        counts=(380, 360, 300, 200, 100, 40),
    )
    row = judge_one(frame, DROP)
    assert (row["verdict"], row["promise"], row["kept"]) == ("blind", "sees", False)
    assert row["tau"] == pytest.approx(0, abs=0.5)


def test_a_score_that_rewards_copies_is_misled() -> None:
    row = judge_one(measure(noisy(lambda share: -20 * share), fault=COPIES), COPIES)
    assert (row["verdict"], row["promise"], row["kept"]) == ("misled", "ignores", False)
    assert row["tau"] < -0.7
    assert row["note"].startswith("better than real images at levels")


def test_total_damage_that_passes_for_real_misleads() -> None:
    curve = {0.0: 0.0, 0.05: 10.0, 0.1: 20.0, 0.2: 30.0, 0.4: 20.0, 0.7: 10.0, 1.0: 0.0}
    row = judge_one(measure(noisy(lambda share: curve[share])))
    assert (row["verdict"], row["note"]) == ("misled", "total damage passes for real images")


@pytest.mark.parametrize(
    ("start", "verdict", "threshold"), [(0.4, "sees", 4), (0.7, "sees late", 5)]
)
def test_what_is_seen_in_the_last_third_only_is_seen_late(
    start: float, verdict: str, threshold: int
) -> None:
    row = judge_one(measure(noisy(lambda share: 50.0 * (share >= start))))
    assert (row["verdict"], row["threshold"], row["kept"]) == (verdict, threshold, True)


def test_on_the_edge_of_the_floor_a_verdict_is_undecided_and_says_between_what() -> None:
    floor = np.random.default_rng(0).normal(size=20)
    edge = floor.mean() + stats.t.ppf(0.975, 19) * math.sqrt(1 + 1 / 20) * floor.std(ddof=1)
    row = judge_one(
        measure(lambda share, r, n: edge + (-1) ** (r // 2) if share == 1 else floor[r])
    )
    assert row["verdict"] == "undecided"
    assert row["kept"] is None
    assert "blind in" in row["note"]
    assert "sees late in" in row["note"]


@pytest.mark.parametrize(
    ("real", "verdict"),
    [((0.01, 0.012, 0.008, 0.009, 0.0), "blind"), ((0.01, 0.012, 0.008, 0.009, 0.01), "misled")],
)
def test_the_best_that_real_images_score_is_no_better_than_real(
    real: tuple[float, ...], verdict: str
) -> None:
    """A share of rare images is often 0 among real ones, so that 0 is within the floor."""
    row = judge_one(measure(lambda share, r, n: 0.0 if share else real[r % 5]))
    assert row["verdict"] == verdict


def test_a_promise_is_kept_by_ignoring_what_a_metric_is_not_for() -> None:
    blind = measure(lambda share, r, n: 1.0, fault=COPIES)
    assert judge_one(blind, COPIES)["kept"] is True
    moved = measure(lambda share, r, n: share, fault=COPIES)
    silent = metric_info("score", "Score", "lower", ("fidelity",), ())
    row = judge_one(moved, COPIES, silent)
    assert (row["promise"], row["kept"]) == ("", False)


def test_copies_of_infinite_quality_are_better_than_all_others() -> None:
    metric = metric_info("psnr", "PSNR", "higher", ("fidelity",), ())
    score: Score = lambda share, r, n: INF if share == 0 else 20 - share  # noqa: E731
    frame = measure(score, "psnr").assign(extractor="")
    row = judge_one(frame, metric=metric)
    assert (row["verdict"], row["threshold"], row["tau"]) == ("sees", 1, 1)
    level = curves(frame, [STATIC], [metric]).query("size == 'full'").set_index("level")
    assert level["mean"].iloc[0] == INF
    assert level["excess"].iloc[6] == INF
    assert floors(frame, [metric])["mean"].tolist() == [INF, INF]
    assert floors(frame, [metric])["deviation"].tolist() == [0, 0]


def test_an_infinite_distance_at_the_end_is_the_worst() -> None:
    row = judge_one(measure(lambda share, r, n: INF if share > 0.5 else 0.01 * math.sin(r)))
    assert (row["verdict"], row["threshold"]) == ("sees late", 5)
    assert math.isfinite(row["tau"])


def test_levels_at_which_a_metric_is_not_defined_are_left_out() -> None:
    row = judge_one(measure(lambda share, r, n: NAN if share in {0.1, 1.0} else share))
    assert (row["verdict"], row["threshold"]) == ("sees", 1)
    assert row["note"] == "defined at 4 of 6 levels"
    few = judge_one(measure(lambda share, r, n: NAN if share > 0.1 else share))
    assert (few["verdict"], few["note"]) == ("undecided", "defined at 2 of 6 levels")
    none = judge_one(measure(lambda share, r, n: NAN))
    assert (none["verdict"], none["note"]) == ("undecided", "defined at 0 of 6 levels")
    nowhere = floors(measure(lambda share, r, n: NAN), [METRIC])
    assert nowhere["splits"].tolist() == [0, 0]
    assert nowhere["mean"].isna().all()


def test_nothing_measured_gives_no_verdicts() -> None:
    frame = measure(lambda share, r, n: 1.0)
    for none in (frame[frame["fault"] == ""], frame.iloc[:0]):
        assert judge(none, [STATIC], [METRIC]).empty
        assert curves(none, [STATIC], [METRIC]).empty
    assert floors(frame.iloc[:0], [METRIC]).empty


def test_rows_are_in_the_order_of_metrics_and_faults() -> None:
    other = metric_info("another", "Other", "lower", ("fidelity",), ())
    frame = pd.concat(
        measure(lambda share, r, n: share, name, fault)
        for name in ("another", "score")
        for fault in (DROP, STATIC)
    )
    rows = judge(frame.drop_duplicates(), [STATIC, DROP], [METRIC, other])
    assert list(zip(rows["metric"], rows["fault"], strict=True)) == [
        ("score", "static"),
        ("score", "drop"),
        ("another", "static"),
        ("another", "drop"),
    ]


def test_a_verdict_does_not_depend_on_what_else_was_judged() -> None:
    edge = measure(noisy(lambda share: 2.2 * (share == 1.0), seed=3))
    alone = judge_one(edge)
    beside = pd.concat([measure(lambda share, r, n: share, "another"), edge])
    other = metric_info("another", "Other", "lower", (), ())
    together = judge(beside, [STATIC], [other, METRIC]).iloc[1]
    pd.testing.assert_series_equal(alone, together, check_names=False)


def test_tau_is_that_of_scipy() -> None:
    rng = np.random.default_rng(0)
    shifts = rng.integers(0, 4, (3, 5, 7)).astype(float)
    expected = [[stats.kendalltau(range(7), row).statistic for row in cell] for cell in shifts]
    tau, low, high = correlate(shifts)
    assert tau == pytest.approx(np.mean(expected, axis=1))
    assert (low >= -1).all()
    assert (high <= 1).all()
    assert ((low < tau) & (tau < high)).all()


def test_a_bent_curve_is_less_straight() -> None:
    shares = [0.0, *SHARES]
    assert straightness(shares, 3 * np.array(shares) + 1) == pytest.approx(1)
    assert straightness(shares, np.array(shares) ** 8) < 0.8


def test_drift_is_the_change_with_the_size_as_a_share_of_the_range() -> None:
    row = judge_one(measure(lambda share, r, n: 10 * share + (1.0 if n == 100 else 0.0)))
    assert row["drift"] == pytest.approx(0.1)


def test_the_floor_holds_95_percent_of_further_sets() -> None:
    rng = np.random.default_rng(0)
    values, further = rng.normal(5, 2, (400, 20)), rng.normal(5, 2, 400)
    frame = simulate(np.zeros(400), 1, 20, 0)
    real = frame[frame["fault"] == ""].assign(value=values.ravel())
    rows = floors(real, [metric_info(f"m{i}", "m", "lower", (), ()) for i in range(400)])
    held = (rows["low"] <= further) & (further <= rows["high"])
    assert 0.92 < held.mean() < 0.98


def test_the_bias_is_how_far_quarter_sets_differ_in_deviations() -> None:
    frame = measure(lambda share, r, n: (1.0 if n == 100 else 0.0) + (-1) ** r / 10)
    rows = floors(frame, [METRIC]).set_index("size")
    assert rows.loc["quarter", "bias"] == pytest.approx(1 / rows.loc["full", "deviation"])
    assert math.isnan(rows.loc["full", "bias"])


def test_curves_start_at_real_images_and_tell_how_far_beyond_the_floor_they_are() -> None:
    frame = measure(lambda share, r, n: 7 * share + (-1) ** r)
    rows = curves(frame, [STATIC], [METRIC]).query("size == 'full'")
    assert rows["level"].tolist() == list(range(7))
    assert rows["amount"].tolist() == [0.0, *SHARES]
    assert rows["n"].tolist() == [400] * 7
    assert rows["excess"].to_numpy() == pytest.approx(
        7 * np.array([0.0, *SHARES]) / np.std([-1, 1] * 10, ddof=1)
    )
    assert ((rows["low"] < rows["mean"]) & (rows["mean"] < rows["high"])).all()


def simulate(effects: np.ndarray, repetitions: int, splits: int, seed: int) -> pd.DataFrame:
    """Scores whose total damage is so many deviations of the floor, twofold from level to level.

    What is due to the split makes up 64 % of a damaged score's variance; the rest grows with the
    damage.
    """
    rng, levels = np.random.default_rng(seed), np.arange(1, 7)
    floor = rng.normal(size=(len(effects), splits))
    means = effects[:, None] * 0.5 ** (6 - levels)
    chance = rng.normal(size=(len(effects), repetitions, 6))
    spread = np.hypot(1, 0.1 * means)[:, None]
    damaged = means[:, None] + 0.8 * floor[:, :repetitions, None] + 0.6 * spread * chance
    frames = []
    for values in (floor[..., None], damaged):
        cell, repetition, level = (index.ravel() for index in np.indices(values.shape))
        fault = "static" if values is damaged else ""
        frames.append(
            pd.DataFrame(
                {
                    "metric": [f"m{c}" for c in cell],
                    "extractor": "classifier@1",
                    "fault": fault,
                    "level": level + (values is damaged),
                    "repetition": repetition,
                    "size": "full",
                    "n": 400,
                    "value": values.ravel(),
                }
            )
        )
    return pd.concat(frames, ignore_index=True)


def mix_effects(cells: int) -> np.ndarray:
    """Most effects are far within the floor or far beyond; a tenth is anywhere between."""
    rng = np.random.default_rng(0)
    kind = rng.uniform(size=cells)
    between = np.where(kind < 0.9, 10 ** rng.uniform(2, 4, cells), 10 ** rng.uniform(0, 2, cells))
    return np.where(kind < 0.45, rng.uniform(0, 0.5, cells), between)


def test_verdicts_repeat_over_ten_seeds_and_hardly_ever_contradict_each_other() -> None:
    effects = mix_effects(300)
    metrics = [metric_info(f"m{i}", "m", "lower", (), ()) for i in range(len(effects))]
    verdicts = np.array(
        [
            judge(simulate(effects, 8, 20, seed), [STATIC], metrics, seed)["verdict"]
            for seed in range(10)
        ]
    )
    decided = [set(cell) - {"undecided"} for cell in verdicts.T]
    repeated = (verdicts == verdicts[0]).all(axis=0)
    assert repeated.mean() > 0.9
    assert np.mean([len(found) <= 1 for found in decided]) > 0.975
    assert (verdicts == "undecided").mean() < 0.05


def test_hundreds_of_cells_are_judged_all_at_once() -> None:
    effects = mix_effects(600)
    metrics = [metric_info(f"m{i}", "m", "lower", (), ()) for i in range(len(effects))]
    frame = simulate(effects, 8, 20, 0)
    assert count_calls(lambda: judge(frame, [STATIC], metrics)) < 1_000_000
