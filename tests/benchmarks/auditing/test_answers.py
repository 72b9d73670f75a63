import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from benchmarks.auditing import answers, likelihoods
from benchmarks.auditing.answers import QUESTIONS, answer, expect_scores, leave_out
from benchmarks.auditing.contrasts import Contrast
from benchmarks.auditing.measurements import Bank, Design, Session
from benchmarks.data import load_dataset
from metrics import METRICS, Metric, PixelsExtractor, train_classifier

SAMPLES = 150


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Session:
    """Digits under a classifier and their pixels."""
    data = load_dataset("digits", data_root=tmp_path_factory.mktemp("data"), download=False)
    held_out = (data.validation, data.hidden_pairs)
    parts = [*held_out, data.train]
    images = torch.cat([torch.tensor(part.images) for part in parts])
    classes = torch.cat([torch.tensor(part.labels) for part in parts])
    pool = sum(map(len, held_out))
    places = {"pool": range(pool), "train": range(pool, len(images))}
    learnt = images[pool:]
    built = (train_classifier(learnt, classes[pool:], classes=10), PixelsExtractor(learnt))
    extractors = {str(extractor): extractor for extractor in built}
    bank = Bank(images, classes, places, {name: e(images) for name, e in extractors.items()})
    return Session(Design(SAMPLES, 20, 5, 0, (), tuple(METRICS)), bank, extractors)


@pytest.fixture
def quick(monkeypatch):
    """Less work for the two VAEs."""
    monkeypatch.setattr(likelihoods, "STEPS", 600)
    monkeypatch.setattr(likelihoods, "DRAWN", 3000)
    monkeypatch.setattr(likelihoods, "TESTED", 100)


def plant(monkeypatch, name, function):
    """Put another function in the place of a metric."""
    monkeypatch.setitem(METRICS, name, Metric(METRICS[name].metadata, function))


def without(session: Session, word: str) -> Session:
    """Take an extractor away."""
    kept = {name: e for name, e in session.extractors.items() if word not in name}
    features = {name: session.bank.features[name] for name in kept}
    return Session(session.design, replace(session.bank, features=features), kept)


@pytest.mark.parametrize("name", ["real_against_real", "memoriser", "mode_dropper", "sharpener"])
def test_digits_give_the_known_answers(session, name):
    found = answer(session, name)
    assert found.passed, found.found
    assert found.question == QUESTIONS[name].question
    assert found.values
    assert all(math.isfinite(value) for value in found.values.values())


@pytest.mark.slow
def test_a_kernel_density_ranks_the_better_vae_lower(session, quick):
    found = answer(session, "kernel_density")
    assert found.passed, found.found
    assert found.values["AIS, low"] > 0 > found.values["kernel density, high"]
    assert found.values["AIS, 10 dimensions"] > found.values["kernel density, 10 dimensions"]


@pytest.mark.slow
def test_a_ranking_that_is_not_reversed_is_said_to_be_none(session, quick, monkeypatch):
    monkeypatch.setattr(answers, "CODES", (50, 10))
    found = answer(session, "kernel_density")
    assert found.passed is False
    assert found.values["AIS, difference"] < 0 < found.values["kernel density, difference"]


def test_training_that_diverges_leaves_the_question_unasked(session, quick, monkeypatch):
    monkeypatch.setattr(likelihoods, "DEVIATION", 1e-6)
    found = answer(session, "kernel_density")
    assert found.passed is None
    assert "diverged" in found.found


def test_answers_repeat_bit_for_bit(session):
    names = ["memoriser", "mode_dropper", "sharpener"]
    again = Session(session.design, session.bank, session.extractors)
    first, second = ([answer(s, name) for name in names] for s in (session, again))
    assert first == second
    other = Session(replace(session.design, seed=1), session.bank, session.extractors)
    assert first != [answer(other, name) for name in names]


def test_training_leaves_the_global_state_of_chance_alone(session, quick, monkeypatch):
    monkeypatch.setattr(likelihoods, "STEPS", 2)
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    likelihoods.fit_vae(session, 2, session.bank.images[:100])
    assert torch.equal(torch.rand(2), expected)


def test_a_biased_kernel_distance_is_found_out(session, monkeypatch):
    honest = METRICS["kid"]
    plant(monkeypatch, "kid", lambda real, fake: honest(real, fake) + 0.5)
    found = answer(session, "real_against_real")
    assert found.passed is False
    assert "KID under classifier" in found.found


