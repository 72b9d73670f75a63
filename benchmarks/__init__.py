"""The harness: one command trains, scores and compares generative models."""

import sys
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("benchmarks", "metrics", "models")


class OwnPackages:
    """A finder of this program's packages, whatever in the working folder has the same names."""

    @staticmethod
    def find_spec(name: str, *_: object) -> ModuleSpec | None:
        """Return the spec of one of them, None for any other module."""
        return PathFinder.find_spec(name, [str(ROOT)]) if name in PACKAGES else None


sys.meta_path.insert(0, OwnPackages)
