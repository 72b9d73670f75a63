"""The devices of this machine, and the processes that share them."""

import os
import re
from pathlib import Path

from benchmarks.core.errors import BadInput

CPUINFO = Path("/proc/cpuinfo")


def count_processes() -> int:
    """Return how many processes `torchrun` or its like has started to compute each run together."""
    return int(os.environ.get("WORLD_SIZE", "1")) if "RANK" in os.environ else 1


def choose_device(name: str) -> str:
    """Return a device's name, `auto` being CUDA where there is one; BadInput if there is none."""
    import torch

    count = torch.cuda.device_count()
    here = int(os.environ.get("LOCAL_WORLD_SIZE", "1")) if count_processes() > 1 else 1
    if count and here > count and name in {"auto", "cuda"}:
        raise BadInput(
            f"--device {name}: torchrun has started {here} processes here, where there are {count} "
            f"GPUs; give it --nproc-per-node {count}, or add --device cpu"
        )
    if name == "auto":
        return "cuda" if count else "cpu"
    valid = ["cpu", *(["cuda"] if count else []), *(f"cuda:{i}" for i in range(count))]
    if count_processes() == 1 and torch.backends.mps.is_available():
        valid.append("mps")
    if name not in valid:
        raise BadInput(f"--device {name}: this machine has {', '.join(valid)}")
    return name


def multiplies_bfloat16() -> bool:
    """Return whether this CPU has instructions for products of bfloat16; unknown counts as no."""
    try:
        flags = CPUINFO.read_text(encoding="utf-8")
    except OSError:
        return False
    return re.search(r"^flags\b.*\b(avx512_bf16|amx_bf16)\b", flags, re.MULTILINE) is not None
