"""One run: a spec becomes a record on disk, whatever happens on the way."""

import csv
import errno
import io
import shutil
import time
import traceback
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.config.registry import hash_model, load_model
from benchmarks.config.spec import CALIBRATION, RunSpec
from benchmarks.core.errors import FAILURES, BadInput, describe_error, one_line
from benchmarks.core.files import write_atomically
from benchmarks.core.seeds import derive_seed
from benchmarks.core.signals import uninterruptible
from benchmarks.core.text import escape_csv
from benchmarks.core.threads import fixed_threads
from benchmarks.data import Truth
from benchmarks.evaluation.calibration import PROTOCOLS, generate_calibration, score_calibration
from benchmarks.evaluation.collapse import Variety, find_collapse
from benchmarks.evaluation.contract import ContractError
from benchmarks.evaluation.evaluator import Evaluator, Generated, load_evaluator
from benchmarks.evaluation.likelihood import score_likelihood
from benchmarks.evaluation.pictures import extend_tiles, render_film_row, render_samples
from benchmarks.execution.events import Advanced, Drawn, Emit, Saved, Started
from benchmarks.execution.job import Job
from benchmarks.execution.plan import model_version
from benchmarks.execution.resume import (
    FILM,
    RunCheckpointer,
    find_finished,
    find_lost,
    find_missing,
    find_state,
    find_trained,
    quarantine,
    save_training,
)
from benchmarks.execution.smoke import smoke_step
from benchmarks.records.environment import read_environment
from benchmarks.records.schema import (
    Costs,
    ModelTraits,
    Picture,
    Record,
    Score,
    Status,
    TrainedRecord,
    Training,
)
from benchmarks.records.store import write_record
from benchmarks.training.distributed import called
from benchmarks.training.flops import count_training_flops, read_peak_memory, reset_peak_memory
from benchmarks.training.loop import (
    Diverged,
    StateMismatch,
    Trained,
    TrainingConfig,
    TrainingState,
    evenly_spaced,
    snapshot,
    train,
)
from metrics import METRICS
from models.base import GenerativeModel

FRAMES = 20
"""Validations, at most, of which the film of a training shows what was generated."""

FULL = "no space left on the disk"


@dataclass
class Progress:
    """How far a run has come, for its record should it come no further."""

    history: list[dict[str, float]] = field(default_factory=list)
    pictures: dict[str, Picture] = field(default_factory=dict)
    model: ModelTraits | None = None


@dataclass(frozen=True)
class Weights:
    """A trained model before `finish`: its last and best averaged weights, and what is known."""

    known: TrainedRecord
    last: dict[str, Tensor]
    best: dict[str, Tensor]


def run(job: Job, tell: Emit) -> Record:
    """Train and score by the job's spec, and leave the record in the run's folder.

    Training goes on where an earlier one of the same key was interrupted, and one that was finished
    is only scored. A run that diverges or fails is a record as well, with its reason, and its
    traceback in a file.

    Args:
        job: what to do.
        tell: is told how it gets on.

    Raises:
        Interrupted: Ctrl-C or the like; what was trained is on disk.
    """
    progress, mishap = Progress(), b""
    try:
        with fixed_threads(job.spec.threads):
            record = train_and_evaluate(job, tell, progress)
    except Diverged as error:
        record = unfinished(job, "diverged", str(error), progress.pictures, progress.model)
    except ContractError as error:
        record = unfinished(job, "failed", str(error), progress.pictures, progress.model)
    except FAILURES as error:  # one failing run must not stop the others
        mishap = traceback.format_exc().encode(errors="replace")
        reason = describe_failure(error)
        record = unfinished(job, "failed", reason, progress.pictures, progress.model)
    try:
        write_outcome(job, record, progress, mishap)
    except OSError as error:
        reason = f"its record cannot be written: {describe_failure(error)}"
        return unfinished(job, "failed", record.reason or reason, model=progress.model)
    return record


