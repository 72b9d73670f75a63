"""The command `python -m benchmarks.audit`: measure which damage each metric detects."""

import argparse
import sys
from pathlib import Path

from benchmarks.cli.audit_options import (
    SAMPLES,
    choose_names,
    choose_subject,
    read_audit_arguments,
)
from benchmarks.cli.command import run_command
from benchmarks.config import registry
from benchmarks.config.paths import find_cache
from benchmarks.core.devices import choose_device
from benchmarks.core.files import check_folder
from benchmarks.data import default_data_root


def main(argv: list[str] | None = None) -> int:
    """Run the command; see `run_command` for the exit codes."""
    return run_command(
        argv, read_audit_arguments, audit_or_rejudge, "interrupted; nothing was written"
    )


def audit_or_rejudge(options: argparse.Namespace, argv: list[str]) -> int:
    """Measure and judge, or only judge again; write, print and update the suite's report."""
    if not options.rebuild:
        name, suite, extractors = choose_subject(options)
        faults = choose_names("faults", options.faults, registry.list_faults())
        known = registry.list_metrics().items()
        audited = [name for name, e in known if e.about["inputs"] in registry.AUDITED]
        metrics = choose_names("metrics", options.metrics, audited)
        place = options.out or Path("results") / name
        check_folder(place)
    from rich.console import Console

    from benchmarks.auditing import pipeline
    from benchmarks.auditing.console import print_audit
    from benchmarks.cli.scoreboard import display_progress

    console = Console(markup=False, highlight=False)
    if options.rebuild:
        place, (audit, paths) = options.rebuild, pipeline.rejudge(options.rebuild)
    else:
        request = pipeline.Request(
            **{key: getattr(options, key) for key in ("samples", "splits", "repetitions", "seed")},
            folder=place,
            suite=suite,
            extractors=tuple(extractors),
            metrics=tuple(metrics),
            own=tuple(options.metric),
            faults=tuple(faults),
            most=min(SAMPLES, suite.samples or SAMPLES),
            device=choose_device(options.device),
            jobs=options.jobs,
            data_root=options.data_root or default_data_root(),
            weights=options.inception_weights,
            cache=find_cache(),
            command=("python", "-m", "benchmarks.audit", *argv),
        )
        audit, paths = pipeline.run_audit(request, console, display_progress)
    print_audit(console, audit, paths)
    pipeline.update_report(place)
    return 0


if __name__ == "__main__":
    sys.exit(main())
