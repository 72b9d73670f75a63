"""The command as a user meets it."""

import importlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from benchmarks.cli.problems import print_problems
from benchmarks.config import registry
from benchmarks.execution import run_one
from benchmarks.records.schema import Record, Score
from benchmarks.reporting.plots import PLOTS
from benchmarks.run import main
from metrics import EXTRACTORS, INTERVALS, METRICS

OWN = Path(__file__).with_name("own_models.py")
COMMAND = (sys.executable, "-m", "benchmarks.run")
MINE = "from blocks import Average\n\nclass Mine(Average):\n    pass\n"
QUICK = ("--extractor", "random", "--samples", "64", "--steps", "5", "--seeds", "1", "--jobs", "1")


def start(*arguments: str, **options: object) -> "subprocess.Popen[str]":
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [*COMMAND, *arguments],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,  # type: ignore[call-overload]
    )


def refuse(arguments: list[str], folder: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """Run a command that cannot work; it says so in one line and writes nothing."""
    before = sorted(folder.rglob("*"))
    assert main(arguments) == 2
    out, error = capsys.readouterr()
    assert out == ""
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert sorted(folder.rglob("*")) == before
    return error


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "broken").mkdir()
    for number in range(40):
        (tmp_path / "broken" / f"{number}.png").write_bytes(b"no picture")
    (tmp_path / "a-file").write_text("text")
    (tmp_path / "bad.toml").write_text("[contenders.vae]\nlatent = -1\n")
    return tmp_path


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("digitz", "unknown suite 'digitz': did you mean 'digits'"),
        ("absent.toml", "no suite file absent.toml"),
        ("bad.toml", "bad.toml: contenders.vae: latent: "),
        ("digits mnist", "'mnist': one suite at a time"),
        ("--sedes 3", "unknown option '--sedes': did you mean '--seeds'"),
        ("--seeds", "--seeds: expected one argument"),
        ("--seeds 0", "--seeds: must be a whole number of at least 1, not '0'"),
        ("--seeds -1", "--seeds: must be a whole number"),
        ("--steps 0", "--steps: must be a whole number"),
        ("--jobs 0", "--jobs: must be a whole number"),
        ("--threads x", "--threads: must be a whole number of at least 1, not 'x'"),
        ("--samples 10", "--samples 10: samples: "),
        ("--samples 5000", "cyclegan generates from held-out sources, of which digits has 399"),
        ("--channels 2", "--channels 2: channels: Input should be 1 or 3"),
        ("--views randon", "unknown extractor 'randon': did you mean 'random'"),
        ("--quiet --plain", "not allowed with argument --quiet"),
        ("--image-size 4", "--image-size 4: "),
        ("--precision half", "--precision: invalid choice: 'half'"),
        ("--models gna", "--models: unknown model 'gna': did you mean 'gan'"),
        ("--models=", "--models: unknown model ''"),
        ("--models absent.py:Mine", "there is no file absent.py"),
        (f"--models {OWN}:Averag", "unknown class 'Averag': did you mean"),
        ("--backbone conf", "--backbone: unknown network body 'conf': did you mean 'conv'"),
        ("folder", "folder.toml: of which pictures? add --dataset folder:PATH"),
        (
            "--dataset ring --extractor random",
            "extractor 'random': the extractor 'random' takes uint8",
        ),
        ("--views auto", "unknown extractor 'auto'"),
        ("--set vae.betta=3", "--set vae.betta=3: contenders.vae: unknown key 'betta'"),
        ("--set vae.beta=-3", "digits.toml with options: contenders.vae: beta: "),
        ("--dataset mnits", "unknown data set 'mnits': did you mean 'mnist'"),
        ("--dataset folder:absent", "no folder absent"),
        ("--dataset folder:empty", "empty has no images"),
        ("--dataset folder:broken", "broken"),
        ("--source edgse", "did you mean 'edges'"),
        ("--extractor incption", "--extractor incption: unknown extractor 'incption'"),
        ("--extractor inception --inception-weights a-file", "cannot read Inception weights"),
        ("--inception-weights a-file", "the extractor is 'classifier'"),
        ("--extractor timm:absent --inception-weights a-file", "extractor 'timm:absent': "),
        ("--device warp", "--device warp: this machine has cpu"),
        ("--gpu-share 2", "--gpu-share: must be above 0 and at most 1, not '2'"),
        ("--checkpoint-seconds soon", "must be a number of seconds from 0, not 'soon'"),
        ("--engine rya", "--engine: invalid choice: 'rya'"),
        ("--address here", "--address: the engine is 'local'; add --engine ray"),
        ("--only gaan-s0", "--only: unknown run 'gaan-s0': did you mean 'gan-s0'"),
        ("--clean empty", "empty holds no suite.json"),
        ("--clean absent", "absent holds no suite.json"),
        ("--out a-file", "--out a-file: "),
        ("--out a-file/below", "a-file is a file, not a folder"),
    ],
)
def test_wrong_input_is_told_in_one_line_and_leaves_nothing(
    line: str, message: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    error = refuse(line.split(), here, capsys)
    assert message in error
    assert refuse([*line.split(), "--dry-run"], here, capsys) == error


def test_answers_do_not_wait_for_torch(here: Path) -> None:
    program = """
import sys
from contextlib import redirect_stdout
from io import StringIO
from benchmarks.run import main

for line in ("--list", "--help", "digitz", "--models gna", "--set vae.betta=1", "--seeds 0"):
    try:
        with redirect_stdout(StringIO()) as text:
            code = main(line.split())
    except SystemExit as end:
        code = end.code
    assert code == (0 if line in {"--list", "--help"} else 2), (line, code)
    assert "torch" not in sys.modules, line
    if line == "--list":
        print(text.getvalue())
"""
    python = [sys.executable, "-c", program]
    done = subprocess.run(python, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    lines = [line.split(maxsplit=1) for line in done.stdout.splitlines() if line.startswith("  ")]
    assert all(len(line) == 2 for line in lines)
    names = {line[0] for line in lines}
    assert {"smoke", "folder:PATH", "cyclegan", "fid", "classifier"} <= names


def test_a_dry_run_prints_the_plan_and_writes_nothing(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = sorted(here.rglob("*"))
    assert main(["--dry-run", "--models", "gan,vae", "--seeds", "2", "--steps", "77"]) == 0
    text = capsys.readouterr().out
    assert "6 runs" in text
    assert "77" in text
    assert sorted(here.rglob("*")) == before


def test_an_own_model_goes_all_the_way_beside_one_that_fails(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    models = f"{OWN}:Raising,{OWN}:Average,{OWN}:Diverging"
    assert main(["--models", models, "--set", "average.noise=0.2", *QUICK]) == 1
    _, error = capsys.readouterr()
    assert "failed: RuntimeError: a bug in this model" in error
    assert "diverged: loss_mean is inf" in error
    table = pd.read_csv(here / "results/digits/table.csv", index_col="contender")
    assert table.index.tolist() == ["raising", "average", "diverging", "real", "noise"]
    assert table.loc["average", "fid"] > table.loc["real", "fid"]
    assert table.loc["diverging", "diverged"] == "1/1"
    (folder,) = (here / "results/digits/runs").glob("raising-*")
    assert "own_models.py" in (folder / "traceback.txt").read_text()


def test_models_that_fail_anywhere_cost_their_runs_alone(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    faulty = ("Broken", "Leaving", "Exiting", "Overflowing")
    models = ",".join(f"{OWN}:{name}" for name in (*faulty, "Average"))
    assert main(["--models", models, *QUICK]) == 1
    _, error = capsys.readouterr()
    assert "average" not in error
    for line in (
        r"broken-s0-\w+ failed: AttributeError: .* has no attribute 'missing'",
        r"leaving-s0-\w+ failed: SystemExit: no licence",
        r"exiting-s0-\w+ failed: SystemExit: no licence",
        r"overflowing-s0-\w+ failed: Overflowing\.sample returned values that are not finite; it ",
    ):
        assert re.search(f"^{line}", error, re.MULTILINE), line
    scores = pd.read_csv(here / "results/digits/scores.csv")
    assert scores.loc[scores["contender"] == "average", "metric"].eq("fid").any()


@pytest.mark.parametrize("option", ["--dry-run", "--plan"])
def test_models_that_fail_are_named_beside_the_others_before_anything_runs(
    option: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    models = ",".join(f"{OWN}:{name}" for name in ("Leaving", "Average"))
    before = sorted(here.rglob("*"))
    assert main([option, "--models", models, *QUICK]) == 1
    out, _ = capsys.readouterr()
    assert re.search(r"^leaving fails its smoke step: SystemExit: no licence$", out, re.MULTILINE)
    assert re.search(r"^ ?average ", out, re.MULTILINE)
    assert sorted(here.rglob("*")) == before


def test_what_a_layout_was_taken_for_is_said_and_recorded(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rng = np.random.default_rng(0)
    for name, count in (("Train", 400), ("Val", 80)):
        (here / "set" / name).mkdir(parents=True)
        for i in range(count):
            pixels = rng.integers(0, 256, (8, 8), dtype=np.uint8)
            Image.fromarray(pixels).save(here / "set" / name / f"{i}.png")
    line = ["smoke", "--dataset", "folder:set", "--models", "vae", "--views", "", *QUICK]
    assert main([*line, "--dry-run"]) == 0
    layout = "Train/ for training and validation, Val/ for testing; no classes"
    assert f"\nlayout: {layout}\n" in capsys.readouterr().out
    assert main([*line, "--out", "o"]) in {0, 1}
    records = [json.loads(path.read_bytes()) for path in here.glob("o/runs/*/record.json")]
    assert [record["layout"] for record in records] == [layout] * 3


def test_a_dry_run_takes_the_smoke_step(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--dry-run", "--models", f"vae,{OWN}:Overflowing", *QUICK]) == 1
    line = "overflowing fails its smoke step: Overflowing.sample returned values that are not"
    assert line in capsys.readouterr().out


def test_a_metric_that_fails_is_a_missing_score_in_table_and_page(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def dark(*_: object) -> None:
        raise ValueError("too dark to tell")

    spoilt = replace(METRICS["kid"], function=dark)
    monkeypatch.setitem(METRICS, "kid", spoilt)
    monkeypatch.delitem(INTERVALS, "kid")
    arguments = ["--models", f"{OWN}:Average", "--views", "", *QUICK]
    assert main(arguments) == 1
    reason = "failed: ValueError: too dark to tell"
    _, error = capsys.readouterr()
    assert re.search(rf"^kid by random@\w+ {reason} \(missing in 3 records\)$", error, re.MULTILINE)
    folder = here / "results/digits"
    for file in ("table.md", "report.html"):
        assert f"kid of average, real, noise: {reason}" in (folder / file).read_text(), file
    monkeypatch.undo()
    monkeypatch.chdir(here)
    assert main(arguments) == 0, "what is mended is scored without training"
    scores = pd.read_csv(folder / "scores.csv")
    assert scores.loc[scores["metric"] == "kid", "value"].notna().all()


def test_an_extractor_that_fails_ends_the_command_in_one_line_or_costs_its_scores(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: object) -> None:
        raise SystemExit("no licence")

    monkeypatch.setitem(EXTRACTORS, "pixels", EXTRACTORS["pixels"]._replace(build=fail))
    arguments = ["--models", f"{OWN}:Average", *QUICK]
    assert main([*arguments, "--extractor", "pixels", "--views", ""]) == 1
    assert capsys.readouterr().err == "error: extractor 'pixels': SystemExit: no licence\n"
    assert main([*arguments, "--views", "pixels"]) == 1
    line = "fid by pixels failed: SystemExit: no licence (missing in 3 records)\n"
    assert capsys.readouterr().err == line
    text = (here / "results/digits/report.html").read_text()
    assert "fid by pixels of average, real, noise: failed: SystemExit: no licence" in text


def test_calibration_that_fails_costs_its_rows_alone(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: object) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(run_one, "generate_calibration", fail)
    assert main(["--models", f"{OWN}:Average", *QUICK]) == 1
    _, error = capsys.readouterr()
    lines = error.splitlines()
    assert len(lines) == 2
    assert all(re.fullmatch(r"(real|noise)-\w+ failed: RuntimeError: a bug", s) for s in lines)
    scores = pd.read_csv(here / "results/digits/scores.csv")
    assert scores.loc[scores["contender"] == "average", "metric"].eq("fid").any()


def test_what_does_not_reconstruct_says_none(here: Path) -> None:
    assert main(["--models", f"{OWN}:Flow,{OWN}:Average", *QUICK, "--steps", "100"]) == 0
    table = pd.read_csv(here / "results/digits/table.csv", keep_default_na=False)
    routes = dict(zip(table["contender"], table["reconstruction_protocol"], strict=True))
    assert routes["flow"] == "none"
    assert routes["average"] == "encoder"
    assert table.loc[table["contender"] == "flow", "reconstruction_mse"].item() == ""
    assert float(table.loc[table["contender"] == "flow", "fid"].item()) > 0


def test_finished_runs_are_kept_until_forced(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--models", f"{OWN}:Average", "--out", "o", *QUICK]
    assert main(arguments) == 0
    (record,) = (here / "o" / "runs").glob("average-*/record.json")
    first = record.stat().st_mtime_ns
    files = [(here / "o/runs").glob(f"{name}-*/record.json") for name in ("real", "noise")]
    calibration = {path: path.stat().st_mtime_ns for found in files for path in found}
    assert len(calibration) == 2
    capsys.readouterr()
    assert main(arguments) == 0
    assert "1 of 1 runs are finished already" in capsys.readouterr().out
    assert record.stat().st_mtime_ns == first
    assert {path: path.stat().st_mtime_ns for path in calibration} == calibration
    assert main([*arguments, "--force"]) == 0
    assert record.stat().st_mtime_ns > first
    assert all(path.stat().st_mtime_ns > before for path, before in calibration.items())


def test_lost_files_of_a_finished_run_are_made_again_or_named(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["--models", f"{OWN}:Average", "--out", "o", *QUICK]
    assert main(command) == 0
    (folder,) = Path("o/runs").glob("average-*")
    (real,) = Path("o/runs").glob("real-*/samples.png")
    files = {path: path.read_bytes() for path in (*folder.glob("*.*"), real)}
    lost = [path for path in files if path.name not in {"record.json", "evolution.png"}]
    for path in lost:
        path.unlink()
    capsys.readouterr()
    assert main(command) == 0
    assert "1 have lost files, which their checkpoints give back" in capsys.readouterr().out
    assert {path: path.read_bytes() for path in lost} == {path: files[path] for path in lost}

    gone = [folder / "evolution.png"]
    data = [folder / "history.csv", folder / "samples.npz"]
    training = [*data, *(folder / "checkpoint").iterdir()]
    for words in ("evolution.png\n", f"evolution.png, {data[0]}, {data[1]}\n"):
        for path in gone:
            path.unlink()
        assert main(command) == 0
        out = capsys.readouterr().out
        assert "1 of 1 runs are finished already" in out
        assert f"--force trains them again: {folder}/{words}" in out
        gone = training


@pytest.mark.parametrize("command", ["run", "score", "audit"])
def test_a_cache_in_an_unwritable_home_names_the_variable(
    command: str, here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HOME", str(here / "a-file"))
    for name in ("BENCHMARKS_CACHE", "BENCHMARKS_DATA", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    np.savez("images.npz", images=np.random.default_rng(0).integers(0, 256, (99, 8, 8), np.uint8))
    words = {"run": ["smoke"], "audit": ["smoke"], "score": ["images.npz", "--dataset", "digits"]}
    module = importlib.import_module(f"benchmarks.{command}")
    assert module.main([*words[command], "--out", "o"]) == 2
    error = capsys.readouterr().err
    assert f"{here}/a-file/.cache/generative-benchmarks/extractors (Not a directory)" in error
    assert "choose another folder by the variable BENCHMARKS_CACHE" in error
    assert error.count("\n") == 1


def test_changed_code_of_the_users_own_trains_anew_and_says_so(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (here / "own").mkdir()
    (here / "own/blocks.py").write_text(OWN.read_text())
    (here / "own/mine.py").write_text(MINE)
    arguments = ["--models", "own/mine.py:Mine", "--out", "o", *QUICK]
    assert main(arguments) == 0
    assert "code has changed" not in capsys.readouterr().out
    for old, new in (("noise: float = 0.1", "noise: float = 0.3"), ("clamp(0, 1)", "sigmoid()")):
        text = (here / "own/blocks.py").read_text()
        (here / "own/blocks.py").write_text(text.replace(old, new, 1))
        assert main(arguments) == 0
        out = capsys.readouterr().out
        assert "mine: retrained, since the code has changed\n" in out
        assert "started, 5 steps" in out
        assert main(arguments) == 0
        assert "1 of 1 runs are finished already" in capsys.readouterr().out


def test_a_shipped_model_trained_with_other_code_is_marked_until_forced(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "300")
    arguments = ["--models", f"gan,{OWN}:Average", "--out", "o", *QUICK]
    assert main(arguments) == 0
    assert "other code" not in capsys.readouterr().out
    monkeypatch.setattr(registry, "hash_program", lambda _: "other")
    assert main(arguments) == 0
    out = capsys.readouterr().out
    assert "2 of 2 runs are finished already" in out
    assert "gan: trained with other code; --force trains again\n" in out
    assert "gan: trained with other code." in (here / "o/report.html").read_text()
    assert main([*arguments, "--force"]) == 0
    assert "other code" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("files", "models", "options"),
    [
        pytest.param(
            ("models.py", "metrics.py"),
            "models.py:Mine,metrics.py:Mine",
            ("--jobs", "2"),
            marks=pytest.mark.slow,
        ),
        pytest.param(
            ("benchmarks.py", "models/__init__.py", "models/mine.py"),
            "models/mine.py:Mine,vae",
            ("--jobs", "2"),
            marks=pytest.mark.slow,
        ),
        pytest.param(
            ("benchmarks.py", "models.py"),
            "models.py:Mine",
            ("--engine", "ray"),
            marks=pytest.mark.slow,
        ),
    ],
)
def test_names_in_the_working_folder_are_the_users_and_ours_are_ours(
    files: tuple[str, ...], models: str, options: tuple[str, ...], here: Path
) -> None:
    for file in files:
        (here / file).parent.mkdir(exist_ok=True)
        (here / file).write_text("raise SystemExit" if file.startswith("bench") else MINE)
        shutil.copy(OWN, (here / file).with_name("blocks.py"))
    safe = ["-P"] * ("benchmarks.py" in files)
    command = [sys.executable, *safe, *COMMAND[1:], "--models", models, *QUICK, *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    table = pd.read_csv(here / "results/digits/table.csv", index_col="contender")
    assert table.index[0] == "mine"
    assert table["fid"].notna().all()


def test_quietly_only_problems_and_paths_are_printed(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    models = f"{OWN}:Average,{OWN}:Overflowing"
    assert main(["--models", models, *QUICK, "--quiet", "--views", "", "--out", "o"]) == 1
    out, error = capsys.readouterr()
    trouble, *paths = out.splitlines()
    assert trouble.startswith("overflowing-s0")
    assert "failed: Overflowing.sample returned" in trouble
    assert paths
    assert all(Path(path).is_file() for path in paths)
    assert "--only overflowing-s0" in error


@pytest.mark.parametrize("how", ["cut short", "altered"])
def test_a_damaged_record_is_set_aside_and_scored_again(
    how: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--models", f"{OWN}:Average", "--out", "o", *QUICK]
    assert main(arguments) == 0
    scores = (here / "o/scores.csv").read_bytes()
    (record,) = (here / "o/runs").glob("average-*/record.json")
    text = record.read_text()
    record.write_text(text[:-100] if how == "cut short" else text.replace('"seed": 0', '"seed": 1'))
    (here / "o/suite.json").write_text("torn")
    damaged = record.read_text()
    capsys.readouterr()
    assert main(arguments) == 0
    out, error = capsys.readouterr()
    index, line = (line for line in out.splitlines() if "quarantined as *.damaged" in line)
    assert "suite.json is damaged" in index
    assert "record.json is damaged" in line
    assert "trained already, scoring it" in out
    assert error == ""
    assert record.with_name("record.json.damaged").read_text() == damaged
    assert (here / "o/scores.csv").read_bytes() == scores
    record.write_text(damaged)
    assert main([*arguments, "--only", "average-s0"]) == 0
    assert "record.json is damaged" in capsys.readouterr().out


def test_a_plan_estimates_what_is_left_and_writes_nothing(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--models", f"{OWN}:Average,vae", "--out", "o", *QUICK]
    assert main([*arguments, "--only", "average-s0"]) == 0
    before = sorted(here.rglob("*"))
    capsys.readouterr()
    assert main([*arguments, "--plan"]) == 0
    text = capsys.readouterr().out
    assert sorted(here.rglob("*")) == before
    assert "1 runs" in text or "1 run:" in text
    assert "vae" in text
    assert "average" not in text
    assert main(arguments) == 0
    capsys.readouterr()
    assert main([*arguments, "--plan"]) == 0
    assert capsys.readouterr().out == "every run is finished\n"


def test_a_dry_run_tells_what_is_finished_begun_and_to_do(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "300")
    models = f"{OWN}:Average,{OWN}:Late,{OWN}:Raising"
    arguments = ["--models", models, "--out", "o", *QUICK, "--steps", "20"]
    assert main([*arguments, "--seeds", "2", "--only", "average-s1"]) == 0
    assert main([*arguments, "--checkpoint-seconds", "0"]) == 1
    capsys.readouterr()
    assert main([*arguments, "--seeds", "3", "--dry-run"]) == 0
    lines = capsys.readouterr().out.splitlines()
    stages = {line.split()[0]: line.split()[-3:] for line in lines if "own_models" in line}
    assert list(stages) == ["average", "late", "raising"]
    # What diverged would do so again; what failed goes on.
    assert stages["average"] == ["2", "0", "1"]
    assert stages["late"] == ["1", "0", "2"]
    assert stages["raising"] == ["0", "1", "2"]
    assert main([*arguments, "--seeds", "3", "--dry-run", "--force"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[-3:] for line in lines if "own_models" in line] == [["0", "0", "3"]] * 3


def test_one_run_alone_is_done_again_as_the_summary_says(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = ["--models", f"{OWN}:Raising,{OWN}:Average", "--out", "o", *QUICK]
    assert main(arguments) == 1
    error = capsys.readouterr().err
    (command,) = (line for line in error.splitlines() if "in the foreground" in line)
    words = command.partition("benchmarks.run ")[2].split()
    assert words[-4] == "--only"
    assert words[-3].startswith("raising-s0-")
    (average,) = (here / "o/runs").glob("average-*/record.json")
    before = average.stat().st_mtime_ns
    index = (here / "o/suite.json").read_bytes()
    assert main(words) == 1
    assert "raising" in capsys.readouterr().err
    assert average.stat().st_mtime_ns == before
    assert (here / "o/suite.json").read_bytes() == index
    assert main([*arguments, "--only", "average-s0-00000000"]) == 2
    assert "with these options that run is average-s0-" in capsys.readouterr().err
    arguments += ["--dry-run", "--only", "average-s0-00000000"]
    assert main(arguments) == 2
    assert "with these options that run is average-s0-" in capsys.readouterr().err
    monkeypatch.setenv("BENCHMARKS_CACHE", str(here / "cache"))
    assert main([*arguments, "--extractor", "classifier"]) == 0
    assert "extractor classifier: is trained first" in capsys.readouterr().out
    assert not (here / "cache").exists()


def test_another_extractor_scores_without_training(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--models", f"{OWN}:Average", "--out", "o", *QUICK]
    assert main(arguments) == 0
    assert "started, 5 steps" in capsys.readouterr().out
    assert main([*arguments, "--extractor", "pixels"]) == 0
    assert "trained already, scoring it" in capsys.readouterr().out
    table = pd.read_csv(here / "o/table.csv", index_col="contender")
    assert table.loc["average", "extractor"].startswith("pixels@")
    assert main(arguments) == 0
    assert "1 of 1 runs are finished already" in capsys.readouterr().out


def test_cleaning_removes_what_the_suite_does_not_name(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--models", f"{OWN}:Average", "--out", "o", *QUICK]
    assert main([*arguments, "--steps", "6"]) == 0
    assert main(arguments) == 0
    runs = here / "o/runs"
    kept = set(json.loads((here / "o/suite.json").read_text())["runs"])
    (stale,) = {path.name for path in runs.glob("average-*")} - kept
    (runs / "mine").mkdir()
    (runs / "mine/notes.txt").write_text("no run")
    (run,) = kept
    (runs / run / "checkpoint/state.safetensors.damaged").write_text("x")
    (runs / "link").symlink_to(runs / "mine")
    capsys.readouterr()
    assert main(["--clean", "o", "--dry-run"]) == 0
    text = capsys.readouterr().out
    assert stale in text
    assert "could be freed" in text
    assert (runs / stale).exists()
    assert main(["--clean", "o"]) == 0
    text = capsys.readouterr().out
    assert "have been freed" in text
    assert not (runs / stale).exists()
    assert not list(runs.rglob("*.damaged"))
    assert (runs / "mine/notes.txt").exists()
    assert (runs / "link").is_symlink()
    assert (runs / run / "record.json").exists()
    assert main(arguments) == 0
    assert "1 of 1 runs are finished already" in capsys.readouterr().out


@pytest.mark.slow
def test_smoke_writes_everything_and_the_same_scores_again(here: Path) -> None:
    process = start("smoke", "--out", "first", "--jobs", "2")
    out, error = process.communicate(timeout=600)
    assert process.returncode == 0, error
    assert error == ""
    assert "Reconstruction" in out
    first = here / "first"
    assert main(["smoke", "--out", "second", "--jobs", "1"]) == 0
    assert (first / "scores.csv").read_bytes() == (here / "second/scores.csv").read_bytes()

    names = ("table.csv", "table.md", "table.tex", "scores.csv", "costs.csv")
    assert all((first / name).stat().st_size for name in names)
    for name in PLOTS:
        assert (first / f"plots/{name}.png").is_file(), name
        assert (first / f"plots/{name}.svg").is_file(), name
    index = json.loads((first / "suite.json").read_text())
    assert index["command"] == "python -m benchmarks.run smoke --out first --jobs 2"
    for run in index["runs"]:
        folder = first / "runs" / run
        files = {path.relative_to(folder).as_posix() for path in folder.rglob("*")}
        assert files >= {
            *("record.json", "history.csv", "samples.png", "reconstructions.png", "samples.npz"),
            "checkpoint/model.safetensors",
        }
    scores = pd.read_csv(first / "scores.csv")
    assert list(scores) == [
        *("suite", "dataset", "contender", "family", "seed", "status", "metric"),
        *("value", "low", "high", "n", "reference", "extractor"),
    ]
    assert set(scores["contender"]) == {
        *("gan", "wgan_gp", "autoencoder", "vae", "cyclegan", "real", "noise")
    }
    assert {"fid", "inception_score", "reconstruction_mse", "psnr", "ssim"} <= set(scores["metric"])
    accuracy = scores[scores["metric"] == "extractor_accuracy"]
    assert accuracy["contender"].tolist() == ["real"]
    assert 0.95 < accuracy["value"].item() < 1
    assert "of the test images into their class" in (first / "table.md").read_text()
    assert not list(first.rglob("*.tmp"))


def test_a_folder_of_images_is_a_data_set(here: Path) -> None:
    from sklearn.datasets import load_digits

    (here / "photos").mkdir()
    for number, image in enumerate(load_digits().images[:400]):
        Image.fromarray((image * 15).astype("uint8")).save(here / f"photos/{number}.png")
    arguments = ["--dataset", "folder:photos", "--models", f"{OWN}:Average", *QUICK]
    assert main(arguments) == 0
    assert (here / "results/folder-photos/table.csv").is_file()


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="signals as on POSIX")
def test_an_interrupt_ends_every_process_without_a_traceback(here: Path) -> None:
    arguments = ("--extractor", "random", "--samples", "64", "--steps", "1000000", "--jobs", "2")
    process = start("--models", "gan,vae", *arguments, start_new_session=True)
    assert process.stdout is not None
    while "started" not in process.stdout.readline():
        pass  # the other worker may be starting yet
    os.killpg(process.pid, signal.SIGINT)  # as the terminal does
    _, error = process.communicate(timeout=600)
    assert process.returncode == 130
    assert error == "interrupted; the same command resumes the runs that are not finished\n"
    deadline = time.monotonic() + 600
    while is_alive(process.pid) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert not is_alive(process.pid)


def is_alive(group: int) -> bool:
    """Tell whether any process of a group is left."""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def test_reasons_and_notes_of_records_steer_no_terminal(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    sign = "\x1b]0;title\x07\u202e"
    score = Score(metric="fid", value=None, n=1, reference="test", note=f"failed: {sign}")
    record = Record(
        run="vae-s0-1a2b3c4d",
        suite="s",
        dataset="d",
        contender="vae",
        family="vae",
        seed=0,
        status="failed",
        reason=sign,
        scores=[score],
    )
    assert print_problems([record], tmp_path, []) == 1
    assert capsys.readouterr().err.replace("\n", "").isprintable()
