import pytest
import torch
from torch import Tensor, nn

from models.base import Step
from models.cyclegan import CycleGAN, Past

SHAPE = (1, 8, 8)


def tiny(**settings: float) -> CycleGAN:
    torch.manual_seed(0)
    return CycleGAN(CycleGAN.Config(width=4, critic_width=4, blocks=1, **settings), SHAPE)


def round_of(images: Tensor, source: Tensor | None, step: int = 0, seed: int = 0) -> Step:
    return Step(images, source, torch.Generator().manual_seed(seed), step)


class Constant(nn.Module):
    """An image or a score of one value, whatever comes in; its gradient is none of the input's."""

    def __init__(self, value: float, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.value = nn.Parameter(torch.tensor(value))
        self.size = shape

    def forward(self, x: Tensor) -> Tensor:
        return self.value.expand(len(x), *self.size)


def test_losses_of_constant_networks_by_hand() -> None:
    model = tiny(cycle=10, identity=0.5)
    model.G, model.F = Constant(0.0, SHAPE), Constant(0.0, SHAPE)  # grey: sigmoid(0) = 1/2
    model.D_X, model.D_Y = Constant(0.25, (1,)), Constant(0.75, (1,))
    play = round_of(torch.full((3, *SHAPE), 0.9), torch.full((3, *SHAPE), 0.2))
    adversarial = (0.25 - 1) ** 2 + (0.75 - 1) ** 2
    cycle = 10 * (abs(0.5 - 0.2) + abs(0.5 - 0.9))
    identity = 5 * (abs(0.5 - 0.2) + abs(0.5 - 0.9))
    assert model.generate(play).item() == pytest.approx(adversarial + cycle + identity, rel=1e-5)
    halves = ((0.25 - 1) ** 2 + 0.25**2) / 2 + ((0.75 - 1) ** 2 + 0.75**2) / 2
    assert model.discriminate(play).item() == pytest.approx(halves, rel=1e-5)


def test_generation_goes_from_source_to_target_and_the_cycle_back() -> None:
    model = tiny().eval()
    x, rng = torch.rand(4, *SHAPE), torch.Generator()
    with torch.no_grad():
        assert torch.equal(model.sample(4, rng, x), model.forward(x))
        assert torch.equal(model.reconstruct(x, rng), model.forward(model.backward(x)))
        there, back = model.translate(x)
        assert torch.equal(back, model.backward(there))


def test_fewer_sources_than_samples_are_refused() -> None:
    with pytest.raises(ValueError, match="needs 5 source images"):
        tiny().sample(5, torch.Generator(), torch.rand(4, *SHAPE))


def fakes(step: int, n: int = 10) -> Tensor:
    """Images whose pixels say in which step they were made."""
    return torch.full((n, *SHAPE), float(step))


def test_the_first_exchange_fills_the_buffer_and_gives_its_own_back() -> None:
    past = Past(4, SHAPE)
    given = past.exchange(fakes(7), round_of(fakes(7), None))
    assert torch.equal(given, fakes(7))
    assert torch.equal(past.images, fakes(7, 4))


def test_half_of_the_images_come_from_the_buffer_and_none_is_lost() -> None:
    past = Past(50, SHAPE)
    past.exchange(fakes(0), round_of(fakes(0), None))
    old = []
    for step in range(1, 201):
        held = past.images.clone()
        given = past.exchange(fakes(step), round_of(fakes(step), None, step, seed=step))
        assert given.shape == (10, *SHAPE)
        assert past.images.shape == (50, *SHAPE)
        before = torch.cat([held, fakes(step)])[:, 0, 0, 0].sort().values
        after = torch.cat([past.images, given])[:, 0, 0, 0].sort().values
        assert torch.equal(before, after)
        old.append((given[:, 0, 0, 0] < step).float().mean().item())
    assert sum(old) / len(old) == pytest.approx(0.5, abs=0.05)


def test_a_batch_larger_than_the_buffer_passes_through_in_full() -> None:
    past = Past(4, SHAPE)
    past.exchange(fakes(0), round_of(fakes(0), None))
    given = past.exchange(fakes(1), round_of(fakes(1), None, 1))
    assert given.shape == (10, *SHAPE)
    assert torch.equal(given[4:], fakes(1, 6))


def test_the_buffer_belongs_to_the_checkpoint() -> None:
    model = tiny(buffer=6)
    assert model.state_dict()["past_X.images"].shape == (6, *SHAPE)
