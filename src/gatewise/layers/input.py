"""The shape that enters a model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gatewise.layers.layer import Shape, checked_shape, positive


class Input:
    """Say which shape one sample has, as the first item of a ``Sequential``.

    ``shape`` has no batch axis; None is any size. ``dtype`` names the number type that is expected.

    >>> Input(shape=(None, 100)).batch_shape
    (None, None, 100)
    """

    def __init__(
        self,
        shape: Sequence[int | None],
        batch_size: int | None = None,
        dtype: str | None = None,
        *,
        name: str | None = None,
    ) -> None:
        self.shape: Shape = checked_shape(shape)
        self.batch_size = (
            None if batch_size is None else positive("Input", "batch_size", batch_size)
        )
        self.dtype = dtype
        self.name = name

    @property
    def batch_shape(self) -> Shape:
        """The shape with its batch axis."""
        return (self.batch_size, *self.shape)

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments as JSON."""
        return {
            "shape": list(self.shape),
            "batch_size": self.batch_size,
            "dtype": self.dtype,
            "name": self.name,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Input:
        """Return a new object from what :meth:`get_config` gave."""
        return cls(**config)

    def __repr__(self) -> str:
        return f"Input(shape={self.shape})"
