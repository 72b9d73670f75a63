"""The registries of metrics, of their intervals and of feature extractors.

Each is a decorated function in a module of this package; nothing else needs to know of it. The
decorators' arguments are literals, so that all can be listed from the source without torch.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, TypeVar

Aspect = Literal["fidelity", "classes", "variety", "copying", "shape"]
"""An aspect in which generated images can be wrong.

Single images (fidelity), the shares of classes among them, their variety within classes, copies of
training images, and the shape of their features' distribution beyond two moments.
"""

Inputs = Literal[
    "features", "logits", "both_logits", "training", "pairs", "modes", "log_weights", "decoder"
]


class NotApplicable(ValueError):
    """A metric cannot be had of these images, with the reason in one line: its row is left out."""


@dataclass(frozen=True, kw_only=True)
class Metadata:
    """The name, direction, range, inputs and source of a metric.

    `low` and `high` bound its values; None stands for no bound. `inputs` is one of

    - `features`: `f(real [N, d], fake [M, d])`
    - `logits`: `f(fake [M, K])`
    - `both_logits`: `f(real [N, K], fake [M, K])`
    - `training`: `f(real [N, d], fake [M, d], train [T, d])`, train being the images that the model
      was trained on and real those it was not
    - `modes`: `f(points [M, 2], centres [K, 2], deviation)`
    - `pairs`: `f(originals, reconstructions) -> Tensor [N]`, images float [N, C, H, W] in [0, 1],
      one value an image
    - `log_weights`: `f(log_weights [N, K]) -> Tensor [N]`, one value an image
    - `decoder`: `f(images, latent, ...)`, a procedure on a model's decoder

    and returns, where nothing else is said, a float or a named tuple of floats of which the field
    called `name` is this metric. `sees` are the aspects that the metric is meant to detect, and
    `ignores` those that must not move it; the audit tests both.
    """

    name: str
    symbol: str
    direction: Literal["lower", "higher"]
    low: float | None = None
    high: float | None = None
    inputs: Inputs
    source: str
    summary: str
    sees: tuple[Aspect, ...] = ("fidelity", "classes", "variety")
    ignores: tuple[Aspect, ...] = ()


@dataclass(frozen=True)
class Metric:
    """One score of a function that may return several; calling it returns this one."""

    metadata: Metadata
    function: Callable[..., Any]

    def __call__(self, *args: Any, **options: Any) -> Any:
        """Score what `metadata.inputs` names."""
        result = self.function(*args, **options)
        return getattr(result, self.metadata.name) if isinstance(result, tuple) else result


@dataclass(frozen=True)
class IntervalOf:
    """A function of a metric's own inputs that returns its interval, and its method in words.

    It returns an `Interval`, or a dict of them by the metrics' names.
    """

    function: Callable[..., Any]
    words: str


class ExtractorEntry(NamedTuple):
    """An extractor's one-line summary, the function that builds it, and whether it reads weights.

    The function takes `Material` and, where it builds a family, the name of a member.
    """

    summary: str
    build: Callable[..., Any]
    weights: bool


METRICS: dict[str, Metric] = {}
"""Every metric by its name, filled when the package is imported."""

INTERVALS: dict[str, IntervalOf] = {}
"""The intervals of metrics that have a better one than the jackknife over generated samples."""

EXTRACTORS: dict[str, ExtractorEntry] = {}
"""Every extractor by its name; one called `family:NAME` stands for all names `family:...`."""

F = TypeVar("F", bound=Callable[..., Any])


def metric(**about: Any) -> Callable[[F], F]:
    """Register a function in `METRICS` under `about`, the fields of `Metadata`.

    A function that returns several scores has the decorator once for each.
    """
    metadata = Metadata(**about)
    return _add_to(METRICS, (metadata.name,), lambda function: Metric(metadata, function))


def interval(*names: str, words: str) -> Callable[[F], F]:
    """Register a function in `INTERVALS` for metrics by their names, its method in `words`."""
    return _add_to(INTERVALS, names, lambda function: IntervalOf(function, words))


def extractor(*, name: str, summary: str, weights: bool = False) -> Callable[[F], F]:
    """Register a function that builds an extractor, or a `family:NAME`, in `EXTRACTORS`.

    `summary` is one line about it, and `weights` whether it reads `Material.weights`.
    """
    return _add_to(EXTRACTORS, (name,), lambda build: ExtractorEntry(summary, build, weights))


def _add_to(
    registry: dict[str, Any], names: tuple[str, ...], entry: Callable[[F], Any]
) -> Callable[[F], F]:
    def enter(function: F) -> F:
        registry.update(dict.fromkeys(names, entry(function)))
        return function

    return enter
