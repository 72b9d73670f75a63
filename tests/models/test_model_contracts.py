"""What every model promises, for each in `models/` and each choice among its hyper-parameters.

A new file in `models/` is tested here without a further line, and so is a model of a user's own
that has nothing but what the contract asks for: whether it reconstructs or has a latent is its own
choice.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, get_args, get_origin
from unittest.mock import patch

import pytest
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from benchmarks.config.registry import list_models, load_model
from benchmarks.evaluation.contract import ROUNDING
from benchmarks.training.checkpoint import load_checkpoint, save_checkpoint
from benchmarks.training.loop import Trained, TrainingConfig, TrainingState, train
from benchmarks.training.optimizers import PlayerOptimizer
from models.autoencoder import Autoencoder
from models.base import GenerativeModel, Player, Step

SHAPES = [(1, 8, 8), (1, 28, 28), (3, 32, 32), (1, 27, 27)]
SMALL = {
    "width": 4,
    "critic_width": 4,
    "hidden": (16,),
    "latent": 5,
    "blocks": 1,
    "components": 2,
    "inversion_steps": 3,
    "buffer": 5,
}
COUNTS = 7, 19  # products with `latent` are no multiples of what is drawn at a time
OWN = Path(__file__).parents[1] / "benchmarks/own_models.py"
MODELS = [*list_models(), f"{OWN}:Flow"]


def choices(name: str) -> list[dict[str, Any]]:
    """The default, and for each field of literals each of its other values."""
    found: list[dict[str, Any]] = [{}]
    for key, field in load_model(name).Config.model_fields.items():
        kinds = [field.annotation, *get_args(field.annotation)]
        literals = [
            value for kind in kinds if get_origin(kind) is Literal for value in get_args(kind)
        ]
        found += [{key: value} for value in literals if value != field.default]
    return found


def combinations(name: str) -> list[dict[str, Any]]:
    """Every choice with every backbone but its default's, too."""
    backbones = [choice for choice in choices(name) if "backbone" in choice]
    others = [choice for choice in choices(name) if "backbone" not in choice]
    return [one | other for one in [{}, *backbones] for other in others]


CASES = [(name, case) for name in MODELS for case in combinations(name)]
BACKBONES = [(name, case) for name, case in CASES if set(case) <= {"backbone"}]
CONVOLUTIONAL = [name for name, case in CASES if case == {"backbone": "conv"}]


def build(name: str, case: dict[str, Any], shape: tuple[int, int, int]) -> GenerativeModel:
    torch.manual_seed(0)
    kind = load_model(name)
    small = {key: value for key, value in SMALL.items() if key in kind.Config.model_fields}
    return kind(kind.Config(**small | case), shape)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def images(n: int, shape: tuple[int, int, int], seed: int = 0) -> Tensor:
    return torch.rand(n, *shape, generator=seeded(seed))


def play(model: GenerativeModel, shape: tuple[int, int, int]) -> Step:
    source = images(6, shape, 1) if model.uses_source else None
    return Step(images(6, shape), source, seeded(), 0)


def draw(model: GenerativeModel, n: int, shape: tuple[int, int, int], seed: int = 0) -> Tensor:
    source = images(n, shape, 3) if model.uses_source else None
    return model.sample(n, seeded(seed), source)


def copy(model: GenerativeModel, originals: Tensor, rng: torch.Generator) -> Tensor | None:
    """Reconstruct images, if the model can."""
    try:
        return model.reconstruct(originals, rng)
    except NotImplementedError:
        return None


@pytest.mark.parametrize("name", ["gan", "autoencoder", "vae", "cyclegan"])
def test_the_four_families_reconstruct_and_all_but_translators_have_codes(name: str) -> None:
    model = build(name, {}, (1, 8, 8)).eval()
    assert (model.latent() is None) == model.uses_source
    assert model.reconstruct(images(2, (1, 8, 8)), seeded()).shape == (2, 1, 8, 8)


@pytest.mark.parametrize(("name", "case"), CASES)
def test_every_loss_is_a_finite_scalar_with_gradients(name: str, case: dict[str, Any]) -> None:
    model = build(name, case, (1, 8, 8)).train()
    this = play(model, (1, 8, 8))
    players = model.players()
    assert players
    for player in players:
        loss = player.loss(this)
        assert loss.shape == ()
        assert loss.isfinite()
        assert all(gradient.isfinite().all() for gradient in differentiate(player, loss))


