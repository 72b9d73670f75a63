"""Names, splits, sources and the published data sets' files."""

import bz2
import gzip
import hashlib
import os
import pickle
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import scipy.io

from benchmarks.core.errors import BadInput
from benchmarks.data import (
    Dataset,
    Split,
    default_data_root,
    downloads,
    list_datasets,
    list_sources,
    load_dataset,
    registry,
)
from benchmarks.data.dataset import Raw, fingerprint_splits
from benchmarks.data.resizing import fit
from benchmarks.data.sources import transform_source
from benchmarks.data.splits import content_order, split_target
from benchmarks.run import main

PARTS = ("train", "validation", "source_train", "source_test", "test")
NOWHERE = Path("/nonexistent")


def sizes(data: Dataset) -> list[int]:
    return [len(getattr(data, part)) for part in PARTS]


def contents(split: Split) -> set[bytes]:
    return {image.tobytes() for image in split.images}


@pytest.fixture
def data_noise() -> Split:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (360, 1, 8, 8), dtype=np.uint8)
    return Split(images, np.arange(360, dtype=np.int64) % 10)


@pytest.fixture(scope="module")
def data_digits() -> Dataset:
    return load_dataset("digits", data_root=NOWHERE, source="negative")


def write_idx(path: Path, array: np.ndarray) -> None:
    header = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, dtype=">i4").tobytes()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(header + array.astype(np.uint8).tobytes())


def write_mnist(root: Path, folder: str = "MNIST") -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(1)
    raw = root / folder / "raw"
    train = rng.integers(0, 256, (120, 28, 28), dtype=np.uint8)
    test = rng.integers(0, 256, (20, 28, 28), dtype=np.uint8)
    write_idx(raw / "train-images-idx3-ubyte", train)
    write_idx(raw / "train-labels-idx1-ubyte", np.arange(120) % 10)
    write_idx(raw / "t10k-images-idx3-ubyte", test)
    write_idx(raw / "t10k-labels-idx1-ubyte", np.arange(20) % 10)
    return train, test


