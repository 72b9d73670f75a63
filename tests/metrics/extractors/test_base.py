import errno
import hashlib
import logging
import os

import pytest
import torch

from metrics import EXTRACTORS, Extractor, Material, RandomExtractor, build_extractor
from metrics.extractors.base import Features, cached_features, extractor, fingerprint


@pytest.fixture
def images():
    rng = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (20, 3, 8, 8), generator=rng).to(torch.uint8)


class Counting(RandomExtractor):
    """Counts how often it is asked, and gives as many logits as it is told to."""

    def __init__(self, seed=0, classes=0):
        super().__init__(3, seed)
        self.logits, self.calls = classes, 0

    def __call__(self, images, batch=None):
        self.calls += 1
        features = super().__call__(images, batch).features
        return Features(features, features[:, : self.logits] if self.logits else None)


def test_fingerprint_is_the_sha256_of_type_shape_and_content():
    images = torch.arange(12, dtype=torch.uint8).view(2, 1, 2, 3)
    content = b"torch.uint8 [2, 1, 2, 3]" + bytes(range(12))
    assert fingerprint(images) == hashlib.sha256(content).hexdigest()


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_fingerprint_is_of_content_alone(dtype):
    images = torch.arange(3000 * 6).view(3000, 2, 3, 1).to(dtype)
    known = fingerprint(images)
    assert fingerprint(images.contiguous(memory_format=torch.channels_last)) == known
    assert fingerprint(images.repeat(1, 2, 1, 1)[:, :2]) == known
    assert fingerprint(images.flip(0)) != known
    assert fingerprint(images.view(3000, 2, 1, 3)) != known
    assert fingerprint(images[:2999]) != known
    changed = images.clone()
    changed[2999, 1, 2, 0] += 1
    assert fingerprint(changed) != known


def test_fingerprint_tells_types_apart():
    zeros = torch.zeros(4, 2, 1, 1)
    assert fingerprint(zeros) != fingerprint(zeros.int())


@pytest.mark.parametrize("classes", [0, 5])
def test_features_are_kept(tmp_path, images, classes):
    counting = Counting(classes=classes)
    first = cached_features(counting, images, "key", tmp_path / "deep")
    again = cached_features(counting, images, "key", tmp_path / "deep")
    assert counting.calls == 1
    assert torch.equal(first.features, again.features)
    assert (again.logits is None) == (classes == 0)
    if classes:
        assert torch.equal(first.logits, again.logits)
    assert len(list((tmp_path / "deep").iterdir())) == 1


def test_features_are_kept_by_content_extractor_and_threads(tmp_path, images, monkeypatch):
    counting, other = Counting(), Counting(seed=1)
    cached_features(counting, images, "a", tmp_path)
    cached_features(counting, images, "b", tmp_path)
    assert counting.calls == 2
    cached_features(other, images, "a", tmp_path)
    assert other.calls == 1
    monkeypatch.setattr(torch, "get_num_threads", lambda: 77)
    cached_features(counting, images, "a", tmp_path)
    assert counting.calls == 3
    assert len(list(tmp_path.iterdir())) == 4


def flip(path):
    content = bytearray(path.read_bytes())
    content[-50] ^= 1
    path.write_bytes(content)


def cut(path):
    path.write_bytes(path.read_bytes()[:-100])


@pytest.mark.parametrize("damage", [flip, cut, lambda path: path.write_bytes(b"")])
def test_damaged_features_are_noticed_and_redone(tmp_path, images, caplog, damage):
    counting = Counting()
    first = cached_features(counting, images, "key", tmp_path)
    (path,) = tmp_path.iterdir()
    damage(path)
    with caplog.at_level(logging.WARNING):
        again = cached_features(counting, images, "key", tmp_path)
    assert str(path) in caplog.text
    assert torch.equal(first.features, again.features)
    cached_features(counting, images, "key", tmp_path)
    assert counting.calls == 2


def test_features_of_another_key_are_not_taken_for_these(tmp_path, images, caplog):
    counting = Counting()
    cached_features(counting, images, "a", tmp_path)
    (a,) = tmp_path.iterdir()
    cached_features(counting, images.flip(0), "b", tmp_path)
    (b,) = set(tmp_path.iterdir()) - {a}
    a.replace(b)
    features = cached_features(counting, images.flip(0), "b", tmp_path).features
    assert torch.equal(features, RandomExtractor(3)(images.flip(0)).features)
    assert "checksum" in caplog.text


def test_a_folder_that_cannot_be_written_costs_a_warning(tmp_path, images, caplog):
    (tmp_path / "file").write_text("in the way")
    for key in ("one", "another"):
        found = cached_features(Counting(), images, key, tmp_path / "file" / "cache")
        assert torch.equal(found.features, RandomExtractor(3)(images).features)
    (line,) = caplog.messages
    assert f"cannot be kept in {tmp_path / 'file' / 'cache'} (Not a directory)" in line
    assert "BENCHMARKS_CACHE" in line


def test_a_full_disk_costs_one_warning_however_many_sets(tmp_path, images, caplog, monkeypatch):
    def fail(path, *_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    monkeypatch.setattr("metrics.extractors.base.save_tensors", fail)
    for key in ("one", "another"):
        cached_features(Counting(), images, key, tmp_path)
    (line,) = caplog.messages
    assert f"cannot be kept in {tmp_path} (No space left on device)" in line


def test_a_family_is_built_by_its_members_names(monkeypatch, tmp_path, images):
    monkeypatch.setattr("metrics.extractors.base.EXTRACTORS", dict(EXTRACTORS))

    @extractor(name="seeded:NAME", summary="random with a seed")
    def build(material: Material, name: str) -> Extractor:
        return RandomExtractor(material.images.shape[1], seed=int(name))

    material = Material(images, None, None, "k", tmp_path)
    assert build_extractor("seeded:5", material).hash == RandomExtractor(3, seed=5).hash
    for name in ("seeded:", "seeded", "other:5"):
        with pytest.raises(ValueError, match=f"unknown extractor '{name}'.*seeded:NAME"):
            build_extractor(name, material)


def test_published_hashes_stay():
    """Tables name these; their weights are made from seeds alone."""
    assert str(RandomExtractor(1)) == "random@d3eb92a2"
    assert str(RandomExtractor(3)) == "random@20aafe06"
