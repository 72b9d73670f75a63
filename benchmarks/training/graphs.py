"""The training step as a CUDA graph: recorded once, then replayed as a single launch.

A small model's step is hundreds of operations that take the host longer to launch than the GPU to
compute. A replay computes the very same operations on the same memory, to the same digits.
"""

from collections.abc import Callable
from functools import cache

import torch

from benchmarks.core.errors import describe_error
from benchmarks.training.distributed import World
from benchmarks.training.optimizers import PlayerOptimizer
from models.base import GenerativeModel, Step

WARM = 3
"""Warm-up steps before the recording, in which libraries start and Adam's moments are allocated."""


class StepGraph:
    """Takes the training steps of one process on CUDA: a few as they are, then by replays.

    What differs between steps is copied to where the graph reads it: batches, seeds and, in the
    optimizers, the learning rate. All else that changes is updated in place.
    """

    def __init__(self, model: GenerativeModel, optimizers: list[PlayerOptimizer]) -> None:
        self.name, self.device, self.optimizers = type(model).__name__, model.device, optimizers
        self.graph, self.stream = torch.cuda.CUDAGraph(), recording_stream(model.device)
        self.held: list[Step] = []
        self.taken = 0

    def take(self, show: Callable[[int], Step]) -> None:
        """Take a training step on the batches that `show` returns by number."""
        with torch.cuda.device(self.device):
            if self.taken < WARM:
                self.warm(show)
            else:
                if self.taken == WARM:
                    self.record(show)
                self.replay(show)
        self.taken += 1

    def warm(self, show: Callable[[int], Step]) -> None:
        """Take a step eagerly, on the stream of the recording, which must not depend on another."""
        current = torch.cuda.current_stream()
        self.stream.wait_stream(current)
        with torch.cuda.stream(self.stream):
            update_players(self.optimizers, show)
        current.wait_stream(self.stream)

    def record(self, show: Callable[[int], Step]) -> None:
        """Record a step without executing it.

        Raises:
            RuntimeError: it cannot be recorded, though the model is declared `capturable`.
        """
        self.held = [show(turn) for turn in range(max(o.player.updates for o in self.optimizers))]
        for step in self.held:
            self.graph.register_generator_state(step.rng)
        try:
            # A recording that fails leaves its stream the current one; the outer block does not.
            back = torch.cuda.stream(torch.cuda.current_stream())
            with back, torch.cuda.graph(self.graph, stream=self.stream):
                update_players(self.optimizers, self.held.__getitem__)
        except RuntimeError as error:
            # The error that broke the recording off says more than the one of its end.
            cause = error.__context__ or error
            if isinstance(cause, torch.OutOfMemoryError) or not isinstance(cause, Exception):
                raise cause from None
            raise RuntimeError(
                f"{self.name} is declared capturable, but its training step cannot be recorded as "
                f"a CUDA graph: {describe_error(cause)}; set `capturable = False`"
            ) from cause
        for step in self.held:
            step.memo.clear()
        for optimizer in self.optimizers:
            optimizer.updates -= optimizer.player.updates

    def replay(self, show: Callable[[int], Step]) -> None:
        """Compute the recorded step on other batches, reseeded from their generators."""
        for turn, held in enumerate(self.held):
            step = show(turn)
            held.images.copy_(step.images)
            if held.source is not None and step.source is not None:
                held.source.copy_(step.source)
            held.rng.manual_seed(step.rng.initial_seed())
        self.graph.replay()
        for optimizer in self.optimizers:
            optimizer.updates += optimizer.player.updates


@cache
def recording_stream(device: torch.device) -> torch.cuda.Stream:
    """Return the one stream of all recordings: CUDA's libraries keep a workspace per stream."""
    return torch.cuda.Stream(device)


def can_record(
    model: GenerativeModel, optimizers: list[PlayerOptimizer], compiled: bool, world: World
) -> bool:
    """Return whether training steps are replayed: on CUDA, alone, of a model that allows it.

    `capturable` is not inherited: a subclass may do what cannot be recorded.
    """
    own: bool = vars(type(model)).get("capturable", False)
    alone = model.device.type == "cuda" and world.size == 1 and not compiled
    return own and alone and all(optimizer.fused for optimizer in optimizers)


def update_players(optimizers: list[PlayerOptimizer], show: Callable[[int], Step]) -> None:
    """Update every player; one with k updates sees the first k batches of the step."""
    shown: list[Step] = []
    for optimizer in optimizers:
        for turn in range(optimizer.player.updates):
            if turn == len(shown):
                shown.append(show(turn))
            optimizer.update(shown[turn])
