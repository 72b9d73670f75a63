"""Carry out `python -m benchmarks.run` in bfloat16 on a processor that multiplies in float32 only.

Products are of inputs rounded to bfloat16, summed in float32 and rounded, as processors with
bfloat16 compute them; everything else is PyTorch's own bfloat16. So scores of whole trainings in
bfloat16 can be had where its own products would take fifty times as long. Speeds mean nothing.

    python tests/performance/rounded_products.py mnist --models gan_conv,vae --out results/rounded
"""

import sys
from typing import Any

import torch
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from benchmarks.run import main

PRODUCTS = {F.linear, torch.conv2d, F.conv2d, F.conv_transpose2d, torch.conv_transpose2d}


class RoundedProducts(TorchFunctionMode):
    """Under autocast, compute products in float32 of what bfloat16 would have multiplied."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func not in PRODUCTS or not torch.is_autocast_enabled("cpu"):
            return func(*args, **(kwargs or {}))
        with torch.autocast("cpu", enabled=False):
            rounded = [round_tensor(value) for value in args]
            named = {name: round_tensor(value) for name, value in (kwargs or {}).items()}
            return func(*rounded, **named).bfloat16()


def round_tensor(value: Any) -> Any:
    """Round a tensor to bfloat16's values, kept in float32; return anything else as it is."""
    return value.bfloat16().float() if isinstance(value, torch.Tensor) else value


if __name__ == "__main__":
    with RoundedProducts():
        sys.exit(main([*sys.argv[1:], "--precision", "bfloat16", "--engine", "inline"]))
