"""One rule for the size and channels of pictures, whatever data set they come from."""

from typing import TYPE_CHECKING

import numpy as np

from benchmarks.core.errors import BadInput
from benchmarks.data.cache import allocate
from benchmarks.data.dataset import Split

if TYPE_CHECKING:
    from PIL import Image

SMALLEST, LARGEST = 4, 1024


def check_shape(image_size: int | None, channels: int | None) -> None:
    """Refuse a size or a number of channels that no data set can have."""
    if image_size is not None and not SMALLEST <= image_size <= LARGEST:
        raise BadInput(f"image size {image_size}: choose from {SMALLEST} to {LARGEST} pixels")
    if channels not in (None, 1, 3):
        raise BadInput(f"{channels} channels: choose 1 (grey) or 3 (colour)")


def fit_picture(picture: "Image.Image", image_size: int, channels: int) -> np.ndarray:
    """Convert a picture of mode L or RGB.

    The shorter side is brought to `image_size` and the longer one cropped about its centre. The
    filter is Pillow's bicubic, which is antialiased when it shrinks (Parmar et al. 2022). Colour
    becomes grey by the luma of ITU-R 601. The result is uint8 [channels, image_size, image_size].
    """
    from PIL import Image, ImageOps

    picture = picture.convert("L" if channels == 1 else "RGB")
    size = (image_size, image_size)
    pixels = np.asarray(ImageOps.fit(picture, size, method=Image.Resampling.BICUBIC))
    return pixels[None] if channels == 1 else pixels.transpose(2, 0, 1)


def fit(split: Split, image_size: int | None, channels: int | None) -> Split:
    """Bring images to a size and a number of channels; None keeps what they have."""
    from PIL import Image

    shape = (channels or split.images.shape[1], *(image_size or s for s in split.images.shape[2:]))
    if split.images.shape[1:] == shape:
        return split
    if split.images.shape[1] == 1 and split.images.shape[2:] == shape[1:]:
        return Split(np.broadcast_to(split.images, (len(split), *shape)), split.labels)
    images = allocate((len(split), *shape))
    for index, image in enumerate(split.images):
        pixels = image[0] if len(image) == 1 else image.transpose(1, 2, 0)
        images[index] = fit_picture(Image.fromarray(pixels), shape[1], shape[0])
    return Split(images, split.labels)
