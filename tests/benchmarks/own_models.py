"""Models as a user might write them, good and bad."""

import errno
from typing import ClassVar

import torch
from torch import Tensor, nn

from models.game import Adam, GenerativeModel, Player, Recipe, Round


class Average(GenerativeModel):
    """Learns the mean image, and shows it with a little noise."""

    class Config(Recipe):
        noise: float = 0.1
        lr: float = 1e-2

    def __init__(self, config: Config, shape: tuple[int, int, int]) -> None:
        super().__init__(config, shape)
        self.logits = nn.Parameter(torch.zeros(shape))

    def players(self) -> list[Player]:
        return [Player("mean", [self.logits], self.error, Adam(self.config.lr))]

    def error(self, play: Round) -> Tensor:
        return (self.logits.sigmoid() - play.images).square().flatten(1).sum(1).mean()

    def sample(self, n: int, rng: torch.Generator, source: Tensor | None = None) -> Tensor:
        noise = torch.randn(n, *self.shape, generator=rng, device=rng.device)
        return (self.logits.sigmoid() + self.config.noise * noise).clamp(0, 1)

    def reconstruct(self, images: Tensor, rng: torch.Generator) -> Tensor:
        return self.logits.sigmoid().expand_as(images)


class Diverging(Average):
    """Its loss leaves the finite numbers."""

    def error(self, play: Round) -> Tensor:
        return super().error(play) / (play.step < 3)


class Late(Average):
    """Its loss leaves the finite numbers when its samples have been looked at already."""

    def error(self, play: Round) -> Tensor:
        return super().error(play) / (play.step < 7)


class Filling(Average):
    """Finds the disk full."""

    def error(self, play: Round) -> Tensor:
        if play.step == 3:
            raise OSError(errno.ENOSPC, "No space left on device", "the model's own file")
        return super().error(play)


class Overflowing(Average):
    """Its loss is fine, its images are not."""

    def sample(self, n: int, rng: torch.Generator, source: Tensor | None = None) -> Tensor:
        return super().sample(n, rng) / 0 - 1 / torch.zeros(())


class Raising(Average):
    """Fails in the middle of training."""

    def error(self, play: Round) -> Tensor:
        if play.step == 3:
            raise RuntimeError("a bug in\nthis model [/with] brackets")
        return super().error(play)


class Dying(Average):
    """Takes its process with it."""

    def error(self, play: Round) -> Tensor:
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

    class Config(Recipe):
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

    def tick(self, play: Round) -> Tensor:
        self.keep("noise", torch.rand(1, generator=play.rng))
        self.keep("global noise", torch.rand(1))
        return -self.ticks.sum()

    def look(self, play: Round) -> Tensor:
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


class NoModel:
    """Something else."""
