from pathlib import Path

import pytest
import torch

from benchmarks.analysis.lookup import find_route, name_training, read_traits
from benchmarks.execution.train_one import describe_model
from benchmarks.records.schema import ModelTraits, Record
from benchmarks.records.store import read_suite
from models.autoencoder import Autoencoder
from models.base import GenerativeModel, ModelConfig
from models.cyclegan import CycleGAN
from models.gan import GAN

ROOT = Path(__file__).parents[3]
OLD = {
    "likelihood": {"gan_10": (False, 10, "search"), "vae_10": (False, 10, "encoder")},
    "mnist_cyclegan": {"cyclegan": (True, 784, "cycle")},
}


@pytest.mark.parametrize("suite", OLD)
def test_old_records_have_the_traits_of_their_models(suite: str) -> None:
    records = read_suite(ROOT / "results" / "reference" / suite).records
    for name, expected in OLD[suite].items():
        record = next(r for r in records if r.contender == name)
        old = record.model_copy(update={"model": None})
        traits = read_traits(old)
        assert (traits.uses_source, traits.code_size, traits.reconstruction) == expected
        assert (traits.tuned, traits.note) == (None, None)


@pytest.mark.parametrize("spec", [{"settings": 3, "data": []}, {"settings": {"latent": "x"}}])
def test_specs_of_any_shape_have_traits(spec: dict[str, object]) -> None:
    fields = {"run": "a", "suite": "s", "dataset": "d", "contender": "a", "family": "gan"}
    record = Record(**fields, status="ok", spec={**spec, "sampler": {"contender": 3}})
    assert read_traits(record).code_size is None
    assert find_route(record) is None
    assert name_training(record) == "a"


def test_models_of_ones_own_may_use_the_words_of_before() -> None:
    fields = {"run": "a", "suite": "s", "dataset": "d", "contender": "a", "family": "own"}
    model = ModelTraits(reconstruction="encode, decode")
    record = Record(**fields, status="failed", reason="x", model=model)
    assert find_route(record) == "encoder"
    assert find_route(record.model_copy(update={"status": "ok"})) == "none"
    words = model.model_copy(update={"reconstruction": "by heart"})
    assert find_route(record.model_copy(update={"model": words})) == "by heart"


def test_a_models_traits_follow_from_the_model() -> None:
    gan = GAN(GAN.Config(latent=7, lr=1e-3), (1, 8, 8))
    traits = describe_model(gan)
    assert traits.model_dump() == {
        "uses_source": False,
        "code_size": 7,
        "reconstruction": "search",
        "tuned": 2,
        "note": None,
    }
    assert describe_model(Autoencoder(Autoencoder.Config(), (1, 8, 8))).tuned == 0


@pytest.mark.parametrize(
    ("config", "size"),
    [({}, 784), ({"backbone": "mlp"}, 64), ({"backbone": "mlp", "latent": 999}, 784)],
)
def test_a_cycle_passes_through_an_image_or_a_bottleneck(
    config: dict[str, object], size: int
) -> None:
    model = CycleGAN(CycleGAN.Config(width=4, critic_width=4, **config), (1, 28, 28))
    assert describe_model(model).code_size == size
    assert describe_model(model).uses_source


def test_a_model_of_ones_own_may_have_neither_code_nor_reconstruction() -> None:
    class Noise(GenerativeModel):
        caveat = "it is noise"  # type: ignore[assignment]

        def sample(
            self, n: int, rng: torch.Generator, source: torch.Tensor | None = None
        ) -> torch.Tensor:
            return torch.rand(n, *self.shape, generator=rng)

    traits = describe_model(Noise(ModelConfig(), (1, 8, 8)))
    assert (traits.code_size, traits.reconstruction) == (None, None)
    assert traits.note == "it is noise"
