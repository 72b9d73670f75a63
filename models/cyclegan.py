"""CycleGAN: two generators between two domains against two discriminators."""

import math
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from models.base import Adam, GenerativeModel, ModelConfig, Player, Schedule, Step, map_batches
from models.gan import LOSSES
from models.networks import (
    Shape,
    decoder,
    encoder,
    initialise_dcgan,
    leaky_relu,
    patch_discriminator,
    resnet_translator,
)

LEAST_SQUARES = LOSSES["least_squares"]


class CycleGAN(GenerativeModel):
    """G translates source to target images and F back; neither domain knows the other's pairs.

    Zhu et al. (2017). In the paper's symbols X is the source and Y the target domain.
    """

    class Config(ModelConfig):
        """Defaults after Zhu et al. (2017, sections 4 and 5.2) at the size of small images."""

        schedule: Schedule = "constant_linear"
        backbone: Literal["resnet", "conv", "mlp"] = "resnet"
        width: int = Field(32, ge=1)
        hidden: tuple[int, ...] = (256, 128)
        latent: int = Field(64, ge=1, description="bottleneck of the conv and mlp backbones")
        blocks: int = Field(4, ge=1)
        downsamplings: int = Field(1, ge=1, le=4)
        critic_width: int = Field(32, ge=1)
        cycle: float = Field(10, ge=0)
        identity: float = Field(0.5, ge=0, description="weight relative to that of the cycle")
        buffer: int = Field(50, ge=1)
        lr: float = Field(2e-4, gt=0)
        betas: tuple[float, float] = (0.5, 0.999)

    version = 2
    capturable: ClassVar[bool] = True
    uses_source: ClassVar[bool] = True
    generation: ClassVar[str] = "from held-out source images"
    reconstruction: ClassVar[str] = "cycle"

    def __init__(self, config: Config, shape: tuple[int, int, int]) -> None:
        super().__init__(config, shape)
        self.G, self.F = translator(config, shape), translator(config, shape)
        self.D_X, self.D_Y = critic(config, shape), critic(config, shape)
        for network in (self.G, self.F, self.D_X, self.D_Y):
            initialise_dcgan(network)
        self.past_X, self.past_Y = Past(config.buffer, shape), Past(config.buffer, shape)

    @property
    def code_size(self) -> int:
        """The count of numbers that a cycle passes: a source image, or a narrower bottleneck."""
        values = math.prod(self.shape)
        return values if self.config.backbone == "resnet" else min(values, self.config.latent)

    def players(self) -> list[Player]:
        """Return two players: both generators, then both discriminators."""
        adam = Adam(self.config.lr, self.config.betas)
        generators = [*self.G.parameters(), *self.F.parameters()]
        discriminators = [*self.D_X.parameters(), *self.D_Y.parameters()]
        return [
            Player("generators", generators, self.generate, adam),
            Player("discriminators", discriminators, self.discriminate, adam),
        ]

    def generate(self, play: Step) -> Tensor:
        """Return adversarial, cycle and identity losses of both generators (eqs. 1 to 3; 5.2)."""
        x, y = sources(play), play.images
        λ, n = self.config.cycle, len(y)
        # What one network maps goes through it in one pass: translations first, identities behind.
        both = bool(self.config.identity)
        to_y = self.forward(torch.cat([x, y]) if both else x)
        to_x = self.backward(torch.cat([y, x]) if both else y)
        fake_x, fake_y = play.once("fakes", lambda: (to_x[:n], to_y[:n]))
        adversarial = sum(
            2 * LEAST_SQUARES.generator(None, D(fake))
            for D, fake in ((self.D_X, fake_x), (self.D_Y, fake_y))
        )
        loss = adversarial + λ * (l1(self.backward(fake_y), x) + l1(self.forward(fake_x), y))
        if both:
            loss = loss + λ * self.config.identity * (l1(to_y[n:], y) + l1(to_x[n:], x))
        return loss

    def discriminate(self, play: Step) -> Tensor:
        """Return both discriminators' least-squares losses on real and past generated images."""
        fake_x, fake_y = (fake.detach() for fake in play.memo["fakes"])
        old_x, old_y = self.past_X.exchange(fake_x, play), self.past_Y.exchange(fake_y, play)
        on_x = LEAST_SQUARES.discriminator(self.D_X(sources(play)), self.D_X(old_x))
        on_y = LEAST_SQUARES.discriminator(self.D_Y(play.images), self.D_Y(old_y))
        return on_x + on_y

    def forward(self, x: Tensor) -> Tensor:
        """Translate source images to the target domain."""
        return self.G(x).sigmoid()

    def backward(self, y: Tensor) -> Tensor:
        """Translate target images to the source domain."""
        return self.F(y).sigmoid()

    def sample(self, n: int, rng: torch.Generator, source: Tensor | None = None) -> Tensor:
        """Translate the n source images to the target domain."""
        if source is None or len(source) < n:
            raise ValueError(f"CycleGAN needs {n} source images to generate {n}")
        return map_batches(self.forward, source[:n])

    def reconstruct(self, images: Tensor, rng: torch.Generator) -> Tensor:
        """Translate target images to the source domain and back."""
        return map_batches(lambda y: self.forward(self.backward(y)), images)

    def translate(self, source: Tensor) -> tuple[Tensor, Tensor]:
        """Translate source images to the target domain, and those back again."""
        targets = map_batches(self.forward, source)
        return targets, map_batches(self.backward, targets)


