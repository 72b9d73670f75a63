import math

import mpmath
import numpy as np
import pytest
import torch
from draws import normal, rectified
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import linalg
from torch import Tensor
from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric

from metrics import (
    METRICS,
    Moments,
    NotApplicable,
    fid,
    frechet_distance,
    frechet_infinity,
    frechet_interval,
)


def by_square_root(real: Tensor, fake: Tensor) -> float:
    a, b = real.numpy(), fake.numpy()
    s, t = (np.atleast_2d(np.cov(side, rowvar=False)) for side in (a, b))
    shift = a.mean(axis=0) - b.mean(axis=0)
    return float(shift @ shift + np.trace(s + t - 2 * linalg.sqrtm(s @ t).real))


def in_fifty_digits(real: Tensor, fake: Tensor) -> float:
    def fit(features: Tensor) -> tuple[mpmath.matrix, mpmath.matrix]:
        rows = mpmath.matrix(features.double().tolist())
        mean = mpmath.ones(1, rows.rows) * rows / rows.rows
        centred = rows - mpmath.ones(rows.rows, 1) * mean
        return mean, centred.T * centred / (rows.rows - 1)

    with mpmath.workdps(50):
        (mean, cov), (other, covariance) = fit(real), fit(fake)
        values, vectors = mpmath.eigsy(cov)
        root = vectors * mpmath.diag([mpmath.sqrt(max(v, 0)) for v in values]) * vectors.T
        squares = mpmath.eigsy(root * covariance * root, eigvals_only=True)
        overlap = mpmath.fsum(mpmath.sqrt(max(square, 0)) for square in squares)
        spread = mpmath.fsum(cov[i, i] + covariance[i, i] for i in range(cov.rows))
        return float(mpmath.norm(mean - other) ** 2 + spread - 2 * overlap)


def pair(rows: int = 500, d: int = 24, seed: int = 0) -> tuple[Tensor, Tensor]:
    mix = normal(d, d, seed=seed + 2)
    return normal(rows, d, seed=seed), normal(rows + 50, d, seed=seed + 1) @ mix / 5 + 0.3


@pytest.mark.parametrize("d", [1, 3, 24, 100])
@pytest.mark.parametrize("scale", [1e-4, 1.0, 1e4])
def test_agrees_with_the_matrix_square_root(d, scale):
    real, fake = (scale * side for side in pair(d=d))
    assert frechet_distance(real, fake) == pytest.approx(by_square_root(real, fake), rel=1e-9)


def test_agrees_with_torch_fidelity():
    real, fake = rectified(800, 64, 1), 1.1 * rectified(700, 64, 2) + 0.05
    theirs = fid_statistics_to_metric(
        fid_features_to_statistics(real), fid_features_to_statistics(fake), verbose=False
    )["frechet_inception_distance"]
    assert frechet_distance(real, fake) == pytest.approx(theirs, rel=1e-9)


A, B = pair(rows=30, d=6)


NOISE = normal(30, 6, seed=7)


SCALES = torch.logspace(0, -7, 6, dtype=torch.float64)


TURN = torch.linalg.qr(normal(6, 6, seed=5))[0]


@pytest.mark.parametrize(
    ("real", "fake"),
    [
        pytest.param(A, B, id="plain"),
        pytest.param(A[:, :3] @ TURN[:3], B[:, :3] @ TURN[:3], id="singular, one plane"),
        pytest.param(A[:, :3] @ TURN[:3], B[:, :3] @ TURN[2:5], id="singular, two planes"),
        pytest.param(A[:, :3] @ TURN[:3], B, id="singular against full"),
        pytest.param(A[:, [0, 1, 2, 0]], B[:, [0, 1, 2, 0]], id="duplicate columns"),
        pytest.param(A[:, [0, 1, 2, 0]], B[:, :4], id="duplicate column against none"),
        pytest.param(A * (torch.arange(6) > 1) + 0.1, B, id="constant columns against none"),
        pytest.param(1e-60 * A, 1e-60 * B, id="tiny"),
        pytest.param(1e60 * A, 1e60 * B, id="huge"),
        pytest.param(A * SCALES, B * SCALES, id="many scales"),
        pytest.param(A * SCALES.flip(0), B * SCALES.flip(0), id="many scales, rising"),
        pytest.param(A * SCALES @ TURN, B * SCALES @ TURN, id="many scales, turned"),
        pytest.param(A * SCALES @ TURN, B * SCALES, id="many scales, crossed"),
        pytest.param(A, A + 1e-3 * NOISE, id="near"),
        pytest.param(A, A + 1e-5 * NOISE, id="nearly equal"),
        pytest.param(A, A * (1 + 1e-6), id="nearly equal but for scale"),
        pytest.param(1e-20 * A, 1e-20 * (A + 1e-5 * NOISE), id="tiny and nearly equal"),
        pytest.param(A[:5], B[:4], id="fewer rows than dimensions"),
        pytest.param(A[:5], B, id="fewer rows than dimensions against more"),
        pytest.param(A[:5], A[:5] + 1e-5 * NOISE[:5], id="fewer rows, nearly equal"),
    ],
)
def test_agrees_with_fifty_digits(real, fake):
    """To 1e-9, or as well as rounded factors A and B of the covariances tell ‖A - UB‖² at all."""
    value = in_fifty_digits(real, fake)
    spread = (real.var(dim=0).sum() + fake.var(dim=0).sum()).item()
    conditioning = 2 * math.sqrt(spread / value) * torch.finfo(torch.float64).eps
    exact = pytest.approx(value, rel=max(1e-9, 10 * conditioning), abs=0)
    assert frechet_distance(real, fake) == exact
    assert frechet_distance(fake, real) == exact
    if len(real) > real.shape[1]:
        assert frechet_distance(Moments(real), Moments(fake)) == exact


