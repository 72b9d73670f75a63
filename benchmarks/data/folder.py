"""The user's own images: the files of a folder or an archive as splits, domains and classes."""

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Literal

import numpy as np

from benchmarks.core.errors import BadInput, describe_error, one_line
from benchmarks.data.dataset import Raw, Split
from benchmarks.data.decoding import decode
from benchmarks.data.files import Files, list_files
from benchmarks.data.resizing import fit
from benchmarks.data.splits import FEWEST_SOURCE, FEWEST_TEST, FEWEST_TRAIN, check_enough

Purpose = Literal["train", "validation", "test"]
Place = tuple[str, Purpose]
"""A domain ("" where there is one alone, else "a" or "b") and a split of it."""

ALL: tuple[Purpose, ...] = ("train", "validation", "test")
WORDS: dict[Purpose, str] = {"train": "training", "validation": "validation", "test": "testing"}

NAMES: dict[str, Purpose] = {
    "train": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "test": "test",
}
PLACES: dict[str, Place] = {
    name + domain: (domain, split) for name, split in NAMES.items() for domain in ("", "a", "b")
}
"""The content of folders of these names, in whatever case they are written."""

LABELS = "dataset.json"
"""Where the tools of StyleGAN and EDM keep labels: {"labels": [[name, class], …] or null}."""


@dataclass(frozen=True)
class Part:
    """Pictures of one split by their names, and the folder they lie in, e.g. "train/" or ""."""

    folder: str
    names: list[str]


Domain = dict[Purpose, Part]


@dataclass(frozen=True)
class Decoded:
    """The images of a domain, its class names, remarks, and its number of files of labels."""

    splits: dict[Purpose, Split]
    class_names: tuple[str, ...] | None
    remarks: list[str]
    label_files: int


def read_folder(path: str, image_size: int | None, channels: int | None) -> Raw:
    """Read the images of a folder or a zip archive.

    Split folders are called train, val, valid, validation or test, in any case; with A or B behind
    they hold the source or the target domain (as in Zhu et al. 2017). Validation images stand for
    test images where there are none. A folder without split folders holds images alone, and what
    has nothing but one folder is read as that one.

    Classes are those of a file `dataset.json`, as the tools of StyleGAN and EDM write it, or else
    the subfolders that hold all images of a split, if there are at least two; where test images lie
    in none, no image has a label. Hidden files and files without a picture's suffix are skipped.

    Args:
        path: the folder or archive, "~" allowed.
        image_size: side in pixels; by default the target images' own where they are all square,
            equal and at most 64 pixels wide, and 64 otherwise.
        channels: 1 or 3; by default 1 where every image of both domains is grey.

    Raises:
        BadInput: no such place, two readings of it, no or too few images, broken images.
    """
    files = list_files(_find_place(path))
    domains = find_domains(files)
    target, source = domains.get("b") or domains[""], domains.get("a")
    for domain, fewest in ((target, FEWEST_TRAIN), (source or {}, FEWEST_SOURCE)):
        for purpose, part in domain.items():
            least = fewest if purpose == "train" else FEWEST_TEST
            check_enough(len(part.names), least, f"{files.describe(part.folder)}: images")
    found = _decode_domain(files, "target", target, image_size, channels)
    remarks = [describe_parts(target, ALL), *found.remarks]
    splits, pair, label_files = found.splits, None, found.label_files
    check_enough(len(splits["train"]), FEWEST_TRAIN, f"{files.place}: training images of its own")
    if source:
        unused = source.pop("validation", None)
        other = _decode_domain(files, "source", source, splits["train"].images.shape[2], channels)
        remarks += [f"source: {describe_parts(source, ('train', 'test'))}", *other.remarks]
        remarks += [f"{unused.folder} is not used"] if unused else []
        pair = other.splits["train"], other.splits.get("test")
        colours = {split.images.shape[1] for split in (*splits.values(), pair[0])}
        remarks += ["grey images of one domain are taken as colour"] if len(colours) > 1 else []
        splits = {purpose: fit(split, None, max(colours)) for purpose, split in splits.items()}
        label_files += other.label_files
    others = replace(files, left_out=files.left_out - Counter({".json": label_files}))
    remarks += [f"files left out: {others.describe_left_out()}"] if others.left_out else []
    own = splits["train"], splits.get("test"), found.class_names, pair
    return Raw(*own, validation=splits.get("validation"), layout="; ".join(remarks))


def _find_place(path: str) -> Path:
    if not path.strip():
        raise BadInput("folder: without a path; write for instance folder:pictures")
    try:
        root = Path(path).expanduser()
    except RuntimeError as error:  # a "~user" that there is not
        raise BadInput(f"folder:{path}: {one_line(error)}") from error
    if root.is_dir() or (root.is_file() and root.suffix.lower() == ".zip"):
        return root
    if root.exists():
        raise BadInput(f"{root} is a file; give the folder or the .zip that holds the images")
    absent, parent = root.name, root.parent
    while not parent.is_dir():
        absent, parent = parent.name, parent.parent
    kept = [p.name for p in parent.iterdir() if p.is_dir() or p.suffix.lower() == ".zip"]
    near = get_close_matches(absent, kept, n=1)
    hint = f"did you mean {parent / near[0]}?" if near else f"{parent} has no {absent!r}"
    raise BadInput(f"no folder {root}: {hint}")


