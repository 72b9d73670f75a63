"""The folders and files that a run reads and writes."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Paths:
    """The folders and files that a run reads and writes.

    Attributes:
        folder: the suite's results.
        data_root: the data sets' files.
        cache: trained extractors.
        weights: the `inception` extractor's file, None to download it.
    """

    folder: Path
    data_root: Path
    cache: Path
    weights: Path | None = None
