import pytest
import torch
from sklearn.mixture import GaussianMixture
from torch import Tensor

from models.autoencoder import Autoencoder
from models.density import Mixture
from models.game import Round


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
    torch.testing.assert_close(model.error(Round(x, None, seeded(), 0)), expected)


def test_a_mixture_has_the_moments_of_the_codes_it_is_fitted_to() -> None:
    codes = two_clusters(4000)
    mixture = Mixture(2, 2)
    mixture.fit(codes, seed=0)
    assert mixture.weights.sort().values.tolist() == pytest.approx([0.25, 0.75], abs=0.01)
    drawn = mixture.sample(20_000, seeded(2))
    torch.testing.assert_close(drawn.mean(0), codes.mean(0), atol=0.15, rtol=0)
    torch.testing.assert_close(drawn.T.cov(), codes.T.cov(), atol=0.5, rtol=0)
    right = drawn[drawn[:, 0] > 0]
    assert right.T.corrcoef()[0, 1].item() == pytest.approx(0.8, abs=0.03)


def test_an_unfitted_density_is_the_standard_normal() -> None:
    drawn = Mixture(3, 2).sample(20_000, seeded())
    torch.testing.assert_close(drawn.mean(0), torch.zeros(2), atol=0.03, rtol=0)
    torch.testing.assert_close(drawn.T.cov(), torch.eye(2), atol=0.03, rtol=0)


def test_no_more_components_than_the_codes_support() -> None:
    mixture = Mixture(10, 2)
    mixture.fit(torch.randn(7, 2, generator=seeded()), seed=0)
    assert (mixture.weights > 0).sum() == 2
    assert mixture.sample(50, seeded()).isfinite().all()


@pytest.mark.parametrize(("density", "fitted"), [("mixture", True), ("normal", False)])
@torch.no_grad()
def test_finish_fits_the_mixture_and_leaves_the_normal(density: str, fitted: bool) -> None:
    config = Autoencoder.Config(hidden=(8,), latent=3, density=density)
    model = Autoencoder(config, (1, 8, 8)).eval()
    model.finish(torch.randint(0, 256, (100, 1, 8, 8), dtype=torch.uint8), seeded())
    assert bool(model.density.means.any()) == fitted


def test_the_fitted_density_belongs_to_the_checkpoint() -> None:
    config = Autoencoder.Config(hidden=(8,), latent=3)
    models = [Autoencoder(config, (1, 8, 8)).eval() for _ in range(2)]
    with torch.no_grad():
        models[0].finish(torch.randint(0, 256, (100, 1, 8, 8), dtype=torch.uint8), seeded())
    models[1].load_state_dict(models[0].state_dict())
    assert torch.equal(models[0].sample(5, seeded()), models[1].sample(5, seeded()))


def test_the_density_of_a_mixture_is_sklearns() -> None:
    codes = two_clusters(400)
    mixture = Mixture(3, 2)
    mixture.fit(codes, seed=0)
    fitted = GaussianMixture(3, random_state=0, reg_covar=1e-4, tol=1e-2).fit(
        codes.double().numpy()
    )
    expected = torch.from_numpy(fitted.score_samples(codes.double().numpy())).float()
    torch.testing.assert_close(mixture.log_prob(codes), expected, atol=1e-3, rtol=1e-4)


def test_unused_components_have_no_density() -> None:
    mixture = Mixture(10, 2)
    mixture.fit(two_clusters(7), seed=0)
    z = two_clusters(7).requires_grad_()
    log_prob = mixture.log_prob(z)
    (slope,) = torch.autograd.grad(log_prob.sum(), z)
    assert log_prob.isfinite().all()
    assert slope.isfinite().all()


def test_the_density_of_an_unfitted_mixture_is_standard_normal() -> None:
    z = torch.randn(5, 2, generator=seeded())
    expected = torch.distributions.Normal(0, 1).log_prob(z).sum(1)
    torch.testing.assert_close(Mixture(3, 2).log_prob(z), expected)
