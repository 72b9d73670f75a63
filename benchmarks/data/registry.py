"""The data sets and source transforms that there are, each entered by a decorator."""

import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np

from benchmarks.data.dataset import Raw

Reader = Callable[[Path, bool], Raw]
Transform = Callable[[np.ndarray, np.random.Generator], np.ndarray]
AnyTransform = TypeVar("AnyTransform", bound=Transform)
AnyReader = TypeVar("AnyReader", bound=Reader)


@dataclass(frozen=True)
class Registered:
    """A data set: one line about it, its default source, what reads it, whether it is points."""

    summary: str
    source: str
    read: Reader
    points: bool


DATASETS: dict[str, Registered] = {}
TRANSFORMS: dict[str, Transform] = {}


def dataset(
    *, name: str, summary: str, source: str, points: bool = False
) -> Callable[[AnyReader], AnyReader]:
    """Enter a function as the data set `name`.

    The function gets the folder of the data files and whether it may download into it, and returns
    a `Raw`. It imports heavy libraries inside its body.

    Args:
        name: what the user types.
        summary: one line on what the images are.
        source: the default source domain: a transform or another data set.
        points: whether it holds points of the plane, whose source can only be other points.
    """

    def enter(read: AnyReader) -> AnyReader:
        DATASETS[name] = Registered(summary, source, read, points)
        return read

    return enter


def transform(function: AnyTransform) -> AnyTransform:
    """Enter a function as a source transform under its own name.

    The function gets uint8 images [N, C, S, S] and a generator and returns an array like the first.
    """
    TRANSFORMS[function.__name__] = function
    return function


def scan(package: str, path: list[str]) -> None:
    """Import every module of a package, so that its decorators run."""
    for module in pkgutil.iter_modules(path):
        importlib.import_module(f"{package}.{module.name}")
