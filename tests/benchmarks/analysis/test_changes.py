import io
import math
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from rich.console import Console
from scipy import stats
from synthetic import write_suite

from benchmarks.analysis import changes
from benchmarks.analysis.changes import Changes, compare_results, is_comparable, is_worse
from benchmarks.analysis.columns import HEADLINES
from benchmarks.core.errors import BadInput
from benchmarks.records.schema import Environment, Record
from benchmarks.records.store import read_index, read_record, read_suite, write_index, write_record
from benchmarks.reporting import changelog

TWO = (("gan", "gan"), ("vae", "vae"))


@pytest.fixture
def old(tmp_path: Path) -> Path:
    return write_suite(tmp_path / "old" / "suite", TWO, seeds=6)


def alter(old: Path, change: Callable[[Record], object]) -> Path:
    """A copy of a suite with every record of its contenders changed."""
    new = old.parent.parent / "new" / "suite"
    shutil.copytree(old, new)
    for path in new.glob("runs/*/record.json"):
        record = read_record(path.parent)
        if record.family != "calibration":
            change(record)
            write_record(path.parent, record)
    return new


def compare(old: Path, new: Path) -> Changes:
    return compare_results(read_suite(old), read_suite(new))


def scale(metric: str, contender: str, factors: list[float]) -> Callable[[Record], None]:
    """Multiply a contender's score, seed by seed."""

    def change(record: Record) -> None:
        for score in record.scores:
            if score.metric == metric and record.contender == contender:
                assert score.value is not None
                assert record.seed is not None
                score.value *= factors[record.seed]

    return change


def find(found: Changes, contender: str, name: str) -> "pd.Series[object]":
    frame = found.frame
    rows = frame[(frame["contender"] == contender) & (frame["name"] == name)]
    assert len(rows) == 1
    return rows.iloc[0]


def values(folder: Path, contender: str, metric: str) -> list[float]:
    records = [r for r in read_suite(folder).records if r.contender == contender]
    return [next(s.value for s in r.scores if s.metric == metric) for r in records]  # type: ignore[misc]


def show(found: Changes, width: int = 80) -> str:
    console = Console(width=width, file=io.StringIO())
    console.print(changelog.show_changes(found, width))
    return console.file.getvalue()  # type: ignore[attr-defined]


def test_results_compared_with_themselves_are_the_same(old: Path) -> None:
    found = compare(old, old)
    scores = found.frame[found.frame["kind"] == "score"]
    assert set(scores["verdict"]) == {"same"}
    assert scores["p"].isna().all()
    assert len(found.differences) == 0
    assert found.notes == []
    assert not is_worse(found)
    assert is_comparable(found)
    assert changelog.summarise_changes(found).endswith(f"{len(scores)} the same bit for bit.")


def test_five_shared_seeds_are_tested_in_pairs(old: Path) -> None:
    factors = [1.5, 1.6, 1.45, 1.55, 1.52, 1.48]
    found = compare(old, new := alter(old, scale("fid", "gan", factors)))
    row = find(found, "gan", "fid")
    expected = stats.ttest_rel(*(np.log(values(f, "gan", "fid")) for f in (new, old)))
    assert row["test"] == "paired t"
    assert row["p"] == pytest.approx(expected.pvalue)
    assert row["estimate"] == pytest.approx(stats.gmean(factors))
    bounds = np.exp(expected.confidence_interval())
    assert (row["low"], row["high"]) == pytest.approx(tuple(bounds))
    assert row["verdict"] == "worse"
    assert is_worse(found)
    assert changelog.summarise_changes(found).startswith("Worse: gan FID ×1.52 [")


def test_fewer_seeds_are_tested_by_welch(tmp_path: Path) -> None:
    old = write_suite(tmp_path / "old" / "suite", TWO, seeds=3)
    found = compare(old, new := alter(old, scale("inception_score", "vae", [1.3, 1.25, 1.35])))
    row = find(found, "vae", "inception_score")
    parts = [values(folder, "vae", "inception_score") for folder in (new, old)]
    expected = stats.ttest_ind(*parts, equal_var=False)
    assert (row["test"], row["change"]) == ("Welch's t", "difference")
    assert row["p"] == pytest.approx(expected.pvalue)
    assert row["estimate"] == pytest.approx(np.mean(parts[0]) - np.mean(parts[1]))
    assert row["verdict"] == "better"
    assert not is_worse(found)


def test_holm_is_over_headline_scores_and_apart_over_the_others(old: Path) -> None:
    rng = np.random.default_rng(0)

    def jitter(record: Record) -> None:
        for score in record.scores:
            assert score.value is not None
            score.value *= float(np.exp(0.02 * rng.standard_normal()))

    frame = compare(old, alter(old, jitter)).frame
    tested = frame[(frame["kind"] == "score") & frame["p"].notna()]
    headline = tested["name"].isin(HEADLINES)
    assert headline.sum() == 6
    for family in (tested[headline], tested[~headline]):
        smallest = family.loc[family["p"].idxmin()]
        assert smallest["p_holm"] == pytest.approx(min(1, smallest["p"] * len(family)))


