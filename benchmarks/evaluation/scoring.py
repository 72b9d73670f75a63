"""From a metric and its arguments to a score with its interval, or the reason why it is missing."""

from collections.abc import Callable, Collection, Iterator
from functools import partial
from math import nan
from typing import Any

from torch import Tensor

from benchmarks.core.errors import FAILURES, describe_error
from benchmarks.records.schema import FAILED, Score
from metrics import INTERVALS, METRICS, Interval, Metric, NotApplicable, jackknife, mean_interval

OVER_IMAGES = "95 %, Student's t over images"  # the interval of a mean over images, in words


class FailedExtractor:
    """A further extractor that has failed: its scores are missing, with the reason."""

    def __init__(self, name: str, error: BaseException) -> None:
        self.name, self.note = name, FAILED + describe_error(error)

    def __str__(self) -> str:
        return self.name

    def score(self, images: Tensor, protocol: str, names: Collection[str]) -> list[Score]:
        """Return the missing scores, for the same arguments as `Reference.score`."""
        about: dict[str, Any] = {"value": None, "n": len(images), "note": self.note}
        about |= {"reference": "test", "extractor": self.name, "protocol": protocol}
        return [Score(metric=name, **about) for name in names]


def make_score(
    name: str,
    n: int,
    protocol: str,
    interval: Interval,
    words: str = OVER_IMAGES,
    *,
    reference: str = "test",
    extractor: str | None = None,
) -> Score:
    """Return an interval as a score, with all that is needed to read it."""
    about: dict[str, Any] = {"n": n, "interval": words, "protocol": protocol}
    about |= {"value": interval.value, "low": interval.low, "high": interval.high}
    return Score(metric=name, reference=reference, extractor=extractor, **about)


def attempt_score(
    compute: Callable[[], tuple[Interval, str]], make: Callable[[Interval, str], Score]
) -> Iterator[Score]:
    """Yield the score by a metric: none where it does not apply, and no value where it fails."""
    try:
        score = make(*compute())
    except NotApplicable:
        return
    except FAILURES as error:
        missing = {"interval": None, "note": FAILED + describe_error(error)}
        score = make(Interval(nan, nan, nan, nan), "").model_copy(update=missing)
    yield score


def score_each_image(
    inputs: str, arguments: tuple[Tensor, ...], n: int, protocol: str
) -> Iterator[Score]:
    """Score n images one by one, by every metric of such inputs that applies to them."""

    def average(metric: Metric) -> tuple[Interval, str]:
        return mean_interval(metric(*arguments)), OVER_IMAGES

    for name, metric in METRICS.items():
        if metric.metadata.inputs == inputs:
            make = partial(make_score, name, n, protocol)
            yield from attempt_score(partial(average, metric), make)


def compute_interval(
    name: str, arguments: tuple[Any, ...], generated: int, known: dict[Callable[..., Any], Any]
) -> tuple[Interval, str]:
    """Compute a metric's interval by its own function, or else by the jackknife over images.

    `generated` is the position of the generated images among the arguments; `known` are results of
    functions that several metrics share, to which new ones are added.
    """
    own = INTERVALS.get(name)
    if own is None:
        metric = METRICS[name]

        def score(fakes: Tensor) -> float:
            value: float = metric(*arguments[:generated], fakes, *arguments[generated + 1 :])
            return value

        return jackknife(score, arguments[generated]), "95 %, jackknife over samples"
    if own.function not in known:
        known[own.function] = own.function(*arguments)
    result = known[own.function]
    return result[name] if isinstance(result, dict) else result, own.words
