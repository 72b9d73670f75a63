"""Two commands on one results folder."""

import os
import signal
from pathlib import Path

import pytest
from commands import QUICK, Command
from kills import check_files

from benchmarks.run import main


@pytest.mark.slow
def test_a_folder_in_use_is_refused_until_its_holder_has_died(
    tmp_path: Path, scores: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "results"
    first = Command(folder)
    first.await_training()
    os.killpg(first.process.pid, signal.SIGSTOP)  # or it might be done before it is killed

    assert main([*QUICK, "--out", str(folder)]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"error: {folder} is in use by process {first.process.pid} on ")
    assert "python -m benchmarks.run smoke --models autoencoder,vae" in error
    assert error.count("\n") == 1
    assert main(["--clean", str(folder)]) == 2

    os.killpg(first.process.pid, signal.SIGKILL)
    first.end()
    check_files(folder)
    code, out, error = Command(folder).end()
    assert (code, error) == (0, "")
    (line,) = (line for line in out.splitlines() if "has died" in line)
    assert line.startswith(f"process {first.process.pid} on ")
    assert line.endswith("has died; resuming from what it left")
    assert (folder / "scores.csv").read_bytes() == scores
    assert not check_files(folder), "what the dead one was writing is gone"
