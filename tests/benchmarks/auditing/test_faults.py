"""What the faults promise, all of them and each, and the images that an audit is made of."""

import ast
import io
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Generator, Tensor

from benchmarks.auditing import faults, measurements, stock
from benchmarks.auditing.faults import FAULTS, Fault, Rows
from benchmarks.auditing.pipeline import draw_all_strips
from benchmarks.auditing.stock import Stock, build_bank, count_pool, draw_strips, gather_stock
from benchmarks.core.errors import BadInput
from benchmarks.core.tensors import quantize, to_float
from benchmarks.data import Dataset, Split, load_dataset
from metrics import Aspect

N = 400
IMAGES = [f for f in FAULTS.values() if f.kind == "images"]
SETS = [f for f in FAULTS.values() if f.kind == "rows"]
REPLACED = {"foreign": "foreign", "static": "static", "memoriser": "train", "jitter": "jittered"}
"""Where the images come from that take the place of others."""

Bank = tuple[Tensor, Tensor, dict[str, range]]


def seeded(seed: int = 0) -> Generator:
    return Generator().manual_seed(seed)


def name_of(thing: object) -> str:
    return thing.name if isinstance(thing, Fault) else str(thing)


def damage(fault: Fault, images: Tensor, level: int) -> Tensor:
    """As the harness does it."""
    return quantize(fault.function(to_float(images), fault.amounts[level], seeded()))


@pytest.fixture(scope="module")
def data() -> Dataset:
    return load_dataset("digits", data_root=Path("/nonexistent"), source="edges")


@pytest.fixture(scope="module")
def bank(data: Dataset) -> Bank:
    return build_bank(gather_stock(data, N, seeded()), seeded(1))


@pytest.fixture(scope="module")
def rows(bank: Bank) -> Rows:
    images, classes, places = bank
    others = {name: place for name, place in places.items() if name != "pool"}
    return Rows(
        torch.randperm(len(places["pool"]), generator=seeded(2))[:N], images, classes, **others
    )


@pytest.fixture(scope="module", params=[(1, 8), (3, 28), (3, 64)], ids=lambda shape: f"{shape}")
def pictures(request: pytest.FixtureRequest) -> Tensor:
    """Bright blobs on a dark ground, which fill the range of grey."""
    channels, side = request.param
    noise = torch.rand((60, channels, side, side), generator=seeded())
    waves = faults.smooth(noise, 1 / 8)
    low, high = waves.amin((1, 2, 3), keepdim=True), waves.amax((1, 2, 3), keepdim=True)
    return quantize(((waves - low) / (high - low)) ** 2)


def test_the_registry_holds_what_the_audit_promises() -> None:
    assert list(FAULTS) == [
        *(
            "blur",
            "noise",
            "contrast",
            "quantisation",
            "jpeg",
            "shift",
            "warp",
            "foreign",
            "static",
        ),
        *("drop", "thin", "shrink", "duplicates", "memoriser", "jitter", "gaussian"),
    ]
    assert {f.aspect for f in FAULTS.values()} == set(get_args(Aspect))


@pytest.mark.parametrize("fault", FAULTS.values(), ids=name_of)
def test_a_ladder_has_five_to_seven_levels_that_grow(fault: Fault) -> None:
    assert 5 <= len(fault.amounts) <= 7
    assert list(fault.amounts) == sorted(set(fault.amounts))
    assert fault.amounts[0] > 0
    assert not fault.share or fault.amounts[-1] >= 0.99
    assert len({fault.show(amount) for amount in fault.amounts}) == len(fault.amounts)
    assert fault.describe()["amounts"] == fault.amounts


def test_amounts_are_shown_in_words() -> None:
    assert FAULTS["blur"].show(0.04) == "σ 4 %"
    assert FAULTS["jpeg"].show(95.0) == "quality 5"
    assert FAULTS["quantisation"].show(3.0) == "5-bit"
    assert FAULTS["static"].show(0.25) == "25 %"


