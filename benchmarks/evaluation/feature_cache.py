"""What extractors cost once is kept in a folder: features of images, and trained classifiers.

A file is named after everything that its content depends on, down to rounding, so that what a run
computes does not depend on what the folder holds. A damaged file is logged and written again.
"""

import hashlib
import logging
import tempfile
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from benchmarks.core.files import write_atomically
from benchmarks.data.dataset import CHUNK
from metrics import ClassifierExtractor, Extractor, Features, Material, build_extractor
from metrics.extractors.base import hash_tensors, warn_once
from metrics.extractors.classifier import RECIPE, ClassifierNetwork

CLASSIFIERS = "classifier-*.safetensors"  # the names of the files of trained classifiers

log = logging.getLogger(__name__)


def cached_features(
    extractor: Extractor, images: Tensor | Callable[[], Features], key: str, folder: Path
) -> Features:
    """Return the features that `extractor` takes of `images`, from `folder` where it has them.

    `images` may be a function that takes their features; `key` is the fingerprint of their content.
    A folder that cannot be written costs a warning and the time.
    """
    text = repr((key, extractor.digest, extractor.batch, *rounding(extractor.device)))
    path = folder / f"features-{hashlib.sha256(text.encode()).hexdigest()[:32]}.safetensors"
    if path.exists():
        try:
            kept, _ = load_sealed(path, text)
            return Features(kept["features"], kept.get("logits"))
        except (ValueError, OSError) as problem:
            log.warning("%s holds no features (%s); computing them again", path, problem)
    found = extractor(images) if isinstance(images, Tensor) else images()
    tensors = {name: part for name, part in found._asdict().items() if part is not None}
    try:
        save_sealed(path, tensors, text)
    except OSError as problem:
        warn_once(
            f"features cannot be kept in {folder} ({problem.strerror or problem}) and are computed "
            "each time: choose another folder by the variable BENCHMARKS_CACHE"
        )
    return found


def rounding(device: torch.device) -> tuple[str, str, int]:
    """Return the causes of rounding: the version of torch, the processor's kind, the threads."""
    if device.type == "cuda":
        return torch.__version__, torch.cuda.get_device_name(device), 0
    if device.type != "cpu":
        return torch.__version__, device.type, 0
    return torch.__version__, torch.backends.cpu.get_cpu_capability(), torch.get_num_threads()


def fingerprint_images(images: Tensor) -> str:
    """Return the SHA-256, in hex, of a tensor [N, ...]: its type, shape and content."""
    sha = hashlib.sha256(f"{images.dtype} {list(images.shape)}".encode())
    for part in images.split(CHUNK):
        sha.update(part.detach().cpu().flatten().view(torch.uint8).numpy())
    return sha.hexdigest()


def build_cached(name: str, material: Material) -> Extractor:
    """Build the extractor `name`; a classifier is trained once and kept in `material.cache`.

    Raises:
        ValueError: as `build_extractor`, and where a classifier cannot be written to the folder,
            which is found before training unless the disk is full.
        NotReady: with `material.ready`, what it needs is not at hand.
    """
    if name != "classifier" or material.labels is None or material.classes is None:
        return build_extractor(name, material)
    path = classifier_path(material)
    if path.exists():
        try:
            return load_classifier(path, material.device)
        except ValueError as problem:
            log.warning("%s; training it again", problem)
    if material.ready:
        return build_extractor(name, material)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path.parent):
            built = build_extractor(name, material)
        save_classifier(path, built)
    except OSError as problem:
        raise ValueError(
            f"its weights cannot be kept in {path.parent} ({problem.strerror or problem}): choose "
            "another folder by the variable BENCHMARKS_CACHE"
        ) from problem
    return built


def classifier_path(material: Material) -> Path:
    """Return the file of the classifier that is trained on `material`."""
    kind = torch.device(material.device).type
    threads = torch.get_num_threads() if kind == "cpu" else 0
    shape, seed = list(material.images.shape), 0
    parts = (RECIPE, material.key, shape, material.classes, seed, kind, threads, torch.__version__)
    name = hashlib.sha256(repr(parts).encode()).hexdigest()[:16]
    return material.cache / CLASSIFIERS.replace("*", name)


def save_classifier(path: Path, classifier: Extractor) -> None:
    """Write a classifier as safetensors, whole or not at all."""
    assert isinstance(classifier, ClassifierExtractor)
    header = {"shape": "x".join(map(str, classifier.shape)), "classes": str(classifier.classes)}
    save_sealed(path, classifier.network.state_dict(), RECIPE, header)


def load_classifier(path: Path, device: str | torch.device = "cpu") -> ClassifierExtractor:
    """Read what `save_classifier` wrote; ValueError where it is damaged or of another recipe."""
    try:
        state, header = load_sealed(path, RECIPE)
        channels, side, width = map(int, header["shape"].split("x"))
        network = ClassifierNetwork(channels, side, int(header["classes"]))
        network.load_state_dict(state)
    except (KeyError, ValueError, RuntimeError) as problem:
        raise ValueError(f"{path} holds no classifier of this version: {problem}") from problem
    return ClassifierExtractor(network, (channels, side, width), device)


def save_sealed(
    path: Path, tensors: dict[str, Tensor], text: str, header: dict[str, str] | None = None
) -> None:
    """Write tensors as safetensors with their checksum, and a `header` beside them.

    The checksum covers `text` as well, which says what they are and which `load_sealed` needs.
    """
    tensors = {name: tensor.cpu().contiguous() for name, tensor in tensors.items()}
    write_atomically(path, save(tensors, {**(header or {}), "sha256": hash_tensors(tensors, text)}))


def load_sealed(path: Path, text: str) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Read what `save_sealed` wrote; ValueError where it is damaged or holds something else."""
    try:
        with safe_open(path, framework="pt") as file:
            header = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except SafetensorError as problem:
        raise ValueError(str(problem)) from problem
    if hash_tensors(tensors, text) != header.get("sha256"):
        raise ValueError("its content does not match its checksum")
    return tensors, header
