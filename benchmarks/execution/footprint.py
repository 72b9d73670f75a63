"""Estimates of a run's FLOPs and memory, by fake tensors: they have a shape and no values."""

import logging
import math
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace

import numpy as np
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from benchmarks.config.spec import RunSpec
from benchmarks.core.errors import FAILURES, BadInput
from benchmarks.data import Dataset
from benchmarks.evaluation.evaluator import cut_into_parts
from benchmarks.evaluation.extractors import load_further_extractor
from benchmarks.execution.job import Footprint, Job
from benchmarks.execution.smoke import preserved_generators
from benchmarks.execution.train_one import build_model, count_steps
from benchmarks.training.flops import MemoryCounter, count_training_flops
from metrics import Extractor, NotReady
from models.base import GenerativeModel

CPU = torch.device("cpu")

BASE = 850 * 2**20
"""Bytes of a process that has imported everything: PyTorch with CUDA's libraries takes most."""

BATCH = 256
"""Images that go through a network at a time where `map_batches` or an extractor bounds them."""

SAVED = 16
"""Copies of the weights as a state is saved: those of the model, its gradients, Adam's two moments,
EMA and the best EMA, and the file's content, all of these but gradients, twice (safetensors)."""

SLACK = 1.25
"""Factor for memory that is not counted: operations' own workspaces, and what is not reused."""


def estimate_footprints(jobs: Sequence[Job], data: Dataset) -> list[Job]:
    """Return the jobs with the footprint of each, estimated once for all seeds of a contender."""
    extractors = load_ready(jobs[0], data) if jobs else []
    known: dict[str, Footprint] = {}
    for spec in (job.spec for job in jobs):
        if spec.contender not in known:
            known[spec.contender] = estimate_footprint(spec, data, extractors)
    return [replace(job, footprint=known[job.spec.contender]) for job in jobs]


def estimate_footprint(
    spec: RunSpec, data: Dataset, extractors: Sequence[Extractor] = ()
) -> Footprint:
    """Estimate what a run takes; the defaults where its model cannot be followed.

    A model that ships computes nothing for it. One of the user's own might keep a tensor without
    values for later: it computes a training step, and what it takes to sample is not known.
    """
    ships = ":" not in spec.model
    try:
        with without_values() if ships else preserved_generators(CPU), MemoryCounter() as counter:
            model = build_model(spec, data.shape)
            weights = counter.now
            with torch.autocast("cpu", torch.bfloat16, enabled=spec.precision == "bfloat16"):
                flops = count_training_flops(model, spec.batch) * count_steps(spec, model)
            training, scoring = counter.peak, trace_sampling(model) if ships else 0
    except FAILURES:
        return Footprint()
    scoring = max([scoring, *(trace_extractor(e, data.shape) for e in extractors)])
    peak = int(SLACK * max(training, scoring)) + SAVED * weights
    return Footprint(flops, BASE + count_held(spec, data, extractors) + peak)


@contextmanager
def without_values() -> Iterator[None]:
    """Make tensors in the block that have no values, on which operations compute nothing."""
    log = logging.getLogger("torch._subclasses.fake_tensor")
    with preserved_generators(CPU), warnings.catch_warnings(action="ignore"):
        log.disabled = True  # what fails is no fault of the user's
        try:
            with FakeTensorMode(allow_non_fake_inputs=True):
                yield
        finally:
            log.disabled = False


def trace_sampling(model: GenerativeModel) -> int:
    """Return the bytes that a batch takes to be generated, or if that is more, reconstructed."""
    model.eval().config = model.config.model_copy(update=model.quick)
    images, rng = torch.zeros(BATCH, *model.shape), torch.Generator().manual_seed(0)
    source = images if model.uses_source else None
    with MemoryCounter() as counter, torch.no_grad():
        model.sample(BATCH, rng, source)
        with suppress(NotImplementedError):
            model.reconstruct(images, rng)
    return counter.peak


def trace_extractor(extractor: Extractor, shape: tuple[int, int, int]) -> int:
    """Return the bytes that a batch takes on its way through an extractor; 0 where it fails."""
    with suppress(*FAILURES), without_values(), MemoryCounter() as counter:
        extractor(torch.zeros(min(BATCH, extractor.batch), *shape, dtype=torch.uint8))
        return counter.peak
    return 0


def count_held(spec: RunSpec, data: Dataset, extractors: Sequence[Extractor]) -> int:
    """Count the bytes of images and features that a run holds, mapped files aside."""
    target, source = (data.train, data.validation, data.test), (data.source_train, data.source_test)
    arrays = [s.images for s in (*target, *source, data.hidden_pairs) if s is not None]
    resident = sum(images.nbytes for images in arrays if not isinstance(images, np.memmap))
    rows = len(data.train) + len(data.validation) + len(data.test) + spec.samples
    features = sum(4 * extractor.dimension for extractor in extractors) * rows
    part = next(cut_into_parts(spec.samples, data.shape)).stop
    return resident + features + (2 * 4 * part + spec.samples) * math.prod(data.shape)


def load_ready(job: Job, data: Dataset) -> list[Extractor]:
    """Load the extractors of a run on the CPU that are at hand."""
    spec, found = job.spec, []
    for name in (spec.extractor, *spec.views) if spec.device == "cpu" else ():
        with suppress(BadInput, NotReady):
            found.append(load_further_extractor(name, data, job.place, spec.device, ready=True))
    return [extractor for extractor in found if isinstance(extractor, Extractor)]
