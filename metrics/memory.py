"""Results computed from the features of a reference, kept for as long as these live."""

from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar, cast

from torch import Tensor
from torch.utils.weak import WeakTensorKeyDictionary

F = TypeVar("F", bound=Callable[..., Any])


def remember(function: F) -> F:
    """Keep the results of a function of one tensor and hashable options, for each living tensor.

    The real side of a comparison is the same for every model that is scored. A tensor is known by
    its identity; one that has been written to since is another one.
    """
    kept = WeakTensorKeyDictionary()

    @wraps(function)
    def recall(tensor: Tensor, *options: Any) -> Any:
        # Tensors made in inference mode count no versions, and refuse to be written to outside it.
        version = 0 if tensor.is_inference() else tensor._version
        results = kept.setdefault(tensor, {})
        if (version, options) not in results:
            results[version, options] = function(tensor, *options)
        return results[version, options]

    return cast("F", recall)
