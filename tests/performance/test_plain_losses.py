"""The project's training takes the steps of the loops that it is timed against."""

from typing import Any

import pytest
import torch
from plain_losses import FAMILIES, Losses, cyclegan_paper
from torch import Tensor

from benchmarks.core.seeds import derive_seed
from benchmarks.training.loop import Batches, TrainingConfig, train
from models.autoencoder import Autoencoder
from models.base import GenerativeModel, Step
from models.cyclegan import CycleGAN
from models.gan import GAN
from models.vae import VAE

STEPS, BATCH, SEED, SHAPE = 12, 16, 5, (1, 12, 12)
CPU = torch.device("cpu")
IMAGES, SOURCES = torch.randint(
    0, 256, (2, 100, *SHAPE), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
)
CONV: dict[str, Any] = {"backbone": "conv", "width": 4, "latent": 6, "lr": 1e-3}
SMALL: dict[str, tuple[type[GenerativeModel], dict[str, Any]]] = {
    "gan_mlp": (GAN, {"lr": 1e-3}),
    "gan_conv": (GAN, CONV),
    "autoencoder": (Autoencoder, CONV),
    "vae": (VAE, CONV),
    "cyclegan": (CycleGAN, {"width": 4, "critic_width": 4, "blocks": 1, "schedule": "constant"}),
}


def build(family: str) -> GenerativeModel:
    torch.manual_seed(1)
    kind, settings = SMALL[family]
    return kind(kind.Config(**settings), SHAPE).train()


def train_plainly(model: GenerativeModel, losses: Losses) -> list[list[float]]:
    """Train by torch's own Adam and `backward`, on the batches and noise of the seed."""
    adams = [
        torch.optim.Adam(p.parameters, lr=p.optimizer.lr, betas=p.optimizer.betas, fused=True)
        for p in model.players()
    ]
    images, sources = (
        Batches(data, BATCH, derive_seed(SEED, name), CPU)
        for name, data in (("images", IMAGES), ("sources", SOURCES))
    )
    shown = []
    for number in range(STEPS):
        rng = torch.Generator().manual_seed(derive_seed(SEED, "play", number))
        found = losses(model, Step(images.read(number), sources.read(number), rng, number))
        shown.append([descend(adam, next(found)) for adam in adams])
    return shown


def descend(adam: torch.optim.Adam, loss: Tensor) -> float:
    adam.zero_grad()
    loss.backward()
    adam.step()
    return loss.item()


@pytest.mark.parametrize(
    ("family", "losses", "tolerance"),
    [*((name, losses, 0) for name, losses in FAMILIES.items()), ("cyclegan", cyclegan_paper, 1e-4)],
)
def test_training_has_the_losses_and_weights_of_a_plain_loop(
    family: str, losses: Losses, tolerance: float
) -> None:
    plain, model = build(family), build(family)
    expected = train_plainly(plain, losses)
    plan = TrainingConfig(STEPS, BATCH, SEED, evaluations=1)
    trained = train(*(model, IMAGES, SOURCES, plan), evaluate=lambda _: 0.0, report=lambda *_: None)
    found = [[v for k, v in row.items() if k.startswith("loss_")] for row in trained.history]
    close = {"rtol": tolerance, "atol": tolerance}
    torch.testing.assert_close(torch.tensor(found), torch.tensor(expected), **close)
    assert found[0] != found[-1]
    if tolerance == 0:  # else Adam makes whole steps of what rounding leaves of no gradient
        torch.testing.assert_close(trained.last, dict(plain.state_dict()), **close)
