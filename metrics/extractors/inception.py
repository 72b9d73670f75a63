"""The extractor `inception`: the network of the FID and Inception Score papers."""

import hashlib
import io
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_eval

from metrics.extractors.base import (
    Extractor,
    Material,
    NotReady,
    first_line,
    hint_nearest,
    warn_once,
)
from metrics.registry import extractor

RECIPE = (
    "inception 1: 8 bits of [0, 255]; resized to 299 pixels as TensorFlow 1 does, without "
    "anti-aliasing; grey repeated to RGB; (x - 128) / 128; 2048 features of the last pool, logits "
    "without bias"
)

WEIGHTS = "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2"
"""SHA-256 of the published file of weights, as stated by snap-research/discoscene,
models/inception_model.py; its first eight digits are in the file's own name."""

HALVES = {"bfloat16": torch.bfloat16, "float16": torch.float16}
"""Precisions of 16 bits, in which the convolutions run at about twice the speed where a processor
has instructions for them."""

LAYERS = ("2048", "logits_unbiased")
SIDE = 299

STEM = 4
"""Images that go through the first layers at a time on the CPU: 22 MB a map, which glibc's malloc
keeps, where it would fetch larger ones anew from the system each time."""


class InceptionNetwork(nn.Module):
    """uint8 images [n, 1 or 3, S, S] to features [n, 2048] and logits [n, 1008].

    What torch-fidelity's network computes up to rounding, nearly twice as fast on the CPU: in the
    channels-last layout, with batch normalisation folded into the convolutions, and resized by
    matrix products.

    Torch-fidelity's network is changed. With `compile`, torch compiles this one, once for each
    batch size that it meets. Convolutions run in `dtype`; the last average and the logits in
    float32.
    """

    def __init__(
        self,
        inception: nn.Module,
        *,
        compile: bool = False,  # noqa: A002
        dtype: torch.dtype = torch.float32,
    ) -> None:
        super().__init__()
        fold_normalisation(inception)
        names, layers = zip(*inception.named_children(), strict=True)
        cut = names.index("MaxPool_2") + 1
        self.stem = nn.Sequential(*layers[:cut])
        body = nn.Sequential(*layers[cut:-2], Widen(), layers[-2], nn.Flatten())
        self.body: nn.Module = average_last(body)
        self.weight = layers[-1].weight
        self.dtype = dtype
        self.stem.to(dtype)
        self.body.to(dtype)
        self.to(memory_format=torch.channels_last)
        if compile:
            options: dict[str, Any] = {"freezing": True}  # weights in oneDNN's own layout
            self.stem.compile(dynamic=False, options=options)
            self.body.compile(dynamic=False, options=options)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return features and logits."""
        part = STEM if images.device.type == "cpu" else len(images)
        maps = torch.cat([self.stem(resize(some).to(self.dtype)) for some in images.split(part)])
        features = self.body(maps)
        return features, features @ self.weight.T


class Widen(nn.Module):
    """Activations to float32."""

    def forward(self, x: Tensor) -> Tensor:
        """Return x in float32."""
        return x.float()


def resize(images: Tensor) -> Tensor:
    """Return images [n, 1 or 3, height, width] of [0, 255] as [n, 3, 299, 299] of [-1, 1).

    Interpolation is linear in the pixels of each axis, so it is a product with a matrix from either
    side.
    """
    x = (images.float() - 128) / 128
    rows, columns = (interpolation(side, images.device) for side in images.shape[2:])
    x = rows @ x @ columns.T
    return x.expand(-1, 3, -1, -1).contiguous(memory_format=torch.channels_last)


@cache
def interpolation(side: int, device: torch.device) -> Tensor:
    """Return the matrix [299, side] that resizes an axis as `tf.image.resize_bilinear` does.

    In TensorFlow 1, pixel i of the result lies at i · side / 299 between the pixels of the image,
    as if pixels were points at their upper left corners.
    """
    place = torch.arange(SIDE, dtype=torch.float32) * torch.tensor(side / SIDE)
    below = place.long()
    above = (below + 1).clamp(max=side - 1)
    share = (place - below)[:, None]
    eye = torch.eye(side)
    return ((1 - share) * eye[below] + share * eye[above]).to(device)


def fold_normalisation(network: nn.Module) -> None:
    """Fold each batch normalisation into the convolution before it, in float64."""
    blocks: list[Any] = [module for module in network.modules() if hasattr(module, "bn")]
    for block in blocks:
        fused = fuse_conv_bn_eval(block.conv.double(), block.bn.double())
        block.conv, block.bn = fused.float(), nn.Identity()


def average_last(layers: nn.Module) -> fx.GraphModule:
    """Move the 1×1 convolutions after an average pool before it, where there is less to average.

    Both are linear, one acts on channels and the other on places, so they commute.
    """
    traced = fx.symbolic_trace(layers)
    for pool in traced.graph.nodes:
        if pool.target is F.avg_pool2d:
            (convolution,) = pool.users
            (rectifier,) = convolution.users
            convolution.args = pool.args[:1]
            pool.args = (convolution,)
            rectifier.args = (pool, *rectifier.args[1:])
            convolution.append(pool)
    traced.recompile()
    return traced


class InceptionExtractor(Extractor):
    """Inception v3 of 2015 as ported and resized by torch-fidelity, TensorFlow's own weights.

    It was made for colour photographs; on small grey images its distances say little. It computes
    in float32 everywhere, on CUDA without TF32, unless told otherwise.

    Args:
        weights: a file of weights as published by torch-fidelity (a state dict in torch's format),
            None to download that file on first use into torch's hub folder.
        device: where it runs.
        compile: whether torch compiles the network, which takes about a minute and on the CPU a C++
            compiler; features change by rounding.
        precision: of the convolutions: float32, bfloat16, or float16 on CUDA. Another one is
            another extractor, with a name and a hash of its own.

    Raises:
        ValueError: where the weights cannot be downloaded or read, or are of another network, or
            there is no such precision on the device.
    """

    def __init__(
        self,
        weights: Path | None = None,
        device: str | torch.device = "cpu",
        *,
        compile: bool = False,  # noqa: A002
        precision: str = "float32",
    ) -> None:
        dtype = _check_precision(precision, torch.device(device))
        name, recipe = "inception", RECIPE
        if dtype != torch.float32:
            name, recipe = f"inception:{precision}", f"{RECIPE}; convolutions in {precision}"
        state = _download_weights() if weights is None else _read_weights(weights)
        network = _build_network(state, weights)
        if weights and (difference := _find_difference(weights)):
            warn_once(f"{difference}; FID by it is no paper's")
        state = {name: tensor.clone() for name, tensor in network.state_dict().items()}
        super().__init__(
            name,
            InceptionNetwork(network, compile=compile, dtype=dtype),
            dimension=2048,
            recipe=recipe,
            device=device,
            classes=1008,
            batch=16 if torch.device(device).type == "cpu" else 128,
            state=state,
        )


def _check_precision(precision: str, device: torch.device) -> torch.dtype:
    if precision not in (known := {"float32": torch.float32} | HALVES):
        hint = hint_nearest(precision, known)
        raise ValueError(f"unknown precision {precision!r}: {hint}choose from {', '.join(known)}")
    if precision == "float16" and device.type == "cpu":
        raise ValueError("float16 is for GPUs: choose inception:bfloat16 on a CPU")
    return known[precision]


def find_inception_weights() -> Path | None:
    """Return the file of weights where it has been downloaded before, else None."""
    path = _locate_download()[1]
    return path if path.is_file() else None


def _locate_download() -> tuple[str, Path]:
    """Return the URL of the published weights, and the file in torch's hub folder."""
    from torch_fidelity.feature_extractor_inceptionv3 import URL_INCEPTION_V3 as URL

    return URL, Path(torch.hub.get_dir(), "checkpoints", Path(URL).name)


def _download_weights() -> Any:
    url, path = _locate_download()
    try:
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            torch.hub.download_url_to_file(url, str(path), WEIGHTS, progress=False)
    except (OSError, RuntimeError) as problem:
        raise ValueError(
            f"cannot download the Inception weights from {url} "
            f"({first_line(problem)}): fetch that file elsewhere and pass --inception-weights FILE"
        ) from problem
    if difference := _find_difference(path):
        raise ValueError(f"{difference}; delete it to have it downloaded again")
    return _read_weights(path)


def _find_difference(path: Path) -> str | None:
    """Return in a line how a file differs from the published weights, None where it does not."""
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    what = f"{path} is not the published file of Inception's weights"
    return None if found == WEIGHTS else f"{what}: its SHA256 is {found}, not {WEIGHTS}"


def _read_weights(path: Path) -> Any:
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as problem:  # what is no file of weights fails in any way
        reason = problem.strerror if isinstance(problem, OSError) else "it holds no plain tensors"
        raise ValueError(
            f"cannot read Inception weights from {path} ({reason}): pass "
            "--inception-weights the file that torch-fidelity publishes"
        ) from problem


def _build_network(state: Any, path: Path | None) -> nn.Module:
    """Build torch-fidelity's network around a state dict.

    Its constructor unpickles whatever file it is given, so it gets a copy of the tensors that were
    read without unpickling, written afresh in memory.
    """
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    copy = io.BytesIO()
    torch.save(state, copy)
    copy.seek(0)
    try:
        network: nn.Module = FeatureExtractorInceptionV3(
            "inception-v3-compat", list(LAYERS), feature_extractor_weights_path=copy
        )
    except (RuntimeError, TypeError, AttributeError) as problem:
        raise ValueError(
            f"{path or 'the downloaded file'} holds no weights of torch-fidelity's Inception "
            f"network ({first_line(problem)})"
        ) from problem
    return network


@extractor(
    name="inception",
    summary="the FID network, TensorFlow's Inception v3 (2048 features, logits), downloaded once",
    weights=True,
)
@extractor(
    name="inception:NAME",
    summary="the same in 16 bits, inception:bfloat16 or, on a GPU, inception:float16: quicker",
    weights=True,
)
def build_inception(material: Material, precision: str = "float32") -> Extractor:
    """Read the network's weights from `material.weights`, or download them."""
    if material.ready and not (material.weights or find_inception_weights()):
        raise NotReady("downloads its weights first, 95 MB")
    return InceptionExtractor(material.weights, material.device, precision=precision)
