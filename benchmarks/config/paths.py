"""The folders and files that a run reads and writes."""

import os
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


def find_cache() -> Path:
    """Choose the folder of trained extractors: $BENCHMARKS_CACHE, or the user's cache folder."""
    from platformdirs import user_cache_path

    chosen = os.environ.get("BENCHMARKS_CACHE")
    return (Path(chosen) if chosen else user_cache_path("generative-benchmarks")) / "extractors"
