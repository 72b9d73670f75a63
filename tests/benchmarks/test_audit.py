"""The audit's command, as a user meets it; above all that it is right about planted metrics."""

import gzip
import io
import json
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from benchmarks import audit, run
from benchmarks.analysis.audits import PUBLISHED, read_audit
from benchmarks.auditing import answers, pipeline
from benchmarks.config.registry import list_faults
from metrics import EXTRACTORS, METRICS

HERE = Path(__file__).parent
PLANTED = HERE / "planted.py"
OWN = HERE / "own_models.py"
ALONE = ("--extractor", "pixels", "--views", "")
SMALL = (*ALONE, "--samples", "60", "--repetitions", "3", "--jobs", "1")
QUICK = (*SMALL, "--metrics", "fid,mae", "--faults", "blur,drop")
EXTRACTOR = '''"""An extractor of one's own."""

from benchmarks.auditing.own import METRICS
from metrics import Extractor, extractor
from torch import nn


class Means(nn.Module):
    def forward(self, images):
        return images.float().mean(2).flatten(1), None


@extractor(name="means", summary="mean brightness of columns")
def build_means(material):
    side = material.images.shape[-1]
    return Extractor("means", Means(), dimension=side, classes=None, channels=1, recipe="means 1")
'''


@contextmanager
def own_registries() -> Iterator[None]:
    """Forget what is entered meanwhile: other tests ask all metrics that there are."""
    kept = dict(METRICS), dict(EXTRACTORS), set(sys.modules)
    try:
        yield
    finally:
        for registry, before in zip((METRICS, EXTRACTORS), kept, strict=False):
            registry.clear()
            registry.update(before)
        for name in [n for n in sys.modules if n.startswith("user_model_") and n not in kept[2]]:
            del sys.modules[name]


@pytest.fixture(autouse=True)
def unentered() -> Iterator[None]:
    with own_registries():
        yield


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def unasked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Known answers take longer than all else."""
    monkeypatch.setattr(pipeline, "QUESTIONS", {})


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    """The verdicts on metrics that were planted, by metric and fault."""
    folder = tmp_path_factory.mktemp("planted")
    names = ("constant", "luck", "bad_share", "no_classes", "copyist")
    own = [word for name in names for word in ("--metric", f"{PLANTED}:{name}")]
    with pytest.MonkeyPatch.context() as patch, own_registries():
        patch.setattr(pipeline, "QUESTIONS", {})
        options = (*ALONE, "--samples", "200", "--metrics", "", *own, "--out", str(folder))
        assert audit.main([*options]) == 0
    return read_audit(folder / "audit").verdicts.set_index(["metric", "fault"])


SPOILING = ("blur", "noise", "foreign", "static", "gaussian")
KEEPING = ("drop", "thin", "duplicates", "shrink", "memoriser")


@pytest.mark.parametrize("metric", ["constant", "luck"])
def test_what_says_nothing_sees_nothing(planted: pd.DataFrame, metric: str) -> None:
    verdicts = planted.loc[metric, "verdict"]
    assert set(verdicts.index) == set(list_faults())
    assert not set(verdicts) & {"sees", "sees late", "misled"}
    assert (verdicts == "blind").mean() > 0.9


def test_a_constant_is_blind_without_a_doubt(planted: pd.DataFrame) -> None:
    assert set(planted.loc["constant", "verdict"]) == {"blind"}
    assert (planted.loc["constant", "tau"] == 0).all()


def test_the_share_of_bad_images_is_seen_and_straight(planted: pd.DataFrame) -> None:
    rows = planted.loc["bad_share"]
    assert set(rows.loc[[*SPOILING], "verdict"]) == {"sees"}
    assert set(rows.loc[[*KEEPING], "verdict"]) == {"blind"}
    assert (rows.loc[["foreign", "static", "gaussian"], "linearity"] > 0.999).all()
    assert (rows.loc[["foreign", "static"], "threshold"] == 1).all()
    assert (rows.loc[["foreign", "static"], "tau"] == 1).all()


def test_what_is_blind_to_classes_is_found_out(planted: pd.DataFrame) -> None:
    rows = planted.loc["no_classes"]
    assert set(rows.loc[["drop", "thin"], "verdict"]) == {"blind"}
    assert set(rows.loc[["static", "duplicates", "shrink"], "verdict"]) == {"sees"}
    assert not rows.loc["drop", "kept"]
    assert rows.loc["duplicates", "kept"]


def test_what_rewards_copies_is_misled_by_them(planted: pd.DataFrame) -> None:
    rows = planted.loc["copyist"]
    assert set(rows.loc[["memoriser", "jitter"], "verdict"]) == {"misled"}
    assert rows.loc["static", "verdict"] == "sees"


@pytest.fixture(scope="module")
def quick(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The results folder of a small audit in one process, and what was printed."""
    folder, printed = tmp_path_factory.mktemp("quick") / "results", io.StringIO()
    with pytest.MonkeyPatch.context() as patch, own_registries(), redirect_stdout(printed):
        patch.setattr(pipeline, "QUESTIONS", ["real_against_real", "mode_dropper"])
        assert audit.main([*QUICK, "--out", str(folder)]) == 0
    return folder, printed.getvalue()


