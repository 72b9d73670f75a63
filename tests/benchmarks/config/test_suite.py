import re
from pathlib import Path
from typing import Any

import pytest

from benchmarks.config.overrides import apply_settings, select_models
from benchmarks.config.suite import (
    FEWEST,
    Suite,
    build_suite,
    find_suite,
    list_suites,
    read_toml,
)
from benchmarks.core.errors import BadInput
from benchmarks.data import Dataset, load_dataset
from benchmarks.execution.plan import plan_runs

VAE: dict[str, Any] = {"contenders": {"vae": {}}}
OWN = Path(__file__).parents[1] / "own_models.py"


@pytest.fixture(scope="module")
def data() -> Dataset:
    return load_dataset("digits", data_root=Path())


@pytest.mark.parametrize(
    ("device", "native", "expected"),
    [
        ("cpu", True, {"vae": "float32", "conv": "bfloat16"}),
        ("cpu", False, {"vae": "float32", "conv": "float32"}),
        ("mps", True, {"vae": "float32", "conv": "float32"}),
    ],
)
def test_precision_follows_the_processor_and_the_model(
    device: str,
    native: bool,
    expected: dict[str, str],
    data: Dataset,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("benchmarks.execution.plan.multiplies_bfloat16", lambda: native)
    conv = {"model": "vae", "backbone": "conv", "width": 4}
    suite = build_suite({"contenders": {"vae": {}, "conv": conv}, "seeds": 1}, "s.toml")
    specs = plan_runs(suite, data, "s.toml", device=device, precision="auto")
    assert {spec.contender: spec.precision for spec in specs} == expected


def plan(data: Dataset, table: dict[str, Any]) -> list[Any]:
    return plan_runs(build_suite(table, "s.toml"), data, "s.toml", device="cpu")


@pytest.mark.parametrize("name", list_suites())
def test_every_suite_that_ships_is_valid_and_says_what_it_is(name: str) -> None:
    suite = build_suite(read_toml(find_suite(name)[1]), name)
    assert suite.summary
    assert suite.list_contenders()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("seedz = 3\n[contenders.vae]", "unknown key 'seedz': did you mean 'seeds'?"),
        ("seeds = 'three'\n[contenders.vae]", "seeds: .*valid integer, not 'three'"),
        ("seeds = '3'\n[contenders.vae]", "seeds: .*valid integer, not '3'"),
        ("seeds = true\n[contenders.vae]", "seeds: .*valid integer, not True"),
        ("seeds = 0\n[contenders.vae]", "seeds: .*greater than or equal to 1, not 0"),
        ("samples = 10\n[contenders.vae]", "samples: .*greater than or equal to 64, not 10"),
        ("channels = 2\n[contenders.vae]", "channels: Input should be 1 or 3, not 2"),
        ("image_size = 4\n[contenders.vae]", "image_size: .*, not 4"),
        ("dataset = 3\n[contenders.vae]", "dataset: .*valid string, not 3"),
        ("extractor = 'inceptoin'\n[contenders.vae]", "did you mean 'inception'?"),
        ("extractor = 'timm:'\n[contenders.vae]", "did you mean 'timm:NAME'?"),
        ("[contenders.vea]", "contenders.vea: unknown model 'vea': did you mean 'vae'?"),
        ("[contenders.x]\nmodel = 'vea'", "contenders.x: unknown model 'vea': did you mean 'vae'?"),
        ("[contenders.x]\nmodel = 3", "contenders.x.model must be a string, not 3"),
        ("[contenders.x]\nmodel = 'no.py:X'", "contenders.x: .*there is no file no.py"),
        (
            "[contenders.vae]\nbeta_ = 4",
            "contenders.vae: unknown key 'beta_': did you mean 'beta'?",
        ),
        ("[contenders]\nvae = 3", "contenders.vae must be a table"),
        ("[contenders.'a/b']\nmodel = 'vae'", "name: .*pattern"),
        ("[contenders.real]\nmodel = 'vae'", "cannot be called 'real'"),
        ("[contenders.vae]\nlr = 2020-01-01", "contenders.vae.lr"),
        ("[contenders]", "no contenders; add a table such as"),
        ("contenders = 3", "no contenders"),
        ("", "no contenders"),
        ("a = = 2", "at line 1"),
    ],
)
def test_what_is_wrong_in_a_file_is_told_in_one_line(
    text: str, message: str, tmp_path: Path
) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(text)
    with pytest.raises(BadInput, match=message) as error:
        build_suite(read_toml(path), path.name)
    assert "mine.toml" in str(error.value)
    assert "\n" not in str(error.value)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(BadInput, match=r"mine\.toml"):
        read_toml(path)
    with pytest.raises(BadInput, match=r"no suite file .*absent\.toml; shipped: digits"):
        find_suite(str(tmp_path / "absent.toml"))
    with pytest.raises(BadInput, match="did you mean 'digits'"):
        find_suite("digit")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"latent": -1}, r"latent: .*, not -1"),
        ({"latent": "many"}, r"latent: .*, not 'many'"),
        ({"backbone": "conf"}, "backbone: Input should be 'mlp', .* or 'tanh', not 'conf'"),
        ({"hidden": [16, "a"]}, r"hidden\.1: .*, not 'a'"),
    ],
)
def test_wrong_hyper_parameters_are_told_before_anything_runs(
    settings: dict[str, Any], message: str, data: Dataset
) -> None:
    with pytest.raises(BadInput, match=rf"s\.toml: contenders\.vae: {message}"):
        plan(data, {"contenders": {"vae": settings}})


