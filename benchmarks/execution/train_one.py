"""Training of one run: from its spec, or its state on disk, to its weights on disk."""

import signal
import sys
from dataclasses import dataclass, field

import torch
from torch import Tensor

from benchmarks.config.registry import load_model
from benchmarks.config.spec import RunSpec
from benchmarks.core.errors import FAILURES, BadInput
from benchmarks.core.files import write_atomically
from benchmarks.core.seeds import derive_seed
from benchmarks.core.signals import SIGNALS, uninterruptible
from benchmarks.core.tensors import as_tensor
from benchmarks.core.threads import fixed_threads
from benchmarks.data import Truth
from benchmarks.evaluation.evaluator import Evaluator, load_run_data
from benchmarks.evaluation.pictures import extend_film, render_samples
from benchmarks.execution.events import Advanced, Drawn, Emit, Saved, Started
from benchmarks.execution.job import Job
from benchmarks.execution.plan import model_version, sampling_fields
from benchmarks.execution.resume import (
    FILM,
    RunCheckpointer,
    Weights,
    find_state,
    quarantine,
    save_training,
)
from benchmarks.execution.smoke import run_smoke_step
from benchmarks.records.environment import read_environment
from benchmarks.records.schema import Costs, ModelTraits, Picture, TrainedRecord, Training
from benchmarks.training.distributed import (
    FailedAlone,
    RankLost,
    World,
    current_world,
    process_group,
)
from benchmarks.training.flops import read_peak_memory, reset_peak_memory
from benchmarks.training.loop import (
    StateMismatch,
    Trained,
    TrainingConfig,
    TrainingState,
    evenly_spaced,
    snapshot,
    train,
)
from models.base import GenerativeModel

FRAMES = 20
"""Validations, at most, of which the film of a training shows what was generated."""


@dataclass
class Progress:
    """What is known of a run so far, for its record should it fail."""

    history: list[dict[str, float]] = field(default_factory=list)
    pictures: dict[str, Picture] = field(default_factory=dict)
    model: ModelTraits | None = None


def train_model(job: Job, evaluator: Evaluator, emit: Emit, progress: Progress) -> Weights:
    """Train a model from its state on disk, or from its beginning, and save its weights.

    Raises:
        Diverged, ContractError: the model does; or whatever it raises itself.
        RankLost: another process of `torchrun` has ended, or is out of step.
    """
    state = find_state(job, emit)
    try:
        return train_from(state, job, evaluator, emit, progress)
    except StateMismatch as error:
        quarantine(job, emit, f"the checkpoint is another model's: {error}", "state.safetensors")
        return train_from(None, job, evaluator, emit, progress)


def train_from(
    state: TrainingState | None, job: Job, evaluator: Evaluator, emit: Emit, progress: Progress
) -> Weights:
    """Train a model from a state, and save its weights."""
    spec, device, world = job.spec, torch.device(job.spec.device), current_world.get()
    torch.manual_seed(derive_seed(job.seed, "weights"))
    model = build_model(spec.training, evaluator.data.shape).to(device)
    progress.model = describe_model(model)
    costs = measure_costs(model, spec, evaluator.train, evaluator.source_train)
    inputs = gather_inputs(job, model, evaluator.train, evaluator.source_train)
    steps, checkpointer = count_steps(spec, model), RunCheckpointer(job, emit, state)
    validations = min(spec.evaluations, steps)

    def evaluate(average: GenerativeModel) -> float:
        score, images = evaluator.validate(average, derive_seed(job.seed, "validation"))
        if model.validation_samples is not None:
            progress.history[-1]["validation_samples"] = len(images)
        write_progress(checkpointer, progress, validations, images, evaluator.data.truth)
        emit(Drawn(spec.name, dict(progress.pictures)))
        return score

    def report(step: int, losses: dict[str, float]) -> None:
        emit(Advanced(spec.name, step, int(progress.history[-1]["images"]), losses))

    emit(Started(spec.name, steps, state.step if state else 0))
    reset_peak_memory(device)
    # What has been trained is written before an interruption ends this.
    with uninterruptible():
        with world.in_step():
            world.broadcast(job)
            trained = train(
                *inputs,
                evaluate=evaluate,
                report=report,
                history=progress.history,
                state=state,
                checkpointer=checkpointer,
                world=world,
            )
        costs.peak_memory_mb = max(checkpointer.peak_memory_mb, read_peak_memory(device))
        known = describe_training(spec, costs, trained, checkpointer)
        last = snapshot(trained.model)
        save_training(job, known, {"model": last, "best": trained.best, "unaveraged": trained.last})
        emit(Saved(spec.name, steps))
    return Weights(known, last, trained.best)


def follow_rank_0() -> int:
    """Train along with rank 0 of `torchrun`; return exit code 1 where this process alone failed."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)  # rank 0 stops in good order, and this one with it
    try:
        with process_group() as world:
            while (job := world.broadcast(None)) is not None:
                train_along(job, world)
    except FailedAlone as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except RankLost:
        return 0  # the lost one says what there is to say
    except ConnectionError:
        return 1
    return 0


def train_along(job: Job, world: World) -> None:
    """Train on this rank's part of every batch; rank 0 sends the weights and keeps the outcome."""
    spec = job.spec
    try:
        with fixed_threads(spec.threads), world.in_step():
            data = load_run_data(spec.data, job.place)
            model = build_model(spec.training, data.shape).to(spec.device)
            images, source = as_tensor(data.train.images), as_tensor(data.source_train.images)
            inputs = gather_inputs(job, model, images, source)
            # Rank 0 evaluates and reports.
            train(*inputs, evaluate=lambda _: 0.0, report=lambda *_: None, world=world)
    except RankLost:
        raise
    except FAILURES:
        return  # all ranks have failed alike, which rank 0 records