def test_faults_can_be_listed_without_importing_them() -> None:
    tree = ast.parse(Path(faults.__file__).read_text(encoding="utf-8"))
    calls = [d for n in tree.body for d in getattr(n, "decorator_list", ()) if is_fault(d)]
    listed = [{str(k.arg): ast.literal_eval(k.value) for k in c.keywords} for c in calls]
    assert [about["name"] for about in listed] == list(FAULTS)


def is_fault(decorator: ast.expr) -> bool:
    return isinstance(decorator, ast.Call) and getattr(decorator.func, "id", None) == "fault"


@pytest.mark.parametrize("fault", IMAGES, ids=name_of)
def test_damaged_images_grow_worse_from_hardly_to_totally(fault: Fault, pictures: Tensor) -> None:
    original = to_float(pictures)
    damaged = [to_float(damage(fault, pictures, level)) for level in range(len(fault.amounts))]
    distances = [(d - original).square().mean((1, 2, 3)).sqrt() for d in damaged]
    means = [d.mean().item() for d in distances]
    assert all(d.shape == original.shape for d in damaged)
    # Out of sight, or all one grey, may be nearer than beside its place, or black and white.
    rising = means[:-1] if fault.name in {"shift", "quantisation"} else means
    assert rising == sorted(rising)
    assert 0 < means[0] < 0.2 * max(means)
    assert distances[-1].min() > 0.02


@pytest.mark.parametrize("fault", IMAGES, ids=name_of)
def test_image_faults_repeat_and_leave_the_original_alone(fault: Fault, pictures: Tensor) -> None:
    images = to_float(pictures)
    before = images.clone()
    first, second = (fault.function(images, fault.amounts[2], seeded(5)) for _ in range(2))
    assert torch.equal(first, second)
    assert torch.equal(images, before)
    assert first.dtype == torch.float32
    assert first.isfinite().all()


@pytest.mark.parametrize("fault", FAULTS.values(), ids=name_of)
def test_nothing_is_drawn_from_the_global_generator(fault: Fault, rows: Rows) -> None:
    state = torch.get_rng_state()
    given = {"images": to_float(rows.images[:20]), "rows": rows, "features": torch.ones(20, 3)}
    fault.function(given[fault.kind], fault.amounts[-2], seeded())
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("name", ["noise", "shift", "warp"])
def test_what_is_random_about_an_image_is_the_same_at_all_levels(name: str) -> None:
    fault, states = FAULTS[name], []
    for amount in fault.amounts:
        rng = seeded(3)
        fault.function(torch.rand((5, 1, 8, 8), generator=seeded()), amount, rng)
        states.append(rng.get_state())
    assert all(torch.equal(state, states[0]) for state in states)


@pytest.mark.parametrize("name", ["blur", "contrast"])
def test_at_the_end_an_image_is_its_mean(name: str, pictures: Tensor) -> None:
    last = FAULTS[name].function(to_float(pictures), FAULTS[name].amounts[-1], seeded())
    means = to_float(pictures).mean((2, 3), keepdim=True)
    assert torch.allclose(last, means.expand_as(last), atol=1e-3)


def test_blur_keeps_the_mean_and_spreads_by_its_deviation() -> None:
    point = torch.zeros(1, 1, 64, 64)
    point[0, 0, 32, 32] = 1
    blurred = FAULTS["blur"].function(point, 0.04, seeded())[0, 0].double()
    offsets = torch.arange(64, dtype=torch.float64) - 32
    assert blurred.sum() == pytest.approx(1, rel=1e-5)
    assert (blurred.sum(0) * offsets**2).sum().sqrt() == pytest.approx(0.04 * 64, rel=1e-3)
    assert blurred.min() > -1e-6


def test_noise_has_the_deviation_it_says() -> None:
    grey = torch.full((40, 1, 28, 28), 0.5)
    noisy = FAULTS["noise"].function(grey, 0.1, seeded())
    assert noisy.std() == pytest.approx(0.1, rel=0.02)


def test_quantisation_leaves_half_as_many_greys_at_every_level() -> None:
    ramp = torch.linspace(0, 1, 1024).reshape(1, 1, 32, 32)
    fault = FAULTS["quantisation"]
    counts = [len(fault.function(ramp, a, seeded()).unique()) for a in fault.amounts]
    assert counts == [32, 16, 8, 4, 2, 1]


