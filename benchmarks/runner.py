"""One run: a spec becomes a record on disk, whatever happens on the way."""

import csv
import io
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import ValidationError
from safetensors import SafetensorError
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]
from torch import Tensor

from benchmarks import costs
from benchmarks.catalogue import load_model
from benchmarks.checkpoint import load_tensors, save_tensors
from benchmarks.data import Dataset, load_dataset
from benchmarks.errors import BadInput, one_line
from benchmarks.protocol import Evaluator, Generated, as_tensor
from benchmarks.records import (
    CALIBRATION,
    Costs,
    Record,
    Score,
    Status,
    Training,
    environment,
    read_record,
    write_atomically,
    write_record,
)
from benchmarks.seeds import derive_seed
from benchmarks.suite import DataSpec, RunSpec
from benchmarks.training import Diverged, Plan, snapshot, train
from metrics import METRICS, Extractor, Material, build_extractor
from models.game import GenerativeModel

Report = Callable[[int, int, int, dict[str, float]], None]
"""Is told the step, the steps in all, the images seen and the mean losses."""

WEIGHTS = ("model", "best")
"""The files of a checkpoint that are scored."""


@dataclass(frozen=True)
class Place:
    """Where a run finds what it needs, and where it leaves what it makes.

    Attributes:
        folder: of the suite's results.
        data_root: of the data sets' files.
        cache: of trained extractors.
        weights: of the `inception` extractor, None to download them.
    """

    folder: Path
    data_root: Path
    cache: Path
    weights: Path | None = None


@dataclass(frozen=True)
class Job:
    """A run to do: its spec, its suite's name and where it takes place.

    With `trained` it has been trained already, and is only to be scored anew from its checkpoint.
    """

    spec: RunSpec
    suite: str
    place: Place
    trained: bool = False

    @property
    def folder(self) -> Path:
        """The run's own folder."""
        return self.place.folder / "runs" / self.spec.name

    @property
    def seed(self) -> int:
        """The base of all the run's randomness."""
        return derive_seed(self.spec.seed, self.spec.data.name, self.spec.contender)


def run(job: Job, report: Report) -> Record:
    """Train and score by the job's spec, and leave the record in the run's folder.

    A run that diverges or fails is a record as well, with its reason, and its traceback in a file.

    Args:
        job: what to do.
        report: is told how training gets on.
    """
    mishap = job.folder / "traceback.txt"
    mishap.unlink(missing_ok=True)
    history: list[dict[str, float]] = []
    try:
        with fixed_threads(job.spec.threads):
            record = rescore(job, report) if job.trained else perform(job, report, history)
    except Diverged as error:
        record = unfinished(job, "diverged", str(error))
    except Exception as error:  # noqa: BLE001 - one failing run must not stop the others
        write_atomically(mishap, traceback.format_exc().encode())
        record = unfinished(job, "failed", f"{type(error).__name__}: {one_line(error)}")
    if history:
        write_atomically(job.folder / "history.csv", write_csv(history))
    if record.status == "ok" or not job.trained:  # what was trained well stays on record
        write_record(job.folder, record)
    return record


def find_finished(job: Job) -> Record | None:
    """Give the record of an earlier run of the same spec that went well, if there is one."""
    try:
        record = read_record(job.folder)
    except BadInput:
        return None
    try:
        same = RunSpec.model_validate(record.spec) == job.spec
    except ValidationError:
        return None
    return record if same and record.status == "ok" and record.suite == job.suite else None


def find_missing(record: Record) -> list[str]:
    """List the metrics that a run has not been scored by because they came later."""
    return sorted(METRICS.keys() - set(record.metrics))


def is_kept(job: Job) -> bool:
    """Tell whether a run's checkpoint is still there to be scored."""
    return all((job.folder / "checkpoint" / f"{name}.safetensors").is_file() for name in WEIGHTS)


