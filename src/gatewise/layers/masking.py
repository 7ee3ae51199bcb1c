"""Masking: which time steps of a numeric series are padding."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from torch import Tensor, where

from gatewise.errors import InputError
from gatewise.layers.layer import Layer, RankError, Shape, sizes


class Masking(Layer):
    """Mask the time steps whose features all equal ``mask_value``, and set them to zero.

    Input (B, T, I), result the same; the mask (B, T) is True at real steps. A mask that comes in is
    replaced, as in Keras.

    >>> import torch
    >>> x = torch.tensor([[[1.0, 2.0], [0.0, 0.0]]])
    >>> Masking().compute_mask(x)
    tensor([[ True, False]])
    """

    supports_masking = True

    def __init__(
        self,
        mask_value: float = 0.0,
        *,
        input_shape: Sequence[int | None] | None = None,
        name: str | None = None,
        trainable: bool = True,
    ) -> None:
        super().__init__(input_shape=input_shape, name=name, trainable=trainable)
        if math.isnan(mask_value):
            raise InputError(
                "Masking cannot find NaN by comparison: NaN equals nothing. "
                "Replace it first, for example x = numpy.nan_to_num(x, nan=-1.0) and Masking(-1.0)."
            )
        self.mask_value = mask_value

    def check_input_shape(self, shape: Shape) -> None:
        if len(shape) < 3:
            raise RankError(
                f"Masking expected input (B, T, I) but got {sizes(shape)}. Add the missing axis, "
                "for example x[:, :, None] for series of one feature.",
                shape=shape,
                layer=self,
            )

    def forward(self, x: Tensor) -> Tensor:
        x = self.receive(x)
        return where(self._real(x).unsqueeze(-1), x, 0)

    def compute_mask(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        return self._real(self.receive(x))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "mask_value": self.mask_value}

    def _real(self, x: Tensor) -> Tensor:
        return (x != self.mask_value).any(dim=-1)