def write_outcome(job: Job, record: Record, progress: Progress, mishap: bytes) -> None:
    """Write what a run has come to; what once went well stays on record though scoring fails."""
    trouble = job.folder / "traceback.txt"
    trouble.unlink(missing_ok=True)
    if mishap:
        write_atomically(trouble, mishap)
    if progress.history:
        write_atomically(job.folder / "history.csv", write_csv(progress.history))
    if record.status != "failed" or job.afresh or find_finished(job) is None:
        write_record(job.folder, record)
    if record.status == "diverged":
        (job.checkpoint / "state.safetensors").unlink(missing_ok=True)


def describe_failure(error: BaseException) -> str:
    """Say in one line what went wrong, the user's own limits first."""
    if isinstance(error, MemoryError | torch.cuda.OutOfMemoryError) or (
        isinstance(error, RuntimeError) and "can't allocate memory" in str(error)
    ):
        return f"out of memory: {one_line(error)}; try a smaller batch, or fewer runs side by side"
    if isinstance(error, OSError) and error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return f"{FULL} of {error.filename}"
    return describe_error(error)


def train_and_evaluate(job: Job, tell: Emit, progress: Progress) -> Record:
    """Train the model unless it is trained already, score it, and write what it made."""
    spec = job.spec
    if job.afresh:
        shutil.rmtree(job.checkpoint, ignore_errors=True)
    evaluator = load_evaluator(
        *(spec.data, spec.extractor, spec.samples, spec.reconstructions, job.place, spec.device),
        spec.views,
    )
    found = find_trained(job, tell)
    if found is not None:
        tell(Started(spec.name, found[0].training.steps, found[0].training.steps))
    trained = Weights(*found) if found else train_model(job, evaluator, tell, progress)
    model = build_model(spec, evaluator.data.shape).to(spec.device).eval()
    model.load_state_dict(trained.last)
    progress.model = describe_model(model)
    progress.history[:] = [
        {key: value for key, value in row.items() if value is not None}
        for row in trained.known.history
    ]
    return evaluate_model(job, evaluator, model, trained, again=found is not None)


def train_model(job: Job, evaluator: Evaluator, tell: Emit, progress: Progress) -> Weights:
    """Train a model from where it was left, or from its beginning, and leave it on disk."""
    state = find_state(job, tell)
    if state is None:
        return train_from(job, evaluator, tell, progress, None)
    try:
        return train_from(job, evaluator, tell, progress, state)
    except StateMismatch as error:
        quarantine(job, tell, f"the checkpoint is another model's: {error}", "state.safetensors")
        return train_from(job, evaluator, tell, progress, None)


def train_from(
    job: Job, evaluator: Evaluator, tell: Emit, progress: Progress, state: TrainingState | None
) -> Weights:
    """Train a model from a state, and leave it on disk."""
    spec = job.spec
    device = torch.device(spec.device)
    torch.manual_seed(derive_seed(job.seed, "weights"))
    model = build_model(spec.training, evaluator.data.shape).to(device)
    progress.model = describe_model(model)
    measured = take_smoke_step(model, spec, evaluator.train, evaluator.source_train)
    plan = make_training_config(job, model)
    seen = plan.batch * busiest(model)
    checkpointer = RunCheckpointer(job, tell, state)

    def evaluate(average: GenerativeModel) -> float:
        own = derive_seed(job.seed, "validation")
        score, images = evaluator.validate(average, own, shards)
        show_progress(job, plan, progress, checkpointer, images, evaluator.data.truth)
        tell(Drawn(spec.name, dict(progress.pictures)))
        return score

    tell(Started(spec.name, plan.steps, state.step if state else 0))
    reset_peak_memory(device)
    # What has been trained is left on disk before an interruption ends this.
    with uninterruptible():
        with called("train", job, spec.shards) as shards:
            trained = train(
                model,
                resident(evaluator.train, device),
                resident(evaluator.source_train, device),
                plan,
                evaluate=evaluate,
                report=lambda step, losses: tell(Advanced(spec.name, step, step * seen, losses)),
                history=progress.history,
                state=state,
                checkpointer=checkpointer,
                shards=shards,
            )
        measured.peak_memory_mb = max(checkpointer.peak_memory_mb, read_peak_memory(device))
        known = describe_training(spec, plan, measured, trained, checkpointer)
        last = snapshot(trained.model)
        weights = {"model": last, "best": trained.best, "unaveraged": trained.last}
        save_training(job, known, weights)
        tell(Saved(spec.name, plan.steps))
    return Weights(known, last, trained.best)


