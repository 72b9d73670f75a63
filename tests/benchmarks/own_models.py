"""Models as a user might write them, good and bad."""

import errno

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


class NoModel:
    """Something else."""
