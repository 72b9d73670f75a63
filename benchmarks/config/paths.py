"""The folders and files that a run reads and writes."""

import os
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Paths:
    """The folders of the suite's results, the data sets' files and the trained extractors.

    `weights` is the `inception` extractor's file, None to download it.
    """

    folder: Path
    data_root: Path
    cache: Path
    weights: Path | None = None


def find_cache(purpose: str = "extractors") -> Path:
    """Choose the folder of what is kept for a purpose: in $BENCHMARKS_CACHE, or the user's."""
    from platformdirs import user_cache_path

    chosen = os.environ.get("BENCHMARKS_CACHE")
    return (Path(chosen) if chosen else user_cache_path("generative-benchmarks")) / purpose
