"""Choose a suite's learning-rate schedule by validation, on seeds that no table reports.

    python tests/performance/schedules.py digits
    python tests/performance/schedules.py mnist --images 160000 --seeds 1 --without cyclegan

Trains every contender under each schedule and prints the validation FID of its last EMA, the
geometric mean over seeds. The last row is the geometric mean over contenders of their FIDs relative
to their best. Test images play no part.
"""

import argparse
import math
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory

import pandas as pd

from benchmarks.config.paths import Paths, find_cache
from benchmarks.config.spec import RunSpec
from benchmarks.config.suite import build_suite, find_suite, read_toml
from benchmarks.core.threads import fixed_threads
from benchmarks.data import load_dataset
from benchmarks.evaluation.evaluator import load_evaluator
from benchmarks.evaluation.extractors import load_extractor
from benchmarks.execution.job import Job
from benchmarks.execution.plan import plan_runs
from benchmarks.execution.train_one import Progress, train_model

SCHEDULES = ("constant", "constant_linear", "linear", "cosine")
FIRST_SEED = 1_000
"""Far beyond the seeds of any table."""


def train_one(spec: RunSpec, data_root: Path) -> float:
    """Train one run and return its last validation FID."""
    with TemporaryDirectory() as folder, fixed_threads(spec.threads):
        job = Job(spec, "schedules", Paths(Path(folder), data_root, find_cache()), math.inf)
        place = (spec.data, spec.extractor, spec.samples, spec.reconstructions, job.place)
        evaluator = load_evaluator(*place, spec.device, spec.views)
        weights = train_model(job, evaluator, lambda _: None, Progress())
    return float(weights.known.history[-1]["validation_fid"] or math.nan)


def plan(options: argparse.Namespace) -> dict[tuple[str, str, int], RunSpec]:
    """Plan a run for each contender, schedule and seed, with its extractor trained."""
    name, path = find_suite(options.suite)
    table = read_toml(path) | ({"images": options.images} if options.images else {})
    contenders = {n: t for n, t in table["contenders"].items() if n not in options.without}
    data = load_dataset(table["dataset"], data_root=options.data_root, source=table.get("source"))
    runs = {}
    for schedule in SCHEDULES:
        tables = {n: t | {"schedule": schedule} for n, t in contenders.items()}
        suite = build_suite(table | {"contenders": tables, "views": []}, name)
        specs = [spec.training for spec in plan_runs(suite, data, name, device="cpu")]
        if not runs:
            place = Paths(Path(), options.data_root, find_cache())
            with fixed_threads(suite.threads):
                extractor = str(load_extractor(specs[0].extractor, data, place, "cpu"))
        for spec in (spec for spec in specs if spec.seed == 0):
            for seed in range(FIRST_SEED, FIRST_SEED + options.seeds):
                fields = {"seed": seed, "extractor": extractor}
                runs[spec.contender, schedule, seed] = spec.model_copy(update=fields)
    return runs


def main() -> None:
    """Train all runs side by side and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("suite")
    parser.add_argument("--images", type=int, help="training images, the suite's by default")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--without", nargs="*", default=[], help="contenders to leave out")
    parser.add_argument("--data-root", type=Path, default=Path("data"))
    options = parser.parse_args()
    runs = plan(options)
    with ProcessPoolExecutor(options.jobs, get_context("spawn")) as pool:
        tasks = {key: pool.submit(train_one, spec, options.data_root) for key, spec in runs.items()}
        fids = pd.Series({key: task.result() for key, task in tasks.items()})
    logs = fids.map(math.log).groupby(level=[0, 1]).mean().unstack()  # noqa: PD010
    relative = logs.sub(logs.min(axis=1), axis=0).mean()
    table = pd.concat([logs, relative.rename("relative").to_frame().T]).map(math.exp)
    print(table.round(3).to_string())


if __name__ == "__main__":
    main()
