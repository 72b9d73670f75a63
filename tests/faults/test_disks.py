"""Disks that fill up or cannot be written any more while a suite is carried out."""

import os
import shutil
import subprocess
import sys
from functools import partial

import pytest
from commands import Command, Disk, retry
from kills import check_files, take_stock


@pytest.mark.slow
def test_a_full_disk_stops_the_command_which_goes_on_when_there_is_room(
    disk: Disk, scores: bytes
) -> None:
    folder, ballast = disk.path / "results", disk.path / "ballast"
    command = Command(folder)
    command.await_training()
    fill(disk)
    code, _, error = command.end()
    assert code == 1
    assert error.startswith(f"error: [Errno 28] No space left on device: '{folder}")
    assert error.count("\n") == 1
    assert not check_files(folder), "nothing is left half-written"
    assert [stand.stage for stand in take_stock(folder).values()] == ["training"] * 2

    ballast.unlink()
    code, _, error = Command(folder).end()
    assert (code, error) == (0, "")
    assert (folder / "scores.csv").read_bytes() == scores


def fill(disk: Disk) -> None:
    """Take all the room that a disk has left."""
    with (disk.path / "ballast").open("wb", buffering=0) as file:
        try:
            while shutil.disk_usage(disk.path).free:
                file.write(bytes(os.sysconf("SC_PAGE_SIZE")))
        except OSError:
            pass  # somebody else has taken the last of it


@pytest.mark.slow
def test_a_folder_that_becomes_read_only_fails_its_runs_which_go_on_when_it_is_writable(
    disk: Disk, scores: bytes
) -> None:
    folder = disk.path / "results"
    runs = disk.place / "results" / "runs"
    (folder / "runs").mkdir(parents=True)
    disk.do(f"mount --bind {runs} {runs}")
    command = Command(folder)
    command.await_training()
    retry(partial(disk.do, f"mount -o remount,bind,ro {runs}"), 30)
    code, _, error = command.end()
    assert code == 1
    assert "Traceback" not in error
    assert error.count(" failed: OSError: [Errno 30] Read-only file system") == 2
    assert not check_files(folder), "nothing is left half-written"

    disk.do(f"mount -o remount,bind,rw {runs}")
    code, _, error = Command(folder).end()
    assert (code, error) == (0, "")
    assert (folder / "scores.csv").read_bytes() == scores


def test_a_report_on_a_read_only_disk_says_so_first(disk: Disk) -> None:
    folder = disk.path / "suite"
    folder.mkdir()
    disk.do(f"mount -o remount,ro {disk.place}")
    command = [sys.executable, "-m", "benchmarks.report", str(folder)]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (found.returncode, found.stdout) == (2, "")
    assert found.stderr.startswith(f"error: {folder} is read-only: copy {folder} to where")
