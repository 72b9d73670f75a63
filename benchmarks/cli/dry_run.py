"""What `--dry-run` and `--plan` print; nothing is written, trained to its end or downloaded."""

import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from rich.console import Console
from rich.filesize import decimal as show_bytes
from rich.table import Table

from benchmarks.analysis.audits import find_fingerprints
from benchmarks.analysis.notes import find_accuracy
from benchmarks.config.spec import RunSpec
from benchmarks.core.errors import FAILURES, BadInput, OwnFailure, describe_error
from benchmarks.core.files import check_folder
from benchmarks.core.tensors import as_tensor
from benchmarks.core.text import show_duration
from benchmarks.core.threads import fixed_threads
from benchmarks.data import Dataset
from benchmarks.evaluation.contract import ContractError
from benchmarks.evaluation.extractors import doubt_extractor, load_further_extractor
from benchmarks.evaluation.scoring import FailedExtractor
from benchmarks.execution.estimate import Need, estimate_suite
from benchmarks.execution.footprint import estimate_footprints
from benchmarks.execution.suite_run import (
    STAGES,
    SuiteRun,
    find_stages,
    short_name,
    split_by_training,
)
from benchmarks.execution.train_one import build_model, count_steps, measure_costs
from benchmarks.records.schema import FAILED
from benchmarks.records.store import read_suite
from metrics import NotReady


def describe(
    console: Console, planned: SuiteRun, notes: list[str], only: str | None, *, estimate: bool
) -> int:
    """Print notes and doubts, and what is done and to do, or an estimate of what that will take.

    Returns:
        The exit code: 1 where a contender fails its smoke step.

    Raises:
        BadInput: an extractor does not suit the data, or there is no run `only`.
        OwnFailure: the first extractor fails, by which training is validated.
    """
    if only is not None and only not in map(short_name, planned.jobs):
        check_hash(planned, only)
    print_lines(console, [*notes, *list_doubts(planned)])
    return print_estimate(console, planned) if estimate else print_dry_run(console, planned)


def check_hash(planned: SuiteRun, only: str) -> None:
    """Check the whole name of a run, unless an extractor that it depends on is to be made first."""
    first = planned.jobs[0].spec
    about = planned.data, planned.jobs[0].place, first.device
    with fixed_threads(first.threads), suppress(NotReady):
        extractor, *views = (
            str(load_further_extractor(name, *about, ready=True))  # each is large
            for name in (first.extractor, *first.views)
        )
        planned.name_extractors(extractor, views).check_only(only, hashed=True)


def list_doubts(planned: SuiteRun) -> Iterator[str]:
    """Yield a line on each extractor that is not ready or fails, and on weak features."""
    data, spec, paths = planned.data, planned.jobs[0].spec, planned.jobs[0].place
    for name in (spec.extractor, *spec.views):
        try:
            with fixed_threads(spec.threads):
                found = load_further_extractor(name, data, paths, spec.device, ready=True)
        except NotReady as missing:
            check_folder(paths.cache, "BENCHMARKS_CACHE")
            yield f"extractor {name}: {missing}"
            continue
        if isinstance(found, FailedExtractor):
            if name == spec.extractor:
                raise OwnFailure(f"extractor {name!r}: {found.note.removeprefix(FAILED)}")
            yield f"FID by {name} {found.note}"
    accuracy = None
    with suppress(BadInput):
        results = read_suite(paths.folder)
        if find_fingerprints(results) == {data.fingerprint}:
            accuracy = find_accuracy(results.records)
    yield from doubt_extractor(spec.extractor, data.shape, accuracy)


