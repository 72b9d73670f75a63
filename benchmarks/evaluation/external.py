"""From images of another program, and what they are compared with, to their scores."""

import hashlib
import io
import json
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.api import OUT, RESIZING, Plan, Target
from benchmarks.cli.options import choose_device, find_cache, find_data_root, safe
from benchmarks.cli.scoreboard import WARNING, Report, Result, Watch, list_notes
from benchmarks.config import registry
from benchmarks.config.paths import Paths
from benchmarks.config.spec import PROTOCOL
from benchmarks.core.errors import BadInput
from benchmarks.core.files import write_atomically
from benchmarks.evaluation.collapse import Variety, find_collapse
from benchmarks.evaluation.evaluator import (
    MEMORISATION,
    VIEWED,
    as_tensor,
    draw_neighbours,
    draw_samples,
)
from benchmarks.evaluation.extractors import check_weights, choose_extractor, doubt_extractor
from benchmarks.evaluation.feature_cache import cached_features
from benchmarks.evaluation.generated import Images, Statistics
from benchmarks.evaluation.loading import build, find_extractor
from benchmarks.evaluation.reference import Reference, extract
from benchmarks.execution.run_one import fixed_threads
from benchmarks.records.environment import read_environment
from benchmarks.records.schema import EXTERNAL, Picture, Record, Score
from metrics import Extractor, Features, Material, Moments

MADE = "made by another program"
"""How the scored images came about, as far as one can know."""

FIRST = 64
"""Images of which a picture is drawn."""

PIXELS = 2**22
"""Pixels that an extractor sees at a time on a CPU, beyond which its maps take gigabytes."""

ENTRIES = 2**24
"""Values of a set of one's own from which an extractor may be built: as many as `pixels` uses."""

INCEPTION = 2048
"""Features that are taken for those of Inception, where a file of statistics does not say whose."""


class Seen:
    """What is gathered of images that pass by in batches: their hash and how they vary."""

    def __init__(self, images: Images) -> None:
        self.images, self.variety = images, Variety()
        self.digest = hashlib.sha256(f"{images.shape} False;".encode())

    def watch(self, size: int, report: Report) -> Iterator[np.ndarray]:
        """Yield the images in batches, and tell how many have passed by."""
        for batch in told(self.images, size, report):
            self.digest.update(np.ascontiguousarray(batch).data)
            self.variety.update(batch)
            yield batch

    @property
    def fingerprint(self) -> str:
        """The SHA-256 of their content, as `fingerprint` has it."""
        return self.digest.hexdigest()


def told(images: Images, size: int, report: Report) -> Iterator[np.ndarray]:
    """Yield images in batches, and tell how many are done."""
    done = 0
    for batch in images.batches(size):
        yield batch
        done += len(batch)
        report(done, len(images))


def evaluate(plan: Plan, made: Images, target: Target, watch: Watch) -> Result:
    """Take the features of both sets, score, and say what is to be known of it."""
    plan = follow(plan, target)
    extractor = prepare(plan, made, target, watch)
    with fixed_threads(plan.options.threads or torch.get_num_threads()):
        reference, real, content = make_reference(plan, extractor, target, watch)
        seen, scores = Seen(made), list[Score]()
        with watch(f"{extractor} sees {made.source.title}") as report:
            features = extract(extractor, seen.watch(extractor.batch, report), len(made))
        if plan.options.save_statistics:
            save_statistics(plan, extractor, made, features.features)
        if reference:
            with watch("scoring"):
                scores += reference.score_features(made, features, MADE, plan.metrics)
                scores += score_views(plan, made, target)
        pictures = draw(reference, made, features) if reference and plan.comparison else {}
    names = f"images of {made.source.title}", f"images of {target.name}"
    collapse = find_collapse(seen.variety, real, names)
    other = find_collapse(real, seen.variety, names[::-1]) if real else None
    record = make_record(plan, target, content, seen, extractor, scores, collapse)
    doubts = doubt_extractor(plan.extractor, (made.channels, made.side, made.side))
    warned = [f"{WARNING}{reason}" for reason in (collapse, other, *doubts) if reason]
    notes = [*warned, *target.notes, *list_notes(record, made, target)]
    return Result(record, made.source.title, notes, pictures, target.count)


