"""Where a set of images is: a folder, an archive, a file of arrays, or an array in memory."""

from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Literal

import numpy as np

from benchmarks.core.errors import BadInput
from benchmarks.data.files import picture_suffixes

ValueRange = Literal["unit", "symmetric"]

ARRAY_SUFFIXES = (".npy", ".npz")

VALUE_RANGES: dict[ValueRange, tuple[int, int]] = {"unit": (0, 1), "symmetric": (-1, 1)}
"""The ranges that the floats of an array may be declared to be in."""


@dataclass(frozen=True)
class ImageSource:
    """Where a set of images is, and how it is kept.

    Attributes:
        place: a folder, a .zip of pictures, a .npy or .npz file, or the array itself.
        value_range: of floats; that of uint8 and of pictures is known.
        key: the array's name, where a .npz file holds several.
        resize: the side to which images are brought, None for their own.
        option: the beginning of the options that say so, for messages.
    """

    place: Path | np.ndarray
    value_range: ValueRange | None = None
    key: str | None = None
    resize: int | None = None
    option: str = "--"

    @property
    def kind(self) -> str:
        """The suffix of a file that can be read, "" for a folder, ".npy" for an array in memory.

        Raises:
            BadInput: there is nothing at this place, or a file of another kind.
        """
        place = self.place
        if isinstance(place, np.ndarray):
            return ".npy"
        if place.is_dir():
            return ""
        if not place.exists():
            siblings = place.parent.iterdir() if place.parent.is_dir() else ()
            near = get_close_matches(place.name, [path.name for path in siblings], n=1)
            hint = f"; did you mean {place.parent / near[0]}?" if near else ""
            raise BadInput(f"there is no {place}{hint}")
        kind = place.suffix.lower()
        if kind in picture_suffixes():
            raise BadInput(f"{place} is one picture; name the folder that holds all of them")
        if kind not in {*ARRAY_SUFFIXES, ".zip"} or not place.is_file():
            raise BadInput(f"{place}: images are read from a folder or a .npy, .npz or .zip file")
        return kind

    @property
    def name(self) -> str:
        """Its name in messages."""
        return str(self.place) if isinstance(self.place, Path) else f"the array {self.title!r}"

    @property
    def title(self) -> str:
        """Its name in tables."""
        word = "images" if self.option == "--" else "reference"
        return self.place.name if isinstance(self.place, Path) else word
