"""The modules that a file or a package is made of, found in its source, and their hash.

Imports are read from the source, so that a run's spec covers them whether or not they have been
imported yet. A module is the user's own if it is neither installed nor part of this program.
"""

import ast
import hashlib
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.machinery import SOURCE_SUFFIXES, FileFinder, ModuleSpec, SourceFileLoader
from importlib.util import resolve_name, spec_from_file_location
from pathlib import Path

from benchmarks import PACKAGES

STDLIB = Path(os.__file__).parent
INSTALLED = frozenset(("site-packages", "dist-packages"))


@dataclass(frozen=True)
class ModuleSource:
    """A module and its source, which is empty for a folder without `__init__.py`."""

    spec: ModuleSpec
    content: bytes

    @property
    def file(self) -> str | None:
        """The module's file."""
        return self.spec.origin if self.spec.has_location else None


def find_user_modules(place: str) -> dict[str, ModuleSource]:
    """Find the user's own modules that `file.py`, itself called "", or `package.module` needs."""
    found: dict[str, ModuleSource | None] = {}
    if place.endswith(".py"):
        with importable(place):
            file = spec_from_file_location("", Path(place).absolute())
            assert file is not None
            read_module(file, is_user_module, found)
    elif place:
        trace_imports(place, is_user_module, found)
    return {name: source for name, source in found.items() if source}


def hash_user_code(place: str) -> str:
    """Return the first 8 hex digits of the SHA-256 of a place's own modules; "" without any."""
    return hash_sources(find_user_modules(place))


def hash_sources(sources: dict[str, ModuleSource]) -> str:
    """Hash modules with their names; a file alone has the hash of its bytes."""
    files = sorted((name, source.content) for name, source in sources.items() if source.file)
    content = b"\0".join(name.encode() + content for name, content in files)
    return hashlib.sha256(content).hexdigest()[:8] if files else ""


def hash_program(module: str) -> str:
    """Hash a module and those that it imports from its package, to 8 hex digits.

    Comments, docstrings and layout do not count, nor does Python's version.
    """
    package = module.partition(".")[0]
    found: dict[str, ModuleSource | None] = {}
    trace_imports(module, lambda spec: spec.name.partition(".")[0] == package, found)
    trees = [(name, normalize(ast.parse(s.content))) for name, s in sorted(found.items()) if s]
    return hashlib.sha256(repr(trees).encode()).hexdigest()[:8]


def normalize(node: object) -> object:
    """Return a syntax tree as nested tuples, without strings that stand alone as docstrings do.

    Fields without a value are left out, since later versions of Python have more of them.
    """
    if isinstance(node, list):
        return tuple(normalize(item) for item in node if not is_docstring(item))
    if isinstance(node, ast.AST):
        fields = ((name, normalize(value)) for name, value in ast.iter_fields(node))
        return type(node).__name__, *(field for field in fields if field[1] not in (None, ()))
    return repr(node) if node is not None else None


def is_docstring(node: object) -> bool:
    """Return whether a statement is a string alone."""
    value = node.value if isinstance(node, ast.Expr) else None
    return isinstance(value, ast.Constant) and isinstance(value.value, str)


def trace_imports(
    name: str, wanted: Callable[[ModuleSpec], bool], found: dict[str, ModuleSource | None]
) -> None:
    """Find a module, the packages that it is in and all that they import, if `wanted`.

    They are added to `found`, where None stands for a name that is not wanted or no module.
    """
    package = name.rpartition(".")[0]
    if package:
        trace_imports(package, wanted, found)
    if name in found:
        return
    parent = found.get(package)
    spec = find_module(name, parent.spec if parent else None)
    if spec and wanted(spec):
        read_module(spec, wanted, found)
    else:
        found[name] = None


def read_module(
    spec: ModuleSpec, wanted: Callable[[ModuleSpec], bool], found: dict[str, ModuleSource | None]
) -> None:
    """Read a module's source and trace what it imports."""
    file = spec.origin if spec.has_location else None
    content = Path(file).read_bytes() if file else b""
    found[spec.name] = ModuleSource(spec, content)
    for name in list_imports(content, spec.parent or "") if str(file).endswith(".py") else ():
        trace_imports(name, wanted, found)


def find_module(name: str, package: ModuleSpec | None) -> ModuleSpec | None:
    """Find a module without importing the package that it is in."""
    if "." not in name:
        specs = (finder.find_spec(name, None) for finder in sys.meta_path)
        return next(filter(None, specs), None)
    places = (package and package.submodule_search_locations) or ()
    finders = (FileFinder(place, (SourceFileLoader, SOURCE_SUFFIXES)) for place in places)
    return next(filter(None, (finder.find_spec(name) for finder in finders)), None)


def is_user_module(spec: ModuleSpec) -> bool:
    """Return whether a module is the user's own."""
    files = [spec.origin] if spec.has_location else spec.submodule_search_locations or []
    places = [Path(file) for file in files if file]
    return spec.name.partition(".")[0] not in PACKAGES and any(
        not (INSTALLED & set(place.parts) or place.is_relative_to(STDLIB)) for place in places
    )


def list_imports(content: bytes, package: str) -> Iterator[str]:
    """List the full names that a source imports, of modules or of what is in them."""
    try:
        nodes = list(ast.walk(ast.parse(content)))
    except (SyntaxError, ValueError):  # importing it says so, if that ever happens
        return
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and (package or not node.level):
            base = resolve_name("." * node.level + (node.module or ""), package)
            yield from (f"{base}.{alias.name}" for alias in node.names)


@contextmanager
def importable(file: str) -> Iterator[None]:
    """Make the modules beside a file importable, as where Python runs it.

    No bytecode is written: with it, a change within the same second might go unnoticed.
    """
    folder, before = str(Path(file).absolute().parent), sys.dont_write_bytecode
    sys.path.insert(0, folder)
    sys.dont_write_bytecode = True
    try:
        yield
    finally:
        sys.path.remove(folder)
        sys.dont_write_bytecode = before
