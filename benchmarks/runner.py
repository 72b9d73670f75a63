"""One run: a spec becomes a record on disk, whatever happens on the way."""

import csv
import errno
import io
import os
import shutil
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
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
from benchmarks.checkpoint import Damaged, load_all, read_about, save_tensors
from benchmarks.data import Dataset, load_dataset
from benchmarks.errors import BadInput, one_line
from benchmarks.images import to_float
from benchmarks.interruption import give_way, in_hand, is_wanted
from benchmarks.messages import Advanced, Drawn, Message, Noticed, Saved, Started
from benchmarks.parallel import called
from benchmarks.protocol import PROTOCOLS, Evaluator, Generated, as_tensor
from benchmarks.records import (
    CALIBRATION,
    Costs,
    Picture,
    Record,
    Status,
    TrainedRecord,
    Training,
    environment,
    read_record,
    read_sealed,
    write_atomically,
    write_record,
    write_sealed,
)
from benchmarks.seeds import derive_seed
from benchmarks.suite import DataSpec, RunSpec
from benchmarks.training import Diverged, Misfit, Plan, State, snapshot, train
from metrics import METRICS, Extractor, Material, build_extractor
from models.game import GenerativeModel

Tell = Callable[[Message], None]
"""Is told how a run gets on."""

WEIGHTS = ("model", "best", "unaveraged")
"""The files of weights that a trained model leaves."""

FINISHED = ("ok", "collapsed", "diverged")
"""What a run that is done again would come to again."""

ALIKE = 0.05
"""Samples that vary by less than this share of what the test images do count as all alike."""

FULL = "no space left on the disk"


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

    Attributes:
        checkpoint_seconds: after how long the state of training is written down again.
        afresh: whether nothing of an earlier training counts.
    """

    spec: RunSpec
    suite: str
    place: Place
    checkpoint_seconds: float = 30.0
    afresh: bool = False

    @property
    def folder(self) -> Path:
        """The run's own folder."""
        return self.place.folder / "runs" / self.spec.name

    @property
    def checkpoint(self) -> Path:
        """The folder of its weights, and of its training while that goes on."""
        return self.folder / "checkpoint"

    @property
    def seed(self) -> int:
        """The base of all the run's randomness."""
        return derive_seed(self.spec.seed, self.spec.data.name, self.spec.contender)


@dataclass
class Progress:
    """How far a run has come, for its record should it come no further."""

    history: list[dict[str, float]] = field(default_factory=list)
    pictures: dict[str, Picture] = field(default_factory=dict)


@dataclass(frozen=True)
class Contender:
    """A trained model, completed on the training images, its best weights, and what is known."""

    model: GenerativeModel
    best: dict[str, Tensor]
    known: TrainedRecord


def run(job: Job, tell: Tell) -> Record:
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
            record = perform(job, tell, progress)
    except Diverged as error:
        record = unfinished(job, "diverged", str(error), progress.pictures)
    except Exception as error:  # noqa: BLE001 - one failing run must not stop the others
        mishap = traceback.format_exc().encode(errors="replace")
        record = unfinished(job, "failed", describe_failure(error), progress.pictures)
    try:
        leave_outcome(job, record, progress, mishap)
    except OSError as error:
        reason = f"its record cannot be written: {describe_failure(error)}"
        return unfinished(job, "failed", record.reason or reason)
    return record


def leave_outcome(job: Job, record: Record, progress: Progress, mishap: bytes) -> None:
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


def describe_failure(error: Exception) -> str:
    """Say in one line what went wrong, the user's own limits first."""
    if isinstance(error, MemoryError | torch.cuda.OutOfMemoryError) or (
        isinstance(error, RuntimeError) and "can't allocate memory" in str(error)
    ):
        return f"out of memory: {one_line(error)}; try a smaller batch, or fewer runs side by side"
    if isinstance(error, OSError) and error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return f"{FULL} of {error.filename}"
    return f"{type(error).__name__}: {one_line(error)}"


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


def find_missing(record: Record) -> list[str]:
    """List the metrics that a run has not been scored by because they came later."""
    return sorted(METRICS.keys() - set(record.metrics)) if record.scores else []


