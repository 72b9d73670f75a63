"""The command `python -m benchmarks.run`: train, score and compare the contenders of a suite."""

import argparse
import math
import os
import shlex
import shutil
import signal
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.cli.options import (
    check_folder,
    check_options,
    choose_device,
    count_processes,
    describe_choices,
    find_cache,
    find_data_root,
    read_arguments,
    read_options,
    share_out,
    without_engine,
)
from benchmarks.config.spec import CALIBRATION, RunSpec
from benchmarks.config.suite import Suite
from benchmarks.core.errors import (
    FAILURES,
    BadInput,
    OwnFailure,
    describe_error,
    printable,
    unknown,
)
from benchmarks.core.output import configure_output
from benchmarks.core.signals import Interrupted, interruptible
from benchmarks.evaluation.extractors import check_weights, doubt_extractor
from benchmarks.execution.lock import hold
from benchmarks.execution.plan import plan_runs
from benchmarks.records.schema import FAILED

if TYPE_CHECKING:
    from rich.console import Console

    from benchmarks.config.paths import Paths
    from benchmarks.data import Dataset
    from benchmarks.evaluation.evaluator import Evaluator
    from benchmarks.execution.events import Emit
    from benchmarks.execution.job import Job
    from benchmarks.records.schema import Record


def main(argv: list[str] | None = None) -> int:
    """Run the command.

    Returns:
        0; 1 where a run diverged, collapsed or failed, a score is missing because its metric or
        extractor failed, or the results could not be written; 2 where the input is wrong; 130 after
        Ctrl-C, 143 after SIGTERM, 129 after SIGHUP.
    """
    argv = sys.argv[1:] if argv is None else argv
    if count_processes() > 1 and os.environ["RANK"] != "0":
        from benchmarks.execution.train_one import follow_rank_0

        return follow_rank_0()
    configure_output()
    try:
        with interruptible(), join_processes():
            return obey(read_arguments(argv), argv)
    except BadInput as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except (OSError, OwnFailure) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except (Interrupted, KeyboardInterrupt) as wish:
        print("interrupted; the same command goes on with the runs not finished", file=sys.stderr)
        return 128 + (wish.number if isinstance(wish, Interrupted) else signal.SIGINT)


def join_processes() -> AbstractContextManager[object]:
    """Join the other processes of `torchrun`, where there are any; they end with this one."""
    if count_processes() == 1:
        return nullcontext()
    from benchmarks.training.distributed import process_group

    return process_group()


def obey(options: argparse.Namespace, argv: list[str]) -> int:
    """Do what the options ask for."""
    if options.list:
        print(describe_choices())
        return 0
    if options.clean:
        from benchmarks.execution.cleaning import clean

        return clean(options.clean, argv, dry=options.dry_run)
    return compare(options, argv)


def compare(options: argparse.Namespace, argv: list[str]) -> int:
    """Check everything, then calibrate, train, score and report."""
    from rich.console import Console
    from rich.text import Text

    from benchmarks.reporting.report import collection_paused

    argv = [*argv, *share_out(options)]
    name, suite, place, notes = read_options(options)
    check_options(options, suite, place)
    folder = options.out or Path("results") / name
    check_folder(folder)
    # Names may hold anything. Quietly, nothing is printed on it but what was asked for.
    console = Console(markup=False, quiet=options.quiet and not (options.plan or options.dry_run))
    with collection_paused(), console.status("loading"):
        specs, data = make_plan(options, suite, place)
    first = specs[0]
    check_weights([first.extractor, *first.views], options.inception_weights)
    if options.only is not None:
        check_only(options.only, specs)
    if options.require_audit:
        from benchmarks.analysis.audits import demand_audit_of

        demand_audit_of(folder, {data.fingerprint}, argv, suite.dataset)
    check_place(options, specs, folder)
    if options.plan or options.dry_run:
        notes += check_features(options, specs, data, folder)
        for note in notes:
            console.print(note, highlight=False, soft_wrap=True)
    if options.plan:
        with collection_paused():
            return foresee(console, options, data, find_jobs(options, specs, name, folder))
    if options.dry_run:
        return describe_plan(console, name, data, find_jobs(options, specs, name, folder))
    from benchmarks.core.threads import fixed_threads

    with (
        fixed_threads(suite.threads),
        console.status(Text(f"preparing the {first.extractor} features")),
    ):
        specs, evaluator = prepare(data, specs, find_place(options, folder))
    if options.only is not None:
        check_only(options.only, specs, hashed=True)
    for note in notes:
        console.print(note, highlight=False, soft_wrap=True)
    with hold(folder, ["python", "-m", "benchmarks.run", *argv]) as dead:
        if dead:
            warn(f"{dead} has died; going on from what it left")
        return carry_out(console, options, argv, name, folder, suite, evaluator, specs)


