import math
import re
import subprocess
import sys

import pandas as pd
import pytest

from benchmarks.auditing import literature
from benchmarks.auditing.literature import (
    CLAIMS,
    EXPECTED,
    PAPERS,
    SIZE,
    Check,
    compare_claims,
    write_table,
)
from benchmarks.config.registry import list_metrics

EXTRACTORS = ("classifier", "inception", "random")
VERDICTS = {"sees", "sees late", "blind", "misled"}
BIASES = {"unbiased", "slightly biased", "biased"}
FAULTS = {
    *("blur", "noise", "contrast", "quantisation", "jpeg", "shift", "warp", "foreign", "static"),
    *("drop", "thin", "shrink", "duplicates", "memoriser", "jitter", "gaussian"),
}
BIASED = {"fid"}
LITERATURE = {
    ("inception_score", "shrink"): "blind",
    ("inception_score", "memoriser"): "blind",
    ("fid", "memoriser"): "blind",
    ("fid", "gaussian"): "blind",
    ("precision", "drop"): "misled",
    ("recall", "static"): "misled",
    ("recall", "foreign"): "sees late",
}


def verdict_frame(**changed: str) -> pd.DataFrame:
    """Verdicts as the literature has them, but for `metric__fault=verdict` (first extractor)."""
    rows = []
    for claim in CLAIMS:
        for check in claim.checks:
            for fault in set(check.faults) - {SIZE}:
                for place, extractor in enumerate(EXTRACTORS):
                    usual = LITERATURE.get((check.metric, fault), "sees")
                    key = f"{check.metric}__{fault}"
                    verdict = usual if place else changed.get(key, usual)
                    rows.append((check.metric, extractor, fault, verdict))
    columns = ["metric", "extractor", "fault", "verdict"]
    return pd.DataFrame(rows, columns=columns).drop_duplicates(columns[:3])


def floor_frame(shift: float = 0.0, deviation: float = 1.0) -> pd.DataFrame:
    """Floors of 20 splits: FID's grows by 9 at a quarter of the images, the others' by `shift`."""
    rows = []
    for metric in ("fid", "kid", "fid_infinity"):
        for extractor in EXTRACTORS:
            grown = 9.0 if metric in BIASED else shift
            rows += [
                (metric, extractor, "full", 400, 5.0, deviation, 20),
                (metric, extractor, "full", 40, 999.0, deviation, 20),
                (metric, extractor, "quarter", 100, 5.0 + grown, 2 * deviation, 20),
                (metric, extractor, "quarter", 10, -999.0, deviation, 20),
            ]
    columns = ["metric", "extractor", "size", "n", "mean", "deviation", "splits"]
    return pd.DataFrame(rows, columns=columns)


def row(frame: pd.DataFrame, statement: str) -> pd.Series:
    return frame[frame["statement"].str.startswith(statement)].iloc[0]


def test_claims_speak_of_metrics_and_faults_that_there_are() -> None:
    known = list_metrics()
    for claim in CLAIMS:
        for check in claim.checks:
            assert check.metric in known
            assert set(check.faults) <= {*FAULTS, SIZE}
            assert EXPECTED[check.expected] <= (BIASES if check.faults == [SIZE] else VERDICTS)
            assert (SIZE in check.faults) == (check.faults == [SIZE])


def test_claims_are_stated_once_and_have_sources() -> None:
    assert len({claim.statement for claim in CLAIMS}) == len(CLAIMS)
    cited = {paper for claim in CLAIMS for paper in PAPERS if paper in claim.source}
    assert cited == {*PAPERS}
    years = [len(re.findall(r" 20\d\d", claim.source)) for claim in CLAIMS]
    assert years == [sum(paper in claim.source for paper in PAPERS) for claim in CLAIMS]
    assert all(years)


def test_an_audit_as_the_literature_has_it_agrees_with_every_claim_that_is_tested() -> None:
    frame = compare_claims(verdict_frame(), floor_frame())
    assert list(frame.columns) == ["statement", "source", "agrees", "found"]
    untested = frame["found"] == "no fault of the audit tests it"
    assert list(frame.loc[untested, "agrees"]) == [None]
    assert all(answer is True for answer in frame.loc[~untested, "agrees"])


@pytest.mark.parametrize(
    ("changed", "statement", "found"),
    [
        (
            {"inception_score__shrink": "sees"},
            "The Inception Score does not see variety",
            "sees (1 of 3 extractors), blind (2 of 3 extractors)",
        ),
        (
            {"fid__memoriser": "sees late"},
            "FID does not see copies",
            "sees late (1 of 3 extractors), blind (2 of 3 extractors)",
        ),
        (
            {"recall__static": "sees"},
            "Recall does not see outliers",
            "recall, static: sees (1 of 3 extractors), misled (2 of 3 extractors); "
            "recall, foreign: sees late (3 of 3 extractors)",
        ),
        (
            {"coverage__static": "blind", "coverage__foreign": "blind"},
            "Coverage sees outliers",
            "blind (1 of 3 extractors), sees (2 of 3 extractors)",
        ),
        ({"fid__blur": "blind"}, "FID rises", "fid, blur: blind (main extractor)"),
    ],
)
def test_a_verdict_against_a_claim_differs_and_is_named(changed, statement, found) -> None:
    answer = row(compare_claims(verdict_frame(**changed), floor_frame()), statement)
    assert answer["agrees"] is False
    assert found in answer["found"]


