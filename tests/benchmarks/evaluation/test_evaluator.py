import io
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from own_models import Average, Overflowing, Ticking, Translating
from PIL import Image

from benchmarks.core.seeds import derive_seed
from benchmarks.core.tensors import quantize, to_float
from benchmarks.data import Dataset, load_dataset
from benchmarks.evaluation.calibration import generate_calibration, score_calibration
from benchmarks.evaluation.evaluator import Evaluator
from benchmarks.evaluation.pictures import walk
from benchmarks.training.loop import Diverged
from metrics import METRICS, RandomExtractor
from models.cyclegan import CycleGAN
from models.gan import GAN


@pytest.fixture(scope="module")
def data() -> Dataset:
    return load_dataset("digits", data_root=Path())


@pytest.fixture(scope="module")
def evaluator(data: Dataset) -> Evaluator:
    return Evaluator(data, RandomExtractor(1), samples=100, reconstructions=20)


def average() -> Average:
    return Average(Average.Config(), (1, 8, 8)).eval()


def test_images_are_clamped_and_rounded_like_a_file() -> None:
    values = torch.tensor([-0.5, 0.0, 0.4999 / 255, 0.5001 / 255, 0.999, 1.0, 7.0])
    assert quantize(values).tolist() == [0, 0, 0, 1, 255, 255, 255]
    levels = torch.arange(256, dtype=torch.uint8)
    assert torch.equal(quantize(to_float(levels)), levels)


def test_every_score_says_what_it_is_of(evaluator: Evaluator) -> None:
    model = average()
    scores = {s.metric: s for s in evaluator.score(evaluator.generate(model, 0), model)}
    applicable = {"features", "training", "pairs"}  # of an extractor without classes, of images
    named = {name for name, one in METRICS.items() if one.metadata.inputs in applicable}
    too_small = {"ms_ssim", "lpips", "fid_infinity"}  # 8 pixels, and 100 images of 64 features
    assert set(scores) == named - too_small | {"fid_floor"}
    fid, mse = scores["fid"], scores["reconstruction_mse"]
    assert (fid.n, mse.n) == (100, 20)
    assert fid.extractor == str(evaluator.extractor)
    assert mse.extractor is None
    assert (fid.protocol, mse.protocol) == (model.generation, model.reconstruction)
    for score in scores.values():
        assert score.reference == "test"
        assert score.interval is not None
        assert score.low <= score.value <= score.high  # type: ignore[operator]
    assert fid.low < fid.value < fid.high  # type: ignore[operator]


def test_mse_is_of_the_copies(evaluator: Evaluator) -> None:
    model = average()
    scores = {s.metric: s for s in evaluator.score(evaluator.generate(model, 0), model)}
    grey = (to_float(evaluator.originals) - 128 / 255).square().mean()
    assert scores["reconstruction_mse"].value == pytest.approx(grey.item(), rel=1e-5)


def test_calibration_is_a_floor_and_a_ceiling(evaluator: Evaluator) -> None:
    made = generate_calibration(evaluator)
    assert list(made) == ["real", "noise"]
    rows = {
        name: {s.metric: s for s in score_calibration(evaluator, name, one)}
        for name, one in made.items()
    }
    real, noise = rows["real"], rows["noise"]
    assert real["fid"].value * 5 < noise["fid"].value  # type: ignore[operator]
    assert real["reconstruction_mse"].value == 0
    assert noise["reconstruction_mse"].value > 0.1  # type: ignore[operator]
    assert real["psnr"].value == math.inf or real["psnr"].value is None
    assert "extractor_accuracy" not in real  # this extractor knows no classes
    assert len(made["real"].samples) == len(made["noise"].samples) == 100


def test_codes_are_walked_between_by_lengths_that_they_are_drawn_with() -> None:
    rng = torch.Generator().manual_seed(0)
    a, b = torch.randn(2, 5, 64, generator=rng)
    between = walk(a, b, 9)
    assert between.shape == (5, 9, 64)
    torch.testing.assert_close(between[:, 0], a)
    torch.testing.assert_close(between[:, -1], b)
    expected = torch.linspace(0, 1, 9)[None] * (b.norm(dim=1) - a.norm(dim=1))[:, None]
    torch.testing.assert_close(between.norm(dim=2), a.norm(dim=1)[:, None] + expected)
    angles = torch.nn.functional.cosine_similarity(between[:, 1:], between[:, :-1], dim=2).acos()
    torch.testing.assert_close(angles, angles[:, :1].expand_as(angles), atol=1e-3, rtol=0)


def test_codes_in_one_direction_are_walked_between_too() -> None:
    code = torch.tensor([[3.0, 4.0]])
    between = walk(code, 2 * code, 3)
    torch.testing.assert_close(between, torch.tensor([[[3.0, 4.0], [4.5, 6.0], [6.0, 8.0]]]))


def test_interpolations_begin_and_end_with_samples(evaluator: Evaluator) -> None:
    model = GAN(GAN.Config(), (1, 8, 8)).eval()
    picture, content = evaluator.generate(model, 0).pictures["interpolations"]
    assert (picture.rows, picture.columns) == (6, 10)
    pixels = np.asarray(Image.open(io.BytesIO(content)))
    rng = torch.Generator().manual_seed(derive_seed(0, "interpolate"))
    ends = quantize(model.decode(model.latent().sample(12, rng))).numpy()[:, 0]
    assert np.array_equal(pixels[:8, :8], ends[0])
    assert np.array_equal(pixels[-8:, -8:], ends[-1])


def test_a_model_without_codes_has_no_interpolations(evaluator: Evaluator) -> None:
    assert "interpolations" not in evaluator.generate(average(), 0).pictures


