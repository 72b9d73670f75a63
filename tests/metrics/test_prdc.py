import numpy as np
import pytest
import torch
from draws import normal
from hypothesis import given, settings
from hypothesis import strategies as st
from prdc import compute_prdc
from scipy.spatial.distance import cdist
from torch import Tensor

from metrics import METRICS, prdc, products
from metrics.prdc import (
    find_nearest,
    memorization,
    memorization_intervals,
    neighbour_intervals,
    precision_recall_density_coverage,
)


def pair(rows: int = 300, d: int = 8, seed: int = 0) -> tuple[Tensor, Tensor]:
    real = normal(rows, d, seed=seed)
    return real, 0.4 * real.flip(0) + normal(rows, d, seed=seed + 1)


def squares(a: Tensor, b: Tensor) -> np.ndarray:
    return cdist(a.double().numpy(), b.double().numpy(), "sqeuclidean")


def brute(real: Tensor, fake: Tensor, k: int = 5) -> tuple[float, ...]:
    """In float64 from differences, with every distance in memory."""

    def radii(features: Tensor) -> np.ndarray:
        distances = squares(features, features)
        np.fill_diagonal(distances, np.inf)
        return np.sort(distances, axis=1)[:, k - 1]

    across = squares(real, fake)
    in_real = (across < radii(real)[:, None]) | (across == 0)
    in_fake = (across < radii(fake)) | (across == 0)
    precision, coverage = in_real.any(axis=0).mean(), in_real.any(axis=1).mean()
    return precision, in_fake.any(axis=1).mean(), in_real.sum(axis=0).mean() / k, coverage


def lattice(rows: int, seed: int) -> Tensor:
    rng = torch.Generator().manual_seed(seed)
    return torch.randint(0, 4, (rows, 3), generator=rng).double()


def collapse(rows: int, seed: int) -> Tensor:
    """Twelve modes far apart, each with a width that float32 can't see beside its place."""
    places = 10 * normal(12, 6, seed=99)
    return places[torch.arange(rows) % 12] + 1e-5 * normal(rows, 6, seed=seed)


CASES = {
    "plain": pair(),
    "wide": tuple(side.float() for side in pair(200, 500)),
    "offset": tuple(100 + 1e-2 * side.float() for side in pair(200, 64)),
    "ties": (lattice(200, 0), lattice(220, 1)),
    "copies": (normal(60, 5).repeat(4, 1), torch.cat([normal(60, 5), normal(90, 5, seed=1)])),
    "near-duplicates": (
        torch.cat([normal(100, 6), normal(100, 6) + 1e-9]),
        normal(100, 6).repeat_interleave(2, 0) + 1e-9 * normal(200, 6, seed=2),
    ),
    "collapsed": (collapse(240, 0), collapse(200, 1)),
    "constant": (normal(50, 3), torch.ones(40, 3)),
    "scales": tuple(side * torch.logspace(-6, 6, 8, dtype=torch.float64) for side in pair()),
    "half": tuple(side.half() for side in pair()),
    "tiny": tuple(1e-30 * side for side in pair(100)),
    "one dimension": (normal(80, 1), normal(70, 1, seed=1)),
    "few": (normal(6, 4), normal(7, 4, seed=1)),
}


@pytest.mark.parametrize("name", CASES)
def test_every_decision_is_that_of_brute_force(name):
    real, fake = CASES[name]
    assert precision_recall_density_coverage(real, fake) == pytest.approx(brute(real, fake))


@pytest.mark.parametrize("k", [1, 3, 20])
def test_agrees_with_prdc(k):
    real, fake = pair()
    theirs = compute_prdc(real.numpy(), fake.numpy(), k)
    ours = precision_recall_density_coverage(real, fake, k)
    assert ours._asdict() == pytest.approx(theirs, abs=1e-9)


