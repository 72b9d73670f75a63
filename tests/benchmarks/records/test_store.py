import errno
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pydantic import ValidationError
from synthetic import write_suite

from benchmarks.core.errors import BadInput
from benchmarks.core.files import RESERVE, write_atomically
from benchmarks.records import environment as environment_module
from benchmarks.records.environment import read_environment
from benchmarks.records.schema import Picture, Record, Score
from benchmarks.records.store import (
    read_history,
    read_index,
    read_picture,
    read_record,
    read_suite,
    seal,
    write_index,
    write_record,
)


@pytest.fixture
def suite(tmp_path: Path) -> Path:
    return write_suite(tmp_path / "suite", seeds=1)


def change(path: Path, **fields: object) -> None:
    """Change a record as one that knows of its checksum would."""
    content = json.loads(path.read_text()) | fields
    content.pop("sha256", None)
    path.write_text(json.dumps(content | {"sha256": seal(content)}))


def record_path(suite: Path, contender: str) -> Path:
    return suite / "runs" / f"{contender}-s0-1a2b3c4d" / "record.json"


def test_records_and_index_survive_the_disk(suite: Path, tmp_path: Path) -> None:
    record = read_record(record_path(suite, "cyclegan").parent)
    record.environment = read_environment(gpu="H200")
    path = write_record(tmp_path / "copy", record)
    assert read_record(path.parent) == record
    assert json.loads(path.read_text())["schema"] == 1
    index = read_index(suite)
    assert read_index(write_index(tmp_path / "copy", index).parent) == index


def test_numbers_that_are_not_finite_become_null(tmp_path: Path) -> None:
    score = Score(metric="fid", value=float("nan"), low=float("-inf"), high=float("inf"))
    fields = {"run": "a", "suite": "s", "dataset": "d", "contender": "a", "family": "gan"}
    spec = {"clip": float("inf"), "rates": [float("nan")]}
    record = Record(**fields, status="ok", scores=[score], spec=spec)
    text = write_record(tmp_path, record).read_text()
    stored = json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    assert stored["spec"] == {"clip": None, "rates": [None]}
    assert [stored["scores"][0][key] for key in ("value", "low", "high")] == [None] * 3


def test_a_failing_write_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "record.json"
    write_atomically(path, b"old")

    def fail(descriptor: int) -> None:
        raise OSError("the disk is full")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="full"):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_written_files_are_readable_by_others(tmp_path: Path) -> None:
    write_atomically(tmp_path / "deep" / "file", b"")
    (tmp_path / "plain").touch()
    modes = [path.stat().st_mode for path in (tmp_path / "deep" / "file", tmp_path / "plain")]
    assert modes[0] == modes[1]


def test_a_suite_reads_back_in_order(suite: Path) -> None:
    results = read_suite(suite)
    names = [record.contender for record in results.records]
    assert names == ["gan", "autoencoder", "vae", "cyclegan", "real", "noise"]
    assert results.warnings == []


def test_bad_records_are_named_and_left_out(suite: Path) -> None:
    record_path(suite, "gan").unlink()
    change(record_path(suite, "autoencoder"), suite="another")
    record_path(suite, "vae").write_text('{"schema": 1, "run"')
    change(record_path(suite, "cyclegan"), schema=2)
    results = read_suite(suite)
    assert [record.contender for record in results.records] == ["real", "noise"]
    wording = (
        "gan-s0.*missing",
        "autoencoder-s0.*'another'",
        "vae-s0.*damaged",
        "cyclegan.*schema",
    )
    for warning, words in zip(results.warnings, wording, strict=True):
        assert re.search(words, warning)
        assert "\n" not in warning


@pytest.mark.parametrize(
    "fields", [{"run": "other"}, {"dataset": "mnist"}, {"contender": "stranger"}]
)
def test_a_record_of_another_place_is_foreign(suite: Path, fields: dict[str, str]) -> None:
    change(record_path(suite, "gan"), **fields)
    (warning,) = read_suite(suite).warnings
    assert re.search(f"foreign.*{next(iter(fields.values()))!r}", warning)


@pytest.mark.parametrize("how", ["altered", "cut short", "without its checksum"])
def test_a_record_that_is_not_what_was_written_is_refused(suite: Path, how: str) -> None:
    path = record_path(suite, "gan")
    text = path.read_text()
    content = json.loads(text)
    if how == "altered":
        content["scores"][0]["value"] = 0.1
        path.write_text(json.dumps(content))
    elif how == "cut short":
        path.write_text(text[: len(text) // 2])
    else:
        del content["sha256"]
        path.write_text(json.dumps(content))
    with pytest.raises(BadInput, match=r"gan-s0.*record\.json is damaged or foreign"):
        read_record(path.parent)
    assert next(r.contender for r in read_suite(suite).records) == "autoencoder"


def test_a_record_laid_out_anew_is_the_same(suite: Path) -> None:
    path = record_path(suite, "gan")
    record = read_record(path.parent)
    path.write_text(json.dumps(json.loads(path.read_text()), sort_keys=True))
    assert read_record(path.parent) == record


def test_a_disk_that_is_nearly_full_is_left_to_small_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=RESERVE))
    write_atomically(tmp_path / "small", b"1")
    with pytest.raises(OSError, match="No space left") as raised:
        write_atomically(tmp_path / "large", bytes(RESERVE + 1))
    assert raised.value.errno == errno.ENOSPC
    assert [path.name for path in tmp_path.iterdir()] == ["small"]


