"""What an earlier training has left on disk, and how a run goes on from it."""

import os
import shutil
import time
from collections.abc import Callable
from contextlib import suppress
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
from benchmarks.training.checkpoint import Damaged, load_all, read_about, save_tensors
from benchmarks.training.flops import read_peak_memory
from benchmarks.training.loop import TrainingState
from metrics import METRICS

WEIGHTS = ("model", "best", "unaveraged")
"""The files of weights that a trained model leaves."""

FILM = "evolution.png"
"""The picture of what training has come to from one validation to the next."""

ASIDE = "set aside as *.damaged, and done again"
FINISHED = ("ok", "collapsed", "diverged")
"""What a run that is done again would come to again."""


def find_finished(job: Job) -> Record | None:
    """Give the record of an earlier run of the same spec, if one has come to its end.

    One that has diverged would do so again; one that has failed may not.
    """
    try:
        record = read_record(job.folder)
    except BadInput:
        return None
    try:
        same = RunSpec.model_validate(record.spec) == job.spec
    except ValidationError:
        return None
    finished = record.status in FINISHED and record.suite == job.suite
    return record if same and finished else None


def quarantine_damaged(path: Path, read: Callable[[Path], object]) -> str | None:
    """Rename a file that cannot be read, so that it is made again; give the line that says so.

    Args:
        path: `record.json` or `suite.json`, which may be missing.
        read: reads it from its folder, or raises BadInput.
    """
    if not path.exists():
        return None
    try:
        read(path.parent)
    except BadInput as error:
        path.replace(path.with_name(f"{path.name}.damaged"))
        return f"{error}; {ASIDE}"
    return None


def find_missing(record: Record) -> list[str]:
    """List the metrics that a run has not been scored by because they came later."""
    return sorted(METRICS.keys() - set(record.metrics)) if record.scores else []


def find_lost(job: Job, record: Record) -> list[str]:
    """List the files that a finished run has written and that are not there any more."""
    files = [picture.file for picture in record.pictures.values()]
    if record.family != CALIBRATION and files:
        files.append("history.csv")
    if record.training:
        files.append("samples.npz")
    return [file for file in files if not (job.folder / file).exists()]


def is_kept(job: Job) -> bool:
    """Tell whether a run's trained model is still there to be scored."""
    return find_key(job.checkpoint / "training.json") == job.spec.training_key and all(
        (job.checkpoint / weights_file(name)).exists() for name in WEIGHTS
    )


def is_begun(job: Job, folder: Path | None = None) -> bool:
    """Tell whether the training of a run, its own or in another's folder, has been begun."""
    checkpoint = (folder or job.folder) / "checkpoint"
    names = ("training.json", "state.safetensors")
    return any(find_key(checkpoint / name) == job.spec.training_key for name in names)


def is_done(job: Job, folder: Path) -> bool:
    """Tell whether a folder has the finished record of a run, whatever its extractor's hash is.

    A plan knows the extractor's name alone.
    """
    try:
        record = read_record(folder)
        spec = RunSpec.model_validate(record.spec)
    except (BadInput, ValidationError):
        return False
    extractor, *views = (name.partition("@")[0] for name in (spec.extractor, *spec.views))
    named = spec.model_copy(update={"extractor": extractor, "views": tuple(views)})
    return named == job.spec and record.status in FINISHED and record.suite == job.suite


def has_other_code(job: Job, folder: Path) -> bool:
    """Tell whether a folder's run differs from a job by the code of its model, and its defaults."""
    try:
        spec = RunSpec.model_validate(read_record(folder).spec)
    except (BadInput, ValidationError):
        return False
    code = job.spec.model_dump(include={"model_version", "settings"})
    return spec.model_version != job.spec.model_version and spec.model_copy(update=code) == job.spec


def list_folders(folder: Path) -> dict[str, list[Path]]:
    """List the folders of runs in a suite's folder by contender and seed."""
    found: dict[str, list[Path]] = {}
    runs = folder / "runs"
    for path in sorted(runs.iterdir()) if runs.is_dir() else []:
        found.setdefault(path.name.rpartition("-")[0], []).append(path)
    return found


def find_key(path: Path) -> str | None:
    """Tell which training a file says it is of; None where it says nothing."""
    if path.suffix != ".json":
        return read_about(path).get("key")
    try:
        return read_sealed(path, TrainedRecord).key
    except BadInput:
        return None


