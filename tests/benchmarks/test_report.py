import subprocess
import sys
from pathlib import Path

import pytest
from synthetic import write_suite

from benchmarks.plots import PLOTS
from benchmarks.report import build_report, main

TABLES = ["table.csv", "table.md", "table.tex", "scores.csv", "costs.csv"]


@pytest.fixture
def suite(tmp_path: Path) -> Path:
    return write_suite(tmp_path / "suite", (("gan", "gan"), ("vae", "vae")), seeds=1)


def test_the_report_writes_all_files_the_same_twice(suite: Path) -> None:
    stale = suite / "plots" / "translations.png"
    stale.parent.mkdir()
    stale.touch()
    paths = build_report(suite)
    assert [path.name for path in paths[:5]] == TABLES
    plots = {path.relative_to(suite).as_posix() for path in paths[5:]}
    names = set(PLOTS) - {"translations"}
    assert plots == {f"plots/{name}.{kind}" for name in names for kind in ("png", "svg")}
    assert not stale.exists()
    first = {path: path.read_bytes() for path in paths}
    assert {path: path.read_bytes() for path in build_report(suite)} == first
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


def test_help_needs_neither_plots_nor_frames() -> None:
    code = (
        "import contextlib, sys; from benchmarks.report import main\n"
        "with contextlib.suppress(SystemExit): main(['--help'])\n"
        "sys.exit(bool({'matplotlib', 'pandas', 'torch'} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert (done.returncode, done.stdout.split()[0]) == (0, "usage:")
