import math
from itertools import pairwise
from typing import Any

import pytest
import torch
from own_models import Ticking, Translating, average_ticks
from torch import Tensor, nn

from benchmarks.training.ema import EMA
from benchmarks.training.loop import (
    Batches,
    Diverged,
    StateMismatch,
    Trained,
    TrainingConfig,
    TrainingState,
    evenly_spaced,
    train,
)
from benchmarks.training.optimizers import schedule_factor
from models.base import Adam, GenerativeModel, ModelConfig, Player, Step
from models.gan import GAN

IMAGES = torch.randint(0, 256, (50, 1, 8, 8), dtype=torch.uint8, generator=torch.Generator())


class Duel(GenerativeModel):
    """Two players with a parameter each; notes down what they are shown."""

    class Config(ModelConfig):
        updates: int = 1
        scale: float = 1.0

    def __init__(self, config: Any, shape: tuple[int, int, int] = (1, 8, 8)) -> None:
        super().__init__(config, shape)
        self.a = nn.Parameter(torch.tensor([1.0]))
        self.b = nn.Parameter(torch.tensor([2.0]))
        self.norm = nn.BatchNorm1d(1)
        self.seen: list[tuple[str, Step, float, float]] = []

    def players(self) -> list[Player]:
        adam = Adam(0.1)
        return [
            Player("first", [self.a], self.first, adam, updates=self.config.updates),
            Player("second", [self.b], self.second, adam),
        ]

    def first(self, play: Step) -> Tensor:
        self.seen.append(("first", play, self.a.item(), self.b.item()))
        self.norm(play.images.mean((2, 3)))
        return self.config.scale * (self.a * self.b).sum()

    def second(self, play: Step) -> Tensor:
        self.seen.append(("second", play, self.a.item(), self.b.item()))
        return -(self.a * self.b).sum()


def fit(model: GenerativeModel, **settings: Any) -> Trained:
    plan = TrainingConfig(**{"steps": 6, "batch": 8, "seed": 3, "evaluations": 2} | settings)
    return train(
        model, IMAGES, None, plan, evaluate=lambda _: 1.0, report=lambda step, losses: None
    )


def ticking(kind: type[Ticking] = Ticking, **settings: Any) -> Ticking:
    kind.shown.clear()
    return kind(kind.Config(**settings), (1, 8, 8))


def duel(**settings: Any) -> Duel:
    return Duel(Duel.Config(**settings))


def test_batches_cover_each_epoch_once_and_span_epochs() -> None:
    stream = Batches(torch.arange(10, dtype=torch.uint8), 4, 0, torch.device("cpu"))
    drawn = [round(x * 255) for i in range(5) for x in stream.read(i).tolist()]
    assert sorted(drawn[:10]) == sorted(drawn[10:]) == list(range(10))
    assert drawn[:10] != drawn[10:]
    assert drawn != sorted(drawn)


def test_a_batch_follows_from_its_number_alone() -> None:
    stream = Batches(IMAGES, 8, 5, torch.device("cpu"))
    forwards = [stream.read(i) for i in range(20)]
    fresh = Batches(IMAGES, 8, 5, torch.device("cpu"))
    assert all(torch.equal(fresh.read(i), forwards[i]) for i in reversed(range(20)))
    other = Batches(IMAGES, 8, 6, torch.device("cpu"))
    assert not torch.equal(other.read(0), forwards[0])


def test_a_batch_larger_than_the_set_repeats_it() -> None:
    stream = Batches(torch.arange(3, dtype=torch.uint8), 7, 0, torch.device("cpu"))
    drawn = [round(x * 255) for x in stream.read(0).tolist()]
    assert sorted(drawn[:3]) == sorted(drawn[3:6]) == [0, 1, 2]


def test_each_player_moves_their_own_parameters_in_turn() -> None:
    model = duel()
    fit(model, steps=1)
    (one, _, a, b), (two, _, moved, still) = model.seen
    assert (one, two) == ("first", "second")
    assert (a, b, still) == (1, 2, 2)
    assert moved == pytest.approx(0.9)  # Adam's first step is the learning rate
    assert model.b.item() == pytest.approx(2.1)


def test_several_updates_see_as_many_batches_and_the_other_player_the_first() -> None:
    model = duel(updates=3)
    trained = fit(model, steps=2)
    rounds = [play for _, play, _, _ in model.seen]
    names = [name for name, *_ in model.seen]
    assert names == ["first", "first", "first", "second"] * 2
    assert rounds[3] is rounds[0]
    stream = [play.images for play in (*rounds[:3], *rounds[4:7])]
    assert not any(torch.equal(a, b) for i, a in enumerate(stream) for b in stream[:i])
    assert [play.step for play in rounds] == [0] * 4 + [1] * 4
    assert trained.history[-1]["images"] == 2 * 3 * 8