@pytest.mark.parametrize("seed", range(40))
def test_the_fast_way_is_taken_only_where_it_is_exact(seed, monkeypatch):
    """Against the other way by orthogonal factors of the features, which square nothing."""
    d, decay = int(4 + 3 * seed), (seed % 5) / 1.5
    scales = torch.arange(1, d + 1, dtype=torch.float64) ** -decay
    if seed % 4 == 3:
        scales[d // 2 :] = 10 ** -(3 * decay)
    turn = torch.linalg.qr(normal(d, d, seed=seed))[0]
    real = normal(d * (1 + seed % 3) + 5, d, seed=seed + 100) * scales @ turn
    fake = normal(2 * d + 9, d, seed=seed + 200) * scales @ (turn if seed % 2 else turn.T) * 1.2

    def factor(rows: Tensor) -> Tensor:
        return torch.linalg.qr(rows - rows.mean(dim=0), mode="r").R / math.sqrt(len(rows) - 1)

    slowly = fid.procrustes
    shift = (real.mean(dim=0) - fake.mean(dim=0)).square().sum().item()
    exact = shift + slowly(factor(real), factor(fake))
    assert frechet_distance(real, fake) == pytest.approx(exact, rel=1e-9)
    if decay < 1:
        monkeypatch.setattr(fid, "procrustes", None)
        assert frechet_distance(real.clone(), fake.clone()) == pytest.approx(exact, rel=1e-9)


def test_one_dimension_by_hand():
    real = torch.tensor([[0.0], [2.0]])  # mean 1, variance 2
    fake = torch.tensor([[1.0], [5.0]])  # mean 3, variance 8
    assert frechet_distance(real, fake) == pytest.approx(4 + 2 + 8 - 2 * 4, abs=1e-12)


def test_a_shift_is_its_squared_length():
    real = normal(100, 5)
    assert frechet_distance(real, real + 2) == pytest.approx(20, rel=1e-12)


@pytest.mark.parametrize("scale", [1.0, 1e4])
@pytest.mark.parametrize(
    "features",
    [
        normal(200, 16),
        rectified(300, 40, 0),
        normal(10, 64),
        normal(10, 64)[torch.arange(30) % 10],
        torch.ones(30, 8),
        torch.full((40, 8), 0.1),
        torch.cat([normal(50, 4), torch.full((50, 2), 0.1)], dim=1),
        normal(40, 6).repeat(3, 2),
        normal(2, 3),
        1e3 + 1e-3 * normal(50, 8).float(),
    ],
    ids=[
        "plain",
        "rectified",
        "few rows",
        "few rows repeated",
        "ones",
        "constant",
        "constant columns",
        "duplicates",
        "two rows",
        "offset",
    ],
)
def test_identical_features_are_at_zero(features: Tensor, scale: float):
    features = scale * features
    order = torch.randperm(len(features), generator=torch.Generator().manual_seed(0))
    assert frechet_distance(features, features) <= 1e-9
    assert frechet_distance(features, features.clone()) <= 1e-9
    assert frechet_distance(features, features[order]) <= 1e-9
    assert frechet_distance(Moments(features), Moments(features[order])) <= 1e-9


def test_few_rows_form_no_covariance():
    real, fake = normal(4, 200_000), normal(3, 200_000, seed=1)  # one would take 320 GB
    spread = real.var(dim=0).sum() + fake.var(dim=0).sum()
    cross = (real - real.mean(0)) @ (fake - fake.mean(0)).T / math.sqrt(3 * 2)
    shift = (real.mean(0) - fake.mean(0)).square().sum()
    expected = shift + spread - 2 * torch.linalg.matrix_norm(cross, "nuc")
    assert frechet_distance(real, fake) == pytest.approx(expected.item(), rel=1e-12)


ROWS = st.integers(2, 60)
DIMENSIONS = st.integers(1, 8)
SEEDS = st.integers(0, 10_000)


@given(rows=ROWS, d=DIMENSIONS, seed=SEEDS, scale=st.sampled_from([1e-6, 1.0, 1e4]))
@settings(max_examples=40, deadline=None)
def test_symmetric_non_negative_and_free_of_order_and_rotation(rows, d, seed, scale):
    real = scale * normal(rows, d, seed=seed)
    fake = scale * (normal(rows + 3, d, seed=seed + 1) + 1)
    value = frechet_distance(real, fake)
    near = pytest.approx(value, rel=1e-9)
    rotation = torch.linalg.qr(normal(d, d, seed=seed + 2))[0]
    assert value >= 0
    assert frechet_distance(fake, real) == near
    assert frechet_distance(real.flip(0), fake[torch.randperm(len(fake))]) == near
    assert frechet_distance(real @ rotation, fake @ rotation) == near
    assert frechet_distance(real + scale, fake + scale) == near
    assert frechet_distance(3 * real, 3 * fake) == pytest.approx(9 * value, rel=1e-9)


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.bfloat16])
def test_other_float_types_are_taken_at_their_values(dtype):
    real, fake = (side.to(dtype) for side in pair(rows=100, d=6))
    exact = frechet_distance(real.double(), fake.double())
    assert frechet_distance(real, fake) == pytest.approx(exact, rel=1e-12)
    few = frechet_distance(real[:5].double(), fake[:5].double())
    assert frechet_distance(real[:5], fake[:5]) == pytest.approx(few, rel=1e-12)


