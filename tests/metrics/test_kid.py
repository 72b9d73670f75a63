import mpmath
import numpy as np
import pytest
import torch
from draws import normal
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch_fidelity.metric_kid import kid_features_to_metric
from torchmetrics.image.kid import poly_mmd

from metrics import METRICS, kid, products
from metrics.kid import kernel_distance, kernel_distance_subsets, kernel_interval


def pair(rows: int = 300, d: int = 16, seed: int = 0) -> tuple[Tensor, Tensor]:
    return normal(rows, d, seed=seed), 1.1 * normal(rows + 7, d, seed=seed + 1) + 0.1


def cube(a: Tensor, b: Tensor) -> Tensor:
    return (a @ b.T / a.shape[1] + 1) ** 3


def by_definition(real: Tensor, fake: Tensor) -> float:
    within = [
        (k.sum() - k.trace()) / (len(k) * (len(k) - 1))
        for k in (cube(real, real), cube(fake, fake))
    ]
    return (sum(within) - 2 * cube(real, fake).mean()).item()


@pytest.fixture(params=[False, True], ids=["pairs", "moments"])
def way(request, monkeypatch):
    """Both ways to the same sums, whatever the sizes."""
    monkeypatch.setattr(kid, "_has_fewer_moments", lambda rows, d: request.param)


@pytest.mark.usefixtures("way")
def test_is_the_full_statistic():
    real, fake = pair()
    assert kernel_distance(real, fake).kid == pytest.approx(by_definition(real, fake), abs=1e-13)


def test_pairs_and_moments_agree(monkeypatch):
    real, fake = pair(rows=600, d=24)
    results = []
    for fewer in (False, True):
        monkeypatch.setattr(kid, "_has_fewer_moments", lambda rows, d, fewer=fewer: fewer)
        results.append(kernel_distance(real, fake))
    assert tuple(results[0]) == pytest.approx(tuple(results[1]), rel=1e-9)


def test_agrees_with_torch_fidelity_and_torchmetrics():
    """Of one subset that is the whole set; both round as the features do, here as float64."""
    real, fake = (side[:300] for side in pair())
    value = kernel_distance(real, fake).kid
    options = {"kid_subsets": 1, "kid_subset_size": 300, "verbose": False}
    theirs = kid_features_to_metric(real, fake, **options)["kernel_inception_distance_mean"]
    assert value == pytest.approx(theirs, rel=1e-9)
    assert value == pytest.approx(poly_mmd(real, fake).item(), rel=1e-9)
    assert kernel_distance_subsets(real, fake).kid_subsets == pytest.approx(theirs, rel=1e-9)


def test_agrees_with_torch_fidelity_in_float32():
    real, fake = (side[:300].float() for side in pair(d=256))
    options = {"kid_subsets": 1, "kid_subset_size": 300, "verbose": False}
    theirs = kid_features_to_metric(real, fake, **options)["kernel_inception_distance_mean"]
    assert kernel_distance(real, fake).kid == pytest.approx(theirs, abs=1e-6)
    assert kernel_distance_subsets(real, fake).kid_subsets == pytest.approx(theirs, abs=1e-6)


@pytest.mark.parametrize(("offset", "tolerance"), [(0, 1e-12), (100, 1e-9), (1e4, 1e-4)])
def test_offset_and_nearly_equal_features_have_the_distance_of_fifty_digits(offset, tolerance):
    """At an offset of 10⁴ the kernel is 10²⁴, and float64 has no more digits of the distance."""
    real = offset + normal(6, 3)
    fake = real.flip(0) + 1e-3 * normal(6, 3, seed=1)

    def mean(a: Tensor, b: Tensor, *, apart: bool) -> mpmath.mpf:
        pairs = [
            (mpmath.fsum(mpmath.mpf(p) * mpmath.mpf(q) for p, q in zip(x, y, strict=True)) / 3 + 1)
            ** 3
            for i, x in enumerate(a.tolist())
            for j, y in enumerate(b.tolist())
            if i != j or not apart
        ]
        return mpmath.fsum(pairs) / len(pairs)

    with mpmath.workdps(50):
        within = mean(real, real, apart=True) + mean(fake, fake, apart=True)
        expected = float(within - 2 * mean(real, fake, apart=False))
    assert kernel_distance(real, fake).kid == pytest.approx(expected, rel=tolerance)


