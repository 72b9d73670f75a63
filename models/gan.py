"""Generative adversarial networks: a generator against a discriminator."""

from collections.abc import Callable
from typing import Any, ClassVar, Literal, NamedTuple

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
    standard_normal,
)
from models.networks import Norm, decoder, encoder, initialise_dcgan, leaky_relu


class Loss(NamedTuple):
    """A GAN's two losses on the discriminator's logits, and what its paper trains with.

    Attributes:
        discriminator: its loss, given the logits of real and of generated images.
        generator: likewise; the logits of real images are None unless it is `relativistic`.
        lr: Adam's rate.
        betas: Adam's.
        critic_updates: updates of the discriminator for one of the generator.
        gradient_penalty: weight λ of the penalty of slopes other than 1.
        relativistic: whether the generator's loss compares its images' logits with real ones'.
    """

    discriminator: Callable[[Tensor, Tensor], Tensor]
    generator: Callable[[Tensor | None, Tensor], Tensor]
    lr: float = 2e-4
    betas: tuple[float, float] = (0.5, 0.999)
    critic_updates: int = 1
    gradient_penalty: float = 0
    relativistic: bool = False


def cross_entropy(real: Tensor, fake: Tensor) -> Tensor:
    """Compute −E log D(x) − E log(1 − D(G(z))) (Goodfellow et al. 2014, eq. 1)."""
    return F.softplus(-real).mean() + F.softplus(fake).mean()


LOSSES: dict[str, Loss] = {
    # Goodfellow et al. 2014, eq. 1; rates of Radford et al. 2016.
    "minimax": Loss(cross_entropy, lambda real, fake: -F.softplus(fake).mean()),
    # Goodfellow et al. 2014, section 3.
    "nonsaturating": Loss(cross_entropy, lambda real, fake: F.softplus(-fake).mean()),
    # Mao et al. 2017, eq. 9.
    "least_squares": Loss(
        lambda real, fake: ((real - 1).square().mean() + fake.square().mean()) / 2,
        lambda real, fake: (fake - 1).square().mean() / 2,
    ),
    # Miyato et al. 2018, eqs. 16 and 17.
    "hinge": Loss(
        lambda real, fake: F.relu(1 - real).mean() + F.relu(1 + fake).mean(),
        lambda real, fake: -fake.mean(),
        betas=(0.0, 0.9),
    ),
    # Arjovsky et al. 2017, eq. 2; Gulrajani et al. 2017, algorithm 1.
    "wasserstein": Loss(
        lambda real, fake: fake.mean() - real.mean(),
        lambda real, fake: -fake.mean(),
        lr=1e-4,
        betas=(0.0, 0.9),
        critic_updates=5,
        gradient_penalty=10,
    ),
}


