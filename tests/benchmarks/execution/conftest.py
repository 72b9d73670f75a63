"""What tests of engines share: small runs on the digits."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from benchmarks.config.paths import Paths
from benchmarks.config.suite import build_suite
from benchmarks.data import Dataset, load_dataset
from benchmarks.execution.job import Job
from benchmarks.execution.plan import plan_runs

OWN = Path(__file__).parents[1] / "own_models.py"
TABLE: dict[str, Any] = {
    "images": 320,
    "batch": 32,
    "seeds": 1,
    "samples": 64,
    "reconstructions": 10,
    "evaluations": 2,
    "extractor": "random",
}


@pytest.fixture(scope="session")
def data() -> Dataset:
    return load_dataset("digits", data_root=Path())


@pytest.fixture
def plan(data: Dataset, tmp_path: Path) -> Callable[..., list[Job]]:
    """Plan runs of the classes of `own_models.py` and of models that ship."""

    def make(*names: str, folder: str = "a", every: float = 30.0, **changes: Any) -> list[Job]:
        contenders = {
            name.lower(): {"model": f"{OWN}:{name}"} if name[0].isupper() else {} for name in names
        }
        suite = build_suite(TABLE | {"contenders": contenders} | changes, "test")
        paths = Paths(tmp_path / folder, tmp_path / "data", tmp_path / "cache")
        specs = plan_runs(suite, data, "test", device="cpu")
        return [Job(spec, "test", paths, checkpoint_seconds=every) for spec in specs]

    return make
