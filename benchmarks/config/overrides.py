"""Changes that options of the command line make to a suite's table."""

import shlex
import tomllib
from collections.abc import Iterable
from typing import Any, get_args

from benchmarks.config import registry
from benchmarks.config.suite import RESERVED, check_contender
from benchmarks.core.errors import BadInput, unknown


def apply_settings(table: dict[str, Any], assignments: list[str]) -> dict[str, Any]:
    """Apply `--set NAME.KEY=VALUE`, NAME a contender or a model, to a table, or raise BadInput."""
    contenders = {name: dict(settings) for name, settings in table["contenders"].items()}
    for text in assignments:
        target, equals, value = text.partition("=")
        name, dot, key = target.strip().rpartition(".")
        if not equals or not dot or not key:
            raise BadInput(f"--set {text}: write NAME.KEY=VALUE, e.g. --set vae.beta=4")
        chosen = [n for n, s in contenders.items() if name in {n, s.get("model", n)}]
        if not chosen:
            raise BadInput(f"--set {text}: {unknown('contender', name, contenders)}")
        for one in chosen:
            samplers = contenders[one].get("samplers")
            if isinstance(samplers, dict) and any(key in s for s in samplers.values()):
                raise BadInput(f"--set {text}: the samplers of {one} set {key}, each its own")
            contenders[one][key] = parse_value(value)
            check_contender(one, contenders[one], f"--set {text}")
    return {**table, "contenders": contenders}


def set_backbone(table: dict[str, Any], backbone: str) -> tuple[dict[str, Any], list[str]]:
    """Set the network body of every contender whose model has it; refuse one that no model has.

    Returns the suite's table, and the contenders that keep their own.
    """
    bodies = {name: list_bodies(model) for name, model in list_chosen_models(table).items()}
    chosen = [name for name, known in bodies.items() if backbone in known]
    if not chosen:
        known = {body for found in bodies.values() for body in found}
        why = unknown("network body", backbone, known) if known else "no contender has any"
        raise BadInput(f"--backbone: {why}")
    table = apply_settings(table, [f'{name}.backbone="{backbone}"' for name in chosen])
    return table, [name for name in bodies if name not in chosen]


def list_chosen_models(table: dict[str, Any]) -> dict[str, str]:
    """List the model of each contender in a suite's table."""
    return {name: settings.get("model", name) for name, settings in table["contenders"].items()}


def list_bodies(model: str) -> tuple[str, ...]:
    """List the values of a model's hyper-parameter `backbone`; none where it has no such one."""
    field = registry.load_model(model).Config.model_fields.get("backbone")
    return get_args(field.annotation) if field else ()


def parse_value(text: str) -> Any:
    """Read a value as TOML, or as the plain string that it is."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except (ValueError, RecursionError):
        return text.strip()


def check_code(table: dict[str, Any], named: Iterable[str], place: str) -> None:
    """Refuse to execute what the suite's file at `place` alone names: it may come from anybody.

    Of the models that are code, the user must have `named` each.
    """
    models = list_chosen_models(table)
    for name, model in models.items():
        if ":" in model and model not in named:
            chosen = ",".join(m if ":" in m else n for n, m in models.items())
            raise BadInput(
                f"{place}: contenders.{name} executes {model}; if you trust that code, name it "
                f"yourself by --models {shlex.quote(chosen)}"
            )


def select_models(table: dict[str, Any], names: list[str]) -> dict[str, Any]:
    """Keep the contenders of these names; a model the suite lacks enters with its defaults.

    Raises BadInput where a name is neither a contender nor a model.
    """
    chosen: dict[str, Any] = {}
    for name in names:
        matching = {n: s for n, s in table["contenders"].items() if name in {n, s.get("model", n)}}
        if matching:
            chosen.update(matching)
            continue
        if ":" not in name and name not in registry.list_models():
            choices = {*table["contenders"], *registry.list_models()}
            raise BadInput(f"--models: {unknown('model', name, choices)}{registry.OWN_MODEL}")
        registry.check_model(name)
        chosen[name_contender(name, chosen)] = {"model": name}
    return {**table, "contenders": chosen}


def name_contender(model: str, taken: Iterable[str]) -> str:
    """Call a model that enters by itself after its class, and its file where that name is taken."""
    place, _, kind = model.rpartition(":")
    short = kind.lower()
    long = f"{place.removesuffix('.py').replace('/', '.').rpartition('.')[2]}.{short}"
    taken = {*taken, *RESERVED, *registry.list_models()} - {model}
    free = [name for name in (short, long) if name not in taken]
    if not free:
        raise BadInput(f"--models: two models are called {long!r}; rename a class or a file")
    return free[0]
