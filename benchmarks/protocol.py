"""The one evaluation protocol: from a trained model to its scores, the same for every family."""

import warnings
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor

from benchmarks.data import Dataset
from benchmarks.images import encode_tiles, quantise, to_float
from benchmarks.records import Picture, Score
from benchmarks.seeds import derive_seed
from benchmarks.training import Diverged
from metrics import METRICS, Extractor, Features, Interval, frechet_distance, frechet_interval
from metrics.uncertainty import jackknife, mean_interval
from models.game import GenerativeModel

PROTOCOL = 1
"""Raised whenever the same model would get other scores."""

FINISH = 5_000
"""Training images on which a model is completed for a validation score; all of them at the end."""

GRID, PAIRS = 8, 10
"""Rows and columns of a picture of samples; columns of a picture of reconstructions."""


@dataclass(frozen=True)
class Generated:
    """What a model makes at the end: uint8 images [N, C, S, S], and pictures as (file, content)."""

    samples: Tensor
    reconstructions: Tensor
    pictures: dict[str, tuple[Picture, bytes]]


class Evaluator:
    """Scores models on one data set with one extractor; real features are computed once.

    Args:
        data: the data set; nothing but its test split is a reference of reported scores.
        extractor: what turns images into features.
        samples: how many images a model generates.
        reconstructions: how many test images it reconstructs.
    """

    def __init__(
        self, data: Dataset, extractor: Extractor, samples: int, reconstructions: int
    ) -> None:
        self.data, self.extractor, self.samples = data, extractor, samples
        self.train, self.test = as_tensor(data.train.images), as_tensor(data.test.images)
        self.source_train = as_tensor(data.source_train.images)
        self.source_test = as_tensor(data.source_test.images)
        self.originals = self.test[:reconstructions]
        self.reference, self.logits = extractor(self.test)
        self.validation = extractor(as_tensor(data.validation.images)).features

    @torch.no_grad()
    def validate(self, model: GenerativeModel, seed: int) -> float:
        """Give the FID of a model against the validation images, by a quarter of the samples.

        At least 64 are drawn, or as many as there are sources. Those are training sources: held-out
        ones are for reported scores alone.
        """
        n = min(len(self.source_train), max(64, self.samples // 4))
        fakes = self.draw(model, n, seed, self.source_train, self.train[:FINISH])
        return frechet_distance(self.validation, self.extractor(fakes).features)

    @torch.no_grad()
    def draw(
        self, model: GenerativeModel, n: int, seed: int, source: Tensor, train: Tensor
    ) -> Tensor:
        """Complete a model on training images and generate n images by it, as uint8.

        Raises:
            Diverged: some pixel is not a number.
        """
        rng = partial(seeded, seed, device=model.device)
        model.finish(train, rng("finish"))
        starts = to_float(source[:n].to(model.device)) if model.uses_source else None
        images = model.sample(n, rng("sample"), starts)
        if not images.isfinite().all():
            raise Diverged("the generated images are not finite")
        return quantise(images).cpu()

    @torch.no_grad()
    def generate(self, model: GenerativeModel, seed: int) -> Generated:
        """Let a model generate and reconstruct all that will be scored or shown."""
        samples = self.draw(model, self.samples, seed, self.source_test, self.train)
        originals = to_float(self.originals.to(model.device))
        rng = seeded(seed, "reconstruct", device=model.device)
        copies = quantise(model.reconstruct(originals, rng)).cpu()
        pictures = {
            "samples": draw_samples(samples),
            "reconstructions": draw_rows("reconstructions", self.originals, copies),
        }
        translate = getattr(model, "translate", None)
        if model.uses_source and translate is not None:
            source = self.source_test[:PAIRS]
            there, back = translate(to_float(source.to(model.device)))
            rows = (source, quantise(there).cpu(), quantise(back).cpu())
            pictures["translations"] = draw_rows("translations", *rows)
        return Generated(samples, copies, pictures)

    def score(self, made: Generated, model: GenerativeModel) -> list[Score]:
        """Score what a model has made by every metric, each with its interval over samples."""
        scores = self.score_samples(self.extractor(made.samples), model.generation)
        scores += self.score_pairs(self.originals, made.reconstructions, model.reconstruction)
        if model.uses_source and self.data.hidden_pairs is not None:
            truth = as_tensor(self.data.hidden_pairs.images)[: len(made.samples)]
            error = mean_interval(
                METRICS["reconstruction_mse"](to_float(truth), to_float(made.samples))
            )
            scores.append(self.entry("paired_mse", error, len(truth), "translation of known pairs"))
        return scores

    def score_samples(self, fakes: Features, protocol: str) -> list[Score]:
        """Score generated images by the metrics of features and of logits."""
        scores = []
        for name, metric in METRICS.items():
            inputs = metric.metadata.inputs
            if inputs == "features":
                interval = feature_interval(name, self.reference, fakes.features)
            elif inputs == "logits" and fakes.logits is not None:
                interval = jackknife(metric, fakes.logits, log=True)
            else:
                continue
            scores.append(
                self.entry(name, interval, len(fakes.features), protocol, jackknifed=True)
            )
        return scores

    def score_pairs(self, originals: Tensor, copies: Tensor, protocol: str) -> list[Score]:
        """Score reconstructions image by image."""
        pair = to_float(originals), to_float(copies)
        return [
            self.entry(name, mean_interval(metric(*pair)), len(originals), protocol)
            for name, metric in METRICS.items()
            if metric.metadata.inputs == "pairs"
        ]

    def best_score(self, model: GenerativeModel, seed: int) -> Score:
        """Give the test FID of the checkpoint that was best by validation."""
        images = self.draw(model, self.samples, seed, self.source_test, self.train)
        fakes = self.extractor(images).features
        interval = feature_interval("fid", self.reference, fakes)
        score = self.entry("fid_best", interval, len(fakes), model.generation, jackknifed=True)
        return score.model_copy(update={"checkpoint": "best"})

    def entry(
        self, name: str, interval: Interval, n: int, protocol: str, *, jackknifed: bool = False
    ) -> Score:
        """Give a score with all that is needed to read it."""
        return Score(
            metric=name,
            value=interval.value,
            low=interval.low,
            high=interval.high,
            n=n,
            reference="test",
            extractor=str(self.extractor) if jackknifed else None,
            protocol=protocol,
            interval="95 %, jackknife over samples"
            if jackknifed
            else "95 %, Student's t over images",
        )

    def calibrate(self) -> dict[str, Generated]:
        """Make the calibration rows: `real` training images, and uniform `noise`."""
        rng = torch.Generator().manual_seed(derive_seed("noise", *self.test.shape[1:]))
        shape = (self.samples, *self.test.shape[1:])
        noise = torch.randint(0, 256, shape, generator=rng, dtype=torch.uint8)
        n = len(self.originals)
        unrelated = noise[torch.arange(n) % len(noise)]
        real = self.train[: self.samples]
        pictures = {"samples": draw_samples(self.test)}
        return {
            "real": Generated(real, self.originals, pictures),
            "noise": Generated(noise, unrelated, {"samples": draw_samples(noise)}),
        }

    def score_calibration(self, name: str, made: Generated) -> list[Score]:
        """Score a calibration row: the floor of each score at this sample size, or the ceiling."""
        protocols = {"real": ("training images", "identity"), "noise": ("uniform noise", "noise")}
        generation, reconstruction = protocols[name]
        scores = self.score_samples(self.extractor(made.samples), generation)
        scores += self.score_pairs(self.originals, made.reconstructions, reconstruction)
        return scores + (self.score_extractor() if name == "real" else [])

    def score_extractor(self) -> list[Score]:
        """Say how many test images the extractor puts into their class, if it knows the classes."""
        labels, classes = self.data.test.labels, len(self.data.class_names or ())
        if labels is None or self.logits is None or self.extractor.classes != classes:
            return []
        right = self.logits.argmax(1) == as_tensor(labels)
        accuracy = mean_interval(right.double())
        score = self.entry("extractor_accuracy", accuracy, len(right), "classes of test images")
        return [score.model_copy(update={"extractor": str(self.extractor)})]


def feature_interval(name: str, real: Tensor, fake: Tensor) -> Interval:
    """Score features with an interval over the generated ones, the reference fixed."""
    if name == "fid":
        return frechet_interval(real, fake)
    return jackknife(partial(METRICS[name], real), fake)


def seeded(seed: int, purpose: str, device: torch.device) -> torch.Generator:
    """Make the generator of one purpose."""
    return torch.Generator(device).manual_seed(derive_seed(seed, purpose))


def draw_samples(images: Tensor) -> tuple[Picture, bytes]:
    """Draw the first images, chosen by nothing but their index, as a grid."""
    columns = min(GRID, len(images))
    rows = min(GRID, len(images) // columns)
    lines = list(images[: rows * columns].split(columns))
    return Picture(file="samples.png", rows=rows, columns=columns), encode_tiles(lines)


def draw_rows(name: str, *rows: Tensor) -> tuple[Picture, bytes]:
    """Draw rows of images that belong together column by column."""
    columns = min(PAIRS, *(len(row) for row in rows))
    content = encode_tiles([row[:columns] for row in rows])
    return Picture(file=f"{name}.png", rows=len(rows), columns=columns), content


def as_tensor(images: np.ndarray) -> Tensor:
    """View an array as a tensor; nothing writes to it, whether or not it could be written to."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        return torch.from_numpy(images)