def is_kept(job: Job) -> bool:
    """Tell whether a run's trained model is still there to be scored."""
    return find_key(job.checkpoint / "training.json") == job.spec.training_key


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
    named = spec.model_copy(update={"extractor": spec.extractor.partition("@")[0]})
    return named == job.spec and record.status in FINISHED and record.suite == job.suite


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


def adopt(job: Job, others: list[Path]) -> bool:
    """Take over the training of a run in one of the folders `others`, if it is the same training.

    The files are shared by links where the disk allows it; none is ever written in place.
    """
    for name in ("training.json", "state.safetensors"):
        for folder in others:
            if find_key(folder / "checkpoint" / name) == job.spec.training_key:
                job.checkpoint.mkdir(parents=True, exist_ok=True)
                files = [f"{kind}.safetensors" for kind in WEIGHTS] if name[0] == "t" else []
                for file in (*files, name):
                    link(folder / "checkpoint" / file, job.checkpoint / file)
                return True
    return False


def link(source: Path, target: Path) -> None:
    """Let `target` be the same file as `source`, or a copy of it."""
    target.unlink(missing_ok=True)
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def perform(job: Job, tell: Tell, progress: Progress) -> Record:
    """Train the model unless it is trained already, score it, and write what it made."""
    spec = job.spec
    if job.afresh:
        shutil.rmtree(job.checkpoint, ignore_errors=True)
    evaluator = load_evaluator(
        spec.data, spec.extractor, spec.samples, spec.reconstructions, job.place, spec.device
    )
    found = find_trained(job, evaluator, tell)
    trained = found or fit(job, evaluator, tell, progress)
    progress.history[:] = [
        {key: value for key, value in row.items() if value is not None}
        for row in trained.known.history
    ]
    return judge(job, evaluator, trained, again=found is not None)


def find_trained(job: Job, evaluator: Evaluator, tell: Tell) -> Contender | None:
    """Load what an earlier training has left, if it was this one and nothing of it is damaged."""
    if not (job.checkpoint / "training.json").exists():
        return None
    try:
        known = read_sealed(job.checkpoint / "training.json", TrainedRecord)
        if known.key != job.spec.training_key:
            return None
        last, best, _ = (load_weights(job, name) for name in WEIGHTS)
    except (BadInput, Damaged, OSError) as error:
        set_aside(job, tell, one_line(error), "training.json", *map(weights_file, WEIGHTS))
        return None
    model = build_model(job.spec, evaluator.data.shape).to(job.spec.device).eval()
    model.load_state_dict(last)
    tell(Started(job.spec.name, known.training.steps, known.training.steps))
    return Contender(model, best, known)


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


def find_state(job: Job, tell: Tell) -> State | None:
    """Read where an earlier training was interrupted, if it was this one."""
    path = job.checkpoint / "state.safetensors"
    try:
        tensors, about = load_all(path)
    except FileNotFoundError:
        return None
    except (Damaged, OSError) as error:
        set_aside(job, tell, one_line(error), path.name)
        return None
    known = about.pop("key", None) == job.spec.training_key
    return State(about.pop("step"), tensors, about) if known else None


def set_aside(job: Job, tell: Tell, why: str, *files: str) -> None:
    """Rename files that cannot be used, and say so; what they were to save is done again."""
    for file in files:
        path = job.checkpoint / file
        with suppress(FileNotFoundError):
            path.replace(path.with_name(f"{file}.damaged"))
    tell(Noticed(job.spec.name, f"{why}; set aside as *.damaged, and done again"))


def fit(job: Job, evaluator: Evaluator, tell: Tell, progress: Progress) -> Contender:
    """Train a model from where it was left, or from its beginning, and leave it on disk."""
    state = find_state(job, tell)
    if state is None:
        return fit_from(job, evaluator, tell, progress, None)
    try:
        return fit_from(job, evaluator, tell, progress, state)
    except Misfit as error:
        set_aside(job, tell, f"the checkpoint is another model's: {error}", "state.safetensors")
        return fit_from(job, evaluator, tell, progress, None)


