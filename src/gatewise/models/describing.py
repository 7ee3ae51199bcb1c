"""Layers and models inside a model as JSON, and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from gatewise.errors import InputError
from gatewise.layers import Layer, get_layer_class
from gatewise.layers.registered import name_of_class
from gatewise.models.model import Model

_Kind = TypeVar("_Kind", bound=type)

MODELS: dict[str, type[Any]] = {}
"""The kinds of models that a file can hold, by name; each has `get_config` and `from_config`."""


def model_kind(cls: _Kind) -> _Kind:
    """Let files name this class of models; a decorator for the package's own."""
    MODELS[cls.__name__] = cls
    return cls


def describe_layer(layer: Layer | Model, name: str) -> dict[str, Any]:
    """Return a layer, or a model as a layer, as JSON."""
    kind = type(layer).__name__ if isinstance(layer, Model) else _kind(layer)
    return {"class": kind, "config": layer.get_config() | {"name": name}}


def _kind(layer: Layer) -> str:
    try:
        return name_of_class(layer)
    except NotImplementedError:
        return type(layer).__name__  # a description to look at; `save` refuses it


def make_layer(stored: Mapping[str, Any]) -> Layer | Model:
    """Return a layer from its class's name and its arguments, all of which it must know."""
    kind, config = stored["class"], stored["config"]
    if kind in MODELS:
        return make_model(kind, config)
    layer = get_layer_class(kind).from_config(config)
    unknown = config.keys() - layer.get_config().keys()
    if unknown:
        raise InputError(f"{kind} has no argument {sorted(unknown)[0]!r} in its configuration.")
    return layer


def make_model(kind: str, config: Mapping[str, Any]) -> Model:
    """Return a model from what its `get_config` gave."""
    if kind not in MODELS:
        raise InputError(
            f"{kind!r} is no model that a file can hold, only {', '.join(sorted(MODELS))}."
        )
    return MODELS[kind].from_config(config)
