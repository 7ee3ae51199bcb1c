"""Activations by name: plain functions of a tensor, and the derivatives that the kernels use.

The kernels keep what an activation returned, not what it was given, so the derivative is written
as a function of the *output* ``y``: for tanh ``1 - y**2``, for the logistic function
``y * (1 - y)``.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from gatewise.errors import InputError, unknown_name

Activation = Callable[[Tensor], Tensor]


def linear(x: Tensor) -> Tensor:
    """Return ``x`` unchanged."""
    return x


def hard_sigmoid(x: Tensor) -> Tensor:
    """Return ``clip(x / 6 + 1 / 2, 0, 1)``, a logistic function of straight pieces."""
    # torch's own hardsigmoid rounds its derivative to float32 even for float64 tensors.
    return functional.relu6(x + 3) / 6


def softmax(x: Tensor) -> Tensor:
    """Return ``exp(x) / sum(exp(x))`` along the last axis."""
    return torch.softmax(x, dim=-1)


def log_softmax(x: Tensor) -> Tensor:
    """Return the logarithm of the softmax along the last axis."""
    return torch.log_softmax(x, dim=-1)


def leaky_relu(x: Tensor) -> Tensor:
    """Return ``x`` where positive, ``0.2 * x`` elsewhere (Keras's slope)."""
    return functional.leaky_relu(x, negative_slope=0.2)


def gelu(x: Tensor) -> Tensor:
    """Return ``x * Phi(x)`` with the exact normal distribution function."""
    return functional.gelu(x)


_FUNCTIONS: dict[str, Activation] = {
    "linear": linear,
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "relu": torch.relu,
    "relu6": functional.relu6,
    "leaky_relu": leaky_relu,
    "elu": functional.elu,
    "selu": torch.selu,
    "gelu": gelu,
    "silu": functional.silu,
    "softplus": functional.softplus,
    "softsign": functional.softsign,
    "hard_sigmoid": hard_sigmoid,
    "exponential": torch.exp,
    "softmax": softmax,
    "log_softmax": log_softmax,
}
_ALIASES = {"swish": "silu"}
NAMES = tuple(_FUNCTIONS)

_DERIVATIVES: dict[str, Activation] = {
    "linear": torch.ones_like,
    "tanh": lambda y: 1 - y * y,
    "sigmoid": lambda y: y * (1 - y),
    "relu": lambda y: (y > 0).to(y.dtype),
    "hard_sigmoid": lambda y: ((y > 0) & (y < 1)).to(y.dtype) / 6,
    "softsign": lambda y: (1 - y.abs()) ** 2,
}
KERNEL_NAMES = tuple(_DERIVATIVES)
"""The activations that the fused kernels know; any other runs as the equation."""


def get(activation: str | Activation | None) -> Activation:
    """Return the activation function for a name, a callable (as it is) or None (linear).

    Raises ``UnknownNameError`` for an unknown name, with the nearest known one suggested.

    >>> get("tanh")(torch.zeros(2))
    tensor([0., 0.])
    """
    if activation is None:
        return linear
    if callable(activation):
        return activation
    if not isinstance(activation, str):
        raise InputError(
            f"An activation is a name, a callable or None but got {activation!r}. "
            f"Known names: {', '.join(sorted(NAMES))}."
        )
    name = _ALIASES.get(activation, activation)
    if name not in _FUNCTIONS:
        raise unknown_name("activation", activation, NAMES)
    return _FUNCTIONS[name]


def name_of(activation: str | Activation | None) -> str | Activation:
    """Return the registered name of an activation, or the callable itself when it has none.

    >>> name_of(torch.tanh), name_of("swish"), name_of(None)
    ('tanh', 'silu', 'linear')
    """
    function = get(activation)
    for name, known in _FUNCTIONS.items():
        if function is known:
            return name
    return function


def derivative(name: str, y: Tensor) -> Tensor:
    """Return the derivative of a kernel activation, written in its own output ``y``.

    >>> derivative("tanh", torch.tensor([0.0, 0.5]))
    tensor([1.0000, 0.7500])
    """
    return _DERIVATIVES[name](y)