def publish(patch: pytest.MonkeyPatch, kind: str, root: Path, url: str = "") -> None:
    """Register the files below `root` as the published ones, packed below `url` where there is."""
    files = []
    for known in downloads.FILES[kind]:
        parts = {name: (sha256(root / name), "a test") for name in known.parts}
        packed = (sha256(root / known.file), "a test") if (root / known.file).exists() else ("", "")
        files.append(downloads.PublishedFile(known.file, f"{url}/{known.file}", packed, parts))
    patch.setitem(downloads.FILES, kind, tuple(files))


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.exists() else ""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    """Serve the folder `server` by HTTP, and give its address."""
    folder = tmp_path / "server"
    handler = partial(QuietHandler, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as served:
        threading.Thread(target=served.serve_forever, args=(0.01,), daemon=True).start()
        yield f"http://127.0.0.1:{served.server_port}"
        served.shutdown()


class QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


def pack(root: Path, folder: str) -> None:
    for file in (root / folder / "raw").glob("*-ubyte"):
        file.with_name(f"{file.name}.gz").write_bytes(gzip.compress(file.read_bytes()))


def test_import_brings_no_heavy_library() -> None:
    code = "import sys, benchmarks.data as d; d.list_datasets(); print(*sys.modules)"
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout
    loaded = set(output.decode().split())
    assert "benchmarks.data.folder" in loaded
    assert not loaded & {"torch", "torchvision", "sklearn", "scipy", "PIL", "pandas"}


def test_every_entry_has_a_summary_and_an_allowed_source() -> None:
    summaries = list_datasets()
    published = {"mnist", "fashion_mnist", "kmnist", "cifar10", "svhn", "usps"}
    assert set(summaries) == published | {"digits", "ring", "grid", "folder:PATH"}
    assert all(summaries.values())
    assert all(name not in list_sources(name) for name in summaries)
    for name, entry in registry.DATASETS.items():
        assert entry.name == name
        assert entry.source in list_sources(name)
    assert "edges" in list_sources("folder:PATH")


def test_a_new_data_set_is_one_function_in_one_file(tmp_path, monkeypatch, data_noise) -> None:
    (tmp_path / "extra_sets").mkdir()
    (tmp_path / "extra_sets" / "__init__.py").touch()
    (tmp_path / "extra_sets" / "mine.py").write_text(
        "import numpy as np\n"
        "from benchmarks.data.dataset import Raw, Split\n"
        "from benchmarks.data.registry import dataset\n"
        "@dataset(name='mine', summary='mine', source='rotate')\n"
        "def read_mine(root, download):\n"
        "    images = np.arange(36 * 16, dtype=np.uint16).reshape(36, 1, 4, 4) % 251\n"
        "    return Raw(Split(images.astype(np.uint8)))\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    registry.scan("extra_sets", [str(tmp_path / "extra_sets")])
    try:
        data = load_dataset("mine", data_root=NOWHERE)
        assert list_datasets()["mine"] == "mine"
    finally:
        del registry.DATASETS["mine"]
    assert (data.source, data.shape, sizes(data)) == ("rotate", (1, 4, 4), [14, 2, 4, 8, 8])


def test_digits_are_scaled_to_the_full_range(data_digits) -> None:
    from sklearn.datasets import load_digits

    published = load_digits().images
    expected = {np.floor(image * 255 / 16 + 0.5).astype(np.uint8).tobytes() for image in published}
    found = set().union(*(contents(getattr(data_digits, p)) for p in ("train", "test")))
    assert found < expected
    assert data_digits.train.images.max() == 255
    assert data_digits.class_names == tuple("0123456789")


def test_labels_stay_with_their_images(data_digits) -> None:
    from sklearn.datasets import load_digits

    digits = load_digits()
    truth = {
        np.rint(image * 255 / 16).astype(np.uint8).tobytes(): label
        for image, label in zip(digits.images, digits.target, strict=True)
    }
    for split in (data_digits.train, data_digits.test, data_digits.hidden_pairs):
        assert [truth[image.tobytes()] for image in split.images] == split.labels.tolist()


def test_splits_without_an_official_test_split(data_digits) -> None:
    assert sizes(data_digits) == [698, 100, 200, 399, 400]
    for split in (data_digits.train, data_digits.test, data_digits.source_train):
        assert split.images.dtype == np.uint8
        assert split.labels.dtype == np.int64
        assert set(split.labels) == set(range(10))


def test_splits_with_an_official_test_split(data_noise) -> None:
    parts = split_target(Raw(data_noise[:300], data_noise[300:]), "noise")
    assert sizes(parts) == [175, 25, 50, 50, 60]
    assert contents(parts.test) == contents(data_noise[300:])


def test_splits_share_no_image(data_digits) -> None:
    groups = [contents(getattr(data_digits, p)) for p in ("train", "validation", "test")]
    groups.append(contents(data_digits.hidden_pairs))
    groups.append({(255 - image).tobytes() for image in data_digits.source_train.images})
    assert sum(map(len, groups)) == len(set().union(*groups)) == 1797


def test_membership_depends_on_content_and_not_on_file_order(data_noise) -> None:
    there = split_target(Raw(data_noise), "noise")
    back = split_target(Raw(data_noise[::-1]), "noise")
    for part in PARTS:
        np.testing.assert_array_equal(getattr(there, part).images, getattr(back, part).images)
        np.testing.assert_array_equal(getattr(there, part).labels, getattr(back, part).labels)


def test_content_order_is_pinned() -> None:
    images = np.arange(8, dtype=np.uint8).reshape(8, 1, 1, 1)
    assert content_order(images).tolist() == [4, 3, 6, 5, 7, 0, 2, 1]


def test_copies_of_an_image_stand_together(data_noise) -> None:
    images = np.concatenate([data_noise.images, data_noise.images])
    ordered = images[content_order(images)]
    np.testing.assert_array_equal(ordered[::2], ordered[1::2])


def test_same_request_same_data_set(data_digits) -> None:
    again = load_dataset("digits", data_root=NOWHERE, source="negative")
    assert again.fingerprint == data_digits.fingerprint
    assert again.source_fingerprint == data_digits.source_fingerprint
    np.testing.assert_array_equal(again.train.images, data_digits.train.images)


def test_target_does_not_depend_on_the_source(data_digits) -> None:
    blended = load_dataset("digits", data_root=NOWHERE, source="blend")
    assert blended.fingerprint == data_digits.fingerprint
    assert blended.source_fingerprint != data_digits.source_fingerprint


@pytest.mark.parametrize("change", ["pixel", "label", "shape", "order"])
def test_fingerprint_sees_every_change(data_noise, change) -> None:
    images, labels = data_noise.images.copy(), data_noise.labels.copy()
    if change == "pixel":
        images[-1, 0, 7, 7] ^= 1
    elif change == "label":
        labels[-1] += 1
    elif change == "shape":
        images = images.reshape(360, 1, 4, 16)
    else:
        images[[0, 1]] = images[[1, 0]]
    assert fingerprint_splits(Split(images, labels)) != fingerprint_splits(data_noise)


def test_fingerprint_reads_strided_images_as_what_they_show(data_noise) -> None:
    strided = Split(np.asfortranarray(data_noise.images), data_noise.labels)
    assert fingerprint_splits(strided) == fingerprint_splits(data_noise)


def test_too_few_images_are_refused(data_noise) -> None:
    with pytest.raises(BadInput, match=r"noise: training images: only 35, at least 36"):
        split_target(Raw(data_noise[:35]), "noise")
    with pytest.raises(BadInput, match=r"noise: test images: only 7, at least 8"):
        split_target(Raw(data_noise[:300], data_noise[:7]), "noise")


def test_negative_of_a_hidden_pair_is_its_source(data_digits) -> None:
    pairs, sources = data_digits.hidden_pairs.images, data_digits.source_test.images
    np.testing.assert_array_equal(255 - pairs, sources)


def test_rotation_is_a_quarter_turn() -> None:
    data = load_dataset("digits", data_root=NOWHERE, source="rotate")
    top_row, left_column = data.hidden_pairs.images[:, :, 0], data.source_test.images[..., ::-1, 0]
    np.testing.assert_array_equal(top_row, left_column)


def test_edges_outline_a_square_and_keep_its_contrast() -> None:
    images = np.zeros((2, 3, 8, 8), dtype=np.uint8)
    images[0, 1, 3:5, 3:5] = 200  # green alone
    edges = transform_source(Split(images), "edges", "test").images
    expected = np.zeros((8, 8), dtype=np.uint8)
    expected[2:6, 2:6] = 200
    expected[3:5, 3:5] = 0
    np.testing.assert_array_equal(edges, [[expected] * 3, np.zeros((3, 8, 8))])


@pytest.mark.parametrize("channels", [1, 3])
def test_blend_differs_from_a_photograph_by_the_image(channels) -> None:
    black = Split(np.zeros((50, channels, 8, 8), dtype=np.uint8))
    textures = transform_source(black, "blend", "test").images
    assert textures.shape == (50, channels, 8, 8)
    assert len({texture.tobytes() for texture in textures}) == 50
    if channels == 3:
        assert np.ptp(textures, axis=1).mean() > 10
    again = transform_source(black, "blend", "test").images
    np.testing.assert_array_equal(textures, again)
    assert (transform_source(black, "blend", "train").images != textures).any()


def test_blend_covers_images_larger_than_the_photographs() -> None:
    black = Split(np.zeros((1, 1, 500, 500), dtype=np.uint8))
    assert transform_source(black, "blend", "test").images.std() > 1


def test_another_data_set_as_the_source(tmp_path, monkeypatch) -> None:
    published, _ = write_mnist(tmp_path)
    publish(monkeypatch, "MNIST", tmp_path)
    data = load_dataset("digits", data_root=tmp_path, source="mnist", download=False)
    assert data.source == "mnist"
    assert data.hidden_pairs is None
    assert (len(data.source_train), len(data.source_test)) == (120, 20)
    assert data.source_train.images.shape[1:] == data.shape == (1, 8, 8)
    means = data.source_train.images.mean(axis=(1, 2, 3))
    np.testing.assert_allclose(np.sort(means), np.sort(published.mean(axis=(1, 2))), atol=4)


def test_a_source_without_test_images_gives_half(tmp_path, monkeypatch) -> None:
    write_mnist(tmp_path)
    publish(monkeypatch, "MNIST", tmp_path)
    data = load_dataset("mnist", data_root=tmp_path, source="digits", download=False)
    assert (len(data.source_train), len(data.source_test)) == (898, 899)
    assert not contents(data.source_train) & contents(data.source_test)
    assert data.shape == (1, 28, 28)


def test_size_and_channels_change_pictures_and_not_membership(data_digits) -> None:
    large = load_dataset("digits", data_root=NOWHERE, source="negative", image_size=16, channels=3)
    assert large.shape == large.source_test.images.shape[1:] == (3, 16, 16)
    assert large.fingerprint != data_digits.fingerprint
    np.testing.assert_array_equal(large.test.labels, data_digits.test.labels)
    np.testing.assert_array_equal(large.test.images[:, 0], large.test.images[:, 2])
    blocks = large.test.images[:, :1].reshape(-1, 1, 8, 2, 8, 2).mean(axis=(3, 5))
    assert np.abs(blocks - data_digits.test.images).mean() < 20


def test_shrinking_is_antialiased() -> None:
    stripes = np.zeros((1, 1, 32, 32), dtype=np.uint8)
    stripes[..., ::2] = 255
    small = fit(Split(stripes), 8, None).images
    assert np.abs(small.astype(int) - 127.5).max() < 20


def test_colour_becomes_grey_by_luma() -> None:
    colour = np.zeros((3, 3, 8, 8), dtype=np.uint8)
    for channel in range(3):
        colour[channel, channel] = 255
    grey = fit(Split(colour), None, 1).images
    assert grey.shape == (3, 1, 8, 8)
    assert grey[:, 0, 0, 0].tolist() == [76, 150, 29]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"image_size": 0}, "image size 0: choose from 4 to 1024"),
        ({"image_size": -8}, "image size -8"),
        ({"image_size": 100_000}, "image size 100000"),
        ({"channels": 2}, "2 channels: choose 1"),
        ({"source": "egdes"}, "unknown source for digits 'egdes': did you mean 'edges'"),
        ({"source": "digits"}, "unknown source for digits"),
        ({"source": "folder A"}, "unknown source for digits"),
    ],
)
def test_bad_requests_are_refused_in_one_line(arguments, message) -> None:
    with pytest.raises(BadInput) as caught:
        load_dataset("digits", data_root=NOWHERE, **arguments)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_unknown_names_are_answered_with_the_nearest(tmp_path) -> None:
    with pytest.raises(BadInput, match="unknown data set 'minst': did you mean 'mnist'"):
        load_dataset("minst", data_root=tmp_path)
    with pytest.raises(BadInput, match=f"write folder:{tmp_path}"):
        load_dataset(str(tmp_path), data_root=tmp_path)


