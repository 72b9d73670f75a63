"""The published data sets that torchvision reads and, where they are missing, downloads."""

import gzip
import hashlib
import socket
import tempfile
from dataclasses import dataclass, field
from functools import partial
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.core.errors import BadInput
from benchmarks.data.dataset import Raw, Split
from benchmarks.data.registry import dataset

DIGITS = tuple("0123456789")
THINGS = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
TIMEOUT = 30  # seconds without an answer of a server, after which a download fails


@dataclass(frozen=True)
class PublishedFile:
    """A file as it is published; checksums are SHA-256, or MD5 where that is all there is, in hex.

    Attributes:
        file: its place below the data root.
        url: where it is downloaded from.
        checksum: of the file, with the public source that states it.
        parts: what it is unpacked to and read as, each with its checksum and that one's source; an
            empty checksum where nobody states one. Without parts it is read itself.
    """

    file: str
    url: str
    checksum: tuple[str, str]
    parts: dict[str, tuple[str, str]] = field(default_factory=dict)


VISION = "pytorch/vision, torchvision/prototype/datasets/_builtin/{}.py, commit 01c11a05"
CIFAR = "pytorch/vision, torchvision/datasets/cifar.py"
UNPACKED = "EntroMorphic/sstt, Makefile"

IDX = (
    *("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    *("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
)
"""The files of MNIST and its kin, in the order of their checksums below."""


def _idx(kind: str, url: str, packed: str, unpacked: str = "") -> tuple[PublishedFile, ...]:
    """List the files of a data set in MNIST's form with their checksums, packed and unpacked."""
    return tuple(
        PublishedFile(
            f"{kind}/raw/{name}.gz",
            f"{url}{name}.gz",
            (checksum, VISION.format("mnist")),
            {f"{kind}/raw/{name}": (of_content, UNPACKED)},
        )
        for name, checksum, of_content in zip_longest(
            IDX, packed.split(), unpacked.split(), fillvalue=""
        )
    )


def _plain(url: str, module: str, checksums: dict[str, str]) -> tuple[PublishedFile, ...]:
    source = VISION.format(module)
    return tuple(PublishedFile(name, f"{url}{name}", (c, source)) for name, c in checksums.items())


FILES = {
    "MNIST": _idx(
        "MNIST",
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
        """
        440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609
        3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c
        8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6
        f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6
        """,
        """
        ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db
        65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5
        0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7
        ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2
        """,
    ),
    "FashionMNIST": _idx(
        "FashionMNIST",
        "https://github.com/zalandoresearch/fashion-mnist/raw/master/data/fashion/",
        """
        3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84
        a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845
        346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073
        67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5
        """,
        """
        c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888
        bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9
        5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b
        0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34
        """,
    ),
    "KMNIST": _idx(
        "KMNIST",
        "https://codh.rois.ac.jp/kmnist/dataset/kmnist/",
        """
        51467d22d8cc72929e2a028a0428f2086b092bb31cfb79c69cc0a90ce135fde4
        e38f9ebcd0f3ebcdec7fc8eabdcdaef93bb0df8ea12bee65224341c8183d8e17
        edd7a857845ad6bb1d0ba43fe7e794d164fe2dce499a1694695a792adfac43c5
        20bb9a0ef54c7db3efc55a92eef5582c109615df22683c380526788f98e42a1c
        """,
    ),
    "USPS": _plain(
        "https://www.csie.ntu.edu.tw/~cjlin/libsvmtools/datasets/multiclass/",
        "usps",
        {
            "usps.bz2": "3771e9dd6ba685185f89867b6e249233dd74652389f263963b3b741e994b034f",
            "usps.t.bz2": "a9c0164e797d60142a50604917f0baa604f326e9a689698763793fa5d12ffc4e",
        },
    ),
    "CIFAR10": (
        PublishedFile(
            "cifar-10-python.tar.gz",
            "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",
            (
                "6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce",
                VISION.format("cifar"),
            ),
            {
                "cifar-10-batches-py/data_batch_1": ("c99cafc152244af753f735de768cd75f", CIFAR),
                "cifar-10-batches-py/data_batch_2": ("d4bba439e000b95fd0a9bffe97cbabec", CIFAR),
                "cifar-10-batches-py/data_batch_3": ("54ebc095f3ab1f0389bbae665268c751", CIFAR),
                "cifar-10-batches-py/data_batch_4": ("634d18415352ddfa80567beed471001a", CIFAR),
                "cifar-10-batches-py/data_batch_5": ("482c414d41f54cd18b22e5b47cb7c3cb", CIFAR),
                "cifar-10-batches-py/test_batch": ("40351d587109b95175f43aff81a1287e", CIFAR),
                "cifar-10-batches-py/batches.meta": ("5ff9c542aee3614f3951f8cda6e48888", CIFAR),
            },
        ),
    ),
    "SVHN": _plain(
        "https://ufldl.stanford.edu/housenumbers/",
        "svhn",
        {
            "train_32x32.mat": "435e94d69a87fde4fd4d7f3dd208dfc32cb6ae8af2240d066de1df7508d083b8",
            "test_32x32.mat": "cdce80dfb2a2c4c6160906d0bd7c68ec5a99d7ca4831afa54f09182025b6a75b",
        },
    ),
}
"""The published files by the name of the data set's class in `torchvision.datasets`."""

READ = {
    **{kind: f"{kind}/raw/*-ubyte" for kind in ("MNIST", "FashionMNIST", "KMNIST")},
    "USPS": "usps.bz2 and usps.t.bz2",
    "CIFAR10": "cifar-10-batches-py/*",
    "SVHN": "train_32x32.mat and test_32x32.mat",
}
"""The files that are read of each, in words."""


def read_published(
    kind: str, class_names: tuple[str, ...] | None, root: Path, download: bool
) -> Raw:
    """Read the class `kind` of torchvision.datasets; write nothing where its files are there.

    Missing files are downloaded into `root` where that is allowed. `class_names` are one a label,
    None for those of the class.

    Raises:
        BadInput: the files are not the published ones, or absent and could not be downloaded.
    """
    try:
        for published in FILES[kind]:
            _check_published(published, root)
            if download and not all((root / part).exists() for part in _list_parts(published)):
                _download_file(published, root)
        train, test, found_names = _read_torchvision(kind, root)
    except BadInput:
        raise
    except Exception as error:  # torchvision raises anything
        reason = " ".join(str(error).split()) or type(error).__name__
        attempt = "read or downloaded" if download else "read"
        raise BadInput(
            f"{kind} could not be {attempt} ({reason}): put {READ[kind]} into {root}, or name the "
            "folder that has them by --data-root or the variable BENCHMARKS_DATA"
        ) from error
    return Raw(train, test, class_names or found_names)


def _list_parts(published: PublishedFile) -> dict[str, tuple[str, str]]:
    """Return the files that are read of a published one, with their checksums."""
    return published.parts or {published.file: published.checksum}


def _check_published(published: PublishedFile, root: Path) -> None:
    """Check the files that are read of a published one, as far as they are there.

    One without a stated checksum is compared with its archive, where that is there too.
    """
    archive = root / published.file
    for part, (checksum, source) in _list_parts(published).items():
        if checksum and (root / part).exists():
            _check_file(root / part, checksum, source)
        elif (root / part).exists() and archive.exists():
            _check_file(archive, *published.checksum)
            with gzip.open(archive) as content:
                unpacked = hashlib.file_digest(content, "sha256").hexdigest()
            _check_file(root / part, unpacked, str(archive))


def _check_file(path: Path, checksum: str, source: str, name: str = "") -> None:
    kind = "md5" if len(checksum) == 32 else "sha256"
    with path.open("rb") as file:
        found = hashlib.file_digest(file, kind).hexdigest()
    if found != checksum:
        remedy = "fetch the published one" if name else "delete it to have it downloaded again"
        raise BadInput(
            f"{name or path} is not the published file: its {kind.upper()} is {found}, not "
            f"{checksum} (source: {source}); {remedy}, or name a folder that has it by "
            "--data-root or the variable BENCHMARKS_DATA"
        )


def _read_torchvision(kind: str, root: Path) -> tuple[Split, Split, tuple[str, ...]]:
    from torchvision import datasets

    # CIFAR-10 alone is unpickled, after its checksum has shown it to be what was published. What
    # old versions of torchvision left of MNIST has none.
    unpickled = {"_check_legacy_exist": lambda _: False}
    make: Any = type(kind, (getattr(datasets, kind),), unpickled)
    if kind == "SVHN":
        parts = [make(root, split=split) for split in ("train", "test")]
    else:
        parts = [make(root, train=train) for train in (True, False)]
    train, test = map(_convert, parts)
    return train, test, tuple(getattr(parts[0], "classes", ()))


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


def _download_file(published: PublishedFile, root: Path) -> None:
    """Download a file beside its place, check and unpack it, and move all there when it is whole.

    An archive that is there already is not downloaded again.
    """
    from torch.hub import download_url_to_file
    from torchvision.datasets.utils import extract_archive

    root.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".download-", dir=root) as folder:
        fresh, archive = Path(folder, published.file), root / published.file
        fresh.parent.mkdir(parents=True, exist_ok=True)
        if not archive.exists():
            archive, before = fresh, socket.getdefaulttimeout()
            socket.setdefaulttimeout(TIMEOUT)
            try:
                download_url_to_file(published.url, str(fresh))
            finally:
                socket.setdefaulttimeout(before)
        _check_file(archive, *published.checksum, name=published.url if archive == fresh else "")
        if published.parts:
            extract_archive(archive, fresh.parent)
        for file in sorted(Path(folder).rglob("*")):
            target = root / file.relative_to(folder)
            if file.is_dir():
                target.mkdir(exist_ok=True)
            else:
                file.replace(target)


SETS = {
    "mnist": ("MNIST", "70,000 handwritten digits, grey, 28x28 (LeCun et al. 1998)"),
    "fashion_mnist": (
        "FashionMNIST",
        "70,000 articles of clothing, grey, 28x28 (Xiao et al. 2017)",
    ),
    "kmnist": ("KMNIST", "70,000 handwritten hiragana, grey, 28x28 (Clanuwat et al. 2018)"),
    "usps": ("USPS", "9,298 handwritten digits from envelopes, grey, 16x16 (Hull 1994)"),
    "cifar10": (
        "CIFAR10",
        "60,000 photographs of ten kinds of things, colour, 32x32 (Krizhevsky 2009)",
    ),
    # cropped digits, without the `extra` images
    "svhn": ("SVHN", "99,289 house numbers from street views, colour, 32x32 (Netzer et al. 2011)"),
}
CLASSES = {"mnist": DIGITS, "usps": DIGITS, "cifar10": THINGS, "svhn": DIGITS}
"""The names of classes, where they are not those of the class in `torchvision.datasets`."""

for name, (kind, summary) in SETS.items():
    read = partial(read_published, kind, CLASSES.get(name))
    dataset(name=name, summary=summary, source="edges")(read)
