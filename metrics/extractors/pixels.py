"""The extractor `pixels`: principal components, which see an image as nothing but its pixels."""

import torch
from scipy.linalg import eigh
from torch import Tensor, nn

from metrics.extractors.base import Extractor, Material
from metrics.registry import extractor

RECIPE = (
    "pixels 1: {values}, all channels at their own size, less the mean of the training images; "
    "their leading principal components, at most 64, not whitened"
)

VALUES = {torch.uint8: "8 bits divided by 255", torch.float32: "coordinates in [0, 1] as they are"}
"""The values that components are of, by the type of the images."""

DIMENSION = 64
ENTRIES = 2**24
"""Pixels from which the components are found, which bounds the time; more images are thinned."""


class PixelsNetwork(nn.Module):
    """Images [n, C, S, S] to features [n, d], their coordinates along the components [D, d]."""

    mean: Tensor
    components: Tensor

    def __init__(self, mean: Tensor, components: Tensor) -> None:
        super().__init__()
        self.register_buffer("mean", mean)
        self.register_buffer("components", components)

    def forward(self, images: Tensor) -> tuple[Tensor, None]:
        """Return features, and None for logits."""
        return (flatten(images, self.mean.dtype) - self.mean) @ self.components, None


def flatten(images: Tensor, dtype: torch.dtype) -> Tensor:
    """Return images as rows [n, D] of values in [0, 1]."""
    rows = images.flatten(1).to(dtype)
    return rows / 255 if images.dtype == torch.uint8 else rows


class PixelsExtractor(Extractor):
    """The leading principal components of training images.

    They are not whitened: distances between features are those between images, as far as the
    components reach, while whitening would let directions that hardly vary, noise mostly, count as
    much as the foremost. In the plane, features are the points themselves, centred and turned.

    Of images uint8 [N, C, S, S] of any C, or points of the plane, float32 [N, 2, 1, 1] in [0, 1].
    Raises ValueError where they are neither, or all the same.
    """

    def __init__(self, images: Tensor, device: str | torch.device = "cpu") -> None:
        kind = images.dtype
        points = kind == torch.float32 and images.shape[1:] == (2, 1, 1)
        if images.ndim != 4 or not (kind == torch.uint8 or points):
            raise ValueError(
                "the extractor 'pixels' takes uint8 images [N, C, S, S] or float32 points "
                f"[N, 2, 1, 1], not {kind} {list(images.shape)}"
            )
        self.kind, self.shape = kind, images.shape[1:]
        mean, components = find_components(images)
        super().__init__(
            "pixels",
            PixelsNetwork(mean.float(), components.float()),
            dimension=components.shape[1],
            recipe=RECIPE.format(values=VALUES[kind]),
            device=device,
            channels=images.shape[1],
        )

    def _check(self, images: Tensor) -> None:
        if images.dtype != self.kind or images.shape[1:] != self.shape or len(images) == 0:
            raise ValueError(
                f"the extractor 'pixels' of {self.kind} images {['N', *self.shape]} takes such "
                f"images, not {images.dtype} {list(images.shape)}"
            )
        low, high = images.amin().item(), images.amax().item()
        if images.is_floating_point() and not 0 <= low <= high <= 1:
            raise ValueError(
                "the extractor 'pixels' takes points with coordinates in [0, 1], not in "
                f"[{low:.3g}, {high:.3g}]"
            )


def find_components(images: Tensor) -> tuple[Tensor, Tensor]:
    """Return the mean [D] and the leading principal components [D, d] of images, float64.

    They are the eigenvectors of the covariance, by way of the images' products with one another
    where these are the fewer. d is at most 64, and as many as the images vary in. The largest entry
    of each is positive, since its sign would else be an accident. Raises ValueError where the
    images do not differ.
    """
    count = max(2, ENTRIES // images[:1].numel())
    chosen = torch.linspace(0, len(images) - 1, min(count, len(images))).round().long()
    rows = flatten(images[chosen].cpu(), torch.float64)
    mean = rows.mean(dim=0)
    rows -= mean
    wide = rows.shape[1] > rows.shape[0]
    products = rows @ rows.T if wide else rows.T @ rows
    size = len(products)
    d = min(DIMENSION, size)
    λ, vectors = (torch.from_numpy(a) for a in eigh(products, subset_by_index=(size - d, size - 1)))
    kept = λ > 1e-12 * products.trace()
    if not kept.any():
        raise ValueError("the extractor 'pixels' needs training images that differ, not all equal")
    λ, vectors = λ[kept].flip(0), vectors[:, kept].flip(1)
    components = rows.T @ vectors / λ.sqrt() if wide else vectors
    largest = components.gather(0, components.abs().argmax(dim=0, keepdim=True))
    return mean, components * largest.sign()


@extractor(
    name="pixels",
    summary="the pixels' first principal components (up to 64 features, no logits), any channels",
)
def build_pixels(material: Material) -> Extractor:
    """Find the components of the training images."""
    return PixelsExtractor(material.images, material.device)