class GAN(GenerativeModel):
    """A generator fools a discriminator that tells real images from generated ones."""

    class Config(ModelConfig):
        """Defaults after Goodfellow et al. (2014) for `mlp`, Radford et al. (2016) for `conv`."""

        backbone: Literal["mlp", "conv", "tanh"] = "mlp"
        loss: Literal[*LOSSES] = "nonsaturating"  # type: ignore[valid-type]
        latent: int = Field(100, ge=1)
        hidden: tuple[int, ...] = (128, 128)
        width: int = Field(64, ge=1)
        discriminator_norm: Literal["none", "batch", "spectral"] | None = None
        lr: float | None = Field(None, gt=0)
        betas: tuple[float, float] | None = None
        critic_updates: int | None = Field(None, ge=1)
        gradient_penalty: float | None = Field(None, ge=0)
        r1: float = Field(0, ge=0, description="weight of the squared gradient at real images")
        inversion_steps: int = Field(200, ge=1)
        inversion_lr: float = Field(0.05, gt=0)

    capturable: ClassVar[bool] = True
    reconstruction: ClassVar[str] = "search"
    quick: ClassVar[dict[str, Any]] = {"inversion_steps": 1}
    generation: ClassVar[str] = "from noise"

    def __init__(self, config: Config, shape: tuple[int, int, int]) -> None:
        super().__init__(config, shape)
        body: dict[str, Any] = {"hidden": config.hidden, "width": config.width}
        self.G = decoder(config.backbone, config.latent, shape, **body)
        self.D = encoder(
            config.backbone, shape, 1, norm=self.critic_norm(), activation=leaky_relu, **body
        )
        if config.backbone == "conv":
            initialise_dcgan(self.G)
            initialise_dcgan(self.D)

    @property
    def loss(self) -> Loss:
        """The losses of both players."""
        return LOSSES[self.config.loss]

    def critic_norm(self) -> Norm:
        """Choose the discriminator's normalisation: none where the loss or body rules it out."""
        if self.config.discriminator_norm is not None:
            return self.config.discriminator_norm
        plain = self.config.backbone != "conv" or self.config.loss == "wasserstein"
        return "none" if plain else "batch"

    def players(self) -> list[Player]:
        """Return the discriminator, which is updated first, and the generator."""
        paper, config = self.loss, self.config
        adam = Adam(config.lr or paper.lr, config.betas or paper.betas)
        updates = config.critic_updates or paper.critic_updates
        return [
            Player(
                "discriminator", list(self.D.parameters()), self.discriminate, adam, updates=updates
            ),
            Player("generator", list(self.G.parameters()), self.generate, adam),
        ]

    def compilable(self) -> list[nn.Module]:
        """Return both networks, but no discriminator whose gradient is differentiated again."""
        return [self.G] if self.penalty_weight() or self.config.r1 else [self.G, self.D]

    def fakes(self, play: Step) -> Tensor:
        """Generate as many images as the step has real ones, once for both players."""

        def make() -> Tensor:
            return self.decode(self.noise(len(play.images), play.rng))

        return play.once("fakes", make)

    def discriminate(self, play: Step) -> Tensor:
        """Return the discriminator's loss with its penalties."""
        real, fake = play.images, self.fakes(play).detach()
        loss = self.loss.discriminator(*self.judge(real, fake))
        if penalty := self.penalty_weight():
            ε = torch.rand(len(real), 1, 1, 1, generator=play.rng, device=real.device)
            slopes = self.slopes(torch.lerp(fake.float(), real, ε)).sqrt()
            loss = loss + penalty * (slopes - 1).square().mean()
        if self.config.r1:
            loss = loss + self.config.r1 / 2 * self.slopes(real).mean()
        return loss

    def judge(self, real: Tensor, fake: Tensor) -> tuple[Tensor, Tensor]:
        """Return the discriminator's logits: one pass, or two to keep batch statistics apart."""
        if self.critic_norm() == "batch":
            return self.D(real), self.D(fake)
        on_real, on_fake = self.D(torch.cat([real, fake])).chunk(2)
        return on_real, on_fake

    def generate(self, play: Step) -> Tensor:
        """Return the generator's loss."""
        if self.loss.relativistic:
            return self.loss.generator(*self.judge(play.images, self.fakes(play)))
        return self.loss.generator(None, self.D(self.fakes(play)))

    def penalty_weight(self) -> float:
        """Return λ of the gradient penalty."""
        chosen = self.config.gradient_penalty
        return self.loss.gradient_penalty if chosen is None else chosen

    def slopes(self, x: Tensor) -> Tensor:
        """Return ‖∇D(x)‖² of each image, [B].

        Gulrajani et al. (2017, eq. 3) penalise its root between real and fake images, Mescheder et
        al. (2018, eq. 9; R₁) itself at real ones.
        """
        x = x.detach().requires_grad_()
        (slope,) = torch.autograd.grad(self.D(x).sum(), x, create_graph=True)
        return slope.flatten(1).square().sum(1)

    def noise(self, n: int, rng: torch.Generator) -> Tensor:
        """Draw n latent codes from the standard normal, [n, latent]."""
        return torch.randn(n, self.config.latent, generator=rng, device=rng.device)

    def decode(self, z: Tensor) -> Tensor:
        """Decode codes [n, latent] to images [n, C, H, W] in [0, 1]."""
        return self.G(z).sigmoid()

    def sample(self, n: int, rng: torch.Generator, source: Tensor | None = None) -> Tensor:
        """Decode n codes drawn from the prior."""
        return map_batches(self.decode, draw_noise(n, self.config.latent, rng))

    def latent(self) -> Latent:
        """Return the standard normal prior and the generator."""
        return standard_normal(self.config.latent, self.decode)

    def reconstruct(self, images: Tensor, rng: torch.Generator) -> Tensor:
        """Invert the generator: search the code with the least squared error (Zhu et al. 2016).

        The search starts at the best of 256 drawn codes and takes `inversion_steps` steps of Adam.
        """
        starts = self.noise(256, rng)
        candidates = map_batches(self.decode, starts).flatten(1)

        def invert(x: Tensor) -> Tensor:
            nearest = torch.cdist(x.flatten(1), candidates).argmin(1)
            return self.decode(self.descend(x, starts[nearest]))

        return map_batches(invert, images)

    @torch.enable_grad()
    def descend(self, x: Tensor, z: Tensor) -> Tensor:
        """Minimise ‖G(z) − x‖² over z [n, latent]; each image's search is its own."""
        z = z.clone().requires_grad_()
        adam = torch.optim.Adam([z], lr=self.config.inversion_lr)
        for _ in range(self.config.inversion_steps):
            error = (self.decode(z) - x).square().sum()
            (z.grad,) = torch.autograd.grad(error, z)
            adam.step()
        return z.detach()
