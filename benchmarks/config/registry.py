"""What there is to choose from, read from the source so that no answer waits for torch.

Models, metrics and extractors are found by their syntax in the files of their packages: a model is
a class derived from another model, a metric or an extractor a decorated function. What a name
stands for is imported when it is needed.
"""

import ast
import importlib
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from types import ModuleType
from typing import TYPE_CHECKING, Any

from benchmarks import ROOT
from benchmarks.config.user_code import hash_program, import_own
from benchmarks.core.errors import BadInput, unknown

if TYPE_CHECKING:
    from models.base import GenerativeModel

AUDITED = ("features", "logits", "both_logits", "training", "pairs")
"""Inputs of the metrics that are audited; the others judge a model itself, or points."""


@dataclass(frozen=True)
class Entry:
    """A thing that can be named: one line about it and where its code is.

    Attributes:
        summary: the first line of its docstring, or what its decorator says.
        module: the module that defines it.
        attribute: its name in that module.
        fields: for a model, the names of its hyper-parameters.
        sampling: those of them that concern sampling alone.
        version: of a model, as its class has it.
        about: for a metric or an extractor, what its decorator says.
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
    classes = {
        node.name: (module, node)
        for module, tree in parse("models")
        for node in tree.body
        if isinstance(node, ast.ClassDef)
    }
    found = {}
    for name, (module, node) in classes.items():
        ancestors = lineage(name, {n: c for n, (_, c) in classes.items()})
        if "GenerativeModel" in ancestors[1:]:
            lines = [f for a in ancestors if a in classes for f in config_fields(classes[a][1])]
            lines += annotated(classes["ModelConfig"][1])
            fields = tuple(dict.fromkeys(name for name, _ in lines))
            sampling = tuple(dict.fromkeys(name for name, call in lines if call == "sampling"))
            summary = (ast.get_docstring(node) or "").partition("\n")[0]
            versions = (find_version(classes[a][1]) for a in ancestors if a in classes)
            version = next(filter(None, versions), None)
            found[name.lower()] = Entry(summary, module, name, fields, sampling, version)
    return dict(sorted(found.items()))


@cache
def list_metrics() -> dict[str, Entry]:
    """List the metrics by their names."""
    return dict(sorted(decorated("metric", "metrics").items()))


@cache
def list_extractors() -> dict[str, Entry]:
    """List the feature extractors by their names."""
    return dict(sorted(decorated("extractor", "metrics.extractors").items()))


@cache
def list_faults() -> dict[str, Entry]:
    """List the faults of the audit by their names, in the order in which they are laid on."""
    return decorated("fault", "benchmarks.auditing")


def find_extractor_entry(name: str) -> Entry:
    """Find an extractor by its name; `family:NAME` in the list stands for all of a family.

    Raises:
        BadInput: there is none.
    """
    family, _, member = name.partition(":")
    entry = list_extractors().get(f"{family}:NAME" if member else name)
    if entry is None:
        raise BadInput(unknown("extractor", name, list_extractors()))
    return entry


def is_reference(reference: str) -> bool:
    """Tell whether a name is `file.py:function` or `module:function`, not one of a registry."""
    place, colon, name = reference.rpartition(":")
    return bool(colon) and name.isidentifier() and (place.endswith(".py") or "." in place)


def decorated(decorator: str, package: str) -> dict[str, Entry]:
    """List a package's functions under a decorator with literal `name` and `summary`."""
    found = {}
    for module, tree in parse(package):
        for node in tree.body:
            for call in getattr(node, "decorator_list", ()):
                if isinstance(call, ast.Call) and getattr(call.func, "id", None) == decorator:
                    about = {str(k.arg): ast.literal_eval(k.value) for k in call.keywords}
                    entry = Entry(about["summary"], module, node.name, about=about)  # type: ignore[attr-defined]
                    found[about["name"]] = entry
    return found


def parse(package: str) -> Iterator[tuple[str, ast.Module]]:
    """Parse every file of a package."""
    for path in sorted(ROOT.joinpath(*package.split(".")).glob("*.py")):
        yield f"{package}.{path.stem}", ast.parse(path.read_text(encoding="utf-8"))


