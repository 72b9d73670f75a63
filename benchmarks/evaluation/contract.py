"""The contract of a model: its outputs are checked before and after training, never repaired."""

from collections.abc import Sequence

import torch
from torch import Tensor

from models.base import GenerativeModel, Player

ROUNDING = 1e-3
"""The distance that a value may lie outside [0, 1] by rounding; it is clamped when scored."""


class ContractError(Exception):
    """A model breaks its contract; the message names its class, its method and what is right."""


def check_players(model: GenerativeModel) -> None:
    """Refuse a model without players, or one of these without float32 parameters to learn."""
    kind, players, count = type(model).__name__, model.players(), model.validation_samples
    if count is not None and (not isinstance(count, int) or count < 2):
        raise ContractError(
            f"{kind}.validation_samples is {count!r}; it must be None or an integer of at least 2"
        )
    if not players:
        raise ContractError(f"{kind}.players returned no players; it must return at least one")
    for player in players:
        for p in player.parameters:
            if p.dtype != torch.float32:
                raise ContractError(
                    f"parameters are {name_dtype(p)}, images float32: those of {kind}'s player "
                    f"{player.name!r} must be float32"
                )
        if not any(p.requires_grad for p in player.parameters):
            raise ContractError(
                f"{kind}.players returned {player.name!r} without a parameter that requires a "
                "gradient; every player must have one"
            )


def check_loss(model: GenerativeModel, player: Player, loss: object) -> Tensor:
    """Return a player's loss if it is a finite scalar with a graph; else raise ContractError."""
    if not isinstance(loss, Tensor) or loss.ndim or not loss.is_floating_point():
        found = describe_value(loss)
    elif not loss.isfinite():
        found = f"{loss.item()}"
    elif not loss.requires_grad:
        found = "a scalar without a graph"
    else:
        return loss
    raise ContractError(
        f"{name_loss(model, player)} returned {found}; it must return a finite scalar tensor with "
        "a graph"
    )


def check_gradients(
    model: GenerativeModel, player: Player, gradients: Sequence[Tensor | None]
) -> None:
    """Refuse a loss that none of its player's parameters has a gradient of."""
    if all(gradient is None for gradient in gradients):
        raise ContractError(
            f"{name_loss(model, player)} returned a loss that depends on no parameter of "
            f"{player.name!r}; it must depend on at least one"
        )


def check_images(output: object, method: str, count: int, shape: Sequence[int]) -> Tensor:
    """Return an output that is float32 [count, *shape] in [0, 1]; else raise ContractError."""
    right, wanted = [count, *shape], "images in [0, 1]"
    typed = isinstance(output, Tensor) and output.dtype == torch.float32
    if not isinstance(output, Tensor) or not typed or list(output.shape) != right:
        found, wanted = describe_value(output), f"float32 images {right}"
    elif not output.isfinite().all():
        found = "values that are not finite"
    else:
        low, high = (end.item() for end in output.aminmax())
        if low >= -ROUNDING and high <= 1 + ROUNDING:
            return output
        found = f"values from {low:.3g} to {high:.3g}"
    raise ContractError(f"{method} returned {found}; it must return {wanted}")


def reconstruct(model: GenerativeModel, images: Tensor, rng: torch.Generator) -> Tensor | None:
    """Return a model's reconstructions, checked; None where it has no `reconstruct`."""
    try:
        copies = model.reconstruct(images, rng)
    except NotImplementedError:
        return None
    method = f"{type(model).__name__}.reconstruct"
    return check_images(copies, method, len(images), images.shape[1:])


def name_loss(model: GenerativeModel, player: Player) -> str:
    """Return the name of a player's loss: `VAE.negative_elbo`."""
    name = getattr(player.loss, "__name__", "<lambda>")
    return f"{type(model).__name__}.{player.name if name == '<lambda>' else name}"


def describe_value(value: object) -> str:
    """Return in words what a method returned: `uint8 [2, 1, 8, 8]`, `None`, `a numpy.ndarray`."""
    if isinstance(value, Tensor):
        return f"{name_dtype(value)} {list(value.shape)}"
    kind = type(value)
    place = "" if kind.__module__ == "builtins" else f"{kind.__module__}."
    return "None" if value is None else f"a {place}{kind.__qualname__}"


def name_dtype(tensor: Tensor) -> str:
    """Return the name of a tensor's type: `float32`."""
    return str(tensor.dtype).removeprefix("torch.")