def gather_inputs(
    job: Job, model: GenerativeModel, images: Tensor, source: Tensor
) -> tuple[GenerativeModel, Tensor, Tensor | None, TrainingConfig]:
    """Return the model, the images, the sources and the config by which `train` does a job."""
    spec, device = job.spec, model.device
    config = TrainingConfig(
        steps=count_steps(spec, model),
        batch=spec.batch,
        seed=derive_seed(job.seed, "training"),
        evaluations=spec.evaluations,
        precision=spec.precision,
        compile=spec.compile,
    )
    sources = resident(source, device) if model.uses_source else None
    return model, resident(images, device), sources, config


def write_progress(
    checkpointer: RunCheckpointer,
    progress: Progress,
    validations: int,
    images: Tensor,
    truth: Truth | None,
) -> None:
    """Write a picture of what a model generates now, and one of how that has evolved.

    `validations` is how many there are in the whole training.
    """
    job, (picture, content) = checkpointer.job, render_samples(images, truth)
    write_atomically(job.folder / picture.file, content)
    progress.pictures["samples"] = picture
    *earlier, now = progress.history
    number = 1 + sum("validation_fid" in row for row in earlier)
    if number in evenly_spaced(validations, FRAMES):
        film, path = checkpointer.film, job.folder / FILM
        rows, columns, content = extend_film(path, film.rows if film else 0, images, truth)
        write_atomically(path, content)
        seen = [*(film.seen if film else ()), int(now["images"])][-rows:]
        checkpointer.film = Picture(file=FILM, rows=rows, columns=columns, seen=seen)
    if checkpointer.film:
        progress.pictures["evolution"] = checkpointer.film


def describe_training(
    spec: RunSpec, costs: Costs, trained: Trained, checkpointer: RunCheckpointer
) -> TrainedRecord:
    """Return the record that is kept beside a trained model's weights."""
    steps, images = (int(trained.history[-1][name]) for name in ("step", "images"))
    costs.train_seconds, costs.images_per_second = trained.seconds, images / trained.seconds
    return TrainedRecord(
        key=spec.training_key,
        training=Training(
            steps=steps,
            batch=spec.batch,
            images=images,
            best_step=trained.best_step,
            validation=spec.sampler.validation if spec.sampler else {},
        ),
        costs=costs,
        history=[dict[str, float | None](row) for row in trained.history],
        chosen_by=spec.extractor,
        environment=read_environment(gpu_name(spec)),
        pictures={"evolution": checkpointer.film} if checkpointer.film else {},
        code=checkpointer.code,
    )


def describe_model(model: GenerativeModel) -> ModelTraits:
    """Return a model's traits: all that reports say of it follows from them."""
    reconstructs = type(model).reconstruct is not GenerativeModel.reconstruct
    fields, sampling = type(model.config).model_fields, sampling_fields(type(model))
    tuned = (
        getattr(model.config, name) != about.get_default(call_default_factory=True)
        for name, about in fields.items()
        if name not in sampling
    )
    return ModelTraits(
        uses_source=model.uses_source,
        code_size=model.code_size if reconstructs else None,
        reconstruction=model.reconstruction if reconstructs else None,
        tuned=sum(tuned),
        note=model.caveat,
    )


def build_model(spec: RunSpec, shape: tuple[int, int, int]) -> GenerativeModel:
    """Build a spec's model with its initial weights; refuse code that has changed since planned."""
    kind = load_model(spec.model)
    if model_version(spec.model, kind) != spec.model_version:
        raise BadInput(f"the code of {spec.model} has changed since the run was planned")
    return kind(kind.Config.model_validate(spec.settings), shape)


def count_steps(spec: RunSpec, model: GenerativeModel) -> int:
    """Count the steps in which the player with the most updates sees the budget of images."""
    most = max(player.updates for player in model.players())
    return max(1, spec.images // (spec.batch * most))


_tried: dict[str, Costs] = {}
"""The costs that smoke steps in this process have measured, by training and settings."""


def measure_costs(model: GenerativeModel, spec: RunSpec, train: Tensor, source: Tensor) -> Costs:
    """Measure a model by `run_smoke_step` before training, once for all seeds of a contender."""
    key = f"{spec.model_copy(update={'seed': 0}).training_key} {model.config}"
    if key not in _tried:
        _tried[key] = run_smoke_step(model, spec.batch, train, source)
    return _tried[key].model_copy()


def resident(images: Tensor, device: torch.device) -> Tensor:
    """Return images where batches are drawn from: on the GPU if they take up to 8 GiB."""
    return images.to(device) if device.type == "cuda" and images.nbytes < 8 * 2**30 else images


def gpu_name(spec: RunSpec) -> str | None:
    """Return the name of the GPU that a run uses; None for the CPU."""
    return torch.cuda.get_device_name(spec.device) if spec.device.startswith("cuda") else None