def test_a_disk_that_fills_up_while_a_file_is_written_is_named(tmp_path: Path, monkeypatch) -> None:
    def fail(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match=re.escape(f"No space left on device: '{tmp_path}/file'")):
        write_atomically(tmp_path / "file", b"x")
    assert not list(tmp_path.iterdir())


def test_a_folder_without_an_index_names_the_nearest_that_has_one(suite: Path) -> None:
    with pytest.raises(BadInput, match=re.escape(f"did you mean {suite}?")):
        read_suite(suite.parent / "siute")
    with pytest.raises(BadInput, match=re.escape(f"did you mean {suite}?")):
        read_suite(suite.parent)


def test_a_suite_without_readable_records_is_bad_input(suite: Path) -> None:
    for path in suite.glob("runs/*/record.json"):
        path.write_text("{}")
    with pytest.raises(BadInput, match="no readable record"):
        read_suite(suite)
    (suite / "suite.json").write_text("[]")
    with pytest.raises(BadInput, match="damaged"):
        read_suite(suite)


@pytest.mark.parametrize(
    "file", ["../secret.png", "/etc/passwd", "a/../../b.png", "C:\\a.png", "..\\b.png", "."]
)
def test_pictures_cannot_leave_their_run(file: str) -> None:
    with pytest.raises(ValidationError, match="no path inside"):
        Picture(file=file, rows=1, columns=1)


def test_run_names_and_links_cannot_leave_the_folder(suite: Path) -> None:
    run_folder = record_path(suite, "gan").parent
    for inside, outside in (("samples.png", suite / "s.png"), ("history.csv", suite / "h.csv")):
        (run_folder / inside).rename(outside)
        (run_folder / inside).symlink_to(outside)
    with pytest.raises(BadInput, match="outside"):
        read_picture(run_folder, Picture(file="samples.png", rows=8, columns=8))
    with pytest.raises(BadInput, match="outside"):
        read_history(run_folder)
    change(suite / "suite.json", runs=["../../elsewhere"])
    with pytest.raises(BadInput, match="no name of a folder"):
        read_suite(suite)


def test_pictures_come_apart_into_tiles(tmp_path: Path) -> None:
    tiles = np.arange(2 * 3 * 4 * 4, dtype=np.uint8).reshape(2, 3, 4, 4)
    Image.fromarray(tiles.swapaxes(1, 2).reshape(8, 12)).save(tmp_path / "grey.png")
    read = read_picture(tmp_path, Picture(file="grey.png", rows=2, columns=3))
    assert np.array_equal(read, np.repeat(tiles[..., None], 3, axis=-1))
    with pytest.raises(BadInput, match="equal tiles"):
        read_picture(tmp_path, Picture(file="grey.png", rows=3, columns=3))
    (tmp_path / "grey.png").write_bytes(b"no picture")
    with pytest.raises(BadInput, match="no readable picture"):
        read_picture(tmp_path, Picture(file="grey.png", rows=2, columns=3))


def test_a_damaged_history_is_bad_input(tmp_path: Path) -> None:
    assert read_history(tmp_path) is None
    (tmp_path / "history.csv").write_text("step,images\n1,many\n")
    with pytest.raises(BadInput, match="many"):
        read_history(tmp_path)
    (tmp_path / "history.csv").write_text("step\n1\n")
    with pytest.raises(BadInput, match="images"):
        read_history(tmp_path)


def test_a_run_that_is_not_ok_needs_a_reason() -> None:
    fields = {"run": "a", "suite": "s", "dataset": "d", "contender": "a", "family": "gan"}
    with pytest.raises(ValidationError, match="needs a reason"):
        Record(**fields, status="diverged")


def test_the_environment_names_versions_and_the_checkout(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = read_environment(gpu="H200")
    assert told.versions["numpy"] == np.__version__
    assert told.gpu == "H200"
    assert told.cores == os.cpu_count()

    def git(*command: str) -> None:
        identity = ("-c", "user.name=a", "-c", "user.email=a@b.c")
        subprocess.run(
            ["git", "-C", tmp_path, *identity, *command], check=True, capture_output=True
        )

    monkeypatch.setattr(environment_module, "ROOT", tmp_path)
    assert read_environment().git is None
    git("init")
    git("commit", "--allow-empty", "--message=first")
    clean = read_environment().git
    assert clean is not None
    assert not clean.dirty
    write_atomically(tmp_path / "results" / "table.csv", b"")
    assert read_environment().git == clean
    write_atomically(tmp_path / "model.py", b"")
    dirty = read_environment().git
    assert dirty is not None
    assert dirty.dirty


def test_nothing_here_imports_torch() -> None:
    names = ("records.store", "statistics", "reporting.comparison", "reporting.plots", "report")
    imports = ", ".join(f"benchmarks.{name}" for name in names)
    code = f"import sys, {imports}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
