"""The command `python -m benchmarks.run`: train, score and compare the contenders of a suite."""

import argparse
import os
import shlex
import signal
import sys
from collections import Counter
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.errors import BadInput, speak, unknown
from benchmarks.interruption import Interrupted, interruptible
from benchmarks.lock import hold
from benchmarks.options import (
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
from benchmarks.suite import (
    RunSpec,
    Suite,
    plan_runs,
)

if TYPE_CHECKING:
    from rich.console import Console

    from benchmarks.data import Dataset
    from benchmarks.display import Display
    from benchmarks.job import Job, Place
    from benchmarks.protocol import Evaluator
    from benchmarks.records import Record


def main(argv: list[str] | None = None) -> int:
    """Run the command.

    Returns:
        0; 1 where a run diverged, collapsed or failed, or the results could not be written; 2 where
        the input is wrong; 130 after Ctrl-C, 143 after SIGTERM.
    """
    argv = sys.argv[1:] if argv is None else argv
    if count_processes() > 1 and os.environ["RANK"] != "0":
        from benchmarks.follower import follow

        return follow()
    speak()
    try:
        with interruptible(), team():
            return obey(read_arguments(argv), argv)
    except BadInput as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except (Interrupted, KeyboardInterrupt) as wish:
        print("interrupted; the same command goes on with the runs not finished", file=sys.stderr)
        return 128 + (wish.number if isinstance(wish, Interrupted) else signal.SIGINT)


def team() -> AbstractContextManager[None]:
    """Lead the other processes of `torchrun`, where there are any."""
    if count_processes() == 1:
        return nullcontext()
    from benchmarks.parallel import lead

    return lead()


def obey(options: argparse.Namespace, argv: list[str]) -> int:
    """Do what the options ask for."""
    if options.list:
        print(describe_choices())
        return 0
    if options.clean:
        from benchmarks.cleaning import clean

        return clean(options.clean, argv, dry=options.dry_run)
    return compare(options, argv)


def compare(options: argparse.Namespace, argv: list[str]) -> int:
    """Check everything, then calibrate, train, score and report."""
    from rich.console import Console
    from rich.text import Text

    from benchmarks.report import uncollected

    argv = [*argv, *share_out(options)]
    name, suite, place = read_options(options)
    check_options(options, suite, place)
    folder = options.out or Path("results") / name
    check_folder(folder)
    # Names may hold anything. Quietly, nothing is printed on it but what was asked for.
    console = Console(markup=False, quiet=options.quiet and not (options.plan or options.dry_run))
    with uncollected(), console.status("loading"):
        specs, data = make_plan(options, suite, place)
    if options.only is not None:
        check_only(options.only, specs)
    if options.require_audit:
        from benchmarks.auditing.store import demand_audit_of

        demand_audit_of(folder, {data.fingerprint}, options)
    if options.plan:
        with uncollected():
            foresee(console, options, data, find_jobs(options, specs, name, folder))
        return 0
    if options.dry_run:
        describe_plan(console, name, suite, data, find_jobs(options, specs, name, folder))
        return 0
    from benchmarks.runner import fixed_threads

    with (
        fixed_threads(suite.threads),
        console.status(Text(f"preparing the {suite.extractor} features")),
    ):
        specs, evaluator = prepare(data, specs, find_place(options, folder))
    with hold(folder, ["python", "-m", "benchmarks.run", *argv]) as dead:
        if dead:
            warn(f"{dead} has died; going on from what it left")
        return carry_out(console, options, argv, name, folder, suite, evaluator, specs)


def warn(line: str) -> None:
    """Print a line that is to be seen however quiet the command is."""
    from rich.console import Console

    Console(markup=False, highlight=False).print(line, soft_wrap=True)


def check_only(only: str, specs: list[RunSpec]) -> None:
    """Refuse a run to be done alone that the suite does not have.

    Raises:
        BadInput: naming the nearest that it has.
    """
    valid = [spec.name.rpartition("-")[0] for spec in specs]
    if not {only, only.rpartition("-")[0]} & set(valid):
        raise BadInput(f"--only: {unknown('run', only, valid)}")


def find_jobs(
    options: argparse.Namespace, specs: list[RunSpec], name: str, folder: Path
) -> "list[Job]":
    """Make a job of every spec."""
    from benchmarks.job import Job

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
        suite, data, place, device=device, precision=precision, compile_=options.compile
    )
    return specs, data


def find_place(options: argparse.Namespace, folder: Path) -> "Place":
    """Say where runs find what they need and leave what they make."""
    from benchmarks.job import Place

    return Place(folder, find_data_root(options), find_cache(), options.inception_weights)


