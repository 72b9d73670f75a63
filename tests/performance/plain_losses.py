"""The losses of suite `mnist`'s families, written out once more without the models' own code.

The loops in `training_loop.py` train by them; a test compares them with the project's training.
Each function yields a training step's losses in order, the next one after the step down the last.
"""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from models.base import Step

Losses = Callable[[Any, Step], Iterator[Tensor]]


def gan_mlp(model: Any, step: Step) -> Iterator[Tensor]:
    """Yield the discriminator's loss, of one pass, and the generator's (Goodfellow et al. 2014)."""
    G, D, real = model.G, model.D, step.images
    fake = G(torch.randn(len(real), model.config.latent, generator=step.rng)).sigmoid()
    on_real, on_fake = D(torch.cat([real, fake.detach()])).chunk(2)
    yield F.softplus(-on_real).mean() + F.softplus(on_fake).mean()
    yield F.softplus(-D(fake)).mean()


def gan_conv(model: Any, step: Step) -> Iterator[Tensor]:
    """Yield the losses of a discriminator with batch statistics, in two passes, and a generator."""
    G, D, real = model.G, model.D, step.images
    fake = G(torch.randn(len(real), model.config.latent, generator=step.rng)).sigmoid()
    yield F.softplus(-D(real)).mean() + F.softplus(D(fake.detach())).mean()
    yield F.softplus(-D(fake)).mean()


def autoencoder(model: Any, step: Step) -> Iterator[Tensor]:
    """Yield the squared error of an image."""
    x = step.images
    copies = model.decoder(model.encoder(x)).sigmoid()
    yield (copies - x).square().flatten(1).sum(1).mean()


def vae(model: Any, step: Step) -> Iterator[Tensor]:
    """Yield the negative ELBO (Kingma & Welling 2014, eq. 10) with a Bernoulli likelihood."""
    x = step.images
    μ, log_σ2 = model.encoder(x).chunk(2, dim=1)
    z = μ + (log_σ2 / 2).exp() * torch.randn(μ.shape, generator=step.rng)
    logits = model.decoder(z)
    error = F.binary_cross_entropy_with_logits(logits, x, reduction="none").flatten(1).sum(1)
    divergence = 0.5 * (μ.square() + log_σ2.exp() - 1 - log_σ2).sum(1)
    yield (error + divergence).mean()


def cyclegan(model: Any, step: Step) -> Iterator[Tensor]:
    """Yield the losses of generators and of discriminators, equal networks' inputs in one pass."""
    x, y, n = step.source, step.images, len(step.images)
    to_y, to_x = model.G(torch.cat([x, y])).sigmoid(), model.F(torch.cat([y, x])).sigmoid()
    yield from play_cyclegan(model, step, to_y.split(n), to_x.split(n))


def cyclegan_paper(model: Any, step: Step) -> Iterator[Tensor]:
    """Yield the same losses with each network called on each input, as the paper's program does."""
    x, y = step.source, step.images
    to_y = [model.G(images).sigmoid() for images in (x, y)]
    to_x = [model.F(images).sigmoid() for images in (y, x)]
    yield from play_cyclegan(model, step, to_y, to_x)


def play_cyclegan(model: Any, step: Step, to_y: Any, to_x: Any) -> Iterator[Tensor]:
    """Yield both losses (Zhu et al. 2017, eqs. 1 to 3 and 5.2), given translations and identities.

    The discriminators' weights take no gradient while the generators play.
    """
    x, y, λ = step.source, step.images, model.config.cycle
    (fake_y, same_y), (fake_x, same_x) = to_y, to_x
    for D in (model.D_X, model.D_Y):
        D.requires_grad_(requires_grad=False)
    loss = (model.D_X(fake_x) - 1).square().mean() + (model.D_Y(fake_y) - 1).square().mean()
    loss = loss + λ * (l1(model.F(fake_y).sigmoid(), x) + l1(model.G(fake_x).sigmoid(), y))
    yield loss + λ * model.config.identity * (l1(same_y, y) + l1(same_x, x))

    for D in (model.D_X, model.D_Y):
        D.requires_grad_(requires_grad=True)
    old_x = model.past_X.exchange(fake_x.detach(), step)
    old_y = model.past_Y.exchange(fake_y.detach(), step)
    yield sum(
        ((D(real) - 1).square().mean() + D(old).square().mean()) / 2
        for D, real, old in ((model.D_X, x, old_x), (model.D_Y, y, old_y))
    )


def l1(a: Tensor, b: Tensor) -> Tensor:
    """Return the mean absolute difference."""
    return (a - b).abs().mean()


FAMILIES: dict[str, Losses] = {
    "gan_mlp": gan_mlp,
    "gan_conv": gan_conv,
    "autoencoder": autoencoder,
    "vae": vae,
    "cyclegan": cyclegan,
}
