import csv
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from synthetic import write_suite

from benchmarks.core.errors import BadInput
from benchmarks.records.store import read_index, read_record, read_suite, write_index, write_record
from benchmarks.report import load, main
from benchmarks.reporting.comparison import write_latex
from benchmarks.reporting.plots import PLOTS, draw_samples
from benchmarks.reporting.report import read_frames, write_report

TABLES = ["table.csv", "table.md", "table.tex", "scores.csv", "costs.csv"]


@pytest.fixture
def suite(tmp_path: Path) -> Path:
    return write_suite(tmp_path / "suite", (("gan", "gan"), ("vae", "vae")), seeds=1)


def test_the_report_writes_all_files_the_same_twice(suite: Path) -> None:
    stale = suite / "plots" / "translations.png"
    stale.parent.mkdir()
    stale.touch()
    paths = write_report(read_frames(suite))
    assert [path.name for path in paths[:5]] == TABLES
    assert paths[-1] == suite / "report.html"
    plots = {path.relative_to(suite).as_posix() for path in paths[5:-1]}
    names = set(PLOTS) - {"translations"}
    assert plots == {f"plots/{name}.{kind}" for name in names for kind in ("png", "svg")}
    assert not stale.exists()
    first = {path: path.read_bytes() for path in paths}
    assert {path: path.read_bytes() for path in write_report(read_frames(suite))} == first
    assert b"<dc:date>" not in first[suite / "plots" / "scores.svg"]


