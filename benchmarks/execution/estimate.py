"""What a suite will take in time, memory and disk, from a few steps of training; nothing is left.

A contender of each kind trains for a moment, in the loop and on the images of the real runs, and
generates a batch of images. Contenders whose settings differ in the size of real numbers alone are
of one kind. Where there are more kinds than can be tried, the others are taken to need as much as
the most similar of them, in proportion to their floating-point operations.
"""

import heapq
import math
import shutil
import statistics
import time
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import chain, groupby, pairwise, zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Never

import torch

from benchmarks.config.spec import RunSpec
from benchmarks.core.errors import FAILURES, describe_error
from benchmarks.core.tensors import as_tensor, to_float
from benchmarks.core.threads import fixed_threads
from benchmarks.data import Dataset
from benchmarks.evaluation.contract import reconstruct
from benchmarks.evaluation.evaluator import FINISH
from benchmarks.execution.plan import outline
from benchmarks.execution.train_one import build_model, count_steps, resident
from benchmarks.training.flops import (
    Deadline,
    Enough,
    count_parameters,
    count_training_flops,
    read_peak_memory,
    reset_peak_memory,
)
from benchmarks.training.loop import TrainingConfig, TrainingState, train
from metrics.extractors.random import RandomExtractor
from models.base import GenerativeModel

if TYPE_CHECKING:
    from rich.console import Console

KINDS = 6
"""Kinds of contenders that are tried at most."""

SECONDS = 0.5
"""What all trials take together, unless three steps of every kind take longer."""

COUNTING = 0.5
"""Seconds after which no more models' operations are counted."""

BATCH = 256
"""Images that models generate at a time, here and in real runs."""

PAPERS = 96 * 2**10
"""Bytes of a run's record, history and pictures, roughly."""

COPIES = 6
"""Copies of the weights in memory: live, averaged, best, gradients and Adam's two moments."""

ACTS = ("completion", "samples", "reconstructions")
"""What a model does when it is scored: `finish`, `sample` and `reconstruct`."""

SIMPLE = ("classifier", "random")
"""Extractors that take about as long as the untrained network."""


@dataclass(frozen=True)
class Kind:
    """Contenders that are taken to need the same.

    Attributes:
        spec: of one of their runs.
        steps: rounds that each trains.
        parameters: how many are learnt.
        weights: bytes of the model's parameters and buffers.
        flops: of a round; 0 where every kind is tried and nobody asks.
    """

    spec: RunSpec
    steps: int
    parameters: int
    weights: int
    flops: float = 0.0


@dataclass(frozen=True)
class Trial:
    """What it took to try a kind of contender.

    Attributes:
        kind: that was tried.
        rounds: of training that were timed.
        step: seconds a round of training, their median.
        acts: seconds an image of each of `ACTS` that there was time for.
        memory_mb: peak of this process, or of the GPU, in MiB.
        error: what went wrong, in one line.
    """

    kind: Kind
    rounds: int = 0
    step: float = math.nan
    acts: dict[str, float] = field(default_factory=dict)
    memory_mb: float = math.nan
    error: str = ""


@dataclass(frozen=True)
class Need:
    """What the runs of a contender need; NaN where its trial failed.

    Attributes:
        runs: how many there are.
        steps: rounds of training a run.
        step_seconds: a round.
        run_seconds: a run, validation and scoring included as far as they were timed.
        memory_mb: peak of a run's process, or of the GPU, in MiB.
        disk: bytes that a run leaves.
        checkpoint: bytes of its state while it trains.
        tried: whether it is of a kind that was tried.
    """

    contender: str
    runs: int
    steps: int
    step_seconds: float
    run_seconds: float
    memory_mb: float
    disk: int
    checkpoint: int
    tried: bool


