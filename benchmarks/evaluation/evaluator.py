"""The one evaluation protocol: from a trained model to its scores, the same for every family."""

import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from benchmarks.config.spec import Likelihoods
from benchmarks.core.errors import FAILURES
from benchmarks.core.seeds import derive_seed
from benchmarks.data import Dataset, Truth
from benchmarks.data.cache import allocate
from benchmarks.data.tiles import draw_points, encode_tiles, quantise, to_float
from benchmarks.evaluation.contract import (
    ContractError,
    check_images,
    find_fault,
    is_finite,
    reconstruct,
)
from benchmarks.evaluation.reference import Lost, Reference, attempt
from benchmarks.records.schema import Picture, Score
from benchmarks.training.distributed import WHOLE, Shards
from benchmarks.training.loop import Diverged
from metrics import (
    METRICS,
    Extractor,
    Features,
    Interval,
    Metric,
    find_nearest,
    frechet_distance,
    mean_interval,
)
from metrics.likelihood import (
    Annealing,
    annealed_importance_sampling,
    bidirectional_monte_carlo,
    dequantise,
    select_deviation,
)
from models.base import GenerativeModel, Latent, map_batches

FINISH = 5_000
"""Training images on which a model is completed for a validation score; all of them at the end."""

SELECTION = 40
"""Validation images by which the deviation is chosen that a decoder is observed with."""

FLOATS = 2**27
"""Pixels of generated images that are held as floats at a time, in half a GiB."""

GRID, PAIRS = 8, 10
"""Rows and columns of a picture of samples; columns of a picture of reconstructions."""

LINES = 6
"""Rows of a picture of interpolations: pairs of codes, and what lies between them."""

VIEWED = frozenset(("fid",))
"""The metrics that are taken by further extractors too."""


PROTOCOLS = {"real": ("training images", "identity"), "noise": ("uniform noise", "noise")}
"""How the images of the calibration rows are made, and their reconstructions."""

MEMORISATION = frozenset(n for n, m in METRICS.items() if m.metadata.inputs == "training")
"""The metrics that look for copies of training images."""

OVER_IMAGES = "95 %, Student's t over images"
"""What the interval of a mean over images is."""

Drawn = tuple[Picture, bytes]
"""A picture and the content of its file."""


@dataclass(frozen=True)
class Generated:
    """What a model makes at the end, and the pictures of it.

    Attributes:
        samples: the images to be scored, uint8 [N, C, S, S].
        features: what the extractor sees in them.
        reconstructions: copies of the first test images; None of a model that makes none.
        pictures: by what they show.
    """

    samples: Tensor
    features: Features
    reconstructions: Tensor | None
    pictures: dict[str, Drawn]


class Block(NamedTuple):
    """Some of the images that a model has generated, or what is wrong with them."""

    images: Tensor
    finite: bool = True
    fault: str | None = None


