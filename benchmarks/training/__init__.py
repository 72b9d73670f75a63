"""The one training loop, its optimizers, checkpoints and processes, and what a model costs."""

import warnings
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from benchmarks.training.loop import TrainingConfig, train

__all__ = ["TrainingConfig", "train"]


def __getattr__(name: str) -> Any:
    """Import the loop, and torch with it, when it is asked for.

    `Plan` is the former name of `TrainingConfig`, which can be imported for one more version.
    """
    if name == "Plan":
        message = "benchmarks.training.Plan has become TrainingConfig: import that"
        warnings.warn(message, FutureWarning, stacklevel=2)
        name = "TrainingConfig"
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from benchmarks.training import loop

    return getattr(loop, name)
