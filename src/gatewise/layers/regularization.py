"""A penalty on what comes by."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from gatewise.layers.layer import Layer
from gatewise.layers.regularizers import L1L2


class ActivityRegularization(Layer):
    """Pass the data on, and add `l1 · Σ|x| + l2 · Σx²`, the mean over the samples, to the loss.

    >>> import torch
    >>> from gatewise.layers.activity import activity_penalties
    >>> with activity_penalties() as found:
    ...     y = ActivityRegularization(l1=0.5)(torch.tensor([[1.0, -3.0]]))
    >>> found
    [tensor(2.)]
    """

    supports_masking = True

    def __init__(
        self,
        l1: float = 0.0,
        l2: float = 0.0,
        *,
        input_shape: Sequence[int | None] | None = None,
        name: str | None = None,
        trainable: bool = True,
    ) -> None:
        super().__init__(
            input_shape=input_shape,
            name=name,
            trainable=trainable,
            activity_regularizer=L1L2(l1, l2),
        )
        self.l1, self.l2 = l1, l2

    def forward(self, x: Tensor) -> Tensor:
        return self.receive(x)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "l1": self.l1, "l2": self.l2}
