"""Pictures of one's own: the suite and the extractor that suit them, and what is warned of."""

import re
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks.cli.options import make_run_parser
from benchmarks.cli.suite_options import read_options
from benchmarks.config.suite import build_suite, find_suite, read_toml
from benchmarks.core.errors import BadInput
from benchmarks.data import Dataset, load_dataset
from benchmarks.evaluation.extractors import check_weights, choose_extractor, doubt_extractor
from benchmarks.execution.lock import hold
from benchmarks.execution.plan import plan_runs
from benchmarks.run import main

OWN = Path(__file__).parents[1] / "own_models.py"
QUICK = ("--samples", "64", "--steps", "5", "--seeds", "1", "--jobs", "1")


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two folders of grey noise: one flat, one in classes that nothing tells apart."""
    root = tmp_path_factory.mktemp("pictures")
    for number, image in enumerate(np.random.default_rng(0).integers(0, 256, (640, 16, 16))):
        for folder in (root / "flat", root / "classes" / "ab"[number % 2]):
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image.astype("uint8")).save(folder / f"{number}.png")
    return root


@pytest.fixture
def here(pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("flat", "classes"):
        (tmp_path / name).symlink_to(pictures / name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("benchmarks.reporting.plots.render", lambda _: {})
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path


@pytest.fixture(scope="module")
def flat(pictures: Path) -> Dataset:
    return load_dataset(f"folder:{pictures / 'flat'}", data_root=Path())


def choose(*words: str) -> tuple[str, list[str]]:
    name, _, _, notes = read_options(make_run_parser().parse_args([*words]))
    return name, notes


@pytest.mark.parametrize(
    ("words", "name", "said"),
    [
        ("", "digits", None),
        ("--dataset digits", "digits", "suite digits: "),
        ("--dataset mnist", "mnist", "suite mnist: "),
        ("--dataset ring", "digits-ring", "suite digits: "),
        ("--dataset cifar10", "folder-cifar10", "suite folder: "),
        ("--dataset folder:my/photos", "folder-my-photos", "suite folder: convolutional models"),
        ("digits --dataset folder:photos", "digits-folder-photos", None),
    ],
)
def test_the_suite_follows_from_the_data_unless_it_is_named(
    words: str, name: str, said: str | None
) -> None:
    found, notes = choose(*words.split())
    assert found == name
    assert len(notes) == bool(said)
    assert all(note.startswith(said or "") for note in notes)
    assert all(note.endswith("(name another as the first argument)") for note in notes)


@pytest.mark.parametrize("side", [13, 16, 17, 28, 50, 64])
@pytest.mark.parametrize("channels", [1, 3])
def test_the_suite_of_ones_own_pictures_has_conv_models_for_every_size(
    side: int, channels: int, flat: Dataset
) -> None:
    table = read_toml(find_suite("folder")[1])
    images = np.zeros((2, channels, side, side), dtype="uint8")
    data = replace(flat, train=replace(flat.train, images=np.repeat(images, 100, 0)))
    specs = plan_runs(build_suite(table, "folder.toml"), data, "folder.toml", device="cpu")
    assert {spec.family for spec in specs} == {"gan", "autoencoder", "vae", "cyclegan"}
    assert {spec.settings["backbone"] for spec in specs} == {"conv", "resnet"}


def test_backbone_skips_contenders_without_it_and_says_so() -> None:
    models = f"vae,cyclegan,{OWN}:Average"
    _, suite, _, notes = read_options(
        make_run_parser().parse_args(
            ["--models", models, "--backbone", "tanh", "--set", "vae.hidden=[8]"]
        )
    )
    assert suite.contenders["vae"]["backbone"] == "tanh"
    assert suite.contenders["cyclegan"]["backbone"] == "mlp"
    assert "backbone" not in suite.contenders["average"]
    end = "has no such network body and keeps its own"
    assert notes == [f"--backbone tanh: {name} {end}" for name in ("cyclegan", "average")]
    with pytest.raises(BadInput, match="--backbone: no contender has any"):
        choose("--models", f"{OWN}:Average", "--backbone", "conv")


def test_the_extractor_suits_the_data_and_nothing_is_downloaded(
    flat: Dataset, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    digits, ring = (load_dataset(name, data_root=here) for name in ("digits", "ring"))
    assert choose_extractor("auto", digits, here / "file") == "classifier"
    assert choose_extractor("auto", ring) == "pixels"
    assert choose_extractor("random", flat) == "random"
    assert choose_extractor("auto", flat) == "pixels"
    assert choose_extractor("auto", flat, here / "file") == "inception"
    for name in ("resnet18.a1_in1k", "vit_small_patch14_dinov2.lvd142m", "unknown"):
        weights = here / f"hub/models--timm--{name}/snapshots/0/model.safetensors"
        weights.parent.mkdir(parents=True)
        weights.touch()
    assert choose_extractor("auto", flat) == "timm:vit_small_patch14_dinov2.lvd142m"
    weights = here / "torch/hub/checkpoints/weights-inception-2015-12-05-6726825d.pth"
    weights.parent.mkdir(parents=True)
    weights.touch()
    assert choose_extractor("auto", flat) == "inception"


@pytest.mark.parametrize(
    ("name", "channels", "accuracy", "said"),
    [
        ("classifier@0", 3, 0.849, "recognises only 84.9 % of the held-out images"),
        ("classifier", 3, 0.85, None),
        ("classifier", 3, None, None),
        ("random@0", 3, None, "no judge of colour"),
        ("random", 1, None, None),
        ("pixels", 1, None, "Principal components of the pixels"),
        ("inception", 3, None, None),
    ],
)
def test_weak_judges_are_doubted(
    name: str, channels: int, accuracy: float | None, said: str | None
) -> None:
    lines = doubt_extractor(name, (channels, 8, 8), accuracy)
    assert len(lines) == bool(said)
    assert all(str(said) in line for line in lines)


def test_points_are_well_seen_by_their_coordinates() -> None:
    assert doubt_extractor("pixels", (2, 1, 1)) == []


@pytest.mark.parametrize(
    ("folder", "said"),
    [
        ("flat", "Principal components of the pixels"),
        pytest.param("classes", "recognises only ", marks=pytest.mark.slow),  # trains a classifier
    ],
)
def test_a_comparison_warns_of_weak_features_everywhere(
    folder: str, said: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--dataset", f"folder:{folder}", "--models", f"{OWN}:Average", *QUICK]
    assert main([*arguments, "--quiet"]) == 0
    assert said in capsys.readouterr().out.splitlines()[0]
    assert main([*arguments, "--dry-run"]) == 0
    assert said in capsys.readouterr().out
    place = here / f"results/folder-{folder}"
    for file in ("table.md", "report.html"):
        assert said in (place / file).read_text(), file
    notice = r'<aside class="notice" aria-label="Read the scores with care."><p>.*</strong> [TP]'
    assert re.search(notice, (place / "report.html").read_text())


def refuse_both(words: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """Refuse a command and its dry run by the same line, which leave nothing behind."""
    before, lines = sorted(folder.rglob("*")), set()
    for dry in ("--dry-run", ""):
        assert main([*words.split(), *dry.split(), *QUICK]) == 2
        out, error = capsys.readouterr()
        assert out == ""
        assert error.count("\n") == 1
        lines.add(re.sub(r" since .*\)", "", error))
    assert sorted(folder.rglob("*")) == before
    assert len(lines) == 1
    return lines.pop()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--dataset folder:flat --image-size 12", "at least 13 pixels, not 12×12; --image-size N"),
        ("--dataset folder:flat --extractor classifier", "'classifier' needs labels"),
        ("--dataset folder:flat --inception-weights flat/0.png", "cannot read Inception weights"),
        ("--dataset folder:classes --inception-weights flat/0.png", "extractor is 'classifier'"),
        ("smoke --extractor random --only gan-s0-00000000", "that run is gan-s0-"),
        ("smoke --extractor random --engine ray", "--engine ray: Ray is not installed"),
    ],
)
def test_a_dry_run_refuses_what_the_run_refuses(
    words: str,
    message: str,
    here: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    (here / "results").mkdir()
    assert message in refuse_both(f"{words} --out results", here, capsys)


def test_a_dry_run_refuses_a_folder_in_use_or_linked_out_of(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with hold(here / "o", ["another"]):
        error = refuse_both("smoke --extractor random --out o", here, capsys)
    assert re.match("error: o is in use by process ", error)
    (here / "o" / "table.md").symlink_to(here / "flat" / "0.png")
    error = refuse_both("smoke --extractor random --out o", here, capsys)
    assert "table.md lies outside o" in error


def test_a_dry_run_trains_and_downloads_no_extractor_and_says_what_is_due(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BENCHMARKS_CACHE", str(here / "cache"))
    command = ["--dry-run", "--models", f"{OWN}:Average", *QUICK]
    views = ["--views", "inception,timm:resnet18"]
    assert main([*command, "--dataset", "digits", *views]) == 0
    out, _ = capsys.readouterr()
    assert "extractor classifier: is trained first, on 698 images of 10 classes\n" in out
    assert "extractor inception: downloads its weights first, 95 MB\n" in out
    assert "extractor timm:resnet18: downloads its weights first\n" in out
    assert not (here / "cache").exists()
    (here / "cache").touch()
    assert main(command) == 2
    assert "BENCHMARKS_CACHE" in capsys.readouterr().err


def test_an_extractor_of_ones_own_may_read_the_weights() -> None:
    check_weights(["mine.py:build"], Path("weights.pth"))
    with pytest.raises(BadInput, match="--inception-weights: the extractor is 'random'"):
        check_weights(["random"], Path("weights.pth"))
