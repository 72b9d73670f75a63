import math
from dataclasses import dataclass

import pytest
import torch
from draws import normal
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.distributions import MultivariateNormal, kl_divergence

from metrics.likelihood import (
    Annealing,
    annealed_importance_sampling,
    bidirectional_monte_carlo,
    bits_per_dimension,
    dequantise,
    deviation_curve,
    evidence_bound,
    importance_bound,
    power_schedule,
    select_deviation,
)

SHAPE = (1, 3, 4)
PIXELS = 12
NOISE = 0.15


@dataclass
class Linear:
    """x = c W + b + noise, the codes c of a mixture of Gaussians about `centres`.

    With one component this is probabilistic principal component analysis; the likelihood is known.
    """

    spread: Tensor
    centres: Tensor
    weight: Tensor

    @property
    def dimension(self) -> int:
        return len(self.weight)

    def decode(self, z: Tensor) -> Tensor:
        return (z @ self.weight + 0.5).view(-1, *SHAPE)

    def sample(self, n: int, rng: torch.Generator) -> Tensor:
        which = torch.randint(len(self.centres), (n,), generator=rng)
        noise = torch.randn(n, self.dimension, generator=rng, dtype=torch.float64)
        return self.centres[which] + self.spread * noise

    def log_prob(self, z: Tensor) -> Tensor:
        offsets = (z[..., None, :] - self.centres) / self.spread
        parts = offsets.square().sum(-1) / -2 - (math.sqrt(2 * math.pi) * self.spread).log().sum()
        return parts.logsumexp(-1) - math.log(len(self.centres))

    def evidence(self, images: Tensor, deviation: float = NOISE) -> Tensor:
        """The exact log-likelihood."""
        axes = self.spread[:, None] * self.weight
        covariance = axes.T @ axes + deviation**2 * torch.eye(PIXELS, dtype=torch.float64)
        means = self.centres @ self.weight + 0.5
        parts = MultivariateNormal(means, covariance).log_prob(images.flatten(1)[:, None])
        return parts.logsumexp(1) - math.log(len(means))

    def posterior(self, images: Tensor) -> MultivariateNormal:
        """That of the codes where there is one component, standard normal."""
        precision = torch.eye(self.dimension) + self.weight @ self.weight.T / NOISE**2
        means = (images.flatten(1) - 0.5) @ self.weight.T / NOISE**2 @ precision.inverse()
        return MultivariateNormal(means, precision_matrix=precision)

    def simulate(self, n: int, seed: int = 5) -> Tensor:
        codes = self.sample(n, seeded(seed))
        return self.decode(codes) + NOISE * normal(n, *SHAPE, seed=seed + 1)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def plain(dimension: int = 2) -> Linear:
    zeros = torch.zeros(1, dimension, dtype=torch.float64)
    return Linear(torch.ones_like(zeros[0]), zeros, 0.2 * normal(dimension, PIXELS))


def clustered() -> Linear:
    """Two far clusters, whose codes vary a hundred times more along one axis than the other."""
    centres = torch.tensor([[-30.0, 0.1], [30.0, 0.0]], dtype=torch.float64)
    spread = torch.tensor([10.0, 0.1], dtype=torch.float64)
    return Linear(spread, centres, torch.stack([normal(PIXELS) / 100, normal(PIXELS, seed=1)]))


def standard_error(values: Tensor) -> float:
    return values.std().item() / math.sqrt(len(values))


@pytest.mark.parametrize("model", [plain(), clustered()], ids=["plain", "clustered"])
def test_annealing_finds_the_exact_likelihood(model):
    images = model.simulate(80)
    found = annealed_importance_sampling(images, model, NOISE, seeded(), Annealing(120, 8, 5)).ais
    errors = found - model.evidence(images)
    assert found.dtype == torch.float64
    assert -0.3 < errors.mean() < 3 * standard_error(errors)


def test_the_estimate_of_the_likelihood_is_unbiased_however_short_the_way():
    """Steps that followed the acceptance of the chains that count would bias it."""
    model = plain(1)
    images = model.simulate(1).expand(600, -1, -1, -1)
    found = annealed_importance_sampling(images, model, NOISE, seeded(), Annealing(12, 2, 3)).ais
    ratios = (found - model.evidence(images)).exp()
    assert ratios.std() > 0.3
    assert ratios.mean().item() == pytest.approx(1, abs=3 * standard_error(ratios))


