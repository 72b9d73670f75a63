"""What every metric and every extractor of the registries keeps."""

import ast
import importlib
import math
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import pytest
import torch
from draws import normal

import metrics
from metrics import EXTRACTORS, INTERVALS, METRICS, Material, build_extractor
from metrics.likelihood import Annealing
from metrics.registry import Inputs


def shades(n: int = 60, channels: int = 1, side: int = 12) -> torch.Tensor:
    rng = torch.Generator().manual_seed(side)
    coarse = torch.rand(n, channels, 4, 4, generator=rng)
    return torch.nn.functional.interpolate(coarse, size=side, mode="bilinear")


@dataclass(frozen=True)
class Line:
    """A decoder whose images are its code of one number, a standard normal."""

    shift: float
    dimension: int = 1

    def decode(self, z: torch.Tensor) -> torch.Tensor:
        return (z + self.shift)[:, :, None, None]

    def sample(self, n: int, rng: torch.Generator) -> torch.Tensor:
        return torch.randn(n, 1, generator=rng)

    def log_prob(self, z: torch.Tensor) -> torch.Tensor:
        return -(z.square().sum(1) + math.log(2 * math.pi)) / 2


def annealing_of(latent: Line, distributions: int) -> tuple:
    """Arguments of a procedure on a decoder."""
    images = torch.linspace(0, 1, 12)[:, None, None, None]
    rng = torch.Generator().manual_seed(0)
    return images, latent, 0.2, rng, Annealing(distributions, chains=2)


def better_and_worse(inputs: str) -> tuple[tuple, tuple]:
    """Arguments of which a metric must prefer the first."""
    real, same, train = normal(200, 6), normal(200, 6, seed=1), normal(300, 6, seed=2)
    sharp = 20 * torch.eye(5).repeat(8, 1)
    centres = torch.tensor([[0.2, 0.2], [0.2, 0.8], [0.8, 0.2]])
    spread = 0.02 * normal(90, 2).float()
    images = shades()
    noise = torch.rand(images.shape, generator=torch.Generator().manual_seed(0))
    cases: dict[str, tuple[tuple, tuple]] = {
        "features": ((real, same), (real, 0.3 * same + 2)),
        "training": ((real, same, train), (real, train[:200] + 1e-3 * same, train)),
        "logits": ((sharp,), (sharp / 20,)),
        "both_logits": ((sharp, sharp.flip(0)), (sharp, sharp[:1].repeat(40, 1))),
        "modes": (
            (centres.repeat(30, 1) + spread, centres, 0.02),
            (0.2 + 3 * spread, centres, 0.02),
        ),
        "log_weights": ((normal(20, 8) + 5,), (normal(20, 8),)),
        "decoder": (annealing_of(Line(0.0), 40), annealing_of(Line(9.0), 3)),
        "pairs": ((images, 0.95 * images + 0.05 * noise), (images, noise)),
    }
    return cases[inputs]


def score(name: str, arguments: tuple) -> float:
    value = METRICS[name](*arguments)
    if METRICS[name].metadata.inputs in {"pairs", "log_weights", "decoder"}:
        assert value.shape == arguments[0].shape[:1]
        return value.mean().item()
    assert type(value) is float
    return value


def applicable() -> list[str]:
    """Metrics that the images of these tests can have; the others have tests of their own."""
    return [name for name in METRICS if name not in {"ms_ssim", "lpips"}]


def test_the_names_the_records_use():
    assert {"fid", "inception_score", "reconstruction_mse", "psnr", "ssim"} <= set(METRICS)
    assert {"kid", "precision", "recall", "density", "coverage", "near_copies"} <= set(METRICS)
    assert {"classifier", "inception", "pixels", "random"} <= set(EXTRACTORS)


@pytest.mark.parametrize("name", METRICS)
def test_metric_describes_itself(name):
    about = METRICS[name].metadata
    assert about.name == name
    assert about.direction in {"lower", "higher"}
    assert about.inputs in get_args(Inputs)
    assert about.symbol
    assert about.source
    assert about.summary
    assert "\n" not in about.summary
    assert METRICS[name].function.__doc__


@pytest.mark.parametrize("name", applicable())
def test_metric_prefers_the_better(name):
    about = METRICS[name].metadata
    good, bad = (score(name, arguments) for arguments in better_and_worse(about.inputs))
    assert good < bad if about.direction == "lower" else good > bad
    low = -math.inf if about.low is None else about.low
    high = math.inf if about.high is None else about.high
    assert low <= min(good, bad) <= max(good, bad) <= high


@pytest.mark.parametrize("name", applicable())
def test_metric_leaves_its_input_alone(name):
    arguments, _ = better_and_worse(METRICS[name].metadata.inputs)
    before = [one.clone() for one in arguments if isinstance(one, torch.Tensor)]
    state = torch.get_rng_state()
    score(name, arguments)
    after = [one for one in arguments if isinstance(one, torch.Tensor)]
    assert all(torch.equal(a, b) for a, b in zip(after, before, strict=True))
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
@pytest.mark.parametrize("name", applicable())
def test_metric_is_the_same_on_cuda(name):
    arguments, _ = better_and_worse(METRICS[name].metadata.inputs)
    if METRICS[name].metadata.inputs == "decoder":
        pytest.skip("its random numbers are others on CUDA")
    moved = tuple(one.cuda() if isinstance(one, torch.Tensor) else one for one in arguments)
    assert score(name, moved) == pytest.approx(score(name, arguments), rel=1e-5)


