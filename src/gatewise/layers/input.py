"""The shape that enters a model, and its place among the layers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from gatewise.errors import InputError
from gatewise.layers.layer import Layer, Shape, checked_shape, positive
from gatewise.layers.symbol import Call, Symbol


class InputLayer(Layer):
    """The place of an :class:`Input` in a functional model's ``layers``; it passes its data on."""

    def __init__(
        self,
        shape: Sequence[int | None] | None = None,
        batch_size: int | None = None,
        dtype: str | None = None,
        *,
        input_shape: Sequence[int | None] | None = None,
        name: str | None = None,
        trainable: bool = True,
    ) -> None:
        shape = checked_shape(shape if shape is not None else input_shape or ())
        super().__init__(input_shape=shape, name=name, trainable=trainable)
        self.batch_size = (
            None if batch_size is None else positive("Input", "batch_size", batch_size)
        )
        self.dtype = dtype
        self.build_shape = (self.batch_size, *shape)
        self.built = True

    def forward(self, x: Tensor) -> Tensor:
        return x

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "batch_size": self.batch_size, "dtype": self.dtype}


class Input(Symbol):
    """The beginning of a model: which shape one sample has.

    It is the first item of a ``Sequential``, or what the first layers of a functional model are
    called on. The argument ``shape`` has no batch axis; None is any size. The attribute ``shape``
    has it, as in Keras. ``dtype`` names the number type: of whole numbers ("int32") the model takes
    token ids.

    >>> Input(shape=(None, 100)).shape
    (None, None, 100)
    """

    def __init__(
        self,
        shape: Sequence[int | None] | None = None,
        batch_size: int | None = None,
        dtype: str | None = None,
        *,
        batch_shape: Sequence[int | None] | None = None,
        name: str | None = None,
    ) -> None:
        if (shape is None) == (batch_shape is None):
            raise InputError("Input takes a shape, or a batch_shape, which has the batch axis.")
        if batch_shape is not None:
            batch_size, *shape = batch_shape
        self._stand_for(InputLayer(shape, batch_size, dtype, name=name))

    def _stand_for(self, layer: InputLayer) -> None:
        call = Call(layer)
        Symbol.__init__(self, layer.build_shape or (), call, 0)
        call.results.append(self)
        layer.calls.append(call)

    @classmethod
    def of(cls, layer: InputLayer) -> Input:
        """Return the symbol of an existing layer."""
        symbol = cls.__new__(cls)
        symbol._stand_for(layer)
        return symbol

    @property
    def batch_shape(self) -> Shape:
        """The shape with its batch axis."""
        return self.shape

    @property
    def batch_size(self) -> int | None:
        """The size of the batch axis, if it was given."""
        return self.call.layer.batch_size

    @property
    def dtype(self) -> str | None:
        """The name of the number type, if it was given."""
        return self.call.layer.dtype

    @property
    def name(self) -> str:
        """The name of the input, by which a dictionary of data is sorted."""
        return self.call.layer.name

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments as JSON."""
        return {
            "shape": list(self.shape[1:]),
            "batch_size": self.batch_size,
            "dtype": self.dtype,
            "name": None if self.call.layer.auto_named else self.name,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Input:
        """Return a new object from what :meth:`get_config` gave."""
        return cls(**config)

    def __repr__(self) -> str:
        return f"Input(shape={self.shape[1:]})"
