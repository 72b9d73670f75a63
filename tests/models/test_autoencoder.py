from typing import Any

import pytest
import torch
from sklearn.mixture import GaussianMixture
from torch import Tensor

from models.autoencoder import Autoencoder
from models.base import Step
from models.networks.density import GENERATION, Density
from models.vae import VAE


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def two_clusters(n: int) -> Tensor:
    """Correlated codes about (5, 0) and, three times as many, (-5, 2)."""
    factor = torch.tensor([[1.0, 0.0], [0.8, 0.6]])
    codes = torch.randn(n, 2, generator=seeded(1)) @ factor.T
    centres = torch.tensor([[5.0, 0.0], [-5.0, 2.0]])
    return codes + centres[(torch.arange(n) % 4 > 0).long()]


def test_error_is_summed_over_pixels_and_averaged_over_images() -> None:
    model = Autoencoder(Autoencoder.Config(hidden=(8,), latent=3), (1, 8, 8)).eval()
    x = torch.rand(5, 1, 8, 8)
    expected = (model.reconstruct(x, seeded()) - x).square().sum() / 5
    torch.testing.assert_close(model.error(Step(x, None, seeded(), 0)), expected)


def test_a_mixture_has_the_moments_of_the_codes_it_is_fitted_to() -> None:
    codes = two_clusters(4000)
    mixture = Density("mixture", 2, 2)
    mixture.fit(codes, seed=0)
    assert mixture.weights.sort().values.tolist() == pytest.approx([0.25, 0.75], abs=0.01)
    drawn = mixture.sample(20_000, seeded(2))
    torch.testing.assert_close(drawn.mean(0), codes.mean(0), atol=0.15, rtol=0)
    torch.testing.assert_close(drawn.T.cov(), codes.T.cov(), atol=0.5, rtol=0)
    right = drawn[drawn[:, 0] > 0]
    assert right.T.corrcoef()[0, 1].item() == pytest.approx(0.8, abs=0.03)


def test_an_unfitted_density_is_the_standard_normal() -> None:
    drawn = Density("mixture", 3, 2).sample(20_000, seeded())
    torch.testing.assert_close(drawn.mean(0), torch.zeros(2), atol=0.03, rtol=0)
    torch.testing.assert_close(drawn.T.cov(), torch.eye(2), atol=0.03, rtol=0)


def test_no_more_components_than_the_codes_support() -> None:
    mixture = Density("mixture", 10, 2)
    mixture.fit(torch.randn(7, 2, generator=seeded()), seed=0)
    assert (mixture.weights > 0).sum() == 2
    assert mixture.sample(50, seeded()).isfinite().all()


DIGITS = torch.randint(0, 256, (100, 1, 8, 8), dtype=torch.uint8, generator=seeded())


def build(kind: type[Autoencoder] | type[VAE], density: str) -> Autoencoder | VAE:
    torch.manual_seed(0)
    return kind(kind.Config(hidden=(8,), latent=3, density=density, components=4), (1, 8, 8)).eval()


@pytest.mark.parametrize("kind", [Autoencoder, VAE])
@pytest.mark.parametrize(("density", "components"), [("prior", 0), ("normal", 1), ("mixture", 4)])
@torch.no_grad()
def test_finish_fits_every_density_but_the_prior(kind: Any, density: str, components: int) -> None:
    model = build(kind, density)
    before = model.sample(20, seeded())
    model.finish(DIGITS, seeded())
    assert (model.density.means.any(1).sum()) == components
    assert torch.equal(model.sample(20, seeded()), before) == (density == "prior")
    assert model.generation == GENERATION[density]


@torch.no_grad()
def test_a_vaes_density_is_fitted_to_codes_drawn_from_its_posterior() -> None:
    model = build(VAE, "normal")
    many = DIGITS.repeat(50, 1, 1, 1)
    model.finish(many, seeded())
    μ, log_σ2 = model.encoder(many.float() / 255).chunk(2, dim=1)
    spread = model.density.factors[0] @ model.density.factors[0].T
    expected = μ.T.cov() + log_σ2.exp().mean(0).diag()
    torch.testing.assert_close(spread, expected, atol=0.1, rtol=0.1)


@pytest.mark.parametrize("kind", [Autoencoder, VAE])
@torch.no_grad()
def test_one_training_serves_every_density(kind: Any) -> None:
    """Its weights hold nothing that was fitted after training."""
    fitted, prior = build(kind, "mixture"), build(kind, "prior")
    weights = {name: value.clone() for name, value in fitted.state_dict().items()}
    fitted.finish(DIGITS, seeded())
    assert all(torch.equal(value, weights[name]) for name, value in fitted.state_dict().items())
    prior.load_state_dict(fitted.state_dict())


def test_the_density_of_a_mixture_is_sklearns() -> None:
    codes = two_clusters(400)
    mixture = Density("mixture", 3, 2)
    mixture.fit(codes, seed=0)
    fitted = GaussianMixture(3, random_state=0, reg_covar=1e-4, tol=1e-2).fit(
        codes.double().numpy()
    )
    expected = torch.from_numpy(fitted.score_samples(codes.double().numpy())).float()
    torch.testing.assert_close(mixture.log_prob(codes), expected, atol=1e-3, rtol=1e-4)


def test_unused_components_have_no_density() -> None:
    mixture = Density("mixture", 10, 2)
    mixture.fit(two_clusters(7), seed=0)
    z = two_clusters(7).requires_grad_()
    log_prob = mixture.log_prob(z)
    (slope,) = torch.autograd.grad(log_prob.sum(), z)
    assert log_prob.isfinite().all()
    assert slope.isfinite().all()


def test_the_density_of_an_unfitted_mixture_is_standard_normal() -> None:
    z = torch.randn(5, 2, generator=seeded())
    expected = torch.distributions.Normal(0, 1).log_prob(z).sum(1)
    torch.testing.assert_close(Density("mixture", 3, 2).log_prob(z), expected)
