"""The parts of an audit, done side by side in processes that share its bank through a file."""

import os
import signal
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import chain, count
from multiprocessing import active_children, get_context, parent_process
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from benchmarks.auditing.answers import Answer, answer
from benchmarks.auditing.measurements import (
    Bank,
    Design,
    Measurement,
    Session,
    list_counts,
    list_levels,
    measure_floor,
    measure_level,
)
from benchmarks.auditing.own import enter_extractor, enter_metric
from benchmarks.config.registry import is_reference
from benchmarks.core.signals import SIGNALS
from benchmarks.evaluation.feature_cache import build_cached
from metrics import Extractor, Features, Material

BANK = "bank.safetensors"

Tell = Callable[[int, int], None]
"""Is told how many parts are done, and of how many."""

Part = tuple[Callable[..., Any], tuple[Any, ...]]
"""A function of a session, and its further arguments."""

Do = Callable[[Sequence[Part]], list[Any]]
"""Does parts of an audit, and gives what each has come to."""


@dataclass(frozen=True)
class Source:
    """What a process needs to build the extractors, and to know metrics of the user's.

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


def carry_out(
    session: Session, source: Source, questions: Sequence[str], jobs: int, tell: Tell
) -> tuple[list[Measurement], list[Answer]]:
    """Ask what is known, measure every level of every fault, and then the floor at all counts.

    What comes of it does not depend on how many processes share the work.

    Raises:
        MemoryError: a process has been ended from outside, as happens for want of memory.
    """
    levels = list_levels(session.design.faults)
    total = len(questions) + len(levels) + len(session.splits)
    done = count(1)

    def advance() -> None:
        tell(next(done), total)

    with staff(session, source, jobs, advance) as do:
        asked = [(answer, (name,)) for name in questions]
        found = do([*asked, *((measure_level, level) for level in levels)])
        answers, measured = found[: len(asked)], list(chain(*found[len(asked) :]))
        counts = list_counts(measured, session.design.samples)
        floors = do([(measure_floor, (split, counts)) for split in session.splits])
    return [*measured, *chain(*floors)], answers


@contextmanager
def staff(session: Session, source: Source, jobs: int, advance: Callable[[], None]) -> Iterator[Do]:
    """Start the processes that share the work, or do it here if there is to be one alone."""
    if jobs == 1:
        yield lambda parts: _do_here(session, parts, advance)
        return
    with tempfile.TemporaryDirectory() as folder:
        share(session, source, Path(folder))
        lean = replace(
            source, material=replace(source.material, images=torch.empty(0), labels=None)
        )
        pool = ProcessPoolExecutor(
            jobs,
            mp_context=get_context("spawn"),
            initializer=_open,
            initargs=(session.design, session.bank.places, lean, Path(folder)),
        )
        try:
            yield lambda parts: _hand_out(pool, parts, advance)
        except BaseException:
            for process in active_children():  # what they are at is of no use any more
                process.terminate()
            raise
        finally:
            pool.shutdown(cancel_futures=True)


def _do_here(session: Session, parts: Sequence[Part], advance: Callable[[], None]) -> list[Any]:
    found = []
    for work, arguments in parts:
        found.append(work(session, *arguments))
        advance()
    return found


def _hand_out(
    pool: ProcessPoolExecutor, parts: Sequence[Part], advance: Callable[[], None]
) -> list[Any]:
    futures = [pool.submit(_work, work, arguments) for work, arguments in parts]
    try:
        for future in as_completed(futures):
            future.result()
            advance()
    except BrokenProcessPool:
        raise MemoryError("a process of the audit was ended from outside; try --jobs 1") from None
    return [future.result() for future in futures]


def share(session: Session, source: Source, folder: Path) -> None:
    """Leave what all processes read in a file."""
    bank, material = session.bank, source.material
    tensors = {"images": bank.images, "classes": bank.classes, "material": material.images}
    if material.labels is not None:
        tensors["labels"] = material.labels
    for name, seen in bank.features.items():
        parts = {part: tensor for part, tensor in seen._asdict().items() if tensor is not None}
        tensors |= {f"{part} {name}": tensor for part, tensor in parts.items()}
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, folder / BANK)


_session: Session
"""The session of this process, where it is one that shares the work."""


def _open(design: Design, places: dict[str, range], source: Source, folder: Path) -> None:
    """Take up a session from the file that another process has left."""
    global _session  # noqa: PLW0603 - what a process of a pool keeps from one call to the next
    for number in {*SIGNALS} - {signal.SIGTERM}:
        signal.signal(number, signal.SIG_IGN)  # Ctrl-C is for the process that started this one
    threading.Thread(target=_end_with_parent, daemon=True).start()
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


def _end_with_parent() -> None:
    """End this process when the one that started it has been killed."""
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _work(work: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
    return work(_session, *arguments)
