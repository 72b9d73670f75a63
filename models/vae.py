"""Variational autoencoders: one player who maximises the evidence lower bound."""

import math
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from models.base import (
    Adam,
    GenerativeModel,
    Latent,
    ModelConfig,
    Player,
    Step,
    draw_noise,
    map_batches,
    sampling,
    to_unit,
)
from models.networks import decoder, encoder
from models.networks.density import GENERATION, Density, DensityKind


class VAE(GenerativeModel):
    """A probabilistic encoder and decoder whose codes follow a standard normal."""

    class Config(ModelConfig):
        """Defaults after Kingma & Welling (2014); β after Higgins et al. (2017)."""

        backbone: Literal["mlp", "conv", "tanh"] = "mlp"
        latent: int = Field(16, ge=1)
        hidden: tuple[int, ...] = (512, 256)
        width: int = Field(64, ge=1)
        likelihood: Literal["bernoulli", "gaussian"] = "bernoulli"
        sigma: float = Field(0.1, gt=0, description="deviation of the Gaussian likelihood")
        beta: float = Field(1, ge=0)
        density: DensityKind = sampling("prior")
        components: int = sampling(10, ge=1)
        lr: float = Field(1e-3, gt=0)

    version = 2
    capturable: ClassVar[bool] = True

    def __init__(self, config: Config, shape: tuple[int, int, int]) -> None:
        super().__init__(config, shape)
        body: dict[str, Any] = {"hidden": config.hidden, "width": config.width, "norm": "batch"}
        outputs = 2 * config.latent
        self.encoder = encoder(config.backbone, shape, outputs, activation=nn.ReLU, **body)
        self.decoder = decoder(config.backbone, config.latent, shape, **body)
        self.density = Density(config.density, config.components, config.latent)

    @property
    def generation(self) -> str:  # type: ignore[override]
        """The way codes are drawn, in words."""
        return GENERATION[self.config.density]

    def players(self) -> list[Player]:
        """Return one player with both networks."""
        return [Player("vae", list(self.parameters()), self.negative_elbo, Adam(self.config.lr))]

    def negative_elbo(self, play: Step) -> Tensor:
        """Return E_q[−log p(x|z)] + β KL(q(z|x) ‖ p(z)) in nats (Kingma & Welling 2014, eq. 3)."""
        x = play.images
        μ, log_σ2 = self.encoder(x).chunk(2, dim=1)
        z = draw_codes(μ, log_σ2, play.rng)
        kl = 0.5 * (μ.square() + log_σ2.exp() - 1 - log_σ2).sum(1)
        return (self.cost(self.decoder(z), x) + self.config.beta * kl).mean()

    def cost(self, logits: Tensor, x: Tensor) -> Tensor:
        """Return −log p(x|z) summed over pixels, [B]."""
        return self.pixel_costs(logits, x).sum(1)

    def pixel_costs(self, logits: Tensor, x: Tensor) -> Tensor:
        """Return −log p(x|z) of each pixel, [B, C·H·W]."""
        if self.config.likelihood == "bernoulli":
            return F.binary_cross_entropy_with_logits(logits, x, reduction="none").flatten(1)
        σ = self.config.sigma
        squares = ((logits.sigmoid() - x) / σ).square() / 2 + math.log(σ * math.sqrt(2 * math.pi))
        return squares.flatten(1)

    def decode(self, z: Tensor) -> Tensor:
        """Decode codes [n, latent] to mean images [n, C, H, W] in [0, 1]."""
        return self.decoder(z).sigmoid()

    def finish(self, images: Tensor, rng: torch.Generator) -> None:
        """Fit the density, where it is not the prior, to codes drawn for the training images."""
        if self.density.fitted:

            def encode(x: Tensor) -> Tensor:
                μ, log_σ2 = self.encoder(to_unit(x, self.device)).chunk(2, dim=1)
                return draw_codes(μ, log_σ2, rng)

            self.density.fit(map_batches(encode, images), rng.initial_seed() % 2**32)

    def sample(self, n: int, rng: torch.Generator, source: Tensor | None = None) -> Tensor:
        """Decode n codes drawn from the density to their mean images."""
        return map_batches(self.decode, self.density.sample(n, rng))

    def reconstruct(self, images: Tensor, rng: torch.Generator) -> Tensor:
        """Decode the mean of the posterior."""
        return map_batches(lambda x: self.decode(self.encoder(x).chunk(2, dim=1)[0]), images)

    def latent(self) -> Latent:
        """Return the density of codes; a Gaussian likelihood's deviation belongs to it."""
        gaussian = self.config.likelihood == "gaussian"
        deviation = self.config.sigma if gaussian else None
        density = self.density
        return Latent(self.config.latent, self.decode, density.sample, density.log_prob, deviation)

    def log_weights(self, images: Tensor, count: int, rng: torch.Generator) -> Tensor:
        """Return log weights by the model's own likelihood (Burda et al. 2016, eq. 8), float64.

        A Bernoulli likelihood gives grey values no density: its weights compare among Bernoulli
        models alone.
        """
        return torch.stack([self.weigh(x, count, rng) for x in images.split(1)])

    @torch.no_grad()
    def weigh(self, x: Tensor, count: int, rng: torch.Generator) -> Tensor:
        """Return the log weights [K] of codes drawn for one image [1, C, H, W]."""
        μ, log_σ2 = self.encoder(x).double().chunk(2, dim=1)
        ε = draw_noise(count, self.config.latent, rng).double()
        z = μ + (log_σ2 / 2).exp() * ε

        def cost(z: Tensor) -> Tensor:
            costs = self.pixel_costs(self.decoder(z), x.expand(len(z), *x.shape[1:]))
            return costs.sum(1, dtype=torch.float64)

        log_q = -(ε.square() + log_σ2 + math.log(2 * math.pi)).sum(1) / 2
        return self.density.log_prob(z) - log_q - map_batches(cost, z.to(x.dtype))


def draw_codes(μ: Tensor, log_σ2: Tensor, rng: torch.Generator) -> Tensor:
    """Draw a code for each mean and log variance, [B, latent]."""
    ε = torch.randn(μ.shape, generator=rng, device=μ.device)
    return μ + (log_σ2 / 2).exp() * ε
