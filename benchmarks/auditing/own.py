"""Metrics and extractors of the user's own, named by `file.py:function` or `module:function`."""

from collections.abc import Callable, Mapping
from typing import Any

from benchmarks.config.registry import AUDITED, import_place
from benchmarks.core.errors import BadInput, unknown
from metrics import EXTRACTORS, METRICS


def enter_metric(reference: str) -> list[str]:
    """Import a metric of the user's and enter it in `METRICS`; several where it gives several.

    Returns:
        Their names.

    Raises:
        BadInput: there is no such function, it says nothing about itself, is called as another one
            is, or takes what no set of images has.
    """
    known = dict(METRICS)
    function = find_function(reference, "--metric")
    found = [name for name, metric in METRICS.items() if metric.function is function]
    taken = [name for name in found if name in known and known[name] is not METRICS[name]]
    METRICS.update(known)
    if taken:
        raise BadInput(f"--metric {reference}: there is a metric {taken[0]!r} already; rename it")
    if not found:
        raise BadInput(
            f"--metric {reference}: decorate it with @metric from metrics, which says what "
            "it takes and which direction is better"
        )
    for name in found:
        if METRICS[name].metadata.inputs not in AUDITED:
            raise BadInput(
                f"--metric {reference}: takes {METRICS[name].metadata.inputs}, and metrics of "
                f"{', '.join(AUDITED)} are audited"
            )
    return found


def enter_extractor(reference: str) -> str:
    """Import an extractor of the user's, enter it in `EXTRACTORS`, and give its name.

    Raises:
        BadInput: there is no such function, it says nothing about itself, or is called as another
            one is.
    """
    known = dict(EXTRACTORS)
    function = find_function(reference, "--extractor")
    found = [name for name, entry in EXTRACTORS.items() if entry.build is function]
    taken = [name for name in found if name in known and known[name] is not EXTRACTORS[name]]
    EXTRACTORS.update(known)
    if taken:
        raise BadInput(
            f"--extractor {reference}: there is an extractor {taken[0]!r} already; rename it"
        )
    if not found:
        raise BadInput(
            f"--extractor {reference}: decorate it with @extractor from metrics, which "
            "gives it a name; it takes a Material and returns an Extractor"
        )
    return found[0]


def find_function(reference: str, option: str) -> Callable[..., Any]:
    """Import what `file.py:function` or `module:function` names.

    Raises:
        BadInput: there is none.
    """
    place, colon, name = reference.rpartition(":")
    if not colon:
        raise BadInput(f"{option} {reference}: name a function of a file, as in file.py:function")
    functions = list_functions(vars(import_place(place, f"{option} {reference}")))
    if not functions:
        raise BadInput(f"{option} {reference}: {place} defines no function")
    if name not in functions:
        raise BadInput(f"{option} {reference}: {unknown('function', name, functions)}")
    return functions[name]


def list_functions(module: Mapping[str, Any]) -> dict[str, Callable[..., Any]]:
    """List the functions that a module itself defines."""
    return {
        name: value
        for name, value in module.items()
        if callable(value) and getattr(value, "__module__", None) == module["__name__"]
    }
