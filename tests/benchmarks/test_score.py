"""The command that scores images of other programs, as a user meets it."""

import json
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_digits

from benchmarks import run
from benchmarks.analysis.frames import TIDY_COLUMNS
from benchmarks.api import score
from benchmarks.core.errors import BadInput
from benchmarks.records.store import read_index, read_record, read_suite, seal
from benchmarks.score import main

OWN = Path(__file__).with_name("own_models.py")
DIGITS = np.rint(load_digits().images * 255 / 16).astype(np.uint8)
QUICK = ("--dataset", "digits", "--extractor", "random")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    np.save("digits.npy", DIGITS[:300])
    return tmp_path


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A comparison of one model on digits, scored by the random extractor; without plots."""
    folder = tmp_path_factory.mktemp("made") / "digits"
    options = ("--extractor", "random", "--samples", "64", "--steps", "5", "--seeds", "1")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("benchmarks.reporting.plots.render", lambda _: {})
        assert run.main(["--models", f"{OWN}:Average", *options, "--out", str(folder)]) == 0
    return folder


@pytest.fixture
def comparison(made: Path, here: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    """A copy of the comparison, to be changed."""
    shutil.copytree(made, here / "results" / "digits")
    capsys.readouterr()
    return Path("results/digits")


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Plots take longer than all else."""
    monkeypatch.setattr("benchmarks.reporting.plots.render", lambda _: {})


