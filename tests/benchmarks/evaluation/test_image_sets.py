"""Images that other programs made: what is read, and what is refused."""

import io
import os
import stat
import struct
import tracemalloc
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from benchmarks.core import archives
from benchmarks.core.errors import BadInput
from benchmarks.core.pictures import open_picture
from benchmarks.core.tensors import quantize
from benchmarks.data.files import picture_suffixes
from benchmarks.data.resizing import fit_picture
from benchmarks.evaluation.feature_statistics import FeatureStatistics
from benchmarks.evaluation.image_sets import ArraySet, ImageSet, open_image_set
from benchmarks.evaluation.image_source import ImageSource

GREY = np.random.default_rng(0).integers(0, 256, (70, 8, 8), dtype=np.uint8)
COLOUR = np.random.default_rng(1).integers(0, 256, (70, 3, 8, 8), dtype=np.uint8)
UNIT = np.random.default_rng(2).random((70, 1, 8, 8), dtype=np.float32)


def picture(pixels: np.ndarray, kind: str = "PNG") -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind)
    return file.getvalue()


def write_folder(folder: Path, images: np.ndarray) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for number, pixels in enumerate(images):
        tall = pixels if pixels.ndim == 2 else pixels.transpose(1, 2, 0)
        (folder / f"{number:03}.png").write_bytes(picture(tall))
    return folder


