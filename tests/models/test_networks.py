import math
from typing import Any

import pytest
import torch
from torch import nn

from models.cyclegan import CycleGAN, critic, translator
from models.networks import (
    Centre,
    DoubleImages,
    HalveImages,
    Residual,
    decoder,
    encoder,
    halvings,
    initialise_dcgan,
    kernel,
    leaky_relu,
    mlp,
)

BODY: dict[str, Any] = {"hidden": (16,), "width": 4}


def test_images_are_centred() -> None:
    assert Centre()(torch.tensor([0.0, 0.5, 1.0])).tolist() == [-1, 0, 1]


def test_a_residual_adds_its_input() -> None:
    x = torch.randn(3)
    assert torch.equal(Residual(nn.Identity(), nn.ReLU())(x), x + x.relu())


def test_sides_are_halved_rounding_up() -> None:
    assert halvings(28, 3) == [28, 14, 7, 4]
    assert halvings(27, 2) == [27, 14, 7]


@pytest.mark.parametrize("side", range(5, 40))
def test_a_kernel_halves_and_doubles_its_side_exactly(side: int) -> None:
    half, size = (side + 1) // 2, kernel(side)
    down, up = (layer(1, 1, size, stride=2, padding=1) for layer in (nn.Conv2d, nn.ConvTranspose2d))
    assert down(torch.zeros(1, 1, side, side)).shape[-1] == half
    assert up(torch.zeros(1, 1, half, half)).shape[-1] == side


@pytest.mark.parametrize("colours", [1, 3])
def test_convolutions_beside_images_are_strided_ones(colours: int) -> None:
    down, up = HalveImages(colours, 8).double(), DoubleImages(8, colours).double()
    images, features = torch.rand(2, colours, 12, 12), torch.rand(2, 8, 6, 6)
    torch.testing.assert_close(
        down(images.double()), nn.Conv2d.forward(down, images.double()), rtol=0, atol=1e-12
    )
    torch.testing.assert_close(
        up(features.double()), nn.ConvTranspose2d.forward(up, features.double()), rtol=0, atol=1e-12
    )


def test_the_tanh_body_is_that_of_wu_et_al() -> None:
    body: dict[str, Any] = {"hidden": (64, 256, 256, 1024), "width": 1}
    down = decoder("tanh", 10, (1, 28, 28), **body)
    layers = [m for m in down if isinstance(m, nn.Linear)]
    sizes = [(layer.in_features, layer.out_features) for layer in layers]
    assert sizes == [(10, 64), (64, 256), (256, 256), (256, 1024), (1024, 784)]
    assert sum(isinstance(m, nn.Tanh) for m in down) == 4
    up = encoder("tanh", (1, 28, 28), 20, norm="none", activation=leaky_relu, **body)
    outputs = [m.out_features for m in up if isinstance(m, nn.Linear)]
    assert outputs == [1024, 256, 256, 64, 20]


@pytest.mark.parametrize("norm", ["none", "batch", "spectral"])
@pytest.mark.parametrize("backbone", ["mlp", "conv", "tanh"])
@pytest.mark.parametrize("side", [5, 8, 15, 28, 64])
def test_encoders_and_decoders_work_at_every_side(backbone: str, side: int, norm: str) -> None:
    shape = (3, side, side)
    body = encoder(backbone, shape, 7, norm=norm, activation=leaky_relu, **BODY)
    assert body(torch.rand(2, *shape)).shape == (2, 7)
    assert decoder(backbone, 6, shape, **BODY)(torch.randn(2, 6)).shape == (2, *shape)


@pytest.mark.parametrize("downsamplings", [1, 2])
def test_translators_and_critics_keep_to_their_shapes(downsamplings: int) -> None:
    shape = (1, 15, 15)
    x = torch.rand(2, *shape)
    config = CycleGAN.Config(width=4, critic_width=4, blocks=1, downsamplings=downsamplings)
    assert translator(config, shape)(x).shape == (2, *shape)
    side = halvings(15, downsamplings)[-1]
    assert critic(config, shape)(x).shape == (2, 1, side, side)


@pytest.mark.parametrize("shape", [(1, 4, 4), (1, 8, 9)])
def test_sizes_that_cannot_work_are_refused(shape: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match="square images of at least"):
        decoder("conv", 6, shape, **BODY)
    with pytest.raises(ValueError, match="square images of at least"):
        translator(CycleGAN.Config(downsamplings=2), shape)


def test_spectral_norm_bounds_every_layer() -> None:
    body = encoder("conv", (1, 8, 8), 1, norm="spectral", activation=leaky_relu, **BODY)
    for _ in range(50):
        body(torch.rand(4, 1, 8, 8))
    layers = [m for m in body.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    assert len(layers) >= 3
    for layer in layers:
        norm = torch.linalg.matrix_norm(layer.weight.flatten(1), 2).item()
        assert norm == pytest.approx(1, abs=0.02)


def test_linear_layers_start_after_glorot() -> None:
    first = mlp([100, 300, 10], nn.ReLU)[0]
    assert isinstance(first, nn.Linear)
    assert first.weight.abs().max().item() == pytest.approx(math.sqrt(6 / 400), rel=0.01)
    assert not first.bias.any()


def test_dcgan_weights_start_small() -> None:
    body = decoder("conv", 50, (1, 28, 28), hidden=(), width=32)
    initialise_dcgan(body)
    for module in body.modules():
        if isinstance(module, nn.ConvTranspose2d | nn.Linear):
            assert module.weight.std().item() == pytest.approx(0.02, rel=0.1)
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            assert module.weight.mean().item() == pytest.approx(1, abs=0.01)
