"""Where a run finds what it needs, and where it leaves what it makes."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Place:
    """Where a run finds what it needs, and where it leaves what it makes.

    Attributes:
        folder: of the suite's results.
        data_root: of the data sets' files.
        cache: of trained extractors.
        weights: of the `inception` extractor, None to download them.
    """

    folder: Path
    data_root: Path
    cache: Path
    weights: Path | None = None
