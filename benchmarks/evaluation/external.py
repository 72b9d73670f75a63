"""From images of another program, and what they are compared with, to their scores."""

import hashlib
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.config import registry
from benchmarks.config.spec import PROTOCOL, hash_fields
from benchmarks.core.errors import BadInput
from benchmarks.core.tensors import as_tensor
from benchmarks.core.threads import fixed_threads
from benchmarks.evaluation.collapse import Variety, find_collapse
from benchmarks.evaluation.evaluator import FURTHER, MEMORIZATION
from benchmarks.evaluation.extractors import (
    build_from_material,
    check_weights,
    choose_extractor,
    doubt_extractor,
    load_extractor,
)
from benchmarks.evaluation.feature_cache import cached_features
from benchmarks.evaluation.feature_statistics import FeatureStatistics, save_statistics
from benchmarks.evaluation.image_sets import ImageSet
from benchmarks.evaluation.pictures import Rendered, render_neighbors, render_samples
from benchmarks.evaluation.reference import Reference, extract_features
from benchmarks.evaluation.request import (
    RESIZING,
    WARNING,
    OpenProgress,
    ReportProgress,
    ScoringRequest,
    Target,
)
from benchmarks.records.environment import read_environment
from benchmarks.records.schema import EXTERNAL, Record, Score
from metrics import Extractor, Material, Moments

GENERATION = "made by another program"
"""The generation of the scored images, as far as one can know."""

FIRST = 64  # images of which a picture is drawn

PIXELS = 2**22
"""Pixels that an extractor sees at a time on a CPU, beyond which its maps take gigabytes."""

ENTRIES = 2**24
"""Values of a set of one's own from which an extractor may be built: as many as `pixels` uses."""

INCEPTION = 2048
"""Features that are taken for those of Inception, where a file of statistics does not say whose."""


class Passage:
    """Images that pass by in batches, and the hash and variety that are gathered of them."""

    def __init__(self, images: ImageSet) -> None:
        self.images, self.variety = images, Variety()
        self.digest = hashlib.sha256(f"{images.shape} False;".encode())

    def read(self, size: int, report: ReportProgress) -> Iterator[np.ndarray]:
        """Yield the images in batches, and report how many have passed by."""
        for batch in read_batches(self.images, size, report):
            self.digest.update(np.ascontiguousarray(batch).data)
            self.variety.update(batch)
            yield batch

    @property
    def fingerprint(self) -> str:
        """The SHA-256 of their content, as that of a split of a data set."""
        return self.digest.hexdigest()


def read_batches(images: ImageSet, size: int, report: ReportProgress) -> Iterator[np.ndarray]:
    """Yield images in batches, and report how many are done."""
    done = 0
    for batch in images.batches(size):
        yield batch
        done += len(batch)
        report(done, len(images))


def score_external(
    request: ScoringRequest, images: ImageSet, target: Target, device: str, progress: OpenProgress
) -> tuple[Record, list[str], dict[str, Rendered]]:
    """Compute the features of both sets and score them.

    Returns:
        The record, warnings and notes on the processing of the images, and pictures of these for a
        row of a comparison.
    """
    request = choose_by_target(request, target)
    extractor = prepare_extractor(request, images, target, device, progress)
    with fixed_threads(request.options.threads or torch.get_num_threads()):
        reference, real, content = load_reference(request, extractor, target, progress)
        passage, scores = Passage(images), list[Score]()
        with progress(f"{extractor} sees {images.source.title}") as report:
            batches = passage.read(extractor.batch, report)
            features = extract_features(extractor, batches, len(images))
        if request.options.save_statistics:
            moments = Moments(features.features)
            about = {"extractor": str(extractor), "count": len(images), "shape": images.shape[1:]}
            about |= {"resize": request.options.resize}
            save_statistics(Path(request.options.save_statistics), moments, about)
        if reference:
            with progress("scoring"):
                scores += reference.score_features(images, features, GENERATION, request.metrics)
                scores += score_further(request, images, target, device)
        pictures = dict[str, Rendered]()
        if reference and request.spec:
            pictures["samples"] = render_samples(as_tensor(images.read(range(FIRST))))
            pictures |= render_neighbors(
                reference, lambda rows: as_tensor(images.read(rows.tolist())), features.features
            )
    names = f"images of {images.source.title}", f"images of {target.name}"
    collapse = find_collapse(passage.variety, real, names)
    other = find_collapse(real, passage.variety, names[::-1]) if real else None
    record = make_record(request, target, content, passage, extractor, scores, collapse)
    doubts = doubt_extractor(request.extractor, (images.channels, images.side, images.side))
    warned = [f"{WARNING}{reason}" for reason in (collapse, other, *doubts) if reason]
    return record, [*warned, *target.notes], pictures


def choose_by_target(request: ScoringRequest, target: Target) -> ScoringRequest:
    """Choose metric and extractor by what the reference is, a data set or statistics."""
    real, weights = target.real, request.paths.weights
    if target.data is not None:
        name = choose_extractor(request.extractor, target.data, weights)
        check_weights([name], weights)
        return replace(request, extractor=name)
    if not isinstance(real, FeatureStatistics):
        return request
    asked, own = request.options.extractor, real.extractor and real.extractor.rpartition("@")[0]
    if own and asked not in {None, own}:
        raise BadInput(f"--extractor {asked}: {real.title} is by {real.extractor}")
    if not own and not asked and len(real.mean) != INCEPTION:
        raise BadInput(
            f"{real.title} is of {len(real.mean)} features, and does not say whose: add "
            "--extractor NAME"
        )
    return replace(request, extractor=own or request.extractor, metrics=["fid"])