def test_the_command_prints_the_table_and_the_paths(
    suite: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (suite / "runs" / "vae-s0-1a2b3c4d" / "record.json").write_text("{}")
    assert main([str(suite)]) == 0
    out, err = capsys.readouterr()
    assert "Inception Score" in out
    assert str(suite / "plots" / "scores.png") in out.splitlines()
    assert "vae-s0-1a2b3c4d" in err
    assert "Traceback" not in err
    assert "vae-s0-1a2b3c4d" in (suite / "report.html").read_text()


STRANGE = {
    "gan": '=HYPERLINK("http://x.example","y")',
    "vae": "\t@SUM(1);=2\x1b]0;title\x07\u202egnp\u2066",
}


def make_strange(folder: Path) -> Path:
    """Write a suite whose names are formulas and steer terminals and the direction of writing."""
    write_suite(folder, (("gan", "gan"), ("vae", "vae")), seeds=2)
    names = {"suite": f"-1+1|{folder.name}", "dataset": f"\r+{folder.name}"}
    for path in (folder / "runs").iterdir():
        record = read_record(path)
        own = {key: getattr(record, key) for key in ("contender", "family")}
        own = {key: STRANGE.get(name, name) for key, name in own.items()}
        scores = [s.model_copy(update={"reference": STRANGE["vae"]}) for s in record.scores]
        write_record(path, record.model_copy(update={**names, **own, "scores": scores}))
    index = read_index(folder)
    entries = [e.model_copy(update={"name": STRANGE[e.name]}) for e in index.contenders]
    names |= {"contenders": entries, "command": STRANGE["vae"]}
    write_index(folder, index.model_copy(update=names))
    return folder


def test_names_of_strangers_are_no_formulas_and_steer_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folders = [str(make_strange(tmp_path / name)) for name in ("one", "two")]
    assert main(folders[:1]) == 0
    assert main(folders) == 0
    assert main(["--compare", *folders, "--out", str(tmp_path / "changes")]) == 2
    printed = "".join(capsys.readouterr())
    files = [path for path in tmp_path.rglob("*") if path.suffix in {".csv", ".md", ".tex"}]
    texts = [path.read_text() for path in (*files, *tmp_path.rglob("report.html"))]
    for text in (printed, *texts):
        assert text.replace("\n", "").isprintable()
    tables = [path for path in files if path.suffix == ".csv" and "runs" not in path.parts]
    assert len(tables) == 7
    cells = [cell for path in tables for row in csv.reader(path.open()) for cell in row]
    assert "'" + STRANGE["gan"] in cells
    number = r"-?[\d.]+(e[+-]?\d+)?"
    assert not [c for c in cells if re.search(r"(^|;)\s*[=+@-]", c) and not re.fullmatch(number, c)]


def test_a_read_only_folder_is_told_before_it_is_read(
    suite: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    access = os.access
    closed = suite / "plots"
    closed.mkdir()
    monkeypatch.setattr(os, "access", lambda path, mode: path != closed and access(path, mode))
    monkeypatch.setattr("benchmarks.reporting.report.read_frames", None)
    for options in ([], ["--paper"], ["--plots", "scores"], ["--tensorboard"]):
        assert main([str(suite), *options]) == 2
        error = capsys.readouterr().err
        assert error.startswith(f"error: {closed} is read-only: copy {suite} to where")
        assert error.count("\n") == 1
    monkeypatch.undo()
    assert main([str(suite), "--terminal"]) == 0


def test_runs_without_a_record_are_summed_up_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    suite = write_suite(tmp_path / "suite", seeds=4)
    for run in ("gan-s2", "gan-s3", "vae-s0"):
        (suite / "runs" / f"{run}-1a2b3c4d" / "record.json").unlink()
    assert main([str(suite)]) == 0
    err = capsys.readouterr().err
    names = "gan-s2-1a2b3c4d, gan-s3-1a2b3c4d, vae-s0-1a2b3c4d"
    assert err == f"3 of 18 runs have no record yet: {names}\n"


def test_damaged_records_are_named_up_to_a_point(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    suite = write_suite(tmp_path / "suite", (("gan", "gan"),), seeds=14)
    for seed in range(1, 13):
        (suite / "runs" / f"gan-s{seed}-1a2b3c4d" / "record.json").write_text("{")
    assert main([str(suite)]) == 0
    lines = capsys.readouterr().err.splitlines()
    assert ["gan-s10" in line for line in lines] == [False] * 9 + [True, False]
    assert all("damaged" in line for line in lines[:-1])
    assert lines[-1] == "warning: and 2 more"


def test_a_wrong_folder_is_one_line_and_code_2(
    suite: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = sorted(suite.parent.rglob("*"))
    assert main([str(suite.parent / "siute")]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert str(suite) in err
    assert sorted(suite.parent.rglob("*")) == before


def list_files(folder: Path) -> dict[str, bytes]:
    return {
        p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*.*") if p.is_file()
    }


def test_the_table_alone_is_printed_and_nothing_written(
    suite: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = list_files(suite)
    assert main([str(suite), "--terminal"]) == 0
    out = capsys.readouterr().out
    assert "Inception Score" in out
    assert str(suite) not in out
    assert list_files(suite) == before


def test_single_plots_are_drawn_alone(suite: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = list_files(suite)
    assert main([str(suite), "--plots", "scores,cost"]) == 0
    new = {f"plots/{name}.{kind}" for name in ("scores", "cost") for kind in ("png", "svg")}
    assert set(list_files(suite)) - set(before) == new
    assert set(capsys.readouterr().out.split()) == {str(suite / name) for name in new}


def test_what_is_for_a_paper_has_a_folder_of_its_own(suite: Path) -> None:
    before = list_files(suite)
    assert main([str(suite), "--paper"]) == 0
    new = {name: file for name, file in list_files(suite).items() if name not in before}
    assert {Path(name).parent.as_posix() for name in new} == {"paper"}
    assert new["paper/scores.pdf"].startswith(b"%PDF")
    assert len(new["paper/table.tex"]) < len(write_latex(read_suite(suite)))
    assert main([str(suite), "--paper", "--plots", "training"]) == 0


def test_event_files_are_written_for_every_run(
    suite: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("tensorboard", reason="no tensorboard")
    assert main([str(suite), "--tensorboard"]) == 0
    assert f"tensorboard --logdir {suite / 'tensorboard'}" in capsys.readouterr().out
    assert len(list((suite / "tensorboard").glob("*/events.out.tfevents.*"))) == 4


def test_several_suites_are_compared_beside_the_first(
    suite: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = write_suite(tmp_path / "other", (("gan", "gan"), ("vae", "vae")), seeds=2)
    before = list_files(tmp_path)
    assert main([str(suite), str(other), "--terminal"]) == 0
    assert list_files(tmp_path) == before
    assert main([str(suite), str(other)]) == 0
    new = set(list_files(tmp_path)) - set(before)
    assert {"comparison/report.html", "comparison/ranks.csv"} <= new
    assert {name.partition("/")[0] for name in new} == {"comparison"}
    assert str(tmp_path / "comparison" / "report.html") in capsys.readouterr().out
    assert main([str(suite), str(other), "--out", str(tmp_path / "mine")]) == 0
    assert (tmp_path / "mine" / "report.html").exists()


def test_results_compared_with_themselves_are_the_same(
    suite: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = list_files(suite)
    assert main(["--compare", str(suite), str(suite), "--out", str(tmp_path / "changes")]) == 0
    assert "gan" in capsys.readouterr().out
    assert list_files(suite) == before
    names = {"changes.csv", "changes.md", "differences.csv"}
    assert set(list_files(tmp_path / "changes")) == names


def test_a_record_that_is_worse_is_exit_code_1(tmp_path: Path) -> None:
    old, new = (write_suite(tmp_path / name, (("gan", "gan"),), seeds=6) for name in ("old", "new"))
    for run in sorted((new / "runs").glob("gan-*")):
        record = read_record(run)
        scores = [s.model_copy(update={"value": s.value and 9 * s.value}) for s in record.scores]
        write_record(run, record.model_copy(update={"scores": scores}))
    assert main(["--compare", str(old), str(new), "--terminal"]) == 1


@pytest.mark.parametrize("line", ["{0} --terminal", "--compare {0} {0}", "{0} {1} --terminal"])
def test_a_pipe_without_the_letters_gets_question_marks(
    line: str, suite: Path, tmp_path: Path
) -> None:
    other = write_suite(tmp_path / "other", (("gan", "gan"), ("vae", "vae")), seeds=2)
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.report", *line.format(suite, other).split()],
        env=os.environ | {"PYTHONIOENCODING": "ascii"},
        check=False,
        capture_output=True,
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"gan" in done.stdout


def test_nothing_is_written_where_a_file_has_no_place(
    suite: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (suite / "report.html").mkdir()
    before = list_files(suite)
    assert main([str(suite)]) == 2
    assert "report.html is in the way" in capsys.readouterr().err
    assert list_files(suite) == before


def test_results_that_all_fail_are_worse(suite: Path, tmp_path: Path) -> None:
    contenders = (("gan", "gan"), ("vae", "vae"))
    failures = {(name, 0): "failed" for name, _ in contenders}
    failed = write_suite(tmp_path / "failed", contenders, seeds=1, failures=failures)
    assert main(["--compare", str(suite), str(failed)]) == 1


def test_a_folder_of_a_suite_is_not_written_over_by_a_comparison(
    suite: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = write_suite(suite.parent / "comparison", (("gan", "gan"),), seeds=1)
    before = list_files(other)
    assert main([str(suite), str(other)]) == 2
    assert "is a suite's own folder" in capsys.readouterr().err
    assert list_files(other) == before


@pytest.mark.parametrize("value", [1e300, 1e-300, -3.0, 0.0])
def test_scores_beyond_measure_leave_a_report(suite: Path, value: float) -> None:
    record = read_record(suite / "runs" / "vae-s0-1a2b3c4d")
    scores = [s.model_copy(update={"value": value}) for s in record.scores]
    write_record(suite / "runs" / record.run, record.model_copy(update={"scores": scores}))
    history = suite / "runs" / record.run / "history.csv"
    frame = pd.read_csv(history)
    frame.assign(validation_fid=frame["validation_fid"] * 0 + value).to_csv(history, index=False)
    assert main([str(suite)]) == 0


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("", "name a folder written by benchmarks.run"),
        ("a --plots skores", "skores"),
        ("a --papper", "did you mean '--paper'"),
        ("a --terminal --paper", "--terminal writes nothing"),
        ("a b --paper", "--paper: one folder at a time, and 2 are named"),
        ("a --out b", "--out: the report of one suite"),
        ("a --plots ,", "--plots names no plot"),
        ("--compare a b --out a/suite.json", "suite.json is a file, not a folder"),
        ("--compare a", "--compare"),
        ("a --compare a b", "--compare takes two folders"),
        ("a missing", "missing holds no suite.json"),
        ("a a", "two or more different folders"),
        ("--compare a missing", "missing holds no suite.json"),
    ],
)
def test_wrong_options_are_one_line_and_code_2(
    line: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("a", "b"):
        write_suite(Path(name), (("gan", "gan"),), seeds=1)
    before = list_files(tmp_path)
    assert main(line.split()) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert message in err
    assert list_files(tmp_path) == before


def test_a_folder_is_loaded_as_data_frames(suite: Path) -> None:
    scores, runs, history = (load(suite, what) for what in ("scores", "runs", "history"))
    assert set(scores["contender"]) == set(runs["contender"]) == {"gan", "vae", "real", "noise"}
    assert set(history["contender"]) == {"gan", "vae"}
    pictures = load(suite, "pictures")
    assert draw_samples(pictures) is not None
    assert {"samples", "evolution"} <= set(pictures["kind"])
    with pytest.raises(BadInput, match="did you mean 'scores'"):
        load(suite, "skores")


def test_help_needs_neither_plots_nor_frames() -> None:
    code = (
        "import contextlib, sys; from benchmarks.report import main\n"
        "with contextlib.suppress(SystemExit): main(['--help'])\n"
        "sys.exit(bool({'matplotlib', 'pandas', 'torch'} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert (done.returncode, done.stdout.split()[0]) == (0, "usage:")
