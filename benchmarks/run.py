"""The command `python -m benchmarks.run`: train, score and compare the contenders of a suite."""

import argparse
import os
import sys
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.cli.command import run_command
from benchmarks.cli.options import make_run_parser
from benchmarks.config.paths import Paths, find_cache
from benchmarks.core.devices import choose_device, count_processes
from benchmarks.core.files import check_folder

if TYPE_CHECKING:
    from rich.console import Console

    from benchmarks.execution.suite_run import SuiteRun


def main(argv: list[str] | None = None) -> int:
    """Run the command.

    Returns:
        The exit code: 1 where a run did not go well or a score is missing; else of `run_command`.
    """
    processes: AbstractContextManager[object] = nullcontext()
    if count_processes() > 1:
        if os.environ["RANK"] != "0":
            from benchmarks.execution.train_one import follow_rank_0

            return follow_rank_0()
        from benchmarks.training.distributed import process_group

        processes = process_group()  # whose others end with this one
    interrupted = "interrupted; the same command resumes the runs that are not finished"
    try:
        with processes:
            return run_command(argv, make_run_parser().parse_args, run_or_list, interrupted)
    except ConnectionError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


def run_or_list(options: argparse.Namespace, argv: list[str]) -> int:
    """Do what the options ask for, and return the exit code."""
    if options.list:
        from benchmarks.cli.choices import describe_choices

        print(describe_choices())
        return 0
    if options.clean:
        from benchmarks.execution.cleaning import clean

        return clean(options.clean, argv, dry=options.dry_run)
    return compare_suite(options, argv)


def compare_suite(options: argparse.Namespace, argv: list[str]) -> int:
    """Check everything; then describe the runs, or carry them out."""
    from rich.console import Console

    from benchmarks.cli.suite_options import check_options, read_options, share_out

    argv = [*argv, *share_out(options)]
    name, suite, place, notes = read_options(options)
    check_options(options, suite, place)
    folder = options.out or Path("results") / name
    check_folder(folder)
    # Names may hold anything. Quietly, nothing is printed on it but what was asked for.
    console = Console(markup=False, quiet=options.quiet and not (options.plan or options.dry_run))
    from benchmarks.cli import dry_run
    from benchmarks.data import default_data_root
    from benchmarks.execution.engine import Engine
    from benchmarks.execution.suite_run import plan_suite
    from benchmarks.reporting.report import collection_paused

    kind = "inline" if count_processes() > 1 else options.engine
    engine = Engine(kind, options.jobs, options.gpu_share, options.address)
    data_root, weights = options.data_root or default_data_root(), options.inception_weights
    paths = Paths(folder, data_root, find_cache(), weights)
    job_options = {"checkpoint_seconds": options.checkpoint_seconds, "afresh": options.force}
    machine = {"precision": options.precision, "compile_": options.compile}
    with collection_paused(), console.status("loading"):
        machine["device"] = choose_device(options.device)
        planned = plan_suite(suite, name, place, paths, engine, job_options, **machine)
    planned.check_only(options.only)
    if options.require_audit:
        from benchmarks.analysis.audits import demand_audit_of

        demand_audit_of(folder, {planned.data.fingerprint}, argv, suite.dataset)
    engine.check([job.spec for job in planned.jobs], folder)
    if options.plan or options.dry_run:
        return dry_run.describe(console, planned, notes, options.only, estimate=options.plan)
    return run_and_report(console, planned, notes, options, argv)


def run_and_report(
    console: "Console",
    planned: "SuiteRun",
    notes: list[str],
    options: argparse.Namespace,
    argv: list[str],
) -> int:
    """Calibrate, train, score and report; return 1 where a run did not go well."""
    from rich.console import Console
    from rich.text import Text

    from benchmarks.analysis.notes import doubt_features, note_other_code
    from benchmarks.cli.display import Mode, make_display
    from benchmarks.cli.problems import print_problems
    from benchmarks.core.threads import fixed_threads
    from benchmarks.execution.lock import hold
    from benchmarks.execution.run_one import calibrate
    from benchmarks.reporting.report import write_reports

    folder, first = planned.folder, planned.jobs[0].spec
    status = console.status(Text(f"preparing the {first.extractor} features"))
    with fixed_threads(first.threads), status:
        planned, evaluator = planned.with_features()
    planned.check_only(options.only, hashed=True)
    command = ["python", "-m", "benchmarks.run", *argv]
    mode: Mode = "quiet" if options.quiet else "plain" if options.plain else "auto"
    with hold(folder, command) as dead:
        with make_display(Console(markup=False), mode) as display:
            for note in notes:
                display.notice("", note, routine=True)
            if dead:
                display.notice("", f"{dead} has died; resuming from what it left")
            with fixed_threads(first.threads), console.status("scoring real images and noise"):
                calibration = calibrate(planned.jobs[0], evaluator)
            for line in doubt_features(calibration):
                display.notice("", line)
            if options.only is None or not (folder / "suite.json").exists():
                planned.write_index(calibration, command, display.handle)
            records = planned.run(display.handle, options.only)
            if note := note_other_code(records):
                display.notice("", f"{note}; --force trains again", routine=True)
        write_reports(folder, quiet=options.quiet, require_audit=options.require_audit)
        return print_problems([*calibration, *records], folder, argv)


if __name__ == "__main__":
    sys.exit(main())