def test_the_real_row_scores_training_images_and_none_of_the_test(evaluator: Evaluator) -> None:
    real = {image.numpy().tobytes() for image in generate_calibration(evaluator)["real"].samples}
    train = {image.numpy().tobytes() for image in evaluator.train}
    assert real <= train


def test_the_same_seed_gives_the_same_scores(evaluator: Evaluator) -> None:
    model = average()
    first, again, other = (evaluator.score(evaluator.generate(model, s), model) for s in (0, 0, 1))
    assert first == again
    assert first[0].value != other[0].value


def test_translators_start_from_held_out_sources_and_are_held_against_the_truth(
    data: Dataset, evaluator: Evaluator
) -> None:
    torch.manual_seed(0)
    config = CycleGAN.Config(width=4, critic_width=4, blocks=1)
    model = CycleGAN(config, (1, 8, 8)).eval()
    made = evaluator.generate(model, 0)
    sources = torch.from_numpy(data.source_test.images[:100]).float() / 255
    with torch.no_grad():
        assert torch.equal(made.samples, quantize(model.forward(sources)))
    scores = {s.metric: s for s in evaluator.score(made, model)}
    assert data.hidden_pairs is not None
    truth = torch.from_numpy(data.hidden_pairs.images[:100]).float() / 255
    expected = (truth - made.samples.float() / 255).square().mean().item()
    assert scores["paired_mse"].value == pytest.approx(expected, rel=1e-5)
    assert made.pictures["translations"][0].rows == 3


def ticking(kind: type[Ticking]) -> Ticking:
    kind.shown.clear()
    return kind(kind.Config(), (1, 8, 8)).eval()


def test_a_model_is_validated_by_validation_images_and_scored_by_test_images(
    data: Dataset,
) -> None:
    white = replace(data.validation, images=np.full_like(data.validation.images, 255))
    parted = Evaluator(replace(data, validation=white), RandomExtractor(1), 100, 20)
    models = {name: ticking(Ticking) for name in ("white", "grey")}
    models["white"].ticks.data.fill_(1e6)
    models["grey"].ticks.data.fill_(5)
    validated = {name: parted.validate(model, 0)[0] for name, model in models.items()}
    scored = {
        name: {s.metric: s.value for s in parted.score(parted.generate(model, 0), model)}["fid"]
        for name, model in models.items()
    }
    assert validated["white"] < validated["grey"] / 100
    assert scored["grey"] < scored["white"] / 2


def test_a_model_is_completed_on_training_images_for_every_score(evaluator: Evaluator) -> None:
    model = ticking(Ticking)
    evaluator.validate(model, 0)
    evaluator.finish(model, 0)
    evaluator.score_best(model, 0, str(evaluator.extractor))
    shown = model.shown["finish"]
    assert len(shown) == 3
    assert all(torch.equal(images, evaluator.train[:5_000]) for images in shown)


def test_translators_are_validated_from_training_sources(
    data: Dataset, evaluator: Evaluator
) -> None:
    model = ticking(Translating)
    evaluator.validate(model, 0)
    evaluator.generate(model, 0)
    validation, generation = (quantize(images) for images in model.shown["starts"])
    assert torch.equal(validation, evaluator.source_train[: len(validation)])
    assert torch.equal(generation, evaluator.source_test[:100])


def test_scores_of_pairs_stand_under_their_names(evaluator: Evaluator) -> None:
    copies = evaluator.originals // 2
    values = {s.metric: s.value for s in evaluator.score_pairs(copies, "half")}
    pair = to_float(evaluator.originals), to_float(copies)
    mse = (pair[0] - pair[1]).square().flatten(1).mean(1)
    assert values["reconstruction_mse"] == pytest.approx(mse.mean().item(), rel=1e-5)
    assert values["psnr"] == pytest.approx(-10 * mse.log10().mean().item(), rel=1e-5)
    assert values["ssim"] == pytest.approx(METRICS["ssim"](*pair).mean().item(), rel=1e-5)


def test_images_that_are_no_numbers_count_as_diverged(evaluator: Evaluator) -> None:
    with pytest.raises(Diverged, match="not finite"):
        evaluator.validate(Overflowing(Overflowing.Config(), (1, 8, 8)), 0)


@pytest.mark.parametrize("kind", [GAN, Translating])
def test_many_samples_are_generated_in_parts(data: Dataset, monkeypatch, kind) -> None:
    """Codes come in blocks, and sources by their number, so that the parts are those of a whole."""
    model = kind(kind.Config(), (1, 8, 8)).eval()
    evaluator = Evaluator(data, RandomExtractor(1), samples=300, reconstructions=20)
    whole = evaluator.generate(model, 0).samples
    translated = {s.metric: s.value for s in evaluator.score(evaluator.generate(model, 0), model)}
    counts, sample = list[int](), model.sample
    monkeypatch.setattr("benchmarks.evaluation.evaluator.FLOATS", 64 * 256)
    monkeypatch.setattr("benchmarks.data.cache.IN_MEMORY", 0)
    monkeypatch.setattr(model, "sample", lambda n, *rest: counts.append(n) or sample(n, *rest))
    made = evaluator.generate(model, 0)
    assert counts == [256, 44]
    assert torch.equal(made.samples, whole)
    again = {s.metric: s.value for s in evaluator.score(made, model)}
    assert again.get("paired_mse") == translated.get("paired_mse")
    rng = torch.Generator().manual_seed(derive_seed("noise", 1, 8, 8))
    noise = torch.randint(0, 256, (300, 1, 8, 8), generator=rng, dtype=torch.uint8)
    assert torch.equal(generate_calibration(evaluator)["noise"].samples, noise)
