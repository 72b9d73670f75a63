"""Data sets: from a name to images in fixed splits. Importing this imports no heavy library."""

import os
from pathlib import Path

from platformdirs import user_cache_path

from benchmarks.core.errors import BadInput, one_line, unknown
from benchmarks.data import registry
from benchmarks.data.dataset import Dataset, Raw, Split, Truth, fingerprint_splits
from benchmarks.data.folder import read_folder
from benchmarks.data.registry import DATASETS, TRANSFORMS
from benchmarks.data.resizing import check_shape, fit
from benchmarks.data.sources import transform_source
from benchmarks.data.splits import split_source, split_target

__all__ = [
    "Dataset",
    "Split",
    "Truth",
    "default_data_root",
    "is_points",
    "list_datasets",
    "list_sources",
    "load_dataset",
]

registry.scan(__name__, __path__)

FOLDER = "folder:"
FOLDER_SOURCE = "folder A"
OWN = (
    "your own images, a folder or a .zip: any sizes and formats, class subfolders or "
    "dataset.json, train/ val/ test/, trainA/ trainB/"
)


def default_data_root() -> Path:
    """Return the folder of downloads: `$BENCHMARKS_DATA`, or one in the user's cache folder."""
    chosen = os.environ.get("BENCHMARKS_DATA")
    return Path(chosen) if chosen else user_cache_path("generative-benchmarks") / "data"


def list_datasets() -> dict[str, str]:
    """Return all data sets' summaries by name, the user's own folder under `folder:PATH`."""
    return {entry.name: entry.summary for entry in DATASETS.values()} | {f"{FOLDER}PATH": OWN}


def is_points(name: str) -> bool:
    """Return whether a data set holds points of the plane."""
    return name in DATASETS and DATASETS[name].points


def list_sources(name: str) -> tuple[str, ...]:
    """List the source domains of a data set: transforms and images, or of points other points."""
    points = is_points(name)
    others = (entry for entry in DATASETS.values() if entry.name != name)
    alike = (entry.name for entry in others if entry.points == points)
    own = (FOLDER_SOURCE,) if name.startswith(FOLDER) else ()
    return tuple(alike) if points else (*TRANSFORMS, *alike, *own)


def load_dataset(
    name: str,
    *,
    data_root: Path,
    source: str | None = None,
    image_size: int | None = None,
    channels: int | None = None,
    download: bool = True,
) -> Dataset:
    """Load a data set in its fixed splits.

    The target splits depend on the data set, its size and channels alone, not on the source.

    Args:
        name: one of `list_datasets()`, or "folder:" and a path.
        data_root: folder of the published data sets' files.
        source: source domain; this, size and channels are by default the data set's own.
        image_size: side in pixels.
        channels: 1 or 3.
        download: whether missing files may be downloaded.

    Raises:
        BadInput: an unknown name, an impossible size, absent or damaged files, too few images.
    """
    check_shape(image_size, channels)
    _check_names(name, source)
    if is_points(name) and (image_size or channels):
        raise BadInput(f"{name}: points have no image size or channels to choose; leave them out")
    raw = _read_raw(name, data_root, image_size, channels, download)
    parts = split_target(raw, name)
    train, validation, test = (fit(split, image_size, channels) for split in parts[:3])
    form = train.images.shape[2], train.images.shape[1]
    if source is None and name.startswith(FOLDER):
        source = FOLDER_SOURCE if raw.source else "edges"
    source, remarks = source or DATASETS[name].source, [raw.layout]
    if source in TRANSFORMS:
        hidden_pairs = fit(parts.source_test, *form)
        source_train = transform_source(fit(parts.source_train, *form), source, "train")
        source_test = transform_source(hidden_pairs, source, "test")
    else:
        hidden_pairs, others = None, _read_source(raw, source, data_root, download)
        if others[0].images.shape[1] > form[1] and channels is None:
            remarks += [f"{source} becomes grey, as {name} is; --channels 3 keeps its colours"]
        source_train, source_test = (fit(split, *form) for split in others)
    return Dataset(
        name=name,
        train=train,
        validation=validation,
        test=test,
        class_names=raw.class_names,
        source=source,
        source_train=source_train,
        source_test=source_test,
        hidden_pairs=hidden_pairs,
        fingerprint=fingerprint_splits(train, validation, test),
        source_fingerprint=fingerprint_splits(source_train, source_test),
        truth=raw.truth,
        layout="; ".join(filter(None, remarks)) or None,
    )


def _check_names(name: str, source: str | None) -> None:
    if not name.startswith(FOLDER) and name not in DATASETS:
        # Path.is_dir raises on names that are too long
        if os.path.isdir(name) or name.lower().endswith(".zip"):  # noqa: PTH112
            raise BadInput(
                f"unknown data set {name!r}: for images of your own write {FOLDER}{name}"
            )
        raise BadInput(unknown("data set", name, list_datasets()))
    if source is not None and source not in list_sources(name):
        raise BadInput(unknown(f"source for {name}", source, list_sources(name)))


def _read_raw(
    name: str, root: Path, image_size: int | None, channels: int | None, download: bool
) -> Raw:
    if not name.startswith(FOLDER):
        try:
            return DATASETS[name].read(root, download)
        except FileNotFoundError as error:
            raise BadInput(f"data set {name}: there is no file {error.filename}") from error
    try:
        return read_folder(name.removeprefix(FOLDER), image_size, channels)
    except OSError as error:
        raise BadInput(f"{name} cannot be read: {one_line(error)}") from error


def _read_source(raw: Raw, source: str, root: Path, download: bool) -> tuple[Split, Split]:
    """Read the images of a source domain that is not made from the target's."""
    if source != FOLDER_SOURCE:
        other = DATASETS[source].read(root, download)
        return split_source(other.train, other.test, source)
    if raw.source is None:
        raise BadInput(f"source {source!r}: the folder has no trainA/ and trainB/")
    return split_source(*raw.source, source, own=True)
