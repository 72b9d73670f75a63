"""One command at a time in a results folder."""

import errno
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.core.errors import BadInput
from benchmarks.execution.lock import hold

COMMAND = ["python", "-m", "benchmarks.run", "a suite"]
HOLDER = """
import sys
from pathlib import Path
from benchmarks.execution.lock import hold
with hold(Path(sys.argv[1]), ["the", "other"]):
    print("held", flush=True)
    sys.stdin.read()
"""


def start_holder(folder: Path) -> "subprocess.Popen[str]":
    """Let another process hold a folder until it is killed or its input ends."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_the_folder_is_made_and_names_its_holder_only_while_it_is_held(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "results"
    with hold(folder, COMMAND) as dead:
        assert dead is None
        name = (folder / ".holder").read_text(encoding="utf-8")
        day = r"\d{4}-\d\d-\d\d \d\d:\d\d"
        command = re.escape("python -m benchmarks.run 'a suite'")
        assert re.fullmatch(rf"process {os.getpid()} on \S+ since {day} \({command}\)\n", name)
    assert not (folder / ".holder").exists()
    with hold(folder, COMMAND) as dead:
        assert dead is None


def test_a_folder_is_held_once_at_a_time(tmp_path: Path) -> None:
    other = start_holder(tmp_path)
    name = rf"{re.escape(str(tmp_path))} is in use by process {other.pid} on .* \(the other\): wait"
    with pytest.raises(BadInput, match=name), hold(tmp_path, COMMAND):
        pytest.fail("two hold it")
    assert (tmp_path / ".holder").exists(), "who was refused leaves the other's name"
    other.communicate("")
    assert other.returncode == 0
    with hold(tmp_path, COMMAND) as dead:
        assert dead is None


def test_a_holder_without_a_name_is_another_process(tmp_path: Path) -> None:
    other = start_holder(tmp_path)
    (tmp_path / ".holder").unlink()
    with pytest.raises(BadInput, match="in use by another process: "), hold(tmp_path, COMMAND):
        pytest.fail("two hold it")
    other.communicate("")


def test_what_a_dead_holder_has_left_is_taken_over_with_its_name(tmp_path: Path) -> None:
    torn = tmp_path / "runs" / "vae" / "checkpoint" / ".state.safetensors.0a.tmp"
    whole = torn.with_name("state.safetensors")
    other = start_holder(tmp_path)
    torn.parent.mkdir(parents=True)
    torn.touch()
    whole.touch()
    other.kill()
    other.communicate()
    with hold(tmp_path, COMMAND) as dead:
        assert str(dead).startswith(f"process {other.pid} on ")
        assert str(dead).endswith("(the other)")
        assert not torn.exists()
        assert whole.exists()


def test_a_holder_who_fails_lets_go(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="the disk"), hold(tmp_path, COMMAND):
        raise OSError("the disk")
    assert not (tmp_path / ".holder").exists()
    with hold(tmp_path, COMMAND) as dead:
        assert dead is None


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", None),
        (b" \n", None),
        (b"a\nb\n", "a b"),
        (b"\xff" * 999, "\N{REPLACEMENT CHARACTER}" * 300),
    ],
)
def test_a_strange_name_is_one_short_line(
    tmp_path: Path, content: bytes, expected: str | None
) -> None:
    (tmp_path / ".holder").write_bytes(content)
    with hold(tmp_path, COMMAND) as dead:
        assert dead == expected


def test_a_full_disk_and_a_strangers_holder_are_told_harmlessly(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".holder").write_text("process 1\x1b[31m\u202e of another")
    with hold(tmp_path, COMMAND) as dead:
        assert dead == "process 1\N{REPLACEMENT CHARACTER}[31m\N{REPLACEMENT CHARACTER} of another"

    def fail(*_: object, **options: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "write_text", fail)
    full = re.escape(f"No space left on device: '{tmp_path}'")
    with pytest.raises(OSError, match=full), hold(tmp_path, COMMAND):
        pytest.fail("it is held")
