"""An audit from the data set to its files: measure, judge, write; or only judge again."""

import shlex
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from rich.console import Console
from rich.text import Text
from safetensors import SafetensorError

from benchmarks.analysis.audit_files import AuditAbout, read_about
from benchmarks.analysis.audits import FOLDER, Audit, find_fingerprints
from benchmarks.analysis.columns import PANELS
from benchmarks.analysis.frames import runs_frame
from benchmarks.auditing import store
from benchmarks.auditing.advice import advise
from benchmarks.auditing.answers import QUESTIONS
from benchmarks.auditing.faults import FAULTS
from benchmarks.auditing.measurements import Bank, Design, Session, make_rng, smoke_step, to_frame
from benchmarks.auditing.own import enter_metric
from benchmarks.auditing.stock import (
    FEWEST,
    Stock,
    build_bank,
    check_pool,
    count_pool,
    draw_strips,
    gather_stock,
)
from benchmarks.auditing.verdicts import curves, floors, judge
from benchmarks.auditing.workers import Source, Tell, measure_all
from benchmarks.config.registry import is_reference
from benchmarks.config.suite import Suite
from benchmarks.core.errors import BadInput, one_line
from benchmarks.core.processes import count_cores
from benchmarks.core.seeds import derive_seed
from benchmarks.core.signals import uninterruptible
from benchmarks.core.threads import fixed_threads
from benchmarks.data import Dataset, load_dataset
from benchmarks.evaluation.extractors import check_weights, choose_extractor, make_material
from benchmarks.execution.lock import hold
from benchmarks.records.environment import read_environment
from benchmarks.records.store import read_suite
from benchmarks.reporting.audits import write_verdict_markdown
from benchmarks.reporting.page.audit import build_audit_page
from benchmarks.reporting.plots.audits import render_audit
from benchmarks.reporting.report import write_reports
from metrics import METRICS, Extractor, Features

SOURCE = "edges"
"""A source domain that is made from target images, so that these are held out as well."""

METRIC_FIELDS = ("symbol", "direction", "sees", "ignores")
"""What `audit.json` keeps of a metric."""

DisplayProgress = Callable[[Console, str, str], AbstractContextManager[Tell]]
"""Opens a display of how many parts of a piece of work, named in words, are done."""


@dataclass(frozen=True)
class Request:
    """The subject of an audit, and its place.

    Attributes:
        folder: the results folder.
        extractors: names, or references of the user's; the first is the main one.
        metrics: names of shipped metrics.
        own: references of the user's metrics.
        samples: images in a set; None for as many as a suite scores, up to `most`.
        splits: pairs of held-out sets of which the floor is made.
        repetitions: how many of these are damaged.
        device: where extractors run.
        jobs: worker processes; None for one a core. One alone where a GPU is used.
        weights: those of Inception.
        cache: of trained extractors.
    """

    folder: Path
    suite: Suite
    extractors: tuple[str, ...]
    metrics: tuple[str, ...]
    own: tuple[str, ...]
    faults: tuple[str, ...]
    samples: int | None
    most: int
    splits: int
    repetitions: int
    seed: int
    device: str
    jobs: int | None
    data_root: Path
    weights: Path | None
    cache: Path
    command: tuple[str, ...]


def run_audit(
    request: Request, console: Console, display: DisplayProgress
) -> tuple[Audit, list[Path]]:
    """Run an audit, with one thread a process, so that scores are the same everywhere.

    Returns:
        The audit, and the paths written.

    Raises:
        BadInput: there are too few images, or an extractor or a metric cannot be used.
    """
    started, name = time.perf_counter(), request.suite.dataset
    jobs = 1 if request.device != "cpu" else request.jobs or count_cores()
    with fixed_threads(1):
        with console.status(Text(f"loading {name}")):
            data = load_images(request)
        main, *others = request.extractors
        main = choose_extractor(main, data, request.weights)
        material = make_material(data, request.cache, request.weights, request.device)
        source = Source(tuple(dict.fromkeys([main, *others])), material)
        check_weights([*source.extractors], request.weights)
        with console.status(Text(f"extracting features by {', '.join(source.extractors)}")):
            session, stock, source = prepare_session(data, request, source)
        with hold(request.folder / FOLDER, [*request.command]):
            with display(console, f"auditing {name}", "parts") as tell:
                found, answers = measure_all(session, source, list(QUESTIONS), jobs, tell)
            about = describe_audit(request, data, session, stock)
            about["answers"] = [answer.model_dump() for answer in answers]
            about["seconds"] = time.perf_counter() - started
            # Half of an audit is none, so what is being written is finished first.
            with console.status("judging and drawing"), uninterruptible():
                strips = draw_all_strips(session)
                return judge_and_write(request.folder, about, to_frame(found), strips)