def test_default_data_root_follows_the_variable(monkeypatch, tmp_path) -> None:
    monkeypatch.setenv("BENCHMARKS_DATA", str(tmp_path))
    assert default_data_root() == tmp_path
    monkeypatch.delenv("BENCHMARKS_DATA")
    assert "generative-benchmarks" in default_data_root().parts


@pytest.mark.parametrize(
    ("name", "folder", "first"),
    [
        ("mnist", "MNIST", "0"),
        ("fashion_mnist", "FashionMNIST", "T-shirt/top"),
        ("kmnist", "KMNIST", "o"),
    ],
)
def test_idx_files_are_read_from_a_read_only_folder(
    tmp_path, monkeypatch, name, folder, first
) -> None:
    train, test = write_mnist(tmp_path, folder)
    publish(monkeypatch, folder, tmp_path)
    before = sorted(tmp_path.rglob("*"))
    for path in (*before, tmp_path):
        path.chmod(0o555 if path.is_dir() else 0o444)
    try:
        data = load_dataset(name, data_root=tmp_path)
    finally:
        for path in (tmp_path, *before):
            path.chmod(0o755)
    assert sorted(tmp_path.rglob("*")) == before
    assert sizes(data) == [70, 10, 20, 20, 20]
    assert contents(data.train) < {image.tobytes() for image in train}
    assert contents(data.test) == {image.tobytes() for image in test}
    position = [image.tobytes() for image in test].index(data.test.images[0].tobytes())
    assert data.test.labels[0] == position % 10
    assert data.class_names[0] == first


