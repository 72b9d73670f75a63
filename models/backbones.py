"""The former place of `models.networks`: its names can be imported from here for one version."""

import warnings

from models.networks import *  # noqa: F403

warnings.warn(
    "models.backbones has become models.networks: import from there", FutureWarning, stacklevel=2
)
