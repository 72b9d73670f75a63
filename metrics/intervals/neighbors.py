"""The intervals of precision, recall, density, coverage and of the scores of memorization."""

from torch import Tensor

from metrics.intervals.base import Interval, mean_interval, wilson_interval
from metrics.memorization import find_copies
from metrics.neighbors import Members
from metrics.prdc import find_members
from metrics.registry import interval


@interval("precision", words="95 %, Wilson's over generated samples")
@interval("recall", words="95 %, Wilson's for the smaller of the two sets")
@interval("density", words="95 %, Student's t over generated samples")
@interval("coverage", words="95 %, Wilson's for as many samples as have its spread")
def neighbor_intervals(real: Tensor, fake: Tensor, k: int = 5) -> dict[str, Interval]:
    """Return precision, recall, density and coverage with 95 % intervals over generated samples.

    The reference is kept fixed as it is for every model that is compared. Precision and density are
    then means of independent values, one a generated image. Recall and coverage are shares of the
    real images, all of which depend on all generated ones. Recall is taken for a share of
    independent images, as many as the smaller set has; in simulations that covers 91 to 100 % of
    the time, the most where the sets differ in size or a part of the real images is out of reach.

    The variance of coverage is that of independent balls with their mean, or, where that is less,
    the number of balls that hold one generated image only, which could have held none; and what the
    jackknife adds for such balls that share their image. Wilson's interval is then that of a share
    of as many independent images as have this variance; in simulations it covers 90 to 100 %.
    Arguments and errors as in `precision_recall_density_coverage`.
    """
    members = find_members(real, fake, k)
    fewer = min(len(real), len(fake))
    recall = members.recalled.double().mean().item()
    return {
        "precision": _share(members.holders > 0),
        "recall": wilson_interval(recall * fewer, fewer),
        "density": mean_interval(members.holders.double() / k),
        "coverage": _coverage_interval(members, len(fake)),
    }


def _coverage_interval(members: Members, count: int) -> Interval:
    total = len(members.held)
    share = (members.held > 0).double().mean().item()
    if share in {0.0, 1.0}:
        return wilson_interval(share * min(total, count), min(total, count))
    alone = members.one_held[members.held == 1].bincount(minlength=count).double()
    single = alone.sum().item()
    apart = min(share * (1 - share) * total, single + 1)
    together = (alone * (alone - 1)).sum().item() - single**2 / count
    effective = share * (1 - share) * total**2 / (apart + max(together, 0.0))
    return wilson_interval(share * effective, effective)


@interval("authenticity", "near_copies", words="95 %, Wilson's over generated samples")
def memorization_intervals(real: Tensor, fake: Tensor, train: Tensor) -> dict[str, Interval]:
    """Return the scores of `memorization` with their 95 % intervals, real and train being fixed.

    Arguments and errors as in `memorization`.
    """
    authentic, near = find_copies(real, fake, train)
    return {"authenticity": _share(authentic), "near_copies": _share(near)}


def _share(which: Tensor) -> Interval:
    return wilson_interval(int(which.sum()), len(which))