@pytest.mark.parametrize("channels", [1, 3])
def test_jpeg_is_what_each_image_alone_would_be(channels: int) -> None:
    waves = torch.rand((700, channels, 28, 28), generator=seeded())
    images = quantize(faults.smooth(waves, 0.05))
    damaged = quantize(FAULTS["jpeg"].function(to_float(images), 75.0, seeded()))
    for image, found in zip(images[::99], damaged[::99], strict=True):
        file = io.BytesIO()
        picture = Image.fromarray(image.permute(1, 2, 0).numpy().squeeze())
        picture.save(file, "JPEG", quality=25, subsampling="4:4:4")
        alone = np.array(Image.open(file)).reshape(28, 28, channels)
        assert np.array_equal(alone, found.permute(1, 2, 0))


def test_shift_moves_by_its_amount_and_at_last_out_of_sight() -> None:
    dots = torch.zeros(200, 1, 33, 33)
    dots[:, 0, 15:18, 15:18] = 1
    moved = FAULTS["shift"].function(dots, 0.2, seeded())[:, 0]
    steps = torch.arange(33.0) - 16
    x, y = ((moved.sum(axis) * steps).sum(1) / moved.sum((1, 2)) for axis in (1, 2))
    assert torch.allclose((x**2 + y**2).sqrt(), torch.tensor(0.2 * 33), rtol=0.05)
    assert x.abs().mean() > 1
    assert y.abs().mean() > 1
    assert FAULTS["shift"].function(dots, 1.5, seeded()).abs().max() < 1e-5


