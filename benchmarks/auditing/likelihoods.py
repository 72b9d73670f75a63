"""The likelihood of held-out images under VAEs, by annealing and by a kernel density."""

from typing import cast

import torch
from torch import Tensor
from torch.nn import functional as F

from benchmarks.auditing.measurements import Session, make_rng
from benchmarks.core.seeds import derive_seed
from benchmarks.core.tensors import to_float
from benchmarks.training.loop import TrainingConfig, train
from metrics.likelihood import (
    Annealing,
    annealed_importance_sampling,
    bidirectional_monte_carlo,
    dequantise,
)
from metrics.parzen import parzen_log_likelihood, select_bandwidth
from models.vae import VAE

DEVIATION = 0.1
"""That of the VAEs' Gaussian observations, in training and in evaluation."""
STEPS, BATCH, HIDDEN = 1500, 64, 128
SIDE = 32
"""Larger images are reduced to this side for them."""
DRAWN = 10_000
"""Samples under a kernel each; the customary number."""
TESTED, VALIDATED, SIMULATED = 200, 200, 32
WORK = Annealing(distributions=200, chains=2)


def evaluate_vae(session: Session, codes: int) -> dict[str, Tensor]:
    """Train a VAE and estimate log-likelihoods of images, in nats, and the bandwidth."""
    train, images, validation = gather_images(session)
    model = fit_vae(session, codes, train)
    latent, rng = model.latent(), make_rng(session.design.seed, "kernel density", codes)
    annealed = annealed_importance_sampling(images, latent, DEVIATION, rng, WORK).ais
    gap = bidirectional_monte_carlo(images[:SIMULATED], latent, DEVIATION, rng, WORK).bdmc_gap
    with torch.no_grad():
        samples = model.sample(DRAWN, rng)
    bandwidth = select_bandwidth(samples, validation)
    return {
        "AIS": annealed,
        "BDMC gap": gap,
        "kernel density": parzen_log_likelihood(samples, images, bandwidth),
        "bandwidth": torch.tensor(bandwidth),
    }


def gather_images(session: Session) -> tuple[Tensor, Tensor, Tensor]:
    """Return training images, uint8, and held-out ones to score and to choose a bandwidth by."""
    bank, rng = session.bank, make_rng(session.design.seed, "kernel density")
    pool = session.order[0]
    tested = min(TESTED, len(pool) // 2)
    train, held_out = (
        downsample(bank.images[rows])
        for rows in (slice(bank.places["train"].start, bank.places["train"].stop), pool)
    )
    spread = dequantise(to_float(held_out[: tested + VALIDATED]), rng)
    return train, spread[:tested], spread[tested:]


def downsample(images: Tensor) -> Tensor:
    """Downsample uint8 images to `SIDE` where they are larger."""
    if images.shape[-1] <= SIDE:
        return images
    parts = [F.interpolate(part.float(), SIDE, mode="area") for part in images.split(256)]
    return torch.cat(parts).round().to(torch.uint8)


def fit_vae(session: Session, codes: int, images: Tensor) -> VAE:
    """Train a VAE with codes of some length by the project's own loop.

    Raises:
        Diverged: the training diverged.
    """
    channels, height, width = images.shape[1:]
    seed = derive_seed(session.design.seed, "audit", "kernel density", codes)
    fields = {"latent": codes, "hidden": (HIDDEN,), "likelihood": "gaussian", "sigma": DEVIATION}
    config = VAE.Config.model_validate(fields)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = VAE(config, (channels, height, width))
        plan = TrainingConfig(STEPS, BATCH, seed, evaluations=1)
        trained = train(model, images, None, plan, evaluate=lambda _: 0.0, report=lambda *_: None)
    return cast("VAE", trained.model)
