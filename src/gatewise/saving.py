"""Files of models, where a Keras user looks for them; they live in `gatewise.models`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from gatewise.errors import missing
from gatewise.layers import register
from gatewise.models import load_model

__all__ = ["load_model", "register_keras_serializable"]

_Class = TypeVar("_Class", bound=type)


def register_keras_serializable(
    package: str = "Custom", name: str | None = None
) -> Callable[[_Class], _Class]:
    """Register a layer class, as `gatewise.layers.register` does, by Keras's name "package>name".

    >>> from gatewise.layers import Layer, get_layer_class
    >>> @register_keras_serializable(package="Mine")
    ... class Third(Layer):
    ...     def call(self, x):
    ...         return x / 3
    >>> get_layer_class("Mine>Third").__name__
    'Third'
    """

    def registered(cls: _Class) -> _Class:
        return register(f"{package}>{name or cls.__name__}")(cls)

    return registered


def __getattr__(name: str) -> Any:
    """Say what is nearest to a name that does not exist here."""
    raise missing("gatewise.saving", name, __all__, {"save_model": "Use model.save(path)."})
