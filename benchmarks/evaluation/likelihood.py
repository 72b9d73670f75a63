"""How probable test images are under a model, as far as it can tell."""

import torch
from torch import Tensor

from benchmarks.config.spec import Likelihoods
from benchmarks.core.tensors import to_float
from benchmarks.evaluation.evaluator import Evaluator, make_generator
from benchmarks.evaluation.scoring import make_score, score_each_image
from benchmarks.records.schema import Score
from metrics import mean_interval
from metrics.likelihood import (
    Annealing,
    annealed_importance_sampling,
    bidirectional_monte_carlo,
    dequantise,
    select_deviation,
)
from models.base import GenerativeModel, Latent

SELECTION = 40  # validation images by which the deviation is chosen that a decoder is observed with


@torch.no_grad()
def score_likelihood(
    evaluator: Evaluator, model: GenerativeModel, wanted: Likelihoods, seed: int
) -> list[Score]:
    """Estimate the log-likelihood of the first test images under a model.

    By importance sampling with the codes of its encoder, where it has one with a likelihood, and by
    annealing towards the posterior of its decoder, whose images are observed with Gaussian noise.
    """
    rng = make_generator(seed, "likelihood", model.device)
    images = to_float(evaluator.test[: wanted.images].to(model.device))
    latent = model.latent()
    scores = list[Score]()
    # A density is of values that are not whole; a Bernoulli likelihood is no density.
    gaussian = latent is not None and latent.deviation is not None
    seen = dequantise(images, rng) if gaussian else images
    weights = model.log_weights(seen, wanted.importance, rng)
    if weights is not None:
        protocol = f"{wanted.importance:,} codes an image from the encoder"
        scores += score_each_image("log_weights", (weights,), len(images), protocol)
    if latent is not None and wanted.chains:
        unseen = to_float(evaluator.unseen[:SELECTION].to(model.device))
        scores += anneal(latent, images, unseen, wanted, rng)
    return scores


def anneal(
    latent: Latent, images: Tensor, unseen: Tensor, wanted: Likelihoods, rng: torch.Generator
) -> list[Score]:
    """Estimate likelihoods by annealing, and their error on images of the model's own."""
    deviation, chosen = latent.deviation, "the model's own"
    if deviation is None:
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
        make_score(name, len(values), protocol, mean_interval(values))
        for name, values in (*found._asdict().items(), ("bdmc_gap", gap.bdmc_gap))
    ]