def test_noise_alone_is_seldom_taken_for_a_change() -> None:
    rng = np.random.default_rng(1)
    wrong = 0
    for _ in range(200):
        rows = []
        for name in ("fid", "inception_score", "reconstruction_mse", "fid"):
            before, after = (
                {i: float(v) for i, v in enumerate(rng.lognormal(size=5))} for _ in "ab"
            )
            cells = changes._compare(name, changes.Measured(before), changes.Measured(after))
            rows.append({"name": name, **cells})
        changes._adjust(rows)
        wrong += any(row["verdict"] != "no change beyond noise" for row in rows)
    assert wrong <= 20


@pytest.mark.parametrize(
    ("field", "value", "reason"),
    [
        ("extractor", "classifier@00000000", "extractor classifier@3fa94c1e → classifier@00000000"),
        ("n", 1000, "samples 400 → 1000"),
        ("reference", "train", "reference test → train"),
        ("protocol", "otherwise", "protocol none → otherwise"),
    ],
)
def test_scores_on_other_terms_are_not_compared(
    old: Path, field: str, value: object, reason: str
) -> None:
    def change(record: Record) -> None:
        for score in record.scores:
            if score.metric == "fid":
                setattr(score, field, value)

    found = compare(old, alter(old, change))
    row = find(found, "gan", "fid")
    assert (row["verdict"], row["reason"]) == ("not comparable", reason)
    assert math.isnan(row["p"])  # type: ignore[arg-type]
    assert find(found, "gan", "reconstruction_mse")["verdict"] == "same"
    assert f"Not comparable: {reason}." in show(found)


@pytest.mark.parametrize("spec", [{"data": {"fingerprint": "b"}}, {"protocol": 2}])
def test_other_data_or_another_protocol_leave_nothing_to_compare(
    old: Path, spec: dict[str, object]
) -> None:
    found = compare(old, alter(old, lambda record: record.spec.update(spec)))
    assert not is_comparable(found)
    assert changelog.summarise_changes(found).startswith("Nothing can be compared. Of ")


def test_only_translators_depend_on_the_source(tmp_path: Path) -> None:
    old = write_suite(tmp_path / "old" / "suite", (("vae", "vae"), ("cyclegan", "cyclegan")), 1)
    new = alter(old, lambda r: r.spec.update(data={"source_fingerprint": "b"}))
    found = compare(old, new)
    assert find(found, "cyclegan", "fid")["verdict"] == "not comparable"
    assert find(found, "vae", "fid")["verdict"] == "same"


def test_what_a_model_found_by_validation_is_no_other_protocol(old: Path) -> None:
    def change(record: Record, deviation: str = "0.2") -> None:
        words = f"observed with deviation {deviation}, chosen on validation images"
        record.scores[0].protocol = words

    before = alter(old, lambda record: change(record, "0.152"))
    shutil.rmtree(old)
    before.rename(old)
    assert find(compare(old, alter(old, change)), "gan", "fid")["verdict"] == "same"


def test_reconstructions_from_codes_of_another_size_are_not_compared(old: Path) -> None:
    def widen(record: Record) -> None:
        assert record.model is not None
        record.model.code_size = 64

    found = compare(old, alter(old, widen))
    row = find(found, "vae", "reconstruction_mse")
    assert (row["verdict"], row["reason"]) == ("not comparable", "code size 16 → 64")
    assert find(found, "vae", "fid")["verdict"] == "same"


def test_the_words_of_old_protocols_are_those_of_new_ones(old: Path) -> None:
    def speak_old(record: Record) -> None:
        record.model, record.spec["settings"] = None, {"latent": 16}
        for score in record.scores:
            if score.protocol == "encoder":
                score.protocol = "posterior mean"

    found = compare(old, alter(old, speak_old))
    assert find(found, "vae", "reconstruction_mse")["verdict"] == "same"


def test_one_seed_cannot_be_judged(tmp_path: Path) -> None:
    old = write_suite(tmp_path / "old" / "suite", TWO, seeds=1)
    row = find(compare(old, alter(old, scale("fid", "gan", [3.0]))), "gan", "fid")
    assert row["verdict"] == "cannot be judged"
    assert row["estimate"] == pytest.approx(3.0)


def test_further_seeds_do_not_hide_that_the_shared_ones_are_the_same(tmp_path: Path) -> None:
    old = write_suite(tmp_path / "old" / "suite", TWO, seeds=3)
    new = write_suite(tmp_path / "new" / "suite", TWO, seeds=5)
    row = find(compare(old, new), "gan", "fid")
    assert (row["verdict"], row["reason"]) == ("same", "in the 3 seeds that both have")