@given(
    rows=st.integers(4, 40),
    d=st.integers(1, 6),
    seed=st.integers(0, 10_000),
    scale=st.sampled_from([1e-4, 1.0, 30.0]),
)
@settings(max_examples=30, deadline=None)
def test_symmetric_and_free_of_order_and_rotation(rows, d, seed, scale):
    real, fake = (scale * side for side in pair(rows, d, seed))
    value = kernel_distance(real, fake).kid
    size = cube(real, real).abs().max().item() - 1
    near = pytest.approx(value, rel=1e-9, abs=1e-12 * size)
    rotation = torch.linalg.qr(normal(d, d, seed=seed + 2))[0]
    assert kernel_distance(fake, real).kid == near
    assert kernel_distance(real.flip(0), fake[torch.randperm(len(fake))]).kid == near
    assert kernel_distance(real @ rotation, fake @ rotation).kid == near


@given(rows=st.integers(4, 40), d=st.integers(1, 6), seed=st.integers(0, 10_000))
@settings(max_examples=30, deadline=None)
def test_errors_are_real_and_ordered(rows, d, seed):
    real, fake = pair(rows, d, seed)
    value, error, both = kernel_distance(real, fake)
    ends = kernel_interval(real, fake)
    assert 0 < error <= both
    assert (ends.value, ends.standard_error) == pytest.approx((value, error))
    assert ends.low < ends.value < ends.high


@pytest.mark.usefixtures("way")
def test_tiles_change_rounding_only(monkeypatch):
    real, fake = pair(rows=100, d=5)
    whole = kernel_distance(real, fake), kernel_distance_subsets(real, fake, size=30)
    monkeypatch.setattr(products, "ROWS", 13)
    monkeypatch.setattr(kid, "POWERS", 13)
    again = real.clone(), fake.clone()
    parts = kernel_distance(*again), kernel_distance_subsets(*again, size=30)
    assert parts[0] == pytest.approx(whole[0], rel=1e-11)
    assert parts[1] == pytest.approx(whole[1], rel=1e-11)


def test_the_reference_is_summed_once(monkeypatch):
    real, fake = pair(rows=50)
    calls = []
    plain = kid._sum_within
    monkeypatch.setattr(kid, "_sum_within", lambda *a: calls.append(0) or plain(*a))
    first = kernel_distance(real, fake)
    assert len(calls) == 2
    assert kernel_distance(real, fake) == first
    kernel_distance(real, fake + 1)
    assert len(calls) == 4


def truth(real: Tensor, mean: Tensor, deviation: Tensor) -> float:
    """Mean of the distance over generated sets from a Gaussian, the reference fixed.

    Of a Gaussian z, E(1 + z)³ = (1 + a)³ + 3 (1 + a) v with its mean a and variance v.
    """
    d = real.shape[1]

    def embed(x: Tensor) -> Tensor:
        a, v = 1 + x @ mean / d, (x * deviation / d).square().sum(dim=1)
        return (a**3 + 3 * a * v).mean()

    within = cube(real, real)
    within = (within.sum() - within.trace()) / (len(real) * (len(real) - 1))
    others = embed(mean + deviation * normal(100_000, d, seed=999_999))
    return (within + others - 2 * embed(real)).item()


@pytest.mark.parametrize(
    ("d", "heavy", "offset", "shift", "scale"),
    [(64, 1, 0, 0.0, 1.0), (64, 1, 0, 0.2, 1.1), (64, 6, 1, 0.3, 1.0)],
    ids=["one distribution", "another", "one direction dominates"],
)
def test_interval_covers_the_expected_distance(d, heavy, offset, shift, scale):
    """Over draws of the generated set, for several references."""
    deviation = torch.ones(d, dtype=torch.float64)
    deviation[0] = heavy
    mean = torch.full((d,), offset + shift, dtype=torch.float64)
    covered, ratios = [], []
    for number in range(4):
        real = offset + deviation * normal(400, d, seed=90_000 + number)
        expected = truth(real, mean, scale * deviation)
        sets = (
            mean + scale * deviation * normal(400, d, seed=1000 * number + s) for s in range(70)
        )
        draws = [kernel_interval(real, fake) for fake in sets]
        covered += [draw.low <= expected <= draw.high for draw in draws]
        spread = np.std([draw.value for draw in draws])
        ratios.append(np.mean([draw.standard_error for draw in draws]) / spread)
    assert 0.92 <= np.mean(covered) <= 0.98
    assert np.mean(ratios) == pytest.approx(1, abs=0.1)