def differentiate(player: Player, loss: Tensor) -> list[Tensor]:
    """Compute the gradients of a loss by the parameters that it is of, at least one."""
    learnt = [p for p in player.parameters if p.requires_grad]
    found = torch.autograd.grad(loss, learnt, allow_unused=True)
    gradients = [gradient for gradient in found if gradient is not None]
    assert gradients
    return gradients


@pytest.mark.parametrize("name", MODELS)
def test_every_parameter_that_is_learnt_is_some_players(name: str) -> None:
    model = build(name, {}, (1, 8, 8))
    owned = {id(p) for player in model.players() for p in player.parameters}
    assert owned >= {id(p) for p in model.parameters() if p.requires_grad}
    assert owned <= {id(p) for p in model.parameters()}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("name", "case"), BACKBONES)
@torch.no_grad()
def test_shapes_ranges_and_gradients_at_every_size(
    name: str, case: dict[str, Any], shape: tuple[int, int, int]
) -> None:
    model = build(name, case, shape).train()
    this = play(model, shape)
    with torch.enable_grad():
        for player in model.players():
            gradients = differentiate(player, player.loss(this))
            assert all(gradient.isfinite().all() for gradient in gradients)
    model.eval()
    copies = copy(model, images(4, shape, 2), seeded())
    for made in (draw(model, 4, shape), *([] if copies is None else [copies])):
        assert made.shape == (4, *shape)
        assert made.dtype == torch.float32
        assert made.min() >= -ROUNDING
        assert made.max() <= 1 + ROUNDING


@pytest.mark.parametrize(("name", "case"), CASES)
@torch.no_grad()
def test_outcomes_follow_from_the_generator(name: str, case: dict[str, Any]) -> None:
    shape = (1, 8, 8)
    model = build(name, case, shape).eval()
    training = (images(64, shape, 4) * 255).round().to(torch.uint8)
    model.finish(training, seeded())
    first, again, other = (draw(model, 9, shape, seed) for seed in (0, 0, 1))
    assert torch.equal(first, again)
    if not model.uses_source:
        assert not torch.equal(first, other)
    originals = images(4, shape, 2)
    once, twice = (copy(model, originals, seeded(5)) for _ in range(2))
    torch.testing.assert_close(once, twice)


@pytest.mark.parametrize(("name", "case"), CASES)
@torch.no_grad()
def test_a_sample_does_not_depend_on_how_many_are_drawn(name: str, case: dict[str, Any]) -> None:
    shape = (1, 8, 8)
    model = build(name, case, shape).eval()
    model.finish((images(64, shape, 4) * 255).round().to(torch.uint8), seeded())
    if model.latent() is None and not model.uses_source:
        return  # of codes and sources alone the harness takes it for granted
    many = draw(model, 300, shape)
    for few in COUNTS:
        torch.testing.assert_close(draw(model, few, shape), many[:few], atol=1e-4, rtol=0)


@pytest.mark.parametrize(("name", "case"), CASES)
@torch.no_grad()
def test_the_latent_is_what_samples_are_decoded_from(name: str, case: dict[str, Any]) -> None:
    shape = (1, 8, 8)
    model = build(name, case, shape).eval()
    model.finish((images(64, shape, 4) * 255).round().to(torch.uint8), seeded())
    latent = model.latent()
    if latent is None:
        return
    codes = latent.sample(20, seeded())
    assert codes.shape == (20, latent.dimension)
    torch.testing.assert_close(latent.decode(codes), draw(model, 20, shape), atol=1e-5, rtol=0)
    with torch.enable_grad():
        z = codes.requires_grad_()
        log_prob = latent.log_prob(z)
        assert log_prob.shape == (20,)
        for values in (log_prob, latent.decode(z)):
            (slope,) = torch.autograd.grad(values.sum(), z)
            assert slope.isfinite().all()
            assert slope.any()


@pytest.mark.parametrize(("name", "case"), CASES)
@torch.no_grad()
def test_log_weights_are_each_images_own(name: str, case: dict[str, Any]) -> None:
    shape = (1, 8, 8)
    model = build(name, case, shape).eval()
    few, many = (model.log_weights(images(n, shape), 300, seeded()) for n in (2, 5))
    if few is None or many is None:
        assert few is many
        return
    assert many.shape == (5, 300)
    assert many.dtype == torch.float64
    assert many.isfinite().all()
    torch.testing.assert_close(few, many[:2])
    assert many.std(1).min() > 0


