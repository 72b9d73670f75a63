"""Annealed importance sampling: the log-likelihood of images under a decoder with Gaussian noise.

Chains start at the prior and pass distributions p(z) p(x|z)^β with β rising from 0 to 1; at each,
one Hamiltonian trajectory moves them (Wu et al. 2017, eq. 5 and section 5.3.1).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

STATES = 1024
"""States annealed at a time, which bounds memory."""

ACCEPTANCE = 0.65
"""The share of trajectories to accept (Neal 2010, section 5.4.4.3; Wu et al. 2017, 5.3.1)."""

GAIN = 0.2
"""The gain by which the log step follows the acceptance at each transition."""


class DensityDecoder(Protocol):
    """A decoder with the density of its codes; codes are [n, dimension], all on one device."""

    @property
    def dimension(self) -> int:
        """The length of a code."""

    @property
    def decode(self) -> Callable[[Tensor], Tensor]:
        """Codes to images [n, C, H, W], differentiable."""

    @property
    def sample(self) -> Callable[[int, torch.Generator], Tensor]:
        """Draw n codes from the prior."""

    @property
    def log_prob(self) -> Callable[[Tensor], Tensor]:
        """The prior's normalised log density [n], differentiable."""


@dataclass(frozen=True)
class Annealing:
    """The amount of work; Wu et al. (2017, section 5.3.1) take 10,000, 16 and 10.

    For the same work, twice the distributions narrow the bounds more than twice the leapfrogs do.

    Attributes:
        distributions: how many lie on the way from prior to posterior, both included.
        chains: independent estimates that are averaged for each image.
        leapfrogs: steps of a Hamiltonian trajectory, of which there is one a distribution.
    """

    distributions: int = 1000
    chains: int = 4
    leapfrogs: int = 5

    def __post_init__(self) -> None:
        if self.distributions < 2 or self.chains < 1 or self.leapfrogs < 1:
            needed = "2 or more distributions, a chain and a leapfrog step"
            raise ValueError(f"annealing needs {needed}, not {self}")


def power_schedule(count: int) -> list[float]:
    """List `count` powers β from 0 to 1, growing as the fourth power of their number.

    Where the posterior is nearly Gaussian, the spread of log p(x|z) falls as 1/β, so that steps
    should grow with β. On MNIST this leaves about half of the gap that the sigmoidal schedule of
    Grosse et al. (2015, section 6.2) leaves after as much work.
    """
    return [(place / (count - 1)) ** 4 for place in range(count)]


class Posterior(NamedTuple):
    """The posterior of the codes of N images, for chains of states [N, chains, d]."""

    images: Tensor
    latent: DensityDecoder
    deviation: float
    scale: Tensor

    def visit(self, z: Tensor) -> "ChainState":
        """Evaluate the prior and the fit at codes, with their slopes in units of the scale."""
        rows = z.detach().flatten(0, 1).requires_grad_()
        with torch.enable_grad():
            prior = self.latent.log_prob(rows)
            copies = self.latent.decode(rows).view(*z.shape[:2], -1)
            residuals = (copies - self.images.flatten(1)[:, None]) / self.deviation
            fit = residuals.square().sum(-1) / -2
            totals = prior.sum(), fit.sum()
        slopes = [torch.autograd.grad(total, rows)[0].view_as(z) * self.scale for total in totals]
        values = [value.detach().double().view(z.shape[:2]) for value in (prior, fit)]
        return ChainState(z, *values, *slopes)


