"""What the READMEs and CONTRIBUTING.md say is true: their commands, lists and examples."""

import re
import runpy
import shlex
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest
import torch
from synthetic import write_suite

from benchmarks.analysis.audit_files import VERDICT_COLUMNS
from benchmarks.analysis.audits import read_audit
from benchmarks.analysis.frames import TIDY_COLUMNS
from benchmarks.auditing import faults
from benchmarks.auditing.literature import compare_claims, write_table
from benchmarks.auditing.own import enter_extractor, enter_metric
from benchmarks.config.registry import load_model
from benchmarks.data.dataset import Raw
from benchmarks.data.registry import DATASETS, TRANSFORMS
from benchmarks.training.loop import TrainingConfig, train
from metrics import EXTRACTORS, METRICS, Material, build_extractor
from models.base import GenerativeModel

ROOT = Path(__file__).resolve().parents[2]
README, CHINESE, CONTRIBUTING = (
    (ROOT / f"{name}.md").read_text(encoding="utf-8")
    for name in ("README", "README.zh-CN", "CONTRIBUTING")
)
DOCS = {path.name: path.read_text(encoding="utf-8") for path in (ROOT / "docs").glob("*.md")}
PAGES = [ROOT / "README.md", ROOT / "README.zh-CN.md", ROOT / "CONTRIBUTING.md"]
PAGES += sorted((ROOT / "docs").glob("*.md"))
GENERATOR = runpy.run_path(str(ROOT / "docs/generate.py"))
EVERY_PAGE = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
READMES = pytest.mark.parametrize("readme", [README, CHINESE], ids=["English", "Chinese"])
CODE = re.compile(r"```python\n(.*?)```", re.DOTALL)
(OWN_MODELS,) = CODE.findall(README)
MODEL, METRIC, EXTRACTOR, FAULT, DATA = CODE.findall(CONTRIBUTING)
(NOTEBOOK,) = CODE.findall(DOCS["results.md"])
COMMANDS = [
    found
    for text in (README, CONTRIBUTING, *DOCS.values())
    for found in re.findall(
        r"^(?:torchrun .* -m|python -m) benchmarks\.(\w+) ?(.*)$", text, re.MULTILINE
    )
]


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


@pytest.mark.parametrize(("name", "arguments"), COMMANDS)
def test_commands_are_understood(name: str, arguments: str) -> None:
    GENERATOR["PARSERS"][name]().parse_args(shlex.split(arguments))


def test_the_generated_pages_are_those_of_the_code() -> None:
    assert DOCS["commands.md"] == GENERATOR["write_commands"]()
    assert DOCS["columns.md"] == GENERATOR["write_columns"]()


@EVERY_PAGE
def test_no_line_is_too_long_to_read(page: Path) -> None:
    assert max(map(len, page.read_text(encoding="utf-8").splitlines())) < 500


def test_columns_are_those_of_the_files() -> None:
    (table,) = (table for table in list_tables(DOCS["results.md"]) if "`scores.csv`" in table[2])
    scores, _, verdicts, _ = (tuple(re.findall(r"`([\w<>]+)`", line)) for line in table[2:])
    assert scores == TIDY_COLUMNS
    assert verdicts == ("dataset", *VERDICT_COLUMNS)


def test_the_faults_are_those_of_the_audit() -> None:
    (table,) = (table for table in list_tables(DOCS["audit.md"]) if "`blur`" in table[2])
    named = [re.findall(r"`(\w+)`", line) for line in table[2:]]
    aspects = dict[str, list[str]]()
    for fault in faults.FAULTS.values():
        aspects.setdefault(fault.aspect, []).append(fault.name)
    assert named == [*aspects.values()]


def test_the_table_of_the_literature_is_of_the_published_audits() -> None:
    places = {name: ROOT / "results/reference" / name / "audit" for name in ("digits", "mnist")}
    audits = {name: read_audit(place) for name, place in places.items()}
    found = {name: compare_claims(audit.verdicts, audit.floors) for name, audit in audits.items()}
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


@EVERY_PAGE
def test_links_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)\s]+)\)", without_code(page.read_text(encoding="utf-8")))
    missing = []
    for link in links:
        place, _, anchor = link.partition("#")
        target = page.parent / place if place else page
        if not link.startswith("https://") and not (
            target.exists() and (not anchor or anchor in list_anchors(target))
        ):
            missing.append(link)
    assert not missing


def list_anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", without_code(page.read_text("utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", name).lower().replace(" ", "-") for name in headings}


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


@pytest.mark.parametrize(
    ("code", "name"),
    [
        (OWN_MODELS, "MyGAN"),
        (OWN_MODELS, "MyAutoencoder"),
        (MODEL, "AdversarialAutoencoder"),
    ],
)
def test_each_model_of_the_documents_trains_and_generates(
    tmp_path: Path, code: str, name: str
) -> None:
    path = tmp_path / "mine.py"
    path.write_text(code, encoding="utf-8")
    kind = load_model(f"{path}:{name}")
    images = torch.randint(0, 256, (64, 1, 8, 8), dtype=torch.uint8)
    model = kind(kind.Config(), (1, 8, 8))
    config = TrainingConfig(steps=2, batch=16, seed=0, evaluations=1)
    trained = train(
        model, images, None, config, evaluate=lambda _: 0.0, report=lambda *_: None
    ).model
    rng = torch.Generator().manual_seed(0)
    with torch.no_grad():
        trained.finish(images, rng)
        generated = [trained.sample(3, rng)]
        if kind.reconstruct is not GenerativeModel.reconstruct:
            generated.append(trained.reconstruct(images[:2] / 255, rng))
    for found in generated:
        assert found.shape[1:] == (1, 8, 8)
        assert ((found >= 0) & (found <= 1)).all()


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