def test_runs_that_fail_more_often_are_worse(old: Path) -> None:
    def change(record: Record) -> None:
        if record.run.startswith("vae-s1"):
            record.status, record.reason, record.scores = "diverged", "loss is not finite", []

    found = compare(old, alter(old, change))
    row = find(found, "vae", changes.TROUBLE)
    assert (row["old"], row["new"], row["verdict"]) == (0, 1, "fails more")
    assert row["reason"] == "6 ok → 1 diverged, 5 ok"
    assert row["p"] == 1.0
    assert is_worse(found)
    assert find(found, "vae", "fid")["verdict"] == "same"
    back = compare_results(*(read_suite(Path(f)) for f in (found.new, found.old)))
    assert find(back, "vae", changes.TROUBLE)["verdict"] == "fails less"
    assert not is_worse(back)


def test_a_seed_that_only_one_side_has_is_no_failure_more(tmp_path: Path) -> None:
    failures = {("gan", 0): "failed"}
    old = write_suite(tmp_path / "old" / "suite", TWO, 6, failures)
    new = write_suite(tmp_path / "new" / "suite", TWO, 3, failures)
    assert find(compare(old, new), "gan", changes.TROUBLE)["verdict"] == "same"


def test_a_run_without_a_record_did_not_go_well(old: Path) -> None:
    new = alter(old, lambda record: None)
    (new / "runs" / "gan-s2-1a2b3c4d" / "record.json").unlink()
    found = compare(old, new)
    row = find(found, "gan", changes.TROUBLE)
    assert (row["verdict"], row["reason"]) == ("fails more", "6 ok → 1 missing, 5 ok")
    assert any("gan-s2-1a2b3c4d" in note for note in found.notes)


def test_settings_versions_and_costs_that_differ_are_listed(old: Path) -> None:
    def change(record: Record) -> None:
        record.costs.parameters = 7
        record.environment = Environment(python="3.14", versions={"torch": "3"}, platform="x")
        if record.contender == "gan":
            record.spec["settings"] = {"lr": 0.5, "hidden": [1, 2]}

    found = compare(old, alter(old, change))
    rows = found.differences.set_index("name")
    assert tuple(rows.loc["settings.lr"]) == ("setting", "gan", "none", "0.5")
    assert rows.loc["settings.hidden", "new"] == "[1, 2]"
    assert tuple(rows.loc["versions.torch"]) == ("environment", "all", "none", "3")
    assert "seed" not in rows.index
    assert find(found, "gan", "parameters")["verdict"] == "less"
    assert find(found, "gan", "train_seconds")["verdict"] == changes.MACHINE
    assert not is_worse(found)
    text = show(found)
    assert "settings.lr" in text
    assert "Not tested, since machines differ: training time in seconds ×1.00" in text


def test_contenders_scores_and_calibration_of_one_side_are_named(old: Path) -> None:
    new = alter(old, lambda record: record.scores.pop())
    index = read_index(new)
    entry = index.contenders[1].model_copy(update={"name": "new_one"})
    runs = [run for run in index.runs if run.startswith("gan")]
    contenders = [index.contenders[0], entry]
    write_index(new, index.model_copy(update={"contenders": contenders, "runs": runs}))
    real = new / "runs" / "real-00000000"
    record = read_record(real)
    record.scores[0].value = 2.0
    write_record(real, record)
    notes = compare(old, new).notes
    assert notes[:3] == [
        "only the old results have vae",
        "only the new results have new_one",
        "only the old results have scores by near_copies",
    ]
    assert notes[3].endswith("no model is behind real fid")


def test_results_without_a_common_contender_are_refused(old: Path, tmp_path: Path) -> None:
    other = write_suite(tmp_path / "other", (("mine", "gan"),), seeds=1)
    with pytest.raises(BadInput, match="no contender in common: gan, vae there, mine here"):
        compare(old, other)


def test_files_are_tidy_and_names_are_escaped(tmp_path: Path) -> None:
    hostile = (("a|b<i>\x1b[31m", "gan"), ("vae", "vae"))
    for side in ("old", "new"):
        write_suite(tmp_path / side / "suite", hostile, seeds=2)
    new = tmp_path / "new" / "suite"
    for path in new.glob("runs/*-s0-*/record.json"):
        record = read_record(path.parent)
        record.scores[0].value = 1.0
        write_record(path.parent, record)
    found = compare(tmp_path / "old" / "suite", new)
    files = changelog.write_changes(found)
    assert list(files) == ["changes.csv", "differences.csv", "changes.md"]
    table = pd.read_csv(io.BytesIO(files["changes.csv"]))
    assert list(table) == list(changes.COLUMNS)
    assert len(table) == len(found.frame)
    markdown = files["changes.md"].decode()
    assert "a\\|b&lt;i&gt;" in markdown
    assert "\x1b" not in markdown + show(found)


@pytest.mark.parametrize("width", [80, 120])
def test_the_terminal_shows_what_changed_within_its_width(old: Path, width: int) -> None:
    text = show(compare(old, alter(old, scale("fid", "gan", [2, 2.1, 1.9, 2, 2.2, 2]))), width)
    lines = text.splitlines()
    assert max(map(len, lines)) <= width
    assert any(line.split()[:1] == ["FID"] and line.split()[-1] == "worse" for line in lines)
    assert "The same in every score: vae" in text
    assert "Tests: paired t, 6 seeds a side, for 1 score." in " ".join(text.split())
