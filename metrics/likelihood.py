"""The likelihood of test images: bounds from an encoder, and annealing for any decoder.

A decoder alone has no density, since its images fill no volume. As in Wu et al. (2017, section 3)
codes come from the prior, and every pixel is observed with Gaussian noise of one deviation.
Annealed importance sampling then measures GANs, autoencoders and VAEs by one rule.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from metrics.annealing import (
    STATES,
    Annealing,
    DensityDecoder,
    anneal_chains,
    log_mean_exp,
    power_schedule,
)
from metrics.registry import metric

THOROUGH = Annealing()
"""The work of annealing where nothing else is asked for."""


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
    inputs="log_weights",
    source="Kingma & Welling 2014, eq. 2",
    summary="evidence lower bound on the log-likelihood of test images in nats",
)
def evidence_bound(log_weights: Tensor) -> Tensor:
    """Return each image's evidence lower bound in nats, float64 [N]: the mean log weight.

    Of the log weights log p(x|z)p(z)/q(z|x) of K codes drawn from q(z|x) for each image, [N, K].
    Raises ValueError where the shape is another or a weight is not finite.
    """
    return _check_weights(log_weights).mean(dim=1)


@metric(
    name="iwae",
    symbol="IWAE",
    direction="higher",
    inputs="log_weights",
    source="Burda et al. 2016, eq. 8",
    summary="importance-weighted lower bound on the log-likelihood of test images in nats",
)
def importance_bound(log_weights: Tensor) -> Tensor:
    """Return each image's importance-weighted bound in nats, float64 [N]: the log mean weight.

    It lies between the evidence bound and the log-likelihood, and on average rises with K to the
    latter; Burda et al. report it at K = 5,000. Arguments and errors as in `evidence_bound`.
    """
    return log_mean_exp(_check_weights(log_weights))


def bits_per_dimension(log_likelihood: Tensor, dimensions: int, levels: int = 256) -> Tensor:
    """Return the bits that each pixel of a quantised image costs under a density on [0, 1]^D.

    They are −log₂ p(x)/D + log₂(levels): the density over a cell of width 1/levels (Theis et al.
    2016, section 3.1; Papamakarios et al. 2017, appendix E.2), and bound the code length of the
    8-bit image from above where x was dequantised. Only a density has them, which a Bernoulli
    likelihood of grey values is not. D is the number of pixels times channels, the log-likelihood
    is in nats, of images in [0, 1].
    """
    return -log_likelihood.double() / (dimensions * math.log(2)) + math.log2(levels)


def dequantise(images: Tensor, rng: torch.Generator) -> Tensor:
    """Spread the values v of 8-bit images v/255 over their cells, (v + u)/256, u uniform in [0, 1).

    Without it a density could grow without limit at the 256 values that pixels take (Uria et al.
    2013, section 5.1; Wu et al. 2017, section 5.1).
    """
    noise = torch.rand(images.shape, generator=rng, device=images.device, dtype=images.dtype)
    return ((255 * images).round() + noise) / 256


@metric(
    name="ais",
    symbol="AIS",
    direction="higher",
    inputs="decoder",
    source="Wu et al. 2017, section 3; Neal 2001, eq. 11",
    summary="log-likelihood of test images in nats by annealed importance sampling",
)
@metric(
    name="bits_per_dimension",
    symbol="bits/dim",
    direction="lower",
    inputs="decoder",
    source="Theis et al. 2016, section 3.1, of the log-likelihood by annealing",
    summary="bits per pixel and channel that test images cost, by annealed importance sampling",
)
def annealed_importance_sampling(
    images: Tensor,
    latent: DensityDecoder,
    deviation: float,
    rng: torch.Generator,
    annealing: Annealing = THOROUGH,
) -> Annealed:
    """Return the log-likelihood of images under p(z) N(x; decode(z), deviation² I).

    The mean over chains of their weights is an unbiased estimate of p(x), so its logarithm is
    biased low: a stochastic lower bound.

    The step of the trajectories follows the acceptance of one further chain an image, which
    counts for nothing else. Chains that steered themselves would no longer be unbiased.

    Of float images [N, C, H, W] in [0, 1], for `bits_per_dimension` dequantised; the deviation of
    the observation model is in their units, and `rng` on their device. Raises ValueError where the
    images are not finite floats [N, C, H, W], or the deviation is not positive.
    """
    _check_observation(images, deviation)
    path = anneal_chains(images, latent, deviation, annealing, rng)
    pixels = images[0].numel()
    log_likelihood = path[-1] - _log_normalizer(pixels, deviation)
    return Annealed(log_likelihood, bits_per_dimension(log_likelihood, pixels))


@metric(
    name="bdmc_gap",
    symbol="BDMC gap",
    direction="lower",
    inputs="decoder",
    source="Grosse et al. 2015, section 4; Wu et al. 2017, sections 2.3 and 5.3.1",
    summary="nats between annealing's lower and upper bounds on simulated images: its error",
)
def bidirectional_monte_carlo(
    images: Tensor,
    latent: DensityDecoder,
    deviation: float,
    rng: torch.Generator,
    annealing: Annealing = THOROUGH,
) -> Bracket:
    """Bracket the log-likelihood of images that the model itself has generated, codes known.

    For those there is an exact sample of the posterior, the code itself. Annealing from
    it back to the prior gives an unbiased estimate of 1/p(x), hence a stochastic upper bound. The
    gap between the bounds exceeds the error of annealing on simulated images, and tells how well
    it does on real ones. Over few images a gap may come out below 0 by chance.

    The simulation has as many images as `images` and of their dtype; their content plays no part.
    Other arguments and errors as in `annealed_importance_sampling`.
    """
    _check_observation(images, deviation)
    codes = latent.sample(len(images), rng)
    with torch.no_grad():
        clean = torch.cat([latent.decode(z) for z in codes.split(STATES)])
    noise = torch.randn(clean.shape, generator=rng, device=clean.device, dtype=clean.dtype)
    simulated = clean + deviation * noise
    lower = annealed_importance_sampling(simulated, latent, deviation, rng, annealing).ais
    back = anneal_chains(simulated, latent, deviation, annealing, rng, codes)[-1]
    upper = -back - _log_normalizer(clean[0].numel(), deviation)
    return Bracket(lower, upper, upper - lower)


def deviation_curve(
    images: Tensor,
    latent: DensityDecoder,
    smallest: float,
    rng: torch.Generator,
    annealing: Annealing = THOROUGH,
) -> tuple[Tensor, Tensor]:
    """Return deviations, falling to `smallest`, and log-likelihoods under each (Wu et al. fig. 2a).

    A Gaussian raised to the power β is one of deviation σ/√β but for its constant. So every
    distribution on the way to `smallest` is the posterior under a larger deviation, and one
    annealing measures them all: deviations [T] and log-likelihoods [T, N] in nats, T one less than
    the distributions of `annealing`. Arguments and errors as in `annealed_importance_sampling`.
    """
    _check_observation(images, smallest)
    path = anneal_chains(images, latent, smallest, annealing, rng)
    β = torch.tensor(power_schedule(annealing.distributions)[1:], dtype=torch.float64)
    deviations = (smallest / β.sqrt()).to(images.device)
    normalisers = images[0].numel() / 2 * (2 * math.pi * deviations.square()).log()
    return deviations, path - normalisers[:, None]


def select_deviation(
    images: Tensor,
    latent: DensityDecoder,
    rng: torch.Generator,
    annealing: Annealing = THOROUGH,
    smallest: float = 0.03,
) -> float:
    """Return the deviation, at least `smallest`, that makes images most probable on average.

    By annealing, as in figure 2 of Wu et al. (2017), rather than by a kernel density, whose error
    favours large ones (section 5.3.2). The images must be neither tested on nor trained on.
    Arguments and errors as in `annealed_importance_sampling`.
    """
    deviations, curve = deviation_curve(images, latent, smallest, rng, annealing)
    return deviations[curve.mean(dim=1).argmax()].item()


def _log_normalizer(pixels: int, deviation: float) -> float:
    return pixels / 2 * math.log(2 * math.pi * deviation**2)


def _check_weights(log_weights: Tensor) -> Tensor:
    finite = bool(log_weights.isfinite().all())
    if log_weights.ndim != 2 or not finite:
        found = f"{list(log_weights.shape)}{'' if finite else ' with NaN or infinity'}"
        raise ValueError(f"log weights must be finite and of shape [N, K], not {found}")
    return log_weights.double()


def _check_observation(images: Tensor, deviation: float) -> None:
    if images.ndim != 4 or not images.is_floating_point() or not images.isfinite().all():
        found = f"{images.dtype} {list(images.shape)}"
        raise ValueError(f"images must be finite floats [N, C, H, W], not {found}")
    if not 0 < deviation < math.inf:
        raise ValueError(f"the deviation must be positive and finite, not {deviation}")