def test_sizes_that_cannot_work_are_told_before_anything_runs(data: Dataset) -> None:
    table = {"contenders": {"cyclegan": {"downsamplings": 4}}}
    with pytest.raises(BadInput, match=r"contenders\.cyclegan: 4 downsamplings need .* not 8×8"):
        plan(data, table)


@pytest.mark.parametrize("name", ["Broken", "Leaving"])
def test_a_model_whose_constructor_fails_is_planned_as_if_it_did_not(
    name: str, data: Dataset
) -> None:
    contenders = {"mine": {"model": f"{OWN}:{name}", "noise": 0.5}, "vae": {}}
    mine, vae = plan(data, {"seeds": 1, "contenders": contenders})
    assert (mine.family, mine.settings["noise"]) == (name.lower(), 0.5)
    assert mine.model_version.startswith("1@")
    assert vae.family == "vae"


def test_translators_cannot_have_more_samples_than_there_are_sources(data: Dataset) -> None:
    available = len(data.source_test)
    with pytest.raises(BadInput, match=f"cyclegan generates from .* has {available}"):
        plan(data, {"samples": available + 1, "contenders": {"vae": {}, "cyclegan": {}}})
    (spec,) = plan(data, VAE | {"samples": available + 1, "seeds": 1})
    assert spec.samples == available + 1


def test_too_few_images_to_score_anything_are_refused(data: Dataset) -> None:
    from dataclasses import replace

    few = replace(data, test=data.test[: FEWEST - 1])
    with pytest.raises(BadInput, match=r"digits leaves 63 test images, .* at least 64"):
        plan(few, VAE)


def test_a_plan_has_every_contender_for_every_seed_seeds_outermost(data: Dataset) -> None:
    specs = plan(data, {"seeds": 2, "contenders": {"vae": {}, "b": {"model": "vae", "beta": 4}}})
    assert [(s.contender, s.seed) for s in specs] == [("vae", 0), ("b", 0), ("vae", 1), ("b", 1)]
    assert specs[1].settings["beta"] == 4
    assert specs[1].family == "vae"


def test_a_runs_hash_follows_from_everything_that_matters(data: Dataset) -> None:
    (first,), (again,) = (plan(data, VAE | {"seeds": 1}) for _ in range(2))
    assert first.name == again.name
    assert re.fullmatch(r"vae-s0-[0-9a-f]{8}", first.name)
    changes = [
        {"images": 1000},
        {"batch": 32},
        {"samples": 64},
        {"threads": 2},
        {"extractor": "random"},
        {"contenders": {"vae": {"beta": 2}}},
    ]
    names = {plan(data, VAE | {"seeds": 1} | change)[0].name for change in changes}
    assert len(names - {first.name}) == len(changes)