def warn(line: str) -> None:
    """Print a line that is to be seen however quiet the command is."""
    from rich.console import Console

    Console(markup=False, highlight=False).print(line, soft_wrap=True)


def check_only(only: str, specs: list[RunSpec], *, hashed: bool = False) -> None:
    """Refuse a run to be done alone that the suite does not have.

    Args:
        only: its contender and seed, or its whole name.
        specs: of all runs.
        hashed: whether these have the extractor's hash, without which a run's own is not known.

    Raises:
        BadInput: naming the nearest that it has.
    """
    valid = {spec.name.rpartition("-")[0]: spec.name for spec in specs}
    short = only if only in valid else only.rpartition("-")[0]
    if short not in valid:
        raise BadInput(f"--only: {unknown('run', only, valid)}")
    if hashed and only not in {short, valid[short]}:
        raise BadInput(f"--only {only}: with these options that run is {valid[short]}")


def find_jobs(
    options: argparse.Namespace, specs: list[RunSpec], name: str, folder: Path
) -> "list[Job]":
    """Make a job of every spec."""
    from benchmarks.execution.job import Job

    place = find_place(options, folder)
    return [
        Job(spec, name, place, options.checkpoint_seconds, afresh=options.force) for spec in specs
    ]


def make_plan(
    options: argparse.Namespace, suite: Suite, place: str
) -> "tuple[list[RunSpec], Dataset]":
    """Load the data and resolve the suite's runs on it; nothing is written."""
    from benchmarks.data import load_dataset

    data = load_dataset(
        suite.dataset,
        data_root=find_data_root(options),
        source=suite.source,
        image_size=suite.image_size,
        channels=suite.channels,
    )
    device = choose_device(options.device)
    precision = options.precision
    if precision == "auto":
        precision = "bfloat16" if device.startswith("cuda") else "float32"
    specs = plan_runs(
        suite,
        data,
        place,
        device=device,
        precision=precision,
        compile_=options.compile,
        weights=options.inception_weights,
    )
    return specs, data


def check_place(options: argparse.Namespace, specs: list[RunSpec], folder: Path) -> None:
    """Refuse a folder that is in use, or a cluster that cannot be joined, and leave no trace."""
    from benchmarks.execution.lock import check_free

    check_free(folder)
    if options.engine == "ray":
        from benchmarks.execution.ray import check_cluster

        check_cluster({spec.device for spec in specs}, options.address)


def check_features(
    options: argparse.Namespace, specs: list[RunSpec], data: "Dataset", folder: Path
) -> list[str]:
    """Refuse extractors that `prepare` would refuse, and a run that `--only` names wrongly.

    None is trained or downloaded, unless that name has a hash, in which the extractor's has a part.

    Returns:
        A line on each extractor that is to be made first or that fails, and on what is to be
        doubted in the features.
    """
    from benchmarks.core.threads import fixed_threads

    place, first = find_place(options, folder), specs[0]
    with fixed_threads(first.threads):
        if options.only not in {None, *(spec.name.rpartition("-")[0] for spec in specs)}:
            check_only(options.only, prepare(data, specs, place)[0], hashed=True)
        lines = [*check_extractors(data, first, place)]
    accuracy = recall_accuracy(folder, data.fingerprint)
    return [*lines, *doubt_extractor(first.extractor, data.shape, accuracy)]


