"""Whether the audit's verdicts are the same under other seeds.

    python tests/performance/audit_repeats.py [--suite digits] [--seeds 10] [--out DIR] [OPTION...]

Audits a suite's data once a seed, other splits and other damage each time, and counts the cells of
metric, extractor and fault that have one verdict under all seeds, and those in which two seeds
contradict each other, each being decided. Audits that are in DIR already are judged anew.
"""

import argparse
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pandas as pd

CELL = ["metric", "extractor", "fault"]
UNDECIDED = "undecided"


def main() -> int:
    """Audit under every seed and print how far the verdicts agree."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--suite", default="digits")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--out", type=Path, default=Path("results/audits"))
    options, further = parser.parse_known_args()
    verdicts = [audit(options.suite, seed, options.out, further) for seed in range(options.seeds)]
    report(pd.concat(verdicts, axis=1, keys=range(options.seeds)))
    return 0


def audit(suite: str, seed: int, out: Path, further: list[str]) -> pd.Series:
    """Audit under a seed, or judge again what was measured, and give the verdicts."""
    place = out / f"{suite}-{seed}"
    known = (place / "audit" / "audit.json").exists()
    task = ["--rebuild", str(place)] if known else [suite, "--seed", str(seed), "--out", str(place)]
    command = [sys.executable, "-m", "benchmarks.audit", *task, *([] if known else further)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    table = pd.read_csv(place / "audit" / "verdict.csv", keep_default_na=False)
    table["extractor"] = table["extractor"].str.partition("@")[0]
    return table.set_index(CELL)["verdict"]


def report(verdicts: pd.DataFrame) -> None:
    """Print how many cells are alike under all seeds, and how many are contradicted."""
    kinds = verdicts.apply(set, axis=1)
    decided = kinds.map(lambda found: found - {UNDECIDED})
    print(f"{len(verdicts)} cells, {verdicts.shape[1]} seeds")
    print(f"one verdict under all seeds       {(kinds.map(len) == 1).mean():7.1%}")
    print(f"one decided verdict, or undecided {(decided.map(len) <= 1).mean():7.1%}")
    print(f"undecided, on average             {(verdicts == UNDECIDED).mean().mean():7.1%}")
    changes = Counter(" / ".join(sorted(found)) for found in kinds if len(found) > 1)
    for found, count in changes.most_common():
        print(f"{count:5}  {found}")


if __name__ == "__main__":
    sys.exit(main())
