import pytest
import torch
from sklearn.datasets import load_digits
from torch import Tensor

from metrics import ClassifierExtractor, train_classifier


@pytest.fixture(scope="session", autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def digits() -> tuple[Tensor, Tensor]:
    """Real 8 x 8 digits, uint8 [1797, 1, 8, 8], shuffled, with their classes."""
    data = load_digits()
    order = torch.randperm(len(data.target), generator=torch.Generator().manual_seed(1))
    images = (torch.tensor(data.images) * 255 / 16).round().to(torch.uint8)[:, None]
    return images[order], torch.tensor(data.target)[order]


@pytest.fixture(scope="session")
def classifier(digits: tuple[Tensor, Tensor]) -> ClassifierExtractor:
    images, labels = digits
    return train_classifier(images[:700], labels[:700], classes=10)
