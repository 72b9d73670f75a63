"""The versions, the hardware and the commit of this process."""

import os
import platform
import subprocess
import sys
from functools import partial
from importlib import metadata
from pathlib import Path

from benchmarks import ROOT
from benchmarks.records.schema import Environment, Git

VERSIONED = (
    *("torch", "torchvision", "numpy", "scipy", "scikit-learn", "pandas", "pillow"),
    *("torchmetrics", "torch-fidelity", "safetensors", "generative-benchmarks"),
)


def read_environment(gpu: str | None = None) -> Environment:
    """Return the environment of this process; `gpu` is the name of the one in use."""
    return Environment(
        python=platform.python_version(),
        versions={name: version for name in VERSIONED if (version := _version(name))},
        platform=platform.platform(),
        cpu=_cpu_model(),
        cores=os.cpu_count(),
        memory_mb=_memory_mb(),
        gpu=gpu,
        git=_git(ROOT),
    )


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _cpu_model() -> str | None:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or None
    names = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or None)


def _memory_mb() -> int | None:
    if sys.platform == "win32":
        return None
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2**20


def _git(root: Path) -> Git | None:
    """Return the state of the checkout at `root`; results do not make it dirty: runs write them."""
    if not (root / ".git").exists():
        return None
    git = partial(
        subprocess.check_output, cwd=root, stderr=subprocess.DEVNULL, text=True, timeout=30
    )
    try:
        commit = git(["git", "rev-parse", "HEAD"])
        changes = git(["git", "status", "--porcelain", "--", ".", ":!results"])
    except (OSError, subprocess.SubprocessError):
        return None
    return Git(commit=commit.strip(), dirty=bool(changes.strip()))
