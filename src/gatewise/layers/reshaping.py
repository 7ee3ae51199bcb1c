"""The same numbers in another shape; a mask of time steps ends here, as in Keras."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from torch import Tensor

from gatewise.errors import InputError
from gatewise.layers.layer import Layer, Shape, checked_shape, positive, sizes


class Reshape(Layer):
    """Each sample in the shape ``target_shape``, in which one size may be -1.

    >>> import torch
    >>> Reshape((3, -1))(torch.zeros(2, 12)).shape
    torch.Size([2, 3, 4])
    """

    def __init__(
        self,
        target_shape: Sequence[int],
        *,
        input_shape: Sequence[int | None] | None = None,
        name: str | None = None,
        trainable: bool = True,
    ) -> None:
        super().__init__(input_shape=input_shape, name=name, trainable=trainable)
        self.target_shape = tuple(int(size) for size in target_shape)
        if sum(size == -1 for size in self.target_shape) > 1 or min(self.target_shape) < -1:
            raise InputError(f"Reshape takes sizes and at most one -1 but got {self.target_shape}.")

    def forward(self, x: Tensor) -> Tensor:
        x = self.receive(x)
        self.compute_output_shape(tuple(x.shape))
        return x.reshape(len(x), *self.target_shape)

    def compute_output_shape(self, input_shape: Sequence[int | None]) -> Shape:
        batch, *given = checked_shape(input_shape)
        if None in given:
            return (batch, *(None if size == -1 else size for size in self.target_shape))
        count = math.prod(size for size in given if size is not None)
        fixed = math.prod(size for size in self.target_shape if size != -1)
        open_size = -1 in self.target_shape
        if count % fixed if open_size else count != fixed:
            raise InputError(
                f"Reshape({self.target_shape}) cannot hold samples of shape {sizes(tuple(given))}: "
                f"these have {count} numbers."
            )
        return (batch, *(count // fixed if size == -1 else size for size in self.target_shape))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "target_shape": list(self.target_shape)}


class Permute(Layer):
    """The axes of each sample in another order: ``dims`` counts them from 1.

    >>> import torch
    >>> Permute((2, 1))(torch.zeros(2, 5, 3)).shape
    torch.Size([2, 3, 5])
    """

    def __init__(
        self,
        dims: Sequence[int],
        *,
        input_shape: Sequence[int | None] | None = None,
        name: str | None = None,
        trainable: bool = True,
    ) -> None:
        super().__init__(input_shape=input_shape, name=name, trainable=trainable)
        self.dims = tuple(dims)
        if sorted(self.dims) != list(range(1, len(self.dims) + 1)):
            raise InputError(
                f"Permute takes each axis from 1 to {len(self.dims)} once but got dims={self.dims}."
            )

    def check_input_shape(self, shape: Shape) -> None:
        if len(shape) != len(self.dims) + 1:
            raise InputError(
                f"Permute({self.dims}) expected samples of {len(self.dims)} axes but got "
                f"{sizes(shape)}."
            )

    def forward(self, x: Tensor) -> Tensor:
        return self.receive(x).permute(0, *self.dims)

    def compute_output_shape(self, input_shape: Sequence[int | None]) -> Shape:
        shape = checked_shape(input_shape)
        self.check_input_shape(shape)
        return (shape[0], *(shape[axis] for axis in self.dims))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "dims": list(self.dims)}


class Flatten(Layer):
    """Each sample's numbers in one row.

    >>> import torch
    >>> Flatten()(torch.zeros(2, 5, 3)).shape
    torch.Size([2, 15])
    """

    def forward(self, x: Tensor) -> Tensor:
        return self.receive(x).flatten(1) if x.ndim > 1 else self.receive(x)[:, None]

    def compute_output_shape(self, input_shape: Sequence[int | None]) -> Shape:
        batch, *given = checked_shape(input_shape)
        known = [size for size in given if size is not None]
        return (batch, math.prod(known) if len(known) == len(given) else None)


class RepeatVector(Layer):
    """A vector (B, I) as a sequence (B, n, I) that holds it at every step.

    >>> import torch
    >>> RepeatVector(4)(torch.zeros(2, 3)).shape
    torch.Size([2, 4, 3])
    """

    def __init__(
        self,
        n: int,
        *,
        input_shape: Sequence[int | None] | None = None,
        name: str | None = None,
        trainable: bool = True,
    ) -> None:
        super().__init__(input_shape=input_shape, name=name, trainable=trainable)
        self.n = positive("RepeatVector", "n", n)

    def check_input_shape(self, shape: Shape) -> None:
        if len(shape) != 2:
            raise InputError(
                f"RepeatVector expected vectors (B, I) but got {sizes(shape)}. A recurrent layer "
                "before it returns one with return_sequences=False."
            )

    def forward(self, x: Tensor) -> Tensor:
        return self.receive(x)[:, None].expand(-1, self.n, -1)

    def compute_output_shape(self, input_shape: Sequence[int | None]) -> Shape:
        shape = checked_shape(input_shape)
        self.check_input_shape(shape)
        return (shape[0], self.n, shape[1])

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "n": self.n}
