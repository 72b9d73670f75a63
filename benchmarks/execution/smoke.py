"""The smoke step: before training, a model does once all that is asked of it later."""

import copy
import random
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import numpy as np
import torch
from torch import Tensor

from benchmarks.core.errors import FAILURES
from benchmarks.core.tensors import to_float
from benchmarks.evaluation.contract import (
    check_gradients,
    check_images,
    check_loss,
    check_players,
    reconstruct,
)
from benchmarks.evaluation.evaluator import FINISH
from benchmarks.records.schema import Costs
from benchmarks.training.flops import (
    Deadline,
    Enough,
    FlopCounter,
    compute_losses,
    count_parameters,
    differentiate,
)
from models.base import GenerativeModel

IMAGES = 2
"""Images that are sampled and reconstructed."""

SECONDS = 10.0
"""After so long nothing more is sampled or reconstructed; faults in it show later."""


def run_smoke_step(model: GenerativeModel, batch: int, train: Tensor, source: Tensor) -> Costs:
    """Check that a model keeps its contract, and count its parameters and operations.

    A copy is used, and the global generators are restored, so that training is not changed. The
    images, those of the source domain too, are uint8 [N, C, H, W], or points.

    Raises:
        ContractError: it does not; or whatever the model itself raises.
    """
    twin, end = copy.deepcopy(model), time.perf_counter() + SECONDS
    with preserved_generators(model.device):
        check_players(twin)
        images, starts = (take_images(split, batch, model.device) for split in (train, source))
        found = Costs(
            parameters=count_parameters(twin),
            training_flops_per_step=check_losses(twin.train(), images, starts),
        )
        starts = take_images(source, IMAGES, model.device)
        with suppress(Enough), Deadline(end), torch.no_grad():
            found.sampling_flops_per_image = check_sampling(twin.eval(), starts, train[:FINISH])
            twin.config = twin.config.model_copy(update=twin.quick)
            reconstruct(twin, take_images(train, IMAGES, model.device), seeded(twin))
    return found


def check_losses(model: GenerativeModel, images: Tensor, source: Tensor) -> int:
    """Compute every loss and its gradients; return the operations of that."""
    with FlopCounter() as counter:
        for player, loss in compute_losses(model, images, source):
            gradients = differentiate(player, check_loss(model, player, loss))
            check_gradients(model, player, gradients)
    return counter.total


def check_sampling(model: GenerativeModel, source: Tensor, train: Tensor) -> int:
    """Generate images; return the operations an image.

    `finish`, which may take a while, is called only where the model cannot generate without it.
    """
    try:
        return count_sampling(model, source)
    except Enough:
        raise
    except FAILURES:
        if type(model).finish is GenerativeModel.finish:
            raise
    model.finish(train, seeded(model))
    return count_sampling(model, source)


def count_sampling(model: GenerativeModel, source: Tensor) -> int:
    """Generate images, check them and return the operations an image."""
    starts = source if model.uses_source else None
    with FlopCounter() as counter:
        made = model.sample(IMAGES, seeded(model), starts)
    check_images(made, f"{type(model).__name__}.sample", IMAGES, model.shape)
    return counter.total // IMAGES


def take_images(images: Tensor, count: int, device: torch.device) -> Tensor:
    """Return the first `count` images, from the beginning again where there are fewer, float32."""
    return to_float(images[torch.arange(count) % len(images)].to(device))


def seeded(model: GenerativeModel) -> torch.Generator:
    """Return a generator on a model's device."""
    return torch.Generator(model.device).manual_seed(0)


@contextmanager
def preserved_generators(device: torch.device) -> Iterator[None]:
    """Restore the global generators of Python, NumPy and torch after the block."""
    python, numpy = random.getstate(), np.random.get_state()  # noqa: NPY002 - the global one
    try:
        with torch.random.fork_rng([device] if device.type == "cuda" else []):
            yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)  # noqa: NPY002
