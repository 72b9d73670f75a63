from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.distributions import Bernoulli, Independent, Normal, kl_divergence

from models.base import Step
from models.vae import VAE

SHAPE = (1, 8, 8)


class Fixed(nn.Module):
    """Returns the same row for every input."""

    def __init__(self, row: Tensor) -> None:
        super().__init__()
        self.row = row

    def forward(self, x: Tensor) -> Tensor:
        return self.row.expand(len(x), *self.row.shape)


def vae(**settings: Any) -> VAE:
    torch.manual_seed(0)
    return VAE(VAE.Config(hidden=(8,), latent=3, **settings), SHAPE).eval()


def seeded() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def test_kl_is_that_of_the_posterior_and_its_weight_is_beta() -> None:
    μ, log_σ2 = torch.tensor([0.5, -1.0, 2.0]), torch.tensor([0.0, -2.0, 1.0])
    expected = kl_divergence(Normal(μ, (log_σ2 / 2).exp()), Normal(0, 1)).sum()
    x = torch.rand(6, *SHAPE)
    losses = {}
    for beta in (0, 1, 4):
        model = vae(beta=beta)
        model.encoder, model.decoder = Fixed(torch.cat([μ, log_σ2])), Fixed(torch.zeros(SHAPE))
        losses[beta] = model.negative_elbo(Step(x, None, seeded(), 0))
    torch.testing.assert_close(losses[1] - losses[0], expected, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(losses[4] - losses[0], 4 * expected, rtol=1e-4, atol=1e-4)


def test_bernoulli_likelihood_is_torchs() -> None:
    logits, x = torch.randn(4, *SHAPE), torch.randint(0, 2, (4, *SHAPE)).float()
    expected = -Independent(Bernoulli(logits=logits), 3).log_prob(x)
    torch.testing.assert_close(vae().cost(logits, x), expected)


def test_gaussian_likelihood_is_torchs() -> None:
    logits, x = torch.randn(4, *SHAPE), torch.rand(4, *SHAPE)
    expected = -Independent(Normal(logits.sigmoid(), 0.3), 3).log_prob(x)
    torch.testing.assert_close(vae(likelihood="gaussian", sigma=0.3).cost(logits, x), expected)


def test_codes_have_the_posteriors_mean_and_deviation() -> None:
    μ, σ = torch.tensor([0.5, -1.0, 2.0]), torch.tensor([0.1, 1.0, 2.0])
    model, seen = vae(), []
    model.encoder = Fixed(torch.cat([μ, 2 * σ.log()]))
    model.decoder = nn.Sequential(nn.Identity(), nn.Linear(3, 64), nn.Unflatten(1, SHAPE))
    model.decoder[0].register_forward_hook(lambda module, inputs, output: seen.append(output))
    model.negative_elbo(Step(torch.rand(20_000, *SHAPE), None, seeded(), 0))
    torch.testing.assert_close(seen[0].mean(0), μ, atol=0.05, rtol=0)
    torch.testing.assert_close(seen[0].std(0), σ, atol=0.05, rtol=0)


@torch.no_grad()
def test_reconstruction_decodes_the_posteriors_mean() -> None:
    model = vae()
    x = torch.rand(3, *SHAPE)
    μ = model.encoder(x)[:, :3]
    assert torch.equal(model.reconstruct(x, seeded()), model.decode(μ))


def ignorant(likelihood: str) -> tuple[VAE, Tensor, torch.distributions.Distribution]:
    """A model whose decoder ignores the code, its exact log-likelihood and its posterior."""
    μ, log_σ2 = torch.tensor([0.2, -0.3, 0.0]), torch.tensor([-0.2, 0.1, -0.1])
    model, logits = vae(likelihood=likelihood, sigma=0.3), torch.randn(SHAPE)
    model.encoder, model.decoder = Fixed(torch.cat([μ, log_σ2])), Fixed(logits)
    return model, logits, Normal(μ, (log_σ2 / 2).exp())


@pytest.mark.parametrize("likelihood", ["bernoulli", "gaussian"])
def test_log_weights_average_to_the_likelihood_and_their_logs_to_the_bound(likelihood: str) -> None:
    model, logits, posterior = ignorant(likelihood)
    x = torch.rand(2, *SHAPE)
    log_weights = model.log_weights(x, 20_000, seeded())
    log_likelihood = -model.cost(logits.expand(2, *SHAPE), x).double()
    ratios = (log_weights - log_likelihood[:, None]).exp()
    torch.testing.assert_close(
        ratios.mean(1), torch.ones(2, dtype=torch.float64), atol=0.02, rtol=0
    )
    kl = kl_divergence(posterior, Normal(0, 1)).sum().double()
    torch.testing.assert_close(log_weights.mean(1), log_likelihood - kl, atol=0.02, rtol=0)


def test_only_a_gaussian_likelihood_fixes_the_observation() -> None:
    gaussian, bernoulli = vae(likelihood="gaussian", sigma=0.3), vae()
    assert gaussian.latent().deviation == 0.3
    assert bernoulli.latent().deviation is None