@pytest.mark.parametrize(
    "features", [normal(40, 3), normal(5, 3).repeat(9, 1), torch.zeros(9, 2), lattice(50, 0)]
)
def test_identical_sets_are_within_each_other(features):
    precision, recall, density, coverage = precision_recall_density_coverage(features, features)
    assert (precision, recall, coverage) == (1, 1, 1)
    assert density > 0


def test_an_image_holds_fewer_than_k_others():
    features = normal(200, 4)
    assert precision_recall_density_coverage(features, features.clone()).density == 1


@given(
    rows=st.integers(6, 50),
    d=st.integers(1, 6),
    seed=st.integers(0, 10_000),
    k=st.integers(1, 5),
    tile=st.sampled_from([7, 16, 1024]),
)
@settings(max_examples=40, deadline=None)
def test_in_range_and_free_of_order_rotation_and_tiles(rows, d, seed, k, tile):
    real, fake = pair(rows, d, seed)
    fake = fake[: max(rows - 3, k + 1)]
    result = precision_recall_density_coverage(real, fake, k)
    assert all(0 <= share <= 1 for share in (result.precision, result.recall, result.coverage))
    assert result.density >= result.precision / k
    rotation = torch.linalg.qr(normal(d, d, seed=seed + 2))[0]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(products, "ROWS", tile)
        turned = (real @ rotation)[torch.randperm(rows)], (fake @ rotation).flip(0)
        assert precision_recall_density_coverage(*turned, k) == pytest.approx(result)
    mirrored = precision_recall_density_coverage(fake, real, k)
    assert (mirrored.precision, mirrored.recall) == (result.recall, result.precision)


def test_screening_leaves_few_distances_to_be_measured(monkeypatch):
    """Else the products were of no use."""
    measured = []
    plain = prdc._measure
    monkeypatch.setattr(
        prdc, "_measure", lambda x, y, i, j: measured.append(len(i)) or plain(x, y, i, j)
    )
    precision_recall_density_coverage(*pair(500, 32))
    assert sum(measured) < 1.1 * 1000


def test_the_reference_is_searched_once(monkeypatch):
    real, fake = pair()
    calls = []
    plain = prdc._search
    monkeypatch.setattr(prdc, "_search", lambda *a, **b: calls.append(0) or plain(*a, **b))
    precision_recall_density_coverage(real, fake)
    precision_recall_density_coverage(real, fake + 1)
    memorization(real, fake, real + 2)
    assert len(calls) == 3 + 3


@pytest.mark.parametrize("name", CASES)
def test_the_nearest_is_that_of_brute_force(name):
    train, fake = CASES[name]
    distances, index = find_nearest(train, fake)
    expected = squares(fake, train)
    assert index.dtype == torch.int64
    picked = np.take_along_axis(expected, index[:, None].numpy(), axis=1)[:, 0]
    np.testing.assert_allclose(picked, expected.min(axis=1), rtol=1e-12)
    np.testing.assert_allclose(distances.square(), expected.min(axis=1), rtol=1e-12)


def test_copies_are_found_out():
    train, real = normal(400, 6), normal(400, 6, seed=1)
    copies = train[:200] + 1e-3 * normal(200, 6, seed=2)
    mixed = torch.cat([copies, normal(200, 6, seed=3)])
    honest, stolen = memorization(real, real.flip(0), train), memorization(real, copies, train)
    assert honest.near_copies == pytest.approx(0.01, abs=0.003)
    assert honest.authenticity > 0.4
    assert stolen == (0, 1)
    assert memorization(real, mixed, train).near_copies == pytest.approx(0.5, abs=0.02)


def test_authenticity_by_hand():
    train = torch.tensor([[0.0], [1.0], [5.0], [5.0]])
    fake = torch.tensor([[-2.0], [-1.0], [0.4], [5.0], [4.9], [7.0]])
    # Farther than another training image: -2, tied: -1, 5 on a doubled image; beyond it: 4.9, 7.
    assert memorization(train, fake, train).authenticity == pytest.approx(3 / 6)


