"""The user's own images: formats, layouts, the cache, and what is refused."""

import errno
import hashlib
import json
import os
import re
import shutil
import struct
import zipfile
from pathlib import Path
from zlib import compress, crc32

import numpy as np
import pytest
from PIL import Image

from benchmarks.core.errors import BadInput
from benchmarks.core.pictures import open_picture
from benchmarks.data import Dataset, load_dataset
from benchmarks.data.cache import cache_folder

RNG = np.random.default_rng(0)


@pytest.fixture(autouse=True)
def data_cache(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("BENCHMARKS_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "decoded"


def load(folder: Path, **arguments) -> Dataset:
    return load_dataset(f"folder:{folder}", data_root=folder, **arguments)


def noise(height: int = 16, width: int = 16) -> np.ndarray:
    return RNG.integers(0, 256, (height, width, 3), dtype=np.uint8)


def write(
    folder: Path, count: int, value: int | None = None, suffix: str = ".png", first: int = 0
) -> Path:
    """Write noise, or images of one grey value that differ in their first pixel."""
    folder.mkdir(parents=True, exist_ok=True)
    for i in range(count):
        pixels = noise() if value is None else np.full((16, 16), value, dtype=np.uint8)
        pixels[0, 0] = first + i
        Image.fromarray(pixels).save(folder / f"{i:03}{suffix}", lossless=True)
    return folder


def all_images(data: Dataset) -> np.ndarray:
    splits = (data.train, data.validation, data.test, data.hidden_pairs)
    return np.concatenate([split.images for split in splits])


def opened(path: Path) -> np.ndarray:
    return np.asarray(open_picture(path))


def test_16_bit_grey_is_scaled_and_not_clipped(tmp_path) -> None:
    levels = np.linspace(0, 65535, 256).round().astype(np.uint16).reshape(16, 16)
    Image.fromarray(levels).save(tmp_path / "a.png")
    Image.fromarray(levels).save(tmp_path / "a.tif")
    header = b"P5 16 16 65535\n"
    (tmp_path / "a.pgm").write_bytes(header + levels.astype(">u2").tobytes())
    for name in ("a.png", "a.tif", "a.pgm"):
        np.testing.assert_array_equal(opened(tmp_path / name), np.arange(256).reshape(16, 16))


def test_transparent_pixels_are_laid_on_white(tmp_path) -> None:
    colour = np.zeros((2, 2, 4), dtype=np.uint8)
    colour[0, 0] = (255, 0, 0, 255)
    colour[0, 1] = (255, 0, 0, 0)
    colour[1, 0] = (0, 0, 0, 51)
    Image.fromarray(colour).save(tmp_path / "a.png")
    expected = [[[255, 0, 0], [255] * 3], [[204] * 3, [255] * 3]]
    np.testing.assert_array_equal(opened(tmp_path / "a.png"), expected)
    Image.fromarray(colour).convert("LA").save(tmp_path / "grey.png")
    assert opened(tmp_path / "grey.png")[..., 0].tolist() == [[76, 255], [204, 255]]


def test_palettes_become_colours(tmp_path) -> None:
    picture = Image.new("P", (2, 1))
    picture.putpalette([10, 20, 30, 200, 100, 50])
    picture.putdata([0, 1])
    picture.save(tmp_path / "a.png")
    assert opened(tmp_path / "a.png").tolist() == [[[10, 20, 30], [200, 100, 50]]]
    picture.save(tmp_path / "b.png", transparency=0)
    assert opened(tmp_path / "b.png").tolist() == [[[255, 255, 255], [200, 100, 50]]]


def test_cmyk_becomes_colour(tmp_path) -> None:
    Image.new("CMYK", (2, 2), (0, 255, 255, 0)).save(tmp_path / "a.tif")
    assert opened(tmp_path / "a.tif")[0, 0].tolist() == [255, 0, 0]


def test_exif_orientation_is_applied(tmp_path) -> None:
    pixels = np.zeros((8, 16, 3), dtype=np.uint8)
    pixels[:, :8] = 255  # white on the left; turned clockwise, on top
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(pixels).save(tmp_path / "a.jpg", exif=exif, quality=100)
    turned = opened(tmp_path / "a.jpg")
    assert turned.shape == (16, 8, 3)
    assert turned[:7].min() > 240
    assert turned[9:].max() < 15


def test_the_first_frame_of_an_animation_counts(tmp_path) -> None:
    frames = [Image.new("L", (4, 4), value) for value in (40, 200)]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    assert opened(tmp_path / "a.gif").max() == 40


@pytest.mark.parametrize(
    "suffix", ["bmp", "gif", "jpeg", "JPG", "png", "ppm", "tif", "tiff", "webp"]
)
def test_every_suffix_is_read(tmp_path, suffix) -> None:
    data = load(write(tmp_path / "images", 36, value=90, suffix=f".{suffix}"))
    assert data.shape[1:] == (16, 16)
    assert np.abs(all_images(data)[..., 8:, 8:].astype(int) - 90).max() <= 3


def test_equal_square_images_keep_their_size_and_grey_ones_one_channel(tmp_path) -> None:
    data = load(write(tmp_path / "images", 36, value=7))
    assert data.shape == (1, 16, 16)
    assert [len(data.train), len(data.validation), len(data.test)] == [14, 2, 8]
    assert data.source == "edges"
    assert (data.class_names, data.train.labels) == (None, None)


def test_a_mix_of_sizes_becomes_64_and_one_colour_image_makes_three_channels(tmp_path) -> None:
    folder = write(tmp_path / "images", 36, value=7)
    Image.fromarray(noise(70, 90)).save(folder / "large.png")
    assert load(folder).shape == (3, 64, 64)


def test_large_images_become_64(tmp_path) -> None:
    folder = tmp_path / "images"
    folder.mkdir()
    for i in range(36):
        Image.fromarray(noise(80, 80)).save(folder / f"{i}.png")
    assert load(folder).shape == (3, 64, 64)


def test_size_and_channels_as_asked(tmp_path) -> None:
    folder = write(tmp_path / "images", 36)
    assert load(folder, image_size=8, channels=1).shape == (1, 8, 8)
    assert load(folder, channels=1).shape == (1, 16, 16)


def test_the_longer_side_is_cropped_about_its_centre(tmp_path) -> None:
    folder = tmp_path / "images"
    folder.mkdir()
    for i in range(36):
        pixels = np.zeros((16, 48), dtype=np.uint8)
        pixels[:, 16:32] = 100 + i
        Image.fromarray(pixels).save(folder / f"{i}.png")
    images = all_images(load(folder, image_size=8))
    assert set(images[..., 2:-2].ravel()) <= set(range(100, 136))
    assert len(images) == 36 - 4  # all but the images that became sources


def test_class_folders_become_labels(tmp_path) -> None:
    for value, name in ((200, "b"), (50, "a"), (120, "c é")):
        write(tmp_path / "images" / name / "deeper", 24, value=value)
    data = load(tmp_path / "images")
    assert data.class_names == ("a", "b", "c é")
    for split in (data.train, data.test, data.hidden_pairs):
        assert split.labels.dtype == np.int64
        values = np.array([50, 200, 120])[split.labels]
        np.testing.assert_array_equal(split.images[:, 0, 8, 8], values)


def test_train_and_test_with_class_folders(tmp_path) -> None:
    for part, count, first in (("train", 24, 0), ("test", 5, 24)):
        write(tmp_path / part / "x", count, value=10, first=first)
        write(tmp_path / part / "y", count, value=20, first=first)
    data = load(tmp_path)
    assert [len(data.train), len(data.validation), len(data.test)] == [28, 4, 10]
    assert sorted(data.test.labels) == [0] * 5 + [1] * 5
    np.testing.assert_array_equal(data.test.images[:, 0, 8, 8], 10 * (data.test.labels + 1))


def test_flat_test_images_leave_no_labels(tmp_path) -> None:
    write(tmp_path / "train" / "x", 24)
    write(tmp_path / "train" / "y", 24)
    write(tmp_path / "test", 8)
    data = load(tmp_path)
    assert (data.class_names, data.train.labels, data.test.labels) == (None, None, None)


def test_cyclegan_layout(tmp_path) -> None:
    for name, count, value in (
        ("trainA", 20, 1),
        ("testA", 9, 2),
        ("trainB", 36, 3),
        ("testB", 8, 4),
    ):
        write(tmp_path / name, count, value=50 * value)
    data = load(tmp_path)
    assert data.source == "folder A"
    assert data.hidden_pairs is None
    for split, count, value in (
        (data.train, 21, 150),
        (data.validation, 3, 150),
        (data.test, 8, 200),
        (data.source_train, 20, 50),
        (data.source_test, 9, 100),
    ):
        assert len(split) == count
        assert set(split.images[:, 0, 8, 8]) == {value}
    negative = load(tmp_path, source="negative")
    assert negative.fingerprint == data.fingerprint
    assert negative.hidden_pairs is not None


@pytest.mark.parametrize("grey", ["A", "B"])
def test_source_images_take_the_targets_size_and_both_the_colours_of_one(tmp_path, grey) -> None:
    colour = "B" if grey == "A" else "A"
    write(tmp_path / f"train{grey}", 36, value=9)
    write(tmp_path / f"train{colour}", 36)
    data = load(tmp_path)
    assert data.shape == data.source_train.images.shape[1:] == (3, 16, 16)
    assert (len(data.source_train), len(data.source_test)) == (18, 18)
    own, other = (data.train, data.source_train)[:: 1 if grey == "B" else -1]
    assert (own.images == own.images[:, :1]).all()
    assert not (other.images == other.images[:, :1]).all()
    assert "grey images of one domain are taken as colour" in data.layout
    as_asked = load(tmp_path, channels=1)
    assert as_asked.shape == as_asked.source_test.images.shape[1:] == (1, 16, 16)
    assert "colour" not in as_asked.layout


def test_source_images_take_the_size_of_the_target(tmp_path) -> None:
    write(tmp_path / "trainB", 36)
    (tmp_path / "trainA").mkdir()
    for i in range(16):
        Image.fromarray(noise(40, 30)).save(tmp_path / "trainA" / f"{i}.png")
    data = load(tmp_path)
    assert data.shape == data.source_train.images.shape[1:] == (3, 16, 16)


def test_what_is_no_image_is_skipped(tmp_path) -> None:
    folder = write(tmp_path / "images", 36, value=7)
    for name in ("README.md", ".DS_Store", "Thumbs.db", ".hidden.png", "labels.csv"):
        (folder / name).write_bytes(b"no image")
    write(folder / ".git", 1)
    assert load(folder).fingerprint == load(write(tmp_path / "plain", 36, value=7)).fingerprint


def test_unicode_names(tmp_path) -> None:
    folder = write(tmp_path / "bilder ä 画像", 36)
    (folder / "000.png").rename(folder / "été 🙂.png")
    assert len(load(folder).train) == 14


def test_links_are_followed_but_in_no_circle(tmp_path) -> None:
    folder = tmp_path / "images"
    write(folder / "a", 18, value=10)
    (folder / "b").symlink_to(write(tmp_path / "elsewhere", 18, value=20))
    (folder / "a" / "loop").symlink_to(folder)
    data = load(folder)
    assert data.class_names == ("a", "b")
    assert [len(data.train), len(data.test)] == [14, 8]


def test_the_second_time_nothing_is_decoded(tmp_path, monkeypatch, data_cache) -> None:
    folder = write(tmp_path / "images", 36)
    first = load(folder)
    assert isinstance(first.train.images, np.memmap)
    assert not first.train.images.flags.writeable
    assert len(list(data_cache.glob("*.npy"))) == 2

    def refuse(path: Path) -> None:
        raise AssertionError(path)

    monkeypatch.setattr("benchmarks.core.pictures.open_picture", refuse)
    second = load(folder)
    assert isinstance(second.train.images, np.memmap)
    assert (second.fingerprint, second.source_fingerprint) == (
        first.fingerprint,
        first.source_fingerprint,
    )


def test_the_cache_is_renewed_when_a_file_changes(tmp_path, data_cache) -> None:
    folder = write(tmp_path / "images", 36, value=7)
    before = load(folder).fingerprint
    status = (folder / "000.png").stat()
    Image.fromarray(np.full((16, 16), 99, dtype=np.uint8)).save(folder / "000.png")
    os.utime(folder / "000.png", ns=(status.st_atime_ns, status.st_mtime_ns + 1))
    after = load(folder)
    assert after.fingerprint != before
    assert len(list(data_cache.glob("*.npy"))) == 2  # what was outdated is gone


def test_sizes_have_caches_of_their_own(tmp_path, data_cache) -> None:
    folder = write(tmp_path / "images", 36)
    assert load(folder, image_size=8).shape != load(folder).shape
    assert load(folder, image_size=8).shape == (3, 8, 8)
    assert len(list(data_cache.glob("*.npy"))) == 4


def test_a_damaged_cache_is_decoded_anew(tmp_path, data_cache) -> None:
    folder = write(tmp_path / "images", 36)
    before = load(folder).fingerprint
    for file in data_cache.iterdir():
        file.write_bytes(file.read_bytes()[:200])
    assert load(folder).fingerprint == before


def test_membership_does_not_depend_on_file_names(tmp_path) -> None:
    folder = write(tmp_path / "images", 36)
    before = load(folder).fingerprint
    for i, file in enumerate(sorted(folder.iterdir())):
        file.rename(folder / f"{35 - i:03}x.png")
    assert load(folder).fingerprint == before


def test_a_cache_that_cannot_be_written(tmp_path, monkeypatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("BENCHMARKS_CACHE", str(tmp_path / "file"))
    with pytest.raises(BadInput, match="choose another folder by the variable BENCHMARKS_CACHE"):
        load(write(tmp_path / "images", 36))


def test_cache_folder_without_the_variable(monkeypatch) -> None:
    monkeypatch.delenv("BENCHMARKS_CACHE")
    assert "generative-benchmarks" in cache_folder().parts


def refusal(folder: Path | str, cache: Path) -> str:
    with pytest.raises(BadInput) as caught:
        load_dataset(f"folder:{folder}", data_root=Path("/nonexistent"))
    assert "\n" not in str(caught.value)
    assert not cache.exists() or not list(cache.iterdir())
    return str(caught.value)


def test_broken_images_are_named(tmp_path, data_cache) -> None:
    folder = write(tmp_path / "images", 40, suffix=".jpg")
    (folder / "001.jpg").write_bytes((folder / "001.jpg").read_bytes()[:400])
    (folder / "002.jpg").write_bytes(b"")
    (folder / "003.png").write_text("no picture")
    (folder / "004.png").symlink_to(folder / "absent.png")
    message = refusal(folder, data_cache)
    assert message.startswith("4 images cannot be read: ")
    reasons = ("runcated", "an empty file", "its content is none of", "there is no such file")
    for name, reason in zip(("001.jpg", "002.jpg", "003.png", "004.png"), reasons, strict=True):
        assert re.search(rf"{folder / name} \([^(]*{reason}", message)


def test_of_very_many_broken_images_the_first_are_named(tmp_path, data_cache) -> None:
    folder = write(tmp_path / "images", 40)
    for i in range(30):
        (folder / f"{i:03}.png").write_bytes(b"")
    message = refusal(folder, data_cache)
    assert message.startswith("30 images cannot be read: ")
    assert message.count("an empty file") == 20
    assert "and 10 more" in message


@pytest.mark.parametrize("times", [1.5, 3])
def test_a_decompression_bomb_is_refused(tmp_path, monkeypatch, data_cache, times) -> None:
    folder = write(tmp_path / "images", 36)
    Image.new("L", (100, int(100 * times))).save(folder / "bomb.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10_000)
    message = refusal(folder, data_cache)
    assert "bomb.png" in message
    assert "decompression bomb" in message


def test_levels_without_a_known_white_are_refused(tmp_path, data_cache) -> None:
    folder = write(tmp_path / "images", 36)
    Image.fromarray(np.ones((16, 16), dtype=np.float32)).save(folder / "float.tif")
    assert "float.tif (floating-point" in refusal(folder, data_cache)


def test_folders_that_cannot_work(tmp_path, data_cache) -> None:
    (tmp_path / "empty").mkdir()
    assert "has no images" in refusal(tmp_path / "empty", data_cache)
    write(tmp_path / "few", 35)
    assert "only 35, at least 36" in refusal(tmp_path / "few", data_cache)
    write(tmp_path / "half" / "trainA", 1)
    assert "but no trainB/" in refusal(tmp_path / "half", data_cache)
    write(tmp_path / "tested" / "test", 1)
    assert "but no train/" in refusal(tmp_path / "tested", data_cache)
    write(tmp_path / "source" / "trainA", 3)
    write(tmp_path / "source" / "trainB", 36)
    assert "trainA: images: only 3" in refusal(tmp_path / "source", data_cache)
    write(tmp_path / "strange" / "train" / "a", 36)
    write(tmp_path / "strange" / "test" / "b", 8)
    assert "class 'b'" in refusal(tmp_path / "strange", data_cache)


def test_paths_that_are_no_folder(tmp_path, data_cache) -> None:
    (tmp_path / "pictures").mkdir()
    (tmp_path / "file.png").touch()
    near = refusal(tmp_path / "picturs" / "deeper", data_cache)
    assert f"did you mean {tmp_path / 'pictures'}?" in near
    assert "has no 'xyz'" in refusal(tmp_path / "xyz", data_cache)
    assert "is a file" in refusal(tmp_path / "file.png", data_cache)
    assert "without a path" in refusal("", data_cache)


def test_folder_a_needs_the_layout(tmp_path) -> None:
    with pytest.raises(BadInput, match="has no trainA/ and trainB/"):
        load(write(tmp_path / "images", 36), source="folder A")


@pytest.mark.parametrize(
    ("names", "sizes", "layout"),
    [
        (("Train", "TEST"), (28, 4, 12), "Train/ for training and validation, TEST/ for testing"),
        (("train", "val"), (28, 4, 12), "train/ for training and validation, val/ for testing"),
        (
            ("TRAIN", "test", "Valid"),
            (30, 12, 12),
            "TRAIN/ for training, Valid/ for validation, test/ for testing",
        ),
    ],
)
def test_split_folders_in_any_case(tmp_path, names, sizes, layout) -> None:
    for index, name in enumerate(names):
        value = 10 * (index + 1)
        write(tmp_path / name, 12 if index else 48, value=value)
    data = load(tmp_path)
    assert (len(data.train), len(data.validation), len(data.test)) == sizes
    assert set(data.train.images[..., 8, 8].ravel()) == {10}
    assert set(data.test.images[..., 8, 8].ravel()) == {20}
    assert set(data.validation.images[..., 8, 8].ravel()) == {10 if len(names) == 2 else 30}
    assert data.layout == f"{layout}; no classes"


@pytest.mark.parametrize("name", ["validation", "VAL"])
def test_cyclegan_layout_in_any_case(tmp_path, name) -> None:
    for index, part in enumerate(("TrainA", f"{name}A", "trainb", f"{name}b")):
        write(tmp_path / part, 36, value=40 * (index + 1))
    data = load(tmp_path)
    splits = (data.source_train, data.source_test, data.train, data.test)
    assert [set(s.images[..., 8, 8].ravel()) for s in splits] == [{40}, {80}, {120}, {160}]
    assert data.layout == (
        f"trainb/ for training and validation, {name}b/ for testing; no classes; source: "
        f"TrainA/ for training, {name}A/ for testing; no classes"
    )


def test_a_folder_of_one_folder_is_read_as_that_one(tmp_path) -> None:
    write(tmp_path / "set" / "deeper" / "train", 36, value=10)
    write(tmp_path / "set" / "deeper" / "test", 8, value=20)
    (tmp_path / "set" / "README.txt").touch()
    data = load(tmp_path / "set")
    assert [len(data.train), len(data.test)] == [21, 8]
    assert data.layout.startswith("deeper/train/ for training and validation, deeper/test/ for ")
    assert data.layout.endswith("; files left out: 1 .txt")


@pytest.mark.parametrize(
    ("folders", "reason"),
    [
        (("train", "test", "extra"), "has test/, train/, and images beside: extra/; move them"),
        (("train", ""), "has train/, and images beside: some in no folder; move them"),
        (("train", "Train"), "has Train/ and train/ for one split; keep one"),
        (("train", "val", "valid", "test"), "has val/ and valid/ for one split; keep one"),
        (("train", "trainA", "trainB"), "has train/, trainA/, trainB/, but no single layout"),
        (("val", "test"), "has test/, val/, but no train/"),
        (("trainA", "testB"), "has testB/, trainA/, but no trainB/"),
    ],
)
def test_what_may_be_read_in_two_ways_is_refused(tmp_path, data_cache, folders, reason) -> None:
    for folder in folders:
        write(tmp_path / "set" / folder, 40)
    assert reason in refusal(tmp_path / "set", data_cache)


def test_what_lies_beside_split_folders_and_is_no_image_is_counted(tmp_path) -> None:
    write(tmp_path / "train", 36)
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "paper.pdf").touch()
    assert load(tmp_path).layout.endswith("; files left out: 1 .pdf")


def test_pictures_of_two_splits_stay_in_one(tmp_path) -> None:
    """Equal once they are decoded and resized, whatever their files are."""
    pictures = [noise(32, 32) for _ in range(80)]
    for name, chosen in (("train", range(80)), ("val", range(60, 72)), ("test", range(64, 80))):
        (tmp_path / name).mkdir()
        for i in chosen:
            suffix = "png" if name == "train" else "bmp"
            Image.fromarray(pictures[i]).save(tmp_path / name / f"{i}.{suffix}")
    data = load(tmp_path, image_size=16)
    assert "8 of val/ left out: they stand in other splits too" in data.layout
    assert "20 of train/ left out: they stand in other splits too" in data.layout
    assert len(data.test) == 16
    check_apart(data)


def check_apart(data: Dataset) -> None:
    splits = (data.train, data.validation, data.test, data.hidden_pairs)
    contents = [{image.tobytes() for image in split.images} for split in splits]
    assert sum(map(len, contents)) == len(set().union(*contents))


def test_copies_of_an_image_are_not_cut_apart(tmp_path) -> None:
    folder = tmp_path / "images"
    for copy in range(4):
        write(folder / f"{copy}", 20, value=5)
    data = load(folder)
    check_apart(data)
    assert sum(map(len, (data.train, data.validation, data.test, data.hidden_pairs))) < 80
    write(tmp_path / "black", 1, value=0)
    for i in range(40):
        shutil.copy(tmp_path / "black" / "000.png", tmp_path / "black" / f"copy{i}.png")
    with pytest.raises(BadInput, match="most images are copies of one"):
        load(tmp_path / "black")


def test_too_few_training_images_of_their_own(tmp_path) -> None:
    write(tmp_path / "train", 40, value=7)
    write(tmp_path / "test", 20, value=7)
    with pytest.raises(BadInput, match="training images of its own: only 20, at least 36"):
        load(tmp_path)


def test_classes_that_lack_test_images(tmp_path) -> None:
    for name, value in (("a", 10), ("b", 20), ("c", 30)):
        write(tmp_path / "train" / name, 20, value=value)
    write(tmp_path / "test" / "c", 10, value=40)
    data = load(tmp_path)
    assert data.class_names == ("a", "b", "c")
    assert set(data.test.labels) == {2}
    assert "3 classes: a, b, c" in data.layout


def archive(folder: Path) -> Path:
    """Archive a folder beside it, under its own name, as file managers do."""
    place = folder.with_suffix(".zip")
    with zipfile.ZipFile(place, "w") as made:
        for file in sorted(folder.rglob("*")):
            made.write(file, file.relative_to(folder.parent))
    return place


def test_an_archive_is_read_as_the_folder(tmp_path) -> None:
    for part, count, value in (("Train", 24, 10), ("Test", 5, 100)):
        for label, name in enumerate("xy"):
            write(tmp_path / "set" / part / name, count, value=value + label)
    zipped, plain = load(archive(tmp_path / "set")), load(tmp_path / "set")
    assert zipped.fingerprint == plain.fingerprint
    assert zipped.source_fingerprint == plain.source_fingerprint
    assert zipped.class_names == ("x", "y")
    assert zipped.layout.replace("set/", "") == plain.layout


def write_stylegan(folder: Path, labels: object) -> Path:
    """Write what the dataset_tool of StyleGAN2-ADA, StyleGAN3 and EDM makes of 60 images."""
    for shelf in range(2):
        write(folder / f"{shelf:05}", 30, value=100 + shelf)
        for i, file in enumerate(sorted((folder / f"{shelf:05}").iterdir())):
            file.rename(file.with_name(f"img{30 * shelf + i:08}.png"))
    (folder / "dataset.json").write_text(json.dumps({"labels": labels}))
    return folder


@pytest.mark.parametrize("zipped", [False, True])
def test_datasets_of_stylegan(tmp_path, zipped) -> None:
    names = [f"{i // 30:05}/img{i:08}.png" for i in range(60)]
    folder = write_stylegan(tmp_path / "set", [[name, i % 30 % 11] for i, name in enumerate(names)])
    data = load(archive(folder) if zipped else folder)
    assert data.class_names == tuple(map(str, range(11)))
    for split in (data.train, data.test):
        np.testing.assert_array_equal(split.images[:, 0, 0, 0] % 11, split.labels)
    assert "11 classes by dataset.json: 0, 1, 2, 3, 4, 5 and 5 more" in data.layout
    assert "left out" not in data.layout
    (folder / "dataset.json").write_text('{"labels": null}')
    data = load(archive(folder) if zipped else folder)
    assert (data.class_names, data.train.labels) == (None, None)
    assert "no classes" in data.layout


@pytest.mark.parametrize(
    ("labels", "reason"),
    [
        (
            [["00000/img00000000.png", 1]],
            "(KeyError: '00000/img00000001.png'): it needs a class number",
        ),
        ([[f"{i // 30:05}/img{i:08}.png", 0.5] for i in range(60)], "it needs a class number"),
        ("many", "it needs a class number"),
    ],
)
def test_labels_that_cannot_be_used(tmp_path, data_cache, labels, reason) -> None:
    folder = write_stylegan(tmp_path / "set", labels)
    message = refusal(folder, data_cache)
    assert reason in message
    assert str(folder / "dataset.json") in message


def test_a_broken_entry_of_an_archive_is_named(tmp_path, data_cache) -> None:
    place = archive(write(tmp_path / "set", 40))
    content = bytearray(place.read_bytes())
    with zipfile.ZipFile(place) as made:
        start = made.getinfo("set/007.png").header_offset
    content[start + 60 : start + 90] = bytes(30)
    place.write_bytes(content)
    message = refusal(place, data_cache)
    assert message.startswith(f"1 image cannot be read: {place}:set/007.png (Bad CRC-32 ")


def test_content_counts_and_not_the_time_of_a_file(tmp_path) -> None:
    folder = tmp_path / "images"
    folder.mkdir()
    for level in (0, 200):
        for i in range(36):
            Image.fromarray(noise() % 20 + level).save(folder / f"{i}.bmp")
            os.utime(folder / f"{i}.bmp", (0, 0))
        assert level <= load(folder).train.images.mean() < level + 20


def test_files_are_not_read_again_until_they_change(tmp_path, monkeypatch, data_cache) -> None:
    monkeypatch.setattr("benchmarks.data.cache.SETTLED", 0)
    folder = write(tmp_path / "images", 36)
    place, first = archive(folder), load(folder)
    zipped = load(place)
    read = list[str]()
    digest = hashlib.file_digest

    def spy(file, name):
        read.append(Path(file.name).name)
        return digest(file, name)

    monkeypatch.setattr("benchmarks.data.cache.hashlib.file_digest", spy)
    assert (load(folder).fingerprint, load(place).fingerprint) == (first.fingerprint,) * 2
    assert zipped.fingerprint == first.fingerprint
    assert not read
    (folder / "003.png").write_bytes((folder / "004.png").read_bytes())
    assert load(folder).fingerprint != first.fingerprint
    assert read == ["003.png"]


def test_large_arrays_are_files_of_the_cache(tmp_path, monkeypatch, data_cache) -> None:
    folder = write(tmp_path / "images", 40)
    sources = {source: load(folder, source=source) for source in ("edges", "blend")}
    monkeypatch.setattr("benchmarks.data.cache.IN_MEMORY", 1000)
    for source, small in sources.items():
        data = load(folder, source=source)
        assert (data.fingerprint, data.source_fingerprint) == (
            small.fingerprint,
            small.source_fingerprint,
        )
        splits = (data.train, data.test, data.source_train, data.source_test, data.hidden_pairs)
        assert all(isinstance(split.images, np.memmap) for split in splits)
    made = len(list(data_cache.glob("*.npy")))
    load(folder)
    assert len(list(data_cache.glob("*.npy"))) == made
    write(folder, 41)
    load(folder, source="negative")
    assert len(list(data_cache.glob("*.npy"))) == 4  # what was made of earlier content is gone


def write_png(path: Path, levels: np.ndarray, kind: int, extra: bytes = b"") -> None:
    """Write 16-bit levels [H, W, C] as a PNG of a colour type, with more chunks."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", crc32(name + data))

    height, width = levels.shape[:2]
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 16, kind, 0, 0, 0))
    rows = b"".join(b"\0" + row.tobytes() for row in levels.astype(">u2"))
    data = chunk(b"IDAT", compress(rows)) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + header + (chunk(*extra) if extra else b"") + data)


def test_16_bit_colour_is_rounded(tmp_path) -> None:
    levels = RNG.integers(0, 65536, (8, 9, 4), dtype=np.uint16)
    levels[..., 3] = 65535
    rounded = np.rint(levels / 257).astype(np.uint8)
    assert (rounded != levels >> 8).any()
    write_png(tmp_path / "rgb.png", levels[..., :3], 2)
    write_png(tmp_path / "rgba.png", levels, 6)
    write_png(tmp_path / "la.png", levels[..., [0, 3]], 4)
    header = b"P6 9 8 65535\n"
    (tmp_path / "rgb.ppm").write_bytes(header + levels[..., :3].astype(">u2").tobytes())
    for order in "<>":
        write_tiff(tmp_path / f"{ord(order)}.tif", levels[..., :3], order)
    for file in tmp_path.iterdir():
        expected = rounded[..., [0, 0, 0]] if file.stem == "la" else rounded[..., :3]
        np.testing.assert_array_equal(opened(file), expected, err_msg=file.name)


def write_tiff(path: Path, levels: np.ndarray, order: str) -> None:
    """Write 16-bit colours as an uncompressed TIFF of a byte order."""
    height, width, bands = levels.shape
    count, offset = 9, 8 + 2 + 9 * 12 + 4
    tags = [(256, 3, 1, width), (257, 3, 1, height), (258, 3, bands, offset), (259, 3, 1, 1)]
    tags += [(262, 3, 1, 2), (273, 4, 1, offset + 6), (277, 3, 1, bands), (278, 3, 1, height)]
    tags += [(279, 4, 1, levels.nbytes)]
    content = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}IH", 8, count)
    for tag, kind, number, value in tags:
        short = kind == 3 and number == 1
        form = f"{order}HHI{'HH' if short else 'I'}"
        content += struct.pack(form, tag, kind, number, value, *([0] if short else []))
    content += struct.pack(f"{order}I3H", 0, 16, 16, 16)
    path.write_bytes(content + levels.astype(f"{order}u2").tobytes())


def test_16_bit_colour_that_is_transparent_is_laid_on_white(tmp_path) -> None:
    levels = np.full((2, 2, 4), 1000, dtype=np.uint16)
    levels[0, 0, 3] = 65535
    levels[1, 1] = 0
    write_png(tmp_path / "a.png", levels, 6)
    assert opened(tmp_path / "a.png")[..., 0].tolist() == [[4, 251], [251, 255]]
    levels[0, 1] = 65535
    write_png(tmp_path / "b.png", levels[..., :3], 2, (b"tRNS", struct.pack(">HHH", 0, 0, 0)))
    assert opened(tmp_path / "b.png")[..., 0].tolist() == [[4, 255], [4, 255]]


def test_a_full_cache_is_one_line(tmp_path, monkeypatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("benchmarks.data.cache.os.posix_fallocate", refuse)
    folder = write(tmp_path / "images", 36)
    with pytest.raises(BadInput, match=r"\(No space left on device\): choose .* BENCHMARKS_CACHE"):
        load(folder)
