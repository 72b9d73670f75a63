"""All runs of a suite: which are to do, in which order, and the index of their records."""

import shlex
import shutil
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from benchmarks.config.paths import Paths
from benchmarks.config.suite import Suite
from benchmarks.core.errors import FAILURES, BadInput, OwnFailure, describe_error, unknown
from benchmarks.data import Dataset, load_dataset
from benchmarks.evaluation.evaluator import Evaluator
from benchmarks.evaluation.extractors import check_weights, load_extractor, load_further_extractor
from benchmarks.execution.engine import Engine
from benchmarks.execution.events import Emit, Finished, Noticed, Planned
from benchmarks.execution.footprint import estimate_footprints
from benchmarks.execution.job import Job
from benchmarks.execution.plan import plan_runs
from benchmarks.execution.resume import (
    FILM,
    find_finished,
    find_lost,
    find_missing,
    has_other_code,
    has_weights,
    is_begun,
    is_done,
    list_folders,
    quarantine_damaged,
    reuse_training,
)
from benchmarks.execution.run_one import describe_failure, unfinished, write_outcome
from benchmarks.records.schema import EXTERNAL, Index, IndexEntry, Record
from benchmarks.records.store import read_index, read_record, read_suite, write_index

STAGES = ("finished", "partial", "to do")
"""How far a run may have come."""


@dataclass(frozen=True)
class SuiteRun:
    """All runs of a suite on its data, every contender with every seed, and what does them."""

    suite: Suite
    data: Dataset
    jobs: list[Job]
    engine: Engine

    @property
    def folder(self) -> Path:
        """The results folder."""
        return self.jobs[0].place.folder

    def check_only(self, only: str | None, *, hashed: bool = False) -> None:
        """Refuse a run that is to be done alone and that the suite does not have.

        It is named by contender and seed, or wholly, which is checked where the specs are `hashed`:
        names depend on the hashes of extractors.
        """
        if only is None:
            return
        valid = {short_name(job): job.spec.name for job in self.jobs}
        short = only if only in valid else only.rpartition("-")[0]
        if short not in valid:
            raise BadInput(f"--only: {unknown('run', only, valid)}")
        if hashed and only not in {short, valid[short]}:
            raise BadInput(f"--only {only}: with these options that run is {valid[short]}")

    def name_extractors(self, extractor: object, views: Iterable[object]) -> "SuiteRun":
        """Return the same runs with the names of loaded extractors, which have their hashes."""
        named = {"extractor": str(extractor), "views": tuple(map(str, views))}
        jobs = [replace(job, spec=job.spec.model_copy(update=named)) for job in self.jobs]
        return replace(self, jobs=jobs)

    def with_features(self) -> "tuple[SuiteRun, Evaluator]":
        """Return the same runs with the hashes of their extractors, and what scores them.

        Raises:
            OwnFailure: the first extractor fails, by which training is validated.
        """
        spec, paths = self.jobs[0].spec, self.jobs[0].place
        views = [load_further_extractor(v, self.data, paths, spec.device) for v in spec.views]
        try:
            extractor = load_extractor(spec.extractor, self.data, paths, spec.device)
            sizes = spec.samples, spec.reconstructions
            evaluator = Evaluator(self.data, extractor, *sizes, paths.cache, views)
        except (BadInput, OSError):
            raise
        except FAILURES as error:
            raise OwnFailure(f"extractor {spec.extractor!r}: {describe_error(error)}") from error
        return self.name_extractors(extractor, views), evaluator

    def run(self, emit: Emit, only: str | None = None) -> list[Record]:
        """Carry out every run that is not finished, longest first, or `only` one.

        Returns:
            The records there are, in the order of the jobs.
        """
        if only:
            todo = [job for job in self.jobs if only in {job.spec.name, short_name(job)}]
            others = (find_finished(job) for job in self.jobs if job not in todo)
            finished = {record.run: record for record in others if record}
        else:
            finished, todo = find_todo(self.jobs, emit)
        for job in todo:
            if damage := quarantine_damaged(job.folder / "record.json", read_record):
                emit(Noticed("", damage))
        if changed := ", ".join(dict.fromkeys(reuse_trainings(todo))):
            text = f"{changed}: retrained, since the code has changed"
            emit(Noticed("", text, routine=True))
        firsts, further = split_by_training(estimate_footprints(todo, self.data))
        firsts.sort(key=lambda job: -job.footprint.flops)
        load = {job.spec.name: float(job.footprint.flops) for job in firsts}
        emit(Planned(load | {job.spec.name: 0.0 for job in further}, [*finished.values()]))
        if note := self.engine.count_workers(firsts)[1]:
            emit(Noticed("", note))
        records = finished | {record.run: record for record in self.engine.run(firsts, emit)}
        ready = [share_training(job, self.jobs, records, emit) for job in further]
        scored = self.engine.run([job for job in ready if job], emit)
        records |= {record.run: record for record in scored}
        return [records[job.spec.name] for job in self.jobs if job.spec.name in records]

    def write_index(self, calibration: list[Record], command: list[str], emit: Emit) -> None:
        """Write the index by which reports find the records; rows that were added to it stay."""
        if damage := quarantine_damaged(self.folder / "suite.json", read_index):
            emit(Noticed("", f"warning: {damage}; add rows of other programs' images again"))
        earlier, name = list[Record](), self.suite.dataset
        with suppress(BadInput):
            earlier = read_suite(self.folder).records
        added = [r for r in earlier if r.family == EXTERNAL and r.dataset == name]
        families = {job.spec.contender: job.spec.family for job in self.jobs}
        families |= {record.contender: record.family for record in added}
        index = Index(
            suite=self.jobs[0].suite,
            dataset=name,
            contenders=[IndexEntry(name=c, family=f) for c, f in families.items()],
            runs=[job.spec.name for job in self.jobs] + [record.run for record in added],
            calibration=[record.run for record in calibration],
            command=shlex.join(command),
            published=self.suite.published,
        )
        write_index(self.folder, index)