def test_full_mnist() -> None:
    root = Path(os.environ.get("BENCHMARKS_DATA", NOWHERE))
    if not (root / "MNIST" / "raw" / "train-images-idx3-ubyte").is_file():
        pytest.skip("BENCHMARKS_DATA names no folder with MNIST/raw")
    data = load_dataset("mnist", data_root=root, download=False)
    assert sizes(data) == [35_000, 5_000, 10_000, 10_000, 10_000]
    assert np.bincount(data.test.labels).tolist() == [
        *(980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009)
    ]
    assert data.fingerprint == "1ecb2ff8ce22a58f01a49df182058c5b05e9be755709b4f9edc50415ea37461d"


def test_usps_is_read(tmp_path, monkeypatch) -> None:
    for name, count in (("usps.bz2", 48), ("usps.t.bz2", 12)):
        rows = []
        for i in range(count):
            pixels = np.full(256, -1.0)
            pixels[i] = 1.0
            values = " ".join(f"{k + 1}:{v}" for k, v in enumerate(pixels))
            rows.append(f"{i % 10 + 1} {values} \n")
        (tmp_path / name).write_bytes(bz2.compress("".join(rows).encode()))
    publish(monkeypatch, "USPS", tmp_path)
    data = load_dataset("usps", data_root=tmp_path, download=False)
    assert (data.shape, sizes(data)) == ((1, 16, 16), [28, 4, 8, 8, 12])
    brightest = data.test.images.reshape(12, -1).argmax(axis=1)
    assert (brightest % 10).tolist() == data.test.labels.tolist()
    assert set(np.unique(data.test.images)) == {0, 255}


