"""Which code a model is made of, and that it is this code which is imported."""

import hashlib
import shutil
import sys
from pathlib import Path

import pytest

import benchmarks
from benchmarks.config.registry import hash_model, load_model
from benchmarks.config.source import find_user_modules, hash_user_code
from benchmarks.core.errors import BadInput
from benchmarks.execution.plan import model_version

OWN = Path(__file__).parents[1] / "own_models.py"
LAYERS = "WIDTH = {}\n"
MODEL = """
from own_models import Average
from layers import WIDTH

class Mine(Average):
    width = WIDTH

    def look(self):
        from layers import WIDTH
        return WIDTH
"""


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """What one test imports is not there for the next."""
    for name in ("layers", "lib", "lib.deep", "lib.deep.blocks", "lib.tools", "own_models"):
        monkeypatch.delitem(sys.modules, name, raising=False)


def write_model(folder: Path, width: int, text: str = MODEL) -> str:
    folder.mkdir(exist_ok=True)
    shutil.copy(OWN, folder)
    (folder / "layers.py").write_text(LAYERS.format(width))
    (folder / "mine.py").write_text(text)
    return f"{folder / 'mine.py'}:Mine"


def test_a_file_that_imports_nothing_of_its_own_keeps_its_key(tmp_path: Path) -> None:
    text = (
        "import os.path\nimport torch, yaml_that_nobody_has\nfrom models.base import ModelConfig\n"
    )
    (tmp_path / "mine.py").write_text(text)
    expected = hashlib.sha256(text.encode()).hexdigest()[:8]
    assert hash_user_code(str(tmp_path / "mine.py")) == expected
    assert model_version(f"{OWN}:Average", load_model(f"{OWN}:Average")) == (
        f"1@{hashlib.sha256(OWN.read_bytes()).hexdigest()[:8]}"
    )
    assert model_version("models.gan:GAN", load_model("gan")) == "1"


IMPORTS = {
    "import lib.deep.blocks": {"lib", "lib.deep", "lib.deep.blocks", "lib.tools"},
    "from lib.deep import blocks": {"lib", "lib.deep", "lib.deep.blocks", "lib.tools"},
    "def f():\n    from lib.tools import x": {"lib", "lib.tools"},
    "try:\n    import plain as p\nexcept ImportError:\n    pass": {"plain"},
    "from plain import *": {"plain"},
    "import broken": {"broken"},
    "import spaced.inner.far": {"spaced", "spaced.inner", "spaced.inner.far", "plain"},
    "import sys, numpy.linalg, torch.nn, benchmarks.config.suite, models.vae, metrics": set(),
}


@pytest.mark.parametrize("line", IMPORTS)
def test_a_key_covers_all_that_is_imported(line: str, tmp_path: Path) -> None:
    files = {
        "mine.py": line,
        "plain.py": "import mine",
        "broken.py": "def f(:",
        "models.py": "",
        "lib/__init__.py": "",
        "lib/deep/__init__.py": "",
        "lib/deep/blocks.py": "from ..tools import x",
        "lib/tools.py": "x = 1",
        "spaced/inner/far.py": "import plain",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    place, path = str(tmp_path / "mine.py"), list(sys.path)
    expected = {"", *IMPORTS[line]} | ({"mine"} if "plain" in IMPORTS[line] else set())
    found = find_user_modules(place)
    assert set(found) == expected
    before = hash_user_code(place)
    for source in found.values():
        if source.file:
            kept = Path(source.file).read_bytes()
            Path(source.file).write_bytes(kept + b"\n#")
            assert hash_user_code(place) != before
            Path(source.file).write_bytes(kept)
    assert hash_user_code(place) == before
    assert sys.path == path


def test_a_module_of_the_users_own_has_a_key_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path / "top")
    write_model(tmp_path / "top", 1)
    (tmp_path / "top/package").mkdir()
    shutil.copy(tmp_path / "top/mine.py", tmp_path / "top/package/mine.py")
    kind = load_model("package.mine:Mine")
    before = model_version("package.mine:Mine", kind)
    assert before == f"1@{hash_user_code('package.mine')}"
    assert load_model("package.mine:Mine") is kind
    (tmp_path / "top/layers.py").write_text(LAYERS.format(222))
    assert model_version("package.mine:Mine", kind) != before
    assert load_model("package.mine:Mine").width == 222


def test_a_files_neighbours_are_importable_while_it_is_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reference, path = write_model(tmp_path / "a", 1), list(sys.path)
    monkeypatch.chdir(tmp_path)
    assert load_model("a/mine.py:Mine").width == 1
    assert load_model(reference) is load_model("a/mine.py:Mine")
    assert sys.path == path
    assert not list(tmp_path.rglob("*.pyc"))
    (tmp_path / "a/layers.py").write_text("raise SystemExit")
    with pytest.raises(BadInput, match="SystemExit"):
        load_model(reference)
    assert sys.path == path


def test_a_change_of_the_same_size_within_a_second_is_seen(tmp_path: Path) -> None:
    for width in (1, 2, 1):
        reference = write_model(tmp_path / "a", width)
        assert load_model(reference).width == width


def test_neighbours_of_the_same_name_are_each_files_own(tmp_path: Path) -> None:
    one, two = (write_model(tmp_path / name, width) for name, width in (("a", 1), ("b", 2)))
    assert model_version(one, load_model(one)) != model_version(two, load_model(two))
    for reference, width in ((one, 1), (two, 2), (one, 1)):
        kind = load_model(reference)
        assert kind.width == width
        assert kind.look(kind) == width  # type: ignore[attr-defined]


def test_files_of_a_folder_share_their_neighbours(tmp_path: Path) -> None:
    one = write_model(tmp_path / "a", 77)
    (tmp_path / "a/other.py").write_text(f"{MODEL}# another file\n")
    bases = {load_model(r).__bases__ for r in (one, f"{tmp_path / 'a/other.py'}:Mine")}
    assert len(bases) == 1


@pytest.mark.parametrize(
    ("old", "new", "same"),
    [
        ('"""The encoder and', '"""The bodies and', True),
        ("def encoder(", "# A comment.\n\n\ndef encoder(", True),
        ("def encoder(", "def _unused():\n    return 1\n\n\ndef encoder(", False),
    ],
)
def test_what_a_shipped_model_does_has_a_hash(
    old: str, new: str, same: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = hash_model("vae")
    shutil.copytree(benchmarks.ROOT / "models", tmp_path / "models")
    monkeypatch.setattr(benchmarks, "ROOT", tmp_path)
    assert hash_model("vae") == before
    path = tmp_path / "models/networks/bodies.py"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    assert (hash_model("vae") == before) is same
    assert hash_model(f"{OWN}:Average") is None