def prepare_extractor(
    request: ScoringRequest, images: ImageSet, target: Target, device: str, progress: OpenProgress
) -> Extractor:
    """Load the extractor, with as many threads as suites do, since its training depends on them."""
    spec = request.spec
    if spec and spec.protocol != PROTOCOL:
        raise BadInput(
            f"{request.options.into} was scored by version {spec.protocol} of the protocol, and "
            f"this is {PROTOCOL}; run its suite again"
        )
    threads = spec.threads if spec else 1
    with fixed_threads(threads), progress(f"preparing {request.extractor}"):
        extractor = load_for_images(request, request.extractor, images, target, device)
    check_extractor(request, extractor, target)
    if extractor.device.type == "cpu":
        extractor.batch = min(extractor.batch, max(1, PIXELS // images.side**2))
    return extractor


def check_extractor(request: ScoringRequest, extractor: Extractor, target: Target) -> None:
    """Refuse an extractor by which images and reference do not compare."""
    options, spec, real = request.options, request.spec, target.real
    wanted = spec.extractor if spec else getattr(real, "extractor", None)
    if wanted not in {None, str(extractor)}:
        raise BadInput(
            f"the extractor is {extractor} here, and {options.into or target.name} is scored by "
            f"{wanted}; scores of different extractors do not compare"
        )
    if isinstance(real, FeatureStatistics) and len(real.mean) != extractor.dimension:
        raise BadInput(
            f"{target.name} is of {len(real.mean):,} features, and {extractor} gives "
            f"{extractor.dimension:,}: give the one that computed it as --extractor"
        )
    inputs = {name: entry.about["inputs"] for name, entry in registry.list_metrics().items()}
    for name in request.metrics if options.metrics not in (None, "all") else ():
        if extractor.classes is None and inputs[name] in {"logits", "both_logits"}:
            raise BadInput(f"--metrics {name}: the extractor {request.extractor} knows no classes")


def load_for_images(
    request: ScoringRequest, name: str, images: ImageSet, target: Target, device: str
) -> Extractor:
    """Load an extractor for the data set, or else for some images of one's own."""
    paths = request.paths
    if target.data is not None:
        return load_extractor(name, target.data, paths, device)
    own = target.real if isinstance(target.real, ImageSet) else images
    most = min(len(own), max(2, ENTRIES // prod(own.shape[1:])))
    some = as_tensor(own.read(np.linspace(0, len(own) - 1, most).round().astype(int)))
    material = Material(some, None, None, "", paths.cache, paths.weights, device)
    return build_from_material(name, material)


def load_reference(
    request: ScoringRequest, extractor: Extractor, target: Target, progress: OpenProgress
) -> tuple[Reference | None, Variety | None, str]:
    """Return the reference with its features, the variety of its images, and its fingerprint."""
    real, cache = target.real, request.paths.cache
    if real is None:
        return None, None, ""
    if isinstance(real, FeatureStatistics):
        moments = Moments.from_covariance(real.mean, real.covariance, real.count or 2)
        counted = real.count is not None
        return Reference(extractor, moments, target.split, counted=counted), None, real.fingerprint
    if target.data is not None:
        assert isinstance(real, np.ndarray)
        remembers = not MEMORIZATION.isdisjoint(request.metrics)
        training = as_tensor(target.data.train.images) if remembers else None
        images, split = as_tensor(real), target.split
        with progress(f"{extractor} sees {target.name}"):
            reference = Reference(extractor, images, split, training=training, cache=cache)
        return reference, Variety(real), target.data.fingerprint
    assert isinstance(real, ImageSet)
    passage = Passage(real)
    with progress(f"reading {target.name}") as report:
        for _ in passage.read(extractor.batch, report):
            pass
    with progress(f"{extractor} sees {target.name}") as report:
        batches = read_batches(real, extractor.batch, report)
        compute = partial(extract_features, extractor, batches, len(real))
        features = cached_features(extractor, compute, passage.fingerprint, cache)
    return Reference(extractor, features, target.split), passage.variety, passage.fingerprint


def score_further(
    request: ScoringRequest, images: ImageSet, target: Target, device: str
) -> Iterator[Score]:
    """Score by the further extractors by which the rows of the comparison have an FID."""
    for name in request.spec.views if request.spec else ():
        extractor = load_for_images(request, name, images, target, device)
        assert isinstance(target.real, np.ndarray)
        real, cache = as_tensor(target.real), request.paths.cache
        reference = Reference(extractor, real, target.split, cache=cache)
        features = extract_features(extractor, images.batches(extractor.batch), len(images))
        yield from reference.score_features(images, features, GENERATION, FURTHER)


def make_record(
    request: ScoringRequest,
    target: Target,
    real: str,
    passage: Passage,
    extractor: Extractor,
    scores: list[Score],
    collapse: str | None,
) -> Record:
    """Build the record of the scores; `real` is the fingerprint of the reference."""
    shape = list(target.shape) if target.shape else None
    spec: dict[str, Any] = {
        "protocol": PROTOCOL,
        "images": passage.fingerprint,
        "samples": len(passage.images),
        "data": {"name": target.name, "shape": shape, "fingerprint": real},
        "split": target.split,
        "extractor": str(extractor),
        "metrics": sorted(request.metrics),
    }
    if side := request.options.resize:
        spec["resize"] = {"side": side, "by": RESIZING}
    gpu = torch.cuda.get_device_name(extractor.device) if extractor.device.type == "cuda" else None
    return Record(
        run=f"{request.label}-{hash_fields(spec)[:8]}",
        suite=request.suite,
        dataset=target.name,
        contender=request.label,
        family=EXTERNAL,
        status="collapsed" if collapse else "ok",
        reason=collapse,
        spec=spec,
        scores=scores,
        metrics=sorted(request.metrics),
        environment=read_environment(gpu),
    )
