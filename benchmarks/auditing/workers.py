"""The parts of an audit, measured in worker processes that share its bank through a file."""

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain, count
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from benchmarks.analysis.audit_files import KnownAnswer
from benchmarks.auditing.answers import answer
from benchmarks.auditing.faults import FAULTS
from benchmarks.auditing.measurements import (
    SIZES,
    Bank,
    Design,
    Measurement,
    Session,
    measure_floor,
    measure_level,
)
from benchmarks.auditing.own import enter_extractor, enter_metric
from benchmarks.config.registry import is_reference
from benchmarks.core.processes import Death, Pool, Send
from benchmarks.evaluation.feature_cache import build_cached
from metrics import Extractor, Features, Material

BANK = "bank.safetensors"

Tell = Callable[[int, int], None]
"""Gets how many parts are done, and of how many."""
Part = tuple[Callable[..., Any], tuple[Any, ...]]
"""A function of a session, and its further arguments."""
Compute = Callable[[Sequence[Part]], list[Any]]
"""Computes parts of an audit, and returns their results in order."""


@dataclass(frozen=True)
class Source:
    """The extractors and the user's metrics, as a process builds them.

    Attributes:
        extractors: names, or references of the user's.
        material: what they are built from.
        metrics: references of the user's metrics.
    """

    extractors: tuple[str, ...]
    material: Material
    metrics: tuple[str, ...] = ()

    def build(self) -> dict[str, Extractor]:
        """Build the extractors, by their names with their hashes."""
        for reference in self.metrics:
            enter_metric(reference)
        names = [enter_extractor(e) if is_reference(e) else e for e in self.extractors]
        built = [build_cached(name, self.material) for name in names]
        return {str(extractor): extractor for extractor in built}


def measure_all(
    session: Session, source: Source, questions: Sequence[str], jobs: int, tell: Tell
) -> tuple[list[Measurement], list[KnownAnswer]]:
    """Answer the questions, measure every level of every fault, then the floor at all counts.

    The result does not depend on the number of processes.

    Raises:
        MemoryError: a process was ended from outside, as happens for want of memory.
    """
    faults = (FAULTS[name] for name in session.design.faults)
    levels = [(f.name, level) for f in faults for level in range(1, len(f.amounts) + 1)]
    total, done = len(questions) + len(levels) + len(session.splits), count(1)
    with start_workers(session, source, jobs, lambda: tell(next(done), total)) as compute:
        asked: list[Part] = [(answer, (name,)) for name in questions]
        found = compute([*asked, *((measure_level, level) for level in levels)])
        answers, measured = found[: len(asked)], list(chain(*found[len(asked) :]))
        counts = {size: {session.count(size)} for size in SIZES}
        for row in (row for row in measured if row.extractor):
            counts[row.size].add(row.n)
        floors = compute([(measure_floor, (split, counts)) for split in session.splits])
    return [*measured, *chain(*floors)], answers


@contextmanager
def start_workers(
    session: Session, source: Source, jobs: int, advance: Callable[[], None]
) -> Iterator[Compute]:
    """Start the worker processes, or compute in this one if there is to be one alone.

    `advance` is called after each part.
    """

    def compute_here(parts: Sequence[Part]) -> list[Any]:
        found = []
        for work, arguments in parts:
            found.append(work(session, *arguments))
            advance()
        return found

    def distribute(parts: Sequence[Part]) -> list[Any]:
        found = [None] * len(parts)
        for index, result in pool.run(parts):
            if isinstance(result, Death):
                raise MemoryError(f"a process of the audit ended {result}; try --jobs 1")  # noqa: TRY004
            found[index] = result
            advance()
        return found

    if jobs == 1:
        yield compute_here
        return
    with tempfile.TemporaryDirectory() as folder:
        share_bank(session.bank, source.material, Path(folder))
        lean = replace(source.material, images=torch.empty(0), labels=None)
        shared = session.design, session.bank.places, replace(source, material=lean), Path(folder)
        with Pool(jobs, _work, partial(_open_session, *shared)) as pool:
            yield distribute


def share_bank(bank: Bank, material: Material, folder: Path) -> None:
    """Write what all processes read into one file, which they map into memory."""
    tensors = {"images": bank.images, "classes": bank.classes, "material": material.images}
    if material.labels is not None:
        tensors["labels"] = material.labels
    for name, seen in bank.features.items():
        parts = seen._asdict().items()
        tensors |= {f"{part} {name}": tensor for part, tensor in parts if tensor is not None}
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, folder / BANK)


_session: Session
"""The session of this process, where it is a worker."""


def _open_session(
    design: Design, places: dict[str, range], source: Source, folder: Path, _number: int
) -> None:
    """Open the session that another process has shared."""
    global _session  # noqa: PLW0603 - what a worker keeps from one part to the next
    torch.set_num_threads(1)
    threadpool_limits(1)
    tensors = load_file(folder / BANK)
    material = replace(source.material, images=tensors["material"], labels=tensors.get("labels"))
    extractors = replace(source, material=material).build()
    features = {
        e: Features(tensors[f"features {e}"], tensors.get(f"logits {e}")) for e in extractors
    }
    bank = Bank(tensors["images"], tensors["classes"], places, features)
    _session = Session(design, bank, extractors)


def _work(part: Part, _send: Send) -> Any:
    work, arguments = part
    return work(_session, *arguments)