def test_only_the_claim_whose_verdict_changed_differs() -> None:
    frame = compare_claims(verdict_frame(inception_score__memoriser="sees"), floor_frame())
    differing = frame[frame["agrees"].map(lambda answer: answer is False)]
    assert list(differing["statement"]) == [
        "The Inception Score does not see copies of training images"
    ]


def test_a_score_that_gets_better_is_as_good_as_blind() -> None:
    frame = compare_claims(verdict_frame(fid__memoriser="misled"), floor_frame())
    assert row(frame, "FID does not see copies")["agrees"] is True


def test_an_undecided_verdict_leaves_a_claim_open() -> None:
    answer = row(
        compare_claims(verdict_frame(precision__drop="undecided"), floor_frame()),
        "Precision does not see",
    )
    assert answer["agrees"] is None
    assert "undecided (1 of 3 extractors)" in answer["found"]


def test_what_was_not_measured_leaves_a_claim_open() -> None:
    verdicts = verdict_frame()
    frame = compare_claims(verdicts[verdicts["fault"] != "foreign"], floor_frame())
    answer = row(frame, "Coverage sees outliers")
    assert answer["agrees"] is None
    assert "coverage, foreign: not measured" in answer["found"]


def test_an_audit_of_nothing_leaves_every_claim_open() -> None:
    frame = compare_claims(verdict_frame().head(0), floor_frame().head(0))
    assert all(answer is None for answer in frame["agrees"])


def test_the_main_extractor_is_the_first_and_any_one_is_enough() -> None:
    found = pd.DataFrame(
        {
            "metric": "kid",
            "extractor": ["inception", "classifier"],
            "fault": "blur",
            "verdict": ["sees", "blind"],
        }
    )
    answers = {
        name: [
            literature.decide(Check("kid", ("blur",), v, name), found) for v in ("seen", "unseen")
        ]
        for name in ("all", "any", "main")
    }
    assert answers == {"all": [False, False], "any": [True, True], "main": [True, False]}


def test_any_extractor_differs_only_where_all_do_and_none_is_open() -> None:
    check = Check("kid", ("gaussian",), "seen", "any")
    found = pd.DataFrame(
        {"metric": "kid", "extractor": ["a", "b"], "fault": "gaussian", "verdict": "blind"}
    )
    assert literature.decide(check, found) is False
    assert literature.decide(check, found.assign(verdict=["blind", "undecided"])) is None


@pytest.mark.parametrize(
    ("shift", "verdict"),
    [(0.5, "unbiased"), (-0.5, "unbiased"), (30.0, "biased"), (-30.0, "biased")],
)
def test_a_floor_is_biased_where_it_moves_with_the_number_of_images(shift, verdict) -> None:
    sizes = literature.judge_sizes(floor_frame(shift))
    assert set(sizes.loc[sizes["metric"] == "kid", "verdict"]) == {verdict}
    assert set(sizes.loc[sizes["metric"] == "fid", "verdict"]) == {"biased"}


def test_a_bias_below_one_sets_deviation_is_slight() -> None:
    floors = floor_frame(0.9).assign(splits=2_000)
    frame = compare_claims(verdict_frame(), floors)
    assert row(frame, "The kernel distance has no bias")["agrees"] is False
    assert row(frame, "FID extrapolated")["agrees"] is True
    assert row(frame, "FID extrapolated")["found"] == "slightly biased (3 of 3 extractors)"


def test_a_floor_that_is_not_finite_is_undecided() -> None:
    floors = floor_frame(math.nan)
    assert (
        row(compare_claims(verdict_frame(), floors), "The kernel distance has no")["agrees"] is None
    )
    assert row(compare_claims(verdict_frame(), floors), "FID is biased")["agrees"] is True


def test_the_table_has_a_row_a_claim_and_a_column_an_audit() -> None:
    digits = compare_claims(verdict_frame(), floor_frame())
    mnist = compare_claims(verdict_frame(fid__drop="blind"), floor_frame())
    table = write_table({"digits": digits, "mn|ist": mnist})
    lines = table.splitlines()
    assert lines[0] == r"| claim | source | digits | mn\|ist |"
    assert lines[1] == "| --- | --- | --- | --- |"
    rows = lines[2 : 2 + len(CLAIMS)]
    assert [line.split(" | ")[0] for line in rows] == [f"| {c.statement}" for c in CLAIMS]
    dropped = next(line for line in rows if line.startswith("| FID sees dropped classes"))
    assert "| agrees: sees (3 of 3 extractors) |" in dropped
    assert "| differs: fid, drop: blind (1 of 3 extractors), sees (2 of 3 extractors);" in dropped


def test_places_from_knowledge_alone_are_marked_and_the_mark_is_explained() -> None:
    table = write_table({"digits": compare_claims(verdict_frame(), floor_frame())})
    marked = [line.split(" | ")[0][2:] for line in table.splitlines() if r" \* |" in line]
    assert marked == [claim.statement for claim in CLAIMS if not claim.looked_up]
    notes = table.splitlines()[2 + len(CLAIMS) :]
    assert notes[1].startswith(r"\* The paper was not at hand")
    assert "[Chong &amp; Forsyth 2020](https://arxiv.org/abs/1911.07023)" in notes[3]


def test_it_needs_no_torch() -> None:
    code = "import sys, benchmarks.auditing.literature; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
