"""Densities of codes, from which autoencoders and VAEs generate."""

import math
from typing import Literal

import numpy as np
import torch
from sklearn.mixture import GaussianMixture
from torch import Tensor, nn

from models.base import draw_noise

DensityKind = Literal["prior", "normal", "mixture"]
"""The standard normal, one Gaussian fitted to codes, or a mixture of Gaussians fitted to them."""

GENERATION: dict[DensityKind, str] = {
    "prior": "from its prior",
    "normal": "from a Gaussian fitted to codes",
    "mixture": "from a mixture fitted to codes",
}
"""The way a model draws codes by each, in words."""


class Density(nn.Module):
    """A density of codes [N, d] to draw from: N(0, I), or Gaussians of full covariance.

    Ghosh et al. (2020, section 4) fit it after training to the codes of the training images and
    show that a mixture of ten components suffices for small images. It is no part of the trained
    weights, so that several densities can be fitted to one training: its buffers are not saved.
    """

    weights: Tensor
    means: Tensor
    factors: Tensor

    def __init__(self, kind: DensityKind, components: int, dimension: int) -> None:
        super().__init__()
        self.fitted = kind != "prior"
        count = components if kind == "mixture" else 1
        initial = {
            "weights": torch.full((count,), 1 / count),
            "means": torch.zeros(count, dimension),
            "factors": torch.eye(dimension).repeat(count, 1, 1),
        }
        for name, values in initial.items():
            self.register_buffer(name, values, persistent=False)

    def fit(self, codes: Tensor, seed: int) -> None:
        """Fit by expectation–maximisation, with no more components than the codes support."""
        components, dimension = self.means.shape
        usable = max(1, min(components, len(codes) // (dimension + 1)))
        mixture = GaussianMixture(usable, random_state=seed, reg_covar=1e-4, tol=1e-2)
        mixture.fit(codes.cpu().double().numpy())
        self.weights.zero_()[:usable] = torch.from_numpy(mixture.weights_)
        self.means[:usable] = torch.from_numpy(mixture.means_)
        self.factors[:usable] = torch.from_numpy(np.linalg.cholesky(mixture.covariances_))

    def log_prob(self, z: Tensor) -> Tensor:
        """Return the log density [n] of codes [n, d], in nats."""
        weights, means, factors = (b.to(z.dtype) for b in (self.weights, self.means, self.factors))
        offsets = (z[:, None] - means).transpose(0, 1)
        whitened = torch.linalg.solve_triangular(factors, offsets.mT, upper=False)
        volumes = factors.diagonal(dim1=1, dim2=2).log().sum(1)
        constant = weights.log() - volumes - z.shape[1] / 2 * math.log(2 * math.pi)
        return (constant - whitened.square().sum(1).T / 2).logsumexp(1)

    def sample(self, n: int, rng: torch.Generator) -> Tensor:
        """Draw n codes, [n, d]; code i is the same for every n."""
        if not self.fitted:
            return draw_noise(n, self.means.shape[1], rng)
        noise = draw_noise(n, 1 + self.means.shape[1], rng)
        shares = self.weights.cumsum(0)
        # The first column, turned uniform, chooses the component.
        which = torch.searchsorted(shares / shares[-1], torch.special.ndtr(noise[:, 0]))
        return self.means[which] + (self.factors[which] @ noise[:, 1:, None]).squeeze(-1)