def perform(job: Job, report: Report, history: list[dict[str, float]]) -> Record:
    """Train the model, score it, and write what it made; `history` grows while it trains."""
    spec = job.spec
    device = torch.device(spec.device)
    evaluator = load_evaluator(
        spec.data, spec.extractor, spec.samples, spec.reconstructions, job.place, spec.device
    )
    torch.manual_seed(derive_seed(job.seed, "weights"))
    model = build_model(spec, evaluator.data.shape).to(device)
    measured = measure_flops(model, spec)
    plan = Plan(
        steps=count_steps(spec, model),
        batch=spec.batch,
        seed=derive_seed(job.seed, "training"),
        evaluations=spec.evaluations,
        precision=spec.precision,
        compile=spec.compile,
    )

    seen = plan.batch * busiest(model)
    report(0, plan.steps, 0, {})
    costs.reset_peak_memory(device)
    trained = train(
        model,
        resident(evaluator.train, device),
        resident(evaluator.source_train, device),
        plan,
        evaluate=lambda average: evaluator.validate(average, derive_seed(job.seed, "validation")),
        report=lambda step, losses: report(step, plan.steps, step * seen, losses),
        history=history,
    )
    measured.peak_memory_mb = costs.read_peak_memory(device)
    measured.train_seconds = trained.seconds
    measured.images_per_second = history[-1]["images"] / trained.seconds

    started = time.perf_counter()
    made, scores, last = judge(job, evaluator, trained.model, trained.best)
    measured.score_seconds = time.perf_counter() - started

    leave_images(job.folder, made)
    leave_weights(job.folder, {"model": last, "best": trained.best, "unaveraged": trained.last})
    return Record(
        **identity(job),
        status="ok",
        scores=scores,
        metrics=sorted(METRICS),
        costs=measured,
        training=Training(
            steps=plan.steps,
            batch=plan.batch,
            images=int(history[-1]["images"]),
            best_step=trained.best_step,
        ),
        pictures={name: picture for name, (picture, _) in made.pictures.items()},
    )


def rescore(job: Job, report: Report) -> Record:
    """Score a trained run anew by the weights in its checkpoint; its training stays on record."""
    record = read_record(job.folder)
    spec = job.spec
    evaluator = load_evaluator(
        spec.data, spec.extractor, spec.samples, spec.reconstructions, job.place, spec.device
    )
    model = build_model(spec, evaluator.data.shape).to(spec.device).eval()
    last, best = (load_tensors(job.folder / "checkpoint" / f"{w}.safetensors") for w in WEIGHTS)
    model.load_state_dict(last)
    steps = count_steps(spec, model)
    report(0, steps, 0, {})
    report(steps, steps, record.training.images if record.training else 0, {})
    started = time.perf_counter()
    made, scores, _ = judge(job, evaluator, model, best)
    costs = record.costs.model_copy(update={"score_seconds": time.perf_counter() - started})
    leave_images(job.folder, made)
    return record.model_copy(
        update={
            "scores": scores,
            "metrics": sorted(METRICS),
            "costs": costs,
            "pictures": {name: picture for name, (picture, _) in made.pictures.items()},
            "scored": environment(gpu_name(spec)),
        }
    )


def judge(
    job: Job, evaluator: Evaluator, model: GenerativeModel, best: dict[str, Tensor]
) -> tuple[Generated, list[Score], dict[str, Tensor]]:
    """Let a trained model generate, and score it and its best checkpoint.

    Returns:
        What it made, its scores, and its weights as they were completed on the training images.
    """
    seed = derive_seed(job.seed, "evaluation")
    made = evaluator.generate(model, seed)
    scores = evaluator.score(made, model)
    if job.spec.likelihood is not None:
        scores += evaluator.score_likelihood(model, job.spec.likelihood, seed)
    last = snapshot(model)
    model.load_state_dict(best)
    scores.append(evaluator.best_score(model, seed))
    return made, scores, last


def calibrate(spec: RunSpec, suite: str, place: Place, evaluator: Evaluator) -> list[Record]:
    """Score real training images and noise as if a model had made them; leave two records."""
    records = []
    for name, made in evaluator.calibrate().items():
        fields = {"contender": name, "family": CALIBRATION, "model": name, "model_version": ""}
        nothing = {"settings": {}, "seed": 0, "images": 0, "batch": 0, "evaluations": 0}
        own = spec.model_copy(update=fields | nothing)
        record = Record(
            run=f"{name}-{own.hash}",
            suite=suite,
            dataset=spec.data.name,
            contender=name,
            family=CALIBRATION,
            status="ok",
            spec=own.model_dump(),
            scores=evaluator.score_calibration(name, made),
            metrics=sorted(METRICS),
            pictures={key: picture for key, (picture, _) in made.pictures.items()},
            environment=environment(),
        )
        folder = place.folder / "runs" / record.run
        leave_pictures(folder, made)
        write_record(folder, record)
        records.append(record)
    return records


