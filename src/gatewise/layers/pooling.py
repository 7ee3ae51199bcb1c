"""Windows of time, or all of it, as one value a feature."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from gatewise.errors import InputError, UnsupportedError
from gatewise.layers.layer import Layer, RankError, Shape, checked_shape, positive, sizes
from gatewise.layers.masks import checked_mask


def single(layer: str, argument: str, value: Any) -> int:
    """Return a size that may be given as a number or a tuple of one."""
    if isinstance(value, (tuple, list)) and len(value) == 1:
        value = value[0]
    return positive(layer, argument, value)


def refuse_channels_first(layer: str, data_format: str | None) -> None:
    """Raise `UnsupportedError` for series whose features come before the time."""
    if data_format not in (None, "channels_last"):
        raise UnsupportedError(
            f"{layer}(data_format={data_format!r}) is not offered: series are (B, T, I). Put "
            "Permute((2, 1)) before it."
        )


def same_padding(steps: int, width: int, stride: int) -> tuple[int, int]:
    """Return how many steps padding="same" adds before and after."""
    total = max((-(-steps // stride) - 1) * stride + width - steps, 0)
    return total // 2, total - total // 2


class _OverTime(Layer):
    """What the layers here share: series (B, T, I) come in."""

    def check_input_shape(self, shape: Shape) -> None:
        if len(shape) != 3:
            raise RankError(
                f"{type(self).__name__} expected input (B, T, I) but got {sizes(shape)}. A "
                "recurrent layer before it needs return_sequences=True.",
                shape=shape,
                layer=self,
            )


class _Pooling(_OverTime):
    def __init__(
        self,
        pool_size: int | Sequence[int] = 2,
        strides: int | Sequence[int] | None = None,
        padding: str = "valid",
        data_format: str | None = None,
        *,
        input_shape: Sequence[int | None] | None = None,
        name: str | None = None,
        trainable: bool = True,
    ) -> None:
        super().__init__(input_shape=input_shape, name=name, trainable=trainable)
        kind = type(self).__name__
        refuse_channels_first(kind, data_format)
        self.pool_size = single(kind, "pool_size", pool_size)
        self.strides = single(kind, "strides", strides or pool_size)
        if padding not in ("valid", "same"):
            raise InputError(f"{kind} takes padding 'valid' or 'same' but got {padding!r}.")
        self.padding = padding

    def compute_output_shape(self, input_shape: Sequence[int | None]) -> Shape:
        shape = checked_shape(input_shape)
        self.check_input_shape(shape)
        batch, steps, features = shape
        if steps is None:
            return shape
        room = steps + self.strides - 1 if self.padding == "same" else steps - self.pool_size
        made = room // self.strides + (self.padding == "valid")
        if made < 1:
            raise InputError(
                f"{type(self).__name__} has windows of {self.pool_size} steps, but the series have "
                f"{steps}. Use padding='same' or a smaller pool_size."
            )
        return (batch, made, features)

    def get_config(self) -> dict[str, Any]:
        own = {"pool_size": self.pool_size, "strides": self.strides, "padding": self.padding}
        return {**super().get_config(), **own}

    def _padded(self, x: Tensor, value: float) -> Tensor:
        """Return (B, I, T), with steps of ``value`` around it if windows are to fit."""
        self.compute_output_shape(tuple(x.shape))
        x = x.transpose(1, 2)
        if self.padding == "valid":
            return x
        around = same_padding(x.shape[2], self.pool_size, self.strides)
        return functional.pad(x, around, value=value)


class MaxPooling1D(_Pooling):
    """The largest value of each feature in windows of ``pool_size`` steps, every ``strides`` steps.

    >>> MaxPooling1D(2)(torch.tensor([[[1.0], [3.0], [2.0], [0.0]]])).flatten().tolist()
    [3.0, 2.0]
    """

    def forward(self, x: Tensor) -> Tensor:
        padded = self._padded(self.receive(x), -torch.inf)
        return functional.max_pool1d(padded, self.pool_size, self.strides).transpose(1, 2)


class AveragePooling1D(_Pooling):
    """The mean of each feature in windows of time; padding does not count.

    >>> AveragePooling1D(2)(torch.tensor([[[1.0], [3.0], [2.0], [0.0]]])).flatten().tolist()
    [2.0, 1.0]
    """

    def forward(self, x: Tensor) -> Tensor:
        x = self.receive(x)
        total, count = (
            functional.avg_pool1d(self._padded(one, 0.0), self.pool_size, self.strides)
            for one in (x, torch.ones_like(x))
        )
        return (total / count).transpose(1, 2)


class _GlobalPooling(_OverTime):
    def __init__(
        self,
        data_format: str | None = None,
        keepdims: bool = False,
        *,
        input_shape: Sequence[int | None] | None = None,
        name: str | None = None,
        trainable: bool = True,
    ) -> None:
        super().__init__(input_shape=input_shape, name=name, trainable=trainable)
        refuse_channels_first(type(self).__name__, data_format)
        self.keepdims = bool(keepdims)

    def compute_output_shape(self, input_shape: Sequence[int | None]) -> Shape:
        shape = checked_shape(input_shape)
        self.check_input_shape(shape)
        return (shape[0], 1, shape[2]) if self.keepdims else (shape[0], shape[2])

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "keepdims": self.keepdims}


class GlobalMaxPooling1D(_GlobalPooling):
    """The largest value of each feature over all time steps; a mask is not looked at, as in Keras.

    >>> GlobalMaxPooling1D()(torch.tensor([[[1.0, 5.0], [3.0, 4.0]]])).tolist()
    [[3.0, 5.0]]
    """

    def forward(self, x: Tensor) -> Tensor:
        return self.receive(x).amax(dim=1, keepdim=self.keepdims)


class GlobalAveragePooling1D(_GlobalPooling):
    """The mean of each feature over the real time steps.

    >>> x = torch.tensor([[[1.0], [3.0], [9.0]]])
    >>> GlobalAveragePooling1D()(x, mask=torch.tensor([[True, True, False]])).tolist()
    [[2.0]]
    """

    takes_mask = True

    def forward(self, x: Tensor, mask: Any = None) -> Tensor:
        x = self.receive(x)
        if mask is None:
            return x.mean(dim=1, keepdim=self.keepdims)
        real = checked_mask(type(self).__name__, mask, x).unsqueeze(-1)
        total = torch.where(real, x, 0).sum(dim=1, keepdim=self.keepdims)
        return total / real.sum(dim=1, keepdim=self.keepdims)
