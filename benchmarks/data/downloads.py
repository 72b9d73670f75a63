"""The published data sets that torchvision reads and, where they are missing, downloads."""

import socket
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.data.dataset import Raw, Split
from benchmarks.data.registry import dataset
from benchmarks.errors import BadInput

DIGITS = tuple("0123456789")
ANIMALS = ("bird", "cat", "deer", "dog", "frog", "horse")
THINGS = ("airplane", "automobile", *ANIMALS, "ship", "truck")
SILENCE = 30  # seconds after which a server that says nothing counts as lost


@dataset(
    name="mnist",
    summary="70,000 handwritten digits, grey, 28x28 (LeCun et al. 1998)",
    source="edges",
)
def read_mnist(root: Path, download: bool) -> Raw:
    """Read MNIST."""
    return read("MNIST", root, download, "MNIST/raw/*-ubyte", DIGITS)


@dataset(
    name="fashion_mnist",
    summary="70,000 articles of clothing, grey, 28x28 (Xiao et al. 2017)",
    source="edges",
)
def read_fashion_mnist(root: Path, download: bool) -> Raw:
    """Read Fashion-MNIST."""
    from torchvision.datasets import FashionMNIST

    names = tuple(FashionMNIST.classes)
    return read("FashionMNIST", root, download, "FashionMNIST/raw/*-ubyte", names)


@dataset(
    name="kmnist",
    summary="70,000 handwritten hiragana, grey, 28x28 (Clanuwat et al. 2018)",
    source="edges",
)
def read_kmnist(root: Path, download: bool) -> Raw:
    """Read Kuzushiji-MNIST."""
    from torchvision.datasets import KMNIST

    return read("KMNIST", root, download, "KMNIST/raw/*-ubyte", tuple(KMNIST.classes))


@dataset(
    name="usps",
    summary="9,298 handwritten digits from envelopes, grey, 16x16 (Hull 1994)",
    source="edges",
)
def read_usps(root: Path, download: bool) -> Raw:
    """Read USPS."""
    return read("USPS", root, download, "usps.bz2 and usps.t.bz2", DIGITS)


@dataset(
    name="cifar10",
    summary="60,000 photographs of ten kinds of things, colour, 32x32 (Krizhevsky 2009)",
    source="edges",
)
def read_cifar10(root: Path, download: bool) -> Raw:
    """Read CIFAR-10."""
    return read("CIFAR10", root, download, "cifar-10-batches-py/*", THINGS)


@dataset(
    name="svhn",
    summary="99,289 house numbers from street views, colour, 32x32 (Netzer et al. 2011)",
    source="edges",
)
def read_svhn(root: Path, download: bool) -> Raw:
    """Read the Street View House Numbers, cropped digits, without the `extra` images."""
    return read("SVHN", root, download, "train_32x32.mat and test_32x32.mat", DIGITS)


def read(kind: str, root: Path, download: bool, files: str, class_names: tuple[str, ...]) -> Raw:
    """Read a data set of torchvision; nothing is written where its files are there already.

    Args:
        kind: name of the class in `torchvision.datasets`.
        root: folder of the data files.
        download: whether missing files may be downloaded.
        files: what is expected below `root`, for the message.
        class_names: one name a label.

    Raises:
        BadInput: the files are absent or damaged and could not be downloaded.
    """
    try:
        try:
            train, test = _open(kind, root)
        except Exception:
            if not download:
                raise
            _download(kind, root)
            train, test = _open(kind, root)
    except Exception as error:  # files cut short or altered make torchvision raise anything
        reason = " ".join(str(error).split()) or type(error).__name__
        attempt = "read or downloaded" if download else "read"
        raise BadInput(
            f"{kind} could not be {attempt} ({reason}): put {files} into {root} "
            "or give the folder that has them as data root"
        ) from error
    return Raw(train, test, class_names)


def _open(kind: str, root: Path, *, download: bool = False) -> tuple[Split, Split]:
    from torchvision import datasets

    # CIFAR-10 alone is unpickled, after its checksum has shown it to be what was published. What
    # old versions of torchvision left of MNIST has none.
    unpickled = {"_check_legacy_exist": lambda _: False}
    make: Callable[..., Any] = type(kind, (getattr(datasets, kind),), unpickled)
    if kind == "SVHN":
        parts = [make(root, split=split, download=download) for split in ("train", "test")]
    else:
        parts = [make(root, train=train, download=download) for train in (True, False)]
    train, test = (_convert(part) for part in parts)
    return train, test


def _convert(part: Any) -> Split:
    """Bring what torchvision holds, [N, S, S], [N, S, S, 3] or [N, 3, S, S], to [N, C, S, S]."""
    images = np.asarray(part.data)
    if images.ndim == 3:
        images = images[:, None]
    elif images.shape[3] == 3:
        images = images.transpose(0, 3, 1, 2)
    labels = np.asarray(part.labels if hasattr(part, "labels") else part.targets, dtype=np.int64)
    if len(labels) != len(images):
        raise ValueError(f"{len(labels)} labels of {len(images)} images")
    return Split(np.ascontiguousarray(images), labels)


def _download(kind: str, root: Path) -> None:
    """Download beside the place of the files and move each there when all are whole."""
    root.mkdir(parents=True, exist_ok=True)
    with _impatience(), tempfile.TemporaryDirectory(prefix=".download-", dir=root) as folder:
        _open(kind, Path(folder), download=True)
        for file in sorted(Path(folder).rglob("*")):
            target = root / file.relative_to(folder)
            if file.is_dir():
                target.mkdir(exist_ok=True)
            else:
                file.replace(target)


@contextmanager
def _impatience() -> Iterator[None]:
    """Let a server that stops answering be a failed download, not an endless one."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(SILENCE)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)
