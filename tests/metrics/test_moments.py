import pickle

import numpy as np
import pytest
import torch
from draws import normal
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from metrics import Moments, frechet_distance, frechet_floor, frechet_interval, moments


def pair(rows: int = 500, d: int = 24, seed: int = 0) -> tuple[Tensor, Tensor]:
    mix = normal(d, d, seed=seed + 2)
    return normal(rows, d, seed=seed), normal(rows + 50, d, seed=seed + 1) @ mix / 5 + 0.3


def test_a_mean_and_a_covariance_stand_for_their_features():
    real, fake = normal(400, 8), normal(300, 8, seed=1)
    mean, covariance = real.double().numpy().mean(0), np.cov(real.double().numpy().T)
    for count in (400, 2):  # of which a distance, unlike its floor, does not depend
        known = Moments.from_covariance(mean, covariance, count)
        assert frechet_distance(known, fake) == pytest.approx(frechet_distance(real, fake), 1e-9)
    known = Moments.from_covariance(mean, covariance, 400)
    assert frechet_floor(known, 300) == pytest.approx(frechet_floor(real, 300), 1e-9)


def test_moments_are_those_of_numpy_however_they_come(monkeypatch):
    monkeypatch.setattr(moments, "STREAMED", 300)
    features = 100 + normal(1000, 7).float()
    streamed, merged = Moments(), Moments(features[:13])
    for part in features.split(37):
        streamed.update(part)
    merged.merge(Moments(features[13:500])).merge(Moments(features[500:]))
    covariance = torch.tensor(np.cov(features.double().numpy(), rowvar=False))
    for found in (Moments(features), streamed, merged):
        assert found.count == 1000
        torch.testing.assert_close(found.mean, features.double().mean(0), rtol=1e-13, atol=0)
        torch.testing.assert_close(found.covariance, covariance, rtol=1e-11, atol=1e-12)


def test_merging_leaves_the_other_as_it_was():
    a, b = Moments(normal(10, 3)), Moments(normal(12, 3, seed=1))
    before = b.mean.clone(), b.scatter.clone(), b.count
    Moments().merge(b).merge(a).update(normal(5, 3))
    torch.testing.assert_close((b.mean, b.scatter, b.count), before, rtol=0, atol=0)


def test_moments_can_be_sent_and_built_anew():
    real, fake = pair(d=5)
    ours, other = Moments(real), Moments(fake)
    expected = frechet_distance(ours, other)
    state = {"count": torch.tensor(500), "mean": ours.mean, "scatter": ours.scatter}
    for copy in (Moments.from_state(state), pickle.loads(pickle.dumps(ours))):
        assert frechet_distance(copy, other) == expected
        assert copy.update(fake).count == len(real) + len(fake)
    assert ours.count == len(real)


@given(
    rows=st.integers(2, 60),
    d=st.integers(1, 8),
    seed=st.integers(0, 10_000),
    cuts=st.lists(st.integers(0, 60), max_size=4),
)
@settings(max_examples=40, deadline=None)
def test_batches_and_merges_do_not_matter(rows, d, seed, cuts):
    real, fake = normal(rows, d, seed=seed), 2 * normal(rows + 5, d, seed=seed + 1)
    parts = fake.tensor_split(sorted(cuts))
    streamed, merged = Moments(), Moments()
    for part in parts:
        streamed.update(part)
    for part in reversed(parts):
        merged.merge(Moments(part))
    whole = pytest.approx(frechet_distance(real, fake), rel=1e-9)
    assert frechet_distance(real, streamed) == whole
    assert frechet_distance(Moments(real), merged) == whole


def test_the_reference_is_taken_once(monkeypatch):
    seen = []
    update = Moments.update
    monkeypatch.setattr(Moments, "update", lambda self, x: seen.append(len(x)) or update(self, x))
    real = normal(100, 4)
    for seed in (1, 2, 3):
        fake = normal(90, 4, seed=seed)
        frechet_distance(real, fake)
        frechet_interval(real, fake)
        frechet_floor(real, 90)
    assert seen == [100, 90, 90, 90]
    real += normal(100, 4, seed=9)
    changed = frechet_distance(real, fake)
    assert changed == frechet_distance(real.clone(), fake)
