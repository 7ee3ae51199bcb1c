"""A layer applied to every time step, or a model to every one of several series."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

from torch import Tensor, nn

from gatewise.errors import InputError
from gatewise.layers.layer import Layer, RankError, Shape, as_tensor, checked_shape, sizes
from gatewise.layers.registered import describe, from_description


class TimeDistributed(Layer):
    """Apply ``layer`` to each time step of (B, T, …), with one set of weights.

    All steps of all samples go through it as one batch: a ``BatchNormalization`` inside sees them
    together. A mask (B, T) goes on with the result; one of a rank above, (B, T, S), is handed to
    the layer, (B·T, S). A layer of your own whose ``call`` takes a mask gets any, (B·T,).

    >>> import torch
    >>> from gatewise.layers import LSTM
    >>> TimeDistributed(LSTM(4))(torch.zeros(2, 3, 7, 5)).shape
    torch.Size([2, 3, 4])
    """

    takes_mask = True
    supports_masking = True

    def __init__(
        self,
        layer: Layer | nn.Module,
        *,
        input_shape: Sequence[int | None] | None = None,
        name: str | None = None,
        trainable: bool = True,
    ) -> None:
        if not isinstance(layer, nn.Module) or not hasattr(layer, "compute_output_shape"):
            raise InputError(f"TimeDistributed wraps a layer but got {layer!r}.")
        super().__init__(input_shape=input_shape, name=name, trainable=trainable)
        self.layer: Any = layer

    def create_weights(self, input_shape: Shape) -> None:
        self.layer.build(self._inner(input_shape))

    def check_input_shape(self, shape: Shape) -> None:
        if len(shape) < 3:
            raise RankError(
                f"TimeDistributed expected input (B, T, …) with at least 3 axes but got "
                f"{sizes(shape)}.",
                shape=shape,
                layer=self,
            )

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Any:
        x = self.receive(x)
        batch, steps = x.shape[:2]
        keywords = {}
        if mask is not None:
            mask = self._receive_mask(mask, x)
            # What our layers take is a mask of steps; one of the user's own may take any.
            wanted = mask.ndim > 2 or getattr(self.layer, "by_call", False)
            if wanted and getattr(self.layer, "takes_mask", False):
                keywords["mask"] = mask.flatten(0, 1)
        y = self.layer(x.flatten(0, 1), **keywords)
        if not isinstance(y, Tensor):
            raise InputError(
                f"TimeDistributed wraps '{self.layer.name}', which returns several tensors. Leave "
                "return_state out."
            )
        return y.reshape(batch, steps, *y.shape[1:])

    def compute_output_shape(self, input_shape: Sequence[int | None]) -> Shape:
        shape = checked_shape(input_shape)
        self.check_input_shape(shape)
        return (*shape[:2], *self.layer.compute_output_shape(self._inner(shape))[1:])

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "layer": describe(self.layer)}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        return cls(**{**config, "layer": from_description(config["layer"])})

    def _receive_mask(self, mask: Any, x: Tensor) -> Tensor:
        mask = as_tensor(mask, like=x)
        if mask.shape[:2] != x.shape[:2]:
            raise InputError(
                "The `mask` passed to the `TimeDistributed` layer has a shape that does not begin "
                f"as the input's: {sizes(tuple(mask.shape))} for {sizes(tuple(x.shape))}. A mask "
                f"has one value for each time step, {sizes(tuple(x.shape[:2]))}, and may have "
                "more axes for the layer inside."
            )
        return mask

    def _inner(self, shape: Shape) -> Shape:
        return (None, *shape[2:])

    def _weight(self) -> Tensor | None:
        return self.layer._weight() if isinstance(self.layer, Layer) else None