def files(folder: Path) -> dict[str, bytes]:
    return {str(p): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def refuse(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """Run a command that cannot work; it says so in one line and leaves all as it was."""
    before = files(Path())
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert files(Path()) == before
    assert not list(Path().rglob("*.tmp"))
    return error


def values(scores: list[dict[str, object]]) -> dict[str, float]:
    return {str(score["metric"]): float(str(score["value"])) for score in scores}


def test_an_array_is_scored_printed_and_written(here: Path, capsys) -> None:
    assert main(["digits.npy", *QUICK]) == 0
    text = capsys.readouterr().out
    (folder,) = (here / "results" / "scores").iterdir()
    assert folder.name.startswith("digits-")
    assert f"{folder.relative_to(here)}/scores.csv" in text
    assert "digits.npy against digits, seen by random@" in text
    assert "test, 400" in text
    assert "FID ↓" in text
    assert "FID's floor" in text
    assert "300 images against 400: FID is biased by both counts" in text

    record = json.loads((folder / "scores.json").read_text())
    (fid,) = (score for score in record["scores"] if score["metric"] == "fid")
    assert fid["low"] < fid["value"] < fid["high"]
    assert fid["n"] == 300
    assert fid["reference"] == "test"
    assert fid["extractor"].startswith("random@")
    assert "95 %" in fid["interval"]
    assert "authenticity" not in values(record["scores"])
    assert "inception_score" not in values(record["scores"])
    table = pd.read_csv(folder / "scores.csv")
    assert tuple(table.columns) == TIDY_COLUMNS
    assert dict(zip(table["metric"], table["value"], strict=True)) == values(record["scores"])
    assert set(table["contender"]) == {"digits"}


def test_every_way_to_keep_the_same_images_gives_the_same_scores(here: Path) -> None:
    unit = DIGITS[:300, :, :, None].astype(np.float32) / 255
    np.save("unit.npy", unit)
    np.savez_compressed("symmetric.npz", fakes=2 * unit - 1, labels=np.zeros(300))
    (here / "folder").mkdir()
    with zipfile.ZipFile("archive.zip", "w") as archive:
        for number, pixels in enumerate(DIGITS[:300]):
            path = here / "folder" / f"{number:03}.png"
            Image.fromarray(pixels).convert("RGB").save(path)
            archive.write(path, f"sub/{number:03}.png")
    ways = (
        ["digits.npy"],
        ["unit.npy", "--range", "unit"],
        ["symmetric.npz", "--range", "symmetric", "--key", "fakes"],
        ["folder"],
        ["archive.zip"],
    )
    found = []
    for number, way in enumerate(ways):
        assert main([*way, *QUICK, "--metrics", "fid", "--out", f"o{number}"]) == 0
        found.append(json.loads((here / f"o{number}" / "scores.json").read_text()))
    assert all(record["scores"] == found[0]["scores"] for record in found)
    assert all(record["spec"] == found[0]["spec"] for record in found)


def test_real_digits_score_better_than_noise_and_than_few_classes(here: Path) -> None:
    rng = np.random.default_rng(0)
    np.save("noise.npy", rng.integers(0, 256, (300, 8, 8), dtype=np.uint8))
    np.save("zeros.npy", np.repeat(DIGITS[load_digits().target == 0][:100], 3, axis=0))
    found = {}
    for name in ("digits", "zeros", "noise"):
        assert main([f"{name}.npy", *QUICK, "--out", name, "--metrics", "fid,kid,recall"]) == 0
        found[name] = values(json.loads(Path(name, "scores.json").read_text())["scores"])
    assert found["digits"].keys() == {"fid", "fid_floor", "kid", "recall"}
    for metric in ("fid", "kid"):
        assert found["digits"][metric] < found["zeros"][metric] < found["noise"][metric]
    assert found["digits"]["recall"] > found["zeros"]["recall"]


def test_all_metrics_look_for_copies_of_training_images_too(here: Path) -> None:
    from benchmarks.data import load_dataset

    data = load_dataset("digits", data_root=here)
    np.save("copies.npy", data.train.images[:200])
    np.save("unseen.npy", data.validation.images)
    found = {}
    for name in ("copies", "unseen"):
        assert main([f"{name}.npy", *QUICK, "--out", name, "--metrics", "all"]) == 0
        found[name] = values(json.loads(Path(name, "scores.json").read_text())["scores"])
    assert found["copies"]["near_copies"] > 0.9
    assert found["unseen"]["near_copies"] < 0.5
    assert found["copies"]["authenticity"] < found["unseen"]["authenticity"]


def test_two_own_sets_compare_and_equal_ones_are_at_no_distance(here: Path, capsys) -> None:
    np.save("other.npy", DIGITS[300:700])
    arguments = ["digits.npy", "--against", "other.npy", "--extractor", "random", "--out", "o"]
    assert main(arguments) == 0
    assert "against, 400" in capsys.readouterr().out
    record = json.loads((here / "o" / "scores.json").read_text())
    assert {score["reference"] for score in record["scores"]} == {"against"}
    assert record["dataset"] == "other.npy"
    np.save("other.npy", DIGITS[:300])
    assert main(arguments) == 0
    found = values(json.loads((here / "o" / "scores.json").read_text())["scores"])
    assert found["fid"] == pytest.approx(0, abs=1e-9)


def test_a_data_set_is_brought_to_the_size_of_the_images(here: Path, capsys) -> None:
    large = DIGITS[:80].repeat(2, axis=1).repeat(2, axis=2)
    np.save("large.npy", large)
    message = refuse(["large.npy", *QUICK], capsys)
    assert "16 × 16 pixels and those of digits 8 × 8; add --image-size 16" in message
    assert main(["large.npy", *QUICK, "--image-size", "16", "--metrics", "fid"]) == 0


def test_grey_and_colour_are_told_apart(here: Path, capsys) -> None:
    tinted = DIGITS[:80, :, :, None].repeat(3, axis=3)
    tinted[..., 0] //= 2
    np.save("tinted.npy", tinted)
    message = refuse(["tinted.npy", *QUICK], capsys)
    assert "in colour and those of digits grey: add --channels 3, or save them in grey" in message
    assert main(["tinted.npy", *QUICK, "--channels", "3", "--metrics", "fid"]) == 0
    quick = ["--extractor", "random", "--metrics", "fid"]
    shown = "digits.npy is grey, and shown as colour"
    for line in ("digits.npy --dataset digits --channels 3", "digits.npy --against tinted.npy"):
        assert main([*line.split(), *quick]) == 0
        assert shown in capsys.readouterr().out
    assert main(["tinted.npy", "--against", "digits.npy", *quick]) == 0
    assert shown in capsys.readouterr().out
    np.save("stored.npy", DIGITS[:80, :, :, None].repeat(3, axis=3))
    for line in ("stored.npy --against digits.npy", "digits.npy --against stored.npy"):
        assert main([*line.split(), *quick]) == 0
        assert "colour" not in capsys.readouterr().out


def test_the_training_split_is_a_reference_only_by_name(here: Path, capsys) -> None:
    assert main(["digits.npy", *QUICK, "--split", "train", "--metrics", "fid", "--out", "o"]) == 0
    assert "scored against the training split" in capsys.readouterr().out
    record = json.loads((here / "o" / "scores.json").read_text())
    assert {score["reference"] for score in record["scores"]} == {"train"}


@pytest.fixture
def wrong(here: Path) -> Path:
    """Inputs that cannot work."""
    np.save("few.npy", DIGITS[:60])
    np.save("floats.npy", DIGITS[:80] / 255)
    np.save("picture.npy", np.zeros((70, 80, 3), np.uint8))
    np.savez("stats.npz", mu=np.zeros(64), sigma=np.eye(64))
    np.savez("two.npz", a=DIGITS[:80], b=DIGITS[:80])
    Path("a-file").write_text("text")
    Path("broken").mkdir()
    for number in range(64):
        Path("broken", f"{number}.png").write_bytes(b"no picture")
    with zipfile.ZipFile("escape.zip", "w") as archive:
        archive.writestr("../0.png", b"")
    with zipfile.ZipFile("escape\x1b[2J\n.zip", "w") as archive:
        archive.writestr("../0.png", b"")
    return here


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("", "the following arguments are required: IMAGES"),
        ("digits.npy", "compared with what? add --dataset NAME or --against IMAGES"),
        ("digts.npy --dataset digits", "there is no digts.npy; did you mean digits.npy?"),
        ("digits.npy more.npy --dataset digits", "'more.npy': one IMAGES at a time"),
        ("digits.npy --datset digits", "unknown option '--datset': did you mean '--dataset'?"),
        ("digits.npy --dataset digitz", "unknown data set 'digitz': did you mean 'digits'?"),
        ("digits.npy --dataset folder:absent", "no folder absent"),
        ("digits.npy --dataset ring", "--dataset ring: it holds points"),
        ("digits.npy --dataset digits --extractor randon", "unknown extractor 'randon': did you"),
        ("digits.npy --dataset digits --metrics fud", "unknown metric of generated images 'fud'"),
        ("digits.npy --dataset digits --metrics psnr", "unknown metric of generated images 'psnr'"),
        ("digits.npy --dataset digits --metrics=", "unknown metric of generated images ''"),
        ("digits.npy --dataset digits --range units", "--range: invalid choice: 'units'"),
        ("broken --dataset digits --range unit", "--range: is for arrays of floats"),
        ("digits.npy --dataset digits --range unit", "--range: digits.npy is uint8"),
        ("digits.npy --dataset digits --key a", "--key: is for .npz files"),
        ("digits.npy --against broken --against-range unit", "--against-range: is for arrays"),
        ("digits.npy --against digits.npy --against-key a", "--against-key: is for .npz files"),
        ("digits.npy --dataset digits --against-key a", "--against-key: add --against IMAGES"),
        ("digits.npy --against floats.npy", "add --against-range unit for [0, 1]"),
        ("digits.npy --dataset digits --metrics ,", "unknown metric of generated images ''"),
        ("digits.npy --dataset digits --resize 3", "--resize 3: choose from 4 to 1024 pixels"),
        (
            "digits.npy --dataset digits --resize 16",
            "--image-size 16 to resize digits, or --resize",
        ),
        ("picture.npy --dataset digits", "of shape [70, 80, 3] is one picture"),
        ("stats.npz --dataset digits", "stats.npz holds statistics, not images: name it by"),
        ("digits.npy --against stats.npz", "stats.npz is of 64 features, and does not say whose"),
        ("digits.npy --against stats.npz --extractor pixels", "64 features, and pixels@"),
        ("digits.npy --against stats.npz --metrics kid", "serve fid alone"),
        ("digits.npy --save-statistics s.npy", "--save-statistics s.npy: name a file that ends in"),
        ("digits.npy --save-statistics s.npz --metrics fid", "--metrics: nothing is compared; add"),
        ("digits.npy --save-statistics s.npz --channels 3", "--channels: nothing is compared; add"),
        ("digits.npy --save-statistics a-file/s.npz", "--save-statistics a-file: a-file is a file"),
        ("two.npz --dataset digits", "several arrays (a, b): choose one by --key"),
        ("two.npz --dataset digits --key c", "--key: two.npz: unknown array 'c'"),
        ("few.npy --dataset digits", "holds 60 images; scores need at least 64"),
        ("floats.npy --dataset digits", "add --range unit for [0, 1], or --range symmetric"),
        ("broken --dataset digits", "64 images cannot be read: broken/0.png ("),
        ("escape.zip --dataset digits", "escape.zip:../0.png' leads out of the archive"),
        ("a-file --dataset digits", "images are read from a folder or a .npy, .npz or .zip file"),
        ("digits.npy --dataset digits --against few.npy", "--dataset: --against says already"),
        ("digits.npy --against few.npy --split test", "--split: --against says already"),
        ("digits.npy --against few.npy --image-size 8", "--image-size: --against says already"),
        ("digits.npy --against few.npy --into o", "--into: --against says already"),
        ("digits.npy --against few.npy", "few.npy holds 60 images"),
        ("digits.npy --against absent.npy", "there is no absent.npy"),
        ("digits.npy --against digits.npy --metrics authenticity", "--metrics authenticity: "),
        ("digits.npy --against digits.npy --extractor classifier", "extractor 'classifier': "),
        ("digits.npy --dataset digits --into absent --label a", "absent holds no suite.json"),
        ("digits.npy --dataset digits --into absent", "--into: add --label NAME"),
        ("digits.npy --dataset digits --force", "--force: replaces a row, so it needs --into"),
        ("digits.npy --dataset digits --out a-file", "--out a-file: a-file is a file"),
        ("digits.npy --dataset digits --device warp", "--device warp: this machine has cpu"),
        ("digits.npy --dataset digits --threads 0", "--threads: must be a whole number"),
        ("digits.npy --dataset digits --image-size 3", "image size 3: choose from 4"),
        ("digits.npy --dataset digits --inception-weights a-file", "the extractor is 'classifier'"),
        (
            "digits.npy --dataset digits --extractor random --metrics fid,inception_score",
            "--metrics inception_score: the extractor random knows no classes",
        ),
        (
            "digits.npy --dataset digits --extractor inception --inception-weights a-file",
            "cannot read Inception weights",
        ),
    ],
)
def test_wrong_input_is_told_in_one_line_and_leaves_nothing(
    line: str, message: str, wrong: Path, capsys
) -> None:
    assert message in refuse(line.split(), capsys)