class Past(nn.Module):
    """A buffer of generated images, half of which replace the newest (Shrivastava et al. 2017)."""

    images: Tensor

    def __init__(self, size: int, shape: Shape) -> None:
        super().__init__()
        self.register_buffer("images", torch.zeros(size, *shape))

    def exchange(self, fakes: Tensor, play: Step) -> Tensor:
        """Keep some of `fakes` and return older ones for them, each with probability one half.

        The first step fills the buffer with its own.
        """
        size, device = len(self.images), fakes.device
        if play.step == 0:
            self.images.copy_(fakes[torch.arange(size, device=device) % len(fakes)])
        k = min(size, len(fakes))
        slots = torch.randperm(size, generator=play.rng, device=device)[:k]
        coin = torch.rand(k, 1, 1, 1, generator=play.rng, device=device) < 0.5
        new, old = fakes[:k], self.images[slots].to(fakes.dtype)
        self.images[slots] = torch.where(coin, new, old).to(self.images.dtype)
        return torch.cat([torch.where(coin, old, new), fakes[k:]])


def sources(play: Step) -> Tensor:
    """Return the step's source images."""
    if play.source is None:
        raise ValueError("CycleGAN needs a source domain")
    return play.source


def l1(a: Tensor, b: Tensor) -> Tensor:
    """Return the mean absolute difference."""
    return (a - b).abs().mean()


def translator(config: CycleGAN.Config, shape: Shape) -> nn.Module:
    """Build one generator, images in [0, 1] to logits."""
    if config.backbone == "resnet":
        return resnet_translator(shape, config.width, config.blocks, config.downsamplings)
    # Both domains share a pass, so no statistics are taken over the batch.
    body: dict[str, Any] = {"hidden": config.hidden, "width": config.width, "norm": "layer"}
    return nn.Sequential(
        encoder(config.backbone, shape, config.latent, activation=nn.ReLU, **body),
        decoder(config.backbone, config.latent, shape, **body),
    )


def critic(config: CycleGAN.Config, shape: Shape) -> nn.Module:
    """Build one discriminator: patches for the convolutional bodies, one score for `mlp`."""
    if config.backbone == "mlp":
        body: dict[str, Any] = {"hidden": config.hidden, "width": config.critic_width}
        return encoder("mlp", shape, 1, norm="none", activation=leaky_relu, **body)
    return patch_discriminator(shape, config.critic_width, config.downsamplings)