def rejudge(folder: Path) -> tuple[Audit, list[Path]]:
    """Judge again what was measured, and write all that follows from it.

    Raises:
        BadInput: the results folder holds no readable audit.
    """
    place = folder / FOLDER
    about, measurements = read_about(place).fields, store.read_measurements(place)
    command = ["python", "-m", "benchmarks.audit", "--rebuild", str(folder)]
    with hold(place, command), uninterruptible():
        strips = {path.name: path.read_bytes() for path in sorted(place.glob("strips/*.png"))}
        return judge_and_write(folder, about, measurements, strips)


def update_report(folder: Path) -> None:
    """Write the suite's report again, with its audit; a folder without a suite has none."""
    if not (folder / "suite.json").exists():
        return
    try:
        with hold(folder, ["python", "-m", "benchmarks.audit"]):
            write_reports(folder, quiet=True)
    except BadInput as error:
        command = f"python -m benchmarks.report {shlex.quote(str(folder))}"
        print(f"the report was not updated ({error}); later: {command}", file=sys.stderr)


def load_images(request: Request) -> Dataset:
    """Load the data with a source domain made from target images, so that these are held out too.

    Raises:
        BadInput: it cannot be loaded.
    """
    suite = request.suite
    return load_dataset(
        suite.dataset,
        data_root=request.data_root,
        source=SOURCE,
        image_size=suite.image_size,
        channels=suite.channels,
    )


def prepare_session(
    data: Dataset, request: Request, source: Source
) -> tuple[Session, Stock, Source]:
    """Draw the images, extract the features of each once, and add the user's metrics.

    Raises:
        BadInput: there are too few images, or an extractor cannot be built, or a metric or an
            extractor of the user's is none.
    """
    samples = choose_samples(data, request)
    own = [name for reference in request.own for name in enter_metric(reference)]
    metrics = tuple(dict.fromkeys([*sorted(request.metrics, key=find_column), *own]))
    design = Design(
        samples, request.splits, request.repetitions, request.seed, request.faults, metrics
    )
    source = Source(source.extractors, source.material, request.own)
    extractors = build_extractors(source)
    stock = gather_stock(data, samples, make_rng(request.seed, "stock"))
    images, classes, places = build_bank(stock, make_rng(request.seed, "bank"))
    features = {name: extract(name, extractors[name], images) for name in extractors}
    session = Session(design, Bank(images, classes, places, features), extractors)
    smoke_step(session)
    return session, stock, source


def find_column(metric: str) -> tuple[int, str]:
    """Return a metric's place in a comparison's columns; variants follow what they vary."""
    columns = [column.key for panel in PANELS.values() for column in panel]
    kin = (i for i, key in enumerate(columns) if metric == key or metric.startswith(f"{key}_"))
    return next(kin, len(columns)), metric


def build_extractors(source: Source) -> dict[str, Extractor]:
    """Build the extractors.

    Raises:
        BadInput: the data or the weights are not enough for one of them.
    """
    try:
        return source.build()
    except BadInput:
        raise
    except Exception as error:
        # One of the user's may fail in any way; where all are shipped, that is a bug.
        own = any(map(is_reference, source.extractors))
        if own or isinstance(error, ValueError | SafetensorError):
            raise BadInput(f"--extractor: {type(error).__name__}: {one_line(error)}") from error
        raise


