"""Importing the user's own files and modules, again where one of them has changed."""

import importlib
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

from benchmarks.config.source import ModuleSource, find_user_modules, hash_sources, importable
from benchmarks.core.errors import FAILURES, BadInput, describe_error

_imported: dict[str | None, bytes] = {}
"""The content of the user's own modules when they were imported last, by file."""

_siblings: dict[str, dict[str, ModuleType]] = {}
"""The modules that each of the user's files has imported: those of two files may be namesakes."""


def import_place(place: str, subject: str) -> ModuleType:
    """Import a file or a module that the user names, or raise BadInput, which begins `subject`."""
    try:
        return import_user_code(place)
    except FAILURES as error:
        raise BadInput(f"{subject}: {describe_error(error)}") from error


def import_user_code(place: str) -> ModuleType:
    """Import `file.py` or `package.module`; once, unless a module that it is made of changes.

    A file's folder is importable while the file is imported. The modules that it imports from there
    stay in `sys.modules` until another file is imported, which may have modules of the same names.
    """
    own = find_user_modules(place)
    name = f"user_model_{hash_sources(own)}" if place.endswith(".py") else place
    if name == place or name not in sys.modules:
        forget(own)
        _imported.update((source.file, source.content) for source in own.values())
    if name == place:
        return importlib.import_module(place)
    if name not in sys.modules:
        with importable(place):
            execute(name, place)
        _siblings[name] = {other: sys.modules[other] for other in own if other in sys.modules}
    sys.modules.update(_siblings[name])
    return sys.modules[name]


def forget(own: dict[str, ModuleSource]) -> None:
    """Remove modules from `sys.modules` where it holds a namesake or an earlier version of one."""
    for name, source in own.items():
        earlier = _imported.get(source.file, source.content) != source.content
        if name in sys.modules and (
            earlier or getattr(sys.modules[name], "__file__", None) != source.file
        ):
            for each in own:
                sys.modules.pop(each, None)


def execute(name: str, file: str) -> None:
    """Import a file under a name."""
    spec = spec_from_file_location(name, Path(file).absolute())
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[name] = module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