def plan_suite(
    suite: Suite,
    name: str,
    place: str,
    paths: Paths,
    engine: Engine,
    job_options: dict[str, Any],
    **machine: Any,
) -> SuiteRun:
    """Load the data of a suite and resolve its runs on them; nothing is written.

    The name is that of its results, and messages say that it stands in `place`; `job_options` are
    further fields of every `Job`, `machine` the device and how it is used, as for `plan_runs`.
    """
    changes = suite.model_dump(include={"source", "image_size", "channels"})
    data = load_dataset(suite.dataset, data_root=paths.data_root, **changes)
    specs = plan_runs(suite, data, place, **machine, weights=paths.weights)
    check_weights([specs[0].extractor, *specs[0].views], paths.weights)
    return SuiteRun(suite, data, [Job(spec, name, paths, **job_options) for spec in specs], engine)


def find_todo(jobs: list[Job], emit: Emit) -> tuple[dict[str, Record], list[Job]]:
    """Return the records of finished runs, and the jobs to train, to resume or only to score."""
    finished, todo, unscored, rescored, gone = {}, [], 0, 0, list[str]()
    for job in jobs:
        record = None if job.afresh else find_finished(job)
        lost = find_lost(job, record) if record else []
        missing = find_missing(record) if record else []
        scorable = bool(lost or missing) and has_weights(job)
        again = [file for file in lost if file != FILM] if scorable else []
        rescored += bool(again)
        gone += [f"{job.folder / file}" for file in lost if file not in again]
        if record and not again and not (missing and scorable):
            finished[record.run] = record
            unscored += bool(missing)
            continue
        todo.append(job)
    unscored_have = "of them lack newer scores and have no checkpoint to score"
    for count, text in (
        (len(finished), f"of {len(jobs)} runs are finished already"),
        (unscored, f"{unscored_have}; --force trains them again"),
        (rescored, "have lost files, which their checkpoints give back"),
    ):
        if count:
            emit(Noticed("", f"{count} {text}", routine=True))
    if gone:
        text = "finished runs lack what only training gives back; --force trains them again"
        more = f" and {len(gone) - 3} more" if len(gone) > 3 else ""
        emit(Noticed("", f"{text}: {', '.join(gone[:3])}{more}"))
    return finished, todo


def find_stages(jobs: list[Job]) -> list[tuple[Job, str]]:
    """Return each job with its stage: finished, trained in part (or whole but not scored), to do.

    Extractors need not have their hash in the jobs' specs.
    """
    folders = list_folders(jobs[0].place.folder)

    def find_stage(job: Job) -> str:
        own = [] if job.afresh else folders.get(short_name(job), [])
        if any(is_done(job, folder) for folder in own):
            return "finished"
        return "partial" if any(is_begun(job, folder) for folder in own) else "to do"

    return [(job, find_stage(job)) for job in jobs]


def short_name(job: Job) -> str:
    """Return a run's contender and seed, which is its name without the hash."""
    return job.spec.name.rpartition("-")[0]


def reuse_trainings(jobs: list[Job]) -> list[str]:
    """Link what earlier runs of the same trainings have left in the suite's folder.

    Returns:
        The contenders that are trained anew because the code of their model has changed.
    """
    folders, changed = list_folders(jobs[0].place.folder) if jobs else {}, []
    for job in jobs:
        # Of the job's row, and of its contender by other samplers.
        contender, seed = job.spec.training.contender, f"-s{job.spec.seed}"
        others = [n for n in folders if n.startswith(f"{contender}_") and n.endswith(seed)]
        names = dict.fromkeys([short_name(job), contender + seed, *others])
        related = [folder for name in names for folder in folders.get(name, [])]
        if not job.afresh and not is_begun(job) and not reuse_training(job, related):
            changed += [job.spec.contender] * any(has_other_code(job, path) for path in related)
    return changed


def split_by_training(jobs: Iterable[Job]) -> tuple[list[Job], list[Job]]:
    """Split jobs into the first of each training, and those that sample from it otherwise."""
    firsts: dict[str, Job] = {}
    further = [job for job in jobs if firsts.setdefault(job.spec.training_key, job) is not job]
    return list(firsts.values()), further


def share_training(job: Job, jobs: list[Job], records: dict[str, Record], emit: Emit) -> Job | None:
    """Reuse the training of another row of the same contender and seed, or its failure.

    Returns:
        The job to be scored; None where the training failed, whose record enters `records`.
    """
    if job.afresh:  # the training has just been made afresh, by the first row
        shutil.rmtree(job.checkpoint, ignore_errors=True)
        job = replace(job, afresh=False)
    rows = [other for other in jobs if other.spec.training_key == job.spec.training_key]
    known = [records[row.spec.name] for row in rows if row.spec.name in records]
    failed = [record for record in known if record.status in {"failed", "diverged"}]
    try:
        reuse_training(job, [row.folder for row in rows])
        if not failed or has_weights(job):
            return job
        reason = f"its training failed in {failed[0].run}: {failed[0].reason}"
        record = unfinished(job, failed[0].status, reason)
        write_outcome(job, record)
    except OSError as error:
        record = unfinished(job, "failed", describe_failure(error))
    emit(Finished(record.run, record))
    records[record.run] = record
    return None
