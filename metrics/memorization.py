"""Copies of training images among generated ones, by their nearest training images."""

from typing import NamedTuple

from torch import Tensor

from metrics.matrices import check_matrices
from metrics.memory import remember
from metrics.neighbors import find_neighbors, find_radii
from metrics.registry import metric


class Memorization(NamedTuple):
    """Shares of generated images that are no copies, and that lie close to training images."""

    authenticity: float
    near_copies: float


@metric(
    name="authenticity",
    symbol="Authenticity",
    direction="higher",
    low=0.0,
    high=1.0,
    inputs="training",
    source="Alaa et al. 2022, authenticity",
    summary="share of generated images farther from a training image than another one is",
    sees=("copying",),
    ignores=("classes", "variety"),
)
@metric(
    name="near_copies",
    symbol="Near-copies",
    direction="lower",
    low=0.0,
    high=1.0,
    inputs="training",
    source="the 1 % quantile of held-out images' distances to the nearest training image",
    summary="share of generated images nearer to a training image than 99 % of unseen real ones",
    sees=("copying",),
    ignores=("classes", "variety"),
)
def memorization(real: Tensor, fake: Tensor, train: Tensor) -> Memorization:
    """Ask whether generated images are copies of training images.

    A generated image is authentic where its nearest training image has a nearer neighbour in the
    training split than it; a tie makes it a copy, as an exact copy of a training image must be one
    even where the split holds that image twice. A near-copy lies nearer to a training image than
    99 % of held-out real images do, so 0.01 is what images that were never copied have.

    Of features of held-out real images [N, d], generated ones [M, d] and those that the model has
    learnt from [T, d], two or more of each.

    Raises:
        ValueError: where the widths differ, a set is too small, or values are not finite.
    """
    authentic, near = find_copies(real, fake, train)
    return Memorization(authentic.double().mean().item(), near.double().mean().item())


def find_copies(real: Tensor, fake: Tensor, train: Tensor) -> tuple[Tensor, Tensor]:
    """Return for every generated image whether it is authentic, and whether a near-copy, bool [M].

    Arguments and errors as in `memorization`.
    """
    check_matrices(train, real, fake, least=2)
    squares, index = find_neighbors(fake, train, 1, within=False)
    authentic = squares > find_radii(train, 1)[index]
    return authentic, squares.sqrt() < _unseen_distance(real, train)


@remember
def _unseen_distance(real: Tensor, train: Tensor) -> Tensor:
    """Return the distance to training images that 1 % of unseen real images fall below."""
    squares, _ = find_neighbors(real, train, 1, within=False)
    return squares.sqrt().quantile(0.01)


def find_nearest(train: Tensor, fake: Tensor) -> tuple[Tensor, Tensor]:
    """Find the training image nearest to each generated one, of features [T, d] and [M, d].

    Returns Euclidean distances, float64 [M], and the rows of `train`, int64 [M]. Raises ValueError
    where the widths differ, a set is empty, or values are not finite.
    """
    check_matrices(train, fake, least=1)
    squares, index = find_neighbors(fake, train, 1, within=False)
    return squares.sqrt(), index