def print_dry_run(console: Console, planned: SuiteRun) -> int:
    """Print what would be trained, how much of it is done, and which smoke steps fail."""
    data, jobs = planned.data, planned.jobs
    channels, side, _ = data.shape
    about = (
        f"{jobs[0].suite}: {data.name}, {side}×{side}×{channels}; {len(data.train):,} training, "
        f"{len(data.validation):,} validation, {len(data.test):,} test images; source "
        f"{data.source}, {len(data.source_train):,} training, {len(data.source_test):,} held out"
    )
    print_lines(console, [about, *([f"layout: {data.layout}"] if data.layout else [])])
    table = Table("contender", "model", "steps", "batch", "parameters", *STAGES, box=None)
    stages = Counter((job.spec.contender, stage) for job, stage in find_stages(jobs))
    faults = []
    for spec in (job.spec for job in jobs if job.spec.seed == 0):
        steps, parameters, fault = try_contender(spec, data)
        counts = (str(stages[spec.contender, stage]) for stage in STAGES)
        table.add_row(spec.contender, spec.model, steps, str(spec.batch), parameters, *counts)
        faults += [f"{spec.contender} fails its smoke step: {fault}"] if fault else []
    console.print(table)
    spec = jobs[0].spec
    summary = (
        f"{len(jobs)} runs, {spec.images:,} training images each, scored by "
        f"{spec.extractor} on {spec.samples:,} samples, on {spec.device}"
    )
    print_lines(console, [summary, *faults])
    return 1 if faults else 0


def try_contender(spec: RunSpec, data: Dataset) -> tuple[str, str, str]:
    """Take a contender's smoke step; return its steps, its parameters, and what is wrong."""
    train, source = as_tensor(data.train.images), as_tensor(data.source_train.images)
    try:
        with fixed_threads(spec.threads):
            model = build_model(spec, data.shape).to(spec.device)
            parameters = measure_costs(model, spec, train, source).parameters
    except ContractError as error:
        return "?", "?", str(error)
    except FAILURES as error:
        return "?", "?", describe_error(error)
    return f"{count_steps(spec, model):,}", f"{parameters:,}", ""


def print_estimate(console: Console, planned: SuiteRun) -> int:
    """Print what the runs that are not finished will need, from a few training steps of each."""
    unfinished = [job for job, stage in find_stages(planned.jobs) if stage != "finished"]
    # A further row of a training costs next to nothing.
    todo = estimate_footprints(split_by_training(unfinished)[0], planned.data)
    if not todo:
        console.print("every run is finished")
        return 0
    needs = estimate_suite(todo, planned.data)
    return show_estimate(console, needs, planned.engine.count_workers(todo)[0], planned.folder)


def show_estimate(console: Console, needs: Sequence[Need], workers: int, folder: Path) -> int:
    """Print a row a contender and what all need; return exit code 1 where one fails."""
    table = Table("contender", *("runs", "steps", "s/step", "a run", "memory", "disk"), box=None)
    for need in needs:
        sizes = (show_duration(need.seconds), show_bytes(need.memory), show_bytes(need.disk))
        row = (f"{need.steps:,}", f"{need.step_seconds:.3g}", *sizes)
        table.add_row(need.contender, f"{need.runs:,}", *(("?",) * 5 if need.error else row))
    console.print(table)
    work = sum(need.runs * need.seconds for need in needs)
    disk = sum(need.runs * need.disk for need in needs)
    side_by_side = sorted((n.memory for n in needs for _ in range(n.runs)), reverse=True)[:workers]
    wall = max([work / workers, *(need.seconds for need in needs)])
    nearest = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    free = shutil.disk_usage(nearest).free
    lines = [
        f"{sum(need.runs for need in needs):,} runs: {show_duration(work)} of training, "
        f"{show_duration(wall)} with {workers} side by side; scoring comes on top.",
        f"Memory: {show_bytes(sum(side_by_side))} for the largest {workers}. "
        f"Disk: {show_bytes(disk)}; {show_bytes(free)} are free.",
        *(f"{need.contender} fails its smoke step: {need.error}" for need in needs if need.error),
    ]
    print_lines(console, lines)
    return 1 if any(need.error for need in needs) else 0


def print_lines(console: Console, lines: list[str]) -> None:
    """Print lines as they are."""
    for line in lines:
        console.print(line, highlight=False, soft_wrap=True)
