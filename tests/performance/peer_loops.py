"""Training loops of other packages on the project's networks and losses: Lightning's, pythae's."""

import contextlib
import io
import logging
import tempfile
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import torch
from plain_losses import Losses
from torch import Tensor, nn

from models.base import Step

Batches = Iterator[Step]
Tick = Callable[[], None]


def train_by_lightning(
    model: Any, losses: Losses, optimizers: list[Any], batches: Batches, steps: int, tick: Tick
) -> None:
    """Train by Lightning's Trainer; a game of one by its own step, of two by a manual one."""
    import lightning
    from torch.utils.data import DataLoader, IterableDataset

    class Steps(IterableDataset):
        def __iter__(self) -> Batches:
            return batches

    class Module(lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.networks = model
            self.automatic_optimization = len(optimizers) == 1

        def training_step(self, step: Step, index: int) -> Tensor | None:
            found = losses(self.networks, step)
            if self.automatic_optimization:
                return next(found)
            for optimizer in self.optimizers():
                loss = next(found)
                optimizer.zero_grad()
                self.manual_backward(loss)
                optimizer.step()
            return None

        def configure_optimizers(self) -> list[Any]:
            return optimizers

        def on_train_batch_end(self, *_: Any) -> None:
            tick()

    off = ("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary")
    with quiet():
        trainer = lightning.Trainer(
            accelerator="cpu",
            devices=1,
            max_steps=steps * len(optimizers),
            **dict.fromkeys(off, False),
        )
        trainer.fit(Module(), DataLoader(Steps(), batch_size=None))


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep back what packages print, log and warn of."""
    logging.disable()
    with (
        warnings.catch_warnings(action="ignore"),
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(io.StringIO()),
    ):
        yield
    logging.disable(logging.NOTSET)


def train_by_pythae(model: Any, images: Tensor, batch: int, lr: float, tick: Tick) -> None:
    """Train an autoencoder or a VAE for one epoch of images, float32, by pythae's trainer."""
    from pythae.data.datasets import BaseDataset
    from pythae.trainers import BaseTrainer, BaseTrainerConfig
    from pythae.trainers.training_callbacks import TrainingCallback

    class Ticks(TrainingCallback):
        def on_train_step_end(self, *_: Any, **__: Any) -> None:
            tick()

    with tempfile.TemporaryDirectory() as folder, quiet():
        config = BaseTrainerConfig(
            output_dir=folder,
            per_device_train_batch_size=batch,
            num_epochs=1,
            learning_rate=lr,
            no_cuda=True,
        )
        data = BaseDataset(images, torch.zeros(len(images)))
        BaseTrainer(wrap(model), data, training_config=config, callbacks=[Ticks()]).train()


def wrap(model: Any) -> Any:
    """Return pythae's AE or VAE with the model's encoder and decoder, and losses like its own."""
    from pythae.models import AE, VAE, AEConfig, VAEConfig
    from pythae.models.base.base_utils import ModelOutput
    from pythae.models.nn import BaseDecoder, BaseEncoder

    latent, stochastic = model.config.latent, model.encoder[-1].out_features > model.config.latent

    class Encoder(BaseEncoder):
        def __init__(self) -> None:
            super().__init__()
            self.body: nn.Module = model.encoder

        def forward(self, x: Tensor) -> Any:
            if not stochastic:
                return ModelOutput(embedding=self.body(x))
            μ, log_σ2 = self.body(x).chunk(2, dim=1)
            return ModelOutput(embedding=μ, log_covariance=log_σ2)

    class Decoder(BaseDecoder):
        def __init__(self) -> None:
            super().__init__()
            self.body: nn.Module = model.decoder

        def forward(self, z: Tensor) -> Any:
            return ModelOutput(reconstruction=self.body(z).sigmoid())

    if stochastic:
        config = VAEConfig(model.shape, latent, reconstruction_loss="bce")
        return VAE(config, encoder=Encoder(), decoder=Decoder())
    return AE(AEConfig(model.shape, latent), encoder=Encoder(), decoder=Decoder())