def write_zip(path: Path, entries: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", method, compresslevel=1) as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    return path


def save(path: Path, array: np.ndarray) -> Path:
    np.save(path, array, allow_pickle=array.dtype == object)
    return path


def opened(place: Path | np.ndarray, **options: Any) -> ImageSet:
    images = open_image_set(ImageSource(place, **options))
    assert isinstance(images, ImageSet)
    return images


def read_images(place: Path | np.ndarray, **options: Any) -> np.ndarray:
    return np.concatenate(list(opened(place, **options).batches(32)))


def fault(array: np.ndarray) -> BadInput:
    with pytest.raises(BadInput) as caught:
        read_images(array)
    return caught.value


def refusal(place: Path, **options: object) -> str:
    """Return the message on images that cannot be read: one line that names their place."""
    with pytest.raises(BadInput) as caught:
        read_images(place, **options)
    message = str(caught.value)
    assert "\n" not in message
    assert str(place) in message or "--" in message
    return message


# Folders


def test_a_folder_is_read_by_path_whatever_its_classes_and_formats(tmp_path) -> None:
    write_folder(tmp_path / "a" / "deep", GREY[:30])
    write_folder(tmp_path / "b", GREY[30:69])
    (tmp_path / "c.BMP").write_bytes(picture(GREY[69], "BMP"))
    (tmp_path / "notes.txt").write_text("no picture")
    (tmp_path / "b" / ".hidden.png").write_bytes(b"no picture")
    np.testing.assert_array_equal(read_images(tmp_path), GREY[:, None])
    assert opened(tmp_path).notes == [f"{tmp_path}: left out 1 .txt"]


def test_every_suffix_that_counts_is_read(tmp_path) -> None:
    write_folder(tmp_path, GREY)
    grey, suffixes = Image.fromarray(np.full((8, 8), 200, np.uint8)), sorted(picture_suffixes())
    for suffix in suffixes:
        grey.save(tmp_path / f"x{suffix}")
    images = read_images(tmp_path)
    assert len(images) == 70 + len(suffixes)
    assert np.abs(images[70:].astype(int) - 200).max() <= 2


def test_one_picture_in_colour_makes_all_colour(tmp_path) -> None:
    write_folder(tmp_path, GREY)
    (tmp_path / "999.png").write_bytes(picture(COLOUR[0].transpose(1, 2, 0)))
    images = read_images(tmp_path)
    np.testing.assert_array_equal(images[:70], GREY[:, None].repeat(3, axis=1))
    np.testing.assert_array_equal(images[70], COLOUR[0])


def test_a_folder_is_refused_in_one_line(tmp_path) -> None:
    folder = write_folder(tmp_path / "few", GREY[:63])
    assert "holds 63 images; scores need at least 64" in refusal(folder)

    folder = write_folder(tmp_path / "mixed", GREY)
    (folder / "100.png").write_bytes(picture(np.zeros((9, 9), np.uint8)))
    message = refusal(folder)
    assert "mixed sizes" in message
    assert "000.png has 8 × 8 pixels" in message
    assert "100.png 9 × 9" in message

    (folder / "100.png").write_bytes(picture(np.zeros((8, 9), np.uint8)))
    assert "100.png: 9 × 8 pixels, not square; add --resize 8" in refusal(folder)

    (folder / "100.png").write_bytes(picture(GREY[0])[:60])
    assert "100.png (image file is truncated)" in refusal(folder)

    (tmp_path / "empty").mkdir()
    assert "has no images (.apng, " in refusal(tmp_path / "empty")


def test_a_picture_is_refused_by_its_header_alone(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 2000 * 2000)
    folder = write_folder(tmp_path, GREY)
    for side, reason in ((1100, "a side has 4 to 1024"), (2100, "bomb"), (3000, "bomb")):
        header = b"IHDR" + struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
        checked = header + struct.pack(">I", zlib.crc32(header))
        small = picture(GREY[0])
        (folder / "000.png").write_bytes(small[:12] + checked + small[12 + len(checked) :])
        assert reason in refusal(folder)


def test_a_name_does_not_bring_in_formats_that_run_programs(tmp_path) -> None:
    folder = write_folder(tmp_path, GREY)
    (folder / "000.png").write_bytes(picture(GREY[0], "EPS"))
    assert "000.png (its content is none of AVIF, BMP" in refusal(folder)


def test_what_is_no_set_of_images_is_told_apart(tmp_path) -> None:
    write_folder(tmp_path / "samples", GREY)
    assert f"did you mean {tmp_path / 'samples'}?" in refusal(tmp_path / "smaples")
    assert "no" in refusal(tmp_path / "absent" / "deeper")
    assert "is one picture" in refusal(tmp_path / "samples" / "000.png")
    (tmp_path / "a.tar").write_text("")
    assert "from a folder or a .npy, .npz or .zip file" in refusal(tmp_path / "a.tar")
    assert ImageSource(tmp_path / "samples").kind == ""


# ArraySet


@pytest.mark.parametrize(
    ("array", "expected"),
    [
        (GREY, GREY[:, None]),
        (GREY[:, None], GREY[:, None]),
        (GREY[..., None], GREY[:, None]),
        (COLOUR, COLOUR),
        (COLOUR.transpose(0, 2, 3, 1), COLOUR),
        (np.asfortranarray(COLOUR), COLOUR),
    ],
)
def test_every_layout_is_read(array: np.ndarray, expected: np.ndarray, tmp_path) -> None:
    save(tmp_path / "a.npy", array)
    np.savez_compressed(tmp_path / "a.npz", array)
    for name in ("a.npy", "a.npz"):
        np.testing.assert_array_equal(read_images(tmp_path / name), expected)


@pytest.mark.parametrize("order", ["C", "F"])
def test_arrays_that_are_not_compressed_are_mapped(order, tmp_path) -> None:
    array = np.array(COLOUR.transpose(0, 2, 3, 1), order=order)
    save(tmp_path / "a.npy", array)
    np.savez(tmp_path / "a.npz", labels=np.arange(70), images=array)
    for place, key in ((tmp_path / "a.npy", None), (tmp_path / "a.npz", "images")):
        images = opened(place, key=key)
        assert isinstance(images, ArraySet)
        assert isinstance(images.array, np.memmap)
        np.testing.assert_array_equal(read_images(place, key=key), COLOUR)


@pytest.mark.parametrize("kind", ["float16", "float32", "float64", ">f4"])
def test_floats_are_rounded_as_the_harness_rounds_its_own(kind: str, tmp_path) -> None:
    levels = quantize(torch.from_numpy(UNIT.astype(kind).astype(np.float32))).numpy()
    unit = save(tmp_path / "a.npy", UNIT.astype(kind))
    np.testing.assert_array_equal(read_images(unit, value_range="unit"), levels)
    if kind != "float16":  # its steps near 1 are coarser than those of [-1, 1] near 0
        symmetric = save(tmp_path / "b.npy", (2 * UNIT.astype(np.float64) - 1).astype(kind))
        np.testing.assert_array_equal(read_images(symmetric, value_range="symmetric"), levels)


def test_a_float_may_leave_its_range_by_rounding_only(tmp_path) -> None:
    values = UNIT.copy()
    values[3, 0, 0, :2] = (-0.0015, 1.0015)
    images = read_images(save(tmp_path / "a.npy", values), value_range="unit")
    assert images[3, 0, 0, :2].tolist() == [0, 255]
    values[3, 0, 0, 0] = -0.0025
    message = refusal(save(tmp_path / "a.npy", values), value_range="unit")
    assert "holds values from -0.0025 to 1.0" in message


def test_the_range_of_floats_is_never_guessed(tmp_path) -> None:
    place = save(tmp_path / "a.npy", UNIT)
    assert "add --range unit for [0, 1], or --range symmetric for [-1, 1]" in refusal(place)
    assert "none below 0, as is --range unit" in refusal(place, value_range="symmetric")
    place = save(tmp_path / "a.npy", 2 * UNIT - 1)
    assert "--range unit: " in refusal(place, value_range="unit")
    place = save(tmp_path / "a.npy", 255 * UNIT)
    message = refusal(place, value_range="symmetric")
    assert "to 25" in message
    assert "not from -1 to 1" in message


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
def test_the_first_image_that_is_no_number_is_named(wrong: float, tmp_path) -> None:
    values = np.zeros((1100, 1, 4, 4), np.float32)
    values[1050, 0, 2, 3] = values[1070] = wrong
    message = refusal(save(tmp_path / "a.npy", values), value_range="unit")
    assert "image 1050 has values that are NaN or infinite" in message


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (GREY[:63], "holds 63 images"),
        (GREY[:0], "holds 0 images"),
        (GREY.astype(np.int64), "is int64; save uint8, or floats"),
        (GREY > 127, "is bool; save uint8"),
        (GREY.astype(complex), "is complex128"),
        ((GREY > 127).astype(np.uint8), "its largest value is 1; levels go to 255"),
        (GREY.reshape(70, 64), "has the shape [70, 64]; images have [N, H, W]"),
        (np.zeros((70, 8, 8, 4), np.uint8), "has the shape [70, 8, 8, 4]"),
        (np.zeros((70, 3, 3, 3), np.uint8), "may be [N, C, H, W] or [N, H, W, C]"),
        (np.zeros((70, 3, 8, 1), np.uint8), "has the shape [70, 3, 8, 1]"),
        (np.zeros((70, 3, 8, 9), np.uint8), "9 × 8 pixels, not square; add --resize 8 to"),
        (np.zeros((70, 2, 2), np.uint8), "2 × 2 pixels; a side has 4 to 1024"),
        (np.array([GREY, None], dtype=object), "is no readable array of numbers"),
    ],
)
def test_arrays_that_are_no_images_are_refused(array: np.ndarray, message: str, tmp_path) -> None:
    assert message in refusal(save(tmp_path / "a.npy", array))
    np.savez(tmp_path / "a.npz", array)
    assert message in refusal(tmp_path / "a.npz")


