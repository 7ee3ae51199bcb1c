"""A constructor's arguments: those that do not exist, and those of a layer of the user's own."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Mapping
from typing import Any

from gatewise.errors import UnknownArgumentError, UnsupportedError

_CURES = {
    "activity_regularizer": "Put an ActivityRegularization layer behind it.",
    "dtype": "Weights are made in torch.get_default_dtype(); model.double() changes it later.",
    "use_cudnn": 'Ask for a kernel: use_kernel="cudnn", or "auto", which is the default.',
    "batch_input_shape": "Give input_shape without the batch axis, or begin with Input(shape).",
    "input_dim": "Give input_shape=(None, features), or begin with Input(shape).",
    "weights": "Build the layer, then call set_weights.",
    "kernel_constraint": "There are no constraints; compile(optimizer=...) can clip gradients.",
}
_PLAIN = (str, int, float, bool, type(None))


def check_keywords(cls: type, keywords: Mapping[str, Any]) -> None:
    """Raise `UnknownArgumentError` for a keyword that the constructor of `cls` does not take."""
    accepted, open_ended = accepted_keywords(cls)
    if open_ended or keywords.keys() <= accepted:
        return
    name = next(key for key in keywords if key not in accepted)
    known = sorted(accepted)
    nearest = difflib.get_close_matches(name, known, n=1)
    hint = f" Did you mean {nearest[0]!r}?" if nearest else ""
    cure = _CURES.get(name)
    if cure is None and name.endswith("_constraint"):
        cure = _CURES["kernel_constraint"]
    raise UnknownArgumentError(
        f"{cls.__name__} has no argument {name!r}.{' ' + cure if cure else hint} "
        f"It takes {', '.join(known)}."
    )


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


def accepted_keywords(cls: type) -> tuple[frozenset[str], bool]:
    """Return the names of a constructor's arguments, and whether it takes any others."""
    parameters = list(inspect.signature(cls.__init__).parameters.values())[1:]
    open_ended = any(one.kind is one.VAR_KEYWORD for one in parameters)
    return frozenset(one.name for one in parameters), open_ended
