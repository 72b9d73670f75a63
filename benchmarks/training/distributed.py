"""One training computed by the processes that `torchrun` has started, each on its part of a batch.

Gradients come from `torch.autograd.grad` of losses that call several networks, for which the hooks
of DistributedDataParallel do not fire, so that they are averaged here, by one all-reduce. As with
DistributedDataParallel, each part of a batch has batch statistics of its own, and the buffers of
rank 0 are kept. Rank 0 alone reads options, writes, scores and prints.
"""

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
from torch import Tensor, distributed

from benchmarks.core.errors import FAILURES, describe_error, one_line
from benchmarks.core.seeds import derive_seed

COLLECTIVE = timedelta(minutes=30)
"""How long a rank waits for the others in a training step, data being loaded before the first."""

IDLE = timedelta(days=7)
"""How long a rank waits while rank 0 validates and scores."""

FAILED = timedelta(seconds=20)
"""How long a rank that has failed waits for the others to fail alike."""

T = TypeVar("T")


class RankLost(ConnectionError):
    """Another rank has ended, so that nothing more can be computed together."""


class FailedAlone(RankLost):
    """This rank has failed in what the others have not, so that they are out of step."""


@dataclass
class World:
    """The processes that train together, as one of them sees them; alone, nothing here acts.

    Attributes:
        idle: the group, on CPUs, in which ranks wait for rank 0.
        failed: the group, on CPUs, in which ranks that have failed meet.
        out_of_step: whether some may wait for others who have left a training.
    """

    rank: int = 0
    size: int = 1
    idle: Any = None
    failed: Any = None
    out_of_step: bool = False

    def rows(self, batch: int) -> slice:
        """Return which rows of a batch are this rank's."""
        return slice(batch * self.rank // self.size, batch * (self.rank + 1) // self.size)

    def seed(self, *purpose: object) -> int:
        """Derive the seed of a purpose, another one on each rank."""
        return derive_seed(*purpose, *([self.rank] if self.size > 1 else []))

    def mean(self, tensors: list[Tensor]) -> list[Tensor]:
        """Return the means over all ranks of tensors, float32, that each has computed."""
        if self.size == 1:
            return tensors
        flat = torch.cat([tensor.reshape(-1) for tensor in tensors])
        with collective():
            distributed.all_reduce(flat)
        return unflatten(flat / self.size, tensors)

    def share(self, values: Iterable[Tensor]) -> None:
        """Set these tensors to the values that they have on rank 0."""
        if self.size == 1:
            return
        tensors = list(values)
        for dtype in dict.fromkeys(tensor.dtype for tensor in tensors):
            alike = [tensor for tensor in tensors if tensor.dtype == dtype]
            flat = torch.cat([tensor.reshape(-1) for tensor in alike])
            with collective():
                distributed.broadcast(flat, 0)
            for tensor, shared in zip(alike, unflatten(flat, alike), strict=True):
                tensor.copy_(shared)

    def broadcast(self, value: Any) -> Any:
        """Return rank 0's value, for which the other ranks wait as long as it takes."""
        if self.size == 1:
            return value
        box = [value]
        with collective():
            distributed.broadcast_object_list(box, 0, self.idle, torch.device("cpu"))
        return box[0]

    def on_rank_0(self, function: Callable[[], T]) -> T:
        """Return what the function returns on rank 0, where alone it is called.

        Where it fails, rank 0 raises its error, and the other ranks a RuntimeError.
        """
        if self.rank > 0:
            value, failure = self.broadcast(None)
            if failure:
                raise RuntimeError(f"on rank 0: {failure}")
            return value
        try:
            value = function()
        except FAILURES as error:
            self.broadcast((None, describe_error(error)))
            raise
        self.broadcast((value, None))
        return value

    @contextmanager
    def in_step(self) -> Iterator[None]:
        """Raise FailedAlone after a failure that not all ranks share: they are out of step."""
        self.out_of_step = self.size > 1
        try:
            yield
        except RankLost:
            raise
        except FAILURES as error:
            if self.size > 1:
                try:
                    distributed.barrier(self.failed)
                except RuntimeError:
                    message = f"rank {self.rank} of torchrun alone has failed"
                    raise FailedAlone(f"{message}: {describe_error(error)}") from error
            self.out_of_step = False
            raise
        self.out_of_step = False


ALONE = World()
"""A process that trains by itself."""

current_world = ContextVar("current_world", default=ALONE)
"""The processes that this one has joined."""


@contextmanager
def collective() -> Iterator[None]:
    """Raise RankLost where a collective fails."""
    try:
        yield
    except RuntimeError as error:
        message = "a process of torchrun is lost; the same command resumes the runs not finished"
        raise RankLost(f"{message} ({one_line(error)})") from error


def unflatten(flat: Tensor, tensors: list[Tensor]) -> list[Tensor]:
    """Return the values [n], one after another, in the shapes of tensors of n elements in all."""
    parts = flat.split([tensor.numel() for tensor in tensors])
    return [part.view(tensor.shape) for part, tensor in zip(parts, tensors, strict=True)]


@contextmanager
def process_group() -> Iterator[World]:
    """Join the other processes of `torchrun`, on a GPU each where there are any.

    They wait for a job that rank 0 broadcasts, and for None when it leaves the block.

    Raises:
        ConnectionError: they do not meet.
    """
    if cuda := torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")) % torch.cuda.device_count())
    try:
        distributed.init_process_group("cpu:gloo,cuda:nccl" if cuda else "gloo", timeout=COLLECTIVE)
        idle, failed = (
            distributed.new_group(timeout=timeout, backend="gloo") for timeout in (IDLE, FAILED)
        )
    except (RuntimeError, ValueError) as error:
        message = f"the processes of torchrun do not find each other: {one_line(error)}"
        raise ConnectionError(message) from error
    world = World(distributed.get_rank(), distributed.get_world_size(), idle, failed)
    token = current_world.set(world)
    try:
        yield world
    finally:
        current_world.reset(token)
    if not world.out_of_step:  # else the others end when this process does
        if world.rank == 0:
            world.broadcast(None)  # there is no further job
        distributed.destroy_process_group()
