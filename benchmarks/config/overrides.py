"""Changes that options of the command line make to a suite's table."""

import tomllib
from typing import Any, get_args

from benchmarks.config import registry
from benchmarks.config.suite import check_contender
from benchmarks.core.errors import BadInput, unknown


def apply_settings(table: dict[str, Any], assignments: list[str]) -> dict[str, Any]:
    """Apply `--set NAME.KEY=VALUE`, NAME a contender or a model, to a suite's table.

    Raises:
        BadInput: an assignment is malformed or names no contender.
    """
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
    """Set the network body of every contender whose model has it.

    Returns:
        The suite's table, and the contenders that keep their own.

    Raises:
        BadInput: no model has it.
    """
    models = {name: settings.get("model", name) for name, settings in table["contenders"].items()}
    bodies = {name: list_bodies(model) for name, model in models.items()}
    chosen = [name for name, known in bodies.items() if backbone in known]
    if not chosen:
        known = {body for found in bodies.values() for body in found}
        why = unknown("network body", backbone, known) if known else "no contender has any"
        raise BadInput(f"--backbone: {why}")
    table = apply_settings(table, [f'{name}.backbone="{backbone}"' for name in chosen])
    return table, [name for name in bodies if name not in chosen]


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
