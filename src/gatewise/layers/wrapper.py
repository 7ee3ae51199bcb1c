"""The base of a layer of the user's own that holds another layer."""

from __future__ import annotations

from typing import Any, Self

from gatewise.errors import InputError
from gatewise.layers.layer import Layer
from gatewise.layers.registered import describe, from_description


class Wrapper(Layer):
    """A layer around ``layer``, which is built for the same input; derive yours from it.

    >>> import torch
    >>> from gatewise.layers import Dense
    >>> class Twice(Wrapper):
    ...     def call(self, x):
    ...         return self.layer(self.layer(x))
    >>> Twice(Dense(1, kernel_initializer="ones"))(torch.tensor([[3.0]])).tolist()
    [[3.0]]
    """

    def __init__(self, layer: Any, *, name: str | None = None, trainable: bool = True) -> None:
        if not isinstance(layer, Layer):
            raise InputError(f"{type(self).__name__} wraps a layer but got {layer!r}.")
        super().__init__(name=name, trainable=trainable)
        self.layer: Any = layer

    def create_weights(self, input_shape: Any) -> None:
        self.layer.build(input_shape)

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        del config["input_shape"]
        return {**config, "layer": describe(self.layer)}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        return cls(**{**config, "layer": from_description(config["layer"])})
