"""Source domains made from target images by a known transform.

Each transform maps uint8 images [N, C, S, S] and a generator to an array like the first.
"""

import functools
import hashlib

import numpy as np

from benchmarks.data.cache import derive
from benchmarks.data.dataset import Split, fingerprint_splits, slices
from benchmarks.data.registry import TRANSFORMS, transform


@transform
def negative(images: np.ndarray, _rng: np.random.Generator) -> np.ndarray:
    """Swap dark and light."""
    return 255 - images


@transform
def edges(images: np.ndarray, _rng: np.random.Generator) -> np.ndarray:
    """Draw outlines: how much brighter the brightest neighbour is (Rivest et al. 1993).

    This external morphological gradient stays sharp at 8x8 pixels, where a Sobel filter blurs. It
    takes the strongest channel and is not stretched, so that a faint image has faint edges.
    """
    from scipy.ndimage import grey_dilation

    gradient = grey_dilation(images, size=(1, 1, 3, 3), mode="nearest") - images
    return np.broadcast_to(gradient.max(axis=1, keepdims=True), images.shape)


@transform
def rotate(images: np.ndarray, _rng: np.random.Generator) -> np.ndarray:
    """Turn by 90 degrees, counter-clockwise."""
    return np.rot90(images, axes=(2, 3))


@transform
def blend(images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Blend with natural texture: the absolute difference with a random crop of a photograph.

    This is how MNIST-M was made (Ganin et al. 2016, section 5.2), with scikit-learn's two sample
    photographs in place of BSDS500.
    """
    channels, size = images.shape[1:3]
    photos = load_photographs(channels, size)
    blended = np.empty_like(images)
    for index, image in enumerate(images):
        photo = photos[rng.integers(len(photos))]
        top, left = (rng.integers(side - size + 1) for side in photo.shape[1:])
        crop = photo[:, top : top + size, left : left + size]
        blended[index] = np.abs(crop.astype(np.int16) - image)
    return blended


@functools.cache
def load_photographs(channels: int, size: int) -> tuple[np.ndarray, ...]:
    """scikit-learn's sample photographs as uint8 [C, 427, 640], enlarged if `size` needs it."""
    from PIL import Image, ImageOps
    from sklearn.datasets import load_sample_images

    photos = [Image.fromarray(photo) for photo in load_sample_images().images]
    pictures = [ImageOps.cover(photo, (max(size, min(photo.size)),) * 2) for photo in photos]
    if channels == 1:
        return tuple(np.asarray(picture.convert("L"))[None] for picture in pictures)
    return tuple(np.asarray(picture).transpose(2, 0, 1) for picture in pictures)


def transform_source(targets: Split, name: str, purpose: str) -> Split:
    """Apply the transform `name`, whose randomness follows from the content and the purpose.

    Numpy keeps the streams of PCG64 stable, and in practice those of its bounded integers too.
    """
    seed = hashlib.sha256(f"{name}/{purpose}/{fingerprint_splits(targets)}".encode()).digest()
    rng = np.random.Generator(np.random.PCG64(int.from_bytes(seed)))

    def fill(images: np.ndarray) -> None:
        for rows in slices(images):
            images[rows] = TRANSFORMS[name](np.asarray(targets.images[rows]), rng)

    return Split(derive(targets.images, seed.hex(), fill), targets.labels)