def show_progress(
    job: Job,
    plan: TrainingConfig,
    progress: Progress,
    checkpointer: RunCheckpointer,
    images: Tensor,
    truth: Truth | None,
) -> None:
    """Leave a picture of what a model generates now, and one of how that has evolved."""
    picture, content = render_samples(images, truth)
    write_atomically(job.folder / picture.file, content)
    progress.pictures["samples"] = picture
    *earlier, now = progress.history
    number = 1 + sum("validation_fid" in row for row in earlier)
    if number in evenly_spaced(min(plan.evaluations, plan.steps), FRAMES):
        row, film = render_film_row(images, truth), checkpointer.film
        rows, content = extend_tiles(job.folder / FILM, film.rows if film else 0, row)
        write_atomically(job.folder / FILM, content)
        seen = [*(film.seen if film else ()), int(now["images"])][-rows:]
        checkpointer.film = Picture(file=FILM, rows=rows, columns=len(row), seen=seen)
    if checkpointer.film:
        progress.pictures["evolution"] = checkpointer.film


def describe_training(
    spec: RunSpec,
    plan: TrainingConfig,
    measured: Costs,
    trained: Trained,
    checkpointer: RunCheckpointer,
) -> TrainedRecord:
    """Put down what is to be known of a trained model beside its weights."""
    images = int(trained.history[-1]["images"])
    measured.train_seconds = trained.seconds
    measured.images_per_second = images / trained.seconds
    return TrainedRecord(
        key=spec.training_key,
        training=Training(
            steps=plan.steps,
            batch=plan.batch,
            images=images,
            best_step=trained.best_step,
            validation=spec.sampler.validation if spec.sampler else {},
        ),
        costs=measured,
        history=[dict[str, float | None](row) for row in trained.history],
        chosen_by=spec.extractor,
        environment=read_environment(gpu_name(spec)),
        pictures={"evolution": checkpointer.film} if checkpointer.film else {},
        code=checkpointer.code,
    )


def make_training_config(job: Job, model: GenerativeModel) -> TrainingConfig:
    """Say how long, and on what, a job's model is trained."""
    return TrainingConfig(
        steps=count_steps(job.spec, model),
        batch=job.spec.batch,
        seed=derive_seed(job.seed, "training"),
        evaluations=job.spec.evaluations,
        precision=job.spec.precision,
        compile=job.spec.compile,
    )


def evaluate_model(
    job: Job, evaluator: Evaluator, model: GenerativeModel, trained: Weights, *, again: bool
) -> Record:
    """Let a trained model generate, score it and its best checkpoint, and leave what it made."""
    started, known = time.perf_counter(), trained.known
    seed = derive_seed(job.seed, "evaluation")
    torch.manual_seed(seed)
    evaluator.complete(model, seed)
    with called("draw", job, job.spec.shards) as shards:
        made = evaluator.generate(model, seed, shards)
    scores = evaluator.score(made, model)
    if job.spec.likelihood is not None:
        scores += score_likelihood(evaluator, model, job.spec.likelihood, seed)
    model.load_state_dict(trained.best)
    with called("draw", job, job.spec.shards) as shards:
        scores.append(evaluator.best_score(model, seed, known.chosen_by, shards))
    leave_images(job.folder, made)
    alike = find_collapse(Variety(made.samples.numpy()), Variety(evaluator.test.numpy()))
    seconds = time.perf_counter() - started
    now = read_environment(gpu_name(job.spec))
    return Record(
        **identity(job) | {"environment": known.environment, "code": known.code},
        status="collapsed" if alike else "ok",
        reason=alike,
        model=describe_model(model),
        scores=scores,
        metrics=name_metrics(scores),
        costs=known.costs.model_copy(update={"score_seconds": seconds}),
        training=known.training,
        pictures={name: picture for name, (picture, _) in made.pictures.items()} | known.pictures,
        scored=now if again else None,
        layout=evaluator.data.layout,
    )


