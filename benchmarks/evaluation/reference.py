"""The real images that generated ones are compared with, and the scores of the comparison."""

from collections.abc import Callable, Collection, Iterable, Iterator, Sized
from functools import cached_property, partial
from math import nan
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.core.errors import FAILURES, describe_error
from benchmarks.data.dataset import Truth
from benchmarks.evaluation.feature_cache import cached_features, fingerprint
from benchmarks.records.schema import FAILED, Score
from metrics import (
    INTERVALS,
    METRICS,
    Extractor,
    Features,
    Floor,
    Interval,
    Moments,
    NotApplicable,
    frechet_floor,
    jackknife,
)

GENERATED = {"features": 1, "logits": 0, "both_logits": 1, "training": 1, "modes": 0}
"""For each kind of inputs of a metric of generated images, which argument these are."""

NOTHING = Interval(nan, nan, nan, nan)
"""The interval of a score that is missing."""


class Reference:
    """A split of real images as one extractor sees them; their features are taken once.

    Args:
        extractor: turns images into features.
        real: the real images, uint8 [N, C, S, S] or points; or what was taken of them before: their
            features, or the moments of these, which serve FID alone.
        split: what they are called beside a score, e.g. `test`.
        training: the images that the models have learnt from, for the scores of memorization.
        cache: a folder where features are kept by the content of the images, or None.
        truth: the distribution that the images were drawn from, where it is known.
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
        self.features: Tensor | Moments
        if isinstance(real, Moments):
            self.features, self.logits = real, None
        else:
            self.features, self.logits = self.keep(real) if isinstance(real, Tensor) else real

    def __str__(self) -> str:
        return str(self.extractor)

    def keep(self, images: Tensor) -> Features:
        """Take the features of real images, from the cache if it has them."""
        if self.cache is None:
            return self.extractor(images)
        return cached_features(self.extractor, images, fingerprint(images), self.cache)

    @cached_property
    def training_features(self) -> Tensor:
        """The features of the training images [T, d]."""
        assert self.training is not None
        return self.keep(self.training).features

    def score(
        self, images: Tensor, protocol: str, names: Collection[str] | None = None
    ) -> list[Score]:
        """Score generated images, uint8 [M, C, S, S] or points, by every metric that applies.

        Args:
            images: what is scored.
            protocol: how they were made, in words.
            names: metrics to score by, None for all; those of training images need `training`.
        """
        return self.score_features(images, self.extractor(images), protocol, names)

    def score_features(
        self,
        images: Sized,
        fakes: Features,
        protocol: str,
        names: Collection[str] | None = None,
    ) -> list[Score]:
        """Score generated images whose features have been taken; else as `score`.

        The images themselves are looked at only where the truth is known.
        """
        chosen = [
            name
            for name, metric in METRICS.items()
            if metric.metadata.inputs in GENERATED and (names is None or name in names)
        ]
        scores, known = list[Score](), dict[Callable[..., Any], Any]()
        for name in chosen:
            kind = METRICS[name].metadata.inputs
            arguments = self.arguments(kind, images, fakes)
            if arguments is not None:
                measure = partial(find_interval, name, arguments, GENERATED[kind], known)
                scores += attempt(measure, partial(self.entry, name, len(images), protocol))
        return list(self.annotate(scores, len(images), protocol))

    def arguments(self, inputs: str, images: Sized, fakes: Features) -> tuple[Any, ...] | None:
        """Give what a metric of this kind of inputs is a function of, None where that is not there.

        A reference without training images, logits or a known truth lacks it.
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

    def annotate(self, scores: list[Score], count: int, protocol: str) -> Iterator[Score]:
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
                notes.append("within the spread of its floor, not told apart from real images")
            yield score.model_copy(update={"note": "; ".join(notes) or None})
            spread = Interval(floor.mean, max(floor.mean - reach, 0), floor.mean + reach, reach / 2)
            words = "two standard deviations, for Gaussian features"
            if self.counted:
                yield self.entry("fid_floor", count, protocol, spread, words)

    def entry(self, name: str, n: int, protocol: str, interval: Interval, words: str) -> Score:
        """Give a score with all that is needed to read it."""
        return Score(
            metric=name,
            value=interval.value,
            low=interval.low,
            high=interval.high,
            n=n,
            reference=self.split,
            extractor=str(self.extractor),
            protocol=protocol,
            interval=words,
        )


class Lost:
    """Stands for a further extractor that has failed: its scores are missing, with the reason."""

    def __init__(self, name: str, split: str, error: BaseException) -> None:
        self.name, self.split, self.note = name, split, FAILED + describe_error(error)

    def __str__(self) -> str:
        return self.name

    def score(self, images: Tensor, protocol: str, names: Collection[str]) -> list[Score]:
        """Return the scores that are missing, for the same arguments as `Reference.score`."""
        missing = Score(
            metric="",
            value=None,
            n=len(images),
            reference=self.split,
            extractor=self.name,
            protocol=protocol,
            note=self.note,
        )
        return [missing.model_copy(update={"metric": name}) for name in names]


def extract(extractor: Extractor, batches: Iterable[np.ndarray], count: int) -> Features:
    """Take the features of `count` images that come in batches, uint8 [n, C, S, S]."""
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


def attempt(
    measure: Callable[[], tuple[Interval, str]], entry: Callable[[Interval, str], Score]
) -> Iterator[Score]:
    """Yield the score by a metric: none where it does not apply, and no value where it fails."""
    try:
        score = entry(*measure())
    except NotApplicable:
        return
    except FAILURES as error:
        missing = {"interval": None, "note": FAILED + describe_error(error)}
        score = entry(NOTHING, "").model_copy(update=missing)
    yield score


def find_interval(
    name: str, arguments: tuple[Any, ...], generated: int, known: dict[Callable[..., Any], Any]
) -> tuple[Interval, str]:
    """Give a metric's interval by its own function, or else by the jackknife over generated images.

    Args:
        name: of the metric.
        arguments: what it is a function of.
        generated: which of them are the generated images.
        known: what the functions have given that several metrics share.
    """
    own = INTERVALS.get(name)
    if own is None:
        metric = METRICS[name]

        def score(fakes: Tensor) -> float:
            value: float = metric(*arguments[:generated], fakes, *arguments[generated + 1 :])
            return value

        return jackknife(score, arguments[generated]), "95 %, jackknife over samples"
    if own.function not in known:
        known[own.function] = own.function(*arguments)
    result = known[own.function]
    return result[name] if isinstance(result, dict) else result, own.words