def check_extractors(data: "Dataset", spec: RunSpec, place: "Paths") -> Iterator[str]:
    """Build a run's extractors as far as they are at hand; yield a line on each other one."""
    from benchmarks.evaluation.extractors import load_further_extractor
    from benchmarks.evaluation.scoring import FailedExtractor
    from metrics import NotReady

    for name in (spec.extractor, *spec.views):
        try:
            found = load_further_extractor(name, data, place, spec.device, ready=True)
        except NotReady as missing:
            check_folder(place.cache, "BENCHMARKS_CACHE")
            yield f"extractor {name}: {missing}"
            continue
        if isinstance(found, FailedExtractor) and name == spec.extractor:
            raise OwnFailure(f"extractor {name!r}: {found.note.removeprefix(FAILED)}")
        if isinstance(found, FailedExtractor):
            yield f"FID by {name} {found.note}"


def recall_accuracy(folder: Path, fingerprint: str) -> float | None:
    """Return how often the classifier was right in an earlier comparison of the same data."""
    from benchmarks.analysis.audits import find_fingerprints
    from benchmarks.analysis.notes import find_accuracy
    from benchmarks.records.store import read_suite

    with suppress(BadInput):
        results = read_suite(folder)
        if find_fingerprints(results) == {fingerprint}:
            return find_accuracy(results.records)
    return None


def find_place(options: argparse.Namespace, folder: Path) -> "Paths":
    """Say where runs find what they need and leave what they make."""
    from benchmarks.config.paths import Paths

    return Paths(folder, find_data_root(options), find_cache(), options.inception_weights)


def describe_plan(console: "Console", name: str, data: "Dataset", jobs: "list[Job]") -> int:
    """Print what would be trained, how much of it is done, and what fails when it is tried.

    Returns:
        The exit code: 1 where a contender fails.
    """
    from rich.table import Table

    colours, side, _ = data.shape
    console.print(
        f"{name}: {data.name}, {side}×{side}×{colours}; {len(data.train):,} training, "
        f"{len(data.validation):,} validation, {len(data.test):,} test images; source "
        f"{data.source}, {len(data.source_train):,} training, {len(data.source_test):,} held out",
        highlight=False,
    )
    if data.layout:
        console.print(f"layout: {data.layout}", highlight=False, soft_wrap=True)
    table = Table("contender", "model", "steps", "batch", "parameters", *STAGES, box=None)
    stages = Counter((job.spec.contender, stage) for job, stage in find_stages(jobs))
    faults = []
    for spec in (job.spec for job in jobs if job.spec.seed == 0):
        steps, parameters, fault = try_contender(spec, data)
        table.add_row(
            spec.contender,
            spec.model,
            steps,
            str(spec.batch),
            parameters,
            *(str(stages[spec.contender, stage]) for stage in STAGES),
        )
        faults += [f"{spec.contender} fails when it is tried: {fault}"] if fault else []
    console.print(table)
    spec = jobs[0].spec
    console.print(
        f"{len(jobs)} runs, {spec.images:,} training images each, scored by "
        f"{spec.extractor} on {spec.samples:,} samples, on {spec.device}",
        highlight=False,
    )
    for fault in faults:
        console.print(fault, highlight=False, soft_wrap=True)
    return 1 if faults else 0


def try_contender(spec: RunSpec, data: "Dataset") -> tuple[str, str, str]:
    """Take a contender's smoke step; return its steps, its parameters, and what is wrong."""
    from benchmarks.core.tensors import as_tensor
    from benchmarks.core.threads import fixed_threads
    from benchmarks.evaluation.contract import ContractError
    from benchmarks.execution.train_one import build_model, count_steps, measure_costs

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


def foresee(
    console: "Console", options: argparse.Namespace, data: "Dataset", jobs: "list[Job]"
) -> int:
    """Print what the runs that are not finished will need, from trials of a moment each.

    Returns:
        The exit code: 1 where a contender fails when it is tried.
    """
    from benchmarks.execution.estimate import estimate, show_estimate
    from benchmarks.execution.local import choose_jobs

    # A further row of a training costs next to nothing.
    unfinished = [job for job, stage in find_stages(jobs) if stage != "finished"]
    todo = [job.spec for job in split_by_training(unfinished)[0]]
    if not todo:
        console.print("every run is finished")
        return 0
    spec, folder = todo[0], jobs[0].place.folder
    workers = options.jobs or choose_jobs(len(todo), spec.threads, spec.device, options.gpu_share)
    found = estimate(todo, data, workers, folder)
    show_estimate(console, found)
    return 1 if any(math.isnan(need.run_seconds) for need in found.needs) else 0