def describe_plan(
    console: "Console", name: str, suite: Suite, data: "Dataset", jobs: "list[Job]"
) -> None:
    """Print what would be trained, and how much of it is done already."""
    from rich.table import Table

    from benchmarks.costs import count_parameters
    from benchmarks.runner import build_model, count_steps

    colours, side, _ = data.shape
    console.print(
        f"{name}: {suite.dataset}, {side}×{side}×{colours}; {len(data.train):,} training, "
        f"{len(data.validation):,} validation, {len(data.test):,} test images; source "
        f"{data.source}, {len(data.source_train):,} training, {len(data.source_test):,} held out",
        highlight=False,
    )
    table = Table("contender", "model", "steps", "batch", "parameters", *STAGES, box=None)
    stages = Counter((job.spec.contender, stage) for job, stage in find_stages(jobs))
    for spec in (job.spec for job in jobs if job.spec.seed == 0):
        model = build_model(spec, data.shape)
        table.add_row(
            spec.contender,
            spec.model,
            f"{count_steps(spec, model):,}",
            str(spec.batch),
            f"{count_parameters(model):,}",
            *(str(stages[spec.contender, stage]) for stage in STAGES),
        )
    console.print(table)
    spec = jobs[0].spec
    console.print(
        f"{len(jobs)} runs, {spec.images:,} training images each, scored by "
        f"{suite.extractor} on {spec.samples:,} samples, on {spec.device}",
        highlight=False,
    )


def foresee(
    console: "Console", options: argparse.Namespace, data: "Dataset", jobs: "list[Job]"
) -> None:
    """Print what the runs that are not finished will need, from trials of a moment each."""
    from benchmarks.engines import choose_jobs
    from benchmarks.planning import estimate, show_estimate

    todo = [job.spec for job, stage in find_stages(jobs) if stage != "finished"]
    if not todo:
        console.print("every run is finished")
        return
    spec, folder = todo[0], jobs[0].place.folder
    workers = options.jobs or choose_jobs(len(todo), spec.threads, spec.device, options.gpu_share)
    show_estimate(console, estimate(todo, data, workers, folder))


STAGES = ("finished", "partial", "to do")


def find_stages(jobs: "list[Job]") -> "list[tuple[Job, str]]":
    """Tell of each run whether it is finished, trained in part or whole, or to do."""
    from benchmarks.continuation import is_begun, is_done, list_folders

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
    data: "Dataset", specs: list[RunSpec], place: "Place"
) -> "tuple[list[RunSpec], Evaluator]":
    """Build the extractors, and name them with their hashes in every spec."""
    from benchmarks.protocol import Evaluator
    from benchmarks.runner import load_extractor

    first = specs[0]
    extractor, *views = (
        load_extractor(name, data, place, first.device) for name in (first.extractor, *first.views)
    )
    named = {"extractor": str(extractor), "views": tuple(map(str, views))}
    specs = [spec.model_copy(update=named) for spec in specs]
    evaluator = Evaluator(data, extractor, first.samples, first.reconstructions, place.cache, views)
    return specs, evaluator


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
    from benchmarks.report import publish
    from benchmarks.runner import calibrate, fixed_threads

    jobs = find_jobs(options, specs, name, folder)
    with fixed_threads(suite.threads), console.status("scoring real images and noise"):
        calibration = calibrate(jobs[0], evaluator)
    if options.only is None or not (folder / "suite.json").exists():
        write_suite(name, suite, folder, specs, calibration, argv)
    records = train_all(console, options, jobs, evaluator.data.shape)
    publish(folder, quiet=options.quiet, require_audit=options.require_audit)
    return conclude(records, folder, argv)


def train_all(
    console: "Console", options: argparse.Namespace, jobs: "list[Job]", shape: tuple[int, int, int]
) -> "list[Record]":
    """Carry out every run that is not finished, longest first, and give all records in order."""
    from rich.console import Console

    from benchmarks.display import Mode, make_display
    from benchmarks.runner import estimate_work
    from benchmarks.tables import note_other_code

    finished, todo = choose_one(options.only, jobs) if options.only else sort_out(console, jobs)
    specs = {job.spec.contender: job.spec for job in todo}
    work = {name: estimate_work(spec, shape) for name, spec in specs.items()}
    todo.sort(key=lambda job: -work[job.spec.contender])
    load = {job.spec.name: float(work[job.spec.contender]) for job in todo}
    mode: Mode = "quiet" if options.quiet else "plain" if options.plain else "auto"
    loud = Console(markup=False)
    with make_display(loud, len(todo), mode, load, finished.values()) as display:
        new = engage(options, todo, display)
    made = finished | {record.run: record for record in new}
    records = [made[job.spec.name] for job in jobs if job.spec.name in made]
    if note := note_other_code(records):
        console.print(f"{note}; --force trains again", highlight=False)
    return records


