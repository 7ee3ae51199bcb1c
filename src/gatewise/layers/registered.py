"""Which layers a file can name: ours, and those of the user's own that are registered."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, overload

from gatewise.errors import InputError, UnsupportedError, unknown_name
from gatewise.layers.layer import Layer

LAYERS: dict[str, type[Layer]] = {}
"""The layers of gatewise by name; filled by :mod:`gatewise.layers`."""
OWN: dict[str, type[Layer]] = {}
"""The layers of the user's own, by the name under which they were registered."""

_Class = TypeVar("_Class", bound=type)


@overload
def register(layer: _Class) -> _Class: ...


@overload
def register(
    layer: str | None = None, *, name: str | None = None
) -> Callable[[_Class], _Class]: ...


def register(layer: Any = None, *, name: str | None = None) -> Any:
    """Register a layer class, or a cell for ``RNN``, so that model files can name it.

    A decorator, with or without a name of its own; the default is the class's. A file holds the
    name and ``get_config()``, never code, so the program that loads it registers the class, too.

    >>> @register
    ... class Half(Layer):
    ...     def call(self, x):
    ...         return x / 2
    >>> get_layer_class("Half").__name__
    'Half'
    """
    if isinstance(layer, type):
        chosen = name or layer.__name__
        if chosen in LAYERS:
            raise InputError(f"'{chosen}' is a layer of gatewise. Register yours by another name.")
        layer.registered_name = chosen
        OWN[chosen] = layer
        return layer
    return lambda cls: register(cls, name=layer or name or cls.__name__)


def get_layer_class(name: str) -> type[Layer]:
    """Return a layer's class by its name.

    >>> get_layer_class("LSTM")
    <class 'gatewise.layers.lstm.LSTM'>
    """
    found = LAYERS.get(name) or OWN.get(name)
    if found is None:
        error = unknown_name("layer", name, [*LAYERS, *OWN])
        error.args = (
            f"{error} A layer of your own must be registered before a file that holds it is "
            f"loaded: put @gatewise.layers.register above class {name}.",
        )
        raise error
    return found


def name_of_class(layer: Any) -> str:
    """Return the name of a layer's class in a file, or raise the error that says how to get one."""
    kind = type(layer)
    name = kind.__dict__.get("registered_name", kind.__name__)
    if LAYERS.get(name) is kind or OWN.get(name) is kind:
        return name
    raise UnsupportedError(
        f"A file can name the layers {', '.join(sorted({**LAYERS, **OWN}))}, and "
        f"'{getattr(layer, 'name', kind.__name__)}' is a {kind.__name__}. Register it: put "
        "@gatewise.layers.register above the class. save_weights(path) keeps the weights alone."
    )


def describe(layer: Any) -> dict[str, Any]:
    """Return a layer, or a cell, as JSON."""
    return {"class_name": name_of_class(layer), "config": layer.get_config()}


def from_description(described: Any) -> Any:
    """Return the layer, or the cell, that :func:`describe` wrote."""
    if not isinstance(described, dict) or described.keys() != {"class_name", "config"}:
        raise InputError(f"{described!r} names no layer.")
    return get_layer_class(described["class_name"]).from_config(described["config"])
