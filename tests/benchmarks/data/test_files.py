"""Which files of a folder or an archive are pictures."""

import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from benchmarks.core.errors import BadInput
from benchmarks.data.files import list_files

NAMES = ("a.png", "b/c.JFIF", "b/deep/d.jpe", "b/e.webp", "f.avif")
OTHERS = ("dataset.json", "b/notes.txt", "b/more.txt", "LICENSE")
HIDDEN = (".git/a.png", "b/.d.png", "__MACOSX/a.png", "b/__MACOSX/._a.png")


def as_folder(place: Path) -> Path:
    for name in (*NAMES, *OTHERS, *HIDDEN):
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_bytes(name.encode())
    return place


def as_archive(place: Path) -> Path:
    with zipfile.ZipFile(place.with_suffix(".zip"), "w") as archive:
        archive.mkdir("empty")
        for name in (*HIDDEN, *OTHERS, *reversed(NAMES)):
            archive.writestr(name, name)
    return place.with_suffix(".zip")


@pytest.mark.parametrize("make", [as_folder, as_archive])
def test_pictures_are_found_and_the_others_counted(
    tmp_path: Path, make: Callable[[Path], Path]
) -> None:
    place = make(tmp_path / "set")
    files = list_files(place)
    assert files.names == NAMES
    assert files.left_out == {".json": 1, ".txt": 2, "": 1}
    assert files.describe_left_out() == "1 without a suffix, 1 .json, 2 .txt"
    for name in NAMES:
        opened = files.open(name)
        content = opened.read_bytes() if isinstance(opened, Path) else opened.read()
        assert content == name.encode()
    between = "/" if place.is_dir() else ":"
    assert files.describe("b/c.JFIF") == f"{place}{between}b/c.JFIF"


def test_links_are_followed_but_none_twice(tmp_path: Path) -> None:
    as_folder(tmp_path / "elsewhere")
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "once").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "set" / "twice").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "around").symlink_to(tmp_path / "set")
    assert list_files(tmp_path / "set").names == tuple(f"once/{name}" for name in NAMES)


def test_a_place_without_pictures_says_what_it_has(tmp_path: Path) -> None:
    (tmp_path / "a.txt").touch()
    (tmp_path / "a.png_").touch()
    with pytest.raises(BadInput, match=r"has no images \(\.apng, .*; it has 1 \.png_, 1 \.txt$"):
        list_files(tmp_path)


def test_an_entry_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("a.png", "one")
        with pytest.warns(UserWarning, match="Duplicate name"):
            archive.writestr("a.png", "other")
    with pytest.raises(BadInput, match=r"holds 'a\.png' 2 times"):
        list_files(tmp_path / "a.zip")


def test_suffixes_are_those_of_pillow(tmp_path: Path) -> None:
    Image.new("L", (4, 4)).save(tmp_path / "a.jfif")
    assert list_files(tmp_path).names == ("a.jfif",)
