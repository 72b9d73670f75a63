"""The former place of `metrics.registry`: its names can be imported from here for one version."""

import warnings

from metrics.registry import *  # noqa: F403

warnings.warn(
    "metrics.score has become metrics.registry: import from `metrics`", FutureWarning, stacklevel=2
)