STAGES = ("finished", "partial", "to do")


def find_stages(jobs: "list[Job]") -> "list[tuple[Job, str]]":
    """Tell of each run whether it is finished, trained in part or whole, or to do."""
    from benchmarks.execution.resume import is_begun, is_done, list_folders

    folders = list_folders(jobs[0].place.folder)
    stages = []
    for job in jobs:
        own = folders.get(job.spec.name.rpartition("-")[0], []) if folders else []
        if job.afresh or not own:
            stages.append((job, "to do"))
        elif any(is_done(job, folder) for folder in own):
            stages.append((job, "finished"))
        else:
            begun = any(is_begun(job, folder) for folder in own)
            stages.append((job, "partial" if begun else "to do"))
    return stages


def prepare(
    data: "Dataset", specs: list[RunSpec], place: "Paths"
) -> "tuple[list[RunSpec], Evaluator]":
    """Build the extractors, and name them with their hashes in every spec.

    Raises:
        OwnFailure: the first extractor fails, by which training is validated.
    """
    from benchmarks.evaluation.evaluator import Evaluator
    from benchmarks.evaluation.extractors import load_extractor, load_further_extractor

    first = specs[0]
    views = [load_further_extractor(name, data, place, first.device) for name in first.views]
    numbers = first.samples, first.reconstructions
    try:
        extractor = load_extractor(first.extractor, data, place, first.device)
        evaluator = Evaluator(data, extractor, *numbers, place.cache, views)
    except (BadInput, OSError):
        raise
    except FAILURES as error:
        raise OwnFailure(f"extractor {first.extractor!r}: {describe_error(error)}") from error
    named = {"extractor": str(extractor), "views": tuple(map(str, views))}
    return [spec.model_copy(update=named) for spec in specs], evaluator


def carry_out(
    console: "Console",
    options: argparse.Namespace,
    argv: list[str],
    name: str,
    folder: Path,
    suite: Suite,
    evaluator: "Evaluator",
    specs: list[RunSpec],
) -> int:
    """Calibrate, train, score and report; the exit code tells whether every run went well."""
    from benchmarks.analysis.notes import doubt_features
    from benchmarks.core.threads import fixed_threads
    from benchmarks.execution.run_one import calibrate
    from benchmarks.reporting.report import write_reports

    jobs = find_jobs(options, specs, name, folder)
    with fixed_threads(suite.threads), console.status("scoring real images and noise"):
        calibration = calibrate(jobs[0], evaluator)
    for line in doubt_features(calibration):
        warn(line)
    if options.only is None or not (folder / "suite.json").exists():
        write_suite(name, suite, folder, specs, calibration, argv)
    records = train_all(console, options, jobs, evaluator.data.shape)
    write_reports(folder, quiet=options.quiet, require_audit=options.require_audit)
    return conclude([*calibration, *records], folder, argv)


def train_all(
    console: "Console", options: argparse.Namespace, jobs: "list[Job]", shape: tuple[int, int, int]
) -> "list[Record]":
    """Carry out every run that is not finished, longest first, and give all records in order."""
    from rich.console import Console

    from benchmarks.analysis.notes import note_other_code
    from benchmarks.cli.display import Mode, make_display
    from benchmarks.execution.events import Planned
    from benchmarks.execution.train_one import estimate_work

    finished, todo = choose_one(options.only, jobs) if options.only else sort_out(console, jobs)
    if changed := adopt_trainings(todo):
        names = ", ".join(dict.fromkeys(changed))
        console.print(f"{names}: trained anew, since the code has changed", highlight=False)
    todo, further = split_by_training(todo)
    specs = {job.spec.contender: job.spec for job in todo}
    work = {name: estimate_work(spec, shape) for name, spec in specs.items()}
    todo.sort(key=lambda job: -work[job.spec.contender])
    load = {job.spec.name: float(work[job.spec.contender]) for job in todo}
    load |= dict.fromkeys((job.spec.name for job in further), 0.0)
    mode: Mode = "quiet" if options.quiet else "plain" if options.plain else "auto"
    with make_display(Console(markup=False), mode) as display:
        display.handle(Planned(load, list(finished.values())))
        made = finished | {record.run: record for record in engage(options, todo, display.handle)}
        ready = [share_training(job, jobs, made, display.handle) for job in further]
        scored = engage(options, [job for job in ready if job], display.handle)
        made |= {record.run: record for record in scored}
    records = [made[job.spec.name] for job in jobs if job.spec.name in made]
    if note := note_other_code(records):
        console.print(f"{note}; --force trains again", highlight=False)
    return records


