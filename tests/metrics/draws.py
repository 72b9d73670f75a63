"""Random numbers for tests, the same in every run."""

import torch
from torch import Tensor


def normal(*shape: int, seed: int = 0) -> Tensor:
    """Standard normal float64 of a shape."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def rectified(rows: int, d: int, seed: int, decay: float = 0.75) -> Tensor:
    """Correlated, of many scales, non-negative and sparse, as an extractor's last layer is."""
    mixing = torch.linalg.qr(normal(d, d))[0]
    scales = 4 * torch.arange(1, d + 1, dtype=torch.float64) ** -decay
    return (normal(rows, d, seed=seed) * scales @ mixing + 0.1).clamp(min=0)


def related(rows: int = 300, d: int = 8, seed: int = 0) -> tuple[Tensor, Tensor]:
    real = normal(rows, d, seed=seed)
    return real, 0.4 * real.flip(0) + normal(rows, d, seed=seed + 1)


def lattice(rows: int, seed: int) -> Tensor:
    rng = torch.Generator().manual_seed(seed)
    return torch.randint(0, 4, (rows, 3), generator=rng).double()


def collapse(rows: int, seed: int) -> Tensor:
    """Twelve modes far apart, each with a width that float32 can't see beside its place."""
    places = 10 * normal(12, 6, seed=99)
    return places[torch.arange(rows) % 12] + 1e-5 * normal(rows, 6, seed=seed)


CASES = {
    "plain": related(),
    "wide": tuple(side.float() for side in related(200, 500)),
    "offset": tuple(100 + 1e-2 * side.float() for side in related(200, 64)),
    "ties": (lattice(200, 0), lattice(220, 1)),
    "copies": (normal(60, 5).repeat(4, 1), torch.cat([normal(60, 5), normal(90, 5, seed=1)])),
    "near-duplicates": (
        torch.cat([normal(100, 6), normal(100, 6) + 1e-9]),
        normal(100, 6).repeat_interleave(2, 0) + 1e-9 * normal(200, 6, seed=2),
    ),
    "collapsed": (collapse(240, 0), collapse(200, 1)),
    "constant": (normal(50, 3), torch.ones(40, 3)),
    "scales": tuple(side * torch.logspace(-6, 6, 8, dtype=torch.float64) for side in related()),
    "half": tuple(side.half() for side in related()),
    "tiny": tuple(1e-30 * side for side in related(100)),
    "one dimension": (normal(80, 1), normal(70, 1, seed=1)),
    "few": (normal(6, 4), normal(7, 4, seed=1)),
}


def logits_of(*counts: int) -> Tensor:
    """So many certain images of each class, in class order."""
    classes = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    return 20 * torch.eye(len(counts))[classes]


SQUARE = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [1.0, 1.0]], dtype=torch.float64)


def around(*counts: int, deviation: float = 0.01, seed: int = 0) -> Tensor:
    """So many points of each of the square's modes."""
    modes = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    return SQUARE[modes] + deviation * normal(len(modes), 2, seed=seed)
