"""What the READMEs and CONTRIBUTING.md say is true: their commands, lists and examples."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest
import torch
from synthetic import write_suite

from benchmarks.analysis.audits import VERDICT_COLUMNS, read_audit
from benchmarks.analysis.columns import COMPARISON_COLUMNS
from benchmarks.analysis.frames import TIDY_COLUMNS
from benchmarks.auditing import faults
from benchmarks.auditing.literature import compare, write_table
from benchmarks.auditing.own import enter_extractor, enter_metric
from benchmarks.cli.audit_options import make_audit_parser, read_audit_arguments
from benchmarks.cli.options import make_parser
from benchmarks.config.registry import load_model
from benchmarks.data.dataset import Raw
from benchmarks.data.registry import DATASETS, TRANSFORMS
from benchmarks.report import make_parser as make_report_parser
from benchmarks.report import read_arguments
from benchmarks.training.loop import TrainingConfig, train
from metrics import EXTRACTORS, METRICS, Material, build_extractor

ROOT = Path(__file__).resolve().parents[2]
README, CHINESE, CONTRIBUTING = (
    (ROOT / f"{name}.md").read_text(encoding="utf-8")
    for name in ("README", "README.zh-CN", "CONTRIBUTING")
)
READMES = pytest.mark.parametrize("readme", [README, CHINESE], ids=["English", "Chinese"])
MODEL, METRIC, EXTRACTOR, FAULT, DATA = re.findall(r"```python\n(.*?)```", CONTRIBUTING, re.DOTALL)
(NOTEBOOK,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
COMMANDS = re.findall(r"^python -m benchmarks\.run (.*)$", README + CONTRIBUTING, re.MULTILINE)
REPORTS = re.findall(r"^python -m benchmarks\.report (.*)$", README, re.MULTILINE)
AUDITS = re.findall(r"^python -m benchmarks\.audit(.*)$", README + CONTRIBUTING, re.MULTILINE)


@pytest.fixture(autouse=True)
def registries() -> Iterator[None]:
    with (
        patch.dict(METRICS),
        patch.dict(EXTRACTORS),
        patch.dict(DATASETS),
        patch.dict(TRANSFORMS),
        patch.dict(faults.FAULTS),
    ):
        yield


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_are_understood(command: str) -> None:
    make_parser().parse_args(shlex.split(command))


@pytest.mark.parametrize("command", REPORTS)
def test_commands_that_report_are_understood(command: str) -> None:
    read_arguments(shlex.split(command))


@pytest.mark.parametrize("command", AUDITS)
def test_commands_that_audit_are_understood(command: str) -> None:
    read_audit_arguments(shlex.split(command))


@READMES
def test_each_table_of_options_is_its_commands(readme: str) -> None:
    tables = [table for table in list_tables(readme) if table[2].startswith("| `--")]
    parsers = make_audit_parser(), make_parser(), make_report_parser()
    for table, parser in zip(tables, parsers, strict=True):
        first = " ".join(re.findall(r"^\| (`--.*?`) \|", "\n".join(table), re.MULTILINE))
        actual = [o for action in parser._actions for o in action.option_strings]
        assert sorted(re.findall(r"--[a-z-]+", first)) == sorted(set(actual) - {"-h", "--help"})


@READMES
def test_columns_are_those_of_the_tables(readme: str) -> None:
    assert f"| `{','.join(TIDY_COLUMNS)}` |" in readme
    assert f"| `table.csv` | `{','.join(COMPARISON_COLUMNS)}` |" in readme
    assert f"| `verdict.csv` | `dataset,{','.join(VERDICT_COLUMNS)}` |" in readme


@READMES
def test_the_faults_are_those_of_the_audit(readme: str) -> None:
    (table,) = (table for table in list_tables(readme) if "`blur`" in table[2])
    named = [re.findall(r"`(\w+)`", line) for line in table[2:]]
    aspects = dict[str, list[str]]()
    for fault in faults.FAULTS.values():
        aspects.setdefault(fault.aspect, []).append(fault.name)
    assert named == [*aspects.values()]


def test_the_table_of_the_literature_is_of_the_published_audits() -> None:
    places = {name: ROOT / "results/reference" / name / "audit" for name in ("digits", "mnist")}
    audits = {name: read_audit(place) for name, place in places.items()}
    found = {name: compare(audit.verdicts, audit.floors) for name, audit in audits.items()}
    published = (ROOT / "results/reference/literature.md").read_text("utf-8")
    assert published == write_table(found)


@READMES
def test_the_results_shown_are_the_published_ones(readme: str) -> None:
    def read_table(text: str) -> list[list[str]]:
        lines = text[text.index("| contender") :].partition("\n\n")[0].splitlines()
        return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]

    published = read_table((ROOT / "results/reference/mnist/table.md").read_text("utf-8"))
    shown = read_table(readme)
    chosen = [published[0].index(name) for name in shown[0]]
    assert shown[2:] == [[row[i] for i in chosen] for row in published[2:]]


@READMES
def test_links_lead_somewhere(readme: str) -> None:
    names = re.findall(r"^#+ (.*)$", without_code(readme), re.MULTILINE)
    anchors = {re.sub(r"[^\w -]", "", name).lower().replace(" ", "-") for name in names}
    missing = [
        link
        for link in re.findall(r"\]\(([^)\s]+)\)", readme)
        if not link.startswith("https://")
        and not (link[1:] in anchors if link.startswith("#") else (ROOT / link).exists())
    ]
    assert not missing


def list_tables(text: str) -> list[list[str]]:
    """Give the lines of each table of Markdown."""
    return [found.splitlines() for found in re.findall(r"(?:^ *\|.*\n)+", text, re.MULTILINE)]


def list_blocks(text: str) -> list[list[str]]:
    """Give the lines of each fenced block; of a tree of files, the names on its left."""
    blocks = [block.splitlines() for block in re.findall(r"```.*?```", text, re.DOTALL)]
    return [
        [name for line in block if (name := line[:36].rstrip())]
        if block[1].endswith("/")
        else block
        for block in blocks
    ]


def without_code(text: str) -> str:
    """Leave out the fenced blocks."""
    return re.sub(r"```.*?```", "", text, flags=re.DOTALL)


def outline(text: str) -> list[tuple[str, list[str], set[str], list[tuple[int, int]]]]:
    """Give each section's level, images, code between backticks, and tables by rows and columns."""
    return [
        (
            section.partition(" ")[0],
            re.findall(r"!\[.*?\]\((.*?)\)", section),
            {" ".join(code.split()) for code in re.findall(r"`([^`]+)`", section)},
            [(len(table), table[0].count("|")) for table in list_tables(section)],
        )
        for section in re.split(r"^(?=#)", without_code(text), flags=re.MULTILINE)
    ]


