"""Models as a user might write them, good and bad."""

import errno
import math
import random
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from models.base import Adam, GenerativeModel, ModelConfig, Player, Step
from models.networks import mlp


class Average(GenerativeModel):
    """Learns the mean image, and shows it with a little noise."""

    class Config(ModelConfig):
        noise: float = 0.1
        lr: float = 1e-2

    def __init__(self, config: Config, shape: tuple[int, int, int]) -> None:
        super().__init__(config, shape)
        self.logits = nn.Parameter(torch.zeros(shape))

    def players(self) -> list[Player]:
        return [Player("mean", [self.logits], self.error, Adam(self.config.lr))]

    def error(self, play: Step) -> Tensor:
        return (self.logits.sigmoid() - play.images).square().flatten(1).sum(1).mean()

    def sample(self, n: int, rng: torch.Generator, source: Tensor | None = None) -> Tensor:
        noise = torch.randn(n, *self.shape, generator=rng, device=rng.device)
        return (self.logits.sigmoid() + self.config.noise * noise).clamp(0, 1)

    def reconstruct(self, images: Tensor, rng: torch.Generator) -> Tensor:
        return self.logits.sigmoid().expand_as(images)


class Slow(Average):
    """Is validated by ten samples."""

    validation_samples = 10


class Diverging(Average):
    """Its loss leaves the finite numbers."""

    def error(self, play: Step) -> Tensor:
        return super().error(play) / (play.step < 3)


class Late(Average):
    """Its loss leaves the finite numbers when its samples have been looked at already."""

    def error(self, play: Step) -> Tensor:
        return super().error(play) / (play.step < 7)


class Filling(Average):
    """Finds the disk full."""

    def error(self, play: Step) -> Tensor:
        if play.step == 3:
            raise OSError(errno.ENOSPC, "No space left on device", "the model's own file")
        return super().error(play)


class Overflowing(Average):
    """Its loss is fine, its images are not."""

    def sample(self, n: int, rng: torch.Generator, source: Tensor | None = None) -> Tensor:
        return super().sample(n, rng) / 0 - 1 / torch.zeros(())


class Raising(Average):
    """Fails in the middle of training."""

    def error(self, play: Step) -> Tensor:
        if play.step == 3:
            raise RuntimeError("a bug in\nthis model [/with] brackets")
        return super().error(play)


class Dying(Average):
    """Takes its process with it."""

    def error(self, play: Step) -> Tensor:
        import os
        import signal

        os.kill(os.getpid(), signal.SIGKILL)
        return super().error(play)


class Broken(Average):
    """Cannot even be built."""

    def __init__(self, config: "Broken.Config", shape: tuple[int, int, int]) -> None:
        super().__init__(config, shape)
        self.missing.append(1)


class Ticking(GenerativeModel):
    """Its weight is the number of steps taken; it shows that, and keeps all that it is shown."""

    class Config(ModelConfig):
        updates: int = 1

    shown: ClassVar[dict[str, list[Tensor]]] = {}

    def __init__(self, config: Config, shape: tuple[int, int, int]) -> None:
        super().__init__(config, shape)
        self.ticks = nn.Parameter(torch.zeros(1))
        self.other = nn.Parameter(torch.ones(1))
        self.register_buffer("initial", torch.rand(1))
        self.register_buffer("seen", torch.zeros(1))
        self.register_buffer("fitted", torch.zeros(1))

    def players(self) -> list[Player]:
        adam = Adam(1.0)
        return [
            Player("clock", [self.ticks], self.tick, adam),
            Player("critic", [self.other], self.look, adam, updates=self.config.updates),
        ]

    def keep(self, what: str, shown: Tensor | None) -> None:
        if shown is not None:
            self.shown.setdefault(what, []).append(shown.clone())

    def tick(self, play: Step) -> Tensor:
        self.keep("noise", torch.rand(1, generator=play.rng))
        self.keep("global noise", torch.rand(1))
        return -self.ticks.sum()

    def look(self, play: Step) -> Tensor:
        self.seen += len(play.images)
        self.keep("images", play.images)
        self.keep("sources", play.source)
        self.keep("noise", torch.rand(1, generator=play.rng))
        return self.other.square().sum()

    def finish(self, images: Tensor, rng: torch.Generator) -> None:
        self.keep("finish", images)
        self.fitted = images.float().mean() / 255 * torch.rand(1, generator=rng)

    def sample(self, n: int, rng: torch.Generator, source: Tensor | None = None) -> Tensor:
        self.keep("starts", source)
        noise = torch.rand(n, *self.shape, generator=rng)
        return (0.15 * self.ticks * noise + 0.1 * self.fitted).clamp(0, 1)

    def reconstruct(self, images: Tensor, rng: torch.Generator) -> Tensor:
        return images / 2