@pytest.mark.parametrize("name", INTERVALS)
def test_an_interval_holds_the_value_of_its_metric(name):
    about = METRICS[name].metadata
    assert INTERVALS[name].words.startswith("95 %, ")
    for arguments in better_and_worse(about.inputs):
        result = INTERVALS[name].function(*arguments)
        found = result[name] if isinstance(result, dict) else result
        assert found.value == pytest.approx(score(name, arguments), rel=1e-6, abs=1e-12)
        if math.isfinite(found.low):
            assert found.low <= found.value + 1e-12
            assert found.high >= found.value - 1e-12
            assert found.standard_error >= 0


def test_a_static_reader_finds_every_name_and_summary():
    """Literals only, so that listing them needs no torch."""
    found: dict[str, set[str]] = {"metric": set(), "extractor": set()}
    for path in Path(metrics.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            for call in getattr(node, "decorator_list", []):
                kind = getattr(getattr(call, "func", None), "id", None)
                if kind in found:
                    about = {word.arg: ast.literal_eval(word.value) for word in call.keywords}
                    assert about["summary"]
                    found[kind].add(about["name"])
    assert found == {"metric": set(METRICS), "extractor": set(EXTRACTORS)}


@pytest.fixture(params=[name for name in EXTRACTORS if not EXTRACTORS[name].weights])
def extractor(request, monkeypatch, tmp_path):
    """Each extractor that needs no weights of others; `inception` has tests of its own."""
    monkeypatch.setattr(metrics.extractors.classifier, "STEPS", 8)
    images = (255 * shades(channels=3)).to(torch.uint8)
    return build_extractor(request.param, Material(images, torch.arange(60) % 4, 4, "k", tmp_path))


def test_extractor_has_a_name_and_a_hash(extractor):
    name, _, digits = str(extractor).partition("@")
    assert name == extractor.name
    assert name in EXTRACTORS
    assert digits == extractor.hash
    assert len(bytes.fromhex(digits)) == 4


def test_extractor_gives_what_it_promises(extractor):
    images = (255 * shades(channels=3)).to(torch.uint8)
    features, logits = extractor(images)
    assert features.shape == (60, extractor.dimension)
    assert features.dtype == torch.float32
    assert features.isfinite().all()
    assert (features.std(dim=0) > 0).float().mean() > 0.9
    assert (logits is None) == (extractor.classes is None)
    if logits is not None:
        assert logits.shape == (60, extractor.classes)


def test_extractor_sees_images_one_by_one(extractor):
    """In evaluation mode, the batch changes nothing but rounding."""
    images = (255 * shades(channels=3)).to(torch.uint8)
    whole, parts = extractor(images), extractor(images, batch=7)
    torch.testing.assert_close(whole.features, parts.features, rtol=1e-4, atol=1e-5)
    single = extractor(images[3:4])
    torch.testing.assert_close(whole.features[3:4], single.features, rtol=1e-4, atol=1e-5)


def test_extractor_leaves_the_random_state_alone(extractor):
    state = torch.get_rng_state()
    extractor((255 * shades(channels=3)).to(torch.uint8))
    assert torch.equal(state, torch.get_rng_state())


@pytest.mark.parametrize(
    "images",
    [
        shades(channels=3),
        torch.zeros(4, 1, 12, 12, dtype=torch.uint8),
        torch.zeros(3, 12, 12, dtype=torch.uint8),
        torch.zeros(0, 3, 12, 12, dtype=torch.uint8),
    ],
    ids=["float", "grey", "single", "none"],
)
def test_extractor_refuses_other_images(extractor, images):
    with pytest.raises(ValueError, match=extractor.name):
        extractor(images)


def test_random_is_the_same_for_all_and_differs_by_seed():
    assert metrics.RandomExtractor(1).hash == metrics.RandomExtractor(1).hash
    assert metrics.RandomExtractor(1).hash != metrics.RandomExtractor(1, seed=1).hash


def test_unknown_extractor_names_the_nearest(tmp_path):
    material = Material(torch.zeros(2, 1, 8, 8).to(torch.uint8), None, None, "k", tmp_path)
    with pytest.raises(ValueError, match="did you mean 'classifier'"):
        build_extractor("clasifier", material)


def test_classifier_without_labels_names_the_others(tmp_path):
    material = Material(torch.zeros(2, 1, 8, 8).to(torch.uint8), None, None, "k", tmp_path)
    with pytest.raises(ValueError, match=r"needs labels.*'inception'"):
        build_extractor("classifier", material)


@pytest.mark.parametrize(
    ("place", "names"),
    [("metrics.score", ["metric"]), ("metrics.features", ["Extractor", "Material", "extractor"])],
)
def test_a_former_place_has_the_same_names_with_a_notice(place, names, monkeypatch):
    monkeypatch.delitem(sys.modules, place, raising=False)
    with pytest.warns(FutureWarning, match="import from `metrics`"):
        former = importlib.import_module(place)
    assert all(getattr(former, name) is getattr(metrics, name) for name in names)
