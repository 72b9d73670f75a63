import mpmath
import pytest
import torch
from draws import normal
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch_fidelity.metric_kid import kid_features_to_metric
from torchmetrics.image.kid import poly_mmd

from metrics import METRICS, kernel, kernel_distance, kernel_distance_subsets, kid, matrices
from metrics.intervals.kid import kernel_interval


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
    monkeypatch.setattr(kernel, "_has_fewer_moments", lambda rows, d: request.param)


@pytest.mark.usefixtures("way")
def test_is_the_full_statistic():
    real, fake = pair()
    assert kernel_distance(real, fake) == pytest.approx(by_definition(real, fake), abs=1e-13)


def test_pairs_and_moments_agree(monkeypatch):
    real, fake = pair(rows=600, d=24)
    results = []
    for fewer in (False, True):
        monkeypatch.setattr(kernel, "_has_fewer_moments", lambda rows, d, fewer=fewer: fewer)
        results.append(kernel_distance(real, fake))
    assert results[0] == pytest.approx(results[1], rel=1e-9)


def test_agrees_with_torch_fidelity_and_torchmetrics():
    """Of one subset that is the whole set; both round as the features do, here as float64."""
    real, fake = (side[:300] for side in pair())
    value = kernel_distance(real, fake)
    options = {"kid_subsets": 1, "kid_subset_size": 300, "verbose": False}
    theirs = kid_features_to_metric(real, fake, **options)["kernel_inception_distance_mean"]
    assert value == pytest.approx(theirs, rel=1e-9)
    assert value == pytest.approx(poly_mmd(real, fake).item(), rel=1e-9)
    assert kernel_distance_subsets(real, fake).kid_subsets == pytest.approx(theirs, rel=1e-9)


def test_agrees_with_torch_fidelity_in_float32():
    real, fake = (side[:300].float() for side in pair(d=256))
    options = {"kid_subsets": 1, "kid_subset_size": 300, "verbose": False}
    theirs = kid_features_to_metric(real, fake, **options)["kernel_inception_distance_mean"]
    assert kernel_distance(real, fake) == pytest.approx(theirs, abs=1e-6)
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
    assert kernel_distance(real, fake) == pytest.approx(expected, rel=tolerance)


@given(
    rows=st.integers(4, 40),
    d=st.integers(1, 6),
    seed=st.integers(0, 10_000),
    scale=st.sampled_from([1e-4, 1.0, 30.0]),
)
@settings(max_examples=30, deadline=None)
def test_symmetric_and_free_of_order_and_rotation(rows, d, seed, scale):
    real, fake = (scale * side for side in pair(rows, d, seed))
    value = kernel_distance(real, fake)
    size = cube(real, real).abs().max().item() - 1
    near = pytest.approx(value, rel=1e-9, abs=1e-12 * size)
    rotation = torch.linalg.qr(normal(d, d, seed=seed + 2))[0]
    assert kernel_distance(fake, real) == near
    assert kernel_distance(real.flip(0), fake[torch.randperm(len(fake))]) == near
    assert kernel_distance(real @ rotation, fake @ rotation) == near


@pytest.mark.usefixtures("way")
def test_tiles_change_rounding_only(monkeypatch):
    real, fake = pair(rows=100, d=5)
    whole = kernel_distance(real, fake), kernel_distance_subsets(real, fake, size=30)
    monkeypatch.setattr(matrices, "ROWS", 13)
    monkeypatch.setattr(kernel, "POWERS", 13)
    again = real.clone(), fake.clone()
    parts = kernel_distance(*again), kernel_distance_subsets(*again, size=30)
    assert parts[0] == pytest.approx(whole[0], rel=1e-11)
    assert parts[1] == pytest.approx(whole[1], rel=1e-11)


def test_the_reference_is_summed_once(monkeypatch):
    real, fake = pair(rows=50)
    calls = []
    plain = kernel._sum_within
    monkeypatch.setattr(kernel, "_sum_within", lambda *a: calls.append(0) or plain(*a))
    first = kernel_distance(real, fake)
    assert len(calls) == 2
    assert kernel_distance(real, fake) == first
    kernel_distance(real, fake + 1)
    assert len(calls) == 4


def test_subsets_are_the_same_from_all_pairs_or_one_after_the_other(monkeypatch):
    real, fake = pair(rows=60)
    together = kernel_distance_subsets(real, fake, subsets=30, size=20)
    monkeypatch.setattr(kid, "_add_chosen", kid._add_apart)
    assert kernel_distance_subsets(real, fake, subsets=30, size=20) == pytest.approx(together)
    assert kernel_distance_subsets(real, fake, subsets=30, size=20, seed=1) != together


def test_subsets_have_the_mean_of_the_whole():
    real, fake = pair(rows=400)
    full, draws = kernel_interval(real, fake), kernel_distance_subsets(real, fake, 400, 100)
    assert draws.kid_subsets == pytest.approx(full.value, abs=4 * draws.deviation / 20)
    assert draws.deviation > full.standard_error


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
    assert kernel_distance(*points) == pytest.approx(1 + 8 - 2, abs=1e-12)
    assert kernel_interval(*points) == pytest.approx((7, 7, 7, 0), abs=1e-12)


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