def test_the_average_follows_weights_and_statistics_by_the_formula() -> None:
    model = duel()
    average = EMA(model, 0.5)
    expected = {"a": model.a.item(), "mean": model.norm.running_mean.item()}  # type: ignore[union-attr]
    for step, value in enumerate([3.0, -1.0, 4.0, 8.0, 2.0, 7.0, 5.0, 1.0, 0.0]):
        model.a.data.fill_(value)
        model.norm.running_mean.fill_(10 * value)  # type: ignore[union-attr]
        average.update(step)
        decay = min(0.5, (1 + step) / (10 + step))
        for key, new in (("a", value), ("mean", 10 * value)):
            expected[key] = decay * expected[key] + (1 - decay) * new
    averaged = average.model
    assert averaged.a.item() == pytest.approx(expected["a"], rel=1e-5)
    assert averaged.norm.running_mean.item() == pytest.approx(expected["mean"], rel=1e-5)
    assert not averaged.training
    assert model.training


def test_no_decay_means_the_last_weights() -> None:
    model = duel(ema=0.0)
    trained = fit(model)
    assert trained.model.a.item() == model.a.item() == trained.last["a"].item()
    assert torch.equal(trained.model.norm.running_var, model.norm.running_var)


@pytest.mark.parametrize(
    ("name", "factors"),
    [
        ("constant", (1, 1, 1)),
        ("linear", (1, 0.5, 0)),
        ("constant_linear", (1, 1, 0)),
        ("cosine", (1, 0.5, 0)),
    ],
)
def test_schedules_at_start_half_and_end(name: str, factors: tuple[float, ...]) -> None:
    found = [schedule_factor(name, progress) for progress in (0, 0.5, 1)]
    assert found == pytest.approx(factors, abs=1e-12)


def test_the_schedule_sets_the_steps() -> None:
    model = duel(schedule="linear")
    fit(model, steps=4)
    values = [a for name, _, a, _ in model.seen if name == "first"] + [model.a.item()]
    steps = [before - after for before, after in pairwise(values)]
    assert steps == pytest.approx([0.1, 0.075, 0.05, 0.025], rel=0.05)


class View(Duel):
    """Its first player's parameter is every other element of a tensor."""

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.base = torch.ones(8)
        self.a = nn.Parameter(self.base[::2])

    def players(self) -> list[Player]:
        return [Player("first", [self.a], lambda play: self.a.sum(), Adam(0.1))]


def test_parameters_that_are_views_take_plain_adams_steps() -> None:
    model = View(View.Config())
    fit(model, steps=1)
    torch.testing.assert_close(model.a.detach(), torch.full((4,), 0.9))
    assert torch.equal(model.base[1::2], torch.ones(4))


def test_moments_of_another_shape_are_anothers() -> None:
    states: list[TrainingState] = []

    class Notes:
        def due(self) -> bool:
            return not states

        def save(self, state: TrainingState) -> None:
            states.append(
                TrainingState(
                    state.step, {k: v.clone() for k, v in state.tensors.items()}, state.about
                )
            )

    arguments: dict[str, Any] = {"evaluate": lambda _: 1.0, "report": lambda *_: None}
    plan = TrainingConfig(steps=3, batch=8, seed=0, evaluations=1)
    train(duel(), IMAGES, None, plan, **arguments, checkpointer=Notes())
    train(duel(), IMAGES, None, plan, **arguments, state=states[0])
    states[0].tensors["moments.first.0.exp_avg"] = torch.zeros(2)
    with pytest.raises(StateMismatch, match="exp_avg of shape"):
        train(duel(), IMAGES, None, plan, **arguments, state=states[0])


def test_clipping_bounds_the_gradients_norm() -> None:
    free, clipped = duel(scale=100.0), duel(scale=100.0, clip=1.0)
    fit(free, steps=1)
    fit(clipped, steps=1)
    assert free.a.grad is not None
    assert free.a.grad.item() == pytest.approx(200)
    assert clipped.a.grad is not None
    assert clipped.a.grad.item() == pytest.approx(1, rel=1e-4)


def test_two_trainings_agree_bit_for_bit_and_seeds_matter() -> None:
    from models.gan import GAN

    states = []
    for seed in (3, 3, 4):
        torch.manual_seed(0)
        gan = GAN(GAN.Config(hidden=(16,)), (1, 8, 8))
        states.append(fit(gan, seed=seed).model.state_dict())
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    assert not all(torch.equal(states[0][name], states[2][name]) for name in states[0])


def test_the_outcome_does_not_depend_on_how_often_it_is_evaluated() -> None:
    from models.vae import VAE

    states = []
    for evaluations in (1, 5):
        torch.manual_seed(0)
        vae = VAE(VAE.Config(hidden=(16,)), (1, 8, 8))
        states.append(fit(vae, evaluations=evaluations).model.state_dict())
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


def test_the_best_step_is_the_one_with_the_lowest_score() -> None:
    scores = iter([3.0, 1.0, 2.0])
    plan = TrainingConfig(steps=6, batch=8, seed=0, evaluations=3)
    model = duel(ema=0.0)
    trained = train(
        model, IMAGES, None, plan, evaluate=lambda _: next(scores), report=lambda step, losses: None
    )
    assert trained.best_step == 4
    values = [a for name, play, a, _ in model.seen if name == "first"]
    assert trained.best["a"].item() == values[4]  # what the fifth round began with
    shown = {row["step"]: row.get("validation_fid") for row in trained.history}
    assert [shown[step] for step in (2, 4, 6)] == [3, 1, 2]


