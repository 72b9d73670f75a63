"""The files of earlier runs and trainings, and what a run resumes or reuses of them."""

import os
import shutil
import time
from collections import defaultdict
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from torch import Tensor

from benchmarks.config.registry import hash_model
from benchmarks.config.spec import CALIBRATION, RunSpec
from benchmarks.core.errors import BadInput, one_line
from benchmarks.core.signals import check_interrupted, interrupt_requested
from benchmarks.execution.events import Emit, Noticed, Saved
from benchmarks.execution.job import Job
from benchmarks.records.schema import Picture, Record, TrainedRecord
from benchmarks.records.store import read_record, read_sealed, write_sealed
from benchmarks.training.checkpoint import Damaged, load_checkpoint, read_metadata, save_checkpoint
from benchmarks.training.flops import read_peak_memory
from benchmarks.training.loop import TrainingState
from metrics import METRICS

WEIGHTS = ("model.safetensors", "best.safetensors", "unaveraged.safetensors")
"""The files of weights of a trained model."""

FILM = "evolution.png"
"""The picture of what a model generates from one validation to the next."""

QUARANTINED = "quarantined as *.damaged, and computed again"
FINISHED = ("ok", "collapsed", "diverged")
"""The outcomes that running again would repeat."""


def find_finished(job: Job) -> Record | None:
    """Return the record of an earlier run of the same spec, if one has finished.

    One that has diverged would do so again; one that has failed may not.
    """
    record, spec = read_run(job.folder)
    return record if spec == job.spec and is_final(record, job) else None


def read_run(folder: Path) -> tuple[Record | None, RunSpec | None]:
    """Read the record of a run and its spec, None where there are none of this version."""
    try:
        record = read_record(folder)
        return record, RunSpec.model_validate(record.spec)
    except (BadInput, ValidationError):
        return None, None


def is_final(record: Record | None, job: Job) -> bool:
    """Return whether a record is of a job's suite, and running again would repeat its outcome."""
    return record is not None and record.status in FINISHED and record.suite == job.suite


def quarantine_damaged(path: Path, read: Callable[[Path], object]) -> str | None:
    """Rename a file that `read` cannot read from its folder, if there is one; return a line on it.

    It is written anew.
    """
    if not path.exists():
        return None
    try:
        read(path.parent)
    except BadInput as error:
        path.replace(path.with_name(f"{path.name}.damaged"))
        return f"{error}; {QUARANTINED}"
    return None


def find_missing(record: Record) -> list[str]:
    """List the metrics that are newer than a run's scores."""
    return sorted(METRICS.keys() - set(record.metrics)) if record.scores else []


def find_lost(job: Job, record: Record) -> list[str]:
    """List the files of a finished run that are missing."""
    files = [picture.file for picture in record.pictures.values()]
    if record.family != CALIBRATION and files:
        files.append("history.csv")
    if record.training:
        files.append("samples.npz")
    return [file for file in files if not (job.folder / file).exists()]


def has_weights(job: Job) -> bool:
    """Return whether a run's trained model is still there to be scored."""
    return find_key(job.checkpoint / "training.json") == job.spec.training_key and all(
        (job.checkpoint / file).exists() for file in WEIGHTS
    )


def is_begun(job: Job, folder: Path | None = None) -> bool:
    """Return whether the training of a run has begun, in its own folder or another."""
    checkpoint = (folder or job.folder) / "checkpoint"
    names = ("training.json", "state.safetensors")
    return any(find_key(checkpoint / name) == job.spec.training_key for name in names)


def is_done(job: Job, folder: Path) -> bool:
    """Return whether a folder has the finished record of a run, whatever its extractor's hash.

    A plan knows the extractor's name alone.
    """
    record, spec = read_run(folder)
    if spec is None:
        return False
    extractor, *views = (name.partition("@")[0] for name in (spec.extractor, *spec.views))
    named = spec.model_copy(update={"extractor": extractor, "views": tuple(views)})
    return named == job.spec and is_final(record, job)


def has_other_code(job: Job, folder: Path) -> bool:
    """Return whether a folder's run differs from a job by its model's code, and its defaults."""
    spec = read_run(folder)[1]
    if spec is None or spec.model_version == job.spec.model_version:
        return False
    code = job.spec.model_dump(include={"model_version", "settings"})
    return spec.model_copy(update=code) == job.spec


def list_folders(folder: Path) -> dict[str, list[Path]]:
    """List the folders of runs in a suite's folder by contender and seed."""
    found: defaultdict[str, list[Path]] = defaultdict(list)
    for path in sorted((folder / "runs").glob("*")):
        found[path.name.rpartition("-")[0]].append(path)
    return found


def find_key(path: Path) -> str | None:
    """Return the key of the training that a file is of; None where it names none."""
    if path.suffix != ".json":
        return read_metadata(path).get("key")
    try:
        return read_sealed(path, TrainedRecord).key
    except BadInput:
        return None