def test_warp_does_not_move_the_whole(pictures: Tensor) -> None:
    side = pictures.shape[-1]
    ramp = torch.linspace(0, 1, side).expand(30, 1, side, side)
    inner = slice(side // 4, -side // 4)
    moved = (FAULTS["warp"].function(ramp, 0.05, seeded()) - ramp)[:, 0, inner, inner]
    assert moved.mean().abs() < 0.01
    assert 0.02 < moved.std() < 0.06


@pytest.mark.parametrize("fault", SETS, ids=name_of)
def test_sets_are_rows_of_the_bank_and_repeat(fault: Fault, rows: Rows) -> None:
    chosen = rows.chosen.clone()
    for amount in fault.amounts:
        first, second = (fault.function(rows, amount, seeded(7)) for _ in range(2))
        assert torch.equal(first, second)
        assert first.dtype == torch.int64
        assert 0 < len(first) <= N
        assert first.min() >= 0
        assert first.max() < len(rows.images)
    assert torch.equal(rows.chosen, chosen)


@pytest.mark.parametrize("name", [*REPLACED, "duplicates"])
def test_the_promised_share_is_replaced(name: str, rows: Rows) -> None:
    for amount in FAULTS[name].amounts:
        damaged = FAULTS[name].function(rows, amount, seeded(8))
        replaced = damaged != rows.chosen
        kept_one = name == "duplicates" and amount == 1
        assert replaced.sum() == round(amount * N) - kept_one
        if name in REPLACED:
            place = getattr(rows, REPLACED[name])
            assert ((damaged >= place.start) & (damaged < place.stop)).equal(replaced)


@pytest.mark.parametrize("name", ["foreign", "static", "jitter"])
def test_none_of_what_is_put_in_comes_twice(name: str, rows: Rows) -> None:
    damaged = FAULTS[name].function(rows, 1.0, seeded())
    assert len(damaged.unique()) == N


def test_the_memoriser_draws_with_replacement(rows: Rows) -> None:
    damaged = FAULTS["memoriser"].function(rows, 1.0, seeded())
    expected = len(rows.train) * (1 - (1 - 1 / len(rows.train)) ** N)
    assert len(damaged.unique()) == pytest.approx(expected, rel=0.1)


@pytest.mark.parametrize("name", [*REPLACED, "duplicates", "shrink"])
def test_what_is_damaged_stays_so_at_higher_levels(name: str, rows: Rows) -> None:
    levels = [FAULTS[name].function(rows, a, seeded(9)) for a in FAULTS[name].amounts]
    damaged = [level != rows.chosen for level in levels]
    for lower, higher in pairwise(damaged):
        assert (lower <= higher).all()
        assert lower.sum() < higher.sum()


@pytest.mark.parametrize("name", ["drop", "thin"])
def test_what_is_left_shrinks_in_random_order(name: str, rows: Rows) -> None:
    levels = [FAULTS[name].function(rows, a, seeded(9)) for a in FAULTS[name].amounts]
    assert set(levels[0].tolist()) < set(rows.chosen.tolist())
    for larger, smaller in pairwise(levels):
        assert set(smaller.tolist()) < set(larger.tolist())
        assert len(smaller.unique()) == len(smaller)
    half = levels[1][: len(levels[1]) // 2]
    counts = [torch.bincount(rows.classes[part]) for part in (half, levels[1])]
    assert (counts[0] * 2 - counts[1]).abs().max() < 20


def test_drop_takes_whole_classes_and_leaves_the_largest(rows: Rows) -> None:
    before = torch.bincount(rows.classes[rows.chosen])
    for amount, dropped in zip(FAULTS["drop"].amounts, (1, 2, 4, 6, 8, 9), strict=True):
        left = FAULTS["drop"].function(rows, amount, seeded(10))
        counts = torch.bincount(rows.classes[left], minlength=10)
        assert (counts == 0).sum() == dropped
        assert counts[counts > 0].equal(before[counts > 0])
        assert counts[before.argmax()] == before.max()


def test_which_classes_are_dropped_first_is_random(rows: Rows) -> None:
    sets = [FAULTS["drop"].function(rows, 0.1, seeded(s)) for s in range(12)]
    assert len({tuple(rows.classes[s].unique().tolist()) for s in sets}) > 3


@pytest.mark.parametrize(("classes", "left"), [(2, [1] * 6), (100, [90, 80, 60, 40, 20, 1])])
def test_drop_fits_any_number_of_classes(rows: Rows, classes: int, left: list[int]) -> None:
    many = replace(rows, classes=torch.arange(len(rows.images)) % classes)
    many = replace(many, chosen=torch.arange(N))
    sets = [FAULTS["drop"].function(many, a, seeded()) for a in FAULTS["drop"].amounts]
    assert [len(many.classes[s].unique()) for s in sets] == left


@pytest.mark.parametrize("name", ["drop", "thin"])
def test_a_single_class_is_never_lost(name: str, rows: Rows) -> None:
    single = replace(rows, classes=torch.zeros_like(rows.classes))
    assert len(FAULTS[name].function(single, 1.0, seeded())) == N


def test_thin_takes_the_same_share_of_all_but_the_largest_class(rows: Rows) -> None:
    before = torch.bincount(rows.classes[rows.chosen])
    for amount in FAULTS["thin"].amounts:
        after = torch.bincount(rows.classes[FAULTS["thin"].function(rows, amount, seeded())])
        after = torch.cat([after, after.new_zeros(10 - len(after))])
        expected = torch.tensor([b - round(amount * b) for b in before.tolist()])
        expected[before.argmax()] = before.max()
        assert after.equal(expected)


def test_shrink_keeps_the_classes_and_ends_at_their_medoids(rows: Rows) -> None:
    labels = rows.classes[rows.chosen]
    for amount in FAULTS["shrink"].amounts:
        damaged = FAULTS["shrink"].function(rows, amount, seeded())
        assert rows.classes[damaged].equal(labels)
    medoids = damaged.unique()
    assert sorted(rows.classes[medoids].tolist()) == list(range(10))
    for medoid in medoids:
        own = rows.images[rows.chosen[labels == rows.classes[medoid]]].double().flatten(1)
        totals = torch.cdist(own, own).sum(0)
        distance = torch.cdist(own, rows.images[medoid].double().reshape(1, -1)).sum()
        assert distance == pytest.approx(totals.min().item())


def test_duplicates_are_equally_often_repeated(rows: Rows) -> None:
    for amount in FAULTS["duplicates"].amounts:
        damaged = FAULTS["duplicates"].function(rows, amount, seeded())
        left, counts = damaged.unique(return_counts=True)
        assert len(left) == max(1, N - round(amount * N))
        assert counts.max() - counts.min() <= 1
        assert torch.isin(left, rows.chosen).all()


def lognormal(n: int, d: int) -> Tensor:
    """Skewed and correlated features, far from zero."""
    draws = torch.randn((n, d), generator=seeded(), dtype=torch.float64)
    mixing = torch.randn((d, d), generator=seeded(1), dtype=torch.float64)
    return (draws.exp() @ mixing) + 10


@pytest.mark.parametrize(("n", "d"), [(1500, 20), (60, 100), (2, 3)])
@pytest.mark.parametrize("amount", FAULTS["gaussian"].amounts)
def test_the_gaussian_fake_keeps_two_moments(n: int, d: int, amount: float) -> None:
    features = lognormal(n, d)
    before = features.clone()
    fake = FAULTS["gaussian"].function(features, amount, seeded())
    assert features.equal(before)
    for moment in (lambda x: x.mean(0), lambda x: x.T.cov()):
        error = (moment(fake) - moment(features)).norm() / moment(features).norm()
        assert error < 1e-12
    changed = (fake != features).any(1).sum()
    assert changed == round(amount * n) or round(amount * n) <= 1


def test_the_gaussian_fake_is_gaussian_beyond_two_moments() -> None:
    features = lognormal(1500, 5)
    fake = FAULTS["gaussian"].function(features, 1.0, seeded())
    skews = [standard(x).pow(3).mean(0).abs().mean().item() for x in (features, fake)]
    tails = [standard(x).pow(4).mean(0).mean().item() for x in (features, fake)]
    assert skews[0] > 1
    assert skews[1] < 0.2
    assert tails[0] > 6
    assert tails[1] == pytest.approx(3, abs=0.4)


def standard(x: Tensor) -> Tensor:
    return (x - x.mean(0)) / x.std(0)


def test_the_gaussian_fake_nests_and_keeps_the_type() -> None:
    features = lognormal(200, 4).float()
    fakes = [FAULTS["gaussian"].function(features, a, seeded()) for a in (0.1, 0.5, 1.0)]
    assert {f.dtype for f in fakes} == {torch.float32}
    changed = [(f != features).any(1) for f in fakes]
    assert (changed[0] <= changed[1]).all()
    assert [int(c.sum()) for c in changed] == [20, 100, 200]


def test_the_pool_holds_all_held_out_images_and_no_other(data: Dataset) -> None:
    found = gather_stock(data, N, seeded())
    assert count_pool(data) == len(found.pool) == 899
    held_out = [s.images for s in (data.validation, data.hidden_pairs, data.test) if s is not None]
    assert contents(found.pool) == {i.tobytes() for part in held_out for i in part}
    assert contents(found.train) == {i.tobytes() for i in data.train.images}
    assert not found.clustered


def contents(images: Tensor) -> set[bytes]:
    return {image.tobytes() for image in images.numpy()}


def test_labels_stay_with_their_images(data: Dataset) -> None:
    found = gather_stock(data, 50, seeded())
    assert len(found.pool) == 200
    assert len(found.train) == 150
    assert data.test.labels is not None
    labels = dict(zip(map(bytes, data.test.images), data.test.labels, strict=True))
    known = [(labels[key], c) for key, c in pairs(found) if key in labels]
    assert len(known) > 50
    assert all(label == c for label, c in known)


def pairs(found: Stock) -> list[tuple[bytes, int]]:
    return [
        (i.tobytes(), int(c)) for i, c in zip(found.pool.numpy(), found.pool_classes, strict=True)
    ]


def unlabelled(data: Dataset) -> Dataset:
    bare = {p: Split(getattr(data, p).images) for p in ("train", "validation", "test")}
    return replace(data, **bare, hidden_pairs=None, class_names=None)


def test_images_without_labels_are_clustered(data: Dataset) -> None:
    found = gather_stock(unlabelled(data), 250, seeded())
    again = gather_stock(unlabelled(data), 250, seeded())
    assert found.clustered
    assert len(found.pool) == 500
    assert set(found.pool_classes.tolist()) == set(range(10))
    assert found.pool_classes.equal(again.pool_classes)
    spread = to_float(found.pool).flatten(1).var(0).sum()
    within = [
        to_float(found.pool[found.pool_classes == k]).flatten(1).var(0).sum() for k in range(10)
    ]
    assert np.mean(within) < 0.75 * spread


def test_few_images_have_fewer_clusters() -> None:
    images = torch.randint(256, (60, 1, 8, 8), generator=seeded(), dtype=torch.uint8)
    train, pool = stock.cluster(images, images[:30])
    assert len(train.unique()) == 3
    assert train[:30].equal(pool)


def test_a_single_class_is_no_class(data: Dataset) -> None:
    assert data.train.labels is not None
    single = replace(data, train=Split(data.train.images, np.zeros_like(data.train.labels)))
    assert gather_stock(single, 100, seeded()).clustered


def test_too_few_images_are_refused(data: Dataset) -> None:
    few = replace(data, hidden_pairs=None, test=data.test[:20], validation=data.validation[:30])
    with pytest.raises(BadInput, match="there are 50 in all; at least 80 are needed"):
        gather_stock(few, 20, seeded())
    with pytest.raises(BadInput, match="at most 449 samples"):
        gather_stock(data, 450, seeded())


def test_the_bank_holds_what_it_says(data: Dataset, bank: Bank) -> None:
    images, classes, places = bank
    assert images.dtype == torch.uint8
    assert images.shape == (len(classes), *data.shape)
    assert [len(p) for p in places.values()] == [899, 698, N, N, N]
    assert [p.start for p in places.values()] == [0, 899, 1597, 1597 + N, 1597 + 2 * N]
    assert (classes[places["foreign"].start :] == -1).all()
    assert classes[: places["foreign"].start].min() == 0
    static = to_float(images[places["static"].start :])
    assert static.mean() == pytest.approx(0.5, abs=0.01)
    assert static.var() == pytest.approx(1 / 12, rel=0.02)


def test_jittered_copies_are_near_training_images_but_none_of_them(bank: Bank) -> None:
    images, _, places = bank
    pixels = to_float(images).flatten(1)
    train = pixels[places["train"].start : places["train"].stop]
    copies = pixels[places["jittered"].start : places["jittered"].stop]
    pool = pixels[places["pool"].start : places["pool"].stop]
    nearest = [torch.cdist(x, train).amin(1) for x in (copies, pool)]
    assert nearest[0].min() > 0
    assert nearest[0].mean() < 0.75 * nearest[1].mean()


@pytest.mark.parametrize(("channels", "side"), [(1, 8), (3, 64), (3, 700)])
def test_foreign_images_are_different_photographs(channels: int, side: int) -> None:
    crops = stock.crop_photographs(12, channels, side, seeded())
    assert crops.dtype == torch.uint8
    assert crops.shape == (12, channels, side, side)
    assert len(contents(crops.contiguous())) > 9
    assert crops.equal(stock.crop_photographs(12, channels, side, seeded()))


@pytest.mark.parametrize("fault", [*IMAGES, *SETS], ids=name_of)
def test_a_strip_shows_every_level(fault: Fault, bank: Bank, rows: Rows) -> None:
    picture = draw_strips(rows, fault, seeded())
    assert picture == draw_strips(rows, fault, seeded())
    pixels = np.array(Image.open(io.BytesIO(picture)))
    assert pixels.shape == (7 * 9, 10 * 9)
    lines = [line.tobytes() for line in np.split(pixels, 7)]
    assert len(set(lines)) > 3
    first = pixels[:8].reshape(8, 10, 9)[:, :, :8].transpose(1, 0, 2)
    assert {tile.tobytes() for tile in first} <= contents(bank[0][: len(bank[2]["pool"])])


def test_features_have_no_strip(bank: Bank) -> None:
    design = measurements.Design(N, 1, 1, 0, faults=("blur", "gaussian"), metrics=())
    session = measurements.Session(design, measurements.Bank(*bank, features={}), {})
    assert set(draw_all_strips(session)) == {"blur.png"}