def extract(name: str, extractor: Extractor, images: torch.Tensor) -> Features:
    """Extract the features of all images.

    Raises:
        BadInput: they are no matrix of finite numbers with a row an image.
    """
    try:
        seen = extractor(images)
    except Exception as error:
        if type(extractor.network).__module__.startswith("metrics."):
            raise
        raise BadInput(f"--extractor {name}: {type(error).__name__}: {one_line(error)}") from error
    for part in seen:
        if part is not None and (
            part.ndim != 2 or len(part) != len(images) or not part.isfinite().all()
        ):
            raise BadInput(
                f"--extractor {name}: returns {list(part.shape)} numbers, not all finite, where "
                f"a row of finite ones for each of {len(images):,} images is needed"
            )
    return seen


def choose_samples(data: Dataset, request: Request) -> int:
    """Return how many images a set has: as many as a suite scores, if there are twice as many.

    Raises:
        BadInput: there are too few held-out images, or fewer than are asked for.
    """
    check_pool(data, FEWEST)
    half = count_pool(data) // 2
    if request.samples is not None and not FEWEST <= request.samples <= half:
        raise BadInput(
            f"--samples {request.samples}: from {FEWEST} to {half:,}, half of the held-out images"
        )
    scored = min(len(data.source_test), len(data.test))
    return request.samples or max(FEWEST, min(half, request.most, scored))


def describe_audit(
    request: Request, data: Dataset, session: Session, stock: Stock
) -> dict[str, Any]:
    """Describe what is audited and how, as `audit.json` keeps it."""
    design, gpu = session.design, request.device.startswith("cuda")
    environment = read_environment(torch.cuda.get_device_name(request.device) if gpu else None)
    return {
        "dataset": {key: getattr(data, key) for key in ("name", "shape", "fingerprint")},
        "extractors": list(session.extractors),
        **{key: getattr(design, key) for key in ("samples", "splits", "repetitions", "seed")},
        "quarter": session.count("quarter"),
        "quarter_repetitions": len(session.repetitions("quarter")),
        "training": len(stock.train),
        "pool": len(stock.pool),
        "clustered": stock.clustered,
        "classes": int(stock.pool_classes.max()) + 1,
        "faults": [FAULTS[name].describe() for name in design.faults],
        "metrics": [
            {"name": name} | {key: getattr(METRICS[name].metadata, key) for key in METRIC_FIELDS}
            for name in design.metrics
        ],
        "command": " ".join(request.command),
        "environment": environment.model_dump(mode="json"),
    }


def judge_and_write(
    folder: Path,
    about: Mapping[str, Any],
    measurements: pd.DataFrame,
    strips: Mapping[str, bytes],
) -> tuple[Audit, list[Path]]:
    """Judge what was measured, and write the audit into a results folder, with plots and page.

    Args:
        folder: the results folder.
        about: as of `describe_audit`, and the known answers.
        measurements: all of them.
        strips: PNG of damaged images by file name.
    """
    model = AuditAbout.model_validate({"digests": {}, **about})
    faults, metrics = model.faults, model.metrics
    audit = Audit(
        folder / FOLDER,
        dict(about),
        judge(measurements, faults, metrics, derive_seed("verdicts", about["seed"])),
        floors(measurements, metrics),
        curves(measurements, faults, metrics),
    )
    runs = None
    results = read_suite(folder) if (folder / "suite.json").exists() else None
    if results and find_fingerprints(results) == {about["dataset"]["fingerprint"]}:
        runs = runs_frame(results)  # on the same data: they tell the spread over seeds
    audit.about["advice"] = advise(audit, runs)
    drawn = render_audit(audit)
    files = {f"plots/{name}": content for name, content in drawn.items()}
    files |= {f"strips/{name}": content for name, content in strips.items()}
    files["verdict.md"] = write_verdict_markdown(audit)
    files["audit.html"] = build_audit_page(audit, drawn, strips)
    return audit, store.write_audit(audit, measurements, files)


def draw_all_strips(session: Session) -> dict[str, bytes]:
    """Draw images at all levels of each fault; none of faults of features."""
    places = session.bank.places
    chosen = torch.arange(places["pool"].start, places["pool"].stop)[: len(places["foreign"])]
    rows = session.bank.rows(chosen)
    faults = [FAULTS[name] for name in session.design.faults if FAULTS[name].kind != "features"]
    return {f"{f.name}.png": draw_strips(rows, f, make_rng("strip", f.name)) for f in faults}
