"""Feature extractors: networks that turn images into what the scores compare.

An extractor is a decorated function in a module of this package that builds one from `Material`.
"""

import hashlib
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn


class Features(NamedTuple):
    """Features [N, d] and, where the extractor classifies, logits [N, K]; float32 on the CPU."""

    features: Tensor
    logits: Tensor | None


class Extractor:
    """A fixed network in evaluation mode with a name and a hash.

    Args:
        name: as in `EXTRACTORS`.
        network: takes uint8 images [n, C, S, S] and returns features [n, d] and logits [n, K] or
            None; whatever it does to the images is its own, and `recipe` says what.
        dimension: d.
        classes: K, None where there are no logits.
        channels: the number of channels it takes, None where it takes 1 and 3.
        recipe: the network's form and preprocessing in words, hashed together with its weights.
        device: where it runs.
    """

    def __init__(
        self,
        name: str,
        network: nn.Module,
        *,
        dimension: int,
        classes: int | None,
        channels: int | None,
        recipe: str,
        device: str | torch.device = "cpu",
    ) -> None:
        self.name = name
        self.dimension = dimension
        self.classes = classes
        self.channels = channels
        self.device = torch.device(device)
        self.network = network.eval().requires_grad_(False).to(self.device)
        self.hash = digest(network.state_dict(), recipe)[:8]

    def __str__(self) -> str:
        return f"{self.name}@{self.hash}"

    @torch.inference_mode()
    def __call__(self, images: Tensor, batch: int = 256) -> Features:
        """Extract features and logits; the batch size changes them by rounding at most.

        Args:
            images: uint8 [N, C, S, S], on any device.
            batch: images that go through the network at a time.

        Raises:
            ValueError: where the images are of another type, shape or number of channels.
        """
        self._check(images)
        with exact():
            parts = [self.network(part.to(self.device)) for part in images.split(batch)]
        features = torch.cat([part[0] for part in parts]).float().cpu()
        if self.classes is None:
            return Features(features, None)
        return Features(features, torch.cat([part[1] for part in parts]).float().cpu())

    def _check(self, images: Tensor) -> None:
        channels = (1, 3) if self.channels is None else (self.channels,)
        if images.dtype != torch.uint8 or images.ndim != 4 or images.shape[1] not in channels:
            raise ValueError(
                f"the extractor {self.name!r} takes uint8 images [N, C, S, S] with C = "
                f"{' or '.join(map(str, channels))}, not {images.dtype} {list(images.shape)}"
            )
        if len(images) == 0:
            raise ValueError(f"the extractor {self.name!r} was given no images")


def exact() -> AbstractContextManager[None]:
    """Let CUDA compute convolutions reproducibly and without TF32; no effect on the CPU."""
    flags: AbstractContextManager[None] = torch.backends.cudnn.flags(
        enabled=True, benchmark=False, deterministic=True, allow_tf32=False
    )
    return flags


def digest(tensors: dict[str, Tensor], text: str) -> str:
    """Return the SHA-256, in hex, of tensors with their names, types and shapes, and of a text."""
    sha = hashlib.sha256(text.encode())
    for name, tensor in sorted(tensors.items()):
        sha.update(f"{name} {tensor.dtype} {list(tensor.shape)}".encode())
        sha.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return sha.hexdigest()


@dataclass(frozen=True)
class Material:
    """What an extractor may be built from.

    Attributes:
        images: training images, uint8 [N, C, S, S].
        labels: their classes int64 [N] in [0, `classes`), None where they have none.
        classes: the number of classes.
        key: a fingerprint of images and labels that names cached weights.
        cache: the folder of cached weights.
        weights: a file of weights for the extractors that read one, None to download them.
        device: where the extractor runs.
    """

    images: Tensor
    labels: Tensor | None
    classes: int | None
    key: str
    cache: Path
    weights: Path | None = None
    device: str | torch.device = "cpu"


class Entry(NamedTuple):
    """An extractor's one-line summary and the function that builds it."""

    summary: str
    build: Callable[[Material], Extractor]


EXTRACTORS: dict[str, Entry] = {}
"""Every extractor by its name, filled when the package is imported."""

Build = Callable[[Material], Extractor]


def extractor(*, name: str, summary: str) -> Callable[[Build], Build]:
    """Enter a function that builds an extractor in `EXTRACTORS`; the arguments are literals."""

    def enter(build: Build) -> Build:
        EXTRACTORS[name] = Entry(summary, build)
        return build

    return enter


def build_extractor(name: str, material: Material) -> Extractor:
    """Build the extractor `name`.

    Raises:
        ValueError: where there is none of that name or the material is not enough for it.
    """
    if name not in EXTRACTORS:
        near = get_close_matches(name.lower(), EXTRACTORS, n=1, cutoff=0.4)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise ValueError(
            f"unknown extractor {name!r}: {hint}choose from {', '.join(sorted(EXTRACTORS))}"
        )
    return EXTRACTORS[name].build(material)
