"""The contract of a generative model: a game of players, a sampler and a reconstructor."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

Schedule = Literal["constant", "linear", "constant_linear", "cosine"]
"""The learning rate over training: linear or by a cosine to 0, from the start or from half."""


class ModelConfig(BaseModel):
    """The hyper-parameters that every model has; a model's own `Config` adds to them.

    A field that is None takes the value of the paper that the model follows.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    ema: float = Field(0.999, ge=0, lt=1, description="decay of the weight average; 0 turns it off")
    schedule: Schedule = "constant"
    clip: float | None = Field(None, gt=0, description="largest norm of a player's gradient")


def sampling(default: Any, **constraints: Any) -> Any:
    """Declare a hyper-parameter that concerns sampling alone, and not what is trained.

    A contender may list several samplers, each with other values of these.
    """
    return Field(default, json_schema_extra={"sampling": True}, **constraints)


@dataclass(frozen=True)
class Adam:
    """The settings of the Adam optimizer (Kingma & Ba 2015, algorithm 1)."""

    lr: float
    betas: tuple[float, float] = (0.9, 0.999)


@dataclass
class Step:
    """What a training step shows to the players.

    Attributes:
        images: real images of the target domain, float32 [B, C, H, W] in [0, 1].
        source: images of the source domain, likewise; None unless the model `uses_source`.
        rng: the generator of this step's randomness, on the images' device.
        step: the number of training steps before this one.
        memo: what players share within the step, e.g. its generated images.
    """

    images: Tensor
    source: Tensor | None
    rng: torch.Generator
    step: int
    memo: dict[str, Any] = field(default_factory=dict)

    def once(self, name: str, make: Callable[[], Any]) -> Any:
        """Return the memo `name`, which `make` computes for the first player who asks."""
        if name not in self.memo:
            self.memo[name] = make()
        return self.memo[name]


@dataclass(frozen=True)
class Player:
    """One who minimises `loss` over `parameters`, `updates` times a step on as many batches."""

    name: str
    parameters: list[nn.Parameter]
    loss: Callable[[Step], Tensor]
    optimizer: Adam
    updates: int = 1


@dataclass(frozen=True)
class Latent:
    """A model that decodes codes, as a density of images: what likelihoods are estimated from.

    Attributes:
        dimension: the length of a code.
        decode: codes [n, dimension] to mean images [n, C, H, W] in [0, 1], differentiable.
        sample: draws n codes by a generator on the model's device.
        log_prob: the log density [n] of codes, normalised and differentiable.
        deviation: that of the Gaussian observation which the model has learnt with, if any.
    """

    dimension: int
    decode: Callable[[Tensor], Tensor]
    sample: Callable[[int, torch.Generator], Tensor]
    log_prob: Callable[[Tensor], Tensor]
    deviation: float | None = None


