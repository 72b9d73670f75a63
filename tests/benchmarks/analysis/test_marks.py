import io
import re
from pathlib import Path

import pandas as pd
import pytest
from audited import DATA, FAILED, FINE, audit_suite, set_data
from latex_files import compile_latex, tabulars
from rich.console import Console
from synthetic import EXTRACTOR, FOUR, write_suite

from benchmarks import run
from benchmarks.analysis import audits
from benchmarks.analysis.finding import Finding
from benchmarks.analysis.findings import collect_findings
from benchmarks.analysis.frames import Frames, gather
from benchmarks.analysis.headline import write_headline
from benchmarks.analysis.marks import MARK, Marks
from benchmarks.analysis.suites import read_aggregate
from benchmarks.core.errors import BadInput
from benchmarks.records.store import read_index, read_suite, write_index
from benchmarks.report import main
from benchmarks.reporting.comparison import show_comparison, write_latex, write_markdown
from benchmarks.reporting.overview import show_aggregate, write_aggregate
from benchmarks.reporting.page.table import build_page_table
from benchmarks.reporting.report import write_report

REASON = "blind to dropped classes and shifts; misled by duplicates."
FOUND = "FID under classifier blind to dropped classes and shifts, and misled by duplicates"
LETTERS = "1e77e25" * 9


