"""The registry of data sets and source transforms, each entered by a decorator."""

import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np

from benchmarks.data.dataset import Raw

Transform = Callable[[np.ndarray, np.random.Generator], np.ndarray]
AnyTransform = TypeVar("AnyTransform", bound=Transform)
AnyReader = TypeVar("AnyReader", bound=Callable[[Path, bool], Raw])


@dataclass(frozen=True)
class DatasetEntry:
    """A data set as far as it is known without reading it.

    Attributes:
        source: the default source domain: a transform or another data set.
        read: reads it, given the folder of its files and whether it may download them.
        points: whether it holds points of the plane, whose source can only be other points.
    """

    name: str
    summary: str
    source: str
    read: Callable[[Path, bool], Raw]
    points: bool = False


DATASETS: dict[str, DatasetEntry] = {}
TRANSFORMS: dict[str, Transform] = {}


def dataset(
    *, name: str, summary: str, source: str, points: bool = False
) -> Callable[[AnyReader], AnyReader]:
    """Enter a function as a data set; the arguments are fields of `DatasetEntry`.

    The function gets the folder of the data files and whether it may download into it, and returns
    a `Raw`. It imports heavy libraries inside its body.
    """

    def enter(read: AnyReader) -> AnyReader:
        DATASETS[name] = DatasetEntry(name, summary, source, read, points)
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