def name_metrics(scores: list[Score]) -> list[str]:
    """Name the metrics that a run has been scored by; one that has failed is to be asked again."""
    return sorted(METRICS.keys() - {score.metric for score in scores if score.failed})


def describe_model(model: GenerativeModel) -> ModelTraits:
    """Say what a model is like: all that reports say of it follows from this."""
    reconstructs = type(model).reconstruct is not GenerativeModel.reconstruct
    return ModelTraits(
        uses_source=model.uses_source,
        code_size=model.code_size,
        reconstruction=model.reconstruction if reconstructs else None,
        tuned=count_tuned(model),
        note=model.caveat,
    )


def count_tuned(model: GenerativeModel) -> int:
    """Count the hyper-parameters that are not at their defaults, those of sampling left out."""
    fields = type(model.config).model_fields
    return sum(
        getattr(model.config, name) != about.get_default(call_default_factory=True)
        for name, about in fields.items()
        if not (isinstance(extra := about.json_schema_extra, dict) and extra.get("sampling"))
    )


def calibrate(job: Job, evaluator: Evaluator) -> list[Record]:
    """Score real training images and noise as if a model had made them; leave two records.

    Args:
        job: any of the suite's; the others are scored in the same way.
        evaluator: by which they are.
    """
    jobs = [calibration_job(job, name) for name in PROTOCOLS]
    kept = [(job, find_finished(job)) for job in jobs if not job.afresh]
    whole = [(j, r) for j, r in kept if r and not find_missing(r) and not find_lost(j, r)]
    records = [record for _, record in whole]
    if len(records) == len(jobs):
        return records
    try:
        made = generate_calibration(evaluator)
        return [leave_calibration(job, evaluator, made[job.spec.contender]) for job in jobs]
    except OSError:
        raise
    except FAILURES as error:
        failed = [unfinished(job, "failed", describe_failure(error)) for job in jobs]
        for row, record in zip(jobs, failed, strict=True):
            write_record(row.folder, record)
        return failed


def calibration_job(job: Job, name: str) -> Job:
    """Give a calibration row the spec of a run that is scored likewise, but not trained."""
    fields = {"contender": name, "family": CALIBRATION, "model": name, "model_version": ""}
    numbers = {"seed": 0, "images": 0, "batch": 0, "evaluations": 0, "shards": 1}
    spec = job.spec.model_copy(update=fields | {"settings": {}, "sampler": None} | numbers)
    return replace(job, spec=spec)


def leave_calibration(job: Job, evaluator: Evaluator, made: Generated) -> Record:
    """Score a calibration row and leave its record."""
    name = job.spec.contender
    scores = score_calibration(evaluator, name, made)
    record = Record(
        run=job.spec.name,
        suite=job.suite,
        dataset=job.spec.data.name,
        contender=name,
        family=CALIBRATION,
        status="ok",
        spec=job.spec.model_dump(mode="json"),
        scores=scores,
        metrics=name_metrics(scores),
        pictures={key: picture for key, (picture, _) in made.pictures.items()},
        environment=read_environment(),
        layout=evaluator.data.layout,
        shape=evaluator.data.shape,
    )
    leave_pictures(job.folder, made)
    write_record(job.folder, record)
    return record


