"""The embedded data set: nothing to download."""

from pathlib import Path

import numpy as np

from benchmarks.data.dataset import Raw, Split
from benchmarks.data.registry import dataset


@dataset(
    name="digits",
    summary="1,797 handwritten digits, grey, 8x8, embedded in scikit-learn",
    source="edges",
)
def read_digits(_root: Path, _download: bool) -> Raw:
    """Read the UCI digits of Alpaydin and Kaynak (1998), of which scikit-learn has 1,797."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    images = np.rint(digits.images * (255 / 16)).astype(np.uint8)  # published as 0 to 16
    labels = digits.target.astype(np.int64)
    return Raw(Split(images[:, None], labels), class_names=tuple("0123456789"))
