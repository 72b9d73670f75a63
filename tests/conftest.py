"""What all tests share: they draw the same numbers every time, and have all the time they need."""

import os
import random

import pytest
import torch
from hypothesis import HealthCheck, settings

settings.register_profile(
    "repeatable",
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.register_profile("quick", settings.get_profile("repeatable"), max_examples=20)
settings.load_profile("repeatable")


def pytest_configure(config: pytest.Config) -> None:
    """Try a fifth of Hypothesis' cases where slow tests are left out; commands share the cores."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    if config.option.markexpr == "not slow":
        settings.load_profile("quick")


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Seed the global generators, so that no test depends on which others were run before."""
    random.seed(item.nodeid)
    torch.manual_seed(0)
