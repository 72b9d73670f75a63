"""What a model must return: checked before it is trained and when it is scored, never repaired."""

from collections.abc import Sequence

import torch
from torch import Tensor

from models.base import GenerativeModel, Player

ROUNDING = 1e-3
"""The distance that a value may lie outside [0, 1] by rounding; it is clamped when scored."""


class ContractError(Exception):
    """A model breaks its contract; the message names its class, its method and what is right."""


def check_players(model: GenerativeModel) -> list[Player]:
    """Return a model's players if each has parameters to learn, all of them float32.

    Raises:
        ContractError: there is none, or one has not.
    """
    kind, players = type(model).__name__, model.players()
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
    return players


def check_loss(model: GenerativeModel, player: Player, loss: object) -> Tensor:
    """Return a player's loss if it is a finite scalar with a graph.

    Raises:
        ContractError: it is not.
    """
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
    """Refuse a loss that none of its player's parameters has a gradient of.

    Raises:
        ContractError: it is such a loss.
    """
    if all(gradient is None for gradient in gradients):
        raise ContractError(
            f"{name_loss(model, player)} returned a loss that depends on no parameter of "
            f"{player.name!r}; it must depend on at least one"
        )


def check_images(made: object, method: str, count: int, shape: Sequence[int]) -> Tensor:
    """Return what a method made if it is float32 [count, *shape], finite and in [0, 1].

    Raises:
        ContractError: it is not.
    """
    if fault := find_fault(made, method, count, shape):
        raise ContractError(fault)
    assert isinstance(made, Tensor)
    return made


def find_fault(made: object, method: str, count: int, shape: Sequence[int]) -> str | None:
    """Return what is wrong with the images that a method made, in one line; None for nothing."""
    right = [count, *shape]
    if not isinstance(made, Tensor) or made.dtype != torch.float32 or list(made.shape) != right:
        return f"{method} returned {describe_value(made)}; it must return float32 images {right}"
    if not is_finite(made):
        return f"{method} returned values that are not finite; it must return images in [0, 1]"
    low, high = (end.item() for end in made.aminmax())
    if low < -ROUNDING or high > 1 + ROUNDING:
        return (
            f"{method} returned values from {low:.3g} to {high:.3g}; "
            "it must return images in [0, 1]"
        )
    return None


def is_finite(made: object) -> bool:
    """Return whether no number that a model made is NaN or infinite."""
    return not isinstance(made, Tensor) or bool(made.isfinite().all())


def reconstruct(model: GenerativeModel, images: Tensor, rng: torch.Generator) -> Tensor | None:
    """Return a model's reconstructions, checked; None where it has no `reconstruct`.

    Raises:
        ContractError: they are no images of the same form in [0, 1].
    """
    try:
        made = model.reconstruct(images, rng)
    except NotImplementedError:
        return None
    return check_images(made, f"{type(model).__name__}.reconstruct", len(images), images.shape[1:])


def name_loss(model: GenerativeModel, player: Player) -> str:
    """Return what the loss of a player is called: `VAE.negative_elbo`."""
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