@pytest.fixture
def copied(quick: tuple[Path, str], here: Path) -> Path:
    """A copy of the small audit's results folder."""
    return Path(shutil.copytree(quick[0], here / "results/digits"))


def test_the_same_comes_of_any_number_of_processes(
    quick: tuple[Path, str], here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipeline, "QUESTIONS", ["real_against_real", "mode_dropper"])
    assert audit.main([*QUICK, "--jobs", "2", "--out", "2"]) == 0
    one, two = quick[0] / "audit", here / "2/audit"
    for name in ("measurements.csv.gz", "verdict.csv", "floors.csv", "curves.csv"):
        assert (one / name).read_bytes() == (two / name).read_bytes()
    answers = [json.loads((place / "audit.json").read_text())["answers"] for place in (one, two)]
    assert answers[0] == answers[1]
    assert [answer["name"] for answer in answers[0]] == ["real_against_real", "mode_dropper"]


@pytest.mark.usefixtures("unasked")
def test_another_seed_even_a_negative_one_measures_other_sets(
    quick: tuple[Path, str], here: Path
) -> None:
    assert audit.main([*QUICK, "--seed", "-5", "--out", "other"]) == 0
    first, second = (place / "audit/floors.csv" for place in (quick[0], here / "other"))
    assert first.read_bytes() != second.read_bytes()


def test_an_audit_writes_all_its_files(quick: tuple[Path, str]) -> None:
    folder, printed = quick
    place = folder / "audit"
    assert [path.name for path in folder.iterdir()] == ["audit"]  # no report without a suite
    for name in ("verdict.md", "audit.html", "plots/heatmap.png", "strips/blur.png"):
        assert (place / name).stat().st_size > 100, name
    about = json.loads((place / "audit.json").read_text())
    assert about["samples"] == 60
    assert [fault["name"] for fault in about["faults"]] == ["blur", "drop"]
    measured = pd.read_csv(place / "measurements.csv.gz", keep_default_na=False)
    floor = measured[(measured["fault"] == "") & (measured["metric"] == "fid")]
    assert floor[floor["n"].astype(int) == 60]["repetition"].nunique() == 60
    assert "FID" in printed
    assert str(place / "audit.html") in printed


def test_judging_again_changes_nothing(copied: Path) -> None:
    place = copied / "audit"
    before = {p: p.read_bytes() for p in place.rglob("*.*") if p.is_file() and p.suffix}
    assert audit.main(["--rebuild", "results/digits"]) == 0
    assert {p: p.read_bytes() for p in before} == before


@pytest.mark.parametrize("suite", ["digits", "mnist"])
def test_the_published_verdicts_follow_from_what_was_measured(
    suite: str, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipeline, "render_audit", lambda _: {})
    published = PUBLISHED / suite / "audit"
    shutil.copytree(published, here / suite / "audit")
    assert audit.main(["--rebuild", suite]) == 0
    for name in ("verdict.csv", "floors.csv", "curves.csv"):
        assert (here / suite / "audit" / name).read_bytes() == (published / name).read_bytes()
    about = read_audit(published).about
    assert [fault["name"] for fault in about["faults"]] == list(list_faults())
    assert [answer["passed"] for answer in about["answers"]] == [True] * len(answers.QUESTIONS)


@pytest.mark.usefixtures("unasked")
def test_images_of_ones_own_need_no_labels(here: Path) -> None:
    folder = here / "own"
    folder.mkdir()
    for number, image in enumerate(load_digits().images[:300]):
        Image.fromarray(np.rint(image * 255 / 16).astype(np.uint8)).save(folder / f"{number}.png")
    options = ("--dataset", f"folder:{folder}", "--extractor", "random", "--views", "")
    rest = ("--repetitions", "3", "--metrics", "fid", "--faults", "drop,shrink", "--jobs", "1")
    assert audit.main([*options, *rest, "--out", "results/own"]) == 0
    about = read_audit(here / "results/own/audit").about
    assert about["clustered"]
    assert 2 <= about["classes"] <= 10


@pytest.mark.usefixtures("unasked")
def test_an_extractor_of_ones_own_is_audited(here: Path) -> None:
    Path("means.py").write_text(EXTRACTOR, encoding="utf-8")
    rest = ("--metrics", "fid", "--faults", "contrast", "--samples", "60", "--repetitions", "3")
    assert audit.main(["--extractor", "means.py:build_means", "--views", "", *rest]) == 0
    audited = read_audit(here / "results/digits/audit")
    assert [name.partition("@")[0] for name in audited.about["extractors"]] == ["means"]
    assert list(audited.verdicts["verdict"]) == ["sees"]


