"""The intervals of the Inception Score."""

from torch import Tensor

from metrics.inception_score import SPLITS, score_splits, score_unsplit
from metrics.intervals.base import Interval, jackknife, mean_interval
from metrics.registry import interval


@interval("inception_score", words="95 %, jackknife over samples")
def unsplit_interval(logits: Tensor) -> Interval:
    """Return the Inception Score over all images with its jackknife interval on the log scale."""
    return jackknife(score_unsplit, logits, log=True)


@interval("inception_score_10", words="95 %, Student's t over ten splits")
def ten_split_interval(logits: Tensor) -> Interval:
    """Return the mean score of ten splits with the interval that their spread gives.

    It is one of what ten splits of as many images score on average, their bias included.
    """
    return mean_interval(score_splits(logits, SPLITS))
