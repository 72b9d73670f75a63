"""A run's parameters on disk, as safetensors: nothing is ever unpickled."""

from pathlib import Path

from safetensors.torch import load_file, save
from torch import Tensor

from benchmarks.records import write_atomically


def save_tensors(path: Path, tensors: dict[str, Tensor]) -> None:
    """Write named tensors to `path`, whole or not at all."""
    write_atomically(path, save({name: t.contiguous() for name, t in tensors.items()}))


def load_tensors(path: Path) -> dict[str, Tensor]:
    """Read what `save_tensors` wrote, to the CPU's memory."""
    return load_file(path)
