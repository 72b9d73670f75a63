import errno
import hashlib
import logging
import os
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file

from benchmarks.evaluation import feature_cache
from benchmarks.evaluation.feature_cache import (
    build_cached,
    cached_features,
    fingerprint_images,
    load_classifier,
    save_classifier,
)
from metrics import Features, Material, NotReady, RandomExtractor, train_classifier
from metrics.extractors import classifier


@pytest.fixture
def images():
    rng = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (20, 3, 8, 8), generator=rng).to(torch.uint8)


@pytest.fixture
def material(images, tmp_path, monkeypatch):
    """Labelled images, on which a classifier trains for a few steps only."""
    monkeypatch.setattr(classifier, "STEPS", 8)
    return Material(images, torch.arange(20) % 3, 3, "a", tmp_path)


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
    assert fingerprint_images(images) == hashlib.sha256(content).hexdigest()


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_fingerprint_is_of_content_alone(dtype):
    images = torch.arange(3000 * 6).view(3000, 2, 3, 1).to(dtype)
    known = fingerprint_images(images)
    assert fingerprint_images(images.contiguous(memory_format=torch.channels_last)) == known
    assert fingerprint_images(images.repeat(1, 2, 1, 1)[:, :2]) == known
    assert fingerprint_images(images.flip(0)) != known
    assert fingerprint_images(images.view(3000, 2, 1, 3)) != known
    assert fingerprint_images(images[:2999]) != known
    changed = images.clone()
    changed[2999, 1, 2, 0] += 1
    assert fingerprint_images(changed) != known


def test_fingerprint_tells_types_apart():
    zeros = torch.zeros(4, 2, 1, 1)
    assert fingerprint_images(zeros) != fingerprint_images(zeros.int())


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


def empty(path):
    path.write_bytes(b"")


def strip_header(path):
    save_file(load_file(path), path)


@pytest.mark.parametrize("damage", [flip, cut, empty])
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

    monkeypatch.setattr("benchmarks.evaluation.feature_cache.save_sealed", fail)
    for key in ("one", "another"):
        cached_features(Counting(), images, key, tmp_path)
    (line,) = caplog.messages
    assert f"cannot be kept in {tmp_path} (No space left on device)" in line


def test_a_saved_classifier_is_the_same_when_it_is_loaded(material):
    extractor = train_classifier(material.images, material.labels, classes=3)
    path = material.cache / "deep" / "net.safetensors"
    save_classifier(path, extractor)
    loaded = load_classifier(path)
    assert str(loaded) == str(extractor)
    assert torch.equal(loaded(material.images).features, extractor(material.images).features)
    assert list(path.parent.iterdir()) == [path]


def test_a_classifier_is_trained_once(material, monkeypatch):
    first = build_cached("classifier", material)
    monkeypatch.setattr(feature_cache, "build_extractor", None)
    assert str(build_cached("classifier", material)) == str(first)
    assert str(build_cached("classifier", replace(material, ready=True))) == str(first)


def test_classifiers_are_kept_by_content(material):
    for key in "ab":
        build_cached("classifier", replace(material, key=key))
    assert len(list(material.cache.iterdir())) == 2


def test_a_cache_of_an_earlier_version_is_still_found(material):
    """The names of the files are a format."""
    parts = (classifier.RECIPE, "a", [20, 3, 8, 8], 3, 0, "cpu", torch.get_num_threads())
    text = repr((*parts, torch.__version__))
    build_cached("classifier", material)
    (path,) = material.cache.iterdir()
    assert path.stem == "classifier-" + hashlib.sha256(text.encode()).hexdigest()[:16]


def test_nothing_is_trained_where_only_what_is_at_hand_is_wanted(material):
    with pytest.raises(NotReady, match="trained first, on 20 images of 3 classes"):
        build_cached("classifier", replace(material, ready=True))
    assert not list(material.cache.iterdir())


@pytest.mark.parametrize("damage", [cut, flip, strip_header, empty])
def test_a_damaged_classifier_is_noticed_and_trained_again(material, caplog, damage):
    first = build_cached("classifier", material)
    (path,) = material.cache.iterdir()
    damage(path)
    with pytest.raises(ValueError, match="holds no classifier"):
        load_classifier(path)
    with caplog.at_level(logging.WARNING):
        assert str(build_cached("classifier", material)) == str(first)
    assert str(load_classifier(path)) == str(first)
    assert str(path) in caplog.text


def test_a_cache_that_cannot_be_written_is_named_before_training(material, monkeypatch):
    monkeypatch.setattr(feature_cache, "build_extractor", None)
    (material.cache / "file").touch()
    words = r"cannot be kept in .*file/cache \(.*\): choose .* variable BENCHMARKS_CACHE"
    with pytest.raises(ValueError, match=words):
        build_cached("classifier", replace(material, cache=material.cache / "file" / "cache"))