def test_what_is_evaluated_scored_and_best_is_the_average_of_its_step() -> None:
    model, evaluated = ticking(ema=0.5), dict[int, float]()

    def evaluate(average: GenerativeModel) -> float:
        evaluated[round(model.ticks.item())] = average.ticks.item()
        return abs(model.ticks.item() - 8)

    plan = TrainingConfig(steps=12, batch=8, seed=0, evaluations=3)
    trained = train(model, IMAGES, None, plan, evaluate=evaluate, report=lambda *_: None)
    assert evaluated == pytest.approx({n: average_ticks(n, 0.5) for n in (4, 8, 12)}, rel=1e-5)
    assert trained.best_step == 8
    assert trained.best["ticks"].item() == evaluated[8]
    assert trained.model.ticks.item() == evaluated[12]
    assert trained.last["ticks"].item() == pytest.approx(12)


def test_every_batch_has_noise_of_its_own() -> None:
    drawn, loose = [], []
    for seed in (0, 1):
        plan = TrainingConfig(steps=4, batch=8, seed=seed, evaluations=1)
        train(
            model := ticking(updates=2),
            *(IMAGES, None, plan),
            evaluate=lambda _: 0.0,
            report=lambda *_: None,
        )
        drawn += model.shown["noise"]
        loose += model.shown["global noise"]
    assert len(set(torch.cat(drawn).tolist())) == 2 * 4 * 3
    assert len(set(torch.cat(loose).tolist())) == 2 * 4


def stream_sources(seed: int) -> tuple[list[int], list[int]]:
    """Train for two epochs; list the numbers of the images and of the sources that were shown."""
    numbered = torch.arange(20, dtype=torch.uint8)[:, None, None, None].expand(-1, 1, 8, 8)
    model = ticking(Translating)
    plan = TrainingConfig(steps=8, batch=5, seed=seed, evaluations=1)
    train(model, numbered, numbered, plan, evaluate=lambda _: 0.0, report=lambda *_: None)
    shown = [torch.cat(model.shown[what])[:, 0, 0, 0] * 255 for what in ("images", "sources")]
    return tuple(numbers.round().int().tolist() for numbers in shown)


def test_sources_come_in_an_order_of_their_own_that_epochs_and_seeds_change() -> None:
    (images, sources), (_, others) = stream_sources(0), stream_sources(1)
    epochs = [sources[:20], sources[20:], others[:20], others[20:]]
    assert all(sorted(epoch) == list(range(20)) for epoch in epochs)
    assert len({tuple(order) for order in [*epochs, list(range(20)), images[:20]]}) == 6
    pairs = list(zip(images, sources, strict=True))
    assert set(pairs[:20]) != set(pairs[20:])


@pytest.mark.parametrize("scale", [float("nan"), float("inf"), 1e9])
def test_losses_that_explode_are_named(scale: float) -> None:
    with pytest.raises(Diverged, match=r"loss_first is .* at step 1"):
        fit(duel(scale=scale))


def test_history_has_mean_losses_and_the_report_the_same() -> None:
    told: dict[int, dict[str, float]] = {}
    plan = TrainingConfig(steps=200, batch=8, seed=0, evaluations=1)
    model = duel()
    trained = train(model, IMAGES, None, plan, evaluate=lambda _: 1.0, report=told.__setitem__)
    assert len(trained.history) == 100
    first = [-a * b for name, _, a, b in model.seen if name == "second"][:2]
    assert trained.history[0]["loss_second"] == pytest.approx(sum(first) / 2, rel=1e-5)
    assert told[2]["loss_second"] == trained.history[0]["loss_second"]
    assert "validation_fid" not in trained.history[0]


def test_points_are_evenly_spaced_and_end_at_the_end() -> None:
    assert list(evenly_spaced(10, 4)) == [2, 5, 8, 10]
    assert list(evenly_spaced(3, 100)) == [1, 2, 3]


@pytest.mark.parametrize("settings", [{}, {"r1": 0.1}, {"loss": "wasserstein"}])
def test_compiled_networks_train_with_and_without_second_derivatives(
    settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Traced and differentiated ahead of time as in earnest, but not translated to C++.
    compiled, compile_ = [], nn.Module.compile
    monkeypatch.setattr(
        nn.Module, "compile", lambda net: (compiled.append(net), compile_(net, backend="aot_eager"))
    )
    torch.manual_seed(0)
    gan = GAN(GAN.Config(hidden=(16,), **settings), (1, 8, 8))
    losses = fit(gan, steps=2, compile=True).history[-1]
    assert compiled == gan.compilable()
    assert math.isfinite(losses["loss_generator"])


def test_the_former_name_of_the_config_is_imported_with_a_notice() -> None:
    with pytest.warns(FutureWarning, match="Plan has become TrainingConfig"):
        from benchmarks.training import Plan
    assert Plan is TrainingConfig
    with pytest.raises(ImportError):
        from benchmarks.training import Trial  # noqa: F401
