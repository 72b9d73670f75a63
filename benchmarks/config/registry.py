"""Models, metrics, extractors and faults by name, read from the source without importing torch.

They are found by their syntax in the files of their packages: a model is a class derived from
`GenerativeModel`, anything else a decorated function. A model is imported when it is needed.
"""

import ast
import importlib
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any, TypeGuard

from benchmarks import ROOT
from benchmarks.config.source import hash_program
from benchmarks.config.user_code import import_place
from benchmarks.core.errors import BadInput, unknown

if TYPE_CHECKING:
    from models.base import GenerativeModel

AUDITED = ("features", "logits", "both_logits", "training", "pairs")
"""Inputs of the metrics that are audited; other metrics score a model itself, or points."""

OWN_MODEL = "; a model of your own is path/to/file.py:ClassName or package.module:ClassName"


@dataclass(frozen=True)
class Entry:
    """A model, metric, extractor or fault: an `attribute` of a module.

    Attributes:
        summary: the first line of a model's docstring, or the decorator's `summary`.
        fields: the names of a model's hyper-parameters.
        sampling: those of them that concern sampling alone.
        about: the arguments of its decorator.
    """

    summary: str
    module: str
    attribute: str
    fields: tuple[str, ...] = ()
    sampling: tuple[str, ...] = ()
    version: int | None = None
    about: dict[str, Any] = field(default_factory=dict)


@cache
def list_models() -> dict[str, Entry]:
    """List the models that ship by their names, the class's name in lower case."""
    modules = {
        node.name: (module, node)
        for module, tree in parse_package("models")
        for node in tree.body
        if isinstance(node, ast.ClassDef)
    }
    classes = {name: node for name, (_, node) in modules.items()}
    return {
        name.lower(): read_model(name, module, classes)
        for name, (module, _) in sorted(modules.items(), key=lambda item: item[0].lower())
        if "GenerativeModel" in list_ancestors(name, classes)[1:]
    }


def read_model(name: str, module: str, classes: dict[str, ast.ClassDef]) -> Entry:
    """Read an entry from a model's class and its ancestors'."""
    lineage = [classes[each] for each in list_ancestors(name, classes) if each in classes]
    nested = [node for model in lineage for node in model.body if isinstance(node, ast.ClassDef)]
    configs = [node for node in nested if node.name == "Config"]
    fields: dict[str, str | None] = {}
    for config in (*configs, classes["ModelConfig"]):
        fields |= {n: m for n, m in list_fields(config).items() if n not in fields}
    return Entry(
        summary=(ast.get_docstring(classes[name]) or "").partition("\n")[0],
        module=module,
        attribute=name,
        fields=tuple(fields),
        sampling=tuple(name for name, maker in fields.items() if maker == "sampling"),
        version=next(filter(None, map(find_version, lineage)), None),
    )


@cache
def list_metrics() -> dict[str, Entry]:
    """List the metrics by their names."""
    return dict(sorted(list_decorated("metric", "metrics").items()))


@cache
def list_extractors() -> dict[str, Entry]:
    """List the feature extractors by their names."""
    return dict(sorted(list_decorated("extractor", "metrics.extractors").items()))


@cache
def list_faults() -> dict[str, Entry]:
    """List the faults of the audit by their names, in the order of their definitions."""
    return list_decorated("fault", "benchmarks.auditing")


def find_extractor_entry(name: str) -> Entry:
    """Return an extractor's entry, of `family:NAME` for all of a family, or raise BadInput."""
    family, _, member = name.partition(":")
    entry = list_extractors().get(f"{family}:NAME" if member else name)
    if entry is None:
        raise BadInput(unknown("extractor", name, list_extractors()))
    return entry


def is_reference(reference: str) -> bool:
    """Return whether a name is `file.py:function` or `module:function`, none of a registry."""
    place, colon, name = reference.rpartition(":")
    return bool(colon) and name.isidentifier() and (place.endswith(".py") or "." in place)