def adopt_trainings(jobs: "list[Job]") -> list[str]:
    """Take over what earlier runs of the same trainings have left in the suite's folder.

    Returns:
        The contenders that are trained anew because the code of their model has changed.
    """
    from benchmarks.execution.resume import has_other_code, is_begun, list_folders, reuse_training

    folders, changed = list_folders(jobs[0].place.folder) if jobs else {}, []
    for job in jobs:
        related = list_related(job, folders)
        if not job.afresh and not is_begun(job) and not reuse_training(job, related):
            changed += [job.spec.contender] * any(has_other_code(job, path) for path in related)
    return changed


def split_by_training(jobs: "list[Job]") -> "tuple[list[Job], list[Job]]":
    """Split jobs into the first of each training, and those that sample from it otherwise."""
    firsts: dict[str, Job] = {}
    for job in jobs:
        firsts.setdefault(job.spec.training_key, job)
    return list(firsts.values()), [job for job in jobs if job not in firsts.values()]


def share_training(
    job: "Job", jobs: "list[Job]", made: "dict[str, Record]", emit: "Emit"
) -> "Job | None":
    """Adopt the training of another row of the same contender and seed, or its failure.

    Returns:
        The job to be scored; None where the training failed, whose record enters `made`.
    """
    from benchmarks.execution.events import Finished
    from benchmarks.execution.resume import has_weights, reuse_training
    from benchmarks.execution.run_one import describe_failure, unfinished, write_outcome
    from benchmarks.execution.train_one import Progress

    if job.afresh:  # the training has just been made afresh, by the first row
        shutil.rmtree(job.checkpoint, ignore_errors=True)
        job = replace(job, afresh=False)
    rows = [other for other in jobs if other.spec.training_key == job.spec.training_key]
    records = [made[row.spec.name] for row in rows if row.spec.name in made]
    failed = [record for record in records if record.status in {"failed", "diverged"}]
    try:
        reuse_training(job, [row.folder for row in rows])
        if not failed or has_weights(job):
            return job
        reason = f"its training failed in {failed[0].run}: {failed[0].reason}"
        record = unfinished(job, failed[0].status, reason)
        write_outcome(job, record, Progress(), b"")
    except OSError as error:
        record = unfinished(job, "failed", describe_failure(error))
    emit(Finished(record.run, record))
    made[record.run] = record
    return None


def engage(options: argparse.Namespace, jobs: "list[Job]", emit: "Emit") -> "list[Record]":
    """Carry out jobs by the engine of the user's choice."""
    from benchmarks.execution.local import choose_jobs, run_all

    if not jobs:
        return []
    if options.engine == "ray":
        from benchmarks.execution.ray import run_cluster

        return run_cluster(jobs, emit, options.address, options.gpu_share)
    spec = jobs[0].spec
    wanted = options.jobs or choose_jobs(len(jobs), spec.threads, spec.device, options.gpu_share)
    alone = options.engine == "inline" or count_processes() > 1
    return run_all(jobs, 1 if alone else wanted, emit)


def choose_one(only: str, jobs: "list[Job]") -> "tuple[dict[str, Record], list[Job]]":
    """Find the one run that is to be done, and the records of those others that have one."""
    from benchmarks.execution.resume import find_finished

    todo = [job for job in jobs if only in {job.spec.name, job.spec.name.rpartition("-")[0]}]
    others = (find_finished(job) for job in jobs if job not in todo)
    return {record.run: record for record in others if record}, todo


