"""The number of threads that a computation takes, on which the digits of its result depend."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]


@contextmanager
def fixed_threads(count: int) -> Iterator[None]:
    """Run the block with `count` threads in torch and in the libraries under NumPy and SciPy."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        with threadpool_limits(count):
            yield
    finally:
        torch.set_num_threads(before)