def test_damaged_arrays_are_refused(tmp_path) -> None:
    place = save(tmp_path / "a.npy", GREY)
    place.write_bytes(place.read_bytes()[:2000])
    assert "is no readable array of numbers" in refusal(place)
    place.write_bytes(b"not numpy's")
    assert "write it by numpy.save" in refusal(place)
    np.savez_compressed(tmp_path / "a.npz", GREY)
    content = bytearray((tmp_path / "a.npz").read_bytes())
    content[1000:1100] = bytes(100)
    (tmp_path / "a.npz").write_bytes(content)
    assert "is no readable array of numbers" in refusal(tmp_path / "a.npz")
    (tmp_path / "a.npz").write_bytes(b"no archive")
    assert "is no readable archive" in refusal(tmp_path / "a.npz")


def test_one_of_several_arrays_is_chosen_by_its_key(tmp_path) -> None:
    place = tmp_path / "a.npz"
    np.savez(place, images=GREY, labels=np.zeros(70))
    np.testing.assert_array_equal(read_images(place, key="images"), GREY[:, None])
    assert "several arrays (images, labels): choose one by --key" in refusal(place)
    assert "unknown array 'image': did you mean 'images'?" in refusal(place, key="image")
    np.savez(place)
    assert "holds no array" in refusal(place)


def test_a_header_that_declares_more_than_there_is_takes_no_memory(tmp_path) -> None:
    header = io.BytesIO()
    shape = {"descr": "|u1", "fortran_order": False, "shape": (10**13, 8, 8)}
    np.lib.format.write_array_header_1_0(header, shape)
    place = write_zip(tmp_path / "a.npz", {"arr_0.npy": header.getvalue() + bytes(1000)})
    assert "is no readable array of numbers" in refusal(place)
    (tmp_path / "a.npy").write_bytes(header.getvalue() + bytes(1000))
    assert "is no readable array of numbers" in refusal(tmp_path / "a.npy")


# Archives


