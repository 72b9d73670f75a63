from pathlib import Path

import pytest

from benchmarks.config import registry
from benchmarks.config.registry import (
    check_model,
    find_extractor_entry,
    list_extractors,
    list_metrics,
    list_models,
    load_model,
)
from benchmarks.core.errors import BadInput
from metrics import EXTRACTORS, METRICS

OWN = Path(__file__).parents[1] / "own_models.py"


@pytest.mark.parametrize("name", list_models())
def test_what_the_source_says_of_a_model_is_what_python_says(name: str) -> None:
    kind, entry = load_model(name), list_models()[name]
    assert kind.__name__.lower() == name
    assert set(entry.fields) == set(kind.Config.model_fields)
    assert entry.summary
    assert (kind.__doc__ or "").startswith(entry.summary)


def test_metrics_and_extractors_are_those_that_are_registered() -> None:
    assert set(list_metrics()) == set(METRICS)
    assert set(list_extractors()) == set(EXTRACTORS)
    for name, entry in list_extractors().items():
        assert entry.summary == EXTRACTORS[name].summary
        assert entry.about.get("weights", False) == EXTRACTORS[name].weights


@pytest.mark.parametrize(
    ("name", "listed"),
    [("pixels", "pixels"), ("timm:test_vit", "timm:NAME"), ("timm:NAME", "timm:NAME")],
)
def test_an_extractor_is_found_by_its_name_or_family(name: str, listed: str) -> None:
    assert find_extractor_entry(name) is list_extractors()[listed]


@pytest.mark.parametrize("name", ["", "timm", "timm:", "pixels:", "pixels:x", ":x"])
def test_an_unknown_extractor_is_told(name: str) -> None:
    with pytest.raises(BadInput, match=rf"unknown extractor '{name}'.*timm:NAME"):
        find_extractor_entry(name)


def test_a_new_file_is_found_by_its_syntax(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "game.py").write_text(
        "class ModelConfig:\n    ema: float\nclass GenerativeModel: ...\n"
    )
    (tmp_path / "models" / "flow.py").write_text(
        "class Base(GenerativeModel):\n"
        '    "A base."\n'
        "    class Config(ModelConfig):\n        depth: int\n"
        "class Flow(Base):\n"
        '    """A flow.\n\n    More."""\n'
        "    class Config(Base.Config):\n        width: int\n"
        "class Helper: ...\n"
    )
    monkeypatch.setattr(registry, "ROOT", tmp_path)
    list_models.cache_clear()
    try:
        found = list_models()
        assert set(found) == {"base", "flow"}
        assert found["flow"].summary == "A flow."
        assert found["flow"].fields == ("width", "depth", "ema")
    finally:
        list_models.cache_clear()


def test_a_class_of_the_users_own_comes_from_a_file_or_a_module() -> None:
    kind = load_model(f"{OWN}:Average")
    assert kind.__name__ == "Average"
    assert load_model(f"{OWN}:Average") is kind
    assert load_model("models.vae:VAE").__name__ == "VAE"


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("gna", "unknown model 'gna': did you mean 'gan'"),
        ("absent.py:X", "there is no file absent.py"),
        (f"{OWN}:Averag", "unknown class 'Averag': .*Average"),
        (f"{OWN}:NoModel", "has no GenerativeModel called 'NoModel'"),
        (f"{OWN}:", "unknown class ''"),
        ("no.such.module:X", "ModuleNotFoundError: No module named 'no'"),
        (":X", "ValueError: Empty module name"),
    ],
)
def test_references_to_no_model_are_told_in_one_line(reference: str, message: str) -> None:
    with pytest.raises(BadInput, match=message) as error:
        load_model(reference)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("import torhc", "ModuleNotFoundError: No module named 'torhc'"),
        ("def x(:", "SyntaxError"),
        ("raise SystemExit", "SystemExit"),
    ],
)
def test_files_that_cannot_be_imported_are_the_users_error(
    text: str, message: str, tmp_path: Path
) -> None:
    path = tmp_path / "mine.py"
    path.write_text(text)
    check_model(f"{path}:Mine")
    with pytest.raises(BadInput, match=message):
        load_model(f"{path}:Mine")
