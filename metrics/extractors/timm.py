"""The extractors `timm:NAME`: encoders pretrained by others, by their names in timm."""

import logging
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F

from metrics.extractors.base import Extractor, Material, NotReady, exact, first_line, hint_nearest
from metrics.registry import extractor

RECIPE = (
    "timm 1: {name}; 8 bits divided by 255, grey repeated to RGB; {interpolation} resizing with "
    "anti-aliasing, in float32, to {resized}, limited to [0, 1]; centre crop to {size}; mean "
    "{mean}, deviation {std}; pooled output"
)

EXTRA = 'pip install -e ".[timm]"'


class TimmNetwork(nn.Module):
    """uint8 images [n, 1 or 3, S, S] to an encoder's pooled output [n, d].

    The encoder takes normalised images [n, 3, height, width], as the `config` that timm resolves.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, encoder: nn.Module, config: dict[str, Any]) -> None:
        super().__init__()
        self.encoder = encoder
        self.size = config["input_size"][1:]
        self.resized = [int(side / config["crop_pct"]) for side in self.size]
        self.interpolation = config["interpolation"]
        self.register_buffer("mean", torch.tensor(config["mean"]).view(1, 3, 1, 1))
        self.register_buffer("deviation", torch.tensor(config["std"]).view(1, 3, 1, 1))

    def forward(self, images: Tensor) -> tuple[Tensor, None]:
        """Return features, and None for logits."""
        x = F.interpolate(
            images.float() / 255, self.resized, mode=self.interpolation, antialias=True
        ).clamp(0, 1)
        top, left = ((r - s) // 2 for r, s in zip(self.resized, self.size, strict=True))
        x = x[..., top : top + self.size[0], left : left + self.size[1]]
        return self.encoder((x.expand(-1, 3, -1, -1) - self.mean) / self.deviation), None


class TimmExtractor(Extractor):
    """An encoder of timm without its classifier, and with its own preprocessing.

    Images are resized and cropped as timm evaluates the encoder, by Pillow's kernels, but are not
    rounded to 8 bits in between.

    The name is of a model of timm, with the tag of its weights where it has several. A file of
    weights is `model.safetensors` of the model's page at the Hugging Face Hub, None to download it
    on first use. Raises ValueError where timm is not installed or knows no such model, or the
    weights cannot be downloaded or read, or are of another model.
    """

    def __init__(
        self, name: str, weights: Path | None = None, device: str | torch.device = "cpu"
    ) -> None:
        check_name(name)
        from timm.data import resolve_model_data_config

        encoder = download_encoder(name) if weights is None else read_encoder(name, weights)
        config = resolve_model_data_config(encoder)
        network = TimmNetwork(encoder.eval(), config)
        with exact(), torch.inference_mode():
            probe = network(torch.zeros(1, 3, *network.size, dtype=torch.uint8))[0]
        super().__init__(
            f"timm:{name}",
            network,
            dimension=probe.shape[1],
            recipe=RECIPE.format(
                name=name, resized=network.resized, size=list(network.size), **config
            ),
            device=device,
            batch=64,
        )


def check_name(name: str) -> None:
    """Check that timm is there and has a model of that name; else raise ValueError."""
    try:
        import timm
    except ImportError as problem:
        message = f"the extractor 'timm:{name}' needs the package timm: {EXTRA}"
        raise ValueError(message) from problem
    known = {*timm.list_models(), *timm.list_pretrained()}
    if name not in known:
        hint = hint_nearest(name, known)
        raise ValueError(f"timm has no model {name!r}: {hint}timm.list_pretrained() lists them")


def list_downloaded() -> list[str]:
    """List the encoders whose weights timm has downloaded before, DINOv2's first."""
    try:
        from huggingface_hub.constants import HF_HUB_CACHE
        from timm import list_pretrained
    except ImportError:
        return []
    prefix = "models--timm--"
    files = Path(HF_HUB_CACHE).glob(f"{prefix}*/snapshots/*/model.safetensors")
    found = {file.parts[-4].removeprefix(prefix) for file in files}
    known = [name for name in list_pretrained() if name in found]
    return sorted(known, key=lambda name: ("dinov2" not in name, name))


def find_timm_weights(name: str) -> Path | None:
    """Return the file of an encoder's weights where timm has downloaded it before, else None."""
    check_name(name)
    from huggingface_hub import try_to_load_from_cache
    from timm.models import get_pretrained_cfg

    config = get_pretrained_cfg(name)
    place = config.hf_hub_id if config else None
    found = try_to_load_from_cache(place, "model.safetensors") if place else None
    return Path(found) if isinstance(found, str) else None


def download_encoder(name: str) -> nn.Module:
    """Build an encoder with the weights that timm downloads, or has downloaded before."""
    hub = logging.getLogger("huggingface_hub")
    level = hub.level
    hub.setLevel(logging.CRITICAL)  # or else it warns of each attempt to connect
    try:
        return _create(name, pretrained=True)
    except (OSError, RuntimeError, ValueError, SafetensorError) as problem:
        raise ValueError(
            f"cannot download the weights of timm's {name!r} "
            f"({first_line(problem).partition('. ')[0]}): fetch the "
            "model.safetensors of its page at the Hugging Face Hub elsewhere and pass it by "
            "--inception-weights FILE"
        ) from problem
    finally:
        hub.setLevel(level)


def read_encoder(name: str, path: Path) -> nn.Module:
    """Build an encoder with the weights in a file; those of a classifier are left out."""
    try:
        state = load_file(path)
    except (OSError, SafetensorError) as problem:
        reason = problem.strerror if isinstance(problem, OSError) else "it is no safetensors file"
        raise ValueError(
            f"cannot read weights of timm's {name!r} from {path} ({reason or 'no such file'}): "
            "pass --inception-weights the model.safetensors of its page at the Hugging Face Hub"
        ) from problem
    encoder = _create(name, pretrained=False)
    try:
        missing = encoder.load_state_dict(state, strict=False).missing_keys
    except RuntimeError as problem:
        raise ValueError(f"{path} holds no weights of timm's {name!r}: shapes differ") from problem
    if missing:
        raise ValueError(f"{path} holds no weights of timm's {name!r}: it lacks {missing[0]}")
    return encoder


def _create(name: str, *, pretrained: bool) -> nn.Module:
    import timm

    with torch.random.fork_rng(devices=[]):  # initial weights, all of them replaced
        encoder: nn.Module = timm.create_model(name, pretrained=pretrained, num_classes=0)
    return encoder


@extractor(
    name="timm:NAME",
    summary="an encoder of timm, such as timm:vit_small_patch14_dinov2.lvd142m (no logits)",
    weights=True,
)
def build_timm(material: Material, name: str) -> Extractor:
    """Read the encoder's weights from `material.weights`, or download them."""
    weights = material.weights or find_timm_weights(name)
    if material.ready and not weights:
        raise NotReady("downloads its weights first")
    return TimmExtractor(name, weights, material.device)
