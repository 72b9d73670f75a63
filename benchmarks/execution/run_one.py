"""One run: a spec becomes a record on disk, whatever happens on the way."""

import csv
import errno
import io
import shutil
import time
import traceback
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.config.registry import hash_model
from benchmarks.config.spec import CALIBRATION
from benchmarks.core.errors import FAILURES, describe_error, one_line
from benchmarks.core.files import write_atomically
from benchmarks.core.seeds import derive_seed
from benchmarks.core.text import escape_csv
from benchmarks.core.threads import fixed_threads
from benchmarks.evaluation.calibration import PROTOCOLS, generate_calibration, score_calibration
from benchmarks.evaluation.collapse import Variety, find_collapse
from benchmarks.evaluation.contract import ContractError
from benchmarks.evaluation.evaluator import Evaluator, Generated, load_evaluator
from benchmarks.evaluation.likelihood import score_likelihood
from benchmarks.execution.events import Emit, Started
from benchmarks.execution.job import Job
from benchmarks.execution.resume import (
    Weights,
    find_finished,
    find_lost,
    find_missing,
    find_trained,
)
from benchmarks.execution.train_one import (
    Progress,
    build_model,
    describe_model,
    gpu_name,
    train_model,
)
from benchmarks.records.environment import read_environment
from benchmarks.records.schema import ModelTraits, Picture, Record, Score, Status
from benchmarks.records.store import write_record
from benchmarks.training.distributed import RankLost
from benchmarks.training.loop import Diverged
from metrics import METRICS
from models.base import GenerativeModel

FULL = "no space left on the disk"

OUT_OF_MEMORY = ("can't allocate memory", "out of memory", "ALLOC_FAILED")
"""What errors say for want of memory: of torch on CPUs, of CUDA and MPS, of CUDA's libraries."""


def run(job: Job, emit: Emit) -> Record:
    """Train and score by the job's spec, and write the record to the run's folder.

    Training resumes where an earlier one of the same key was interrupted, and one that was finished
    is only scored. A run that diverges or fails is a record as well, with its reason, and its
    traceback in a file.

    Raises:
        Interrupted: Ctrl-C or the like; what was trained is on disk.
        RankLost: another process of `torchrun` has ended.
    """
    progress, trace = Progress(), b""
    try:
        with fixed_threads(job.spec.threads):
            record = train_and_evaluate(job, emit, progress)
    except RankLost:
        raise
    except FAILURES as error:  # one failing run must not stop the others
        if not isinstance(error, Diverged | ContractError):
            trace = traceback.format_exc().encode(errors="replace")
        status: Status = "diverged" if isinstance(error, Diverged) else "failed"
        reason = describe_failure(error)
        record = unfinished(job, status, reason, progress.pictures, progress.model)
    try:
        write_outcome(job, record, progress.history, trace)
    except OSError as error:
        reasons = [record.reason] if record.status == "failed" and record.reason else []
        reasons.append(f"its record cannot be written: {describe_failure(error)}")
        return unfinished(job, "failed", "; ".join(reasons), model=progress.model)
    return record


def is_disk_full(record: Record) -> bool:
    """Return whether a run failed since the disk is full, as the others would too."""
    return record.status == "failed" and FULL in (record.reason or "")


def write_outcome(
    job: Job, record: Record, history: Sequence[dict[str, float]] = (), trace: bytes = b""
) -> None:
    """Write a run's record, history and traceback; a failure replaces no record of a success."""
    path = job.folder / "traceback.txt"
    path.unlink(missing_ok=True)
    if trace:
        write_atomically(path, trace)
    if history:
        write_atomically(job.folder / "history.csv", format_csv(history))
    if record.status != "failed" or job.afresh or find_finished(job) is None:
        write_record(job.folder, record)
    if record.status == "diverged":
        (job.checkpoint / "state.safetensors").unlink(missing_ok=True)


def write_failure(
    job: Job, reason: str, pictures: dict[str, Picture] | None, trace: bytes = b""
) -> Record:
    """Write the record of a run whose worker could not, where the disk has room for it."""
    record = unfinished(job, "failed", reason, pictures)
    with suppress(OSError):
        write_outcome(job, record, trace=trace)
    return record


def describe_failure(error: BaseException) -> str:
    """Return in one line what went wrong, the user's own limits first."""
    if isinstance(error, Diverged | ContractError):
        return str(error)
    if isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError) and any(text in str(error) for text in OUT_OF_MEMORY)
    ):
        return f"out of memory: {one_line(error)}; try a smaller batch, or fewer runs side by side"
    if isinstance(error, OSError) and error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return f"{FULL} of {error.filename}"
    return describe_error(error)


def train_and_evaluate(job: Job, emit: Emit, progress: Progress) -> Record:
    """Train the model unless it is trained already, score it, and write what it generates."""
    spec = job.spec
    if job.afresh:
        shutil.rmtree(job.checkpoint, ignore_errors=True)
    settings = (spec.data, spec.extractor, spec.samples, spec.reconstructions)
    evaluator = load_evaluator(*settings, job.place, spec.device, spec.views)
    if found := find_trained(job, emit):
        emit(Started(spec.name, found.known.training.steps, found.known.training.steps))
    trained = found or train_model(job, evaluator, emit, progress)
    model = build_model(spec, evaluator.data.shape).to(spec.device).eval()
    model.load_state_dict(trained.last)
    progress.model = describe_model(model)
    progress.history[:] = [
        {key: value for key, value in row.items() if value is not None}
        for row in trained.known.history
    ]
    return evaluate_model(job, evaluator, model, trained, again=found is not None)


