"""The Inception Score: sharp class predictions for each image, all classes among the images."""

from typing import NamedTuple

import torch
from torch import Tensor

from metrics.registry import metric

SPLITS = 10
"""The number of splits in papers."""


class InceptionScore(NamedTuple):
    """The mean score of the splits, their deviation, and how many there were."""

    inception_score: float
    deviation: float
    splits: int


def inception_score(logits: Tensor, splits: int = SPLITS, seed: int = 0) -> InceptionScore:
    """Score generated images by their class predictions, exp(E KL(p(y|x) || p(y))), in splits.

    A split of n images scores too low by a share of up to (K - 1) / 2n, the bias of its marginal's
    entropy (Miller 1955), which ten splits make ten times as large; with one split, besides, the
    order of the images has no part in it. The usual ten are there for comparison with papers.

    Of class scores before the softmax [N, K], -inf for probability zero, and near-equal splits to
    which a shuffle assigns the images: the mean in [1, K], and the deviation of the splits as in
    papers, divided by their number, so that it is 0 for one split, where it says nothing.

    Raises:
        ValueError: where logits are no matrix, have NaN or +inf, or are fewer than the splits.
    """
    scores = score_splits(logits, splits, seed)
    return InceptionScore(scores.mean().item(), scores.std(correction=0).item(), splits)


def score_splits(logits: Tensor, splits: int, seed: int = 0) -> Tensor:
    """Return the score of each split, float64 [splits]; see `inception_score`."""
    if logits.ndim != 2 or not 1 <= splits <= len(logits):
        raise ValueError(
            f"the Inception Score needs logits [N, K] with N >= {max(splits, 1)} (a row a split "
            f"at least), not {list(logits.shape)} in {splits} splits"
        )
    probabilities = logits.double().softmax(dim=1)
    if splits > 1:
        order = torch.randperm(len(logits), generator=torch.Generator().manual_seed(seed))
        probabilities = probabilities[order.to(logits.device)]
    scores = torch.stack([_score_split(part) for part in probabilities.tensor_split(splits)])
    if scores.isnan().any():
        raise ValueError("the Inception Score needs logits without NaN or +inf")
    return scores


def _score_split(probabilities: Tensor) -> Tensor:
    # E KL(p(y|x) || p(y)) = H(p(y)) - E H(p(y|x)); entr is -p log p with 0 log 0 = 0.
    marginal = torch.special.entr(probabilities.mean(dim=0)).sum()
    conditional = torch.special.entr(probabilities).sum(dim=1).mean()
    return (marginal - conditional).exp()


@metric(
    name="inception_score",
    symbol="IS",
    direction="higher",
    low=1.0,
    inputs="logits",
    source="Salimans et al. 2016, section 4",
    summary="exp of the mean KL divergence of an image's class distribution from the average one",
)
def score_unsplit(logits: Tensor) -> float:
    """Return the Inception Score over all images at once, the least biased; `inception_score`."""
    return inception_score(logits, splits=1).inception_score


@metric(
    name="inception_score_10",
    symbol="IS (10 splits)",
    direction="higher",
    low=1.0,
    inputs="logits",
    source="Salimans et al. 2016, section 4: the mean over ten splits",
    summary="the Inception Score as papers give it, the mean over ten splits of the images",
)
def score_in_ten(logits: Tensor) -> float:
    """Return the mean Inception Score of ten splits, for comparison with papers alone."""
    return inception_score(logits).inception_score