@dataclass(frozen=True)
class Estimate:
    """What a suite's runs need, and how that was found.

    Attributes:
        needs: a row a contender.
        workers: runs side by side.
        wall_seconds: from the start of the first to the end of the last.
        memory_mb: of the largest side by side.
        disk: bytes that all runs leave.
        passing: bytes of checkpoints besides, while the largest train.
        free: bytes that the disk has free, None where that was not asked.
        notes: how it was estimated and what is not in it, a sentence each.
    """

    needs: list[Need]
    workers: int
    wall_seconds: float
    memory_mb: float
    disk: int
    passing: int
    free: int | None
    notes: list[str]

    @property
    def runs(self) -> int:
        """How many runs there are."""
        return sum(need.runs for need in self.needs)

    @property
    def work_seconds(self) -> float:
        """What all runs take one after another."""
        return sum(need.runs * need.run_seconds for need in self.needs)


@dataclass
class Stopwatch:
    """Takes the time after every round of training, and ends a trial when its time is up.

    It stands where checkpoints are kept. The first round warms up and is not counted.
    """

    device: torch.device
    seconds: float
    marks: list[float] = field(default_factory=list)

    def due(self) -> bool:
        """Take the time.

        Raises:
            Enough: the time is up, and three rounds have been played.
        """
        synchronise(self.device)
        self.marks.append(time.perf_counter())
        if len(self.marks) > 2 and self.marks[-1] - self.marks[0] > self.seconds:
            raise Enough
        return False

    def save(self, state: TrainingState) -> Never:
        """Keep no state, since none is ever due."""
        raise NotImplementedError


def estimate(
    specs: Sequence[RunSpec], data: Dataset, workers: int, folder: Path | None = None
) -> Estimate:
    """Estimate what runs will take, with the threads and on the device that they ask for.

    Args:
        specs: of the runs to be done, at least one.
        data: what they are trained on.
        workers: how many go side by side.
        folder: where results are to be, to tell what its disk has free.
    """
    runs = Counter(spec.contender for spec in specs)
    firsts = {spec.contender: spec for spec in reversed(specs)}
    keys = {name: likeness(firsts[name]) for name in runs}
    representatives = {keys[name]: firsts[name] for name in reversed(runs)}
    with fixed_threads(specs[0].threads):
        found = {key: measure(spec, data) for key, spec in representatives.items()}
        failed = [trial for trial in found.values() if isinstance(trial, Trial)]
        kinds = {key: kind for key, kind in found.items() if isinstance(kind, Kind)}
        if len(kinds) > KINDS:
            kinds = dict(zip(kinds, count_work(list(kinds.values()), data), strict=True))
        chosen = choose(kinds.values())
        kinds |= {key: trial.kind for key, trial in found.items() if isinstance(trial, Trial)}
        extract = time_extractor(specs[0], data)
        trials = [*(try_out(kind, data, SECONDS / len(chosen)) for kind in chosen), *failed]
    needs = [find_need(name, runs[name], kinds[keys[name]], trials, data, extract) for name in runs]
    return sum_up(needs, workers, folder, [*explain(trials, needs, len(kinds))])


def likeness(spec: RunSpec) -> Hashable:
    """Give what the specs of one kind have in common."""
    return spec.model, outline(spec.settings), spec.images, spec.batch


def measure(spec: RunSpec, data: Dataset) -> Kind | Trial:
    """Find how large a contender's model is, or that it fails as soon as it is built."""
    try:
        model = build_model(spec, data.shape)
        weights = sum(tensor.nbytes for tensor in model.state_dict().values())
        return Kind(spec, count_steps(spec, model), count_parameters(model), weights)
    except FAILURES as error:
        return Trial(Kind(spec, 0, 0, 0), error=describe_error(error))