def test_the_chinese_readme_has_what_the_english_one_has() -> None:
    assert outline(CHINESE) == outline(README)


def test_the_chinese_readme_has_the_same_blocks_of_code() -> None:
    assert list_blocks(CHINESE) == list_blocks(README)


def test_the_notebook_draws(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_suite(tmp_path / "results/digits")
    monkeypatch.chdir(tmp_path)
    exec(NOTEBOOK, {})
    assert (tmp_path / "scores.pdf").read_bytes().startswith(b"%PDF")


def test_the_model_plays_samples_and_reconstructs(tmp_path: Path) -> None:
    path = tmp_path / "aae.py"
    path.write_text(MODEL, encoding="utf-8")
    kind = load_model(f"{path}:AdversarialAutoencoder")
    model = kind(kind.Config(width=4), (1, 8, 8))
    images = torch.randint(0, 256, (32, 1, 8, 8), dtype=torch.uint8)
    plan = TrainingConfig(steps=2, batch=16, seed=0, evaluations=1)
    trained = train(model, images, None, plan, evaluate=lambda _: 0.0, report=lambda *_: None).model
    rng = torch.Generator().manual_seed(0)
    with torch.no_grad():
        made = torch.cat([trained.sample(3, rng), trained.reconstruct(images[:2] / 255, rng)])
    assert made.shape == (5, 1, 8, 8)
    assert ((made >= 0) & (made <= 1)).all()


def test_the_metric_tells_distributions_apart(tmp_path: Path) -> None:
    (tmp_path / "energy.py").write_text(METRIC, encoding="utf-8")
    assert enter_metric(f"{tmp_path}/energy.py:energy_distance") == ["energy_distance"]
    rng = torch.Generator().manual_seed(0)
    real, same, other = (torch.randn(500, 4, generator=rng) for _ in range(3))
    assert abs(METRICS["energy_distance"](real, same)) < 0.05
    assert METRICS["energy_distance"](real, other + 1) > 1


def test_the_extractor_averages_blocks(tmp_path: Path) -> None:
    (tmp_path / "blocks.py").write_text(EXTRACTOR, encoding="utf-8")
    assert enter_extractor(f"{tmp_path}/blocks.py:build_blocks") == "blocks"
    images = torch.full((2, 3, 8, 8), 51, dtype=torch.uint8)
    material = Material(images, labels=None, classes=None, key="", cache=tmp_path)
    features = build_extractor("blocks", material)(images).features
    assert torch.allclose(features, torch.full((2, 48), 0.2))


def test_the_fault_grows_to_total_damage() -> None:
    exec(FAULT, {**vars(faults)})
    fault = faults.FAULTS["occlusion"]
    images = torch.zeros(3, 2, 8, 8)
    hidden = [
        (fault.function(images, amount, torch.Generator().manual_seed(0)) == 0.5).flatten(1).sum(1)
        for amount in fault.amounts
    ]
    assert (torch.stack(hidden).diff(dim=0) > 0).all()
    assert (hidden[-1] == images[0].numel()).all()


def test_the_data_set_and_the_transform_are_entered(tmp_path: Path) -> None:
    exec(DATA, {})
    images = np.full((4, 1, 8, 8), 9, dtype=np.uint8)
    np.savez(tmp_path / "scans.npz", images=images, labels=np.zeros(4, dtype=np.int64))
    raw = DATASETS["scans"].read(tmp_path, False)
    assert isinstance(raw, Raw)
    assert (TRANSFORMS["blur"](raw.train.images, np.random.default_rng(0)) == images).all()
