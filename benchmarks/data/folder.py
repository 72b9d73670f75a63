"""The user's own images: which files of a folder are what."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

import numpy as np

from benchmarks.data.dataset import Raw, Split
from benchmarks.data.decoding import decode
from benchmarks.data.splits import FEWEST_SOURCE, FEWEST_TEST, FEWEST_TRAIN, check_enough
from benchmarks.errors import BadInput, one_line

SUFFIXES = {".bmp", ".gif", ".jpeg", ".jpg", ".pbm", ".pgm", ".png", ".pnm", ".ppm"}
SUFFIXES |= {".tif", ".tiff", ".webp"}


@dataclass(frozen=True)
class Part:
    """Image files of one split and the folder they lie in, at any depth."""

    folder: Path
    files: list[Path]


def read_folder(path: str, image_size: int | None, channels: int | None) -> Raw:
    """Read a folder of images.

    Three layouts are known: `trainB/` and perhaps `testB/` with the source domain in `trainA/` and
    perhaps `testA/` (as in Zhu et al. 2017); `train/` and perhaps `test/`; or images
    alone. In the first two, whatever lies beside these folders is not read. Subfolders that hold
    all images are classes, if there are at least two; where test images lie in none, no image has
    a label. Hidden files and files without an image's suffix are skipped.

    Args:
        path: the folder, "~" allowed.
        image_size: side in pixels; by default the images' own where they are all square, equal and
            at most 64 pixels wide, and 64 otherwise.
        channels: 1 or 3; by default 1 where every target image is grey.

    Raises:
        BadInput: no such folder, no or too few images, broken images.
    """
    root = _find(path)
    folders = {entry.name for entry in root.iterdir() if entry.is_dir()}
    if folders & {"trainA", "trainB", "testA", "testB"}:
        target, source = (_parts(root, folders, f"train{x}", f"test{x}") for x in "BA")
    elif folders & {"train", "test"}:
        target, source = _parts(root, folders, "train", "test"), []
    else:
        target, source = [_part(root)], []
    _check_counts(target, FEWEST_TRAIN)
    _check_counts(source, FEWEST_SOURCE)
    train, test, class_names = _decode(target, image_size, channels)
    _, channels, image_size, _ = train.images.shape
    pair = _decode(source, image_size, channels)[:2] if source else None
    return Raw(train, test, class_names, pair)


def _find(path: str) -> Path:
    if not path.strip():
        raise BadInput("folder: without a path; write for instance folder:pictures")
    try:
        root = Path(path).expanduser()
    except RuntimeError as error:  # a "~user" that there is not
        raise BadInput(f"folder:{path}: {one_line(error)}") from error
    if root.is_dir():
        return root
    if root.exists():
        raise BadInput(f"{root} is a file; give the folder that holds the images")
    absent, parent = root.name, root.parent
    while not parent.is_dir():
        absent, parent = parent.name, parent.parent
    near = get_close_matches(absent, [p.name for p in parent.iterdir() if p.is_dir()], n=1)
    hint = f"did you mean {parent / near[0]}?" if near else f"{parent} has no {absent!r}"
    raise BadInput(f"no folder {root}: {hint}")


def _parts(root: Path, folders: set[str], train: str, test: str) -> list[Part]:
    if train not in folders:
        raise BadInput(f"{root} has {', '.join(sorted(folders))}, but no {train}/")
    return [_part(root / name) for name in (train, test) if name in folders]


def _part(folder: Path) -> Part:
    """Find the image files below a folder; links are followed, but none twice."""

    def refuse(error: OSError) -> None:
        raise BadInput(f"{error.filename} cannot be read: {error.strerror}") from error

    files, seen = [], {folder.resolve()}
    for parent, folders, names in os.walk(folder, followlinks=True, onerror=refuse):
        real = {name: Path(parent, name).resolve() for name in folders if not name.startswith(".")}
        folders[:] = [name for name in sorted(real) if real[name] not in seen]
        seen.update(real.values())
        files += [Path(parent, name) for name in names if _is_image(name)]
    if not files:
        raise BadInput(f"{folder} has no images ({', '.join(sorted(SUFFIXES))})")
    return Part(folder, sorted(files))


def _check_counts(parts: Sequence[Part], fewest_train: int) -> None:
    for part, fewest in zip(parts, (fewest_train, FEWEST_TEST), strict=False):
        check_enough(len(part.files), fewest, f"{part.folder}: images")


def _is_image(name: str) -> bool:
    return not name.startswith(".") and Path(name).suffix.lower() in SUFFIXES


def _decode(
    parts: Sequence[Part], image_size: int | None, channels: int | None
) -> tuple[Split, Split | None, tuple[str, ...] | None]:
    """Decode the training and perhaps the test images of a domain."""
    class_names = _class_names(parts)
    decoded = decode(parts[0].folder, [part.files for part in parts], image_size, channels)
    splits = []
    for part, (images, order) in zip(parts, decoded, strict=True):
        labels = _labels(part, class_names)[order] if class_names else None
        splits.append(Split(images, labels))
    return splits[0], splits[1] if len(splits) > 1 else None, class_names


def _class_names(parts: Sequence[Part]) -> tuple[str, ...] | None:
    """Name the classes, or return None where some image lies in no class folder."""
    tops = [[file.relative_to(part.folder).parts for file in part.files] for part in parts]
    if any(len(inner) == 1 for part in tops for inner in part):
        return None
    names, *others = [{inner[0] for inner in part} for part in tops]
    for other in others:
        if strange := sorted(other - names):
            raise BadInput(
                f"{parts[1].folder} has the class {strange[0]!r}, the training images no"
            )
    return tuple(sorted(names)) if len(names) > 1 else None


def _labels(part: Part, class_names: tuple[str, ...]) -> np.ndarray:
    index = {name: label for label, name in enumerate(class_names)}
    tops = [file.relative_to(part.folder).parts[0] for file in part.files]
    return np.array([index[top] for top in tops], dtype=np.int64)
