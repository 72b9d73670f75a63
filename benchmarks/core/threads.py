"""The threads and the algorithms that a computation takes, on which its result's digits depend."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]


@contextmanager
def fixed_threads(count: int) -> Iterator[None]:
    """Run the block with `count` threads in torch and in the libraries under NumPy and SciPy.

    On CUDA, convolutions take algorithms that give the same digits each time.
    """
    before, cudnn = torch.get_num_threads(), torch.backends.cudnn.deterministic
    torch.set_num_threads(count)
    torch.backends.cudnn.deterministic = True
    try:
        with threadpool_limits(count):
            yield
    finally:
        torch.set_num_threads(before)
        torch.backends.cudnn.deterministic = cudnn
