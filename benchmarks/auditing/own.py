"""Metrics and extractors of the user's own, named by `file.py:function` or `module:function`."""

from collections.abc import Callable
from typing import Any

from benchmarks.config.registry import AUDITED
from benchmarks.config.user_code import import_place
from benchmarks.core.errors import BadInput, unknown
from metrics import EXTRACTORS, METRICS


def enter_metric(reference: str) -> list[str]:
    """Import a metric of the user's and enter it in `METRICS`.

    Returns:
        Its names; several where the function returns several metrics.

    Raises:
        BadInput: there is no such function, it is not decorated, has the name of another metric, or
            takes what no set of images has.
    """
    hint = "@metric from metrics, which says what it takes and which direction is better"
    found = enter(reference, "metric", METRICS, "function", hint)
    for name in found:
        if METRICS[name].metadata.inputs not in AUDITED:
            raise BadInput(
                f"--metric {reference}: takes {METRICS[name].metadata.inputs}, and metrics of "
                f"{', '.join(AUDITED)} are audited"
            )
    return found


def enter_extractor(reference: str) -> str:
    """Import an extractor of the user's, enter it in `EXTRACTORS`, and return its name.

    Raises:
        BadInput: there is no such function, it is not decorated, or has the name of another one.
    """
    hint = "@extractor from metrics, which gives it a name; it takes a Material and returns an "
    return enter(reference, "extractor", EXTRACTORS, "build", f"{hint}Extractor")[0]


def enter(
    reference: str, kind: str, registry: dict[str, Any], attribute: str, hint: str
) -> list[str]:
    """Import a decorated function, which enters itself in a registry, and return its names there.

    Args:
        reference: `file.py:function` or `module:function`.
        kind: what the option is called.
        registry: where the decorator enters functions.
        attribute: of an entry, that holds the function.
        hint: the decorator, and what it takes.

    Raises:
        BadInput: there is no such function, it is not decorated, or takes another one's name.
    """
    known = dict(registry)
    function = find_function(reference, f"--{kind}")
    found = [name for name, entry in registry.items() if getattr(entry, attribute) is function]
    taken = [name for name in found if name in known and known[name] is not registry[name]]
    registry.update(known)
    if taken:
        article = "an" if kind == "extractor" else "a"
        raise BadInput(
            f"--{kind} {reference}: there is {article} {kind} {taken[0]!r} already; rename it"
        )
    if not found:
        raise BadInput(f"--{kind} {reference}: decorate it with {hint}")
    return found


def find_function(reference: str, option: str) -> Callable[..., Any]:
    """Import the function that `file.py:function` or `module:function` names.

    Raises:
        BadInput: there is none.
    """
    place, colon, name = reference.rpartition(":")
    if not colon:
        raise BadInput(f"{option} {reference}: name a function of a file, as in file.py:function")
    module = vars(import_place(place, f"{option} {reference}"))
    functions = {
        key: value
        for key, value in module.items()
        if callable(value) and getattr(value, "__module__", None) == module["__name__"]
    }
    if not functions:
        raise BadInput(f"{option} {reference}: {place} defines no function")
    if name not in functions:
        raise BadInput(f"{option} {reference}: {unknown('function', name, functions)}")
    return functions[name]