class ChainState(NamedTuple):
    """Codes [N, chains, d]; their log prior and fit [N, chains], and the slopes of both."""

    z: Tensor
    prior: Tensor
    fit: Tensor
    prior_slope: Tensor
    fit_slope: Tensor

    def slope(self, β: float) -> Tensor:
        """Return the slope of the log density at power β."""
        return self.prior_slope + β * self.fit_slope

    def energy(self, velocity: Tensor, β: float) -> Tensor:
        """Return the Hamiltonian of states that move with a velocity."""
        return velocity.double().square().sum(-1) / 2 - self.prior - β * self.fit

    def replace(self, other: "ChainState", which: Tensor) -> "ChainState":
        """Return the states with another in place of those that `which` [N, chains] marks."""
        views = {2: which, 3: which[..., None]}
        pairs = zip(other, self, strict=True)
        return ChainState._make(torch.where(views[old.ndim], new, old) for new, old in pairs)


def anneal_chains(
    images: Tensor,
    latent: DensityDecoder,
    deviation: float,
    annealing: Annealing,
    rng: torch.Generator,
    codes: Tensor | None = None,
) -> Tensor:
    """Return the log mean weights [T - 1, N] along the schedule, a batch of images at a time.

    Chains [N, chains + 1, d] start at the prior, or go back to it from the images' codes [N, d].
    """
    chains, schedule = annealing.chains + 1, power_schedule(annealing.distributions)
    if codes is None:
        drawn = latent.sample(len(images) * chains, rng)
        starts = drawn.view(len(images), chains, latent.dimension)
    else:
        schedule.reverse()
        starts = codes[:, None].expand(-1, chains, -1)
    # Trajectories are measured in the prior's own deviations, which may differ by code dimension.
    scale = latent.sample(1000, rng).std(dim=0)
    size = max(1, STATES // chains)
    paths = []
    for batch, z in zip(images.split(size), starts.split(size), strict=True):
        posterior = Posterior(batch, latent, deviation, scale)
        paths.append(_anneal_batch(posterior, z, schedule, annealing.leapfrogs, rng))
    return torch.cat(paths, dim=1)


def _anneal_batch(
    posterior: Posterior, z: Tensor, schedule: list[float], leapfrogs: int, rng: torch.Generator
) -> Tensor:
    """Anneal chains [N, chains + 1, d]; the first of an image sets the step and does not count."""
    state = posterior.visit(z)
    log_weights = torch.zeros_like(state.fit)
    log_step = torch.full_like(state.fit[:, :1], math.log(0.5))
    path = []
    for before, β in pairwise(schedule):
        log_weights = log_weights + (β - before) * state.fit
        path.append(log_mean_exp(log_weights[:, 1:]))
        if len(path) < len(schedule) - 1:
            state, acceptance = _move_chains(posterior, state, β, log_step.exp(), leapfrogs, rng)
            log_step += GAIN * (acceptance[:, :1] - ACCEPTANCE)
    return torch.stack(path)


def _move_chains(
    posterior: Posterior,
    state: ChainState,
    β: float,
    step: Tensor,
    leapfrogs: int,
    rng: torch.Generator,
) -> tuple[ChainState, Tensor]:
    """Propose the end of one Hamiltonian trajectory to each chain (Neal 2010, section 5.3.2).

    Returns the states and the probability [N, chains] with which each proposal was accepted.
    """
    z = state.z
    start = torch.randn(z.shape, generator=rng, device=z.device, dtype=z.dtype)
    step = step[..., None].to(z.dtype)
    velocity, end = start + step / 2 * state.slope(β), state
    for left in reversed(range(leapfrogs)):
        end = posterior.visit(end.z + step * posterior.scale * velocity)
        velocity = velocity + (step if left else step / 2) * end.slope(β)
    gain = state.energy(start, β) - end.energy(velocity, β)
    # A trajectory that has left the finite numbers ends nowhere.
    acceptance = gain.nan_to_num(nan=-math.inf).clamp(max=0).exp()
    accepted = torch.rand(acceptance.shape, generator=rng, device=z.device) < acceptance
    return state.replace(end, accepted), acceptance


def log_mean_exp(values: Tensor) -> Tensor:
    """Return the logarithms of the means of exponentials over each row [N]."""
    return values.logsumexp(dim=1) - math.log(values.shape[1])