def test_svhn_is_read(tmp_path, monkeypatch) -> None:
    from torchvision.datasets import SVHN, utils

    rng = np.random.default_rng(2)
    split_list = {}
    for name, count in (("train", 48), ("test", 12)):
        pixels = rng.integers(0, 256, (32, 32, 3, count), dtype=np.uint8)
        pixels[0, 0, 2] = np.arange(count)
        labels = np.arange(count)[:, None] % 10
        file = tmp_path / f"{name}_32x32.mat"
        scipy.io.savemat(file, {"X": pixels, "y": np.where(labels == 0, 10, labels)})
        split_list[name] = ["", file.name, utils.calculate_md5(file)]
    monkeypatch.setattr(SVHN, "split_list", split_list)
    publish(monkeypatch, "SVHN", tmp_path)
    data = load_dataset("svhn", data_root=tmp_path, download=False)
    assert (data.shape, sizes(data)) == ((3, 32, 32), [28, 4, 8, 8, 12])
    assert (data.test.images[:, 2, 0, 0] % 10).tolist() == data.test.labels.tolist()


def test_cifar10_is_read(tmp_path, monkeypatch) -> None:
    from torchvision.datasets import CIFAR10, utils

    rng = np.random.default_rng(3)
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()

    def write(name: str, content: dict) -> list[str]:
        (folder / name).write_bytes(pickle.dumps(content))
        return [name, utils.calculate_md5(folder / name)]

    def batch(count: int) -> dict:
        pixels = rng.integers(0, 256, (count, 3072), dtype=np.uint8)
        pixels[:, 1024] = np.arange(count)  # the first green value
        return {"data": pixels, "labels": [i % 10 for i in range(count)]}

    meta, md5 = write("batches.meta", {"label_names": [str(i) for i in range(10)]})
    monkeypatch.setattr(
        CIFAR10, "train_list", [write(f"data_batch_{i}", batch(24)) for i in (1, 2)]
    )
    monkeypatch.setattr(CIFAR10, "test_list", [write("test_batch", batch(12))])
    monkeypatch.setattr(CIFAR10, "meta", {"filename": meta, "key": "label_names", "md5": md5})
    publish(monkeypatch, "CIFAR10", tmp_path)
    data = load_dataset("cifar10", data_root=tmp_path, channels=1, download=False)
    assert (data.shape, sizes(data)) == ((1, 32, 32), [28, 4, 8, 8, 12])
    colour = load_dataset("cifar10", data_root=tmp_path, download=False)
    assert (colour.test.images[:, 1, 0, 0] % 10).tolist() == colour.test.labels.tolist()
    assert colour.class_names[3] == "cat"


@pytest.mark.parametrize("name", ["mnist", "fashion_mnist", "kmnist", "cifar10", "svhn", "usps"])
def test_absent_files_are_one_clear_line(tmp_path, name) -> None:
    with pytest.raises(BadInput) as caught:
        load_dataset(name, data_root=tmp_path, download=False)
    message = str(caught.value)
    assert "\n" not in message
    assert f"into {tmp_path}" in message
    assert not list(tmp_path.iterdir())


def test_a_failed_download_is_one_clear_line_and_leaves_nothing(
    tmp_path, monkeypatch, server
) -> None:
    publish(monkeypatch, "MNIST", tmp_path / "absent", server)
    with pytest.raises(BadInput, match=r"MNIST could not be read or downloaded .*MNIST/raw"):
        load_dataset("mnist", data_root=tmp_path / "data")
    assert not list((tmp_path / "data").iterdir())