def test_floors_that_do_not_hold_are_found_out(session, monkeypatch):
    values = iter([*[0.0] * 18, 1.0, 1.0] * 1000)
    for name in answers.ASKED:
        if name not in expect_scores(SAMPLES):
            plant(monkeypatch, name, lambda *_: next(values))
    monkeypatch.setattr(answers, "WITHIN", 0.95)
    assert answer(session, "real_against_real").passed is False


def test_a_memoriser_that_no_score_catches_is_found_out(session, monkeypatch):
    plant(monkeypatch, "near_copies", lambda real, fake, train: 0.01)
    found = answer(session, "memoriser")
    assert found.passed is False
    assert "catch it under 0" in found.found


def test_a_distance_that_prefers_fresh_images_is_found_out(session, monkeypatch):
    honest = METRICS["fid"].function
    plant(monkeypatch, "fid", lambda real, fake: -honest(real, fake))
    found = answer(session, "memoriser")
    assert found.passed is False
    assert "under 0 of 2 extractors" in found.found


def test_a_recall_that_misses_dropped_classes_is_found_out(session, monkeypatch):
    plant(monkeypatch, "recall", lambda real, fake: 1.0)
    found = answer(session, "mode_dropper")
    assert found.passed is False
    assert "missed by Recall" in found.found


def test_a_precision_that_minds_dropped_classes_is_found_out(session, monkeypatch):
    plant(monkeypatch, "precision", METRICS["recall"])
    found = answer(session, "mode_dropper")
    assert found.passed is False
    assert "worse than real" in found.found


def test_dropped_classes_are_caught_without_a_classifier(session):
    found = answer(without(session, "classifier"), "mode_dropper")
    assert found.passed
    assert "Class KL" not in found.found


def test_classes_too_few_to_be_dropped_leave_the_question_unasked(session):
    alike = replace(session.bank, classes=torch.zeros_like(session.bank.classes))
    found = answer(Session(session.design, alike, session.extractors), "mode_dropper")
    assert found.passed is None
    assert found.found == "not asked: the images are all of one class"


def test_a_sharpener_needs_a_classifier(session):
    found = answer(without(session, "classifier"), "sharpener")
    assert found.passed is None
    assert found.found == "not asked: none of the extractors classifies"
    assert found.values == {}


def test_an_inception_score_that_is_not_fooled_is_found_out(session, monkeypatch):
    plant(monkeypatch, "inception_score", lambda logits: 1.0)
    assert answer(session, "sharpener").passed is False


def test_the_sharpener_deals_out_all_classes_alike_and_nothing_of_the_reference(session):
    judge = answers.find_judge(session)
    rows = answers.keep_surest(session, judge, 0)
    likeliest = session.bank.see(judge, rows).logits.argmax(dim=1)
    assert likeliest.bincount().tolist() == [SAMPLES // 10] * 10
    assert not torch.isin(rows, session.order[0][-SAMPLES:]).any()


def test_a_set_is_worse_beyond_the_floor_in_the_metric_s_direction():
    floor = [1.0, 1.1, 0.9, 1.0]
    assert Contrast("fid", "pixels", [2.0, 2.2], floor).worse
    assert Contrast("precision", "pixels", [2.0, 2.2], floor).better
    near = Contrast("fid", "pixels", [1.0, 1.1], floor)
    assert not near.worse
    assert not near.better


def test_any_difference_counts_where_the_floor_does_not_vary():
    assert Contrast("classes_reached", "e", [0.9], [1.0, 1.0, 1.0]).excess == math.inf
    assert Contrast("classes_reached", "e", [1.0], [1.0, 1.0, 1.0]).excess == 0


def test_an_outlier_alone_is_outside_the_floor_of_the_others():
    assert leave_out([1.0, 1.1, 0.9, 1.0, 1.05, 0.95, 1.0, 50.0]) == 7 / 8


def test_known_averages_are_those_of_draws_of_one_distribution():
    rng = torch.Generator().manual_seed(0)
    draws = [
        [torch.randn(30, 2, generator=rng, dtype=torch.float64) for _ in range(2)]
        for _ in range(300)
    ]
    for name, known in expect_scores(30).items():
        scores = [METRICS[name](*pair) for pair in draws]
        assert abs(np.mean(scores) - known) < 4 * np.std(scores) / math.sqrt(len(scores))


def test_large_images_are_reduced_and_small_ones_stay():
    large = torch.arange(64 * 64, dtype=torch.int64).remainder(256).to(torch.uint8)
    large = large.view(1, 1, 64, 64)
    assert likelihoods.downsample(large).shape == (1, 1, 32, 32)
    assert likelihoods.downsample(large).dtype == torch.uint8
    assert likelihoods.downsample(large[..., :8, :8]).shape == (1, 1, 8, 8)
