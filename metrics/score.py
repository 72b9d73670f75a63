"""What a metric says about itself, and the registry in which it is found.

A metric is a decorated function in a module of this package; nothing else needs to know of it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeVar, cast


@dataclass(frozen=True)
class Metadata:
    """How to name, read and feed a metric.

    `low` and `high` bound its values; None stands for no bound. `inputs` is one of

    - `features`: `f(real [N, d], fake [M, d]) -> float`
    - `logits`: `f(fake [M, K]) -> float`
    - `pairs`: `f(originals, reconstructions) -> Tensor [N]`, images float [N, C, H, W] in [0, 1],
      one value an image
    """

    name: str
    symbol: str
    direction: Literal["lower", "higher"]
    low: float | None
    high: float | None
    inputs: Literal["features", "logits", "pairs"]
    source: str
    summary: str


class Metric(Protocol):
    """A function with its `metadata` on it."""

    metadata: Metadata

    def __call__(self, *args: Any, **options: Any) -> Any:
        """Score what `metadata.inputs` names."""


METRICS: dict[str, Metric] = {}
"""Every metric by its name, filled when the package is imported."""

F = TypeVar("F", bound=Callable[..., Any])


def metric(**about: Any) -> Callable[[F], F]:
    """Enter a function in `METRICS` under `about`, the fields of `Metadata`, given as literals.

    Literals, so that the metrics can be listed from the source without importing torch.
    """
    metadata = Metadata(**about)

    def enter(function: F) -> F:
        entry = cast("Metric", function)
        entry.metadata = metadata
        METRICS[metadata.name] = entry
        return function

    return enter