@pytest.mark.usefixtures("unasked")
def test_a_report_that_is_there_gets_the_audit(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options = ("--extractor", "pixels", "--views", "", "--samples", "64", "--steps", "5")
    models = ("--models", f"{OWN}:Average", "--seeds", "1", "--set", "average.noise=0.5")
    monkeypatch.setattr("benchmarks.reporting.plots.render", lambda _: {})
    monkeypatch.setattr("benchmarks.analysis.audits.PUBLISHED", here)
    assert run.main([*models, *options]) == 0
    page = here / "results/digits/report.html"
    assert "python -m benchmarks.audit" in page.read_text(encoding="utf-8")
    assert audit.main([*QUICK]) == 0
    text = page.read_text(encoding="utf-8")
    assert "dropped classes" in text
    assert (here / "results/digits/suite.json").exists()


@pytest.mark.slow
def test_known_answers_are_found_on_digits(here: Path) -> None:
    options = ("--metrics", "fid", "--faults", "drop", "--repetitions", "3", "--jobs", "1")
    assert audit.main([*options, "--views", ""]) == 0
    found = read_audit(here / "results/digits/audit").about["answers"]
    assert [answer["name"] for answer in found] == list(answers.QUESTIONS)
    assert [answer["passed"] for answer in found] == [True] * len(found)


@pytest.mark.parametrize(
    ("options", "hint"),
    [
        (["--metric", f"{PLANTED}:undecorated"], "decorate it"),
        (["--metric", f"{PLANTED}:constnt"], "did you mean 'constant'"),
        (["--metric", "absent.py:fid"], "absent.py"),
        (["--metric", "fid"], "file.py:function"),
        (["--metrics", "fidd"], "did you mean 'fid'"),
        (["--metrics", "elbo"], "choose from"),
        (["--faults", "blurr"], "did you mean 'blur'"),
        (["--extractor", "clasifier"], "did you mean 'classifier'"),
        (["--extractor", f"{PLANTED}:constant"], "@extractor"),
        (["--fault", "blur"], "did you mean '--faults'"),
        (["--splits", "5"], "20 or more"),
        (["--repetitions", "2"], "from 3"),
        (["--repetitions", "61"], "60"),
        (["--samples", "1000"], "half of the held-out"),
        (["--seed", "x"], "--seed"),
        (["modes"], "points"),
        (["digits", "mnist"], "one suite at a time"),
        (["--rebuild", "nowhere"], "nowhere"),
        (["--inception-weights", "w.pt"], "--extractor inception"),
        (["--out", ""], "must name a folder"),
        (["--rebuild", "results/digits", "--samples", "60"], "leave out --samples"),
        (["--rebuild", "results/digits", "--metrics", "fid"], "leave out --metrics"),
        ([*ALONE, "--metrics", "", "--metric", f"{PLANTED}:failing"], "ZeroDivisionError"),
        ([*ALONE, "--metrics", "", "--metric", f"{PLANTED}:wordy"], "--metric wordy"),
    ],
)
def test_wrong_input_is_one_line_and_leaves_nothing(
    options: list[str], hint: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert audit.main(options) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ")
    assert said.count("\n") == 1
    assert hint in said
    assert not list(here.iterdir())


@pytest.mark.parametrize(
    ("body", "hint"),
    [
        ("return None, None", "TypeError"),
        ("return images.float().mean((1, 2, 3)).log() - torch.inf, None", "finite"),
        ("raise KeyError('x')", "KeyError"),
        ("return torch.zeros(3, 2), None", "row"),
    ],
)
def test_an_extractor_that_fails_is_one_line(
    body: str, hint: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = EXTRACTOR.replace("return images.float().mean(2).flatten(1), None", body)
    name = f"means{abs(hash(body))}"
    text = text.replace("import nn", "import nn\nimport torch").replace('"means"', f'"{name}"')
    Path("means.py").write_text(text, encoding="utf-8")
    assert audit.main(["--extractor", "means.py:build_means", "--views", ""]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert hint in said


def test_measurements_that_were_changed_are_not_judged(
    copied: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = copied / "audit/measurements.csv.gz"
    path.write_bytes(gzip.compress(gzip.decompress(path.read_bytes()).replace(b",1,", b",2,", 1)))
    assert audit.main(["--rebuild", "results/digits"]) == 2
    assert "does not match" in capsys.readouterr().err


def test_a_metric_called_as_another_is_refused_and_does_not_replace_it(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shipped = METRICS["fid"]
    text = PLANTED.read_text(encoding="utf-8").replace('name="constant"', 'name="fid"')
    Path("taken.py").write_text(text, encoding="utf-8")
    assert audit.main(["--metric", "taken.py:constant"]) == 2
    assert "already" in capsys.readouterr().err
    assert METRICS["fid"] is shipped
