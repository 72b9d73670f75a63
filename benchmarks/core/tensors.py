"""Images between arrays, tensors of uint8 and floats in [0, 1]."""

import warnings

import numpy as np
import torch
from torch import Tensor


def quantize(images: Tensor, dtype: torch.dtype = torch.uint8) -> Tensor:
    """Bring generated images, float in [0, 1], to the type in which the real ones are kept.

    They are clamped, and for uint8 scaled and rounded too, as if they were saved to a file; points,
    which are kept as float32, are not rounded.
    """
    clamped = images.clamp(0, 1)
    return clamped.mul_(255).round_().to(torch.uint8) if dtype == torch.uint8 else clamped.to(dtype)


def to_float(images: Tensor) -> Tensor:
    """Scale uint8 images to float32 in [0, 1]; points are so already, and stay as they are."""
    return images.float() / 255 if images.dtype == torch.uint8 else images.float()


def as_tensor(images: np.ndarray) -> Tensor:
    """View an array as a tensor; nothing writes to it, whether or not it could be written to."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        return torch.from_numpy(images)
