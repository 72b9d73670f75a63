"""The former place of the extractors' base: its names can be imported here for one version."""

import warnings

from metrics.extractors.base import *  # noqa: F403
from metrics.registry import extractor  # noqa: F401

warnings.warn(
    "metrics.features has become metrics.extractors: import from `metrics`",
    FutureWarning,
    stacklevel=2,
)