def count_work(kinds: list[Kind], data: Dataset) -> list[Kind]:
    """Count the operations of a round of each, or go by the parameters when time is up."""
    end = time.perf_counter() + COUNTING
    counted = dict[int, Kind]()
    for i in sorted(range(len(kinds)), key=lambda i: i % 7):  # from everywhere
        if counted and time.perf_counter() > end:
            break
        with suppress(*FAILURES):  # what is wrong with it is seen when it is tried
            spec = kinds[i].spec
            flops = count_training_flops(build_model(spec, data.shape), 2) * spec.batch / 2
            counted[i] = replace(kinds[i], flops=flops)

    def guess(kind: Kind) -> Kind:
        near = nearest(kind, list(counted.values()), "parameters")
        return replace(kind, flops=near.flops * kind.parameters / max(1, near.parameters))

    return [counted.get(i) or guess(kind) for i, kind in enumerate(kinds)] if counted else kinds


def nearest(kind: Kind, others: Sequence[Kind], measure: str) -> Kind:
    """Find which of the others is most similar: of the same model if any is, and as large."""

    def distance(other: Kind) -> tuple[bool, float]:
        return other.spec.model != kind.spec.model, abs(ratio(kind, other, measure) - 1)

    return min(others, key=distance)


def choose(kinds: Iterable[Kind]) -> list[Kind]:
    """Choose what to try: of every model the largest, the smallest, and those between."""
    ordered = sorted(kinds, key=lambda kind: (kind.spec.model, kind.flops, kind.parameters))
    groups = [list(group) for _, group in groupby(ordered, key=lambda kind: kind.spec.model)]
    spread = [[g[-1], g[0], g[len(g) // 2], *g] for g in groups]
    turns = chain.from_iterable(zip_longest(*spread))
    unique = {id(kind): kind for kind in turns if kind is not None}
    return list(unique.values())[:KINDS]


def try_out(kind: Kind, data: Dataset, seconds: float) -> Trial:
    """Train a contender for a moment and let it generate; what fails is noted, as runs note it."""
    device = torch.device(kind.spec.device)
    reset_peak_memory(device)
    try:
        model = build_model(kind.spec, data.shape).to(device)
        watch = Stopwatch(device, seconds / 2)
        rounds = practise(model, kind, data, watch)
        found = Trial(kind, len(rounds), statistics.median(rounds))
        try_generating(model.eval(), found, data, seconds / 2)
    except FAILURES as error:  # a contender that fails is news, not the end
        return Trial(kind, error=describe_error(error))
    return replace(found, memory_mb=read_peak_memory(device))


def practise(model: GenerativeModel, kind: Kind, data: Dataset, watch: Stopwatch) -> list[float]:
    """Train until the watch ends it, and give the seconds of each round."""
    spec = kind.spec
    images, sources = (
        resident(as_tensor(split.images), watch.device) for split in (data.train, data.source_train)
    )
    plan = TrainingConfig(
        steps=max(4, kind.steps),
        batch=spec.batch,
        seed=0,
        evaluations=1,
        precision=spec.precision,
    )
    with suppress(Enough):
        train(
            model,
            images,
            sources,
            plan,
            evaluate=lambda _: 0.0,
            report=lambda *_: None,
            checkpointer=watch,
        )
    return [later - earlier for earlier, later in pairwise(watch.marks)]


@torch.no_grad()
def try_generating(model: GenerativeModel, trial: Trial, data: Dataset, seconds: float) -> None:
    """Time what a trained model does when it is scored, as far as there is time."""
    train, source, test = (
        as_tensor(split.images[:BATCH]) for split in (data.train, data.source_test, data.test)
    )
    starts = to_float(source.to(model.device)) if model.uses_source else None
    originals = to_float(test.to(model.device))
    rng = torch.Generator(model.device).manual_seed(0)
    calls: list[tuple[Callable[[], object], int]] = [
        (lambda: model.finish(train, rng), len(train)),
        (lambda: model.sample(len(source), rng, starts), len(source)),
        (lambda: reconstruct(model, originals, rng), len(originals)),
    ]
    end = time.perf_counter() + seconds
    for act, (call, count) in zip(ACTS, calls, strict=True):
        with suppress(Enough), Deadline(end):
            started = time.perf_counter()
            call()
            synchronise(model.device)
            trial.acts[act] = (time.perf_counter() - started) / count


def time_extractor(spec: RunSpec, data: Dataset) -> float:
    """Time the features of an image by the untrained network; 0 for an extractor unlike it."""
    images = as_tensor(data.test.images[:BATCH])
    if spec.extractor.partition("@")[0] not in SIMPLE or data.truth is not None:
        return 0.0
    extractor = RandomExtractor(data.shape[0], device=spec.device)
    extractor(images)
    started = time.perf_counter()
    extractor(images)
    return (time.perf_counter() - started) / len(images)


def synchronise(device: torch.device) -> None:
    """Wait until a GPU has done what it was told."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def find_need(
    name: str, runs: int, kind: Kind, trials: list[Trial], data: Dataset, extract: float
) -> Need:
    """Say what a contender's runs need, by the trial of its kind or of the most similar one."""
    tried = any(trial.kind is kind for trial in trials)
    known = [trial.kind for trial in trials if not trial.error] or [trials[0].kind]
    near = kind if tried else nearest(kind, known, "flops")
    trial = next(trial for trial in trials if trial.kind is near)
    scale = 1.0 if tried else ratio(kind, near, "flops")
    train_seconds = kind.steps * trial.step
    return Need(
        contender=name,
        runs=runs,
        steps=kind.steps,
        step_seconds=scale * trial.step,
        run_seconds=scale * (train_seconds + time_scoring(kind.spec, trial, data, extract)),
        memory_mb=trial.memory_mb + COPIES * (kind.weights - near.weights) / 2**20,
        disk=3 * kind.weights + kind.spec.samples * data.test.images[0].nbytes + PAPERS,
        checkpoint=3 * kind.weights + 8 * kind.parameters,
        tried=tried,
    )


def time_scoring(spec: RunSpec, trial: Trial, data: Dataset, extract: float) -> float:
    """Add up the seconds of a run's validation and scoring, as far as a trial has timed them."""
    finish, sample, copy = (trial.acts.get(act, 0.0) for act in ACTS)
    image = sample + extract
    n = len(data.train)
    quarter = min(len(data.source_train), max(64, spec.samples // 4))
    validation = min(n, FINISH) * finish + quarter * image
    scoring = 2 * (n * finish + spec.samples * image) + spec.reconstructions * copy
    return spec.evaluations * validation + scoring


def ratio(kind: Kind, other: Kind, measure: str) -> float:
    """How many times as much of something a kind has as another."""
    return float(getattr(kind, measure) / max(1, getattr(other, measure)))


def sum_up(needs: list[Need], workers: int, folder: Path | None, notes: list[str]) -> Estimate:
    """Add up what all runs need, the longest first on the worker that is free first."""
    workers = min(workers, sum(need.runs for need in needs))
    largest = heapq.nlargest(workers, each(needs, "memory_mb"))
    passing = heapq.nlargest(workers, each(needs, "checkpoint"))
    return Estimate(
        needs=needs,
        workers=workers,
        wall_seconds=schedule(each(needs, "run_seconds"), workers),
        memory_mb=sum(largest),
        disk=sum(need.runs * need.disk for need in needs),
        passing=round(sum(passing)),
        free=None if folder is None else find_free(folder),
        notes=notes,
    )


def each(needs: list[Need], what: str) -> list[float]:
    """List what each run needs; what is not known is nothing."""
    values = ((getattr(need, what), need.runs) for need in needs)
    return [0.0 if math.isnan(v) else v for v, runs in values for _ in range(runs)]


def schedule(durations: Sequence[float], workers: int) -> float:
    """Give the time that runs take on so many workers, the longest first."""
    free = [0.0] * workers
    for duration in sorted(durations, reverse=True):
        heapq.heapreplace(free, free[0] + duration)
    return max(free)


def find_free(folder: Path) -> int:
    """Tell how many bytes are free where a folder is or will be."""
    nearest = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    return shutil.disk_usage(nearest).free


def explain(trials: list[Trial], needs: list[Need], kinds: int) -> Iterator[str]:
    """Say how the estimate was made, and what is not in it."""
    spec = trials[0].kind.spec
    rounds = [trial.rounds for trial in trials if not trial.error]
    yield (
        f"Tried: {len(trials)} of {kinds} kinds of contenders, {min(rounds, default=0)} to "
        f"{max(rounds, default=0)} steps of each and one batch of images, one after another with "
        f"{spec.threads} thread{'s' * (spec.threads > 1)} on {spec.device}."
    )
    if not all(need.tried for need in needs):
        yield "~: like the most similar one that was tried, in proportion to their operations."
    gaps = ["the start of processes", "the training of an extractor", "the scores' own arithmetic"]
    gaps += ["what runs side by side take from each other", *name_gaps(spec, trials)]
    yield f"Not in it: {', '.join(gaps)}."
    for trial in trials:
        if trial.error:
            yield f"{trial.kind.spec.contender} failed when it was tried: {trial.error}"


def name_gaps(spec: RunSpec, trials: list[Trial]) -> Iterator[str]:
    """Name what would have taken too long to try."""
    if spec.likelihood is not None:
        yield "likelihoods"
    if spec.compile:
        yield "what compiling takes and saves"
    if spec.extractor.partition("@")[0] not in SIMPLE:
        yield f"the features by {spec.extractor}"
    for act in ACTS:
        late = [t.kind.spec.contender for t in trials if not t.error and act not in t.acts]
        if late:
            yield f"the {act} of {', '.join(late)}"


def show_estimate(console: "Console", found: Estimate) -> None:
    """Print an estimate: a row a contender, the totals, and how it was made."""
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, padding=(0, 2, 0, 0))
    table.add_column("contender", overflow="fold")
    for title in ("runs", "steps", "s/step", "a run", "memory", "disk"):
        table.add_column(title, justify="right", no_wrap=True)
    for need in found.needs:
        table.add_row(
            need.contender,
            f"{need.runs:,}",
            f"{need.steps:,}",
            ("" if need.tried else "~") + show_figure(need.step_seconds),
            show_time(need.run_seconds),
            show_bytes(need.memory_mb * 2**20),
            show_bytes(need.disk),
        )
    console.print(table)
    for line in (*total(found), *found.notes):
        console.print(Text(line))


def total(found: Estimate) -> Iterator[str]:
    """Say in sentences what all runs need together."""
    work, wall = show_time(found.work_seconds), show_time(found.wall_seconds)
    yield f"{found.runs:,} runs: {work} of work, {wall} with {found.workers} side by side."
    yield (
        f"Memory: {show_bytes(found.memory_mb * 2**20)} for the largest {found.workers}. "
        f"Disk: up to {show_bytes(found.disk)}, and {show_bytes(found.passing)} while they train"
        + ("." if found.free is None else f"; {show_bytes(found.free)} are free.")
    )
    if found.free is not None and found.free < found.disk + found.passing:
        yield "The disk is too small for all of it."


def show_time(seconds: float) -> str:
    """Write a duration in its largest unit: 12 s, 3.4 min, 5.6 h, 7.8 days."""
    for size, unit in ((86_400, "days"), (3_600, "h"), (60, "min")):
        if seconds >= 1.5 * size:
            return f"{show_figure(seconds / size)} {unit}"
    return f"{show_figure(seconds)} s" if math.isfinite(seconds) else "?"


def show_bytes(count: float) -> str:
    """Write a size in its largest unit: 950 kB, 12.3 MB, 4.56 GB."""
    if not math.isfinite(count):
        return "?"
    for size, unit in ((1e12, "TB"), (1e9, "GB"), (1e6, "MB")):
        if count >= 0.9995 * size:
            return f"{show_figure(count / size)} {unit}"
    return f"{show_figure(count / 1e3)} kB"


def show_figure(value: float) -> str:
    """Write three digits without an exponent."""
    return f"{value:,.0f}" if value >= 99.95 else f"{value:#.3g}".rstrip(".")