def find_domains(files: Files) -> dict[str, Domain]:
    """Find by the names of folders which pictures are of which domain and split.

    Returns:
        Domain "", or "a" (source) and "b" (target), each with a training split.
    """
    root = _find_root(files)
    tops = defaultdict[str, list[str]](list)
    for name in files.names:
        top, slash, _ = name.removeprefix(root).partition("/")
        tops[top + slash if slash else ""].append(name)
    held = {top: PLACES[top[:-1].lower()] for top in tops if top[:-1].lower() in PLACES}
    if not held:
        return {"": {"train": Part(root, list(files.names))}}
    if others := sorted(tops.keys() - held.keys()):
        raise BadInput(
            f"{files.place} has {_shorten(sorted(held))}, and images beside: {_shorten(others)}; "
            f"move them into a split folder (a class cat: {min(held)}cat/), or out of {files.place}"
        )
    domains = defaultdict[str, Domain](dict)
    for top, (domain, purpose) in sorted(held.items()):
        if purpose in domains[domain]:
            earlier = domains[domain][purpose].folder.removeprefix(root)
            raise BadInput(f"{files.place} has {earlier} and {top} for one split; keep one of them")
        domains[domain][purpose] = Part(root + top, tops[top])
    wanted = ("",) if set(domains) == {""} else ("a", "b")
    for domain in (*wanted, *domains.keys() - set(wanted)):
        if domain not in wanted or "train" not in domains[domain]:
            lacking = f"no train{domain.upper()}/" if domain in wanted else "no single layout"
            raise BadInput(f"{files.place} has {_shorten(sorted(held))}, but {lacking}")
    for parts in domains.values():
        if "validation" in parts and "test" not in parts:
            parts["test"] = parts.pop("validation")
    return domains


def _find_root(files: Files) -> str:
    """Return the folder that all pictures lie in, as where a folder was archived with its name."""
    root = ""
    while files.read(root + LABELS) is None:
        tops = {name.removeprefix(root).partition("/")[:2] for name in files.names}
        top, slash = tops.pop()
        if tops or not slash or top.lower() in PLACES:
            break
        root += top + slash
    return root


def _shorten(names: Iterable[str]) -> str:
    """Return the first of many names in words; "" stands for images that lie in no folder."""
    shown = [name or "some in no folder" for name in names]
    return ", ".join(shown[:6]) + (f" and {len(shown) - 6} more" if len(shown) > 6 else "")


def describe_parts(domain: Domain, splits: Sequence[Purpose]) -> str:
    """Describe the use of each split folder; `splits` are all that the domain needs."""
    own = [WORDS[split] for split in splits if split == "train" or split not in domain]
    words = WORDS | {"train": " and ".join(", ".join(own).rsplit(", ", 1))}
    parts = [(domain[split].folder, words[split]) for split in splits if split in domain]
    return ", ".join(f"{folder or 'all images'} for {word}" for folder, word in parts)


def _decode_domain(
    files: Files, name: str, domain: Domain, image_size: int | None, channels: int | None
) -> Decoded:
    """Decode a domain; a picture of several splits stays in the test or else validation split."""
    purposes = [purpose for purpose in reversed(ALL) if purpose in domain]
    parts = [domain[purpose] for purpose in purposes]
    labels = [_read_labels(files, part) for part in parts]
    label_files = sum(found is not None for found in labels)
    classes = list(map(_find_classes, parts, labels))
    class_names = _name_classes(files, parts, classes, int if label_files == len(parts) else str)
    decoded = decode(files, name, [part.names for part in parts], image_size, channels)
    remarks = ["no classes"]
    if class_names:
        how = f"classes by {LABELS}" if label_files else "classes"
        remarks = [f"{len(class_names)} {how}: {_shorten(class_names)}"]
    number = {key: label for label, key in enumerate(class_names or ())}
    splits = {}
    for purpose, part, own, (images, order) in zip(purposes, parts, classes, decoded, strict=True):
        known = None
        if class_names and own:
            known = np.array([number[key] for key in own], dtype=np.int64)[order]
        splits[purpose] = Split(images, known)
        if twice := len(part.names) - len(order):
            remarks.append(f"{twice:,} of {part.folder} left out: they stand in other splits too")
    return Decoded(splits, class_names, remarks, label_files)


def _read_labels(files: Files, part: Part) -> list[str] | None:
    """Return the class of every picture by a file of labels, [] without any, None without it."""
    content = files.read(part.folder + LABELS)
    if content is None:
        return None
    try:
        labels = dict(json.loads(content)["labels"] or {})
        inner = (name.removeprefix(part.folder) for name in part.names)
        return [f"{labels[name]:d}" for name in inner] if labels else []
    except (KeyError, ValueError, TypeError) as error:
        raise BadInput(
            f"{files.describe(part.folder + LABELS)} ({describe_error(error)}): it needs a class "
            'number for every picture, {"labels": [["00000/img00000000.png", 3], …]}, or '
            '{"labels": null}'
        ) from error


def _find_classes(part: Part, labels: list[str] | None) -> list[str] | None:
    if labels is not None:
        return labels or None
    inner = [name.removeprefix(part.folder) for name in part.names]
    tops = [name.partition("/")[0] for name in inner]
    return None if set(tops) & set(inner) else tops


def _name_classes(
    files: Files,
    parts: Sequence[Part],
    classes: Sequence[list[str] | None],
    key: Callable[[str], int | str],
) -> tuple[str, ...] | None:
    """Return the classes of the training images, the last part; None where some images lack one."""
    known = [set(own) for own in classes if own]
    if len(known) < len(parts):
        return None
    for part, names in zip(parts, known, strict=True):
        if strange := sorted(names - known[-1]):
            folder = files.describe(part.folder)
            raise BadInput(f"{folder} has the class {strange[0]!r}, the training images no")
    return tuple(sorted(known[-1], key=key)) if len(known[-1]) > 1 else None
