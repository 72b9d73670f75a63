import numpy as np
import pytest
import torch
from draws import normal
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import linalg
from torch import Tensor
from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric

from metrics import Moments, frechet_distance, frechet_interval, jackknife


def by_square_root(real: Tensor, fake: Tensor) -> float:
    a, b = real.numpy(), fake.numpy()
    s, t = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    shift = a.mean(axis=0) - b.mean(axis=0)
    return float(shift @ shift + np.trace(s + t - 2 * linalg.sqrtm(s @ t).real))


def pair(rows: int = 500, d: int = 24, seed: int = 0) -> tuple[Tensor, Tensor]:
    mix = normal(d, d, seed=seed + 2)
    return normal(rows, d, seed=seed), normal(rows + 50, d, seed=seed + 1) @ mix / 5 + 0.3


def test_agrees_with_the_matrix_square_root():
    real, fake = pair()
    assert frechet_distance(real, fake) == pytest.approx(by_square_root(real, fake), rel=1e-9)


def test_agrees_with_torch_fidelity():
    real, fake = pair()
    theirs = fid_statistics_to_metric(
        fid_features_to_statistics(real), fid_features_to_statistics(fake), verbose=False
    )["frechet_inception_distance"]
    assert frechet_distance(real, fake) == pytest.approx(theirs, rel=1e-9)


def test_one_dimension_by_hand():
    real = torch.tensor([[0.0], [2.0]])  # mean 1, variance 2
    fake = torch.tensor([[1.0], [5.0]])  # mean 3, variance 8
    assert frechet_distance(real, fake) == pytest.approx(4 + 2 + 8 - 2 * 4, abs=1e-12)


def test_a_shift_is_its_squared_length():
    real = normal(100, 5)
    assert frechet_distance(real, real + 2) == pytest.approx(20, rel=1e-12)


@pytest.mark.parametrize(
    "features",
    [
        normal(200, 16),
        normal(10, 64),
        torch.ones(30, 8),
        normal(40, 6).repeat(3, 2),
        1e3 + 1e-3 * normal(50, 8).float(),
        normal(300, 32) * torch.logspace(-8, 2, 32, dtype=torch.float64),
    ],
    ids=["plain", "fewer rows than dimensions", "constant", "duplicates", "offset", "scales"],
)
def test_identical_features_are_at_zero(features: Tensor):
    scale = max(1.0, features.double().var(dim=0).sum().item())
    assert frechet_distance(features, features.flip(0)) <= 1e-9 * scale


def test_singular_covariances_have_the_distance_of_the_plane_they_span():
    real, fake = pair(d=5)
    basis = torch.linalg.qr(normal(20, 5, seed=9))[0]
    plane = frechet_distance(real, fake)
    assert frechet_distance(real @ basis.T, fake @ basis.T) == pytest.approx(plane, rel=1e-9)


def test_a_singular_set_against_a_full_one():
    """Of a diagonal and a rank-one covariance the overlap is known: sqrt(u' S u) |f|."""
    real = normal(400, 6)
    direction = torch.tensor([1.0, 2, 0, 0, -1, 0], dtype=torch.float64)
    fake = normal(300, 1, seed=3) * direction
    a, b = Moments(real), Moments(fake)
    variance = normal(300, 1, seed=3).var().item()
    overlap = (variance * direction @ a.covariance @ direction).sqrt()
    shift = (a.mean - b.mean).square().sum()
    expected = shift + a.covariance.trace() + b.covariance.trace() - 2 * overlap
    assert frechet_distance(real, fake) == pytest.approx(expected.item(), rel=1e-9)


def test_fewer_rows_than_dimensions():
    real, fake = normal(12, 40), normal(9, 40, seed=1) * 2
    cross = (real - real.mean(0)) @ (fake - fake.mean(0)).T / np.sqrt(11 * 8)
    overlap = torch.linalg.matrix_norm(cross, "nuc").item()
    spread = real.var(dim=0).sum() + fake.var(dim=0).sum()
    expected = (real.mean(0) - fake.mean(0)).square().sum() + spread - 2 * overlap
    assert frechet_distance(real, fake) == pytest.approx(expected.item(), rel=1e-9)