@pytest.mark.slow
def test_longer_ways_come_nearer_to_the_likelihood():
    model = plain(3)
    images = model.simulate(60)
    errors = [
        annealed_importance_sampling(images, model, NOISE, seeded(), Annealing(count, 2, 5)).ais
        - model.evidence(images)
        for count in (10, 40, 160)
    ]
    means = [error.mean().item() for error in errors]
    assert means[0] < means[1] - 1 < means[2] - 1


@pytest.mark.parametrize(
    "model",
    [
        pytest.param(plain(), id="plain"),
        pytest.param(clustered(), id="clustered", marks=pytest.mark.slow),
    ],
)
def test_the_bounds_bracket_the_expected_likelihood(model):
    images = torch.zeros(300, *SHAPE, dtype=torch.float64)
    found = bidirectional_monte_carlo(images, model, NOISE, seeded(), Annealing(60, 2, 5))
    truth = model.evidence(model.simulate(20_000))
    reach = 3 * standard_error(found.lower)
    assert found.lower.mean() < truth.mean() + reach
    assert found.upper.mean() > truth.mean() - reach
    assert torch.equal(found.bdmc_gap, found.upper - found.lower)
    assert 3 * standard_error(found.bdmc_gap) < found.bdmc_gap.mean() < 3


def test_a_decoder_that_ignores_its_code_is_measured_exactly():
    model = Linear(*(plain().spread, plain().centres, torch.zeros(2, PIXELS, dtype=torch.float64)))
    images = model.simulate(5)
    found = annealed_importance_sampling(images, model, NOISE, seeded(), Annealing(5, 2, 2))
    torch.testing.assert_close(found.ais, model.evidence(images))
    bracket = bidirectional_monte_carlo(images, model, NOISE, seeded(), Annealing(5, 2, 2))
    torch.testing.assert_close(bracket.bdmc_gap, torch.zeros(5, dtype=torch.float64))


@pytest.mark.slow
def test_one_annealing_gives_the_likelihood_under_every_larger_deviation():
    model = plain()
    images = model.simulate(60)
    deviations, curve = deviation_curve(images, model, 0.05, seeded(), Annealing(200, 4, 5))
    assert deviations[-1].item() == pytest.approx(0.05)
    assert (deviations.diff() < 0).all()
    for place in range(10, 199, 20):
        truth = model.evidence(images, deviations[place].item()).mean()
        assert -0.6 < curve[place].mean() - truth < 0.05


def test_the_selected_deviation_is_that_of_the_data():
    model = plain()
    found = select_deviation(model.simulate(100), model, seeded(), Annealing(150, 4, 5))
    assert found == pytest.approx(NOISE, rel=0.06)


def test_a_decoder_with_cliffs_does_not_break_the_chains():
    class Cliff(Linear):
        def decode(self, z):
            return super().decode(z) + (50 * z[:, :1, None, None]).exp()

    images = plain().simulate(4)
    model = Cliff(*vars(plain()).values())
    found = annealed_importance_sampling(images, model, NOISE, seeded(), Annealing(30, 2, 5)).ais
    assert found.isfinite().all()


def test_single_precision_is_enough():
    class Single(Linear):
        def sample(self, n, rng):
            return super().sample(n, rng).float()

        def decode(self, z):
            return super().decode(z.double()).float()

        def log_prob(self, z):
            return super().log_prob(z.double()).float()

    images = plain().simulate(60)
    model = Single(*vars(plain()).values())
    annealing = Annealing(100, 8, 5)
    found = annealed_importance_sampling(images.float(), model, NOISE, seeded(), annealing).ais
    assert (found - plain().evidence(images)).mean().abs() < 0.4


def test_annealing_follows_from_its_generator_and_leaves_all_else_alone():
    model, images = plain(), plain().simulate(3)
    before, state = images.clone(), torch.get_rng_state()
    with torch.no_grad():
        first, again, other = (
            annealed_importance_sampling(
                images, model, NOISE, seeded(seed), Annealing(10, 2, 2)
            ).ais
            for seed in (0, 0, 1)
        )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(images, before)
    assert torch.equal(torch.get_rng_state(), state)
    assert not first.requires_grad


