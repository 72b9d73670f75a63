"""The Inception Score: sharp class predictions for each image, all classes among the images."""

import math

import torch
from torch import Tensor

from metrics.score import metric


@metric(
    name="inception_score",
    symbol="IS",
    direction="higher",
    low=1.0,
    high=None,
    inputs="logits",
    source="Salimans et al. 2016, section 4",
    summary="exp of the mean KL divergence of an image's class distribution from the average one",
)
def inception_score(logits: Tensor, splits: int = 1, seed: int = 0) -> float:
    """Score generated images by their class predictions, exp(E KL(p(y|x) || p(y))).

    One split over all images by default: a split of n images scores too low by a share of up to
    (K - 1) / 2n, the bias of its marginal's entropy (Miller 1955), which ten splits make ten times
    as large, and with one split the order of the images has no part in it. The usual ten are there
    for comparison with papers. The range is [1, K].

    Args:
        logits: class scores before the softmax [N, K]; -inf stands for probability zero.
        splits: the number of near-equal parts that are scored and averaged.
        seed: of the shuffle that assigns images to splits; of no effect on one split.

    Raises:
        ValueError: where logits are no matrix, have NaN, or are fewer than the splits.
    """
    if logits.ndim != 2 or not 1 <= splits <= len(logits):
        raise ValueError(
            f"the Inception Score needs logits [N, K] with N >= {max(splits, 1)} (a row a split "
            f"at least), not {list(logits.shape)} in {splits} splits"
        )
    probabilities = logits.double().softmax(dim=1)
    if splits > 1:
        order = torch.randperm(len(logits), generator=torch.Generator().manual_seed(seed))
        probabilities = probabilities[order.to(logits.device)]
    scores = [_score(part) for part in probabilities.tensor_split(splits)]
    value = torch.stack(scores).mean().item()
    if math.isnan(value):
        raise ValueError("the Inception Score needs logits without NaN or +inf")
    return value


def _score(probabilities: Tensor) -> Tensor:
    # E KL(p(y|x) || p(y)) = H(p(y)) - E H(p(y|x)); entr is -p log p with 0 log 0 = 0.
    marginal = torch.special.entr(probabilities.mean(dim=0)).sum()
    conditional = torch.special.entr(probabilities).sum(dim=1).mean()
    return (marginal - conditional).exp()
