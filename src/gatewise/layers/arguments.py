"""The arguments of layers: what serves in place of Keras's, and those of layers of one's own."""

from __future__ import annotations

import inspect
from typing import Any

from gatewise.errors import UnsupportedError

_NO_CONSTRAINTS = "There are no constraints; compile(optimizer=...) can clip gradients."

CURES = {
    "activity_regularizer": "Put an ActivityRegularization layer behind it.",
    "dtype": "Weights are made in torch.get_default_dtype(); model.double() changes it later.",
    "use_cudnn": 'Ask for a kernel: use_kernel="cudnn", or "auto", which is the default.',
    "batch_input_shape": "Give input_shape without the batch axis, or begin with Input(shape).",
    "input_dim": "Give input_shape=(None, features), or begin with Input(shape).",
    "weights": "Build the layer, then call set_weights.",
    **{
        f"{weight}_constraint": _NO_CONSTRAINTS
        for weight in ("kernel", "recurrent", "bias", "embeddings", "beta", "gamma")
    },
}
_PLAIN = (str, int, float, bool, type(None))


def own_arguments(layer: Any, given: tuple[tuple[Any, ...], dict[str, Any]]) -> dict[str, Any]:
    """Return, as JSON values by name, what a layer of the user's own was constructed with.

    Raises `UnsupportedError` for what is no plain value: such a layer needs a `get_config`.
    """
    positional, keywords = given
    bound = inspect.signature(type(layer)).bind(*positional, **keywords)
    named = dict(bound.arguments)
    for parameter in bound.signature.parameters.values():
        if parameter.kind is parameter.VAR_KEYWORD:
            named |= named.pop(parameter.name, {})
    return {name: _plain(layer, name, value) for name, value in named.items()}


def _plain(layer: Any, name: str, value: Any) -> Any:
    if isinstance(value, (list, tuple)):
        return type(value)(_plain(layer, name, one) for one in value)
    if isinstance(value, dict):
        return {key: _plain(layer, name, one) for key, one in value.items()}
    if isinstance(value, _PLAIN):
        return value
    kind = type(layer).__name__
    raise UnsupportedError(
        f"{kind} was given {name}={value!r}, which no configuration can hold as it is. Write a "
        f"get_config for {kind} that returns plain values, and a from_config that reads them."
    )