def list_decorated(decorator: str, package: str) -> dict[str, Entry]:
    """List a package's functions under a decorator with literal `name` and `summary`."""
    found = {}
    for module, tree in parse_package(package):
        for node in tree.body:
            for call in getattr(node, "decorator_list", ()):
                if isinstance(call, ast.Call) and getattr(call.func, "id", None) == decorator:
                    about = {str(k.arg): ast.literal_eval(k.value) for k in call.keywords}
                    entry = Entry(about["summary"], module, node.name, about=about)  # type: ignore[attr-defined]
                    found[about["name"]] = entry
    return found


def parse_package(package: str) -> Iterator[tuple[str, ast.Module]]:
    """Parse every file of a package."""
    for path in sorted(ROOT.joinpath(*package.split(".")).glob("*.py")):
        yield f"{package}.{path.stem}", ast.parse(path.read_text(encoding="utf-8"))


def list_ancestors(name: str, classes: dict[str, ast.ClassDef]) -> list[str]:
    """List a class and its ancestors by name, nearest first, as far as `classes` has them."""
    bases = classes[name].bases if name in classes else []
    parents = [base.id for base in bases if isinstance(base, ast.Name)]
    return [name, *(each for parent in parents for each in list_ancestors(parent, classes))]


def list_fields(config: ast.ClassDef) -> dict[str, str | None]:
    """List the names that a class annotates, each with the function that makes its default."""
    return {
        line.target.id: getattr(getattr(line.value, "func", None), "id", None)
        for line in config.body
        if isinstance(line, ast.AnnAssign) and isinstance(line.target, ast.Name)
    }


def find_version(model: ast.ClassDef) -> int | None:
    """Return the `version` that a model's class sets, None where it sets none."""
    for line in model.body:
        targets = line.targets if isinstance(line, ast.Assign) else [getattr(line, "target", None)]
        if [getattr(target, "id", None) for target in targets] == ["version"]:
            return int(ast.literal_eval(line.value))  # type: ignore[attr-defined]
    return None


def check_model(reference: str) -> None:
    """Refuse what names no model, or no file with one, without importing it."""
    place, colon, _ = reference.rpartition(":")
    if not colon and reference not in list_models():
        raise BadInput(unknown("model", reference, list_models()) + OWN_MODEL)
    if place.endswith(".py") and not os.path.isfile(place):  # noqa: PTH113 - is_file may raise
        raise BadInput(f"model {reference!r}: there is no file {place}")


def load_model(reference: str) -> "type[GenerativeModel]":
    """Import the class that a model's name, `file.py:ClassName` or `module:ClassName` stands for.

    Raises:
        BadInput: there is no such class, importing it fails, or it is no GenerativeModel.
    """
    check_model(reference)
    if ":" not in reference:
        entry = list_models()[reference]
        return getattr(importlib.import_module(entry.module), entry.attribute)
    place, _, name = reference.rpartition(":")
    module = import_place(place, f"model {reference!r}")
    found = getattr(module, name, None)
    if is_model(found):
        return found
    models = {n: value for n, value in vars(module).items() if is_model(value)}
    choices = [n for n, value in models.items() if value.__module__ == module.__name__]
    if found is not None or not choices:
        raise BadInput(f"model {reference!r}: {place} has no GenerativeModel called {name!r}")
    raise BadInput(f"model {reference!r}: {unknown('class', name, choices)}")


def is_model(value: Any) -> "TypeGuard[type[GenerativeModel]]":
    """Return whether a value is a model's class."""
    from models.base import GenerativeModel

    return isinstance(value, type) and issubclass(value, GenerativeModel)


SAME_CODE = {
    "f7bdb476": "a5ff6f18",
    "c0eaaae5": "73358ba2",
    "86d1a7bf": "097cfade",
    "3d94bb82": "673e37ef",
    "ace896c7": "a5ff6f18",
    "9edf2cae": "73358ba2",
    "34d25c3b": "097cfade",
    "03e9ee88": "673e37ef",
}
"""Hashes of models' code in earlier files, and those of code now that trains the same models.

Up to rounding, where convolutions beside images are computed in another form.
"""


def hash_model(reference: str) -> str | None:
    """Hash the code of a model that ships, its modules of `models`; None for any other."""
    entry = list_models().get(reference)
    return hash_program(entry.module) if entry else None
