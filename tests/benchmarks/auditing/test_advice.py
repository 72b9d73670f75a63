import math
import subprocess
import sys
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from audited import fault_info, metric_info
from synthetic_audit import make_audit

from benchmarks.auditing.advice import (
    advise,
    relative_spread,
    samples_for,
    seed_spread,
)
from benchmarks.auditing.verdicts import curves, floors, judge
from benchmarks.statistics.differences import seeds_for

SHARES = (0.05, 0.1, 0.2, 0.4, 0.7, 1.0)
TITLES = {
    "blur": ("blur", "fidelity"),
    "drop": ("dropped classes", "classes"),
    "duplicates": ("duplicates", "variety"),
    "memoriser": ("copies of training images", "copying"),
}
FAULTS = [fault_info(name, *words, SHARES, False, "") for name, words in TITLES.items()]
METRICS = [
    metric_info("fid", "FID", "lower", ("fidelity", "classes", "variety"), ()),
    metric_info("is", "Inception Score", "higher", ("fidelity", "classes", "variety"), ()),
    metric_info("copies", "Near-copies", "lower", ("copying",), ("classes", "variety")),
]
SEEN = {  # total damage in the score's units, whose deviation is 1 % of a score of 10
    "fid": {"blur": 100.0, "drop": 100.0, "duplicates": 100.0, "memoriser": 0.0},
    "is": {"blur": -5.0, "drop": 0.0, "duplicates": 3.0, "memoriser": 0.0},
    "copies": {"blur": 0.0, "drop": 0.0, "duplicates": 0.0, "memoriser": 20.0},
}
EXTRACTOR = "classifier@3fa94c1e"


def audit(
    extractors: dict[str, float] | None = None, metrics: tuple[str, ...] = ("fid", "is", "copies")
) -> Any:
    """An audit whose damaged sets score by `SEEN`, an extractor seeing that part of it."""
    rng = np.random.default_rng(0)
    extractors = {EXTRACTOR: 1.0} if extractors is None else extractors
    rows = [
        (metric, extractor, fault, level, r, size, n, mean * (1 + 0.01 * noise * rng.normal()))
        for metric in metrics
        for extractor, part in extractors.items()
        for size, n, noise in (("full", 400, 1), ("quarter", 100, 2))
        for fault, level, share, times in (
            ("", 0, 0.0, 20),
            *((f, k, share, 8) for f in TITLES for k, share in enumerate(SHARES, 1)),
        )
        for mean in [10 + part * share * SEEN[metric].get(fault, 0.0)]
        for r in range(times)
    ]
    columns = ["metric", "extractor", "fault", "level", "repetition", "size", "n", "value"]
    frame, known = pd.DataFrame(rows, columns=columns), [m for m in METRICS if m.name in metrics]
    about = {
        "samples": 400,
        "quarter": 100,
        "repetitions": 8,
        "extractors": [*extractors],
        "faults": [vars(fault) for fault in FAULTS],
        "metrics": [vars(metric) for metric in known],
    }
    return SimpleNamespace(
        about=about,
        verdicts=judge(frame, FAULTS, known),
        floors=floors(frame, known),
        curves=curves(frame, FAULTS, known),
    )


def runs(spread: float, extractor: str = EXTRACTOR) -> pd.DataFrame:
    scores = [math.exp(spread * z + place) for place in range(3) for z in (-1, 0, 1)]
    return pd.DataFrame(
        {
            "contender": [f"c{place}" for place in range(3) for _ in range(3)],
            "family": "gan",
            "status": "ok",
            "extractor": extractor,
            "fid": scores,
        }
    )


def find(lines: list[str], start: str) -> str:
    (line,) = [line for line in lines if line.startswith(start)]
    return line


def test_the_score_that_sees_the_most_is_recommended_and_its_blindness_is_said() -> None:
    lines = advise(audit())
    assert lines[0] == (
        "For overall quality trust FID (classifier): it sees all 3 faults that were tried."
    )
    assert find(lines, "For copies of training images") == (
        "For copies of training images trust Near-copies (classifier): it sees the one fault that"
        " was tried."
    )


def test_a_score_that_fails_is_not_to_be_trusted_and_it_is_said_for_what() -> None:
    assert find(advise(audit()), "Do not trust") == (
        "Do not trust Inception Score (classifier) alone for the shares of classes and variety"
        " within classes: blind to dropped classes, misled by duplicates."
    )


def test_what_no_score_sees_is_said() -> None:
    lines = advise(audit(metrics=("fid", "is")))
    assert "No score that was audited sees copies of training images." in lines
    assert advise(SimpleNamespace(**{**vars(audit()), "verdicts": audit().verdicts.iloc[:0]})) == [
        "No score of sets of images was audited, so there is none to recommend."
    ]


def test_the_extractor_under_which_most_is_seen_is_preferred() -> None:
    lines = advise(audit({EXTRACTOR: 0.0, "pixels@1": 1.0}))
    assert lines[0].startswith("For overall quality trust FID (pixels)")
    assert find(lines, "Of the extractors") == (
        "Of the extractors prefer pixels: of 7 faults that metrics claim to see, 5 under pixels"
        " and 0 under classifier are seen."
    )
    assert find(advise(audit({"a@1": 1.0, "b@1": 1.0})), "The extractors do about equally well")


def test_the_spread_of_damaged_sets_is_found_and_falls_with_the_root_of_n() -> None:
    whole = relative_spread(audit(), ("fid", EXTRACTOR), "full")
    assert whole == pytest.approx(0.01, rel=0.3)
    assert relative_spread(audit(), ("fid", EXTRACTOR), "quarter") == pytest.approx(
        2 * whole, rel=0.3
    )
    line = find(advise(audit()), "At 400 images FID")
    assert "(by the rule 2 times)" in line
    assert "100, the fewest that were tried, do for 10 % and more" in line


def test_so_many_images_have_the_power_that_is_promised() -> None:
    rng, difference, spread = np.random.default_rng(0), 0.1, 0.2
    deviation = spread * math.sqrt(400 / samples_for(difference, spread, 400))
    first, second = (m * (1 + deviation * rng.normal(size=20_000)) for m in (1, 1 + difference))
    error = deviation * math.hypot(1, 1 + difference)
    assert np.mean(np.abs(second - first) > 1.96 * error) == pytest.approx(0.8, abs=0.01)


def test_seeds_are_planned_by_the_runs_where_they_are_known() -> None:
    frame = runs(0.1)
    deviation, contenders = seed_spread(("fid", EXTRACTOR), frame)
    assert (deviation, contenders) == (pytest.approx(0.1), 3)
    line = find(advise(audit(), frame), "Over seeds")
    assert "varies by 11 % in this suite (3 contenders with several seeds)" in line
    assert f"{seeds_for(math.log(1.2) / 0.1)} for 20 %" in line


@pytest.mark.parametrize(
    "frame", [None, runs(0.1).iloc[:0], runs(0.1, "other@1"), runs(0.1).iloc[[0, 3, 6]]]
)
def test_where_seeds_are_not_known_that_is_said(frame: pd.DataFrame | None) -> None:
    line = find(advise(audit(), frame), "How much FID")
    assert line.startswith("How much FID (classifier) varies over seeds is not known here.")


def test_advice_on_an_audit_of_all_faults_is_plain_and_names_no_hash() -> None:
    for line in advise(make_audit()):
        assert line.endswith(".")
        assert not set(line) & set("*|`@\n")


def test_advice_takes_no_torch() -> None:
    script = "import sys, benchmarks.auditing.advice; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