def lineage(name: str, classes: dict[str, ast.ClassDef]) -> list[str]:
    """List a class and its ancestors by name, nearest first, as far as `classes` tells."""
    if name not in classes:
        return [name]
    parents = [base.id for base in classes[name].bases if isinstance(base, ast.Name)]
    return [name, *(ancestor for parent in parents for ancestor in lineage(parent, classes))]


def config_fields(model: ast.ClassDef) -> list[tuple[str, str | None]]:
    """List the fields of the `Config` nested in a model's class, as `annotated`."""
    nested = [n for n in model.body if isinstance(n, ast.ClassDef) and n.name == "Config"]
    return [field for config in nested for field in annotated(config)]


def annotated(node: ast.ClassDef) -> list[tuple[str, str | None]]:
    """List the names that a class annotates, each with the function that makes its default."""
    return [
        (line.target.id, getattr(getattr(line.value, "func", None), "id", None))
        for line in node.body
        if isinstance(line, ast.AnnAssign) and isinstance(line.target, ast.Name)
    ]


def find_version(model: ast.ClassDef) -> int | None:
    """Return the `version` that a model's class sets, None where it sets none."""
    for line in model.body:
        targets = line.targets if isinstance(line, ast.Assign) else [getattr(line, "target", None)]
        if [getattr(target, "id", None) for target in targets] == ["version"]:
            return int(ast.literal_eval(line.value))  # type: ignore[attr-defined]
    return None


def check_model(reference: str) -> None:
    """Check without importing it that `reference` names a model, or a class in a file or module.

    Raises:
        BadInput: it names none.
    """
    if ":" not in reference:
        if reference not in list_models():
            hint = "; a model of your own is path/to/file.py:ClassName or package.module:ClassName"
            raise BadInput(unknown("model", reference, list_models()) + hint)
        return
    place = reference.rpartition(":")[0]
    if place.endswith(".py") and not os.path.isfile(place):  # noqa: PTH113 - is_file may raise
        raise BadInput(f"model {reference!r}: there is no file {place}")


def load_model(reference: str) -> "type[GenerativeModel]":
    """Import the class that a model's name, `file.py:ClassName` or `module:ClassName` stands for.

    Raises:
        BadInput: there is no such class, importing it fails, or it is no GenerativeModel.
    """
    from models.base import GenerativeModel

    check_model(reference)
    if ":" not in reference:
        entry = list_models()[reference]
        return getattr(importlib.import_module(entry.module), entry.attribute)
    place, _, name = reference.rpartition(":")
    found = getattr(import_place(place, f"model {reference!r}"), name, None)
    if isinstance(found, type) and issubclass(found, GenerativeModel):
        return found
    module = import_place(place, f"model {reference!r}")
    choices = [n for n, v in vars(module).items() if is_own_model(v, module)]
    if found is not None or not choices:
        raise BadInput(f"model {reference!r}: {place} has no GenerativeModel called {name!r}")
    raise BadInput(f"model {reference!r}: {unknown('class', name, choices)}")


def hash_model(reference: str) -> str | None:
    """Hash the code of a model that ships, its modules of `models`; None for any other."""
    entry = list_models().get(reference)
    return hash_program(entry.module) if entry else None


def is_own_model(value: Any, module: ModuleType) -> bool:
    """Tell whether `value` is a model's class that `module` itself defines."""
    from models.base import GenerativeModel

    return (
        isinstance(value, type)
        and issubclass(value, GenerativeModel)
        and value.__module__ == module.__name__
    )


def import_place(place: str, subject: str) -> ModuleType:
    """Import a file or a module that the user names; whatever goes wrong in it is the input's.

    Raises:
        BadInput: beginning with `subject`, which says what it was wanted for.
    """
    try:
        return import_own(place)
    except (Exception, SystemExit) as error:
        reason = " ".join(str(error).split()) or "no message"
        raise BadInput(f"{subject}: {type(error).__name__}: {reason}") from error
