"""The two calibration rows: real training images and noise, scored as if models had made them."""

from functools import partial

import torch

from benchmarks.core.seeds import derive_seed
from benchmarks.core.tensors import as_tensor
from benchmarks.evaluation.evaluator import MEMORIZATION, Evaluator, Generated, allocate_like
from benchmarks.evaluation.pictures import render_samples
from benchmarks.evaluation.scoring import make_score
from benchmarks.records.schema import Score
from metrics import METRICS, mean_interval

PROTOCOLS = {"real": ("training images", "identity"), "noise": ("uniform noise", "noise")}
"""The generation and the reconstruction of each calibration row, in words."""


def generate_calibration(evaluator: Evaluator) -> dict[str, Generated]:
    """Return the images of the calibration rows: `real` training images, and uniform `noise`."""
    test, truth, extractor = evaluator.test, evaluator.data.truth, evaluator.extractor
    rng = torch.Generator().manual_seed(derive_seed("noise", *test.shape[1:]))
    noise = allocate_like(test, evaluator.samples)
    # Every value that a pixel can have is as likely as any other.
    draw = partial(torch.randint, 0, 256) if noise.dtype == torch.uint8 else torch.rand
    draw(noise.shape, generator=rng, dtype=noise.dtype, out=noise)
    unrelated = noise[torch.arange(len(evaluator.originals)) % len(noise)]
    real = evaluator.train[: evaluator.samples]
    pictures = {"samples": render_samples(test[: evaluator.samples], truth)}
    drawn = {"samples": render_samples(noise, truth)}
    return {
        "real": Generated(real, extractor(real), evaluator.originals, pictures),
        "noise": Generated(noise, extractor(noise), unrelated, drawn),
    }


def score_calibration(evaluator: Evaluator, name: str, row: Generated) -> list[Score]:
    """Score a calibration row: the floor of each score at this sample size, or the ceiling.

    The training images would be found to be copies of themselves, so the floor of memorization is
    that of the validation images, which no model has learned from.
    """
    generation, reconstruction = PROTOCOLS[name]
    chosen = METRICS.keys() - MEMORIZATION if name == "real" else METRICS.keys()
    scores = evaluator.reference.score_features(row.samples, row.features, generation, chosen)
    scores += evaluator.score_further(row.samples, generation)
    if name == "real":
        unseen = evaluator.unseen
        scores += evaluator.reference.score(unseen, "validation images", MEMORIZATION)
        scores += score_extractor(evaluator)
    return scores + evaluator.score_pairs(row.reconstructions, reconstruction)


def score_extractor(evaluator: Evaluator) -> list[Score]:
    """Score how many test images the extractor classifies rightly, if it knows the classes."""
    labels, classes = evaluator.data.test.labels, len(evaluator.data.class_names or ())
    logits, extractor = evaluator.reference.logits, evaluator.extractor
    if labels is None or logits is None or extractor.classes != classes:
        return []
    right = logits.argmax(1) == as_tensor(labels)
    accuracy = mean_interval(right.double())
    name, protocol = "extractor_accuracy", "classes of test images"
    return [make_score(name, len(right), protocol, accuracy, extractor=str(extractor))]
