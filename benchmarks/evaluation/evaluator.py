"""The one evaluation protocol: from a trained model to its scores, the same for every family."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor

from benchmarks.config.paths import Paths
from benchmarks.config.spec import DataSpec
from benchmarks.core.errors import FAILURES, BadInput
from benchmarks.core.seeds import derive_seed
from benchmarks.core.tensors import as_tensor, quantize, to_float
from benchmarks.data import Dataset, load_dataset
from benchmarks.data.cache import allocate
from benchmarks.evaluation.contract import ContractError, check_images, reconstruct
from benchmarks.evaluation.extractors import load_extractor, load_further_extractor
from benchmarks.evaluation.pictures import (
    LINES,
    PAIRS,
    Rendered,
    render_neighbors,
    render_rows,
    render_samples,
    walk,
)
from benchmarks.evaluation.reference import Reference
from benchmarks.evaluation.scoring import FailedExtractor, make_score, score_each_image
from benchmarks.records.schema import Score
from benchmarks.training.loop import Diverged
from metrics import METRICS, Extractor, Features, frechet_distance, mean_interval
from models.base import GenerativeModel, map_batches

FINISH = 5_000
"""Training images on which a model is completed for a validation score; all of them at the end."""

FLOATS = 2**27  # pixels of generated images that are held as floats at a time, in half a GiB
FURTHER = frozenset(("fid",))  # the metrics that are taken by further extractors too

MEMORIZATION = frozenset(n for n, m in METRICS.items() if m.metadata.inputs == "training")
"""The metrics that look for copies of training images."""


@dataclass(frozen=True)
class Generated:
    """All that is scored and shown of a trained model, images as uint8 [N, C, S, S].

    Reconstructions are of the first test images, None of a model that makes none.
    """

    samples: Tensor
    features: Features
    reconstructions: Tensor | None
    pictures: dict[str, Rendered]


def load_run_data(data: DataSpec, paths: Paths) -> Dataset:
    """Load the data of a run; raise BadInput where it is not what the run was planned with."""
    form = data.model_dump(include={"source", "image_size", "channels"})
    images = load_dataset(data.name, data_root=paths.data_root, download=False, **form)
    if images.fingerprint != data.fingerprint:
        raise BadInput(f"the images of {data.name} have changed since the run was planned")
    return images


@lru_cache(maxsize=2)
def load_evaluator(
    data: DataSpec,
    extractor: str,
    samples: int,
    reconstructions: int,
    paths: Paths,
    device: str,
    further: tuple[str, ...] = (),
) -> "Evaluator":
    """Load the data and the extractors of a run, once a process."""
    images = load_run_data(data, paths)
    built = load_extractor(extractor, images, paths, device)
    others = [load_further_extractor(name, images, paths, device) for name in further]
    return Evaluator(images, built, samples, reconstructions, paths.cache, others)


class Evaluator:
    """Scores models on one data set with one extractor; real features are computed once.

    Args:
        data: the data set; nothing but its test split is a reference of reported scores.
        extractor: of the features that all metrics but those of `further` are functions of.
        samples: the number of images that a model generates.
        reconstructions: the number of test images that it reconstructs.
        cache: a folder where the real images' features are kept, or None.
        further: extractors by which FID is taken too, or what stands for one that failed.
    """

    def __init__(
        self,
        data: Dataset,
        extractor: Extractor,
        samples: int,
        reconstructions: int,
        cache: Path | None = None,
        further: Sequence[Extractor | FailedExtractor] = (),
    ) -> None:
        self.data, self.extractor, self.samples = data, extractor, samples
        self.train, self.test = as_tensor(data.train.images), as_tensor(data.test.images)
        self.source_train = as_tensor(data.source_train.images)
        self.source_test = as_tensor(data.source_test.images)
        self.originals = self.test[:reconstructions]
        # Points lie so close that the nearest one is no sign of a copy.
        training = self.train if data.truth is None else None
        self.reference = Reference(
            extractor, self.test, "test", training=training, cache=cache, truth=data.truth
        )
        self.further = [self._make_reference(other, cache) for other in further]
        self.unseen = as_tensor(data.validation.images)
        self.validation = self.reference.extract(self.unseen).features

    def _make_reference(
        self, extractor: Extractor | FailedExtractor, cache: Path | None
    ) -> Reference | FailedExtractor:
        if isinstance(extractor, FailedExtractor):
            return extractor
        try:
            return Reference(extractor, self.test, "test", cache=cache)
        except FAILURES as error:
            return FailedExtractor(str(extractor), error)

    @torch.no_grad()
    def validate(self, model: GenerativeModel, seed: int) -> tuple[float, Tensor]:
        """Return a model's FID against the validation images, and the images that it is of.

        Those are a quarter of the samples, at least 64 or as many as there are sources, or fewer if
        the model asks for fewer. Sources are training sources: held-out ones are for reported
        scores alone.
        """
        counts = (len(self.source_train), max(64, self.samples // 4), model.validation_samples)
        n = min(count for count in counts if count is not None)
        self.finish(model, seed, self.train[:FINISH])
        images = self.draw_images(model, n, seed, self.source_train)
        return frechet_distance(self.validation, self.extractor(images).features), images

    @torch.no_grad()
    def finish(self, model: GenerativeModel, seed: int, train: Tensor | None = None) -> None:
        """Call `finish` of a trained model, which fits what it generates by to training images."""
        rng = make_generator(seed, "finish", model.device)
        model.finish(self.train if train is None else train, rng)

    @torch.no_grad()
    def draw_images(self, model: GenerativeModel, n: int, seed: int, source: Tensor) -> Tensor:
        """Generate n images, as uint8, so many at a time that their floats fit into memory.

        Raises:
            Diverged: some pixel is not a number.
            ContractError: the images are of another form, or outside [0, 1].
        """
        rng = make_generator(seed, "sample", model.device)
        images = allocate_like(self.test, n)
        for part in cut_into_parts(n, model.shape):
            count = part.stop - part.start
            starts = to_float(source[part].to(model.device)) if model.uses_source else None
            output = model.sample(count, rng, starts)
            try:
                check_images(output, f"{type(model).__name__}.sample", count, model.shape)
            except ContractError:
                if isinstance(output, Tensor) and not output.isfinite().all():
                    raise Diverged("the generated images are not finite") from None
                raise
            images[part] = quantize(output, images.dtype)
        return images

    def sample(self, model: GenerativeModel, seed: int) -> tuple[Tensor, Features]:
        """Generate the samples that are scored, and compute their features."""
        samples = self.draw_images(model, self.samples, seed, self.source_test)
        return samples, self.extractor(samples)

    @torch.no_grad()
    def generate(self, model: GenerativeModel, seed: int) -> Generated:
        """Generate and reconstruct, by a completed model, all that is scored or shown."""
        samples, features = self.sample(model, seed)
        originals = to_float(self.originals.to(model.device))
        rng = make_generator(seed, "reconstruct", model.device)
        copies = reconstruct(model, originals, rng)
        pictures = {"samples": render_samples(samples, self.data.truth)}
        if copies is not None:
            copies = quantize(copies, self.test.dtype).cpu()
            pictures["reconstructions"] = render_rows("reconstructions", self.originals, copies)
        pictures |= self.draw_interpolations(model, seed)
        pictures |= render_neighbors(self.reference, samples.__getitem__, features.features)
        pictures |= self.draw_translations(model)
        return Generated(samples, features, copies, pictures)

    def draw_interpolations(self, model: GenerativeModel, seed: int) -> dict[str, Rendered]:
        """Draw the images between pairs of a model's codes; nothing without codes, or of points."""
        latent = model.latent()
        if latent is None or self.data.truth is not None:
            return {}
        z = latent.sample(2 * LINES, make_generator(seed, "interpolate", model.device))
        codes = walk(z[:LINES], z[LINES:], PAIRS)
        images = map_batches(latent.decode, codes.flatten(0, 1))
        check_images(images, f"decode of {type(model).__name__}.latent", LINES * PAIRS, model.shape)
        rows = quantize(images).cpu().split(PAIRS)
        return {"interpolations": render_rows("interpolations", *rows)}

    def draw_translations(self, model: GenerativeModel) -> dict[str, Rendered]:
        """Draw held-out sources with their translations there and back; nothing without these."""
        translate = getattr(model, "translate", None)
        if not model.uses_source or translate is None:
            return {}
        source = self.source_test[: PAIRS if self.data.truth is None else self.samples]
        both = translate(to_float(source.to(model.device)))
        method, form = f"{type(model).__name__}.translate", (len(source), model.shape)
        there, back = (check_images(images, method, *form) for images in both)
        rows = (quantize(images, source.dtype).cpu() for images in (there, back))
        return {"translations": render_rows("translations", source, *rows)}

    def score(self, generated: Generated, model: GenerativeModel) -> list[Score]:
        """Score what a model has generated by every metric, each with its interval over samples."""
        samples, features = generated.samples, generated.features
        scores = self.reference.score_features(samples, features, model.generation)
        scores += self.score_further(samples, model.generation)
        scores += self.score_pairs(generated.reconstructions, model.reconstruction)
        if model.uses_source and self.data.hidden_pairs is not None:
            n, protocol = len(samples), "translation of known pairs"
            pair = as_tensor(self.data.hidden_pairs.images)[:n], samples
            errors = [
                METRICS["reconstruction_mse"](*(to_float(images[part]) for images in pair))
                for part in cut_into_parts(n, model.shape)
            ]
            scores.append(make_score("paired_mse", n, protocol, mean_interval(torch.cat(errors))))
        return scores

    def score_further(self, images: Tensor, protocol: str) -> list[Score]:
        """Score generated images by the features of the further extractors."""
        scores = list[Score]()
        for reference in self.further:
            try:
                scores += reference.score(images, protocol, FURTHER)
            except FAILURES as error:
                failed = FailedExtractor(str(reference), error)
                scores += failed.score(images, protocol, FURTHER)
        return scores

    def score_pairs(self, copies: Tensor | None, protocol: str) -> list[Score]:
        """Score reconstructions, if any, by every metric that applies to their size."""
        if copies is None:
            return []
        pair = to_float(self.originals), to_float(copies)
        return list(score_each_image("pairs", pair, len(copies), protocol))

    def score_best(
        self, model: GenerativeModel, seed: int, chosen_by: str, last: Score | None = None
    ) -> Score:
        """Return the test FID of the best checkpoint by validation with some extractor.

        `last` is that of the last checkpoint by the same seed, where it is the best as well.
        """
        score = last
        if score is None:
            self.finish(model, seed)
            samples = self.sample(model, seed)
            score = self.reference.score_features(*samples, model.generation, {"fid"})[0]
        update = {"metric": "fid_best", "checkpoint": "best"}
        if chosen_by != str(self.extractor):
            update["note"] = f"the checkpoint was chosen by {chosen_by}"
        return score.model_copy(update=update)


def make_generator(seed: int, purpose: str, device: torch.device) -> torch.Generator:
    """Return the random generator of one purpose."""
    return torch.Generator(device).manual_seed(derive_seed(seed, purpose))


def allocate_like(images: Tensor, count: int) -> Tensor:
    """Return a tensor for `count` images of the same form, in a file if it is large."""
    return torch.from_numpy(allocate((count, *images.shape[1:]), images[:0].numpy().dtype))


def cut_into_parts(count: int, shape: Sequence[int]) -> Iterator[slice]:
    """Cut `count` images into parts of at most `FLOATS` values, in whole blocks of `draw_noise`."""
    most = max(1, FLOATS // math.prod(shape))
    step = most - most % 256 or most
    return (slice(start, min(start + step, count)) for start in range(0, count, step))
