"""What a model must return, checked before it is trained and whenever it is scored."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from own_models import Average, Flow
from torch import Tensor, nn

from benchmarks.core.tensors import to_float
from benchmarks.data import load_dataset
from benchmarks.evaluation.collapse import Variety, find_collapse
from benchmarks.evaluation.contract import ContractError
from benchmarks.evaluation.evaluator import Evaluator
from benchmarks.execution import smoke
from benchmarks.execution.smoke import run_smoke_step
from benchmarks.records.schema import Costs
from benchmarks.training.flops import FlopCounter, count_training_flops
from benchmarks.training.loop import Diverged
from metrics import RandomExtractor
from models.autoencoder import Autoencoder
from models.base import Adam, GenerativeModel, Latent, Player, Step
from models.cyclegan import CycleGAN
from models.gan import GAN
from models.vae import VAE

SHAPE = (1, 8, 8)
DIGITS = torch.randint(0, 256, (20, *SHAPE), dtype=torch.uint8)
Change = Callable[[Tensor], Any]


def build(**methods: Any) -> GenerativeModel:
    kind = type("Mine", (Average,), methods)
    return kind(kind.Config(), SHAPE)


def sampling(change: Change) -> GenerativeModel:
    return build(sample=lambda self, n, rng, source=None: change(Average.sample(self, n, rng)))


def copying(change: Change) -> GenerativeModel:
    return build(reconstruct=lambda self, x, rng: change(Average.reconstruct(self, x, rng)))


def losing(change: Change) -> GenerativeModel:
    def error(self: Average, play: Step) -> Any:
        return change(Average.error(self, play))

    return build(error=error)


def try_out(model: GenerativeModel) -> Costs:
    return run_smoke_step(model, 8, DIGITS, DIGITS)


IMAGES = r"it must return float32 images \[2, 1, 8, 8\]$"
RANGE = r"it must return images in \[0, 1\]$"
LOSS = "it must return a finite scalar tensor with a graph$"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x: x * 2 - 1, rf"returned values from -\d.* to 0\.\d+; {RANGE}"),
        (lambda x: x * 255, rf"returned values from \S+ to \d+; {RANGE}"),
        (lambda x: x + 0.6, rf"returned values from \S+ to 1\.\d+; {RANGE}"),
        (lambda x: x / 0 - x / 0, f"returned values that are not finite; {RANGE}"),
        (lambda x: x[:, 0], rf"returned float32 \[2, 8, 8\]; {IMAGES}"),
        (lambda x: x.flatten(1), rf"returned float32 \[2, 64\]; {IMAGES}"),
        (lambda x: x[: len(x) // 2], rf"returned float32 \[1, 1, 8, 8\]; {IMAGES}"),
        (lambda x: x.repeat(32, 1, 1, 1), rf"returned float32 \[64, 1, 8, 8\]; {IMAGES}"),
        (lambda x: x.repeat(1, 3, 1, 1), rf"returned float32 \[2, 3, 8, 8\]; {IMAGES}"),
        (lambda x: x.repeat(1, 1, 2, 2), rf"returned float32 \[2, 1, 16, 16\]; {IMAGES}"),
        (lambda x: x.mean((1, 2, 3), keepdim=True), rf"returned float32 \[2, 1, 1, 1\]; {IMAGES}"),
        (lambda x: x.double(), rf"returned float64 \[2, 1, 8, 8\]; {IMAGES}"),
        (lambda x: (x * 255).byte(), rf"returned uint8 \[2, 1, 8, 8\]; {IMAGES}"),
        (lambda x: x.numpy(), f"returned a numpy.ndarray; {IMAGES}"),
        (lambda x: [x], f"returned a list; {IMAGES}"),
        (lambda _: None, f"returned None; {IMAGES}"),
    ],
)
@pytest.mark.parametrize(("method", "make"), [("sample", sampling), ("reconstruct", copying)])
def test_images_that_are_none_are_found_before_training(
    change: Change, message: str, method: str, make: Callable[[Change], GenerativeModel]
) -> None:
    model = make(change)
    nn.init.normal_(model.logits, std=0.1)  # type: ignore[arg-type]
    with pytest.raises(ContractError, match=rf"^Mine\.{method} {message}") as raised:
        try_out(model)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda loss: loss.expand(8), rf"returned float32 \[8\]; {LOSS}"),
        (lambda loss: loss[None], rf"returned float32 \[1\]; {LOSS}"),
        (lambda loss: loss.item(), f"returned a float; {LOSS}"),
        (lambda loss: loss / 0, f"returned inf; {LOSS}"),
        (lambda loss: loss.detach(), f"returned a scalar without a graph; {LOSS}"),
        (lambda _: None, f"returned None; {LOSS}"),
        (
            lambda loss: loss.detach() * torch.ones((), requires_grad=True),
            "returned a loss that depends on no parameter of 'mean'; it must depend on at least",
        ),
    ],
)
def test_losses_that_are_none_are_found_before_training(change: Change, message: str) -> None:
    with pytest.raises(ContractError, match=rf"^Mine\.error {message}"):
        try_out(losing(change))


def test_parameters_of_another_type_are_found_before_training() -> None:
    with pytest.raises(ContractError, match=r"^parameters are float64, images float32: .*Average"):
        try_out(Average(Average.Config(), SHAPE).double())


def test_players_without_anything_to_learn_are_found_before_training() -> None:
    with pytest.raises(ContractError, match=r"^Mine\.players returned no players"):
        try_out(build(players=lambda _: []))
    frozen = Average(Average.Config(), SHAPE)
    frozen.logits.requires_grad_(requires_grad=False)
    with pytest.raises(ContractError, match=r"^Average\.players returned 'mean' without a param"):
        try_out(frozen)


@pytest.mark.parametrize("count", [1, 64.0, "all"])
def test_a_count_of_validation_samples_is_two_at_least(count: object) -> None:
    message = rf"^Mine\.validation_samples is {count!r}; it must be None or an integer"
    with pytest.raises(ContractError, match=message):
        try_out(build(validation_samples=count))


class Wide(Average):
    """Has layers beside the one that its loss uses."""

    def __init__(self, config: Average.Config, shape: tuple[int, int, int]) -> None:
        super().__init__(config, shape)
        self.spare, self.frozen = nn.Linear(2, 2), nn.Linear(3, 3).requires_grad_(False)

    def players(self) -> list[Player]:
        return [Player("mean", list(self.parameters()), self.error, Adam(1e-2))]


def test_layers_that_are_frozen_or_not_used_are_no_fault() -> None:
    assert try_out(Wide(Wide.Config(), SHAPE)).parameters == 64 + 6


def test_networks_that_are_wrapped_are_no_fault() -> None:
    model = VAE(VAE.Config(hidden=(16,)), SHAPE)
    plain = try_out(model)
    model.decoder = nn.DataParallel(model.decoder)
    assert try_out(model) == plain


def test_rounding_noise_is_no_fault() -> None:
    assert try_out(sampling(lambda x: x.round() * 1.0005)).sampling_flops_per_image == 0
    assert try_out(sampling(lambda x: x.round() - 0.0005)).sampling_flops_per_image == 0
    with pytest.raises(ContractError, match=r"from -0\.002 to"):
        try_out(sampling(lambda x: x * 0 - 0.002))


class Fitted(Average):
    """Cannot generate before `finish` has been called, with enough images."""

    def finish(self, images: Tensor, rng: torch.Generator) -> None:
        self.fit = images[:20].float().std(0)
        assert len(images) == 20
        self.drawn = torch.randn(len(self.fit), generator=rng)

    def sample(self, n: int, rng: torch.Generator, source: Tensor | None = None) -> Tensor:
        return super().sample(n, rng) * (self.fit > 0)


def test_a_model_that_generates_by_what_is_fitted_is_completed_first() -> None:
    model = Fitted(Fitted.Config(), SHAPE)
    assert try_out(model).sampling_flops_per_image == 0
    assert not hasattr(model, "fit"), "a copy is tried out"


def test_reconstructing_is_optional() -> None:
    def refuse(*_: object) -> None:
        raise NotImplementedError

    assert try_out(build(reconstruct=refuse)).parameters == 64
    assert try_out(Flow(Flow.Config(), SHAPE)).parameters


def test_what_takes_too_long_is_left_to_training(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(smoke, "SECONDS", 0.0)
    found = try_out(sampling(lambda _: None))
    assert found.training_flops_per_step == 0
    assert found.sampling_flops_per_image is None


@pytest.mark.parametrize("model", [GAN, Autoencoder, VAE, CycleGAN])
def test_operations_are_counted_as_of_one_image(model: type[GenerativeModel]) -> None:
    small = {"hidden": (16,), "latent": 5, "backbone": "mlp"}
    made = model(model.Config(**small), SHAPE)  # type: ignore[call-arg]
    found = try_out(made)
    made.eval()
    with torch.no_grad(), FlopCounter() as counter:
        made.sample(1, torch.Generator(), torch.zeros(1, *SHAPE))
    assert found.sampling_flops_per_image == counter.total > 0
    assert found.training_flops_per_step == count_training_flops(made, 8) > 0


def test_a_search_is_tried_with_a_single_step() -> None:
    steps = []

    class Counting(GAN):
        def descend(self, x: Tensor, z: Tensor) -> Tensor:
            steps.append(self.config.inversion_steps)
            return super().descend(x, z)

    model = Counting(Counting.Config(), SHAPE)
    try_out(model)
    assert steps == [1]
    assert model.config.inversion_steps == 200


@pytest.fixture(scope="module")
def evaluator() -> Evaluator:
    data = load_dataset("digits", data_root=Path())
    return Evaluator(data, RandomExtractor(1), samples=100, reconstructions=20)


def test_rounding_noise_is_clamped(evaluator: Evaluator) -> None:
    made = evaluator.generate(sampling(lambda x: x.round() * 1.0005), 0)
    exact = evaluator.generate(sampling(lambda x: x.round()), 0)
    assert torch.equal(made.samples, exact.samples)


def test_samples_are_checked_when_they_are_validated_and_scored(evaluator: Evaluator) -> None:
    model = sampling(lambda x: x * 2 - 1)
    for score in (evaluator.validate, evaluator.generate):
        with pytest.raises(ContractError, match=rf"^Mine\.sample returned values from .*{RANGE}"):
            score(model, 0)
    with pytest.raises(ContractError, match=r"^Mine\.sample returned float32 \[\d+, 8, 8\]"):
        evaluator.generate(sampling(lambda x: x[:, 0]), 0)
    with pytest.raises(Diverged):
        evaluator.generate(sampling(lambda x: x * float("nan")), 0)


def test_reconstructions_are_checked_when_they_are_scored(evaluator: Evaluator) -> None:
    with pytest.raises(ContractError, match=rf"^Mine\.reconstruct returned .*not finite; {RANGE}"):
        evaluator.generate(copying(lambda x: x * float("nan")), 0)


def test_interpolations_and_translations_are_checked(evaluator: Evaluator) -> None:
    codes = Latent(3, lambda z: z[:, :, None, None].expand(-1, 1, 8, 8), torch.randn, torch.sum)

    def draw(n: int, rng: torch.Generator) -> Tensor:
        return 9 * torch.randn(n, 1, generator=rng)

    wild = replace(codes, sample=draw)
    with pytest.raises(ContractError, match=rf"^decode of Mine\.latent returned values .*{RANGE}"):
        evaluator.generate(build(latent=lambda _: wild), 0)

    class Wrong(CycleGAN):
        def translate(self, source: Tensor) -> tuple[Tensor, Tensor]:
            there, back = super().translate(source)
            return there, back * 255

    config = Wrong.Config(width=4, critic_width=4, blocks=1)
    with pytest.raises(ContractError, match=rf"^Wrong\.translate returned values .*{RANGE}"):
        evaluator.generate(Wrong(config, SHAPE).eval(), 0)


def test_few_distinct_samples_are_a_collapse() -> None:
    def judge(samples: torch.Tensor, real: torch.Tensor) -> str | None:
        return find_collapse(Variety(samples.numpy()), Variety(real.numpy()))

    real = torch.randint(0, 256, (1000, *SHAPE), dtype=torch.uint8)
    assert judge(real, real) is None
    few = real[torch.arange(1000) % 9]
    assert judge(few, real) == (
        "the samples repeat a few images: 9 of 1,000 are distinct, and one of them makes 11 %"
    )
    many = real.clone()
    many[:99] = real[0]
    assert judge(many, real) is None
    many[:100] = real[0]
    assert "901 of 1,000 are distinct, and one of them makes 10 %" in str(judge(many, real))
    points = to_float(few)
    assert judge(points, to_float(real)) is None