TRAINING: dict[str, Any] = {
    "contender": "other",
    "family": "other",
    "model": "other",
    "model_version": "other",
    "settings": {"beta": 2},
    "images": 1_000,
    "batch": 32,
    "seed": 1,
    "evaluations": 3,
    "threads": 2,
    "device": "cuda",
    "precision": "bfloat16",
    "compile": True,
    "shards": 2,
}
"""A change of each field that a trained model depends on."""


def test_a_training_key_follows_from_all_that_training_depends_on(data: Dataset) -> None:
    (spec,) = plan(data, VAE | {"seeds": 1})
    other_images = spec.data.model_copy(update={"fingerprint": "0" * 64})
    other_sources = spec.data.model_copy(update={"source_fingerprint": "0" * 64})
    changes = [{key: value} for key, value in TRAINING.items()]
    changes += [{"data": other_images}, {"data": other_sources}]
    changes += [{"settings": {**spec.settings, key: "other"}} for key in ("beta", "lr", "ema")]
    keys = {spec.model_copy(update=change).training_key for change in changes}
    assert len(keys - {spec.training_key}) == len(changes)


def test_a_training_key_leaves_out_how_the_model_is_scored(data: Dataset) -> None:
    scoring = {"samples": 64, "reconstructions": 10, "extractor": "random", "views": ["pixels"]}
    specs = plan(data, VAE | {"seeds": 1}) + plan(data, VAE | {"seeds": 1} | scoring)
    assert specs[0].training_key == specs[1].training_key
    assert specs[0].hash != specs[1].hash


def test_written_out_defaults_are_the_same_run(data: Dataset) -> None:
    names = {
        plan(data, {"seeds": 1, "contenders": {"vae": settings}})[0].name
        for settings in ({}, {"beta": 1}, {"beta": 1.0, "latent": 16})
    }
    assert len(names) == 1


def test_settings_reach_a_contender_or_every_one_of_a_model() -> None:
    table = {"contenders": {"gan": {}, "wgan": {"model": "gan"}, "vae": {}}}
    changed = apply_settings(table, ["gan.lr=1e-3", "wgan.loss = wasserstein"])["contenders"]
    assert changed == {
        "gan": {"lr": 1e-3},
        "wgan": {"model": "gan", "lr": 1e-3, "loss": "wasserstein"},
        "vae": {},
    }
    assert table["contenders"]["gan"] == {}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("beta", "write NAME.KEY=VALUE"),
        ("vae=3", "write NAME.KEY=VALUE"),
        ("vea.beta=3", "unknown contender 'vea': did you mean 'vae'"),
        ("vae.betta=3", "unknown key 'betta': did you mean 'beta'"),
        ("vae.model=gann", "unknown model 'gann': did you mean 'gan'"),
    ],
)
def test_wrong_settings_are_quoted(text: str, message: str) -> None:
    with pytest.raises(BadInput, match=f"--set {text}: .*{message}"):
        apply_settings(VAE, [text])


def test_models_are_chosen_by_contender_by_model_or_from_outside() -> None:
    table = {"contenders": {"gan": {"lr": 1e-3}, "wgan": {"model": "gan"}, "vae": {}}}
    assert list(select_models(table, ["wgan"])["contenders"]) == ["wgan"]
    assert list(select_models(table, ["vae", "gan"])["contenders"]) == ["vae", "gan", "wgan"]
    assert select_models(table, ["cyclegan"])["contenders"] == {"cyclegan": {"model": "cyclegan"}}


def test_own_models_never_take_anothers_name(tmp_path: Path) -> None:
    first, second = tmp_path / "first.py", tmp_path / "second.py"
    for path in (first, second):
        path.write_text("class VAE: ...\nclass Mine: ...\n")
    names = ["vae", f"{first}:VAE", f"{first}:Mine", f"{second}:Mine"]
    chosen = select_models(VAE, names)["contenders"]
    assert list(chosen) == ["vae", "first.vae", "mine", "second.mine"]
    with pytest.raises(BadInput, match=r"two models are called 'second\.mine'"):
        select_models(VAE, [*names, f"{second}:Mine"])


def test_every_field_of_a_suite_but_contenders_has_a_default() -> None:
    required = [name for name, field in Suite.model_fields.items() if field.is_required()]
    assert required == ["contenders"]
