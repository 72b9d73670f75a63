import numpy as np
import pytest
import torch
from draws import normal, related
from torch import Tensor

from metrics import METRICS, memorization, precision_recall_density_coverage
from metrics.intervals.neighbors import memorization_intervals, neighbor_intervals


def mixture(rows: int, seed: int, spread: float = 1.0) -> Tensor:
    places = 2 * normal(10, 6, seed=77)
    rng = torch.Generator().manual_seed(seed)
    return places[torch.randint(10, (rows,), generator=rng)] + spread * normal(rows, 6, seed=seed)


@pytest.mark.parametrize(
    "spread",
    [
        pytest.param(1.0, id="one distribution"),
        pytest.param(1.6, id="another", marks=pytest.mark.slow),
    ],
)
def test_intervals_cover_the_mean_score(spread):
    """Over draws of the generated set, the reference fixed."""
    covered = []
    for number in range(3):
        real = mixture(300, 5000 + number)
        draws = [
            neighbor_intervals(real, mixture(300, 100 * number + s, spread)) for s in range(80)
        ]
        for name in draws[0]:
            mean = np.mean([draw[name].value for draw in draws])
            covered += [(name, draw[name].low <= mean <= draw[name].high) for draw in draws]
    for name in ("precision", "recall", "density", "coverage"):
        share = np.mean([held for which, held in covered if which == name])
        assert 0.91 <= share <= 0.99, name


def test_intervals_are_around_the_scores():
    real, fake = related()
    scores = precision_recall_density_coverage(real, fake)._asdict()
    train = normal(200, 8, seed=5)
    scores |= memorization(real, fake, train)._asdict()
    intervals = neighbor_intervals(real, fake) | memorization_intervals(real, fake, train)
    assert intervals.keys() == scores.keys() < METRICS.keys()
    for name, ends in intervals.items():
        assert ends.value == pytest.approx(scores[name])
        assert ends.low < ends.high
        assert ends.low <= ends.value <= ends.high


def test_a_single_generated_image_leaves_coverage_uncertain():
    """All balls hold the same image: the whole coverage hangs on that it was drawn."""
    real = normal(100, 3)
    far = 50 + normal(99, 3, seed=1)
    fake = torch.cat([real.mean(dim=0)[None], far])
    scores = neighbor_intervals(real, fake, k=15)["coverage"]
    assert 0.1 < scores.value < 0.9
    assert scores.low < 0.2 * scores.value
