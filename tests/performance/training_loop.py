"""How fast the training loop is, against the loops that one would write by hand.

All rows train the GAN's default networks (noise of 100, two hidden layers of 128, batches of 64) on
28×28 images, with the same losses and learning rates. The loops take turns within one process, so
that whatever else the machine does falls on all of them; the medians over rounds are compared.

    python tests/performance/training_loop.py --threads 2
"""

import argparse
import statistics
import time
from collections.abc import Callable
from functools import partial
from itertools import chain, islice, repeat
from pathlib import Path

import torch
from PIL import Image
from rich.console import Console
from rich.table import Table
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import Compose, Normalize, ToTensor

from benchmarks.core.errors import BadInput
from benchmarks.core.tensors import as_tensor
from benchmarks.data import default_data_root, load_dataset
from benchmarks.training.loop import TrainingConfig, train
from models.gan import GAN, LOSSES

BATCH = 64
SHAPE = (1, 28, 28)
Loop = Callable[[Tensor, int], None]


class Pictures(Dataset[tuple[Tensor, int]]):
    """Images as torchvision's MNIST gives them: through PIL and a transform, each with a class."""

    def __init__(self, images: Tensor, transform: Callable[[Image.Image], Tensor]) -> None:
        self.images, self.transform = images[:, 0], transform

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.transform(Image.fromarray(self.images[index].numpy())), 0


def play(images: Tensor, steps: int) -> None:
    """The project's own loop, with its weight average, seeds by step and checks."""
    plan = TrainingConfig(steps=steps, batch=BATCH, seed=0, evaluations=1)
    train(make_gan(), images, None, plan, evaluate=lambda _: 0.0, report=lambda *_: None)


def write_by_hand(images: Tensor, steps: int, *, fused: bool) -> None:
    """The shortest loop over the tensor."""
    update = make_update(fused=fused)
    for _ in range(steps):
        chosen = torch.randint(len(images), (BATCH,))
        update(images[chosen].float() / 255)


def load_pictures(
    images: Tensor, steps: int, *, transform: Callable[[Image.Image], Tensor]
) -> None:
    """The usual loop over a DataLoader in the same process."""
    update = make_update(fused=False)
    loader = DataLoader(Pictures(images, transform), BATCH, shuffle=True, drop_last=True)
    epochs = chain.from_iterable(repeat(loader))
    for real, _ in islice(epochs, steps):
        update(real)


def make_gan() -> GAN:
    """Build the reference networks with the same weights for every loop."""
    torch.manual_seed(0)
    return GAN(GAN.Config(), SHAPE)


def make_update(*, fused: bool) -> Callable[[Tensor], None]:
    """Give the step of a hand-written loop: both networks' losses, gradients and Adam."""
    gan = make_gan()
    G, D = gan.G, gan.D
    adam = partial(torch.optim.Adam, lr=2e-4, betas=(0.5, 0.999), fused=fused)
    adam_G, adam_D = adam(G.parameters()), adam(D.parameters())

    def update(real: Tensor) -> None:
        fake = G(torch.randn(len(real), 100)).sigmoid()
        adam_D.zero_grad()
        LOSSES["nonsaturating"].discriminator(D(real), D(fake.detach())).backward()
        adam_D.step()
        adam_G.zero_grad()
        LOSSES["nonsaturating"].generator(None, D(fake)).backward()
        adam_G.step()

    return update


LOOPS: dict[str, Loop] = {
    "benchmarks.training.loop": play,
    "by hand, Adam": partial(write_by_hand, fused=False),
    "by hand, fused Adam": partial(write_by_hand, fused=True),
    "DataLoader, ToTensor": partial(load_pictures, transform=ToTensor()),
    "DataLoader, ToTensor, Normalize": partial(
        load_pictures, transform=Compose([ToTensor(), Normalize(0.5, 0.5)])
    ),
}


def load_images(root: Path) -> Tensor:
    """Give MNIST's training images where they are, else random ones, uint8 [N, 1, 28, 28]."""
    try:
        return as_tensor(load_dataset("mnist", data_root=root, download=False).train.images)
    except BadInput:
        print("no MNIST here: random images instead, which cost the same")
        return torch.randint(0, 256, (35_000, *SHAPE), dtype=torch.uint8)


def measure(loop: Loop, images: Tensor, steps: int) -> float:
    """Give the steps per second of one turn."""
    started = time.perf_counter()
    loop(images, steps)
    return steps / (time.perf_counter() - started)


def compare(images: Tensor, steps: int, rounds: int) -> dict[str, float]:
    """Give the median steps per second of each loop, after one short turn to warm up."""
    for loop in LOOPS.values():
        loop(images, 20)
    turns = [
        {name: measure(loop, images, steps) for name, loop in LOOPS.items()} for _ in range(rounds)
    ]
    return {name: statistics.median(turn[name] for turn in turns) for name in LOOPS}


def main() -> None:
    """Run the comparison and print it."""
    parser = argparse.ArgumentParser(description="Compare the training loop with loops by hand.")
    parser.add_argument("--threads", type=int, default=1, help="threads of torch (default: 1)")
    parser.add_argument("--steps", type=int, default=500, help="steps of a turn (default: 500)")
    parser.add_argument("--rounds", type=int, default=7, help="turns of each (default: 7)")
    parser.add_argument("--data-root", type=Path, default=default_data_root(), metavar="DIR")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    medians = compare(load_images(options.data_root), options.steps, options.rounds)
    own = next(iter(medians.values()))
    table = Table("loop", "steps/s", "ours is", box=None)
    for name, median in medians.items():
        table.add_row(name, f"{median:,.0f}", f"{own / median:.2f}×")
    Console().print(table)


if __name__ == "__main__":
    main()