def build_model(spec: RunSpec, shape: tuple[int, int, int]) -> GenerativeModel:
    """Build a spec's model with its initial weights.

    Raises:
        BadInput: its code is not what the run was planned with.
    """
    kind = load_model(spec.model)
    if model_version(spec.model, kind) != spec.model_version:
        raise BadInput(f"the code of {spec.model} has changed since the run was planned")
    return kind(kind.Config.model_validate(spec.settings), shape)


def count_steps(spec: RunSpec, model: GenerativeModel) -> int:
    """Turn the budget of training images into rounds: the busiest player sees all of them."""
    return max(1, spec.images // (spec.batch * busiest(model)))


def estimate_work(spec: RunSpec, shape: tuple[int, int, int]) -> int:
    """Count the operations of a run's whole training, to start the longest runs first.

    Of a model that fails it is 0; its run says how.
    """
    try:
        model = build_model(spec, shape)
        return count_training_flops(model, spec.batch) * count_steps(spec, model)
    except FAILURES:
        return 0


def busiest(model: GenerativeModel) -> int:
    """Give the number of updates a round of the player who takes the most."""
    return max(player.updates for player in model.players())


_tried: dict[str, Costs] = {}
"""What was measured of the contenders that this process has tried out, by training and settings."""


def take_smoke_step(model: GenerativeModel, spec: RunSpec, train: Tensor, source: Tensor) -> Costs:
    """Measure a model by a smoke step before it is trained, once for all seeds of a contender.

    Raises:
        ContractError: it returns what it must not; or whatever the model itself raises.
    """
    key = f"{spec.model_copy(update={'seed': 0}).training_key} {model.config}"
    if key not in _tried:
        _tried[key] = smoke_step(model, spec.batch, train, source)
    return _tried[key].model_copy()


def resident(images: Tensor, device: torch.device) -> Tensor:
    """Put images where batches are drawn from: on the GPU if they take up to 8 GiB."""
    return images.to(device) if device.type == "cuda" and images.nbytes < 8 * 2**30 else images


def leave_images(folder: Path, made: Generated) -> None:
    """Write the pictures and the scored images of a run."""
    leave_pictures(folder, made)
    archive = io.BytesIO()
    np.savez_compressed(archive, images=made.samples.numpy())
    write_atomically(folder / "samples.npz", archive.getbuffer())


def leave_pictures(folder: Path, made: Generated) -> None:
    """Write the pictures of a run."""
    for picture, content in made.pictures.values():
        write_atomically(folder / picture.file, content)


def write_csv(rows: list[dict[str, float]]) -> bytes:
    """Write rows as CSV, a column for every key that any of them has."""
    columns = list(dict.fromkeys(key for row in rows for key in row))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(map(escape_csv, columns))
    writer.writerows([row.get(name) for name in columns] for row in rows)
    return text.getvalue().encode()


def identity(job: Job) -> dict[str, Any]:
    """Give the fields of a record that say which run it is."""
    return {
        "run": job.spec.name,
        "suite": job.suite,
        "dataset": job.spec.data.name,
        "contender": job.spec.contender,
        "family": job.spec.family,
        "seed": job.spec.seed,
        "spec": job.spec.model_dump(mode="json"),
        "environment": read_environment(gpu_name(job.spec)),
        "code": hash_model(job.spec.model),
    }


def gpu_name(spec: RunSpec) -> str | None:
    """Give the name of the GPU that a run takes place on, None for the CPU."""
    return torch.cuda.get_device_name(spec.device) if spec.device.startswith("cuda") else None


def unfinished(
    job: Job,
    status: Status,
    reason: str,
    pictures: dict[str, Picture] | None = None,
    model: ModelTraits | None = None,
) -> Record:
    """Give the record of a run that did not go well, with the pictures of how far it came."""
    known = {**identity(job), "pictures": pictures or {}, "model": model}
    return Record(**known, status=status, reason=reason)