def test_an_exact_copy_is_no_authentic_image_even_of_a_doubled_one():
    train = normal(30, 4).repeat(2, 1)
    assert memorization(normal(30, 4, seed=1), train[:10], train) == (0, 1)


def test_copies_agree_with_brute_force():
    train, real = CASES["offset"]
    fake = torch.cat([real[:50], train[:50] + 1e-4])
    own = squares(train, train)
    np.fill_diagonal(own, np.inf)
    across = squares(fake, train)
    authentic = across.min(axis=1) > own.min(axis=1)[across.argmin(axis=1)]
    bar = np.quantile(np.sqrt(squares(real, train).min(axis=1)), 0.01)
    near = np.sqrt(across.min(axis=1)) < bar
    assert memorization(real, fake, train) == pytest.approx((authentic.mean(), near.mean()))


def mixture(rows: int, seed: int, spread: float = 1.0) -> Tensor:
    places = 2 * normal(10, 6, seed=77)
    rng = torch.Generator().manual_seed(seed)
    return places[torch.randint(10, (rows,), generator=rng)] + spread * normal(rows, 6, seed=seed)


@pytest.mark.parametrize("spread", [1.0, 1.6], ids=["one distribution", "another"])
def test_intervals_cover_the_mean_score(spread):
    """Over draws of the generated set, the reference fixed."""
    covered = []
    for number in range(3):
        real = mixture(300, 5000 + number)
        draws = [
            neighbour_intervals(real, mixture(300, 100 * number + s, spread)) for s in range(80)
        ]
        for name in draws[0]:
            mean = np.mean([draw[name].value for draw in draws])
            covered += [(name, draw[name].low <= mean <= draw[name].high) for draw in draws]
    for name in ("precision", "recall", "density", "coverage"):
        share = np.mean([held for which, held in covered if which == name])
        assert 0.91 <= share <= 0.99, name


def test_intervals_are_around_the_scores():
    real, fake = pair()
    scores = precision_recall_density_coverage(real, fake)._asdict()
    train = normal(200, 8, seed=5)
    scores |= memorization(real, fake, train)._asdict()
    intervals = neighbour_intervals(real, fake) | memorization_intervals(real, fake, train)
    assert intervals.keys() == scores.keys() < METRICS.keys()
    for name, ends in intervals.items():
        assert ends.value == pytest.approx(scores[name])
        assert ends.low < ends.high
        assert ends.low <= ends.value <= ends.high


def test_a_single_generated_image_leaves_coverage_uncertain():
    """All balls hold the same image: the whole coverage hangs on that it was drawn."""
    real = normal(100, 3)
    far = 50 + normal(99, 3, seed=1)
    fake = torch.cat([real.mean(dim=0)[None], far])
    scores = neighbour_intervals(real, fake, k=15)["coverage"]
    assert 0.1 < scores.value < 0.9
    assert scores.low < 0.2 * scores.value


@pytest.mark.parametrize(
    ("real", "fake", "k", "words"),
    [
        (normal(9, 3), normal(9, 4), 5, "3 and 4 dimensions"),
        (normal(9, 3), normal(5, 3), 5, "6 or more rows, not 5"),
        (normal(9, 3), normal(9), 5, r"\[N, d\]"),
        (normal(9, 3), normal(9, 3) / 0, 5, "NaN or infinite"),
        (normal(9, 3), normal(9, 3), 0, "1 or more, not 0"),
    ],
)
def test_what_cannot_be_compared_is_an_error(real, fake, k, words):
    with pytest.raises(ValueError, match=words):
        precision_recall_density_coverage(real, fake, k)
    with pytest.raises(ValueError, match=words):
        neighbour_intervals(real, fake, k)


def test_copies_of_one_training_image_cannot_be_told():
    with pytest.raises(ValueError, match="2 or more rows, not 1"):
        memorization(normal(9, 3), normal(9, 3), normal(1, 3))