def sort_out(console: "Console", jobs: "list[Job]") -> "tuple[dict[str, Record], list[Job]]":
    """Find what is finished, and what is to do: to train, to go on with, or only to score."""
    from benchmarks.execution.resume import (
        FILM,
        find_finished,
        find_lost,
        find_missing,
        has_weights,
        quarantine_damaged,
    )
    from benchmarks.records.store import read_record

    finished, todo, stale, mended, gone = {}, [], 0, 0, []
    for job in jobs:
        record = None if job.afresh else find_finished(job)
        lost = find_lost(job, record) if record else []
        again = [file for file in lost if file != FILM] if has_weights(job) else []
        mended += bool(again)
        gone += [f"{job.folder / file}" for file in lost if file not in again]
        if record and not again and not (find_missing(record) and has_weights(job)):
            finished[record.run] = record
            stale += bool(find_missing(record))
            continue
        todo.append(job)
        if damage := quarantine_damaged(job.folder / "record.json", read_record):
            warn(damage)
    if finished:
        console.print(f"{len(finished)} of {len(jobs)} runs are finished already", highlight=False)
    if stale:
        console.print(
            f"{stale} of them lack newer scores and have no checkpoint to score; --force trains "
            "them again",
            highlight=False,
        )
    if mended:
        console.print(f"{mended} have lost files, which their checkpoints give back")
    if gone:
        warn(
            "finished runs lack what only training gives back; --force trains them again: "
            f"{', '.join(gone[:3])}{f' and {len(gone) - 3} more' if len(gone) > 3 else ''}"
        )
    return finished, todo


def list_related(job: "Job", folders: dict[str, list[Path]]) -> list[Path]:
    """List the folders of runs of a job's row, and of its contender by other samplers."""
    contender, seed = job.spec.training.contender, f"-s{job.spec.seed}"
    own, *others = job.spec.name.rpartition("-")[0], contender + seed
    others += [n for n in folders if n.startswith(f"{contender}_") and n.endswith(seed)]
    return [folder for name in dict.fromkeys([own, *others]) for folder in folders.get(name, [])]


def write_suite(
    name: str,
    suite: Suite,
    folder: Path,
    specs: list[RunSpec],
    calibration: "list[Record]",
    argv: list[str],
) -> None:
    """Write the index by which reports find the records; rows that were added to it stay."""
    from benchmarks.records.schema import Index, IndexEntry
    from benchmarks.records.store import write_index

    added = find_added(folder, suite.dataset)
    families = {spec.contender: spec.family for spec in specs}
    families |= {record.contender: record.family for record in added}
    index = Index(
        suite=name,
        dataset=suite.dataset,
        contenders=[IndexEntry(name=c, family=f) for c, f in families.items()],
        runs=[spec.name for spec in specs] + [record.run for record in added],
        calibration=[record.run for record in calibration],
        command=shlex.join(["python", "-m", "benchmarks.run", *argv]),
        published=suite.published,
    )
    write_index(folder, index)


def find_added(folder: Path, dataset: str) -> "list[Record]":
    """List the records of other programs' images on this data set that are in a suite's folder."""
    from benchmarks.execution.resume import quarantine_damaged
    from benchmarks.records.schema import EXTERNAL
    from benchmarks.records.store import read_index, read_suite

    if damage := quarantine_damaged(folder / "suite.json", read_index):
        print(f"warning: {damage}; rows of other programs' images are to be added anew")
    try:
        earlier = read_suite(folder)
    except BadInput:
        return []
    return [r for r in earlier.records if r.family == EXTERNAL and r.dataset == dataset]


def conclude(records: "list[Record]", folder: Path, argv: list[str]) -> int:
    """Name what did not go well and how to repeat it, and give the exit code."""
    bad = [record for record in records if record.status != "ok"]
    for record in bad:
        print(printable(f"{record.run} {record.status}: {record.reason}"), file=sys.stderr)
        trouble = folder / "runs" / record.run / "traceback.txt"
        if trouble.exists():
            print(f"  traceback: {trouble}", file=sys.stderr)
        if record.family == CALIBRATION:
            continue
        again = [*without_engine(argv), "--only", record.run, "--engine", "inline"]
        command = shlex.join(["python", "-m", "benchmarks.run", *again])
        print(f"  alone, in the foreground: {command}", file=sys.stderr)
    lost = Counter(
        f"{score.metric}{f' by {score.extractor}' if score.extractor else ''} {score.note}"
        for record in records
        for score in record.scores
        if score.failed
    )
    for line, count in lost.items():
        print(printable(f"{line} (missing in {count:,} records)"), file=sys.stderr)
    return 1 if bad or lost else 0


if __name__ == "__main__":
    sys.exit(main())