@pytest.mark.parametrize(
    ("name", "folder"),
    [("mnist", "MNIST"), ("fashion_mnist", "FashionMNIST"), ("kmnist", "KMNIST")],
)
def test_missing_files_are_downloaded_and_checked(
    tmp_path, monkeypatch, server, name, folder
) -> None:
    train, _ = write_mnist(tmp_path / "server", folder)
    pack(tmp_path / "server", folder)
    publish(monkeypatch, folder, tmp_path / "server", server)
    data = load_dataset(name, data_root=tmp_path / "data")
    assert contents(data.train) < {image.tobytes() for image in train}
    assert not list((tmp_path / "data").glob(".download-*"))
    shutil.rmtree(tmp_path / "server")
    for file in (tmp_path / "data").rglob("*-ubyte"):
        file.unlink()
    again = load_dataset(name, data_root=tmp_path / "data")  # from the archives that are there
    assert again.fingerprint == data.fingerprint


def test_a_download_that_differs_is_one_clear_line_and_leaves_nothing(
    tmp_path, monkeypatch, server, capsys
) -> None:
    write_mnist(tmp_path / "server")
    pack(tmp_path / "server", "MNIST")
    publish(monkeypatch, "MNIST", tmp_path / "server", server)
    (forged,) = (tmp_path / "server").rglob("train-images*.gz")
    right = sha256(forged)
    forged.write_bytes(gzip.compress(b"something else"))
    assert main(["mnist", "--dry-run", "--data-root", str(tmp_path / "data")]) == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.startswith(f"error: {server}/MNIST/raw/train-images-idx3-ubyte.gz is not the publ")
    assert f"its SHA256 is {sha256(forged)}, not {right} (source: a test)" in line
    assert not list((tmp_path / "data").iterdir())


@pytest.mark.parametrize("download", [True, False])
def test_a_file_that_is_there_and_differs_is_refused_and_stays(
    tmp_path, monkeypatch, server, download
) -> None:
    for root in ("server", "data"):
        write_mnist(tmp_path / root)
    pack(tmp_path / "server", "MNIST")
    publish(monkeypatch, "MNIST", tmp_path / "server", server)
    damaged = tmp_path / "data/MNIST/raw/t10k-images-idx3-ubyte"
    right = sha256(damaged)
    damaged.write_bytes(damaged.read_bytes()[:-1] + b"x")
    with pytest.raises(BadInput) as caught:
        load_dataset("mnist", data_root=tmp_path / "data", download=download)
    words = f"{damaged} is not the published file: its SHA256 is {sha256(damaged)}, not {right}"
    assert str(caught.value).startswith(words)
    assert "delete it to have it downloaded again" in str(caught.value)
    if download:
        damaged.unlink()
        load_dataset("mnist", data_root=tmp_path / "data")
        assert sha256(damaged) == right


def test_a_file_without_a_stated_checksum_is_held_to_its_archive(tmp_path, monkeypatch) -> None:
    write_mnist(tmp_path, "KMNIST")
    pack(tmp_path, "KMNIST")
    publish(monkeypatch, "KMNIST", tmp_path)
    files = [
        replace(file, parts=dict.fromkeys(file.parts, ("", "")))
        for file in downloads.FILES["KMNIST"]
    ]
    monkeypatch.setitem(downloads.FILES, "KMNIST", tuple(files))
    load_dataset("kmnist", data_root=tmp_path, download=False)
    labels = tmp_path / "KMNIST/raw/train-labels-idx1-ubyte"
    labels.write_bytes(labels.read_bytes()[:-1] + b"\1")
    with pytest.raises(BadInput, match=r"train-labels-idx1-ubyte is not .*ubyte\.gz\)"):
        load_dataset("kmnist", data_root=tmp_path, download=False)


def test_all_is_downloaded_by_https_and_every_checksum_has_a_source() -> None:
    for published in (file for files in downloads.FILES.values() for file in files):
        assert published.url.startswith("https://")
        assert re.fullmatch("[0-9a-f]{64}", published.checksum[0])
        for checksum, source in (published.checksum, *published.parts.values()):
            assert re.fullmatch("|[0-9a-f]{32}|[0-9a-f]{64}", checksum)
            assert source


def test_an_unwritable_data_root_names_the_variable(tmp_path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(BadInput, match="variable BENCHMARKS_DATA"):
        load_dataset("mnist", data_root=tmp_path / "file" / "data")


def test_a_file_that_a_data_set_lacks_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read(root: Path, _download: bool) -> Raw:
        return Raw(Split(np.load(root / "scans.npz"), None))

    monkeypatch.setitem(
        registry.DATASETS, "scans", replace(registry.DATASETS["digits"], name="scans", read=read)
    )
    with pytest.raises(BadInput, match=r"^data set scans: there is no file .*scans\.npz$"):
        load_dataset("scans", data_root=tmp_path)
