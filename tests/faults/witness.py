"""The command `python -m benchmarks.run` with a witness who writes down what is done, and when.

    python tests/faults/witness.py LOG SUITE [OPTIONS]

Every process, the driver and its workers alike, appends lines to the file LOG: the time, its own
number, what it does, for which run, and at which step. A line that is written outlives its process.
The workers import this file as their main module, so that they have the witness as well.
"""

import os
import sys
import time
from collections.abc import Callable
from inspect import signature
from typing import Any

from benchmarks.execution import local, resume, run_one
from benchmarks.execution.events import Emit, Event, Saved
from benchmarks.execution.job import Job
from benchmarks.records.schema import Record
from benchmarks.reporting import report
from benchmarks.run import main
from benchmarks.training import loop

LOG = os.open(sys.argv[1], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
current = {"run": ""}


def note(what: str, step: int | str = "") -> None:
    """Write down what begins now, for the current run."""
    line = f"{time.monotonic():.6f}\t{os.getpid()}\t{what}\t{current['run']}\t{step}\n"
    os.write(LOG, line.encode())


def noting(what: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap a function so that its begin and its end are written down."""

    def call(*arguments: Any, **options: Any) -> Any:
        note(what)
        result = function(*arguments, **options)
        note("after " + what)
        return result

    return call


def note_steps(training_step: Callable[..., None]) -> Callable[..., None]:
    """Wrap the loop's training step so that each is written down before it is taken."""

    place = list(signature(training_step).parameters).index("step")

    def call(*arguments: Any) -> None:
        note("step", arguments[place])
        training_step(*arguments)

    return call


run_alone = local.run


def note_run(job: Job, emit: Emit) -> Record:
    """Carry out a run, written down with its checkpoints; workers find it by its name."""
    current["run"] = job.spec.name

    def listen(message: Event) -> None:
        if isinstance(message, Saved):
            note("saved", message.step)
        emit(message)

    note("run")
    record = run_alone(job, listen)
    note("after run")
    return record


local.run = note_run
loop.training_step = note_steps(loop.training_step)
resume.RunCheckpointer.save = noting("keeping", resume.RunCheckpointer.save)
run_one.evaluate_model = noting("scoring", run_one.evaluate_model)
run_one.calibrate = noting("calibration", run_one.calibrate)
report.write_reports = noting("report", report.write_reports)

if __name__ == "__main__":
    note("start")
    sys.exit(main(sys.argv[2:]))