def test_error_over_both_sets_is_that_of_both_drawn_anew():
    draws = [
        kernel_distance(normal(100, 8, seed=s), 1.2 * normal(80, 8, seed=s + 1))
        for s in range(0, 800, 2)
    ]
    spread = np.std([draw.kid for draw in draws])
    assert np.sqrt(np.mean([d.standard_error_both**2 for d in draws])) == pytest.approx(
        spread, rel=0.1
    )


def test_subsets_are_the_same_from_all_pairs_or_one_after_the_other(monkeypatch):
    real, fake = pair(rows=60)
    together = kernel_distance_subsets(real, fake, subsets=30, size=20)
    monkeypatch.setattr(kid, "_add_chosen", kid._add_apart)
    assert kernel_distance_subsets(real, fake, subsets=30, size=20) == pytest.approx(together)
    assert kernel_distance_subsets(real, fake, subsets=30, size=20, seed=1) != together


def test_subsets_have_the_mean_of_the_whole():
    real, fake = pair(rows=400)
    full, draws = kernel_distance(real, fake), kernel_distance_subsets(real, fake, 400, 100)
    assert draws.kid_subsets == pytest.approx(full.kid, abs=4 * draws.deviation / 20)
    assert draws.deviation > full.standard_error


def test_interval_of_the_subsets_is_at_least_that_of_the_whole():
    """And covers it: draws of subsets are all that is between the two."""
    real, fake = pair(rows=1500)
    subsets, full = kid.kernel_subsets_interval(real, fake), kernel_interval(real, fake)
    assert subsets.value == kernel_distance_subsets(real, fake).kid_subsets != full.value
    assert subsets.standard_error > full.standard_error
    assert subsets.low < full.value < subsets.high


def test_features_of_any_precision_and_the_random_state():
    real, fake = (side.half() for side in pair())
    state = torch.get_rng_state()
    for name in ("kid", "kid_subsets"):
        wide = METRICS[name](real.double(), fake.double())
        assert METRICS[name](real, fake) == pytest.approx(wide, abs=1e-6)
    assert torch.equal(state, torch.get_rng_state())


def test_constant_features():
    """Of two points the distance is k(a, a) + k(b, b) - 2 k(a, b), without error."""
    points = torch.zeros(9, 4), torch.ones(7, 4)
    assert kernel_distance(*points) == pytest.approx((1 + 8 - 2, 0, 0), abs=1e-12)
    assert kernel_interval(*points) == pytest.approx((7, 7, 7, 0), abs=1e-12)


@pytest.mark.parametrize("wide", [2, 40])
def test_products_are_those_of_either_library(monkeypatch, wide):
    a, b = normal(20, wide), normal(30, wide, seed=1)
    expected = a @ b.T, a @ a.T
    for amd in (False, True):
        monkeypatch.setattr(products, "_is_amd", lambda amd=amd: amd)
        found = products.product(a, b), products.product(a, a)
        torch.testing.assert_close(found, expected, rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize(
    ("real", "fake", "words"),
    [
        (normal(9, 3), normal(9, 4), "3 and 4 dimensions"),
        (normal(9, 3), normal(3, 3), "4 or more rows"),
        (normal(9, 3), normal(9), r"\[N, d\]"),
        (normal(9, 3), normal(9, 3) / 0, "NaN or infinite"),
        (normal(9, 3), torch.ones(9, 3, dtype=torch.int64), "int64"),
    ],
)
def test_what_cannot_be_compared_is_an_error(real, fake, words):
    with pytest.raises(ValueError, match=words):
        kernel_distance(real, fake)
    with pytest.raises(ValueError, match=words):
        kernel_interval(real, fake)


def test_subsets_of_nothing_are_an_error():
    with pytest.raises(ValueError, match="1 or more subsets of 2 or more images, not 0 of 9"):
        kernel_distance_subsets(normal(9, 3), normal(9, 3), subsets=0)
