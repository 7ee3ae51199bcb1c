"""From what a user writes as `loss=` to a `Loss`."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor, nn

from gatewise.errors import InputError, unknown_name
from gatewise.losses import functions
from gatewise.losses.ctc import CTC, ctc
from gatewise.losses.foreign import FunctionLoss, TorchLoss
from gatewise.losses.loss import Loss
from gatewise.losses.standard import (
    BinaryCrossentropy,
    CategoricalCrossentropy,
    Huber,
    KLDivergence,
    MeanAbsoluteError,
    MeanSquaredError,
    Poisson,
    SparseCategoricalCrossentropy,
)

LOSSES: dict[str, type[Loss]] = {
    "binary_crossentropy": BinaryCrossentropy,
    "categorical_crossentropy": CategoricalCrossentropy,
    "sparse_categorical_crossentropy": SparseCategoricalCrossentropy,
    "mean_squared_error": MeanSquaredError,
    "mean_absolute_error": MeanAbsoluteError,
    "huber": Huber,
    "poisson": Poisson,
    "kl_divergence": KLDivergence,
    "ctc": CTC,
}

_ALIASES = {
    "bce": "binary_crossentropy",
    "mse": "mean_squared_error",
    "mae": "mean_absolute_error",
    "kld": "kl_divergence",
    "huber_loss": "huber",
}

_BY_NAME = {
    **LOSSES,
    **{alias: LOSSES[name] for alias, name in _ALIASES.items()},
    **{alias.upper(): LOSSES[name] for alias, name in _ALIASES.items() if len(alias) == 3},
    **{loss.__name__: loss for loss in LOSSES.values()},
}

_BY_FUNCTION: dict[Callable[..., Tensor], type[Loss]] = {
    **{getattr(functions, name): loss for name, loss in LOSSES.items() if loss is not CTC},
    ctc: CTC,
}


def get(identifier: str | Mapping[str, Any] | Loss | nn.Module | Callable[..., Tensor]) -> Loss:
    """Return the loss that `identifier` names or is.

    Keras's names ("mse", "binary_crossentropy", "BinaryCrossentropy"), a `Loss`, what `serialize`
    wrote, a torch loss module, or a function `(y_true, y_pred) -> losses`.

    >>> get("mse")
    MeanSquaredError(reduction='sum_over_batch_size', name='mean_squared_error')
    """
    if isinstance(identifier, Loss):
        # One of the user's own that replaces the whole call, as Keras knows it, has no mask.
        takes_mask = "mask" in inspect.signature(type(identifier).__call__).parameters
        return identifier if takes_mask else FunctionLoss(identifier)
    if isinstance(identifier, str):
        return _find(identifier)()
    if isinstance(identifier, Mapping):
        return _find(identifier["class_name"]).from_config(identifier["config"])
    if isinstance(identifier, type) and issubclass(identifier, (Loss, nn.Module)):
        name = identifier.__name__
        raise InputError(f"The loss is the class {name}; give an object: {name}().")
    if isinstance(identifier, nn.Module):
        return TorchLoss(identifier)
    if callable(identifier):
        known = _BY_FUNCTION.get(identifier)
        return FunctionLoss(identifier) if known is None else known()
    raise InputError(
        f"The loss expected a name, a loss of gatewise or torch, or a function (y_true, y_pred) -> "
        f"losses, but got {identifier!r} of type {type(identifier).__name__}."
    )


def serialize(loss: Loss) -> dict[str, Any]:
    """Return the class name and settings of a loss, as plain data for `get`.

    >>> get(serialize(Huber(delta=2.0))) == Huber(delta=2.0)
    True
    """
    return {"class_name": type(loss).__name__, "config": loss.get_config()}


def _find(name: str) -> type[Loss]:
    found = _BY_NAME.get(name)
    if found is None:
        raise unknown_name("loss", name, [*LOSSES, *_ALIASES])
    return found
