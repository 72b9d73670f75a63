"""The extractor `inception`: the network of the FID and Inception Score papers."""

import io
import pickle
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from metrics.features import Extractor, Material, extractor

RECIPE = (
    "inception 1: grey repeated to RGB; resized to 299 pixels as TensorFlow 1 does, without "
    "anti-aliasing; (x - 128) / 128; 2048 features of the last pool, logits without bias"
)

LAYERS = ("2048", "logits_unbiased")


class Network(nn.Module):
    """uint8 images [n, 1 or 3, S, S] to features [n, 2048] and logits [n, 1008]."""

    def __init__(self, inception: nn.Module) -> None:
        super().__init__()
        self.inception = inception

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return features and logits."""
        features, logits = self.inception(images.expand(-1, 3, -1, -1))
        return features, logits


class InceptionExtractor(Extractor):
    """Inception v3 of 2015 as ported and resized by torch-fidelity, TensorFlow's own weights.

    It was made for colour photographs; on small grey images its distances say little.

    Args:
        weights: a file of weights as published by torch-fidelity (a state dict in torch's format),
            None to download that file on first use into torch's hub folder.
        device: where it runs.

    Raises:
        ValueError: where the weights cannot be downloaded or read, or are of another network.
    """

    def __init__(self, weights: Path | None = None, device: str | torch.device = "cpu") -> None:
        state = _download() if weights is None else _read(weights)
        super().__init__(
            "inception",
            Network(_construct(state, weights)),
            dimension=2048,
            classes=1008,
            channels=None,
            recipe=RECIPE,
            device=device,
        )


def _download() -> Any:
    from torch_fidelity.feature_extractor_inceptionv3 import URL_INCEPTION_V3

    try:
        return torch.hub.load_state_dict_from_url(
            URL_INCEPTION_V3, map_location="cpu", progress=False, weights_only=True
        )
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError) as problem:
        raise ValueError(
            f"cannot download the Inception weights from {URL_INCEPTION_V3} "
            f"({_line(problem)}): fetch that file elsewhere and pass --inception-weights FILE"
        ) from problem


def _read(path: Path) -> Any:
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as problem:  # what is no file of weights fails in any way
        reason = problem.strerror if isinstance(problem, OSError) else "it holds no plain tensors"
        raise ValueError(
            f"cannot read Inception weights from {path} ({reason}): pass "
            "--inception-weights the file that torch-fidelity publishes"
        ) from problem


def _construct(state: Any, path: Path | None) -> nn.Module:
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
            f"network ({_line(problem)})"
        ) from problem
    return network


def _line(problem: BaseException) -> str:
    return str(problem).strip().partition("\n")[0] or type(problem).__name__


@extractor(
    name="inception",
    summary="the FID network, TensorFlow's Inception v3 (2048 features, logits), downloaded once",
)
def build_inception(material: Material) -> Extractor:
    """Read the network's weights from `material.weights`, or download them."""
    return InceptionExtractor(material.weights, material.device)
