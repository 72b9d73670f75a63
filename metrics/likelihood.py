"""How probable a model holds test images: bounds from an encoder, and annealing for any decoder.

A decoder alone has no density, since its images fill no volume. As Wu et al. (2017, section 3) do,
we give it one: codes come from the prior, and every pixel is observed with Gaussian noise of one
deviation. Annealed importance sampling then measures GANs, autoencoders and VAEs by one rule.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from metrics.registry import metric

ROWS = 1024
"""States annealed at a time, which bounds memory."""

ACCEPTANCE = 0.65
"""The share of trajectories to accept (Neal 2010, section 5.4.4.3; Wu et al. 2017, 5.3.1)."""

GAIN = 0.2
"""By how much the log step moves a transition, times the distance from the share wanted."""


class Latent(Protocol):
    """A decoder with the density of its codes; codes are [n, dimension], all on one device."""

    @property
    def dimension(self) -> int:
        """The length of a code."""
        ...

    @property
    def decode(self) -> Callable[[Tensor], Tensor]:
        """Codes to images [n, C, H, W], differentiable."""
        ...

    @property
    def sample(self) -> Callable[[int, torch.Generator], Tensor]:
        """Draw n codes from the prior."""
        ...

    @property
    def log_prob(self) -> Callable[[Tensor], Tensor]:
        """The prior's normalised log density [n], differentiable."""
        ...