def fit_from(
    job: Job, evaluator: Evaluator, tell: Tell, progress: Progress, state: State | None
) -> Contender:
    """Train a model from a state, complete it on the training images, and leave it on disk."""
    spec = job.spec
    device = torch.device(spec.device)
    torch.manual_seed(derive_seed(job.seed, "weights"))
    model = build_model(spec, evaluator.data.shape).to(device)
    measured = measure_flops(model, spec)
    plan = make_plan(job, model)
    seen = plan.batch * busiest(model)
    keeper = Keeper(job, tell, state)

    def evaluate(average: GenerativeModel) -> float:
        own = derive_seed(job.seed, "validation")
        score, (picture, content) = evaluator.validate(average, own, shards)
        write_atomically(job.folder / picture.file, content)
        progress.pictures["samples"] = picture
        tell(Drawn(spec.name, dict(progress.pictures)))
        return score

    tell(Started(spec.name, plan.steps, state.step if state else 0))
    costs.reset_peak_memory(device)
    with called("train", job, spec.shards) as shards, in_hand():
        trained = train(
            model,
            resident(evaluator.train, device),
            resident(evaluator.source_train, device),
            plan,
            evaluate=evaluate,
            report=lambda step, losses: tell(Advanced(spec.name, step, step * seen, losses)),
            history=progress.history,
            state=state,
            keeper=keeper,
            shards=shards,
        )
    measured.peak_memory_mb = max(keeper.peak_memory_mb, costs.read_peak_memory(device))
    measured.train_seconds = trained.seconds
    measured.images_per_second = progress.history[-1]["images"] / trained.seconds
    unaveraged = trained.last
    evaluator.complete(trained.model, derive_seed(job.seed, "evaluation"))
    known = TrainedRecord(
        key=spec.training_key,
        training=Training(
            steps=plan.steps,
            batch=plan.batch,
            images=int(progress.history[-1]["images"]),
            best_step=trained.best_step,
        ),
        costs=measured,
        history=[dict[str, float | None](row) for row in progress.history],
        chosen_by=spec.extractor,
        environment=environment(gpu_name(spec)),
    )
    weights = {"model": snapshot(trained.model), "best": trained.best, "unaveraged": unaveraged}
    leave_training(job, known, weights)
    tell(Saved(spec.name, plan.steps))
    return Contender(trained.model, trained.best, known)


def make_plan(job: Job, model: GenerativeModel) -> Plan:
    """Say how long, and on what, a job's model is trained."""
    return Plan(
        steps=count_steps(job.spec, model),
        batch=job.spec.batch,
        seed=derive_seed(job.seed, "training"),
        evaluations=job.spec.evaluations,
        precision=job.spec.precision,
        compile=job.spec.compile,
    )


class Keeper:
    """Writes down the state of a run's training every so often, and before it is interrupted."""

    def __init__(self, job: Job, tell: Tell, state: State | None) -> None:
        self.job, self.tell = job, tell
        self.last = time.monotonic()
        earlier: Any = state.about if state else {}
        self.peak_memory_mb = float(earlier.get("peak_memory_mb", 0))

    def due(self) -> bool:
        """Tell whether it is time, or somebody wants the process to end."""
        return is_wanted() or time.monotonic() - self.last >= self.job.checkpoint_seconds

    def keep(self, state: State) -> None:
        """Write the state down; then make way for whoever wants the process to end."""
        peak = costs.read_peak_memory(torch.device(self.job.spec.device))
        self.peak_memory_mb = max(self.peak_memory_mb, peak)
        about = state.about | {
            "key": self.job.spec.training_key,
            "step": state.step,
            "peak_memory_mb": self.peak_memory_mb,
        }
        save_tensors(self.job.checkpoint / "state.safetensors", state.tensors, about)
        self.tell(Saved(self.job.spec.name, state.step))
        give_way()
        self.last = time.monotonic()