@pytest.fixture(autouse=True)
def published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No audit of the checkout speaks in these tests."""
    monkeypatch.setattr(audits, "PUBLISHED", tmp_path / "published")


@pytest.fixture
def suite(tmp_path: Path) -> Path:
    folder = write_suite(tmp_path / "suite", FOUR[:3])
    set_data(folder, DATA)
    return folder


def read(folder: Path, *, require: bool = False) -> Frames:
    return gather(read_suite(folder), require_audit=require)


def state(frames: Frames) -> list[Finding]:
    return collect_findings(frames.runs, frames.marks)


def show(frames: Frames) -> str:
    console = Console(width=200, file=io.StringIO())
    console.print(show_comparison(frames.results, 200, frames.comparison, frames.marks))
    return console.file.getvalue()  # type: ignore[attr-defined]


def print_markdown(frames: Frames) -> str:
    return write_markdown(frames.results, frames.comparison, frames.marks).decode()


def test_without_an_audit_nothing_changes(suite: Path) -> None:
    frames = read(suite)
    assert frames.audit is None
    assert write_markdown(frames.results) == print_markdown(frames).encode()
    assert write_latex(frames.results) == write_latex(frames.results, None, frames.marks)
    assert MARK not in print_markdown(frames) + show(frames)
    assert build_page_table(frames)["marks"] == []
    plain = collect_findings(frames.runs)
    assert [(f.summary, f.details) for f in plain] == [
        (f.summary, f.details) for f in state(frames)
    ]


def test_an_audit_that_was_passed_marks_nothing(suite: Path) -> None:
    bare = print_markdown(read(suite))
    audit_suite(suite, FINE)
    assert read(suite).audit is not None
    assert print_markdown(read(suite)) == bare


def test_a_score_that_failed_is_marked_in_every_table_with_the_reason(suite: Path) -> None:
    audit_suite(suite, FAILED)
    frames = read(suite)
    markdown, terminal = print_markdown(frames), show(frames)
    assert "| FID† ↓ | Inception Score ↑ | KID ↓ |" in markdown
    assert "| best FID† ↓ |" in markdown
    assert f"† FID, audited under classifier: {REASON}\n" in markdown
    assert f"† best FID, audited under classifier: {REASON}\n" in markdown
    assert re.search(r"FID†\s+Inception Score\s+KID ", terminal)
    assert f"† FID, audited under classifier: {REASON}" in terminal
    table = build_page_table(frames)
    heads = {head.title: head for panel in table["tables"] for head in panel.header}
    assert f"The audit found {FOUND}." in heads["FID† ↓"].tip
    assert heads["KID ↓"].audit == ""
    assert table["marks"][0] == f"† FID, audited under classifier: {REASON}"


@pytest.mark.parametrize("paper", [True, False])
def test_marks_in_latex_compile(suite: Path, tmp_path: Path, paper: bool) -> None:
    audit_suite(suite, FAILED)
    frames = read(suite)
    text = write_latex(frames.results, frames.comparison, frames.marks, paper=paper).decode()
    (_, rows), *_ = tabulars(text)
    assert r"FID$^\dagger$ $\downarrow$" in rows[0]
    assert rf"$^\dagger$ FID, audited under classifier: {REASON}\par" in text
    assert MARK not in text
    compile_latex(tmp_path, main=text)


def test_titles_of_faults_do_nothing_in_any_medium(suite: Path) -> None:
    hostile = "\x1b]0;x\a **b** \\input{x} <b>"
    fault = {"name": "blur", "title": hostile}
    about = {"extractors": [EXTRACTOR], "faults": [fault]}
    rows = {"metric": ["fid"], "extractor": [EXTRACTOR], "fault": ["blur"], "promise": ["sees"]}
    verdicts = pd.DataFrame(rows | {"verdict": ["blind"]})
    audit = audits.Audit(suite, about, verdicts, verdicts, verdicts)
    results = read_suite(suite)
    marks = Marks(audit, EXTRACTOR)
    (line,) = marks.explain([("fid", "FID")])
    assert line.isprintable()
    assert r"\*\*b\*\* \\input\{x\} &lt;b&gt;" in write_markdown(results, None, marks).decode()
    assert r"\textbackslash{}input\{x\}" in write_latex(results, None, marks).decode()


def test_another_training_of_the_extractor_is_said_to_be_one(suite: Path) -> None:
    audit_suite(suite, FAILED, extractor="classifier@00000000")
    text = print_markdown(read(suite))
    assert f"audit is of classifier@00000000, the scores are by {EXTRACTOR}: two trainings" in text


def test_a_choice_that_rests_on_a_failed_score_says_so(suite: Path) -> None:
    audit_suite(suite, FAILED)
    findings = state(read(suite))
    assert findings[0].details[0] == f"The audit found {FOUND}."
    assert not any("audit" in line for f in findings[1:] for line in f.details)
    answer = write_headline(findings)
    assert answer[0].startswith("For generation, choose gan")
    assert answer[2] == f"The audit found {FOUND}."


def test_nobody_is_ranked_by_what_has_not_passed_where_that_is_required(suite: Path) -> None:
    audit_suite(suite, FAILED)
    frames = read(suite, require=True)
    fid, inception, mse = state(frames)
    assert fid.summary == (
        "Nobody is ranked by FID under classifier: the audit found it blind to dropped classes and"
        " shifts, and misled by duplicates."
    )
    assert inception.summary == (
        "Nobody is ranked by Inception Score under classifier: it was not audited."
    )
    assert len(fid.ranking) == len(fid.pairs) == len(inception.ranking) == 0
    assert len(mse.ranking) == 2
    assert write_headline([fid, inception, mse]) == [
        "For reconstruction among models that encode and decode (codes of 16 numbers), choose"
        " autoencoder: significantly better than all others by MSE (p < 0.05).",
        fid.summary,
        inception.summary,
    ]


def test_best_values_stand_out_only_where_the_audit_was_passed(suite: Path) -> None:
    audit_suite(suite, FAILED)
    frames = read(suite, require=True)
    header, _, *rows = (line.split(" | ") for line in print_markdown(frames).splitlines()[:5])
    best = {name: any("**" in row[place] for row in rows) for place, name in enumerate(header[:16])}
    wanted = {"FID† ↓": False, "KID ↓": True, "Recall ↑": False, "MSE ↓": True}
    assert {name: best[name] for name in wanted} == wanted
    text = print_markdown(frames)
    assert "**" in text.splitlines()[2].split(" | ")[header.index("params ↓")]
    assert "\n\nNobody is ranked by a score with †.\n" in text
    assert "Not audited, so that nobody is ranked by it: Inception Score, Precision," in text
    first, *_ = show(frames).split("Fidelity and variety")
    assert first.count("*") == 1  # KID's
    latex = write_latex(frames.results, frames.comparison, frames.marks, paper=True).decode()
    assert re.findall(r"\\underline|\\textbf", latex.split("MSE")[0]) == []


def test_where_no_score_has_passed_there_is_no_choice(suite: Path) -> None:
    audit_suite(suite, {"kid": {"blur": "sees"}})
    answer = write_headline(state(read(suite, require=True)))
    assert answer[0] == "No score can rank these models."
    assert len(answer) == 4  # and why, of each score


def test_a_report_with_a_required_audit_writes_the_same_numbers(suite: Path) -> None:
    write_report(read(suite))
    before = {name: (suite / name).read_bytes() for name in ("scores.csv", "table.csv")}
    audit_suite(suite, FAILED)
    assert main([str(suite), "--require-audit"]) == 0
    assert {name: (suite / name).read_bytes() for name in before} == before
    page = (suite / "report.html").read_text("utf-8")
    assert "Nobody is ranked by FID under classifier" in page
    assert main([str(suite), "--terminal", "--require-audit"]) == 0


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("suite --require-audit", "no audit covers the scores in"),
        ("suite --terminal --require-audit", "python -m benchmarks.audit --dataset digits"),
        ("suite other --require-audit", "no audit covers the scores in"),
        ("--compare suite other --require-audit", "--compare takes two folders"),
        ("suite --tensorboard --require-audit", "leave out --require-audit"),
        ("suite --require-audits", "did you mean '--require-audit'"),
    ],
)
def test_what_is_required_and_missing_is_one_line_and_code_2(
    suite: Path,
    line: str,
    message: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(suite.parent)
    write_suite(suite.parent / "other", FOUR[:2], seeds=1)
    assert main(line.split()) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert message in err
    assert not (suite / "report.html").exists()


def test_a_damaged_audit_is_a_warning_and_no_audit(
    suite: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (audit_suite(suite, FAILED) / "verdict.csv").write_text("a,b\n")
    assert main([str(suite), "--terminal"]) == 0
    out, err = capsys.readouterr()
    assert MARK not in out
    assert "verdict.csv is damaged" in err
    assert main([str(suite), "--terminal", "--require-audit"]) == 2
    assert "verdict.csv is damaged" in capsys.readouterr().err


def test_a_run_asks_for_the_audit_before_anything_is_trained(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "new"
    assert run.main(["digits", "--out", str(out), "--require-audit"]) == 2
    message = capsys.readouterr().err
    assert f"make one by python -m benchmarks.audit digits --out {out}\n" in message
    assert not out.exists()


def test_over_data_sets_the_audit_of_any_marks_a_score(suite: Path) -> None:
    other = make_other(suite)
    audit_suite(suite, FAILED)
    result = read_aggregate([suite, other])
    assert result.marked == ["fid"]
    assert result.notes[0] == (
        "† FID: on digits under classifier blind to dropped classes and shifts, and misled by"
        " duplicates"
    )
    files = write_aggregate(result)
    assert "## FID† ↓" in files["aggregate.md"].decode()
    assert r"FID$^\dagger$ $\downarrow$" in files["aggregate.tex"].decode()
    assert "FID† ↓" in files["report.html"].decode()
    assert result.ranks["metric"].nunique() == 3


def test_over_data_sets_required_audits_leave_scores_unranked(suite: Path) -> None:
    other = make_other(suite)
    audit_suite(suite, FAILED)
    with pytest.raises(BadInput, match=f"no audit covers the scores in {other}"):
        read_aggregate([suite, other], require_audit=True)
    audit_suite(other, FINE, data=LETTERS)
    result = read_aggregate([suite, other], require_audit=True)
    assert set(result.refusals) == {"fid", "inception_score"}
    assert set(result.ranks["metric"]) == {"reconstruction_mse"}
    console = Console(width=100, file=io.StringIO())
    console.print(show_aggregate(result, 100))
    text = console.file.getvalue()  # type: ignore[attr-defined]
    fid, _, mse = re.split(r"IS ↑|MSE ↓", text)[:3]
    assert "*" not in fid
    assert "*" in mse
    assert "On digits: Nobody is ranked by FID under classifier: the audit found it" in fid


def make_other(suite: Path) -> Path:
    """The same contenders on another data set."""
    other = write_suite(suite.parent / "other", FOUR[:3])
    write_index(other, read_index(other).model_copy(update={"dataset": "letters"}))
    set_data(other, LETTERS, "letters")
    return other