class GenerativeModel(nn.Module):
    """The base of every model; built as `Model(config, shape)` with shape (C, H, W).

    A subclass names its hyper-parameters in `Config` and implements `players`, `sample` and, where
    it can, `reconstruct`. A constructor raises ValueError, in one line, where the shape cannot
    work. What a model returns is checked before training and when it is scored, and never repaired.
    """

    Config: ClassVar[type[ModelConfig]] = ModelConfig
    version: ClassVar[int] = 1
    """Raised whenever the same hyper-parameters no longer mean the same model."""
    uses_source: ClassVar[bool] = False
    """Whether the model generates from images of a source domain rather than from noise."""
    capturable: ClassVar[bool] = False
    """Whether a training step may be recorded as a CUDA graph and replayed, to the same digits.

    That is so where, after the first step, losses read no tensor's value on the host, branch on
    nothing that changes between steps (`step.step`, a schedule), change tensors in place alone and
    draw from `step.rng` or the device's own generator. A subclass declares it for itself.
    """
    generation: ClassVar[str] = "from noise"
    reconstruction: ClassVar[str] = "encoder"
    """By which route it reconstructs: `encoder`, `search`, `cycle`, or in words of its own.

    Reconstructions are ranked within a route alone, among codes of the same size.
    """
    quick: ClassVar[dict[str, Any]] = {}
    """Hyper-parameters with which `reconstruct` takes the least time, to try whether it works."""
    validation_samples: ClassVar[int | None] = None
    """The most images to validate by, for a slow sampler; None for a quarter of the samples."""

    def __init__(self, config: Any, shape: tuple[int, int, int]) -> None:
        super().__init__()
        self.config = config
        self.shape = shape

    @property
    def device(self) -> torch.device:
        """The device of the model's parameters."""
        return next(self.parameters()).device

    @property
    def code_size(self) -> int | None:
        """The count of numbers that an image is reconstructed from: by default the `latent`.

        None where there is no code.
        """
        latent = getattr(self.config, "latent", None)
        return latent if isinstance(latent, int) else None

    @property
    def caveat(self) -> str | None:
        """A note for readers of this model's scores, in words; None for none."""
        return None

    def players(self) -> list[Player]:
        """Return the players in the order in which they are updated."""
        raise NotImplementedError

    def compilable(self) -> list[nn.Module]:
        """Return the networks that `--compile` may compile: those differentiated only once."""
        return list(self.children())

    def finish(self, images: Tensor, rng: torch.Generator) -> None:
        """Complete the model after training, e.g. fit a density to its codes; by default nothing.

        Args:
            images: the training images, uint8 [N, C, H, W], or points, float32 in [0, 1].
            rng: the source of randomness, on the model's device.
        """

    def sample(self, n: int, rng: torch.Generator, source: Tensor | None = None) -> Tensor:
        """Generate `n` images, float32 [n, C, H, W] in [0, 1]; without bounds, clamp them here.

        Args:
            n: how many.
            rng: the source of randomness, on the model's device.
            source: for a model that `uses_source`, n source images, float32 in [0, 1].
        """
        raise NotImplementedError

    def reconstruct(self, images: Tensor, rng: torch.Generator) -> Tensor:
        """Reconstruct `images`, float32 [N, C, H, W] in [0, 1], by the class's protocol.

        Optional: a model without it has no reconstruction scores.
        """
        raise NotImplementedError

    def latent(self) -> Latent | None:
        """Return the density of codes that `sample` decodes; None where it generates otherwise."""
        return None

    def log_weights(self, images: Tensor, count: int, rng: torch.Generator) -> Tensor | None:
        """Return log weights of `count` codes an image from an encoder; None without one.

        Args:
            images: float32 [N, C, H, W] in [0, 1].
            count: how many codes an image, K.
            rng: the source of randomness, on the model's device.

        Returns:
            log p(x|z)p(z)/q(z|x) in nats, float64 [N, K], z from q(z|x).
        """
        return None


def map_batches(function: Callable[[Tensor], Tensor], inputs: Tensor, size: int = 256) -> Tensor:
    """Apply `function` to `inputs` in batches, which bounds memory, and join the results."""
    return torch.cat([function(batch) for batch in inputs.split(size)])


def to_unit(images: Tensor, device: torch.device) -> Tensor:
    """Return images, uint8, or points, float32 in [0, 1], as float32 in [0, 1] on the device."""
    return images.to(device).float() / (255 if images.dtype == torch.uint8 else 1)


def draw_noise(n: int, size: int, rng: torch.Generator) -> Tensor:
    """Draw n codes from the standard normal, [n, size]; code i is the same for every n.

    So they come in blocks of a fixed size: what `torch.randn` puts where depends on the whole.
    """
    blocks = [torch.randn(256, size, generator=rng, device=rng.device) for _ in range(0, n, 256)]
    return torch.cat(blocks)[:n]


def standard_normal(
    dimension: int, decode: Callable[[Tensor], Tensor], deviation: float | None = None
) -> Latent:
    """Return the latent of a model that decodes standard normal codes from `draw_noise`."""

    def log_prob(z: Tensor) -> Tensor:
        return -(z.square().sum(1) + dimension * math.log(2 * math.pi)) / 2

    def sample(n: int, rng: torch.Generator) -> Tensor:
        return draw_noise(n, dimension, rng)

    return Latent(dimension, decode, sample, log_prob, deviation)