@pytest.mark.parametrize("name", MODELS)
@torch.no_grad()
def test_a_copy_does_not_depend_on_its_neighbours(name: str) -> None:
    shape = (1, 8, 8)
    model = build(name, {}, shape).eval()
    originals = images(12, shape, 2)
    alone, together = (copy(model, originals[:n], seeded()) for n in (3, 12))
    if alone is not None and together is not None:
        torch.testing.assert_close(alone, together[:3], atol=1e-3, rtol=0)


@pytest.mark.parametrize(
    "name",
    [pytest.param(m, marks=[pytest.mark.slow] * (m == "cyclegan")) for m in MODELS],
)
def test_a_few_seconds_of_training_bring_samples_and_copies_nearer(name: str) -> None:
    digits = torch.tensor(load_digits().images)[:, None]
    data = (digits * 255 / 16).round().to(torch.uint8)
    target, source, test = data[:800], data[800:1000] // 2 + 64, data[1000:1200].float() / 255
    torch.manual_seed(0)
    kind = load_model(name)
    config: dict[str, Any] = {"ema": 0.9}
    if "critic_width" in kind.Config.model_fields:
        config |= {"width": 8, "critic_width": 8, "blocks": 1, "lr": 1e-3}
    model = kind(kind.Config(**config), (1, 8, 8))

    def errors(model: GenerativeModel) -> tuple[float, float]:
        """Distance of the mean images, and error of the copies, if there are any."""
        starts = source[:200].float() / 255 if model.uses_source else None
        with torch.no_grad():
            model.finish(target, seeded())
            samples = model.sample(200, seeded(), starts)
            copies = copy(model, test[:50], seeded())
        distance = (samples.mean(0) - test.mean(0)).square().mean()
        error = math.nan if copies is None else (copies - test[:50]).square().mean().item()
        return distance.item(), error

    before = errors(model.eval())
    plan = TrainingConfig(steps=250, batch=32, seed=0, evaluations=1)
    trained = train(
        model, target, source, plan, evaluate=lambda _: 0.0, report=lambda step, losses: None
    )
    after = errors(trained.model)
    assert after[0] < before[0] / 2
    assert math.isnan(before[1]) or after[1] < before[1] / 1.5


class Killed(Exception):
    """Training ends here."""


class Notebook:
    """Keeps the state after one round, on disk, and lets training go no further."""

    def __init__(self, path: Path, step: int) -> None:
        self.path, self.left = path, step

    def due(self) -> bool:
        self.left -= 1
        return self.left == 0

    def save(self, state: TrainingState) -> None:
        save_checkpoint(self.path, state.tensors, {"step": state.step, **state.about})
        raise Killed


def with_idle_layers(model: GenerativeModel) -> GenerativeModel:
    """Freeze a parameter of the first player, and add a layer that no loss uses."""
    players = model.players
    model.idle = nn.Linear(2, 2)
    players()[0].parameters[0].requires_grad_(requires_grad=False)

    def add_idle() -> list[Player]:
        first, *others = players()
        parameters = [*dict.fromkeys([*first.parameters, *model.idle.parameters()])]
        return [replace(first, parameters=parameters), *others]

    model.players = add_idle  # type: ignore[method-assign]
    return model


def in_channels_last(model: GenerativeModel) -> GenerativeModel:
    return model.to(memory_format=torch.channels_last)


def as_it_is(model: GenerativeModel) -> GenerativeModel:
    return model


RESUMED = [
    (name, case | {"schedule": schedule}, as_it_is, 1 + (number + 4 * place) % 8)
    for place, schedule in enumerate(("constant", "cosine"))
    for number, (name, case) in enumerate(BACKBONES)
] + [
    (name, {"backbone": "conv"}, change, 4)
    for name in CONVOLUTIONAL
    for change in (with_idle_layers, in_channels_last)
]