def test_a_zip_is_read_like_the_folder_in_it_and_not_unpacked(tmp_path) -> None:
    entries = {f"class {n % 2}/{n:03}.png": picture(GREY[n]) for n in range(70)}
    strange = {"read me.txt": b"text", "__MACOSX/class 0/._000.png": b"fork", ".x.png": b"hidden"}
    place = write_zip(tmp_path / "a.zip", entries | strange)
    order = [*range(0, 70, 2), *range(1, 70, 2)]
    np.testing.assert_array_equal(read_images(place), GREY[order][:, None])
    assert list(tmp_path.iterdir()) == [place]


def rename(name: str) -> Callable[[bytearray], None]:
    """Make the first entry's name another one of as many bytes, in both of its headers."""

    def change(content: bytearray) -> None:
        content[:] = content.replace(b"x/000.png", name.encode())

    return change


def set_flag(content: bytearray) -> None:
    """Declare the last entry encrypted."""
    central = content.rindex(b"PK\x01\x02")
    content[central + 8] |= 1


def shrink(content: bytearray) -> None:
    """Make the last entry declare less than it holds."""
    central = content.rindex(b"PK\x01\x02")
    content[central + 24 : central + 28] = struct.pack("<I", 40)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (rename("../00.png"), "a.zip:../00.png' leads out of the archive"),
        (rename("/0000.png"), "leads out of the archive"),
        (rename("C:000.png"), "leads out of the archive"),
        (rename("x\\..\\.png"), "leads out of the archive"),
        (set_flag, "is encrypted"),
        (shrink, "cannot be read"),
    ],
)
def test_archives_with_harmful_entries_are_refused(
    change: Callable[[bytearray], None], message: str, tmp_path
) -> None:
    place = write_zip(tmp_path / "a.zip", {f"x/{n:03}.png": picture(GREY[n]) for n in range(70)})
    content = bytearray(place.read_bytes())
    change(content)
    place.write_bytes(content)
    assert message in refusal(place)
    assert list(tmp_path.iterdir()) == [place]


def test_links_and_unusual_compression_are_refused(tmp_path) -> None:
    place = write_zip(tmp_path / "a.zip", {"0.png": picture(GREY[0])}, zipfile.ZIP_BZIP2)
    assert "is compressed in an unusual way" in refusal(place)
    link = zipfile.ZipInfo("0.png")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(place, "w") as archive:
        archive.writestr(link, "/etc/passwd")
    assert "is a link" in refusal(place)


def test_bombs_are_refused_before_they_are_inflated(tmp_path, monkeypatch) -> None:
    zeros = bytes(archives.LARGEST_FILE + 1)
    place = write_zip(tmp_path / "a.zip", {"0.png": zeros})
    monkeypatch.setattr(zipfile.ZipExtFile, "read", lambda *_: pytest.fail("inflated"))
    assert "inflates to 16,777,217 bytes; a picture has at most 16,777,216" in refusal(place)
    many = {f"{n}.png": zeros[:-1] for n in range(5)}
    message = refusal(write_zip(tmp_path / "b.zip", many))
    assert "to 83,886,080 bytes, as a decompression bomb does" in message
    message = refusal(write_zip(tmp_path / "c.npz", {"arr_0.npy": bytes(2**26 + 1)}))
    assert "as a decompression bomb does" in message


def test_a_zip_without_images_is_refused(tmp_path) -> None:
    assert "has no images (.apng, " in refusal(write_zip(tmp_path / "a.zip", {"a.txt": b""}))
    assert "has no images" in refusal(write_zip(tmp_path / "b.zip", {}))
    (tmp_path / "c.zip").write_bytes(b"no archive")
    assert "is no readable archive" in refusal(tmp_path / "c.zip")


# Channels, sizes, faults


def test_what_pictures_show_makes_a_set_grey_and_not_how_they_are_stored(tmp_path) -> None:
    folder = write_folder(tmp_path / "a", GREY[:, None].repeat(3, axis=1))
    np.testing.assert_array_equal(read_images(folder), GREY[:, None])
    np.testing.assert_array_equal(read_images(GREY[:, None].repeat(3, axis=1)), GREY[:, None])
    tinted = GREY[69].copy()
    tinted[7, 7] ^= 1
    pixels = np.stack([GREY[69], tinted, GREY[69]], axis=2)
    (folder / "069.png").write_bytes(picture(pixels))
    images = read_images(folder)
    np.testing.assert_array_equal(images[:69], GREY[:69, None].repeat(3, axis=1))
    np.testing.assert_array_equal(images[69], pixels.transpose(2, 0, 1))


