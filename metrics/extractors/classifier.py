"""The extractor `classifier`: a small convolutional net trained on the labels of the data set."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from metrics.extractors.base import Extractor, Material, NotReady, exact
from metrics.registry import extractor

RECIPE = (
    "classifier 1: images standardised by channel; 3x3 convolutions with batch normalisation, "
    "16 channels, doubled to 64 at each stride of 2 down to 7 pixels or fewer, two more of 64, "
    "global average; AdamW, one cycle to 0.01, batch 128, 4 epochs or 500 steps, random shifts"
)
"""Names the recipe in the hash and in the cache; change the number with anything it leaves out."""

DIMENSION = 64
BATCH, EPOCHS, STEPS, RATE = 128, 4, 500, 0.01


class ClassifierNetwork(nn.Module):
    """uint8 images [n, C, S, S] to features [n, 64] and logits [n, K].

    The features are the averages over a map of rectified responses, as in the Inception network.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, channels: int, side: int, classes: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(1, channels, 1, 1))
        self.register_buffer("deviation", torch.ones(1, channels, 1, 1))
        width = 16
        layers = [_convolution_block(channels, width)]
        while side > 7:
            wider = min(2 * width, DIMENSION)
            layers.append(_convolution_block(width, wider, stride=2))
            width, side = wider, (side + 1) // 2
        layers += [_convolution_block(width, DIMENSION), _convolution_block(DIMENSION, DIMENSION)]
        self.body = nn.Sequential(*layers)
        self.head = nn.Linear(DIMENSION, classes)
        self.to(memory_format=torch.channels_last)  # a fifth faster on the CPU

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return features and logits."""
        x = (images.float() / 255 - self.mean) / self.deviation
        x = x.contiguous(memory_format=torch.channels_last)
        features = self.body(x).mean(dim=(2, 3))
        return features, self.head(features)


def _convolution_block(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(),
    )


class ClassifierExtractor(Extractor):
    """A trained `ClassifierNetwork` and the shape [C, S, S] of its images."""

    def __init__(
        self, network: ClassifierNetwork, shape: tuple[int, int, int], device: str | torch.device
    ):
        self.shape = shape
        super().__init__(
            "classifier",
            network,
            dimension=DIMENSION,
            recipe=RECIPE,
            device=device,
            classes=network.head.out_features,
            channels=shape[0],
        )


@torch.enable_grad()  # whatever the caller has switched off
def train_classifier(
    images: Tensor,
    labels: Tensor,
    *,
    classes: int,
    seed: int = 0,
    device: str | torch.device = "cpu",
) -> ClassifierExtractor:
    """Train the classifier that supplies features and class probabilities.

    Plain cross-entropy, so that its probabilities mean something to the Inception Score. The
    weights are a function of images, labels, seed, device and number of threads, bit for bit; the
    global random state is left as it was.

    Of uint8 images [N, C, S, S] with C of 1 or 3, and integer labels [N] in [0, `classes`), of 2 or
    more classes. Raises ValueError where these do not fit each other.
    """
    _check_labelled(images, labels, classes)
    shape = (images.shape[1], images.shape[2], images.shape[3])
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        network = ClassifierNetwork(shape[0], shape[1], classes)
    images, labels = images.to(device), labels.to(device)
    _set_statistics(network, images)
    network.to(device)
    with exact():
        _run_steps(network, images, labels, torch.Generator().manual_seed(seed))
    return ClassifierExtractor(network, shape, device)


def _check_labelled(images: Tensor, labels: Tensor, classes: int) -> None:
    if images.dtype != torch.uint8 or images.ndim != 4 or images.shape[1] not in (1, 3):
        needed = "uint8 images [N, C, S, S] with C = 1 or 3"
        raise ValueError(
            f"a classifier trains on {needed}, not {images.dtype} {list(images.shape)}"
        )
    if labels.shape != images.shape[:1] or len(images) < 2:
        found = f"{len(images)} images with labels {list(labels.shape)}"
        raise ValueError(f"a classifier needs 2 or more images with a label each, not {found}")
    low, high = int(labels.min()), int(labels.max())
    if classes < 2 or low < 0 or high >= classes:
        found = f"{classes} classes and labels in [{low}, {high}]"
        needed = "2 or more classes and labels in [0, classes)"
        raise ValueError(f"a classifier needs {needed}, not {found}")


def _set_statistics(network: ClassifierNetwork, images: Tensor) -> None:
    """Set the mean and deviation of each channel from its histogram, exactly and in any memory."""
    levels = torch.arange(256, dtype=torch.float64) / 255
    for channel in range(images.shape[1]):
        counts = torch.zeros(256, dtype=torch.int64)
        for part in images.split(1024):
            counts += part[:, channel].flatten().bincount(minlength=256).cpu()
        share = counts / counts.sum(dtype=torch.float64)
        network.mean[0, channel] = mean = (share * levels).sum()
        deviation = (share * (levels - mean).square()).sum().sqrt()
        network.deviation[0, channel] = deviation.clamp(min=1 / 255)


def _run_steps(
    network: ClassifierNetwork, images: Tensor, labels: Tensor, rng: torch.Generator
) -> None:
    batch = min(BATCH, len(images))
    steps = max(EPOCHS * (len(images) // batch), STEPS)
    optimizer = torch.optim.AdamW(network.parameters(), lr=RATE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=steps)
    order: list[Tensor] = []
    network.train()
    for _ in range(steps):
        if not order:
            shuffled = torch.randperm(len(images), generator=rng)
            order = [part for part in shuffled.split(batch) if len(part) == batch]
        rows = order.pop().to(images.device)
        _, logits = network(_shift(images[rows], rng))
        optimizer.zero_grad()
        F.cross_entropy(logits, labels[rows]).backward()
        optimizer.step()
        schedule.step()


def _shift(images: Tensor, rng: torch.Generator) -> Tensor:
    """Move each image by up to a fourteenth of its side, repeating its border."""
    count, _, height, width = images.shape
    reach = max(1, height // 14)
    by = torch.randint(-reach, reach + 1, (2, count, 1), generator=rng)
    rows = (torch.arange(height) + by[0]).clamp(0, height - 1).to(images.device)
    columns = (torch.arange(width) + by[1]).clamp(0, width - 1).to(images.device)
    index = torch.arange(count, device=images.device)[:, None, None]
    return images[index, :, rows[:, :, None], columns[:, None, :]].movedim(-1, 1)


@extractor(
    name="classifier",
    summary="a small conv net trained on the data set's labels (64 features, logits), cached",
)
def build_classifier(material: Material) -> Extractor:
    """Train the classifier of labelled training images."""
    images, labels, classes = material.images, material.labels, material.classes
    if labels is None or classes is None:
        raise ValueError(
            "the extractor 'classifier' needs labels, and these images have none: "
            "choose 'inception', 'timm:NAME' or 'pixels'"
        )
    if material.ready:
        _check_labelled(images, labels, classes)
        raise NotReady(f"is trained first, on {len(images):,} images of {classes} classes")
    return train_classifier(images, labels, classes=classes, device=material.device)