@lru_cache(maxsize=2)
def load_evaluator(
    data: DataSpec,
    extractor: str,
    samples: int,
    reconstructions: int,
    place: Place,
    device: str,
) -> Evaluator:
    """Load the data and the extractor of a run, once a process."""
    images = load_dataset(
        data.name,
        data_root=place.data_root,
        source=data.source,
        image_size=data.image_size,
        channels=data.channels,
        download=False,
    )
    if images.fingerprint != data.fingerprint:
        raise BadInput(f"the images of {data.name} have changed since the run was planned")
    built = load_extractor(extractor.partition("@")[0], images, place, device)
    if "@" in extractor and str(built) != extractor:
        raise BadInput(f"the extractor is {built}, not {extractor} as when the run was planned")
    return Evaluator(images, built, samples, reconstructions, place.cache)


def load_extractor(name: str, images: Dataset, place: Place, device: str) -> Extractor:
    """Build the extractor `name`, training, downloading or reading what it needs.

    Raises:
        BadInput: the data or the weights are not enough for it.
    """
    labels = images.train.labels
    try:
        return build_extractor(
            name,
            Material(
                images=as_tensor(images.train.images),
                labels=None if labels is None else as_tensor(labels),
                classes=len(images.class_names) if images.class_names else None,
                key=images.fingerprint,
                cache=place.cache,
                weights=place.weights,
                device=device,
            ),
        )
    except (ValueError, SafetensorError) as error:
        raise BadInput(f"extractor {name!r}: {one_line(error)}") from error


def build_model(spec: RunSpec, shape: tuple[int, int, int]) -> GenerativeModel:
    """Build a spec's model with its initial weights."""
    kind = load_model(spec.model)
    return kind(kind.Config.model_validate(spec.settings), shape)


def count_steps(spec: RunSpec, model: GenerativeModel) -> int:
    """Turn the budget of training images into rounds: the busiest player sees all of them."""
    return max(1, spec.images // (spec.batch * busiest(model)))


def estimate_work(spec: RunSpec, shape: tuple[int, int, int]) -> int:
    """Count the operations of a run's whole training, to start the longest runs first."""
    model = build_model(spec, shape)
    return costs.count_training_flops(model, spec.batch) * count_steps(spec, model)


def busiest(model: GenerativeModel) -> int:
    """Give the number of updates a round of the player who takes the most."""
    return max(player.updates for player in model.players())


def measure_flops(model: GenerativeModel, spec: RunSpec) -> Costs:
    """Count the parameters and operations of a model before it is trained."""
    return Costs(
        parameters=costs.count_parameters(model),
        training_flops_per_step=costs.count_training_flops(model, spec.batch),
        sampling_flops_per_image=costs.count_sampling_flops(model),
    )


def resident(images: Tensor, device: torch.device) -> Tensor:
    """Put images where batches are drawn from: on the GPU if they take up to 8 GiB."""
    return images.to(device) if device.type == "cuda" and images.nbytes < 8 * 2**30 else images


def leave_images(folder: Path, made: Generated) -> None:
    """Write the pictures and the scored images of a run."""
    leave_pictures(folder, made)
    archive = io.BytesIO()
    np.savez_compressed(archive, images=made.samples.numpy())
    write_atomically(folder / "samples.npz", archive.getvalue())


def leave_weights(folder: Path, weights: dict[str, dict[str, Tensor]]) -> None:
    """Write a run's weights, each kind to a file."""
    for name, tensors in weights.items():
        save_tensors(folder / "checkpoint" / f"{name}.safetensors", tensors)


def leave_pictures(folder: Path, made: Generated) -> None:
    """Write the pictures of a run."""
    for picture, content in made.pictures.values():
        write_atomically(folder / picture.file, content)


def write_csv(rows: list[dict[str, float]]) -> bytes:
    """Write rows as CSV, a column for every key that any of them has."""
    columns = list(dict.fromkeys(key for row in rows for key in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
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
        "spec": job.spec.model_dump(),
        "environment": environment(gpu_name(job.spec)),
    }


def gpu_name(spec: RunSpec) -> str | None:
    """Give the name of the GPU that a run takes place on, None for the CPU."""
    return torch.cuda.get_device_name(spec.device) if spec.device.startswith("cuda") else None


def unfinished(job: Job, status: Status, reason: str) -> Record:
    """Give the record of a run that did not go well."""
    return Record(**identity(job), status=status, reason=reason)


@contextmanager
def fixed_threads(count: int) -> Iterator[None]:
    """Compute with `count` threads in torch and in the libraries under NumPy and SciPy."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        with threadpool_limits(count):
            yield
    finally:
        torch.set_num_threads(before)
