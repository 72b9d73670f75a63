from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from benchmarks.config.registry import load_model
from benchmarks.training import graphs, loop
from benchmarks.training.distributed import ALONE, World
from benchmarks.training.loop import Trained, TrainingConfig, train
from benchmarks.training.optimizers import PlayerOptimizer
from models.base import GenerativeModel
from models.gan import GAN

IMAGES = torch.randint(0, 256, (50, 1, 8, 8), dtype=torch.uint8, generator=torch.Generator())


class Cuda:
    """CUDA's graphs without CUDA: what is recorded is kept, and a replay calls it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.recording, self.replays, self.generators = False, 0, list[torch.Generator]()
        self.kept: Callable[[], None] = lambda: None
        waiting = SimpleNamespace(wait_stream=lambda _: None)
        self.current_stream = lambda: waiting
        self.stream = self.device = lambda _: nullcontext()
        update = graphs.update_players

        def update_or_keep(optimizers: list[PlayerOptimizer], show: Any) -> None:
            def replay() -> None:
                update(optimizers, lambda turn: replace(show(turn), memo={}))
                for optimizer in optimizers:  # which a replay on a GPU does not count
                    optimizer.updates -= optimizer.player.updates

            if not self.recording:
                update(optimizers, show)
                return
            self.kept = replay
            for optimizer in optimizers:
                optimizer.updates += optimizer.player.updates

        stand_in = SimpleNamespace(cuda=self, OutOfMemoryError=torch.OutOfMemoryError)
        monkeypatch.setattr(graphs, "torch", stand_in)
        monkeypatch.setattr(graphs, "recording_stream", lambda _: waiting)
        monkeypatch.setattr(graphs, "update_players", update_or_keep)
        monkeypatch.setattr(loop, "can_record", lambda *_: True)

    def CUDAGraph(self) -> Any:  # noqa: N802 - as in torch.cuda
        def replay() -> None:
            self.replays += 1
            self.kept()

        return SimpleNamespace(replay=replay, register_generator_state=self.generators.append)

    @contextmanager
    def graph(self, graph: Any, stream: Any) -> Iterator[None]:
        self.recording = True
        yield
        self.recording = False


def fit(kind: str, settings: dict[str, Any], steps: int = 20) -> Trained:
    torch.manual_seed(0)
    model = load_model(kind)(load_model(kind).Config(**settings), (1, 8, 8))
    plan = TrainingConfig(steps=steps, batch=8, seed=3, evaluations=2)
    ignore: Any = lambda *_: 1.0  # noqa: E731
    return train(model, IMAGES, IMAGES.flip(0), plan, evaluate=ignore, report=ignore)


@pytest.mark.parametrize(
    ("kind", "settings", "batches"),
    [
        ("gan", {"hidden": (16,), "loss": "wasserstein", "schedule": "linear"}, 5),
        ("vae", {"hidden": (16,), "clip": 1.0}, 1),
        ("cyclegan", {"backbone": "mlp", "hidden": (16,), "latent": 4}, 1),
    ],
)
def test_replayed_steps_see_what_steps_one_by_one_do(
    kind: str, settings: dict[str, Any], batches: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = fit(kind, settings)
    cuda = Cuda(monkeypatch)
    replayed = fit(kind, settings)
    assert (cuda.replays, len(cuda.generators)) == (20 - graphs.WARM, batches)
    assert all(torch.equal(plain.last[name], replayed.last[name]) for name in plain.last)
    averages = plain.model.state_dict(), replayed.model.state_dict()
    assert all(torch.equal(averages[0][name], averages[1][name]) for name in averages[0])
    without = [[{**row, "seconds": 0} for row in t.history] for t in (plain, replayed)]
    assert without[0] == without[1]


@pytest.mark.parametrize(
    ("raised", "message"),
    [
        (RuntimeError("reads a value"), "GAN is declared capturable, but .* reads a value"),
        (torch.OutOfMemoryError("CUDA out of memory"), "^CUDA out of memory$"),
        (KeyboardInterrupt("stop"), "^stop$"),
    ],
)
def test_a_step_that_cannot_be_recorded_fails_with_the_first_error(
    raised: BaseException, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    cuda = Cuda(monkeypatch)

    @contextmanager
    def broken(graph: Any, stream: Any) -> Iterator[None]:
        try:
            raise raised
        finally:
            raise RuntimeError("operation failed due to a previous error during capture")
        yield

    cuda.graph = broken  # type: ignore[method-assign]
    kind = RuntimeError if isinstance(raised, RuntimeError) else type(raised)
    with pytest.raises(kind, match=message):
        fit("gan", {"hidden": (16,)})


class OnCuda(GAN):
    device = torch.device("cuda")  # type: ignore[assignment]


class Declared(OnCuda):
    capturable = True


@pytest.mark.parametrize(
    ("kind", "compiled", "world", "expected"),
    [
        (Declared, False, ALONE, True),
        (OnCuda, False, ALONE, False),
        (GAN, False, ALONE, False),
        (Declared, True, ALONE, False),
        (Declared, False, World(0, 2), False),
    ],
)
def test_steps_are_recorded_where_a_model_itself_allows_it(
    kind: type[GenerativeModel], compiled: bool, world: World, expected: bool
) -> None:
    model = kind(kind.Config(), (1, 8, 8))
    optimizers = [PlayerOptimizer(p, None, "float32", ALONE) for p in model.players()]
    assert graphs.can_record(model, optimizers, compiled, world) is expected
    optimizers[0].fused = False
    assert not graphs.can_record(model, optimizers, compiled, world)
