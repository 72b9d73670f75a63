"""The extractor `random`: features of an untrained network, which owe nothing to any labels."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from metrics.extractors.base import Extractor, Material
from metrics.registry import extractor

RECIPE = (
    "random 1: images in [-1, 1]; 3x3 convolutions of 32, 64 (stride 2) and 16 (stride 2) channels "
    "with ReLU and He initialisation; averages over 2 x 2 quarters"
)

WIDTHS = (32, 64, 16)
DIMENSION = 4 * WIDTHS[-1]


class RandomNetwork(nn.Module):
    """uint8 images [n, C, S, S] to features [n, 64]: 16 responses in each quarter of the image."""

    def __init__(self, channels: int, seed: int) -> None:
        super().__init__()
        rng = torch.Generator().manual_seed(seed)
        shapes = zip((channels, *WIDTHS), WIDTHS, strict=False)
        self.weights = nn.ParameterList(
            torch.randn(outputs, inputs, 3, 3, generator=rng) * (2 / (9 * inputs)) ** 0.5
            for inputs, outputs in shapes
        )

    def forward(self, images: Tensor) -> tuple[Tensor, None]:
        """Return features, and None for logits."""
        x = images.float() / 127.5 - 1
        for layer, weight in enumerate(self.weights):
            x = F.conv2d(x, weight, stride=min(layer, 1) + 1, padding=1).relu_()
        return F.adaptive_avg_pool2d(x, 2).flatten(1), None


class RandomExtractor(Extractor):
    """An untrained convolutional network, the same for every data set of as many channels.

    Such features separate images well enough to rank them (Naeem et al. 2020, section 3.2) and
    share nothing with a trained network's view. `channels` are those of the images, 1 or 3.
    """

    def __init__(self, channels: int, seed: int = 0, device: str | torch.device = "cpu") -> None:
        network = RandomNetwork(channels, seed)
        super().__init__(
            "random", network, dimension=DIMENSION, recipe=RECIPE, device=device, channels=channels
        )


@extractor(
    name="random",
    summary="a seeded, untrained conv net (64 features, no logits): needs neither labels nor files",
)
def build_random(material: Material) -> Extractor:
    """Build the network for as many channels as the images have."""
    return RandomExtractor(material.images.shape[1], device=material.device)