def test_a_name_does_nothing_to_the_terminal(wrong: Path, capsys) -> None:
    message = refuse(["escape\x1b[2J\n.zip", "--dataset", "digits"], capsys)
    assert "\x1b" not in message


def test_answers_do_not_wait_for_torch(wrong: Path) -> None:
    program = """
import sys
from contextlib import redirect_stdout
from io import StringIO
from benchmarks.score import main

for line in (
    "--help",
    "digits.npy --datset digits",
    "digts.npy --dataset digits",
    "digits.npy --dataset digitz",
    "digits.npy --dataset digits --metrics fud",
    "digits.npy --dataset digits --extractor randon",
    "few.npy --dataset digits",
    "escape.zip --dataset digits",
    "digits.npy --into absent --label a",
):
    try:
        with redirect_stdout(StringIO()) as text:
            code = main(line.split())
    except SystemExit as end:
        code = end.code
    assert code == (0 if line == "--help" else 2), (line, code)
    assert "torch" not in sys.modules, line
    assert line != "--help" or "--dataset mnist" in text.getvalue()
"""
    done = subprocess.run(
        [sys.executable, "-c", program], check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


# How images are kept, and what they are compared with

FID = ("--extractor", "random", "--metrics", "fid", "--out", "o")


def found(folder: str = "o") -> dict[str, float]:
    return values(json.loads(Path(folder, "scores.json").read_text())["scores"])


def write_pictures(
    folder: str, images: np.ndarray, suffix: str = ".png", kind: str = "PNG"
) -> None:
    Path(folder).mkdir(parents=True, exist_ok=True)
    for number, pixels in enumerate(images):
        Image.fromarray(pixels).save(Path(folder, f"{number:03}{suffix}"), kind)


def test_links_are_followed_and_what_is_left_out_is_named(here: Path, capsys) -> None:
    write_pictures("elsewhere", DIGITS[100:200])
    write_pictures("set/a", DIGITS[:100])
    write_pictures("set/c", DIGITS[200:300], ".jfif", "JPEG")
    Path("set/b").symlink_to(here / "elsewhere")
    Path("set/notes.txt").write_text("text")
    assert main(["set", "--dataset", "digits", *FID]) == 0
    assert "set: left out 1 .txt" in capsys.readouterr().out
    assert json.loads(Path("o/scores.json").read_text())["spec"]["samples"] == 300


def test_each_set_has_a_key_and_a_range_of_its_own(here: Path) -> None:
    unit = (DIGITS[:80] / 255).astype(np.float32)
    np.savez("ours.npz", samples=DIGITS[300:400], labels=np.arange(100))
    np.savez("theirs.npz", images=unit, labels=np.arange(80))
    np.save("symmetric.npy", 2 * unit - 1)
    kept = "--against-key images --against-range unit"
    for line in (f"theirs.npz {kept}", "symmetric.npy --against-range symmetric"):
        assert main(["ours.npz", "--key", "samples", "--against", *line.split(), *FID]) == 0
        assert found()["fid"] > 0
    ways = "symmetric.npy --range symmetric --against theirs.npz"
    assert main([*ways.split(), *kept.split(), *FID]) == 0
    assert found()["fid"] == pytest.approx(0, abs=1e-9)


def test_oblong_and_mixed_sizes_are_compared_by_resizing(here: Path, capsys) -> None:
    wide = DIGITS[:100].repeat(2, axis=1).repeat(3, axis=2)
    write_pictures("wide", wide)
    write_pictures("wide/large", DIGITS[100:200].repeat(4, axis=1).repeat(4, axis=2))
    message = refuse(["wide", *QUICK], capsys)
    assert "24 × 16 pixels, not square; add --resize 16" in message
    assert main(["wide", "--dataset", "digits", "--resize", "8", *FID]) == 0
    assert "resized to 8 × 8 pixels: the shorter side by antialiased" in capsys.readouterr().out
    assert json.loads(Path("o/scores.json").read_text())["spec"]["resize"]["side"] == 8
    message = refuse(["digits.npy", "--against", "wide", *FID], capsys)
    assert "add --resize 16 to bring all images to one size" in message
    np.save("large.npy", DIGITS[:80].repeat(2, axis=1).repeat(2, axis=2))
    message = refuse(["large.npy", "--against", "digits.npy", *FID], capsys)
    assert "add --resize 8 to bring both to one size" in message
    for size in ("8", "16"):
        assert main(["wide", "--against", "digits.npy", "--resize", size, *FID]) == 0


def test_sets_that_are_all_alike_are_warned_of_and_called_collapsed(
    comparison: Path, undrawn: None, capsys
) -> None:
    np.save("twice.npy", (DIGITS[:80] / 255 / 255).astype(np.float32))
    np.save("black.npy", np.zeros((80, 8, 8), np.uint8))
    words = "the images of twice.npy are all alike: they vary by 0."
    for line in ("--dataset digits", "--against digits.npy"):
        assert main(["twice.npy", "--range", "unit", *line.split(), *FID]) == 0
        assert f"warning: {words}" in capsys.readouterr().out
        assert json.loads(Path("o/scores.json").read_text())["status"] == "collapsed"
    for line in ("black.npy --against digits.npy", "digits.npy --against black.npy"):
        assert main([*line.split(), *FID]) == 0
        assert "warning: the images of black.npy are all alike" in capsys.readouterr().out
    into = ["--into", str(comparison), "--label", "theirs", "--metrics", "fid"]
    assert main(["twice.npy", "--range", "unit", *into]) == 0
    record = read_record(comparison / "runs" / read_index(comparison).runs[-1])
    assert record.status == "collapsed"
    assert str(record.reason).startswith(words)


def test_a_trailing_comma_asks_for_no_more_metrics(here: Path) -> None:
    assert main(["digits.npy", *QUICK, "--metrics", "fid,kid,", "--out", "o"]) == 0
    assert found().keys() == {"fid", "fid_floor", "kid"}


# Statistics


def test_saved_statistics_give_the_fid_of_their_images(here: Path, capsys) -> None:
    np.save("other.npy", DIGITS[300:700])
    assert main(["digits.npy", "--against", "other.npy", *FID]) == 0
    expected = found()
    assert main(["other.npy", "--save-statistics", "s.npz", "--extractor", "random"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "s.npz"
    assert not Path("results").exists()
    assert main(["digits.npy", "--against", "s.npz", "--out", "o"]) == 0
    assert found() == pytest.approx(expected, rel=1e-9)
    assert "against, 400" in capsys.readouterr().out
    with np.load("s.npz") as kept:
        assert kept["mu"].shape == (64,)
        assert json.loads(str(kept["about"]))["count"] == 400
        about = str(kept["about"]).replace("random@", "random@0")
        np.savez("foreign.npz", mu=kept["mu"], sigma=kept["sigma"])
        np.savez("other-hash.npz", mu=kept["mu"], sigma=kept["sigma"], about=np.array(about))
    assert main(["digits.npy", "--against", "foreign.npz", *FID]) == 0
    assert found() == pytest.approx({"fid": expected["fid"]}, rel=1e-9)
    text = " ".join(capsys.readouterr().out.split())
    assert "does not say of how many images it is, nor how these were resized" in text
    message = refuse(["digits.npy", "--against", "other-hash.npz"], capsys)
    assert "scores of different extractors do not compare" in message
    np.save("large.npy", DIGITS[:80].repeat(2, axis=1).repeat(2, axis=2))
    message = refuse(["large.npy", "--against", "s.npz"], capsys)
    assert "16 × 16 pixels and those of s.npz 8 × 8; add --resize 8" in message


# Adding a row to a comparison


def test_a_row_joins_the_comparison_its_tables_and_its_plots(comparison: Path, capsys) -> None:
    before = read_index(comparison)
    assert main(["digits.npy", "--into", str(comparison), "--label", "theirs"]) == 0
    assert "theirs" in capsys.readouterr().out
    index = read_index(comparison)
    assert [(e.name, e.family) for e in index.contenders[-1:]] == [("theirs", "external")]
    assert index.runs[:-1] == before.runs
    assert index.calibration == before.calibration
    assert not Path("results/scores").exists()

    record = read_record(comparison / "runs" / index.runs[-1])
    assert record.status == "ok"
    assert record.seed is None
    assert record.spec["samples"] == 300
    assert record.environment is not None
    assert {"samples", "neighbours"} == set(record.pictures)
    assert not read_suite(comparison).warnings
    table = pd.read_csv(comparison / "table.csv", index_col="contender")
    assert table.index.tolist() == ["average", "theirs", "real", "noise"]
    assert table.loc["theirs", "fid"] < table.loc["average", "fid"]
    assert pd.isna(table.loc["theirs", "train_seconds"])
    assert pd.notna(table.loc["theirs", "near_copies"])
    assert "theirs" in (comparison / "table.md").read_text()
    for name in ("samples.svg", "scores.svg", "cost.svg"):
        assert (comparison / "plots" / name).is_file()


def test_a_label_is_replaced_only_by_force(comparison: Path, undrawn: None, capsys) -> None:
    into = ["--into", str(comparison), "--label", "theirs", "--metrics", "fid"]
    assert main(["digits.npy", *into]) == 0
    capsys.readouterr()
    first = read_index(comparison).runs[-1]
    np.save("digits.npy", DIGITS[300:500])
    message = refuse(["digits.npy", *into], capsys)
    assert "scored into results/digits before; --force replaces it" in message
    assert main(["digits.npy", *into, "--force", "--out", "o"]) == 0
    index = read_index(comparison)
    assert [entry.name for entry in index.contenders].count("theirs") == 1
    assert first not in index.runs
    assert not (comparison / "runs" / first).exists()
    assert read_record(comparison / "runs" / index.runs[-1]).spec["samples"] == 200
    assert Path("o/scores.json").is_file()


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("--label average", "results/digits has a contender of that name"),
        ("--label average --force", "results/digits has a contender of that name"),
        ("--label real --force", "results/digits has a calibration row of that name"),
        ("--label ../up", "--label ../up: name: "),
        ("--label a --dataset mnist", "--dataset mnist: results/digits compares on digits"),
        ("--label a --extractor classifier", "--extractor classifier: results/digits is scored by"),
        ("--label a --image-size 8", "--image-size: --into says already"),
        ("--label a --split train", "--split train: the rows of a comparison"),
    ],
)
def test_a_row_that_does_not_fit_is_refused(
    line: str, message: str, comparison: Path, capsys
) -> None:
    assert message in refuse(["digits.npy", "--into", str(comparison), *line.split()], capsys)


def change_specs(comparison: Path, old: str, new: str) -> None:
    """Change the circumstances of every run of a comparison."""
    for path in comparison.glob("runs/*/record.json"):
        text = json.dumps(json.loads(path.read_text()))
        assert old in text
        fields = json.loads(text.replace(old, new))
        del fields["sha256"]
        path.write_text(json.dumps(fields | {"sha256": seal(fields)}))


def test_images_extractor_and_protocol_must_be_those_of_the_comparison(
    comparison: Path, undrawn: None, capsys
) -> None:
    arguments = ["digits.npy", "--into", str(comparison), "--label", "theirs"]
    spec = read_suite(comparison).records[0].spec
    fingerprint = spec["data"]["fingerprint"]  # type: ignore[index,call-overload]
    for old, new, message in (
        (str(fingerprint), "0" * 64, "the images of digits are not those that results/digits was"),
        (str(spec["extractor"]), "random@00000000", "scores of different extractors do not comp"),
        (f'"protocol": {spec["protocol"]},', '"protocol": 0,', "by version 0 of the protocol"),
    ):
        change_specs(comparison, old, new)
        assert message in refuse(arguments, capsys)
        change_specs(comparison, new, old)
    assert main([*arguments, "--metrics", "fid"]) == 0


def test_a_row_that_cannot_be_written_whole_leaves_no_trace(
    comparison: Path, monkeypatch, capsys
) -> None:
    def fail(*_: object) -> None:
        raise OSError("the disk is full")

    monkeypatch.setattr("benchmarks.evaluation.comparison.write_index", fail)
    before = files(comparison)
    arguments = ["digits.npy", "--into", str(comparison), "--label", "theirs", "--metrics", "fid"]
    assert main(arguments) == 1
    assert capsys.readouterr().err == "error: the disk is full\n"
    assert files(comparison) == before
    assert not list((comparison / "runs").glob("theirs-*"))


def test_an_interrupt_ends_with_130_and_leaves_nothing(here: Path, monkeypatch, capsys) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("benchmarks.evaluation.external.score_external", interrupt)
    assert main(["digits.npy", *QUICK]) == 130
    assert capsys.readouterr().err == "interrupted\n"
    assert not Path("results").exists()


# From Python


def test_a_notebook_scores_paths_arrays_and_tensors_and_nothing_is_printed(
    here: Path, capfd
) -> None:
    np.save("other.npy", DIGITS[300:700])
    kinds = ("digits.npy", Path("digits.npy"), DIGITS[:300], torch.from_numpy(DIGITS[:300]))
    results = [score(kind, "other.npy", extractor="random", metrics="fid") for kind in kinds]
    assert len({result["fid"] for result in results}) == 1
    unit = torch.from_numpy(DIGITS[:300]).double() / 255
    result = score(unit, DIGITS[300:700], range="unit", extractor="random", metrics=["fid", "kid"])
    assert result["fid"] == results[0]["fid"]
    assert result.frame["metric"].tolist() == ["fid", "fid_floor", "kid"]
    assert any("FID is biased by both counts" in note for note in result.notes)
    assert capfd.readouterr() == ("", "")
    assert "FID ↓" in str(result)
    assert "images against reference, seen by" in str(result)
    assert "<table" in result._repr_html_()
    assert {path.name for path in Path().iterdir()} == {"digits.npy", "other.npy"}
    (table, record) = result.write(here / "o")
    assert json.loads(record.read_text())["contender"] == "images"
    assert table.is_file()


def test_a_notebook_is_refused_like_the_command(here: Path) -> None:
    for images, options, message in (
        ("digits.npy", {}, "compared with what?"),
        ("absent.npy", {"dataset": "digits"}, "there is no absent.npy"),
        ([1, 2], {"dataset": "digits"}, "a path, an array or a tensor, not list"),
        (DIGITS[0], {"dataset": "digits"}, "images have [N, H, W]"),
        (DIGITS / 255, {"dataset": "digits"}, "add --range unit"),
    ):
        with pytest.raises(BadInput, match=re.escape(message)):
            score(images, **options)  # type: ignore[arg-type]


def test_a_split_that_there_is_not_is_refused_in_python_too(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="--split tset: choose test or train"):
        score(np.zeros((64, 8, 8), np.uint8), dataset="digits", split="tset")
