"""Tensors on disk, as safetensors with a checksum: nothing is ever unpickled."""

import json
from pathlib import Path
from typing import Any

from pydantic import JsonValue
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from benchmarks.core.errors import printable
from benchmarks.core.files import write_atomically
from metrics import hash_tensors

BROKEN = (SafetensorError, ValueError, RuntimeError, TypeError, RecursionError)
"""The errors of reading a file of any origin."""


class Damaged(Exception):
    """A file does not hold what was once written to it; the message is one line."""

    def __init__(self, message: str) -> None:
        super().__init__(printable(message))


def save_checkpoint(
    path: Path, tensors: dict[str, Tensor], about: dict[str, JsonValue] | None = None
) -> None:
    """Write named tensors and metadata to `path`: whole or not at all."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    known = about or {}
    seal = hash_tensors(tensors, json.dumps(known))
    # One entry: the order of several is left to chance, and equal tensors are to be equal files.
    write_atomically(path, save(tensors, {"about": json.dumps({**known, "sha256": seal})}))


def load_checkpoint(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read the tensors, to the CPU's memory, and the metadata that `save_checkpoint` wrote.

    Raises:
        Damaged: the file is cut short or altered.
        OSError: it cannot be read.
    """
    try:
        with safe_open(path, framework="pt") as file:
            about = parse_metadata(file.metadata())
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        seal = about.pop("sha256", None)
        if seal != hash_tensors(tensors, json.dumps(about)):
            raise Damaged(f"{path} is damaged: its content does not match its checksum")
    except BROKEN as error:
        raise Damaged(f"{path} is no checkpoint: {' '.join(str(error).split())}") from error
    return tensors, about


def parse_metadata(metadata: dict[str, str] | None) -> dict[str, Any]:
    """Parse the metadata of a file of tensors."""
    return dict(json.loads((metadata or {}).get("about", "{}")))


def read_metadata(path: Path) -> dict[str, Any]:
    """Read the metadata of a file of tensors, whose checksum is not checked; none if broken."""
    try:
        with safe_open(path, framework="pt") as file:
            return parse_metadata(file.metadata())
    except (*BROKEN, OSError):
        return {}
