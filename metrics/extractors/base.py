"""Feature extractors: networks that turn images into what the scores compare.

An extractor is a decorated function in a module of this package that builds one from `Material`.
"""

import hashlib
import logging
import multiprocessing
from collections.abc import Callable, Collection, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache, partial
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from metrics.registry import EXTRACTORS

log = logging.getLogger(__name__)


class NotReady(Exception):
    """An extractor is not at hand: the message says what it is to be made of first."""


class Features(NamedTuple):
    """Features [N, d] and, where the extractor classifies, logits [N, K]; float32 on the CPU."""

    features: Tensor
    logits: Tensor | None


class Extractor:
    """A fixed network in evaluation mode with a name and a hash.

    `digest` is the SHA-256, in hex, of the network's weights and the recipe, and `hash` its first 8
    digits, by which scores name the extractor.

    Args:
        name: what it is built by, see `build_extractor`.
        network: takes uint8 images [n, C, S, S] and returns features [n, d] and logits [n, K] or
            None; whatever it does to the images is its own, and `recipe` says what.
        recipe: the network's form and preprocessing in words, hashed together with its weights.
        classes: K, None where there are no logits.
        channels: the number of channels it takes, None where it takes 1 and 3.
        batch: images that go through the network at a time unless the caller says otherwise.
        state: the weights to be hashed, None where the network holds them as they are.
    """

    def __init__(
        self,
        name: str,
        network: nn.Module,
        *,
        dimension: int,
        recipe: str,
        device: str | torch.device = "cpu",
        classes: int | None = None,
        channels: int | None = None,
        batch: int = 256,
        state: Mapping[str, Tensor] | None = None,
    ) -> None:
        self.name, self.dimension, self.batch = name, dimension, batch
        self.classes, self.channels = classes, channels
        self.device = torch.device(device)
        self.network = network.eval().requires_grad_(False).to(self.device)
        self.digest = hash_tensors(network.state_dict() if state is None else state, recipe)
        self.hash = self.digest[:8]

    def __str__(self) -> str:
        return f"{self.name}@{self.hash}"

    @torch.inference_mode()
    def __call__(self, images: Tensor, batch: int | None = None) -> Features:
        """Extract features and logits of uint8 images [N, C, S, S], on any device.

        The batch size, by default the extractor's own, changes them by rounding at most. Raises
        ValueError where the images are of another type, shape or number of channels.
        """
        self._check(images)
        with exact():
            batches = images.split(batch or self.batch)
            features, logits = zip(*[self.network(x.to(self.device)) for x in batches], strict=True)
        return Features(
            torch.cat(features).float().cpu(),
            None if self.classes is None else torch.cat(logits).float().cpu(),
        )

    def _check(self, images: Tensor) -> None:
        channels = (1, 3) if self.channels is None else (self.channels,)
        if images.dtype != torch.uint8 or images.ndim != 4 or images.shape[1] not in channels:
            raise ValueError(
                f"the extractor {self.name!r} takes uint8 images [N, C, S, S] with C = "
                f"{' or '.join(map(str, channels))}, not {images.dtype} {list(images.shape)}"
            )
        if len(images) == 0:
            raise ValueError(f"the extractor {self.name!r} was given no images")


exact: Callable[[], AbstractContextManager[None]] = partial(
    torch.backends.cudnn.flags, enabled=True, benchmark=False, deterministic=True, allow_tf32=False
)
"""Make CUDA's convolutions reproducible and free of TF32; no effect on the CPU."""


def hash_tensors(tensors: Mapping[str, Tensor], text: str) -> str:
    """Return the SHA-256, in hex, of tensors with their names, types and shapes, and of a text."""
    sha = hashlib.sha256(text.encode())
    for name, tensor in sorted(tensors.items()):
        sha.update(f"{name} {tensor.dtype} {list(tensor.shape)}".encode())
        sha.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return sha.hexdigest()


@cache
def warn_once(line: str) -> None:
    """Log a warning, the first time and in the process that the user has started alone.

    Its workers meet with the same.
    """
    if multiprocessing.parent_process() is None:
        log.warning(line)


@dataclass(frozen=True)
class Material:
    """The images, labels and settings that an extractor is built from.

    Attributes:
        images: training images, uint8 [N, C, S, S], or points of the plane, float32 [N, 2, 1, 1]
            in [0, 1], which `pixels` alone takes.
        labels: their classes int64 [N] in [0, `classes`), None where they have none.
        key: a fingerprint of images and labels that names cached weights.
        cache: the folder of cached weights.
        weights: a file of weights for the extractors that read one, None to download them.
        ready: whether to raise `NotReady` instead of training the extractor or downloading weights.
    """

    images: Tensor
    labels: Tensor | None
    classes: int | None
    key: str
    cache: Path
    weights: Path | None = None
    device: str | torch.device = "cpu"
    ready: bool = False


def build_extractor(name: str, material: Material) -> Extractor:
    """Build an extractor; raise ValueError where there is none, or the material is not enough."""
    if name in EXTRACTORS and ":" not in name:
        return EXTRACTORS[name].build(material)
    family, _, member = name.partition(":")
    if member and f"{family}:NAME" in EXTRACTORS:
        return EXTRACTORS[f"{family}:NAME"].build(material, member)
    hint, choices = hint_nearest(name, EXTRACTORS), ", ".join(sorted(EXTRACTORS))
    raise ValueError(f"unknown extractor {name!r}: {hint}choose from {choices}")


def first_line(problem: BaseException) -> str:
    """Return the first line of an error's message, or its type where it has none."""
    return str(problem).strip().partition("\n")[0] or type(problem).__name__


def hint_nearest(name: str, known: Collection[str]) -> str:
    """Return a question for the known name that is nearest, empty where none is near."""
    near = get_close_matches(name.lower(), known, n=1, cutoff=0.4)
    return f"did you mean {near[0]!r}? " if near else ""
