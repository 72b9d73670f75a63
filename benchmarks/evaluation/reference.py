"""The real images that generated ones are compared with, and the scores of the comparison."""

from collections.abc import Callable, Collection, Iterable, Iterator, Sized
from functools import cached_property, partial
from math import nan
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.data.dataset import Truth
from benchmarks.evaluation.feature_cache import cached_features, fingerprint_images
from benchmarks.evaluation.scoring import attempt_score, compute_interval, make_score
from benchmarks.records.schema import Score
from metrics import METRICS, Extractor, Features, Floor, Interval, Moments, frechet_floor

GENERATED = {"features": 1, "logits": 0, "both_logits": 1, "training": 1, "modes": 0}
"""For each kind of inputs of a metric of generated images, the position of these among them."""


class Reference:
    """The features of a split of real images, computed once, to which others are compared.

    Args:
        real: the real images, uint8 [N, C, S, S] or points; or their features; or the moments of
            these, which serve FID alone.
        split: its name beside a score, e.g. `test`.
        training: the images that the models have learned from, for the scores of memorization.
        cache: a folder where features are kept by the content of the images, or None.
        counted: whether moments know of how many images they are.
    """

    def __init__(
        self,
        extractor: Extractor,
        real: Tensor | Features | Moments,
        split: str,
        *,
        training: Tensor | None = None,
        cache: Path | None = None,
        truth: Truth | None = None,
        counted: bool = True,
    ) -> None:
        self.extractor, self.split, self.counted = extractor, split, counted
        self.training, self.cache, self.truth = training, cache, truth
        self.make_score = partial(make_score, reference=split, extractor=str(extractor))
        self.features: Tensor | Moments
        if isinstance(real, Moments):
            self.features, self.logits = real, None
        else:
            self.features, self.logits = self.extract(real) if isinstance(real, Tensor) else real

    def __str__(self) -> str:
        return str(self.extractor)

    def extract(self, images: Tensor) -> Features:
        """Return the features of real images, from the cache if it has them."""
        if self.cache is None:
            return self.extractor(images)
        return cached_features(self.extractor, images, fingerprint_images(images), self.cache)

    @cached_property
    def training_features(self) -> Tensor:
        """The features of the training images [T, d]."""
        assert self.training is not None
        return self.extract(self.training).features

    def score(
        self, images: Tensor, protocol: str, names: Collection[str] | None = None
    ) -> list[Score]:
        """Score generated images, uint8 [M, C, S, S] or points, by every metric that applies.

        `names` are the metrics to score by, None for all; those of training images need `training`.
        """
        return self.score_features(images, self.extractor(images), protocol, names)

    def score_features(
        self, images: Sized, fakes: Features, protocol: str, names: Collection[str] | None = None
    ) -> list[Score]:
        """Score generated images by their features; else as `score`.

        The images themselves are read only where the truth is known.
        """
        scores, known = list[Score](), dict[Callable[..., Any], Any]()
        for name, metric in METRICS.items():
            kind = metric.metadata.inputs
            if kind not in GENERATED or (names is not None and name not in names):
                continue
            arguments = self.collect_arguments(kind, images, fakes)
            if arguments is not None:
                compute = partial(compute_interval, name, arguments, GENERATED[kind], known)
                make = partial(self.make_score, name, len(images), protocol)
                scores += attempt_score(compute, make)
        return list(self.add_floor(scores, len(images), protocol))

    def collect_arguments(
        self, inputs: str, images: Sized, fakes: Features
    ) -> tuple[Any, ...] | None:
        """Return the arguments of a metric of this kind of inputs, None where one is missing.

        A reference may be without training images, logits or a known truth.
        """
        real = self.features
        if inputs == "features":
            return real, fakes.features
        if inputs == "training" and self.training is not None:
            return real, fakes.features, self.training_features
        if inputs == "modes" and self.truth is not None:
            assert isinstance(images, Tensor)
            return images.flatten(1), torch.as_tensor(self.truth.centres), self.truth.deviation
        if fakes.logits is None:
            return None
        return {"logits": (fakes.logits,), "both_logits": (self.logits, fakes.logits)}.get(inputs)

    def add_floor(self, scores: list[Score], count: int, protocol: str) -> Iterator[Score]:
        """Yield the scores with the floor of FID beside it, and notes where FID says little."""
        real, dimension = self.features, self.extractor.dimension
        known = real.count if isinstance(real, Moments) else len(real)
        for score in scores:
            if score.metric != "fid" or score.value is None:
                yield score
                continue
            notes = []
            fewest = min(count, known) if self.counted else count
            if fewest <= dimension:
                notes.append(f"{fewest:,} images are not more than the {dimension:,} features")
            floor = frechet_floor(real, count) if self.counted else Floor(nan, nan)
            reach = 2 * floor.deviation
            if score.value <= floor.mean + reach:
                notes.append("within the spread of its floor, not distinguishable from real images")
            yield score.model_copy(update={"note": "; ".join(notes) or None})
            spread = Interval(floor.mean, max(floor.mean - reach, 0), floor.mean + reach, reach / 2)
            words = "two standard deviations, for Gaussian features"
            if self.counted:
                yield self.make_score("fid_floor", count, protocol, spread, words)


def extract_features(extractor: Extractor, batches: Iterable[np.ndarray], count: int) -> Features:
    """Return the features of `count` images that come in batches, uint8 [n, C, S, S]."""
    features = torch.empty(count, extractor.dimension)
    logits = None if extractor.classes is None else torch.empty(count, extractor.classes)
    done = 0
    for batch in batches:
        found, rows = extractor(torch.from_numpy(batch)), slice(done, done + len(batch))
        features[rows] = found.features
        if logits is not None and found.logits is not None:
            logits[rows] = found.logits
        done += len(batch)
    return Features(features, logits)
