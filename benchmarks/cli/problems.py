"""What `python -m benchmarks.run` prints of runs that did not go well."""

import shlex
import sys
from collections import Counter
from pathlib import Path

from benchmarks.config.spec import CALIBRATION
from benchmarks.core.devices import count_processes
from benchmarks.core.errors import printable
from benchmarks.records.schema import Record


def print_problems(records: list[Record], folder: Path, argv: list[str]) -> int:
    """Print to the standard error what did not go well; return 1 where a run or a score failed."""
    processes = count_processes()
    launcher = ["python"] if processes == 1 else ["torchrun", f"--nproc-per-node={processes}"]
    bad = [record for record in records if record.status != "ok"]
    for record in bad:
        print(printable(f"{record.run} {record.status}: {record.reason}"), file=sys.stderr)
        trouble = folder / "runs" / record.run / "traceback.txt"
        if trouble.exists():
            print(f"  traceback: {trouble}", file=sys.stderr)
        if record.family == CALIBRATION:
            continue
        again = [*without_engine(argv), "--only", record.run, "--engine", "inline"]
        command = shlex.join([*launcher, "-m", "benchmarks.run", *again])
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


def without_engine(argv: list[str]) -> list[str]:
    """Return a command line without what `--only RUN --engine inline` replaces."""
    kept, skip = [], False
    for word in argv:
        name, equals, _ = word.partition("=")
        if not skip and name not in {"--only", "--engine", "--address", "--force"}:
            kept.append(word)
        skip = not skip and not equals and name in {"--only", "--engine", "--address"}
    return kept
