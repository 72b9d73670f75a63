"""What a metric says about itself, and the registry in which it is found.

A metric is a decorated function in a module of this package; nothing else needs to know of it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

Aspect = Literal["fidelity", "classes", "variety", "copying", "shape"]
"""What can be wrong with generated images.

Single images (fidelity), the shares of classes among them, their variety within classes, copies of
training images, and the shape of their features' distribution beyond two moments.
"""

Inputs = Literal[
    "features", "logits", "both_logits", "training", "pairs", "modes", "log_weights", "decoder"
]


class NotApplicable(ValueError):
    """A metric that these images cannot have, and why, in one line: its row is left out."""


@dataclass(frozen=True)
class Metadata:
    """How to name, read and feed a metric.

    `low` and `high` bound its values; None stands for no bound. `inputs` is one of

    - `features`: `f(real [N, d], fake [M, d])`
    - `logits`: `f(fake [M, K])`
    - `both_logits`: `f(real [N, K], fake [M, K])`
    - `training`: `f(real [N, d], fake [M, d], train [T, d])`, train being the images that the model
      has learnt from and real those it has not
    - `modes`: `f(points [M, 2], centres [K, 2], deviation)`
    - `pairs`: `f(originals, reconstructions) -> Tensor [N]`, images float [N, C, H, W] in [0, 1],
      one value an image
    - `log_weights`: `f(log_weights [N, K]) -> Tensor [N]`, one value an image
    - `decoder`: `f(images, latent, ...)`, a procedure on a model's decoder

    and returns, where nothing else is said, a float or a named tuple of floats of which the field
    called `name` is this metric. `sees` are the aspects that the metric is there to tell, and
    `ignores` those by which it promises not to be moved; the audit holds it to both.
    """

    name: str
    symbol: str
    direction: Literal["lower", "higher"]
    low: float | None
    high: float | None
    inputs: Inputs
    source: str
    summary: str
    sees: tuple[Aspect, ...] = ("fidelity", "classes", "variety")
    ignores: tuple[Aspect, ...] = ()


@dataclass(frozen=True)
class Metric:
    """One score of a function that may give several; calling it gives this one."""

    metadata: Metadata
    function: Callable[..., Any]

    def __call__(self, *args: Any, **options: Any) -> Any:
        """Score what `metadata.inputs` names."""
        result = self.function(*args, **options)
        return getattr(result, self.metadata.name) if isinstance(result, tuple) else result


@dataclass(frozen=True)
class IntervalOf:
    """How the interval of a metric is found: a function of the metric's own inputs, and in words.

    It returns an `uncertainty.Interval`, or a dict of them by the metrics' names.
    """

    function: Callable[..., Any]
    words: str


METRICS: dict[str, Metric] = {}
"""Every metric by its name, filled when the package is imported."""

INTERVALS: dict[str, IntervalOf] = {}
"""The intervals of metrics that have a better one than the jackknife over generated samples."""

F = TypeVar("F", bound=Callable[..., Any])


def metric(**about: Any) -> Callable[[F], F]:
    """Enter a function in `METRICS` under `about`, the fields of `Metadata`, given as literals.

    Literals, so that the metrics can be listed from the source without importing torch. A function
    that returns several scores has the decorator once for each.
    """
    metadata = Metadata(**about)

    def enter(function: F) -> F:
        METRICS[metadata.name] = Metric(metadata, function)
        return function

    return enter


def interval(*names: str, words: str) -> Callable[[F], F]:
    """Enter a function in `INTERVALS` for the metrics called `names`; `words` say what it gives."""

    def enter(function: F) -> F:
        for name in names:
            INTERVALS[name] = IntervalOf(function, words)
        return function

    return enter
