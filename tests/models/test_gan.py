import math

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor, nn
from torch.nn import functional as F

from models.base import Step
from models.gan import GAN, LOSSES, Loss

REAL, FAKE = torch.tensor([2.0, -1.0]), torch.tensor([0.5, -3.0])


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


CROSS_ENTROPY = -sum(math.log(sigmoid(x)) for x in (2.0, -1.0)) / 2
CROSS_ENTROPY -= sum(math.log(1 - sigmoid(x)) for x in (0.5, -3.0)) / 2


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("minimax", CROSS_ENTROPY),
        ("nonsaturating", CROSS_ENTROPY),
        ("least_squares", ((1 + 4) / 2 + (0.25 + 9) / 2) / 2),
        ("hinge", (0 + 2) / 2 + (1.5 + 0) / 2),
        ("wasserstein", -2.5 / 2 - 1 / 2),
    ],
)
def test_discriminator_losses_by_hand(name: str, expected: float) -> None:
    assert LOSSES[name].discriminator(REAL, FAKE).item() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("minimax", sum(math.log(1 - sigmoid(x)) for x in (0.5, -3.0)) / 2),
        ("nonsaturating", -sum(math.log(sigmoid(x)) for x in (0.5, -3.0)) / 2),
        ("least_squares", (0.25 + 16) / 2 / 2),
        ("hinge", 2.5 / 2),
        ("wasserstein", 2.5 / 2),
    ],
)
def test_generator_losses_by_hand(name: str, expected: float) -> None:
    assert LOSSES[name].generator(None, FAKE).item() == pytest.approx(expected, rel=1e-6)


def test_every_loss_is_a_choice_and_nothing_else_is() -> None:
    for name in LOSSES:
        assert GAN.Config(loss=name).loss == name
    with pytest.raises(ValidationError, match="least_squares"):
        GAN.Config(loss="wassertein")


def test_a_relativistic_loss_sees_the_logits_of_real_images(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Jolicoeur-Martineau 2019, eq. 11: each side's logits are compared with the other's."""
    relativistic = Loss(
        lambda real, fake: F.softplus(fake - real).mean(),
        lambda real, fake: F.softplus(real - fake).mean(),
        relativistic=True,
    )
    monkeypatch.setitem(LOSSES, "hinge", relativistic)
    gan = GAN(GAN.Config(loss="hinge", hidden=(8,)), (1, 8, 8))
    play = Step(torch.rand(4, 1, 8, 8), None, torch.Generator().manual_seed(0), 0)
    losses = gan.discriminate(play), gan.generate(play)
    real, fake = gan.D(play.images), gan.D(play.memo["fakes"])
    expected = F.softplus(fake - real).mean(), F.softplus(real - fake).mean()
    torch.testing.assert_close(losses, expected)


class Linear(nn.Module):
    """D(x) = w · x, whose gradient is w everywhere."""

    def __init__(self, w: Tensor) -> None:
        super().__init__()
        self.w = nn.Parameter(w)

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1) @ self.w[:, None]


def losses_of_linear_critic(**settings: float) -> tuple[float, float]:
    """The discriminator's loss with penalties and without, where ‖w‖ is 3."""
    plain = {"gradient_penalty": 0, "r1": 0}
    found = []
    for chosen in (plain | settings, plain):
        torch.manual_seed(0)
        gan = GAN(GAN.Config(loss="wasserstein", hidden=(8,), **chosen), (1, 8, 8))
        w = torch.randn(64)
        gan.D = Linear(3 * w / w.norm())
        play = Step(torch.rand(16, 1, 8, 8), None, torch.Generator().manual_seed(1), 0)
        found.append(gan.discriminate(play).item())
    return found[0], found[1]


def test_gradient_penalty_of_a_linear_critic() -> None:
    penalised, plain = losses_of_linear_critic(gradient_penalty=10)
    assert penalised - plain == pytest.approx(10 * (3 - 1) ** 2, rel=1e-4)


def test_r1_of_a_linear_critic() -> None:
    penalised, plain = losses_of_linear_critic(r1=5)
    assert penalised - plain == pytest.approx(5 / 2 * 3**2, rel=1e-4)


def test_unset_hyper_parameters_are_those_of_the_losses_paper() -> None:
    critic, generator = GAN(GAN.Config(loss="wasserstein"), (1, 8, 8)).players()
    assert (critic.updates, generator.updates) == (5, 1)
    assert critic.optimizer.betas == (0.0, 0.9)
    own = GAN(GAN.Config(loss="wasserstein", critic_updates=2, lr=0.5), (1, 8, 8)).players()
    assert (own[0].updates, own[0].optimizer.lr) == (2, 0.5)


def test_no_batch_statistics_in_a_critic_with_gradient_penalty() -> None:
    critics = {
        loss: GAN(GAN.Config(loss=loss, backbone="conv", width=4), (1, 8, 8)).D
        for loss in ("nonsaturating", "wasserstein")
    }
    batch = {
        loss: any(isinstance(m, nn.BatchNorm1d | nn.BatchNorm2d) for m in critic.modules())
        for loss, critic in critics.items()
    }
    assert batch == {"nonsaturating": True, "wasserstein": False}


@pytest.mark.parametrize("settings", [{"backbone": "conv"}, {"discriminator_norm": "batch"}])
def test_batch_statistics_of_real_and_generated_images_are_kept_apart(
    settings: dict[str, str],
) -> None:
    torch.manual_seed(0)
    gan = GAN(GAN.Config(width=4, hidden=(8,), **settings), (1, 8, 8)).train()
    assert any(isinstance(m, nn.BatchNorm1d | nn.BatchNorm2d) for m in gan.D.modules())
    play = Step(torch.rand(16, 1, 8, 8), None, torch.Generator().manual_seed(0), 0)
    fake = play.once("fakes", lambda: torch.rand(16, 1, 8, 8) / 4)
    expected = LOSSES["nonsaturating"].discriminator(gan.D(play.images), gan.D(fake)).item()
    mixed = gan.D(torch.cat([play.images, fake])).chunk(2)
    assert LOSSES["nonsaturating"].discriminator(*mixed).item() != pytest.approx(expected, rel=1e-3)
    assert gan.players()[0].loss(play).item() == pytest.approx(expected, rel=1e-5)


def test_both_players_judge_the_same_fakes_and_only_their_own_side_learns() -> None:
    gan = GAN(GAN.Config(hidden=(8,)), (1, 8, 8))
    play = Step(torch.rand(4, 1, 8, 8), None, torch.Generator().manual_seed(0), 0)
    loss = gan.discriminate(play)
    assert not any(
        g is not None
        for g in torch.autograd.grad(loss, list(gan.G.parameters()), allow_unused=True)
    )
    before = play.memo["fakes"]
    gan.generate(play)
    assert play.memo["fakes"] is before


@torch.no_grad()
def test_inversion_finds_a_generated_image_again() -> None:
    torch.manual_seed(0)
    gan = GAN(GAN.Config(latent=8, hidden=(64,), inversion_steps=200), (1, 8, 8)).eval()
    truth = gan.decode(gan.noise(20, torch.Generator().manual_seed(7)))
    rng = torch.Generator().manual_seed(1)
    candidates = gan.decode(gan.noise(256, torch.Generator().manual_seed(1)))
    nearest = (truth[:, None] - candidates[None]).square().flatten(2).mean(2).min(1).values
    error = (gan.reconstruct(truth, rng) - truth).square().flatten(1).mean(1)
    assert (error < nearest).all()
    assert error.mean() < nearest.mean() / 20