def test_no_more_is_decoded_to_tell_grey_from_colour_than_that_takes(tmp_path, monkeypatch) -> None:
    decoded = []

    def spy(file: Path) -> Image.Image:
        decoded.append(file.name)
        return open_picture(file)

    monkeypatch.setattr("benchmarks.evaluation.image_sets.open_picture", spy)
    assert opened(write_folder(tmp_path / "grey", GREY)).channels == 1
    assert not decoded
    many = np.concatenate([COLOUR, *[COLOUR] * 9])
    assert opened(write_folder(tmp_path / "colour", many)).channels == 3
    assert len(decoded) < 70


@pytest.mark.parametrize("kind", ["folder", "array"])
def test_oblong_and_mixed_sizes_are_resized_on_demand_alone(kind: str, tmp_path) -> None:
    wide = np.random.default_rng(3).integers(0, 256, (70, 3, 20, 30), dtype=np.uint8)
    place: Path | np.ndarray = wide
    if kind == "folder":
        place = write_folder(tmp_path / "wide", wide)
        write_folder(place / "more", COLOUR)
        assert "add --resize 8 to bring all images to one size" in refusal(place)
    else:
        assert "30 × 20 pixels, not square; add --resize 20" in str(fault(place))
    images = read_images(place, resize=16)
    expected = fit_picture(Image.fromarray(wide[5].transpose(1, 2, 0)), 16, 3)
    assert images.shape == (len(images), 3, 16, 16)
    np.testing.assert_array_equal(images[5], expected)


def test_every_broken_file_is_named_at_once(tmp_path) -> None:
    folder = write_folder(tmp_path, COLOUR)
    broken = [folder / f"{n:03}.png" for n in (3, 40, 41, 60, 69)]
    for path in broken:
        path.write_bytes(b"")
    message = refusal(folder)
    assert message.startswith("5 images cannot be read: ")
    assert all(str(path) in message for path in broken)
    whole = picture(COLOUR[0].transpose(1, 2, 0))
    for path in broken:
        path.write_bytes(whole[:-40])  # of which the header can be read
    message = refusal(folder)
    assert all(str(path) in message for path in broken)


def test_one_picture_is_no_set_of_grey_ones() -> None:
    for shape in ((70, 80, 3), (3, 70, 80), (70, 80, 4)):
        assert f"of shape {list(shape)} is one picture" in str(fault(np.zeros(shape, np.uint8)))
    assert opened(np.arange(70 * 16, dtype=np.uint16).reshape(70, 4, 4).astype(np.uint8)).shape == (
        *(70, 1, 4, 4),
    )


def test_memory_holds_no_more_than_some_images_ahead(tmp_path) -> None:
    folder = write_folder(tmp_path, np.zeros((640, 3, 64, 64), np.uint8))
    images = opened(folder)
    tracemalloc.start()
    for _ in images.batches(16):
        pass
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    ahead = 2 * (os.cpu_count() or 1) + 4
    assert peak < ahead * 16 * 3 * 64 * 64 + 2**20


# FeatureStatistics


def test_statistics_are_read_and_what_is_none_is_refused(tmp_path) -> None:
    place = tmp_path / "a.npz"
    np.savez(place, mu=np.zeros(3), sigma=np.eye(3))
    found = open_image_set(ImageSource(place))
    assert isinstance(found, FeatureStatistics)
    assert found.count is found.extractor is found.shape is None
    np.testing.assert_array_equal(found.covariance, np.eye(3))
    for mean, covariance, message in (
        (np.zeros(3), np.eye(2), "mu [3] and sigma [2, 2] are no statistics"),
        (np.zeros((3, 1)), np.eye(3), "are no statistics"),
        (np.full(3, np.nan), np.eye(3), "holds NaN"),
        (np.zeros(3), np.triu(np.ones((3, 3))), "sigma is no covariance"),
        (np.zeros(3), -np.eye(3), "sigma is no covariance"),
        (np.zeros(3), np.array([["a"] * 3] * 3), "are no statistics"),
    ):
        np.savez(place, mu=mean, sigma=covariance)
        assert message in refusal(place)
    np.savez(place, mu=np.zeros(3), sigma=np.eye(3), about=np.array("{}{"))
    assert "is no readable array" in refusal(place)
    np.savez(place, mu=np.zeros(3), sigma=np.eye(3), images=GREY)
    assert opened(place, key="images").count == 70