def test_bounds_of_a_wrong_proposal_lie_below_the_likelihood_as_far_as_they_must():
    model = plain()
    images = model.simulate(40)
    exact = model.posterior(images)
    wrong = MultivariateNormal(exact.mean + 0.1, 2 * exact.covariance_matrix)
    torch.manual_seed(0)
    z = wrong.sample((5000,))
    copies = model.decode(z.flatten(0, 1)).view(5000, *images.shape)
    likelihood = torch.distributions.Normal(copies, NOISE).log_prob(images).flatten(2).sum(2)
    log_weights = (likelihood + model.log_prob(z) - wrong.log_prob(z)).T
    truth = model.evidence(images)
    elbo, iwae = evidence_bound(log_weights), importance_bound(log_weights)
    gaps = kl_divergence(wrong, exact)
    torch.testing.assert_close(elbo, truth - gaps, atol=0.1, rtol=0)
    torch.testing.assert_close(iwae, truth, atol=0.1, rtol=0)
    assert (elbo < iwae).all()
    assert gaps.min() > 0.2


@given(
    st.lists(st.lists(st.floats(-2000, 2000), min_size=4, max_size=4), min_size=1, max_size=5),
    st.floats(-1e4, 1e4),
)
def test_order_and_shift_of_the_bounds(rows, shift):
    log_weights = torch.tensor(rows, dtype=torch.float64)
    elbo, iwae = evidence_bound(log_weights), importance_bound(log_weights)
    halves = (importance_bound(log_weights[:, :2]) + importance_bound(log_weights[:, 2:])) / 2
    assert (elbo <= halves + 1e-9).all()
    assert (halves <= iwae + 1e-9).all()
    assert (iwae <= log_weights.amax(1) + 1e-9).all()
    torch.testing.assert_close(importance_bound(log_weights + shift), iwae + shift)


def test_bounds_by_hand():
    log_weights = torch.tensor([[math.log(1), math.log(3)], [-1000.0, -1000.0]])
    assert importance_bound(log_weights).tolist() == pytest.approx([math.log(2), -1000])
    assert evidence_bound(log_weights).tolist() == pytest.approx([math.log(3) / 2, -1000])


def test_bits_of_known_codes():
    uniform, one_cell = torch.zeros(1), torch.tensor([10 * math.log(256)])
    assert bits_per_dimension(uniform, 10).item() == pytest.approx(8)
    assert bits_per_dimension(one_cell, 10).item() == pytest.approx(0, abs=1e-6)
    assert bits_per_dimension(uniform, 10, levels=2).item() == pytest.approx(1)


def test_annealing_gives_its_likelihood_in_bits_too():
    model, images = plain(), plain().simulate(3)
    found = annealed_importance_sampling(images, model, NOISE, seeded(), Annealing(10, 2, 2))
    assert torch.equal(found.bits_per_dimension, bits_per_dimension(found.ais, PIXELS))


def test_dequantised_images_fill_the_cells_of_their_values():
    values = torch.arange(256).float().repeat(50).view(50, 1, 16, 16)
    spread = 256 * dequantise(values / 255, seeded())
    assert torch.equal(spread.floor(), values)
    assert (spread - values).mean().item() == pytest.approx(0.5, abs=0.01)


def test_the_schedule_rises_from_0_to_1_in_growing_steps():
    powers = torch.tensor(power_schedule(101), dtype=torch.float64)
    assert powers[[0, 50, 100]].tolist() == pytest.approx([0, 1 / 16, 1])
    assert powers[1] > 0
    assert (powers.diff().diff() > 0).all()


def test_bad_input_is_refused():
    model, images = plain(), plain().simulate(2)
    for wrong in (images[0], (255 * images).to(torch.uint8), images / 0):
        with pytest.raises(ValueError, match="finite floats"):
            annealed_importance_sampling(wrong, model, NOISE, seeded())
    with pytest.raises(ValueError, match="deviation must be positive"):
        bidirectional_monte_carlo(images, model, 0.0, seeded())
    with pytest.raises(ValueError, match="2 or more distributions"):
        Annealing(distributions=1)
    for weights in (torch.zeros(3), torch.full((2, 2), math.nan)):
        with pytest.raises(ValueError, match="log weights must be finite"):
            importance_bound(weights)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_annealing_runs_on_cuda():
    class Moved(Linear):
        def sample(self, n, rng):
            return torch.randn(n, 2, generator=rng, device="cuda", dtype=torch.float64)

    model = Moved(*(part.cuda() for part in vars(plain()).values()))
    images = plain().simulate(60)
    rng = torch.Generator("cuda").manual_seed(0)
    found = annealed_importance_sampling(images.cuda(), model, NOISE, rng, Annealing(150, 8, 6)).ais
    assert (found.cpu() - plain().evidence(images)).mean().abs() < 0.4