def evaluate_model(
    job: Job, evaluator: Evaluator, model: GenerativeModel, trained: Weights, *, again: bool
) -> Record:
    """Score a trained model and its best checkpoint, and write the generated images."""
    started, known, seed = time.perf_counter(), trained.known, derive_seed(job.seed, "evaluation")
    torch.manual_seed(seed)
    evaluator.finish(model, seed)
    made = evaluator.generate(model, seed)
    scores = evaluator.score(made, model)
    if job.spec.likelihood is not None:
        scores += score_likelihood(evaluator, model, job.spec.likelihood, seed)
    last = next(s for s in scores if s.metric == "fid") if known.training.last_is_best else None
    model.load_state_dict(trained.best)
    scores.append(evaluator.score_best(model, seed, known.chosen_by, last))
    write_pictures(job.folder, made)
    archive = io.BytesIO()
    np.savez_compressed(archive, images=made.samples.numpy())
    write_atomically(job.folder / "samples.npz", archive.getbuffer())
    alike = find_collapse(Variety(made.samples.numpy()), Variety(evaluator.test.numpy()))
    seconds = time.perf_counter() - started
    return Record(
        **identify_row(job),
        seed=job.spec.seed,
        environment=known.environment,
        code=known.code,
        status="collapsed" if alike else "ok",
        reason=alike,
        model=describe_model(model),
        scores=scores,
        metrics=name_metrics(scores),
        costs=known.costs.model_copy(update={"score_seconds": seconds}),
        training=known.training,
        pictures={name: picture for name, (picture, _) in made.pictures.items()} | known.pictures,
        scored=read_environment(gpu_name(job.spec)) if again else None,
        layout=evaluator.data.layout,
    )


def name_metrics(scores: list[Score]) -> list[str]:
    """List the metrics that a run has been scored by; one that has failed is computed again."""
    return sorted(METRICS.keys() - {score.metric for score in scores if score.failed})


def calibrate(job: Job, evaluator: Evaluator) -> list[Record]:
    """Score real training images and noise as any `job` of the suite; write two records."""
    jobs = [calibration_job(job, name) for name in PROTOCOLS]
    kept = [(job, find_finished(job)) for job in jobs if not job.afresh]
    whole = [(j, r) for j, r in kept if r and not find_missing(r) and not find_lost(j, r)]
    records = [record for _, record in whole]
    if len(records) == len(jobs):
        return records
    try:
        made = generate_calibration(evaluator)
        return [write_calibration(job, evaluator, made[job.spec.contender]) for job in jobs]
    except OSError:
        raise
    except FAILURES as error:
        failed = [unfinished(row, "failed", describe_failure(error)) for row in jobs]
        for row, record in zip(jobs, failed, strict=True):
            write_outcome(row, record)
        return failed


def calibration_job(job: Job, name: str) -> Job:
    """Return the job of a calibration row, which is scored as a run, but not trained."""
    fields = {"contender": name, "family": CALIBRATION, "model": name, "model_version": ""}
    numbers = {"seed": 0, "images": 0, "batch": 0, "evaluations": 0, "shards": 1}
    spec = job.spec.model_copy(update=fields | {"settings": {}, "sampler": None} | numbers)
    return replace(job, spec=spec)


def write_calibration(job: Job, evaluator: Evaluator, made: Generated) -> Record:
    """Score a calibration row and write its record."""
    scores = score_calibration(evaluator, job.spec.contender, made)
    record = Record(
        **identify_row(job),
        status="ok",
        scores=scores,
        metrics=name_metrics(scores),
        pictures={key: picture for key, (picture, _) in made.pictures.items()},
        environment=read_environment(gpu_name(job.spec)),
        layout=evaluator.data.layout,
        shape=evaluator.data.shape,
    )
    write_pictures(job.folder, made)
    write_record(job.folder, record)
    return record


def write_pictures(folder: Path, made: Generated) -> None:
    """Write the pictures of a run."""
    for picture, content in made.pictures.values():
        write_atomically(folder / picture.file, content)


def format_csv(rows: Sequence[dict[str, float]]) -> bytes:
    """Format rows as CSV, with a column for every key of any of them."""
    text, columns = io.StringIO(), list(dict.fromkeys(key for row in rows for key in row))
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(map(escape_csv, columns))
    writer.writerows([row.get(name) for name in columns] for row in rows)
    return text.getvalue().encode()


def identify_row(job: Job) -> dict[str, Any]:
    """Return the fields of a record that say what it is of."""
    return {
        "run": job.spec.name,
        "suite": job.suite,
        "dataset": job.spec.data.name,
        "contender": job.spec.contender,
        "family": job.spec.family,
        "spec": job.spec.model_dump(mode="json"),
    }


def unfinished(
    job: Job,
    status: Status,
    reason: str,
    pictures: dict[str, Picture] | None = None,
    model: ModelTraits | None = None,
) -> Record:
    """Return the record of a run that failed or diverged, with the pictures so far."""
    return Record(
        **identify_row(job),
        seed=None if job.spec.family == CALIBRATION else job.spec.seed,
        environment=read_environment(gpu_name(job.spec)),
        code=hash_model(job.spec.model),
        pictures=pictures or {},
        model=model,
        status=status,
        reason=reason,
    )