@dataclass(frozen=True)
class Annealing:
    """How much work annealing does; Wu et al. (2017, section 5.3.1) take 10,000, 16 and 10.

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
            raise ValueError(
                f"annealing needs 2 or more distributions, a chain and a leapfrog step, not {self}"
            )


class Annealed(NamedTuple):
    """Per-image values [N] in float64: log-likelihood in nats, and as bits per dimension."""

    ais: Tensor
    bits_per_dimension: Tensor


class Bracket(NamedTuple):
    """Per-image bounds [N] in nats, float64, and the distance from the lower to the upper."""

    lower: Tensor
    upper: Tensor
    bdmc_gap: Tensor


@metric(
    name="elbo",
    symbol="ELBO",
    direction="higher",
    low=None,
    high=None,
    inputs="log_weights",
    source="Kingma & Welling 2014, eq. 2",
    summary="evidence lower bound on the log-likelihood of test images in nats",
)
def evidence_bound(log_weights: Tensor) -> Tensor:
    """Return each image's evidence lower bound in nats, float64 [N]: the mean log weight.

    Args:
        log_weights: log p(x|z)p(z)/q(z|x) of K codes drawn from q(z|x) for each image, [N, K].

    Raises:
        ValueError: where the shape is another or a weight is not finite.
    """
    return _weights(log_weights).mean(dim=1)


@metric(
    name="iwae",
    symbol="IWAE",
    direction="higher",
    low=None,
    high=None,
    inputs="log_weights",
    source="Burda et al. 2016, eq. 8",
    summary="importance-weighted lower bound on the log-likelihood of test images in nats",
)
def importance_bound(log_weights: Tensor) -> Tensor:
    """Return each image's importance-weighted bound in nats, float64 [N]: the log mean weight.

    It lies between the evidence bound and the log-likelihood, and on average rises with K to the
    latter; Burda et al. report it at K = 5,000.

    Args:
        log_weights: log p(x|z)p(z)/q(z|x) of K codes drawn from q(z|x) for each image, [N, K].

    Raises:
        ValueError: where the shape is another or a weight is not finite.
    """
    return _log_mean_exp(_weights(log_weights))


def bits_per_dimension(log_likelihood: Tensor, dimensions: int, levels: int = 256) -> Tensor:
    """Return the bits that each pixel of a quantised image costs under a density on [0, 1]^D.

    They are −log₂ p(x)/D + log₂(levels): the density over a cell of width 1/levels (Theis et al.
    2016, section 3.1; Papamakarios et al. 2017, appendix E.2), and bound the code length of the
    8-bit image from above where x was dequantised. Only a density has them: what a Bernoulli
    likelihood makes of grey values is none.

    Args:
        log_likelihood: in nats, of images in [0, 1].
        dimensions: D, the number of pixels times channels.
        levels: how many values a pixel can take.
    """
    return -log_likelihood.double() / (dimensions * math.log(2)) + math.log2(levels)


def dequantise(images: Tensor, rng: torch.Generator) -> Tensor:
    """Spread 8-bit values over their cells, (v + u)/256 with u uniform in [0, 1).

    Without it a density could grow without limit at the 256 values that pixels take (Uria et al.
    2013, section 5.1; Wu et al. 2017, section 5.1).

    Args:
        images: float images [N, C, H, W], v/255 with whole v.
        rng: the source of randomness, on their device.
    """
    noise = torch.rand(images.shape, generator=rng, device=images.device, dtype=images.dtype)
    return ((255 * images).round() + noise) / 256


@metric(
    name="ais",
    symbol="AIS",
    direction="higher",
    low=None,
    high=None,
    inputs="decoder",
    source="Wu et al. 2017, section 3; Neal 2001, eq. 11",
    summary="log-likelihood of test images in nats by annealed importance sampling",
)
@metric(
    name="bits_per_dimension",
    symbol="bits/dim",
    direction="lower",
    low=None,
    high=None,
    inputs="decoder",
    source="Theis et al. 2016, section 3.1, of the log-likelihood by annealing",
    summary="bits per pixel and channel that test images cost, by annealed importance sampling",
)
def annealed_importance_sampling(
    images: Tensor,
    latent: Latent,
    deviation: float,
    rng: torch.Generator,
    annealing: Annealing | None = None,
) -> Annealed:
    """Return the log-likelihood of images under p(z) N(x; decode(z), deviation² I).

    Chains start at the prior and pass distributions p(z) p(x|z)^β with β rising from 0 to 1; at
    each, one Hamiltonian trajectory moves them (Wu et al. 2017, eq. 5 and section 5.3.1). The mean
    over chains of their weights is an unbiased estimate of p(x), so its logarithm errs low: a
    stochastic lower bound.

    The step of the trajectories follows the acceptance of one further chain an image, which
    counts for nothing else. Chains that steered themselves would no longer be unbiased.

    Args:
        images: float images [N, C, H, W] in [0, 1]; for `bits_per_dimension`, dequantised.
        latent: the decoder and its prior.
        deviation: of the observation model, in the images' units.
        rng: the source of randomness, on the images' device.
        annealing: how much work to do, by default `Annealing()`.

    Raises:
        ValueError: where the images are not finite floats [N, C, H, W], or the deviation is not
            positive.
    """
    _check(images, deviation)
    annealing = annealing or Annealing()
    starts = _draw_starts(images, latent, annealing, rng)
    path = _anneal_all(images, starts, latent, deviation, annealing, rng)
    pixels = images[0].numel()
    log_likelihood = path[-1] - _log_normaliser(pixels, deviation)
    return Annealed(log_likelihood, bits_per_dimension(log_likelihood, pixels))


@metric(
    name="bdmc_gap",
    symbol="BDMC gap",
    direction="lower",
    low=None,
    high=None,
    inputs="decoder",
    source="Grosse et al. 2015, section 4; Wu et al. 2017, sections 2.3 and 5.3.1",
    summary="nats between annealing's lower and upper bounds on simulated images: its error",
)
def bidirectional_monte_carlo(
    images: Tensor,
    latent: Latent,
    deviation: float,
    rng: torch.Generator,
    annealing: Annealing | None = None,
) -> Bracket:
    """Bracket the log-likelihood of images that the model itself has made, codes known.

    For those there is an exact sample of the posterior, the code that made them. Annealing from
    it back to the prior gives an unbiased estimate of 1/p(x), hence a stochastic upper bound. The
    gap between the bounds exceeds the error of annealing on simulated images, and tells how well
    it does on real ones. Over few images a gap may come out below 0 by chance.

    Args:
        images: the simulation has as many and of their dtype; their content plays no part.
        latent: the decoder and its prior.
        deviation: of the observation model, in the images' units.
        rng: the source of randomness, on the images' device.
        annealing: how much work to do in either direction, by default `Annealing()`.

    Raises:
        ValueError: as in `annealed_importance_sampling`.
    """
    _check(images, deviation)
    annealing = annealing or Annealing()
    codes = latent.sample(len(images), rng)
    with torch.no_grad():
        clean = torch.cat([latent.decode(z) for z in codes.split(ROWS)])
    noise = torch.randn(clean.shape, generator=rng, device=clean.device, dtype=clean.dtype)
    simulated = clean + deviation * noise
    lower = annealed_importance_sampling(simulated, latent, deviation, rng, annealing).ais
    truths = codes[:, None].expand(-1, annealing.chains + 1, -1)
    back = _anneal_all(simulated, truths, latent, deviation, annealing, rng, reverse=True)[-1]
    upper = -back - _log_normaliser(clean[0].numel(), deviation)
    return Bracket(lower, upper, upper - lower)


def deviation_curve(
    images: Tensor,
    latent: Latent,
    smallest: float,
    rng: torch.Generator,
    annealing: Annealing | None = None,
) -> tuple[Tensor, Tensor]:
    """Return deviations, falling to `smallest`, and log-likelihoods under each (Wu et al. fig. 2a).

    A Gaussian raised to the power β is one of deviation σ/√β but for its constant. So every
    distribution on the way to `smallest` is the posterior under a larger deviation, and one
    annealing measures them all: deviations [T] and log-likelihoods [T, N] in nats.

    Args:
        images: float images [N, C, H, W] in [0, 1].
        latent: the decoder and its prior.
        smallest: the least deviation to measure.
        rng: the source of randomness, on the images' device.
        annealing: how much work to do; T is one less than its distributions.

    Raises:
        ValueError: as in `annealed_importance_sampling`.
    """
    _check(images, smallest)
    annealing = annealing or Annealing()
    starts = _draw_starts(images, latent, annealing, rng)
    path = _anneal_all(images, starts, latent, smallest, annealing, rng)
    β = torch.tensor(power_schedule(annealing.distributions)[1:], dtype=torch.float64)
    deviations = (smallest / β.sqrt()).to(images.device)
    normalisers = images[0].numel() / 2 * (2 * math.pi * deviations.square()).log()
    return deviations, path - normalisers[:, None]


def select_deviation(
    images: Tensor,
    latent: Latent,
    rng: torch.Generator,
    annealing: Annealing | None = None,
    smallest: float = 0.03,
) -> float:
    """Return the deviation, at least `smallest`, that makes images most probable on average.

    By annealing, as in figure 2 of Wu et al. (2017), rather than by a kernel density, whose error
    favours large ones (section 5.3.2). The images must be neither tested on nor trained on.

    Args:
        images: validation images, float [N, C, H, W] in [0, 1].
        latent: the decoder and its prior.
        rng: the source of randomness, on the images' device.
        annealing: how much work to do.
        smallest: the least deviation to consider.

    Raises:
        ValueError: as in `annealed_importance_sampling`.
    """
    deviations, curve = deviation_curve(images, latent, smallest, rng, annealing)
    return deviations[curve.mean(dim=1).argmax()].item()


def power_schedule(count: int) -> list[float]:
    """List `count` powers β from 0 to 1, growing as the fourth power of their number.

    Where the posterior is nearly Gaussian, the spread of log p(x|z) falls as 1/β, so that steps
    should grow with β. On MNIST this leaves about half of the gap that the sigmoidal schedule of
    Grosse et al. (2015, section 6.2) leaves after as much work.
    """
    return [(place / (count - 1)) ** 4 for place in range(count)]


class _Posterior(NamedTuple):
    """What the states [N, chains, d] of the chains of N images are asked about."""

    images: Tensor
    latent: Latent
    deviation: float
    scale: Tensor

    def visit(self, z: Tensor) -> "_State":
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
        return _State(z, *values, *slopes)


class _State(NamedTuple):
    """Codes [N, chains, d]; their log prior and fit [N, chains], and the slopes of both."""

    z: Tensor
    prior: Tensor
    fit: Tensor
    prior_slope: Tensor
    fit_slope: Tensor

    def slope(self, β: float) -> Tensor:
        """Give the slope of the log density at power β."""
        return self.prior_slope + β * self.fit_slope

    def energy(self, velocity: Tensor, β: float) -> Tensor:
        """Give the Hamiltonian of states that move with a velocity."""
        return velocity.double().square().sum(-1) / 2 - self.prior - β * self.fit

    def replace(self, other: "_State", which: Tensor) -> "_State":
        """Take another state where `which` [N, chains] says so."""
        pairs = zip(other, self, strict=True)
        return _State._make(torch.where(_like(which, old), new, old) for new, old in pairs)


def _anneal_all(
    images: Tensor,
    starts: Tensor,
    latent: Latent,
    deviation: float,
    annealing: Annealing,
    rng: torch.Generator,
    *,
    reverse: bool = False,
) -> Tensor:
    """Give the log mean weights [T - 1, N] along the schedule, a batch of images at a time."""
    schedule = power_schedule(annealing.distributions)[:: -1 if reverse else 1]
    # Trajectories are measured in the prior's own deviations, which may differ by code dimension.
    scale = latent.sample(1000, rng).std(dim=0)
    size = max(1, ROWS // starts.shape[1])
    paths = [
        _anneal(_Posterior(batch, latent, deviation, scale), z, schedule, annealing.leapfrogs, rng)
        for batch, z in zip(images.split(size), starts.split(size), strict=True)
    ]
    return torch.cat(paths, dim=1)


def _anneal(
    posterior: _Posterior,
    starts: Tensor,
    schedule: list[float],
    leapfrogs: int,
    rng: torch.Generator,
) -> Tensor:
    """Take chains [N, chains + 1, d] along the schedule; the first of an image only steers it."""
    state = posterior.visit(starts)
    log_weights = torch.zeros_like(state.fit)
    log_step = torch.full_like(state.fit[:, :1], math.log(0.5))
    path = []
    for before, β in pairwise(schedule):
        log_weights = log_weights + (β - before) * state.fit
        path.append(_log_mean_exp(log_weights[:, 1:]))
        if len(path) < len(schedule) - 1:
            state, acceptance = _move(posterior, state, β, log_step.exp(), leapfrogs, rng)
            log_step += GAIN * (acceptance[:, :1] - ACCEPTANCE)
    return torch.stack(path)


def _move(
    posterior: _Posterior,
    state: _State,
    β: float,
    step: Tensor,
    leapfrogs: int,
    rng: torch.Generator,
) -> tuple[_State, Tensor]:
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


def _draw_starts(
    images: Tensor, latent: Latent, annealing: Annealing, rng: torch.Generator
) -> Tensor:
    chains = annealing.chains + 1
    return latent.sample(len(images) * chains, rng).view(len(images), chains, latent.dimension)


def _like(which: Tensor, values: Tensor) -> Tensor:
    return which.view(*which.shape, *(1,) * (values.ndim - 2))


def _log_mean_exp(values: Tensor) -> Tensor:
    return values.logsumexp(dim=1) - math.log(values.shape[1])


def _log_normaliser(pixels: int, deviation: float) -> float:
    return pixels / 2 * math.log(2 * math.pi * deviation**2)


def _weights(log_weights: Tensor) -> Tensor:
    if log_weights.ndim != 2 or not log_weights.isfinite().all():
        raise ValueError(
            f"log weights must be finite and of shape [N, K], not {list(log_weights.shape)}"
            f"{'' if log_weights.isfinite().all() else ' with NaN or infinity'}"
        )
    return log_weights.double()


def _check(images: Tensor, deviation: float) -> None:
    if images.ndim != 4 or not images.is_floating_point() or not images.isfinite().all():
        raise ValueError(
            f"images must be finite floats [N, C, H, W], not {images.dtype} {list(images.shape)}"
        )
    if not 0 < deviation < math.inf:
        raise ValueError(f"the deviation must be positive and finite, not {deviation}")
