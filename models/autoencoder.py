"""Autoencoders: one player who minimises the reconstruction error."""

from typing import Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from models.base import (
    Adam,
    GenerativeModel,
    Latent,
    ModelConfig,
    Player,
    Step,
    map_batches,
    sampling,
    to_unit,
)
from models.networks import decoder, encoder
from models.networks.density import GENERATION, Density, DensityKind


class Autoencoder(GenerativeModel):
    """An encoder and a decoder copy images; new ones are decoded from a density of the codes."""

    class Config(ModelConfig):
        """Defaults after Ghosh et al. (2020), whose mixture over the codes makes it generative."""

        backbone: Literal["mlp", "conv", "tanh"] = "mlp"
        latent: int = Field(16, ge=1)
        hidden: tuple[int, ...] = (512, 256)
        width: int = Field(64, ge=1)
        density: DensityKind = sampling("mixture")
        components: int = sampling(10, ge=1)
        lr: float = Field(1e-3, gt=0)

    version = 2
    capturable: ClassVar[bool] = True

    def __init__(self, config: Config, shape: tuple[int, int, int]) -> None:
        super().__init__(config, shape)
        body: dict[str, Any] = {"hidden": config.hidden, "width": config.width, "norm": "batch"}
        self.encoder = encoder(config.backbone, shape, config.latent, activation=nn.ReLU, **body)
        self.decoder = decoder(config.backbone, config.latent, shape, **body)
        self.density = Density(config.density, config.components, config.latent)

    @property
    def generation(self) -> str:  # type: ignore[override]
        """The way codes are drawn, in words."""
        return GENERATION[self.config.density]

    @property
    def caveat(self) -> str | None:
        """A note where codes are drawn from a prior that training did not make them follow."""
        if self.config.density != "prior":
            return None
        return "its codes were never trained to follow the prior that they are drawn from"

    def players(self) -> list[Player]:
        """Return one player with both networks."""
        parameters = [*self.encoder.parameters(), *self.decoder.parameters()]
        return [Player("autoencoder", parameters, self.error, Adam(self.config.lr))]

    def error(self, play: Step) -> Tensor:
        """Return the squared error summed over pixels, averaged over images."""
        copies = self.decode(self.encoder(play.images))
        return (copies - play.images).square().flatten(1).sum(1).mean()

    def decode(self, z: Tensor) -> Tensor:
        """Decode codes [n, latent] to images [n, C, H, W] in [0, 1]."""
        return self.decoder(z).sigmoid()

    def finish(self, images: Tensor, rng: torch.Generator) -> None:
        """Fit the density to the codes of the training images, where it is not the prior."""
        if self.density.fitted:
            codes = map_batches(lambda x: self.encoder(to_unit(x, self.device)), images)
            self.density.fit(codes, rng.initial_seed() % 2**32)

    def sample(self, n: int, rng: torch.Generator, source: Tensor | None = None) -> Tensor:
        """Decode n codes drawn from the density."""
        return map_batches(self.decode, self.density.sample(n, rng))

    def latent(self) -> Latent:
        """Return the density of the codes and their decoder."""
        density = self.density
        return Latent(self.config.latent, self.decode, density.sample, density.log_prob)

    def reconstruct(self, images: Tensor, rng: torch.Generator) -> Tensor:
        """Encode and decode."""
        return map_batches(lambda x: self.decode(self.encoder(x)), images)