def engage(options: argparse.Namespace, jobs: "list[Job]", display: "Display") -> "list[Record]":
    """Carry out jobs by the engine of the user's choice."""
    from benchmarks.engines import choose_jobs, run_all

    if not jobs:
        return []
    if options.engine == "ray":
        from benchmarks.cluster import run_cluster

        return run_cluster(jobs, display, options.address, options.gpu_share)
    spec = jobs[0].spec
    wanted = options.jobs or choose_jobs(len(jobs), spec.threads, spec.device, options.gpu_share)
    alone = options.engine == "inline" or count_processes() > 1
    return run_all(jobs, 1 if alone else wanted, display)


def choose_one(only: str, jobs: "list[Job]") -> "tuple[dict[str, Record], list[Job]]":
    """Find the one run that is to be done, and the records of those others that have one.

    Raises:
        BadInput: the options make another run of that contender and seed.
    """
    from benchmarks.continuation import find_finished

    todo = [job for job in jobs if only in {job.spec.name, job.spec.name.rpartition("-")[0]}]
    if not todo:
        near = next(j for j in jobs if j.spec.name.rpartition("-")[0] == only.rpartition("-")[0])
        raise BadInput(f"--only {only}: with these options that run is {near.spec.name}")
    others = (find_finished(job) for job in jobs if job not in todo)
    return {record.run: record for record in others if record}, todo


def sort_out(console: "Console", jobs: "list[Job]") -> "tuple[dict[str, Record], list[Job]]":
    """Find what is finished, and what is to do: to train, to go on with, or only to score."""
    from benchmarks.continuation import (
        adopt,
        find_finished,
        find_missing,
        has_other_code,
        is_begun,
        is_kept,
        list_folders,
        set_aside_damaged,
    )
    from benchmarks.records import read_record

    folders = list_folders(jobs[0].place.folder)
    finished, todo, stale, changed = {}, [], 0, list[str]()
    for job in jobs:
        record = None if job.afresh else find_finished(job)
        if record is not None and not (find_missing(record) and is_kept(job)):
            finished[record.run] = record
            stale += bool(find_missing(record))
            continue
        todo.append(job)
        if damage := set_aside_damaged(job.folder / "record.json", read_record):
            warn(damage)
        own = folders.get(job.spec.name.rpartition("-")[0], [])
        if not job.afresh and not is_begun(job) and not adopt(job, own):
            changed += [job.spec.contender] * any(has_other_code(job, path) for path in own)
    if finished:
        console.print(f"{len(finished)} of {len(jobs)} runs are finished already", highlight=False)
    if stale:
        console.print(
            f"{stale} of them lack newer scores and have no checkpoint to score; --force trains "
            "them again",
            highlight=False,
        )
    if changed:
        names = ", ".join(dict.fromkeys(changed))
        console.print(f"{names}: trained anew, since the code has changed", highlight=False)
    return finished, todo


def write_suite(
    name: str,
    suite: Suite,
    folder: Path,
    specs: list[RunSpec],
    calibration: "list[Record]",
    argv: list[str],
) -> None:
    """Write the index by which reports find the records; rows that were added to it stay."""
    from benchmarks.records import Entry, Index, write_index

    added = find_added(folder, suite.dataset)
    families = {spec.contender: spec.family for spec in specs}
    families |= {record.contender: record.family for record in added}
    index = Index(
        suite=name,
        dataset=suite.dataset,
        contenders=[Entry(name=c, family=f) for c, f in families.items()],
        runs=[spec.name for spec in specs] + [record.run for record in added],
        calibration=[record.run for record in calibration],
        command=shlex.join(["python", "-m", "benchmarks.run", *argv]),
        published=suite.published,
    )
    write_index(folder, index)


def find_added(folder: Path, dataset: str) -> "list[Record]":
    """List the records of other programs' images on this data set that are in a suite's folder."""
    from benchmarks.continuation import set_aside_damaged
    from benchmarks.records import EXTERNAL, read_index, read_suite

    if damage := set_aside_damaged(folder / "suite.json", read_index):
        print(f"warning: {damage}; rows of other programs' images are to be added anew")
    try:
        earlier = read_suite(folder)
    except BadInput:
        return []
    return [r for r in earlier.records if r.family == EXTERNAL and r.dataset == dataset]


def conclude(records: "list[Record]", folder: Path, argv: list[str]) -> int:
    """Name the runs that did not go well and how to repeat them, and give the exit code."""
    bad = [record for record in records if record.status != "ok"]
    for record in bad:
        print(f"{record.run} {record.status}: {record.reason}", file=sys.stderr)
        trouble = folder / "runs" / record.run / "traceback.txt"
        if trouble.exists():
            print(f"  traceback: {trouble}", file=sys.stderr)
        again = [*without_engine(argv), "--only", record.run, "--engine", "inline"]
        command = shlex.join(["python", "-m", "benchmarks.run", *again])
        print(f"  alone, in the foreground: {command}", file=sys.stderr)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