def reuse_training(job: Job, others: list[Path]) -> bool:
    """Reuse a run's training, finished or not, from one of `others`; return whether one has it.

    The files are shared by links where the disk allows it; none is ever written in place.
    """
    for name in ("training.json", "state.safetensors"):
        for folder in others:
            if find_key(folder / "checkpoint" / name) == job.spec.training_key:
                if folder == job.folder:
                    return True
                job.checkpoint.mkdir(parents=True, exist_ok=True)
                for file in (*(WEIGHTS if name == "training.json" else ()), name):
                    link(folder / "checkpoint" / file, job.checkpoint / file)
                if (folder / FILM).exists():
                    link(folder / FILM, job.folder / FILM)
                return True
    return False


def link(source: Path, target: Path) -> None:
    """Make `target` the same file as `source`, or a copy of it."""
    target.unlink(missing_ok=True)
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


@dataclass(frozen=True)
class Weights:
    """A trained model before `finish`: its last and best EMA weights, and its training's record."""

    known: TrainedRecord
    last: dict[str, Tensor]
    best: dict[str, Tensor]


def find_trained(job: Job, emit: Emit) -> Weights | None:
    """Read a finished training of the job's key, unless a file of it is damaged."""
    if not (job.checkpoint / "training.json").exists():
        return None
    try:
        known = read_sealed(job.checkpoint / "training.json", TrainedRecord)
        if known.key != job.spec.training_key:
            return None
        weights = []
        for path in (job.checkpoint / file for file in WEIGHTS):
            tensors, about = load_checkpoint(path)
            if about.get("key") != known.key:
                raise Damaged(f"{path} is of another training")
            weights.append(tensors)
    except (BadInput, Damaged, OSError) as error:
        quarantine(job, emit, one_line(error), "training.json", *WEIGHTS)
        return None
    return Weights(known, *weights[:2])


def find_state(job: Job, emit: Emit) -> TrainingState | None:
    """Read the state of an interrupted training of the job's key."""
    path = job.checkpoint / "state.safetensors"
    try:
        tensors, about = load_checkpoint(path)
    except FileNotFoundError:
        return None
    except (Damaged, OSError) as error:
        quarantine(job, emit, one_line(error), path.name)
        return None
    known = about.pop("key", None) == job.spec.training_key
    return TrainingState(about.pop("step"), tensors, about) if known else None


def quarantine(job: Job, emit: Emit, why: str, *files: str) -> None:
    """Rename files that cannot be used, and emit a notice; their content is computed again."""
    for file in files:
        path = job.checkpoint / file
        with suppress(FileNotFoundError):
            path.replace(path.with_name(f"{file}.damaged"))
    emit(Noticed(job.spec.name, f"{why}; {QUARANTINED}"))


class RunCheckpointer:
    """Saves the state of a run's training at intervals, and before it is interrupted.

    Attributes:
        film: the picture of the training so far.
        code: the hash of the model's code when the training began, as in `Record`.
    """

    def __init__(self, job: Job, emit: Emit, state: TrainingState | None) -> None:
        self.job, self.emit = job, emit
        self.last = time.monotonic()
        earlier: Any = state.about if state else {}
        self.peak_memory_mb = float(earlier.get("peak_memory_mb", 0))
        film = earlier.get("film")
        self.film = Picture.model_validate(film) if film else None
        self.code = earlier.get("code") if state else hash_model(job.spec.model)

    def due(self) -> bool:
        """Return whether it is time, or an interruption is requested."""
        return interrupt_requested() or time.monotonic() - self.last >= self.job.checkpoint_seconds

    def save(self, state: TrainingState) -> None:
        """Write the state; then raise an interruption that is requested."""
        peak = read_peak_memory(torch.device(self.job.spec.device))
        self.peak_memory_mb = max(self.peak_memory_mb, peak)
        about: dict[str, Any] = state.about | {
            "key": self.job.spec.training_key,
            "step": state.step,
            "peak_memory_mb": self.peak_memory_mb,
            "film": self.film and self.film.model_dump(),
            "code": self.code,
        }
        save_checkpoint(self.job.checkpoint / "state.safetensors", state.tensors, about)
        self.emit(Saved(self.job.spec.name, state.step))
        check_interrupted()
        self.last = time.monotonic()


def save_training(job: Job, known: TrainedRecord, weights: dict[str, dict[str, Tensor]]) -> None:
    """Write a trained model's weights, then its record; the state is not needed any more.

    Where the last weights are the best, both names are links to one file if the disk allows it.
    """
    paths = {name: job.checkpoint / f"{name}.safetensors" for name in weights}
    for name, tensors in weights.items():
        if name == "best" and known.training.last_is_best:
            link(paths["model"], paths[name])
        else:
            save_checkpoint(paths[name], tensors, {"key": known.key})
    write_sealed(job.checkpoint / "training.json", known)
    (job.checkpoint / "state.safetensors").unlink(missing_ok=True)