@given(
    rows=st.integers(2, 60),
    d=st.integers(1, 8),
    seed=st.integers(0, 10_000),
    scale=st.sampled_from([1e-6, 1.0, 1e4]),
)
@settings(max_examples=30, deadline=None)
def test_symmetric_non_negative_and_free_of_order_and_rotation(rows, d, seed, scale):
    real, fake = (
        scale * normal(rows, d, seed=seed),
        scale * (normal(rows + 3, d, seed=seed + 1) + 1),
    )
    value = frechet_distance(real, fake)
    near = pytest.approx(value, rel=1e-8, abs=1e-9 * scale**2)
    rotation = torch.linalg.qr(normal(d, d, seed=seed + 2))[0]
    assert value >= 0
    assert frechet_distance(fake, real) == near
    assert frechet_distance(real.flip(0), fake[torch.randperm(len(fake))]) == near
    assert frechet_distance(real @ rotation, fake @ rotation) == near


def test_moments_are_those_of_numpy_however_they_come():
    features = 100 + normal(1000, 7).float()
    streamed, merged = Moments(), Moments(features[:13])
    for part in features.split(37):
        streamed.update(part)
    merged.merge(Moments(features[13:500])).merge(Moments(features[500:]))
    covariance = torch.tensor(np.cov(features.double().numpy(), rowvar=False))
    for moments in (streamed, merged):
        assert moments.count == 1000
        torch.testing.assert_close(moments.mean, features.double().mean(0), rtol=1e-13, atol=0)
        torch.testing.assert_close(moments.covariance, covariance, rtol=1e-11, atol=1e-12)


def test_merging_leaves_the_other_as_it_was():
    a, b = Moments(normal(10, 3)), Moments(normal(12, 3, seed=1))
    before = b.mean.clone(), b.scatter.clone(), b.count
    Moments().merge(b).merge(a)
    torch.testing.assert_close((b.mean, b.scatter, b.count), before, rtol=0, atol=0)


def test_moments_without_a_part_are_those_of_the_rest():
    features = 50 + normal(300, 6)
    rest = Moments(features).without(Moments(features[:20]))
    direct = Moments(features[20:])
    assert rest.count == 280
    torch.testing.assert_close(rest.mean, direct.mean, rtol=1e-13, atol=0)
    torch.testing.assert_close(rest.covariance, direct.covariance, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(
    ("real", "fake", "words"),
    [
        (normal(9, 3), normal(9, 4), "dimensions"),
        (normal(9, 3), normal(1, 3), "2 or more rows"),
        (normal(9, 3), normal(0, 3), "2 or more rows"),
        (normal(9, 3), normal(9), r"\[N, d\]"),
        (normal(9, 3), normal(9, 3) / 0, "NaN or infinite"),
    ],
)
def test_what_cannot_be_compared_is_an_error(real, fake, words):
    with pytest.raises(ValueError, match=words):
        frechet_distance(real, fake)


def test_interval_is_the_plain_jackknife_from_moments():
    real, fake = pair(rows=310, d=6)
    fast = frechet_interval(real, fake, blocks=10)
    plain = jackknife(lambda rows: frechet_distance(real, rows), fake, blocks=10, log=True)
    assert fast.value == pytest.approx(frechet_distance(real, fake), rel=1e-12)
    assert tuple(fast) == pytest.approx(tuple(plain), rel=1e-8)


def test_interval_covers():
    """Over draws of the generated set, 95 % intervals hold the mean score at this sample size."""
    reference = normal(2000, 4)
    draws = [frechet_interval(reference, 1.2 * normal(300, 4, seed=s) + 0.2) for s in range(1, 301)]
    expected = np.mean([draw.value for draw in draws])
    assert 0.91 <= np.mean([draw.low <= expected <= draw.high for draw in draws]) <= 0.99
    spread = np.std([draw.value for draw in draws])
    assert np.mean([draw.standard_error for draw in draws]) == pytest.approx(spread, rel=0.15)
