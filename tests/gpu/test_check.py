"""The script for GPUs runs here at tiny sizes, as far as it needs none."""

import json
import subprocess
import sys
import time
from pathlib import Path

import check
import pytest
import torch

SCRIPT = Path(check.__file__)


def test_all_that_needs_no_gpu_is_as_it_should_be(tmp_path: Path) -> None:
    command = [sys.executable, SCRIPT, "--device", "cpu", "--out", tmp_path]
    done = subprocess.run(
        command, cwd=SCRIPT.parents[2], capture_output=True, text=True, check=False
    )
    rows = json.loads((tmp_path / "gpu.json").read_text())["rows"]
    assert [row for row in rows if not row["ok"]] == []
    assert done.returncode == 0, done.stderr
    skipped = {row["check"] for row in rows if row["subject"] == "skipped"}
    assert skipped == {name for name, (_, _, cuda) in check.CHECKS.items() if cuda}
    assert (tmp_path / "gpu.md").read_text() in done.stdout


def test_a_step_that_reads_a_value_is_found() -> None:
    with check.guarding(torch.device("cpu")) as guard:
        torch.ones(1).item()
        guard(True)
        with pytest.raises(RuntimeError, match="waits for the device"):
            torch.ones(1).item()


def test_a_check_that_fails_or_is_late_costs_its_own_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def failing(session: check.Session):
        yield check.Row("failing", "first", {"": 1.0})
        raise ValueError("broken")

    def late(session: check.Session):
        while True:
            yield check.Row("late", "again", {"": 1.0})
            time.sleep(0.1)

    def fine(session: check.Session):
        yield check.Row("fine", "all", {"": 1.0})

    checks = {f.__name__: (f, 1, False) for f in (failing, late, fine)}
    monkeypatch.setattr(check, "CHECKS", checks)
    assert check.main(["--device", "cpu", "--out", str(tmp_path)]) == 1
    rows = json.loads((tmp_path / "gpu.json").read_text())["rows"]
    bad = {row["check"]: row["values"][""] for row in rows if not row["ok"]}
    assert "broken" in bad.pop("failing")
    assert "Late" in bad.pop("late")
    assert not bad
    assert {"first", "again", "all"} <= {row["subject"] for row in rows}
