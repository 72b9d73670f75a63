"""Images as numbers, and numbers as pictures."""

import io

import numpy as np
import torch
from PIL import Image
from torch import Tensor


def quantise(images: Tensor) -> Tensor:
    """Clamp, scale and round float images in [0, 1] to uint8, as if they were saved to a file."""
    return images.clamp(0, 1).mul(255).round().to(torch.uint8)


def to_float(images: Tensor) -> Tensor:
    """Scale uint8 images to float32 in [0, 1]."""
    return images.float() / 255


def encode_tiles(rows: list[Tensor]) -> bytes:
    """Encode rows of equally many uint8 images [N, C, S, S] as one PNG, tiles without borders."""
    lines = [torch.cat(list(row.cpu()), dim=2) for row in rows]
    pixels = torch.cat(lines, dim=1).permute(1, 2, 0).numpy()
    file = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels.squeeze())).save(file, "PNG", optimize=True)
    return file.getvalue()