def reuse_training(job: Job, others: list[Path]) -> bool:
    """Take over the training of a run in one of the folders `others`, if it is the same training.

    The files are shared by links where the disk allows it; none is ever written in place.
    """
    for name in ("training.json", "state.safetensors"):
        for folder in others:
            if find_key(folder / "checkpoint" / name) == job.spec.training_key:
                if folder == job.folder:
                    return True
                job.checkpoint.mkdir(parents=True, exist_ok=True)
                files = [f"{kind}.safetensors" for kind in WEIGHTS] if name[0] == "t" else []
                for file in (*files, name):
                    link(folder / "checkpoint" / file, job.checkpoint / file)
                if (folder / FILM).exists():
                    link(folder / FILM, job.folder / FILM)
                return True
    return False


def link(source: Path, target: Path) -> None:
    """Let `target` be the same file as `source`, or a copy of it."""
    target.unlink(missing_ok=True)
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def find_trained(
    job: Job, tell: Emit
) -> tuple[TrainedRecord, dict[str, Tensor], dict[str, Tensor]] | None:
    """Read what a finished training has left, if it was this one and nothing of it is damaged.

    Returns:
        What is known of it, and the weights `model` and `best`.
    """
    if not (job.checkpoint / "training.json").exists():
        return None
    try:
        known = read_sealed(job.checkpoint / "training.json", TrainedRecord)
        if known.key != job.spec.training_key:
            return None
        last, best, _ = (load_weights(job, name) for name in WEIGHTS)
    except (BadInput, Damaged, OSError) as error:
        quarantine(job, tell, one_line(error), "training.json", *map(weights_file, WEIGHTS))
        return None
    return known, last, best


def load_weights(job: Job, name: str) -> dict[str, Tensor]:
    """Read weights of the job's own training.

    Raises:
        Damaged: they are another's, or the file is cut short or altered.
    """
    path = job.checkpoint / weights_file(name)
    tensors, about = load_all(path)
    if about.get("key") != job.spec.training_key:
        raise Damaged(f"{path} is of another training")
    return tensors


def weights_file(name: str) -> str:
    """Give the name of a file of weights."""
    return f"{name}.safetensors"


def find_state(job: Job, tell: Emit) -> TrainingState | None:
    """Read where an earlier training was interrupted, if it was this one."""
    path = job.checkpoint / "state.safetensors"
    try:
        tensors, about = load_all(path)
    except FileNotFoundError:
        return None
    except (Damaged, OSError) as error:
        quarantine(job, tell, one_line(error), path.name)
        return None
    known = about.pop("key", None) == job.spec.training_key
    return TrainingState(about.pop("step"), tensors, about) if known else None


def quarantine(job: Job, tell: Emit, why: str, *files: str) -> None:
    """Rename files that cannot be used, and say so; what they were to save is done again."""
    for file in files:
        path = job.checkpoint / file
        with suppress(FileNotFoundError):
            path.replace(path.with_name(f"{file}.damaged"))
    tell(Noticed(job.spec.name, f"{why}; {ASIDE}"))


class RunCheckpointer:
    """Writes down the state of a run's training every so often, and before it is interrupted.

    Attributes:
        film: the picture of the training as far as it has come.
        code: of the model when the training began, as in `Record`.
    """

    def __init__(self, job: Job, tell: Emit, state: TrainingState | None) -> None:
        self.job, self.tell = job, tell
        self.last = time.monotonic()
        earlier: Any = state.about if state else {}
        self.peak_memory_mb = float(earlier.get("peak_memory_mb", 0))
        film = earlier.get("film")
        self.film = Picture.model_validate(film) if film else None
        self.code = earlier.get("code") if state else hash_model(job.spec.model)

    def due(self) -> bool:
        """Tell whether it is time, or somebody wants the process to end."""
        return interrupt_requested() or time.monotonic() - self.last >= self.job.checkpoint_seconds

    def save(self, state: TrainingState) -> None:
        """Write the state down; then make way for whoever wants the process to end."""
        peak = read_peak_memory(torch.device(self.job.spec.device))
        self.peak_memory_mb = max(self.peak_memory_mb, peak)
        about: dict[str, Any] = state.about | {
            "key": self.job.spec.training_key,
            "step": state.step,
            "peak_memory_mb": self.peak_memory_mb,
            "film": self.film and self.film.model_dump(),
            "code": self.code,
        }
        save_tensors(self.job.checkpoint / "state.safetensors", state.tensors, about)
        self.tell(Saved(self.job.spec.name, state.step))
        check_interrupted()
        self.last = time.monotonic()


def save_training(job: Job, known: TrainedRecord, weights: dict[str, dict[str, Tensor]]) -> None:
    """Write a trained model's weights, then what is known of it; no state is needed any more."""
    for name, tensors in weights.items():
        save_tensors(job.checkpoint / weights_file(name), tensors, {"key": known.key})
    write_sealed(job.checkpoint / "training.json", known)
    (job.checkpoint / "state.safetensors").unlink(missing_ok=True)