def follow(plan: Plan, target: Target) -> Plan:
    """Choose metric and extractor by what the reference is, a data set or statistics.

    Raises:
        BadInput: another extractor was asked for, or it takes one to say by which they were taken.
    """
    real, weights = target.real, plan.options.inception_weights
    if target.data is not None:
        name = choose_extractor(plan.extractor, target.data, weights)
        check_weights([name], weights)
        return replace(plan, extractor=name)
    if not isinstance(real, Statistics):
        return plan
    asked, own = plan.options.extractor, real.extractor and real.extractor.rpartition("@")[0]
    if own and asked not in {None, own}:
        raise BadInput(f"--extractor {asked}: {real.title} is by {real.extractor}")
    if not own and not asked and len(real.mean) != INCEPTION:
        raise BadInput(
            f"{real.title} is of {len(real.mean)} features, and does not say whose: add "
            "--extractor NAME"
        )
    return replace(plan, extractor=own or plan.extractor, metrics=["fid"])


def prepare(plan: Plan, made: Images, target: Target, watch: Watch) -> Extractor:
    """Build the extractor, with as many threads as suites do, since its training depends on them.

    Raises:
        BadInput: it cannot be built, is not that of the comparison or of the statistics, or lacks
            what is to be scored.
    """
    options, spec, real = plan.options, plan.spec, target.real
    if spec and spec.protocol != PROTOCOL:
        raise BadInput(
            f"{options.into} was scored by version {spec.protocol} of the protocol, and this is "
            f"{PROTOCOL}; run its suite again"
        )
    with fixed_threads(spec.threads if spec else 1), watch(f"preparing {plan.extractor}"):
        extractor = load(plan, plan.extractor, made, target)
    wanted = spec.extractor if spec else getattr(real, "extractor", None)
    if wanted not in {None, str(extractor)}:
        raise BadInput(
            f"the extractor is {extractor} here, and {options.into or target.name} is scored by "
            f"{wanted}; scores of different extractors do not compare"
        )
    if isinstance(real, Statistics) and len(real.mean) != extractor.dimension:
        raise BadInput(
            f"{target.name} is of {len(real.mean):,} features, and {extractor} gives "
            f"{extractor.dimension:,}: name by --extractor the one that it was made by"
        )
    inputs = {name: entry.about["inputs"] for name, entry in registry.list_metrics().items()}
    for name in plan.metrics if options.metrics not in (None, "all") else ():
        if extractor.classes is None and inputs[name] in {"logits", "both_logits"}:
            raise BadInput(f"--metrics {name}: the extractor {plan.extractor} knows no classes")
    if extractor.device.type == "cpu":
        extractor.batch = min(extractor.batch, max(1, PIXELS // made.side**2))
    return extractor


def load(plan: Plan, name: str, made: Images, target: Target) -> Extractor:
    """Build an extractor for the data set, or else for some images of one's own."""
    options = plan.options
    weights = options.inception_weights and Path(options.inception_weights)
    place = Paths(OUT, Path(find_data_root(options)), find_cache(), weights)
    wanted = plan.spec.device if plan.spec and options.device == "auto" else options.device
    device = choose_device(wanted)
    if target.data is not None:
        return find_extractor(name, target.data, place, device)
    images = target.real if isinstance(target.real, Images) else made
    most = min(len(images), max(2, ENTRIES // prod(images.shape[1:])))
    some = as_tensor(images.read(np.linspace(0, len(images) - 1, most).round().astype(int)))
    return build(name, Material(some, None, None, "", place.cache, weights, device))


def make_reference(
    plan: Plan, extractor: Extractor, target: Target, watch: Watch
) -> tuple[Reference | None, Variety | None, str]:
    """Take the features of what images are compared with.

    Returns:
        The reference, how its images vary, and the fingerprint of what it is.
    """
    real, cache = target.real, find_cache()
    if real is None:
        return None, None, ""
    if isinstance(real, Statistics):
        moments = Moments.from_covariance(real.mean, real.covariance, real.count or 2)
        counted = real.count is not None
        return Reference(extractor, moments, target.split, counted=counted), None, real.fingerprint
    if target.data is not None:
        assert isinstance(real, np.ndarray)
        remembers = not MEMORISATION.isdisjoint(plan.metrics)
        training = as_tensor(target.data.train.images) if remembers else None
        images, split = as_tensor(real), target.split
        with watch(f"{extractor} sees {target.name}"):
            reference = Reference(extractor, images, split, training=training, cache=cache)
        return reference, Variety(real), target.data.fingerprint
    assert isinstance(real, Images)
    seen = Seen(real)
    with watch(f"reading {target.name}") as report:
        for _ in seen.watch(extractor.batch, report):
            pass
    with watch(f"{extractor} sees {target.name}") as report:
        compute = partial(extract, extractor, told(real, extractor.batch, report), len(real))
        features = cached_features(extractor, compute, seen.fingerprint, cache)
    return Reference(extractor, features, target.split), seen.variety, seen.fingerprint


def score_views(plan: Plan, made: Images, target: Target) -> Iterator[Score]:
    """Score by the further extractors by which the rows of the comparison have an FID.

    Raises:
        BadInput: one is not what it was there.
    """
    for name in plan.spec.views if plan.spec else ():
        view = load(plan, name, made, target)
        assert isinstance(target.real, np.ndarray)
        reference = Reference(view, as_tensor(target.real), target.split, cache=find_cache())
        features = extract(view, made.batches(view.batch), len(made))
        yield from reference.score_features(made, features, MADE, VIEWED)


def draw(
    reference: Reference, made: Images, features: Features
) -> dict[str, tuple[Picture, bytes]]:
    """Draw the first images, and those that come nearest to a training image where these count."""
    pictures = {"samples": draw_samples(as_tensor(made.read(range(FIRST))))}
    if reference.training is not None:
        choose = lambda rows: as_tensor(made.read(rows.tolist()))  # noqa: E731
        pictures["neighbours"] = draw_neighbours(reference, choose, features.features)
    return pictures


def save_statistics(plan: Plan, extractor: Extractor, made: Images, features: Tensor) -> None:
    """Write mean and covariance of the features, and of what and how they were taken."""
    moments, file = Moments(features), io.BytesIO()
    about = {"extractor": str(extractor), "count": len(features), "shape": made.shape[1:]}
    about |= {"resize": plan.options.resize}
    kept = {"mu": moments.mean.numpy(), "sigma": moments.covariance.numpy()}
    np.savez(file, about=np.array(json.dumps(about)), allow_pickle=False, **kept)
    write_atomically(Path(plan.options.save_statistics), file.getvalue())


def make_record(
    plan: Plan,
    target: Target,
    real: str,
    seen: Seen,
    extractor: Extractor,
    scores: list[Score],
    collapse: str | None,
) -> Record:
    """Build the record of the scores; `real` is the fingerprint of the reference."""
    options = plan.options
    label = options.label or safe(Path(plan.images.title).stem) or "images"
    shape = list(target.shape) if target.shape else None
    spec: dict[str, Any] = {
        "protocol": PROTOCOL,
        "images": seen.fingerprint,
        "samples": len(seen.images),
        "data": {"name": target.name, "shape": shape, "fingerprint": real},
        "split": target.split,
        "extractor": str(extractor),
        "metrics": sorted(plan.metrics),
    }
    if options.resize:
        spec["resize"] = {"side": options.resize, "by": RESIZING}
    text = json.dumps(spec, sort_keys=True, separators=(",", ":"))
    on_gpu = extractor.device.type == "cuda"
    return Record(
        run=f"{label}-{hashlib.sha256(text.encode()).hexdigest()[:8]}",
        suite=plan.comparison.results.index.suite if plan.comparison else OUT.name,
        dataset=target.name,
        contender=label,
        family=EXTERNAL,
        status="collapsed" if collapse else "ok",
        reason=collapse,
        spec=spec,
        scores=scores,
        metrics=sorted(plan.metrics),
        environment=read_environment(
            torch.cuda.get_device_name(extractor.device) if on_gpu else None
        ),
    )