@pytest.mark.parametrize(("name", "case", "change", "step"), RESUMED)
def test_training_goes_on_bit_for_bit_after_a_kill(
    name: str, case: dict[str, Any], change: Any, step: int, tmp_path: Path
) -> None:
    target = torch.randint(0, 256, (50, 1, 8, 8), dtype=torch.uint8, generator=seeded())
    plan = TrainingConfig(steps=9, batch=8, seed=0, evaluations=4)

    def fit(drawn_before: int, **further: Any) -> Trained:
        def evaluate(average: GenerativeModel) -> float:
            average.finish(target, seeded())
            starts = images(20, (1, 8, 8), 3) if average.uses_source else None
            return average.sample(20, seeded(), starts).sum().item()

        model = change(build(name, case, (1, 8, 8)))
        torch.manual_seed(drawn_before)  # which must not matter
        told = {"evaluate": torch.no_grad()(evaluate), "report": lambda *_: None}
        return train(model, target, target.flip(0), plan, **told, **further)

    whole = fit(1)
    with pytest.raises(Killed):
        fit(2, checkpointer=Notebook(tmp_path / "state", step))
    tensors, about = load_checkpoint(tmp_path / "state")
    torn = fit(3, state=TrainingState(about.pop("step"), tensors, about))
    pairs = {
        "last": (whole.last, torn.last),
        "average": (whole.model.state_dict(), torn.model.state_dict()),
        "best": (whole.best, torn.best),
    }
    for kind, (expected, found) in pairs.items():
        assert expected.keys() == found.keys()
        for key, tensor in expected.items():
            assert torch.equal(tensor, found[key]), f"{kind} {key} after a kill at step {step}"
    histories = [[row | {"seconds": 0} for row in t.history] for t in (whole, torn)]
    assert histories[0] == histories[1], f"after a kill at step {step}"
    assert whole.best_step == torn.best_step


def train_briefly(
    model: GenerativeModel, steps: int = 6, **settings: Any
) -> tuple[Trained, list[dict[str, float]]]:
    """Train on noise, and return the losses of every step as well."""
    target = (images(50, model.shape) * 255).to(torch.uint8)
    source = target.flip(0) if model.uses_source else None
    plan = TrainingConfig(**{"steps": steps, "batch": 8, "seed": 0, "evaluations": 1} | settings)
    losses: list[dict[str, float]] = []
    trained = train(
        model,
        target,
        source,
        plan,
        evaluate=lambda _: 0.0,
        report=lambda _, row: losses.append(row),
    )
    return trained, losses


@contextmanager
def plain_adam() -> Iterator[list[tuple[Tensor, Tensor]]]:
    """Let plain Adam take the steps of every optimizer on contiguous copies: pairs of both."""
    twins: dict[PlayerOptimizer, torch.optim.Optimizer] = {}
    copies: dict[Tensor, Tensor] = {}

    def make_twin(player: Player) -> torch.optim.Optimizer:
        for p in player.parameters:
            copies[p] = p.detach().clone(memory_format=torch.contiguous_format)
        own = [copies[p] for p in player.parameters]
        return torch.optim.Adam(own, betas=player.optimizer.betas, foreach=False, fused=False)

    def descend(
        optimizer: PlayerOptimizer, parameters: list[Tensor], gradients: list[Tensor]
    ) -> None:
        twin = twins.get(optimizer) or twins.setdefault(optimizer, make_twin(optimizer.player))
        twin.zero_grad()
        for p, gradient in zip(parameters, gradients, strict=True):
            copies[p].grad = gradient.contiguous().clone()
        twin.param_groups[0]["lr"] = float(optimizer.lr)
        twin.step()
        take_step(optimizer, parameters, gradients)

    take_step, pairs = PlayerOptimizer.descend, list[tuple[Tensor, Tensor]]()
    with patch.object(PlayerOptimizer, "descend", descend):
        yield pairs
    pairs.extend(copies.items())


