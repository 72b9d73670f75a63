"""Densities fitted to codes, from which a plain autoencoder generates."""

import math

import numpy as np
import torch
from sklearn.mixture import GaussianMixture
from torch import Tensor, nn

from models.game import draw_noise


class Mixture(nn.Module):
    """A mixture of full-covariance Gaussians over codes [N, d]; before `fit`, standard normals.

    Ghosh et al. (2020, section 4) show that ten components suffice for small images.
    """

    weights: Tensor
    means: Tensor
    factors: Tensor

    def __init__(self, components: int, dimension: int) -> None:
        super().__init__()
        self.register_buffer("weights", torch.full((components,), 1 / components))
        self.register_buffer("means", torch.zeros(components, dimension))
        self.register_buffer("factors", torch.eye(dimension).repeat(components, 1, 1))

    def fit(self, codes: Tensor, seed: int) -> None:
        """Fit by expectation–maximisation, with no more components than the codes support."""
        components, dimension = self.means.shape
        usable = max(1, min(components, len(codes) // (dimension + 1)))
        mixture = GaussianMixture(usable, random_state=seed, reg_covar=1e-4, tol=1e-2)
        mixture.fit(codes.double().cpu().numpy())
        self.weights.zero_()[:usable] = torch.from_numpy(mixture.weights_)
        self.means[:usable] = torch.from_numpy(mixture.means_)
        self.factors[:usable] = torch.from_numpy(np.linalg.cholesky(mixture.covariances_))

    def log_prob(self, z: Tensor) -> Tensor:
        """Give the log density [n] of codes [n, d], in nats."""
        offsets = (z[:, None] - self.means).transpose(0, 1)
        whitened = torch.linalg.solve_triangular(self.factors, offsets.mT, upper=False)
        volumes = self.factors.diagonal(dim1=1, dim2=2).log().sum(1)
        constant = self.weights.log() - volumes - z.shape[1] / 2 * math.log(2 * math.pi)
        return (constant - whitened.square().sum(1).T / 2).logsumexp(1)

    def sample(self, n: int, rng: torch.Generator) -> Tensor:
        """Draw n codes, [n, d]; code i is the same for every n."""
        noise = draw_noise(n, 1 + self.means.shape[1], rng)
        shares = self.weights.cumsum(0)
        # The first column, turned uniform, chooses the component.
        which = torch.searchsorted(shares / shares[-1], torch.special.ndtr(noise[:, 0]))
        return self.means[which] + (self.factors[which] @ noise[:, 1:, None]).squeeze(-1)