class Translating(Ticking):
    """The same from sources."""

    uses_source = True


def average_ticks(steps: int, decay: float) -> float:
    """Compute the average of a `Ticking` model's weight after so many steps."""
    average = 0.0
    for step in range(steps):
        kept = min(decay, (1 + step) / (10 + step))
        average = kept * average + (1 - kept) * (step + 1)
    return average


class Exiting(Average):
    """Ends the program in the middle of training, or would."""

    def error(self, play: Step) -> Tensor:
        if play.step == 3:
            raise SystemExit("no licence")
        return super().error(play)


class Leaving(Average):
    """Ends the program when it is built, or would."""

    def __init__(self, config: "Leaving.Config", shape: tuple[int, int, int]) -> None:
        super().__init__(config, shape)
        raise SystemExit("no licence")


class Doubtful(Average):
    """Its images leave [0, 1] as it learns."""

    def sample(self, n: int, rng: torch.Generator, source: Tensor | None = None) -> Tensor:
        return super().sample(n, rng) - 9 * self.logits.abs().amax()


class Forgetful(Average):
    """Its reconstructions are no numbers once it has learnt."""

    def reconstruct(self, images: Tensor, rng: torch.Generator) -> Tensor:
        return super().reconstruct(images, rng) / (self.logits == 0)


class Untidy(Average):
    """Draws from every generator that there is, its own too."""

    def __init__(self, config: "Untidy.Config", shape: tuple[int, int, int]) -> None:
        super().__init__(config, shape)
        self.rng = torch.Generator().manual_seed(0)

    def error(self, play: Step) -> Tensor:
        noise = torch.rand(1) + torch.rand(1, generator=self.rng) + random.random()
        return super().error(play) * (noise.item() + np.random.rand())  # noqa: NPY002

    def sample(self, n: int, rng: torch.Generator, source: Tensor | None = None) -> Tensor:
        return super().sample(n, rng) * torch.rand(1) * np.random.rand()  # noqa: NPY002


class TwoImages(Average):
    """Has collapsed to two images."""

    def sample(self, n: int, rng: torch.Generator, source: Tensor | None = None) -> Tensor:
        fixed = torch.Generator().manual_seed(0)
        return torch.rand(2, *self.shape, generator=fixed)[torch.arange(n) % 2]


class NoCopy(Average):
    """Cannot reconstruct."""

    def reconstruct(self, images: Tensor, rng: torch.Generator) -> Tensor:
        raise NotImplementedError


class Flow(GenerativeModel):
    """Moves noise to images along straight lines (flow matching, Lipman et al. 2023).

    It has neither a bottleneck nor `latent`, and does not reconstruct. An Euler step may leave
    [0, 1], so `sample` clamps.
    """

    class Config(ModelConfig):
        hidden: tuple[int, ...] = (128, 128)
        steps: int = 10
        lr: float = 2e-3

    generation = "from noise, by an ODE"

    def __init__(self, config: Config, shape: tuple[int, int, int]) -> None:
        super().__init__(config, shape)
        self.size = math.prod(shape)
        self.velocity = mlp([self.size + 1, *config.hidden, self.size], nn.SiLU)

    def players(self) -> list[Player]:
        return [Player("flow", list(self.parameters()), self.error, Adam(self.config.lr))]

    def move(self, x: Tensor, t: Tensor) -> Tensor:
        velocity: Tensor = self.velocity(torch.cat([x, t], 1))
        return velocity

    def error(self, play: Step) -> Tensor:
        target = 2 * play.images.flatten(1) - 1
        start = torch.randn(target.shape, generator=play.rng, device=target.device)
        t = torch.rand(len(target), 1, generator=play.rng, device=target.device)
        found = self.move(torch.lerp(start, target, t), t)
        return (found - (target - start)).square().mean()

    def sample(self, n: int, rng: torch.Generator, source: Tensor | None = None) -> Tensor:
        """Follow the velocity in Euler steps, and clamp."""
        x = torch.randn(n, self.size, generator=rng, device=rng.device)
        for step in range(self.config.steps):
            t = torch.full((n, 1), step / self.config.steps, device=rng.device)
            x = x + self.move(x, t) / self.config.steps
        return ((x + 1) / 2).clamp(0, 1).reshape(n, *self.shape)


class NoModel:
    """Something else."""