@pytest.mark.parametrize("change", [as_it_is, in_channels_last, with_idle_layers])
@pytest.mark.parametrize(("name", "case"), BACKBONES)
def test_the_loop_takes_the_steps_of_plain_adam(
    name: str, case: dict[str, Any], change: Any
) -> None:
    with plain_adam() as pairs:
        train_briefly(change(build(name, case, (3, 32, 32))))
    assert len(pairs) > 2
    for p, expected in pairs:
        torch.testing.assert_close(p.detach(), expected, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize(("kind", "width"), [("ChannelsLast", 8), ("Autoencoder", 32)])
def test_the_loop_takes_the_steps_of_plain_adam_whatever_layout_gradients_have(
    kind: str, width: int
) -> None:
    model = globals()[kind](globals()[kind].Config(backbone="conv", width=width), (1, 28, 28))
    with plain_adam() as pairs:
        train_briefly(model, steps=2, batch=64)
    for p, expected in pairs:
        torch.testing.assert_close(p.detach(), expected, atol=1e-6, rtol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("name", CONVOLUTIONAL)
def test_compiled_networks_have_the_losses_of_eager_ones(name: str) -> None:
    (_, eager), (_, compiled) = (
        train_briefly(build(name, {"backbone": "conv"}, (1, 16, 16)), steps=10, compile=wanted)
        for wanted in (False, True)
    )
    for expected, found in zip(eager, compiled, strict=True):
        assert found == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize(
    ("name", "case"), [*BACKBONES, ("gan", {"backbone": "conv", "loss": "wasserstein"})]
)
def test_bfloat16_trains_on_a_cpu_and_leaves_everything_in_float32(
    name: str, case: dict[str, Any]
) -> None:
    model = build(name, case, (1, 8, 8))
    (_, exact), (trained, rounded) = (
        train_briefly(build(name, case, (1, 8, 8)), precision=precision)
        for precision in ("float32", "bfloat16")
    )
    assert rounded != exact
    assert rounded[0] == pytest.approx(exact[0], rel=0.05)
    kinds = {tensor.dtype for tensor in trained.model.state_dict().values()}
    assert kinds == {tensor.dtype for tensor in model.state_dict().values()}
    with torch.no_grad():
        assert draw(trained.model, 5, (1, 8, 8)).dtype == torch.float32


class SpectralDecoder(Autoencoder):
    """An autoencoder whose decoder begins with a layer under spectral normalisation."""

    def __init__(self, config: Autoencoder.Config, shape: tuple[int, int, int]) -> None:
        super().__init__(config, shape)
        self.decoder = nn.Sequential(spectral_norm(nn.Linear(5, 5)), self.decoder)


class Centred(Autoencoder):
    """An autoencoder of images less their running mean, which is a buffer of its own."""

    centre: Tensor

    def __init__(self, config: Autoencoder.Config, shape: tuple[int, int, int]) -> None:
        super().__init__(config, shape)
        self.register_buffer("centre", torch.zeros(shape))

    def error(self, play: Step) -> Tensor:
        if self.training:
            self.centre.lerp_(play.images.mean(0), 0.3)
        return super().error(replace(play, images=play.images - self.centre))


class ChannelsLast(Autoencoder):
    """An autoencoder whose encoder computes in channels_last."""

    def __init__(self, config: Autoencoder.Config, shape: tuple[int, int, int]) -> None:
        super().__init__(config, shape)
        self.encoder = nn.Sequential(ToChannelsLast(), self.encoder)


class ToChannelsLast(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.to(memory_format=torch.channels_last)


def with_buffers(kind: type[Autoencoder]) -> GenerativeModel:
    torch.manual_seed(0)
    return kind(kind.Config(hidden=(16,), latent=5, ema=0.0), (1, 8, 8))


NO_AVERAGE = [build(name, case | {"ema": 0.0}, (1, 8, 8)) for name, case in BACKBONES]


@pytest.mark.parametrize(
    "model", [*NO_AVERAGE, with_buffers(SpectralDecoder), with_buffers(Centred)]
)
def test_without_decay_the_average_is_the_live_model(model: GenerativeModel) -> None:
    trained, _ = train_briefly(model)
    assert trained.best.keys() == trained.last.keys() == trained.model.state_dict().keys()
    for key, value in trained.model.state_dict().items():
        assert torch.equal(value, trained.last[key]), key
        assert torch.equal(value, trained.best[key]), key


def test_buffers_that_are_not_averaged_are_the_live_models_whatever_the_decay() -> None:
    kind = type("Both", (Centred, SpectralDecoder), {})
    model = kind(kind.Config(hidden=(16,), latent=5, ema=0.9), (1, 8, 8))
    trained, _ = train_briefly(model)
    names = [name for name in model.state_dict() if name in dict(model.named_buffers())]
    names = [name for name in names if "running" not in name]
    assert len(names) > 3
    for name in names:
        assert torch.equal(trained.model.get_buffer(name), trained.last[name]), name
    assert not torch.equal(trained.model.decoder[0].bias, trained.last["decoder.0.bias"])  # type: ignore[index]
