import pytest
import torch

from metrics import (
    frechet_distance,
    inception_score,
    train_classifier,
)
from metrics.extractors import classifier as module


def few(n: int = 24, side: int = 8, channels: int = 1) -> tuple[torch.Tensor, torch.Tensor]:
    rng = torch.Generator().manual_seed(n)
    images = torch.randint(0, 256, (n, channels, side, side), generator=rng).to(torch.uint8)
    return images, torch.arange(n) % 3


@pytest.fixture
def short(monkeypatch):
    """A few steps are enough where learning is not the matter."""
    monkeypatch.setattr(module, "STEPS", 8)


def accuracy(classifier, images, labels):
    return (classifier(images).logits.argmax(dim=1) == labels).double().mean().item()


@pytest.mark.slow
def test_learns_digits(classifier, digits):
    images, labels = digits
    assert accuracy(classifier, images[700:], labels[700:]) > 0.96


@pytest.mark.slow
def test_is_about_as_sure_as_it_is_right(classifier, digits):
    images, labels = digits
    logits = classifier(images[700:]).logits
    sure = logits.softmax(dim=1).amax(dim=1).mean().item()
    assert sure == pytest.approx(accuracy(classifier, images[700:], labels[700:]), abs=0.02)


@pytest.mark.slow
def test_its_features_all_vary_and_tell_digits_from_noise(classifier, digits):
    real = classifier(digits[0][700:])
    deviations = real.features.std(dim=0)
    assert deviations.min() > 0.2 * deviations.max()
    noise = torch.randint(0, 256, (500, 1, 8, 8), generator=torch.Generator().manual_seed(0))
    fake = classifier(noise.to(torch.uint8))
    floor = frechet_distance(real.features[::2], real.features[1::2])
    assert frechet_distance(real.features, fake.features) > 20 * floor
    assert inception_score(real.logits, splits=1).inception_score > 9
    assert inception_score(fake.logits, splits=1).inception_score < 4


@pytest.mark.parametrize("size", [(1, 8), (3, 16), (1, 28), (3, 64)])
def test_takes_any_size(short, size):
    channels, side = size
    images, labels = few(side=side, channels=channels)
    extractor = train_classifier(images, labels, classes=3)
    features, logits = extractor(images)
    assert features.shape == (24, 64)
    assert logits.shape == (24, 3)


def test_is_a_function_of_its_arguments_bit_for_bit(short):
    images, labels = few()
    torch.manual_seed(1)
    first = train_classifier(images, labels, classes=3)
    torch.manual_seed(2)
    again = train_classifier(images, labels, classes=3)
    other = train_classifier(images, labels, classes=3, seed=1)
    assert str(first) == str(again) != str(other)
    assert torch.equal(first(images).features, again(images).features)


def test_leaves_random_state_and_threads_alone(short):
    state, threads = torch.get_rng_state(), torch.get_num_threads()
    train_classifier(*few(), classes=3)
    assert torch.equal(state, torch.get_rng_state())
    assert threads == torch.get_num_threads()


def test_trains_where_gradients_are_off(short):
    with torch.no_grad():
        off = train_classifier(*few(), classes=3)
    assert off.hash == train_classifier(*few(), classes=3).hash


@pytest.mark.parametrize(
    ("images", "labels", "classes", "words"),
    [
        (few()[0].float(), few()[1], 3, "uint8"),
        (few(channels=2)[0], few()[1], 3, "C = 1 or 3"),
        (few()[0], few()[1][:5], 3, "label each"),
        (few()[0], few()[1], 2, r"labels in \[0, 2\]"),
        (few()[0], few()[1] * 0, 1, "2 or more classes"),
        (few()[0], few()[1] - 1, 3, r"\[-1, 1\]"),
    ],
)
def test_what_cannot_be_learnt_is_an_error(images, labels, classes, words):
    with pytest.raises(ValueError, match=words):
        train_classifier(images, labels, classes=classes)
