"""What a suite will take in time and disk, from a few training steps of each contender."""

import copy
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from benchmarks.config.spec import RunSpec
from benchmarks.core.errors import FAILURES, describe_error
from benchmarks.core.tensors import as_tensor
from benchmarks.core.threads import fixed_threads
from benchmarks.data import Dataset
from benchmarks.execution import train_one
from benchmarks.execution.job import Job
from benchmarks.execution.train_one import resident
from benchmarks.training.loop import TrainingConfig, train
from models.base import GenerativeModel

STEPS = 5
"""Training steps that are timed of each contender."""

PAPERS = 96 * 2**10
"""Bytes of a run's record, history and pictures, roughly."""


@dataclass(frozen=True)
class Need:
    """What the runs of a contender need: seconds a step, bytes of memory and disk a run."""

    contender: str
    runs: int
    steps: int = 0
    step_seconds: float = 0.0
    memory: int = 0
    disk: int = 0
    error: str = ""

    @property
    def seconds(self) -> float:
        """Seconds of a run's training."""
        return self.steps * self.step_seconds


def estimate_suite(jobs: Sequence[Job], data: Dataset) -> list[Need]:
    """Measure what the runs of each contender need, with the threads that they ask for."""
    runs = Counter(job.spec.contender for job in jobs)
    firsts = {job.spec.contender: job for job in reversed(jobs)}
    with fixed_threads(jobs[0].spec.threads):
        return [measure_need(firsts[name], count, data) for name, count in runs.items()]


def measure_need(job: Job, runs: int, data: Dataset) -> Need:
    """Take a contender's smoke step and a few training steps."""
    spec, device = job.spec, torch.device(job.spec.device)
    images, source = (as_tensor(s.images) for s in (data.train, data.source_train))
    try:
        model = train_one.build_model(spec, data.shape).to(device)
        train_one.measure_costs(model, spec, images, source)
        seconds = time_step(spec, model, resident(images, device), resident(source, device))
    except FAILURES as error:
        return Need(spec.contender, runs, error=describe_error(error))
    weights = sum(tensor.nbytes for tensor in model.state_dict().values())
    disk = 3 * weights + spec.samples * data.test.images[0].nbytes + PAPERS
    steps = train_one.count_steps(spec, model)
    return Need(spec.contender, runs, steps, seconds, job.footprint.memory, disk)


def time_step(spec: RunSpec, model: GenerativeModel, images: Tensor, source: Tensor) -> float:
    """Return the seconds of a training step: CPU time by thread, or those of the clock on a GPU."""

    def time_training(steps: int) -> float:
        clock = time.process_time if spec.device == "cpu" else time.perf_counter
        config = TrainingConfig(steps, spec.batch, 0, evaluations=1, precision=spec.precision)
        twin, started = copy.deepcopy(model), clock()
        train(twin, images, source, config, evaluate=lambda _: 0.0, report=lambda *_: None)
        return (clock() - started) / (spec.threads if spec.device == "cpu" else 1)

    time_training(1)  # the first one warms up
    return max(0.0, time_training(1 + STEPS) - time_training(1)) / STEPS
