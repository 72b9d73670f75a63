"""The user's own images: formats, layouts, the cache, and what is refused."""

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks.data import Dataset, load_dataset
from benchmarks.data.decoding import cache_folder, open_picture
from benchmarks.errors import BadInput

RNG = np.random.default_rng(0)


@pytest.fixture(autouse=True)
def data_cache(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("BENCHMARKS_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "decoded"


def load(folder: Path, **arguments) -> Dataset:
    return load_dataset(f"folder:{folder}", data_root=folder, **arguments)


def noise(height: int = 16, width: int = 16) -> np.ndarray:
    return RNG.integers(0, 256, (height, width, 3), dtype=np.uint8)


def write(folder: Path, count: int, value: int | None = None, suffix: str = ".png") -> Path:
    """Write noise, or images of one grey value that differ in their first pixel."""
    folder.mkdir(parents=True, exist_ok=True)
    for i in range(count):
        pixels = noise() if value is None else np.full((16, 16), value, dtype=np.uint8)
        pixels[0, 0] = i
        Image.fromarray(pixels).save(folder / f"{i:03}{suffix}")
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
    for part, count in (("train", 24), ("test", 5)):
        write(tmp_path / part / "x", count, value=10)
        write(tmp_path / part / "y", count, value=20)
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


def test_source_images_take_the_size_and_channels_of_the_target(tmp_path) -> None:
    write(tmp_path / "trainB", 36, value=9)
    (tmp_path / "trainA").mkdir()
    for i in range(16):
        Image.fromarray(noise(40, 30)).save(tmp_path / "trainA" / f"{i}.png")
    data = load(tmp_path)
    assert data.shape == data.source_train.images.shape[1:] == (1, 16, 16)
    assert (len(data.source_train), len(data.source_test)) == (8, 8)


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
    assert len(list(data_cache.iterdir())) == 2

    def refuse(path: Path) -> None:
        raise AssertionError(path)

    monkeypatch.setattr("benchmarks.data.decoding.open_picture", refuse)
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
    assert len(list(data_cache.iterdir())) == 2  # what was outdated is gone


def test_sizes_have_caches_of_their_own(tmp_path, data_cache) -> None:
    folder = write(tmp_path / "images", 36)
    assert load(folder, image_size=8).shape != load(folder).shape
    assert load(folder, image_size=8).shape == (3, 8, 8)
    assert len(list(data_cache.iterdir())) == 4


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
    for name in ("001.jpg", "002.jpg", "003.png"):
        assert str(folder / name) in message
    assert "and 1 more" in message


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
