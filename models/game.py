"""The former place of `models.base`: its names can be imported from here for one more version."""

import warnings

from models.base import *  # noqa: F403
from models.base import ModelConfig as Recipe  # noqa: F401
from models.base import Step as Round  # noqa: F401

warnings.warn(
    "models.game has become models.base (Recipe is ModelConfig, Round is Step): import from there",
    FutureWarning,
    stacklevel=2,
)