class Evaluator:
    """Scores models on one data set with one extractor; real features are computed once.

    Args:
        data: the data set; nothing but its test split is a reference of reported scores.
        extractor: what turns images into features.
        samples: how many images a model generates.
        reconstructions: how many test images it reconstructs.
        cache: a folder where the real images' features are kept, or None.
        views: further extractors, by which FID is taken too, or what stands for one that failed.
    """

    def __init__(
        self,
        data: Dataset,
        extractor: Extractor,
        samples: int,
        reconstructions: int,
        cache: Path | None = None,
        views: Sequence[Extractor | Lost] = (),
    ) -> None:
        self.data, self.extractor, self.samples = data, extractor, samples
        self.train, self.test = as_tensor(data.train.images), as_tensor(data.test.images)
        self.source_train = as_tensor(data.source_train.images)
        self.source_test = as_tensor(data.source_test.images)
        self.originals = self.test[:reconstructions]
        # Points lie so close that the nearest one says nothing of where a model has it from.
        training = self.train if data.truth is None else None
        self.reference = Reference(
            extractor, self.test, "test", training=training, cache=cache, truth=data.truth
        )
        self.views = [self.open_view(view, cache) for view in views]
        self.unseen = as_tensor(data.validation.images)
        self.validation = self.reference.keep(self.unseen).features

    def open_view(self, view: Extractor | Lost, cache: Path | None) -> Reference | Lost:
        """Let a further extractor see the test images."""
        if isinstance(view, Lost):
            return view
        try:
            return Reference(view, self.test, "test", cache=cache)
        except FAILURES as error:
            return Lost(str(view), "test", error)

    @torch.no_grad()
    def validate(
        self, model: GenerativeModel, seed: int, shards: Shards = WHOLE
    ) -> tuple[float, Tensor]:
        """Give a model's FID against the validation images, and the images that it is of.

        Those are a quarter of the samples, at least 64 or as many as there are sources; in other
        processes than the first they are its own alone. Sources are training sources: held-out ones
        are for reported scores alone.
        """
        n = min(len(self.source_train), max(64, self.samples // 4))
        if shards.leads:
            self.complete(model, seed, self.train[:FINISH])
        blocks = self.draw(model, n, seed, self.source_train, shards)
        features = shards.summarise([self.extractor(block).features for block in blocks])
        return frechet_distance(self.validation, features), shards.gather(blocks)

    @torch.no_grad()
    def complete(self, model: GenerativeModel, seed: int, train: Tensor | None = None) -> None:
        """Let a model that has been trained learn what it generates by, from training images."""
        rng = seeded(seed, "finish", device=model.device)
        model.finish(self.train if train is None else train, rng)

    @torch.no_grad()
    def draw(
        self, model: GenerativeModel, n: int, seed: int, source: Tensor, shards: Shards = WHOLE
    ) -> list[Tensor]:
        """Generate n images by a model, as uint8, in shards: give this process's.

        Raises:
            Diverged: some pixel is not a number.
            ContractError: the images are of another form, or outside [0, 1].
        """
        shards.share_model(model)
        blocks = [self.draw_block(model, n, seed, source, shards, s) for s in shards.own]
        if not shards.agree(all(block.finite for block in blocks)):
            raise Diverged("the generated images are not finite")
        fault = next((block.fault for block in blocks if block.fault), None)
        if not shards.agree(fault is None):
            # Of another process's images that one says what is wrong, see `Team.call`.
            method = f"{type(model).__name__}.sample"
            raise ContractError(fault) if fault else RuntimeError(f"{method}: see another process")
        return [block.images for block in blocks]

    def draw_block(
        self,
        model: GenerativeModel,
        n: int,
        seed: int,
        source: Tensor,
        shards: Shards,
        shard: int,
    ) -> Block:
        """Generate one shard of n images, so many at a time that their floats fit into memory."""
        rows = shards.rows(n, shard)
        if shards.count > 1:  # for a model of the user's that draws from the global generator
            torch.manual_seed(shards.seed(shard, seed, "draw"))
        rng = torch.Generator(model.device).manual_seed(shards.seed(shard, seed, "sample"))
        images = allocate_like(self.test, rows.stop - rows.start)
        for part in pieces(len(images), model.shape):
            own, count = source[rows][part], part.stop - part.start
            starts = to_float(own.to(model.device)) if model.uses_source else None
            made = model.sample(count, rng, starts)
            fault = find_fault(made, f"{type(model).__name__}.sample", count, model.shape)
            if fault:
                return Block(images, is_finite(made), fault)
            images[part] = quantise(made, images.dtype)
        return Block(images)

    def make(
        self, model: GenerativeModel, seed: int, shards: Shards = WHOLE
    ) -> tuple[Tensor, Features]:
        """Generate the samples that are scored, and their features: all in the first process."""
        blocks = self.draw(model, self.samples, seed, self.source_test, shards)
        parts = [self.extractor(block) for block in blocks]
        features = shards.gather([part.features for part in parts])
        logits = [part.logits for part in parts if part.logits is not None]
        return shards.gather(blocks), Features(features, shards.gather(logits) if logits else None)

    @torch.no_grad()
    def generate(self, model: GenerativeModel, seed: int, shards: Shards = WHOLE) -> Generated:
        """Let a completed model generate and reconstruct all that will be scored or shown.

        Samples are drawn by all processes, reconstructions by the first alone.
        """
        samples, features = self.make(model, seed, shards)
        originals = to_float(self.originals.to(model.device))
        rng = seeded(seed, "reconstruct", device=model.device)
        copies = reconstruct(model, originals, rng)
        pictures = {"samples": draw_samples(samples, self.data.truth)}
        if copies is not None:
            copies = quantise(copies, self.test.dtype).cpu()
            pictures["reconstructions"] = draw_rows("reconstructions", self.originals, copies)
        if (between := self.interpolate(model, seed)) is not None:
            pictures["interpolations"] = between
        if self.reference.training is not None:
            choose = samples.__getitem__
            pictures["neighbours"] = draw_neighbours(self.reference, choose, features.features)
        translate = getattr(model, "translate", None)
        if model.uses_source and translate is not None:
            source = self.source_test[: PAIRS if self.data.truth is None else self.samples]
            both = translate(to_float(source.to(model.device)))
            method, form = f"{type(model).__name__}.translate", (len(source), model.shape)
            there, back = (check_images(images, method, *form) for images in both)
            made = (quantise(images, source.dtype).cpu() for images in (there, back))
            pictures["translations"] = draw_rows("translations", source, *made)
        return Generated(samples, features, copies, pictures)

    def interpolate(self, model: GenerativeModel, seed: int) -> Drawn | None:
        """Draw what lies between pairs of a model's codes; None where it has none, or of points."""
        latent = model.latent()
        if latent is None or self.data.truth is not None:
            return None
        z = latent.sample(2 * LINES, seeded(seed, "interpolate", device=model.device))
        codes = walk(z[:LINES], z[LINES:], PAIRS)
        images = map_batches(latent.decode, codes.flatten(0, 1))
        check_images(images, f"decode of {type(model).__name__}.latent", LINES * PAIRS, model.shape)
        return draw_rows("interpolations", *quantise(images).cpu().split(PAIRS))

    def score(self, made: Generated, model: GenerativeModel) -> list[Score]:
        """Score what a model has made by every metric, each with its interval over samples."""
        scores = self.reference.score_features(made.samples, made.features, model.generation)
        scores += self.score_views(made.samples, model.generation)
        scores += self.score_pairs(made.reconstructions, model.reconstruction)
        if model.uses_source and self.data.hidden_pairs is not None:
            n, protocol = len(made.samples), "translation of known pairs"
            pair = as_tensor(self.data.hidden_pairs.images)[:n], made.samples
            errors = [
                METRICS["reconstruction_mse"](*(to_float(images[part]) for images in pair))
                for part in pieces(n, model.shape)
            ]
            scores.append(self.entry("paired_mse", n, protocol, mean_interval(torch.cat(errors))))
        return scores

    def score_views(self, images: Tensor, protocol: str) -> list[Score]:
        """Score generated images as the further extractors see them."""
        scores = list[Score]()
        for view in self.views:
            try:
                scores += view.score(images, protocol, VIEWED)
            except FAILURES as error:
                scores += Lost(str(view), "test", error).score(images, protocol, VIEWED)
        return scores

    def score_pairs(self, copies: Tensor | None, protocol: str) -> list[Score]:
        """Score reconstructions, if any, by every metric that applies to their size."""
        if copies is None:
            return []
        pair = to_float(self.originals), to_float(copies)
        return list(self.score_each("pairs", pair, len(copies), protocol))

    def score_each(
        self, inputs: str, arguments: tuple[Tensor, ...], n: int, protocol: str
    ) -> Iterator[Score]:
        """Score n images one by one, by every metric of such inputs that applies to them."""
        for name, metric in METRICS.items():
            if metric.metadata.inputs == inputs:
                measure = partial(score_images, metric, arguments)
                yield from attempt(measure, partial(self.entry, name, n, protocol))

    @torch.no_grad()
    def score_likelihood(
        self, model: GenerativeModel, wanted: Likelihoods, seed: int
    ) -> list[Score]:
        """Estimate how probable the model holds the first test images, as far as it can tell.

        By the codes that its encoder proposes, where it has one with a likelihood, and by annealing
        towards the posterior of its decoder, whose images are observed with Gaussian noise.
        """
        rng = seeded(seed, "likelihood", device=model.device)
        images = to_float(self.test[: wanted.images].to(model.device))
        latent = model.latent()
        scores = list[Score]()
        # A density is of values that are not whole; what a Bernoulli likelihood gives is none.
        gaussian = latent is not None and latent.deviation is not None
        weights = model.log_weights(
            dequantise(images, rng) if gaussian else images, wanted.importance, rng
        )
        if weights is not None:
            protocol = f"{wanted.importance:,} codes an image from the encoder"
            scores += self.score_each("log_weights", (weights,), len(images), protocol)
        if latent is not None and wanted.chains:
            scores += self.anneal(latent, images, wanted, rng)
        return scores

    def anneal(
        self, latent: Latent, images: Tensor, wanted: Likelihoods, rng: torch.Generator
    ) -> list[Score]:
        """Estimate likelihoods by annealing, and its error on images of the model's own."""
        deviation, chosen = latent.deviation, "the model's own"
        if deviation is None:
            unseen = to_float(self.unseen[:SELECTION].to(images.device))
            search = Annealing(wanted.distributions, chains=2)
            deviation = select_deviation(dequantise(unseen, rng), latent, rng, search)
            chosen = "chosen on validation images"
        work = Annealing(wanted.distributions, wanted.chains)
        found = annealed_importance_sampling(dequantise(images, rng), latent, deviation, rng, work)
        gap = bidirectional_monte_carlo(images[: wanted.simulated], latent, deviation, rng, work)
        protocol = (
            f"annealing, {wanted.distributions:,} distributions, {wanted.chains} chains, "
            f"observed with deviation {deviation:.3g}, {chosen}"
        )
        return [
            self.entry(name, len(values), protocol, mean_interval(values))
            for name, values in (*found._asdict().items(), ("bdmc_gap", gap.bdmc_gap))
        ]

    def best_score(
        self, model: GenerativeModel, seed: int, chosen_by: str, shards: Shards = WHOLE
    ) -> Score:
        """Give the test FID of the checkpoint that was best by validation with some extractor."""
        self.complete(model, seed)
        made = self.make(model, seed, shards)
        score = self.reference.score_features(*made, model.generation, {"fid"})[0]
        note = f"the checkpoint was chosen by {chosen_by}"
        return score.model_copy(
            update={
                "metric": "fid_best",
                "checkpoint": "best",
                "note": note if chosen_by != str(self.extractor) else score.note,
            }
        )

    def entry(
        self, name: str, n: int, protocol: str, interval: Interval, words: str = OVER_IMAGES
    ) -> Score:
        """Give a mean over images with all that is needed to read it."""
        return Score(
            metric=name,
            value=interval.value,
            low=interval.low,
            high=interval.high,
            n=n,
            reference="test",
            protocol=protocol,
            interval=words,
        )

    def calibrate(self) -> dict[str, Generated]:
        """Make the calibration rows: `real` training images, and uniform `noise`."""
        rng = torch.Generator().manual_seed(derive_seed("noise", *self.test.shape[1:]))
        noise = draw_uniform(allocate_like(self.test, self.samples), rng)
        n = len(self.originals)
        unrelated = noise[torch.arange(n) % len(noise)]
        real = self.train[: self.samples]
        truth = self.data.truth
        pictures = {"samples": draw_samples(self.test[: self.samples], truth)}
        return {
            "real": Generated(real, self.extractor(real), self.originals, pictures),
            "noise": Generated(
                noise, self.extractor(noise), unrelated, {"samples": draw_samples(noise, truth)}
            ),
        }

    def score_calibration(self, name: str, made: Generated) -> list[Score]:
        """Score a calibration row: the floor of each score at this sample size, or the ceiling.

        The training images would be found to be copies of themselves, so the floor of memorisation
        is that of the validation images, which no model has learnt from.
        """
        generation, reconstruction = PROTOCOLS[name]
        chosen = METRICS.keys() - MEMORISATION if name == "real" else METRICS.keys()
        scores = self.reference.score_features(made.samples, made.features, generation, chosen)
        scores += self.score_views(made.samples, generation)
        if name == "real":
            scores += self.reference.score(self.unseen, "validation images", MEMORISATION)
            scores += self.score_extractor()
        return scores + self.score_pairs(made.reconstructions, reconstruction)

    def score_extractor(self) -> list[Score]:
        """Say how many test images the extractor puts into their class, if it knows the classes."""
        labels, classes = self.data.test.labels, len(self.data.class_names or ())
        logits = self.reference.logits
        if labels is None or logits is None or self.extractor.classes != classes:
            return []
        right = logits.argmax(1) == as_tensor(labels)
        accuracy = mean_interval(right.double())
        n, protocol = len(right), "classes of test images"
        score = self.entry("extractor_accuracy", n, protocol, accuracy)
        return [score.model_copy(update={"extractor": str(self.extractor)})]


def score_images(metric: Metric, arguments: tuple[Tensor, ...]) -> tuple[Interval, str]:
    """Return the mean of a metric of single images, and what its interval is in words."""
    return mean_interval(metric(*arguments)), OVER_IMAGES


def seeded(seed: int, purpose: str, device: torch.device) -> torch.Generator:
    """Make the generator of one purpose."""
    return torch.Generator(device).manual_seed(derive_seed(seed, purpose))


def draw_uniform(images: Tensor, rng: torch.Generator) -> Tensor:
    """Fill a tensor with noise: every value that a pixel can have is as likely as any other."""
    if images.dtype == torch.uint8:
        return torch.randint(0, 256, images.shape, generator=rng, dtype=images.dtype, out=images)
    return torch.rand(images.shape, generator=rng, dtype=images.dtype, out=images)


def allocate_like(images: Tensor, count: int) -> Tensor:
    """Return a tensor for `count` images of the same form, in a file if it is large."""
    return torch.from_numpy(allocate((count, *images.shape[1:]), images[:0].numpy().dtype))


def pieces(count: int, shape: Sequence[int]) -> Iterator[slice]:
    """Cut `count` images into parts of at most `FLOATS` values, in whole blocks of `draw_noise`."""
    most = max(1, FLOATS // math.prod(shape))
    step = most - most % 256 or most
    return (slice(start, min(start + step, count)) for start in range(0, count, step))


def draw_samples(images: Tensor, truth: Truth | None = None) -> Drawn:
    """Draw the first images, chosen by nothing but their index, as a grid; points all together."""
    if truth is not None:
        picture = Picture(file="samples.png", rows=1, columns=1)
        return picture, encode_tiles([draw_points(images, truth)[None]])
    columns = min(GRID, len(images))
    rows = min(GRID, len(images) // columns)
    lines = list(images[: rows * columns].split(columns))
    return Picture(file="samples.png", rows=rows, columns=columns), encode_tiles(lines)


def draw_film(images: Tensor, truth: Truth | None = None) -> Tensor:
    """Give the row of a film that shows the first images, or points all together: uint8."""
    return images[:GRID] if truth is None else draw_points(images, truth)[None]


def walk(start: Tensor, end: Tensor, count: int) -> Tensor:
    """Go from codes [n, d] to others along great circles, in `count` even steps: [n, count, d].

    Straight lines between codes of many dimensions lead through lengths that none is drawn with
    (White 2016, "Sampling generative networks", section 2.1). Lengths that differ go over evenly.
    """
    t = torch.linspace(0, 1, count, device=start.device)[None, :, None]
    a, b = start[:, None], end[:, None]
    lengths = a.norm(dim=2, keepdim=True), b.norm(dim=2, keepdim=True)
    a, b = a / lengths[0], b / lengths[1]
    angle = (a * b).sum(2, keepdim=True).clamp(-1, 1).acos()
    parts = torch.sin((1 - t) * angle), torch.sin(t * angle)
    between = (parts[0] * a + parts[1] * b) / torch.sin(angle)
    direction = torch.where(torch.sin(angle) > 1e-6, between, (1 - t) * a + t * b)
    return direction * ((1 - t) * lengths[0] + t * lengths[1])


def draw_rows(name: str, *rows: Tensor) -> Drawn:
    """Draw rows of images that belong together column by column; of points one picture a row."""
    if rows[0].dtype != torch.uint8:
        rows = tuple(draw_points(row)[None] for row in rows)
    columns = min(PAIRS, *(len(row) for row in rows))
    content = encode_tiles([row[:columns] for row in rows])
    return Picture(file=f"{name}.png", rows=len(rows), columns=columns), content


def draw_neighbours(
    reference: Reference, choose: Callable[[Tensor], Tensor], features: Tensor
) -> Drawn:
    """Draw the samples that come nearest to a training image, in features, over those images.

    Args:
        reference: has the training images.
        choose: returns the samples of some numbers.
        features: of all samples.
    """
    assert reference.training is not None
    distances, indices = find_nearest(reference.training_features, features)
    closest = distances.argsort(stable=True)[:PAIRS]
    return draw_rows("neighbours", choose(closest), reference.training[indices[closest]])


def as_tensor(images: np.ndarray) -> Tensor:
    """View an array as a tensor; nothing writes to it, whether or not it could be written to."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        return torch.from_numpy(images)
