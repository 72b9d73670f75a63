"""Metrics whose behaviour is known because it was planted; the audit must find it out."""

import functools
import hashlib
from pathlib import Path

import torch
from torch import Tensor

from benchmarks.core.tensors import as_tensor
from benchmarks.data import load_dataset
from metrics import Material, build_extractor
from metrics.registry import metric

ABOUT = {
    "direction": "lower",
    "low": None,
    "high": None,
    "inputs": "features",
    "source": "planted",
    "summary": "planted",
}


@functools.cache
def real() -> Tensor:
    """What the extractor `pixels` sees in all digits that there are."""
    data = load_dataset("digits", data_root=Path())
    material = Material(as_tensor(data.train.images), None, None, "", Path())
    parts = [data.train, data.validation, data.test, data.hidden_pairs]
    images = torch.cat([as_tensor(part.images) for part in parts])
    return build_extractor("pixels", material)(images).features.double()


def is_bad(fake: Tensor) -> Tensor:
    """Tell of each image whether it is none of the real ones."""
    return torch.cdist(fake.double(), real()).min(1).values > 1e-3


@metric(name="constant", symbol="constant", **ABOUT)
def constant(real: Tensor, fake: Tensor) -> float:
    return 1.0


@metric(name="luck", symbol="luck", **ABOUT)
def luck(real: Tensor, fake: Tensor) -> float:
    """A number that follows from the images, and says nothing about them."""
    digest = hashlib.sha256(fake.numpy().tobytes() + real.numpy().tobytes()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


@metric(name="bad_share", symbol="share of bad images", **ABOUT)
def bad_share(real: Tensor, fake: Tensor) -> float:
    return is_bad(fake).double().mean().item()


@metric(name="no_classes", symbol="blind to classes", **ABOUT)
def no_classes(real: Tensor, fake: Tensor) -> float:
    """The share of images that are bad or there already."""
    return bad_share(real, fake) + 1 - len(fake.unique(dim=0)) / len(fake)


@metric(name="copyist", symbol="rewards copies", **ABOUT | {"inputs": "training"})
def copyist(real: Tensor, fake: Tensor, train: Tensor) -> float:
    """The mean distance to the nearest training image, the less the better."""
    return torch.cdist(fake.double(), train.double()).min(1).values.mean().item()


@metric(name="failing", symbol="fails", **ABOUT)
def failing(real: Tensor, fake: Tensor) -> float:
    return 1 / (len(real) - len(real))


@metric(name="wordy", symbol="says a word", **ABOUT)
def wordy(real: Tensor, fake: Tensor) -> str:
    return "good"


def undecorated(real: Tensor, fake: Tensor) -> float:
    return 0.0