@pytest.mark.parametrize(
    ("real", "fake", "words"),
    [
        (normal(9, 3), normal(9, 4), "dimensions"),
        (normal(9, 3), normal(1, 3), "2 or more rows"),
        (normal(9, 3), normal(0, 3), "2 or more rows"),
        (normal(9, 3), normal(9), r"\[N, d\]"),
        (normal(9, 3), normal(9, 3) / 0, "NaN or infinite"),
        (normal(9, 12), normal(9, 12) * math.nan, "NaN or infinite"),
        (normal(9, 3), normal(9, 3).masked_fill(torch.arange(9)[:, None] == 4, math.inf), "NaN"),
    ],
)
@pytest.mark.parametrize("compare", [frechet_distance, frechet_interval])
def test_what_cannot_be_compared_is_an_error(real, fake, words, compare):
    with pytest.raises(ValueError, match=words):
        compare(real, fake)


@pytest.mark.parametrize(
    ("factor", "shift"), [pytest.param(1.0, 0.0, marks=pytest.mark.slow), (1.2, 0.1)]
)
def test_infinity_has_no_bias(factor, shift):
    """Where the distance itself lies above the truth by its floor."""

    def draw(seed: int, rows: int = 200) -> Tensor:
        return rectified(rows, 20, seed)

    truth = frechet_distance(Moments(draw(0, 200_000)), Moments(factor * draw(0, 200_000) + shift))
    sides = [(draw(2 * i + 1), factor * draw(2 * i + 2) + shift) for i in range(60)]
    extrapolated = np.array([frechet_infinity(*pair) for pair in sides])
    error = extrapolated.std() / math.sqrt(len(sides))
    assert abs(extrapolated.mean() - truth) < 3 * error
    assert np.mean([frechet_distance(*pair) for pair in sides]) > truth + 10 * error


def test_infinity_depends_on_its_seed_alone():
    real, fake = pair(d=5)
    state = torch.get_rng_state()
    value = frechet_infinity(real, fake)
    assert METRICS["fid_infinity"](real.clone(), fake.clone()) == value
    assert frechet_infinity(real, fake, seed=1) != value
    assert frechet_infinity(real, fake, seed=1) == pytest.approx(value, rel=0.1)
    assert torch.equal(state, torch.get_rng_state())


def test_infinity_needs_rows_enough():
    with pytest.raises(NotApplicable, match="20 or more rows, not 19"):
        frechet_infinity(normal(40, 10), normal(19, 10))
    assert math.isfinite(frechet_infinity(normal(20, 10), normal(20, 10, seed=1)))
