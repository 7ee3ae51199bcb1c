"""The weights of a model as numbers: how many, and their values as arrays."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn

from gatewise.errors import InputError
from gatewise.layers import initializers, regularizers
from gatewise.layers.initializers import InitializerLike
from gatewise.layers.quantization import refuse_new_weights
from gatewise.layers.recurrent import Recurrent
from gatewise.layers.regularizers import RegularizerLike

if TYPE_CHECKING:
    from gatewise.models.model import Model


def add_weight(
    model: Model,
    shape: Sequence[int] = (),
    initializer: InitializerLike = "glorot_uniform",
    regularizer: RegularizerLike | None = None,
    trainable: bool = True,
    name: str | None = None,
) -> nn.Parameter:
    """Create, register and return a parameter of the model itself, beside those of its layers.

    >>> from gatewise.models import Model
    >>> class Scaled(Model):
    ...     def __init__(self):
    ...         super().__init__()
    ...         self.factor = self.add_weight(shape=(1,), initializer="ones", name="factor")
    ...     def call(self, x):
    ...         return x * self.factor
    >>> Scaled()(torch.tensor([[2.0]])).tolist(), [name for name, _ in Scaled().named_parameters()]
    ([[2.0]], ['factor'])
    """
    name = name or f"weight_{len(model._parameters)}"
    value = initializers.get(initializer)(tuple(shape), dtype=torch.get_default_dtype())
    parameter = nn.Parameter(value, requires_grad=trainable)
    model.register_parameter(name, parameter)
    penalty = regularizers.get(regularizer)
    if penalty is not None:
        model.regularizers[name] = penalty
    return parameter


def count_params(model: Model) -> int:
    """Return how many numbers the weights hold; a shared layer counts once."""
    require_built(model, "count_params()")
    return sum(parameter.numel() for parameter in model.parameters())


def get_weights(model: Model) -> list[np.ndarray]:
    """Return copies of the weights, in the order of `weights`."""
    return [parameter.detach().cpu().numpy().copy() for parameter in model.parameters()]


def set_weights(model: Model, weights: Iterable[np.ndarray]) -> None:
    """Set the weights from arrays in the order of `get_weights`.

    Raises `InputError` if the number of arrays or a shape differs; then nothing is changed.
    """
    require_built(model, "set_weights()")
    for layer in model.modules():
        if isinstance(layer, Recurrent):
            refuse_new_weights(layer)
    named, arrays = list(model.named_parameters()), [np.asarray(w) for w in weights]
    if len(named) != len(arrays):
        names = ", ".join(name for name, _ in named)
        raise InputError(
            f"set_weights got {len(arrays)} arrays but {model.name} has {len(named)} weights: "
            f"{names}."
        )
    for (name, parameter), array in zip(named, arrays, strict=True):
        if array.shape != tuple(parameter.shape):
            raise InputError(
                f"{name} has shape {tuple(parameter.shape)} but the array given for it has "
                f"{array.shape}."
            )
    with torch.no_grad():
        for (_, parameter), array in zip(named, arrays, strict=True):
            parameter.copy_(torch.from_numpy(np.array(array)))


def require_built(model: Model, wanted: str) -> None:
    """Refuse `wanted` while there are no weights, with the cure."""
    if not model.built:
        raise InputError(
            f"{wanted} needs the weights, but {model.name} does not know its input shape yet. "
            "Begin the model with Input(shape=(None, features)), give the first layer "
            "input_shape=(None, features), or call model.build((None, None, features))."
        )