def judge(job: Job, evaluator: Evaluator, trained: Contender, *, again: bool) -> Record:
    """Let a trained model generate, score it and its best checkpoint, and leave what it made."""
    started = time.perf_counter()
    model, known = trained.model, trained.known
    seed = derive_seed(job.seed, "evaluation")
    torch.manual_seed(seed)
    with called("draw", job, job.spec.shards) as shards:
        made = evaluator.generate(model, seed, shards)
    scores = evaluator.score(made, model)
    if job.spec.likelihood is not None:
        scores += evaluator.score_likelihood(model, job.spec.likelihood, seed)
    model.load_state_dict(trained.best)
    with called("draw", job, job.spec.shards) as shards:
        scores.append(evaluator.best_score(model, seed, known.chosen_by, shards))
    leave_images(job.folder, made)
    alike = find_collapse(made.samples, evaluator.test)
    seconds = time.perf_counter() - started
    now = environment(gpu_name(job.spec))
    return Record(
        **identity(job) | {"environment": known.environment},
        status="collapsed" if alike else "ok",
        reason=alike,
        scores=scores,
        metrics=sorted(METRICS),
        costs=known.costs.model_copy(update={"score_seconds": seconds}),
        training=known.training,
        pictures={name: picture for name, (picture, _) in made.pictures.items()},
        scored=now if again else None,
    )


def find_collapse(samples: Tensor, real: Tensor) -> str | None:
    """Say that a model's samples are all alike, where they are."""
    spread, usual = (to_float(x).double().std(0).square().mean().sqrt() for x in (samples, real))
    share = float(spread / usual)
    if share >= ALIKE:
        return None
    return f"the samples are all alike: they vary by {share:.1%} of what the test images do"


def calibrate(job: Job, evaluator: Evaluator) -> list[Record]:
    """Score real training images and noise as if a model had made them; leave two records.

    Args:
        job: any of the suite's; the others are scored in the same way.
        evaluator: by which they are.
    """
    jobs = [calibration_job(job, name) for name in PROTOCOLS]
    kept = [None if job.afresh else find_finished(job) for job in jobs]
    records = [record for record in kept if record and not find_missing(record)]
    if len(records) == len(jobs):
        return records
    made = evaluator.calibrate()
    return [leave_calibration(job, evaluator, made[job.spec.contender]) for job in jobs]


def calibration_job(job: Job, name: str) -> Job:
    """Give a calibration row the spec of a run that is scored likewise, but not trained."""
    fields = {"contender": name, "family": CALIBRATION, "model": name, "model_version": ""}
    numbers = {"seed": 0, "images": 0, "batch": 0, "evaluations": 0, "shards": 1}
    spec = job.spec.model_copy(update=fields | {"settings": {}} | numbers)
    return replace(job, spec=spec)


def leave_calibration(job: Job, evaluator: Evaluator, made: Generated) -> Record:
    """Score a calibration row and leave its record."""
    name = job.spec.contender
    record = Record(
        run=job.spec.name,
        suite=job.suite,
        dataset=job.spec.data.name,
        contender=name,
        family=CALIBRATION,
        status="ok",
        spec=job.spec.model_dump(),
        scores=evaluator.score_calibration(name, made),
        metrics=sorted(METRICS),
        pictures={key: picture for key, (picture, _) in made.pictures.items()},
        environment=environment(),
    )
    leave_pictures(job.folder, made)
    write_record(job.folder, record)
    return record


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


def leave_training(job: Job, known: TrainedRecord, weights: dict[str, dict[str, Tensor]]) -> None:
    """Write a trained model's weights, then what is known of it; no state is needed any more."""
    for name, tensors in weights.items():
        save_tensors(job.checkpoint / weights_file(name), tensors, {"key": known.key})
    write_sealed(job.checkpoint / "training.json", known)
    (job.checkpoint / "state.safetensors").unlink(missing_ok=True)


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


def unfinished(
    job: Job, status: Status, reason: str, pictures: dict[str, Picture] | None = None
) -> Record:
    """Give the record of a run that did not go well, with the pictures of how far it came."""
    return Record(**identity(job), status=status, reason=reason, pictures=pictures or {})


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
