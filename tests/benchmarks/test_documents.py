"""What README.md and CONTRIBUTING.md say is true: their commands, lists and examples."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest
import torch

from benchmarks.catalogue import load_model
from benchmarks.data.dataset import Raw
from benchmarks.data.registry import DATASETS, TRANSFORMS
from benchmarks.options import make_parser
from benchmarks.tables import COMPARISON_COLUMNS, TIDY_COLUMNS
from benchmarks.training import Plan, train
from metrics import EXTRACTORS, METRICS, Material, build_extractor

ROOT = Path(__file__).resolve().parents[2]
README, CONTRIBUTING = ((ROOT / f"{name}.md").read_text() for name in ("README", "CONTRIBUTING"))
MODEL, METRIC, EXTRACTOR, DATA = re.findall(r"```python\n(.*?)```", CONTRIBUTING, re.DOTALL)
COMMANDS = re.findall(r"^python -m benchmarks\.run (.*)$", README + CONTRIBUTING, re.MULTILINE)


@pytest.fixture(autouse=True)
def registries() -> Iterator[None]:
    with (
        patch.dict(METRICS),
        patch.dict(EXTRACTORS),
        patch.dict(DATASETS),
        patch.dict(TRANSFORMS),
    ):
        yield


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_are_understood(command: str) -> None:
    make_parser().parse_args(shlex.split(command))


def test_the_table_of_options_is_the_commands() -> None:
    rows = re.findall(r"^\| (`--.*?`) \|", README, re.MULTILINE)
    described = re.findall(r"--[a-z-]+", " ".join(rows))
    actual = [o for action in make_parser()._actions for o in action.option_strings]
    assert sorted(described) == sorted(o for o in actual if o not in {"-h", "--help"})


def test_columns_are_those_of_the_tables() -> None:
    assert f"| `{','.join(TIDY_COLUMNS)}` |" in README
    assert f"| `table.csv` | `{','.join(COMPARISON_COLUMNS)}` |" in README


def test_the_results_shown_are_the_published_ones() -> None:
    def read_table(text: str) -> list[list[str]]:
        lines = text[text.index("| contender") :].partition("\n\n")[0].splitlines()
        return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]

    published = read_table((ROOT / "results/reference/mnist/table.md").read_text())
    shown = read_table(README)
    chosen = [published[0].index(name) for name in shown[0]]
    assert shown[2:] == [[row[i] for i in chosen] for row in published[2:]]
    for picture in re.findall(r"\]\((results/\S+\.png)\)", README):
        assert (ROOT / picture).is_file(), picture


def test_the_model_plays_samples_and_reconstructs(tmp_path: Path) -> None:
    path = tmp_path / "aae.py"
    path.write_text(MODEL, encoding="utf-8")
    kind = load_model(f"{path}:AdversarialAutoencoder")
    model = kind(kind.Config(width=4), (1, 8, 8))
    images = torch.randint(0, 256, (32, 1, 8, 8), dtype=torch.uint8)
    plan = Plan(steps=2, batch=16, seed=0, evaluations=1)
    trained = train(model, images, None, plan, evaluate=lambda _: 0.0, report=lambda *_: None).model
    rng = torch.Generator().manual_seed(0)
    with torch.no_grad():
        made = torch.cat([trained.sample(3, rng), trained.reconstruct(images[:2] / 255, rng)])
    assert made.shape == (5, 1, 8, 8)
    assert ((made >= 0) & (made <= 1)).all()


def test_the_metric_tells_distributions_apart() -> None:
    exec(METRIC, {})
    rng = torch.Generator().manual_seed(0)
    real, same, other = (torch.randn(500, 4, generator=rng) for _ in range(3))
    assert abs(METRICS["energy_distance"](real, same)) < 0.05
    assert METRICS["energy_distance"](real, other + 1) > 1


def test_the_extractor_averages_blocks(tmp_path: Path) -> None:
    exec(EXTRACTOR, {})
    images = torch.full((2, 3, 8, 8), 51, dtype=torch.uint8)
    material = Material(images, labels=None, classes=None, key="", cache=tmp_path)
    features = build_extractor("blocks", material)(images).features
    assert torch.allclose(features, torch.full((2, 48), 0.2))


def test_the_data_set_and_the_transform_are_entered(tmp_path: Path) -> None:
    exec(DATA, {})
    images = np.full((4, 1, 8, 8), 9, dtype=np.uint8)
    np.savez(tmp_path / "scans.npz", images=images, labels=np.zeros(4, dtype=np.int64))
    raw = DATASETS["scans"].read(tmp_path, False)
    assert isinstance(raw, Raw)
    assert (TRANSFORMS["blur"](raw.train.images, np.random.default_rng(0)) == images).all()
