"""Convolution along time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn
from torch.nn import functional

from gatewise import activations
from gatewise.errors import InputError
from gatewise.layers import initializers, regularizers
from gatewise.layers.dense import ActivationLike, known_features, serialized_activation
from gatewise.layers.layer import Layer, RankError, Shape, checked_shape, positive, sizes
from gatewise.layers.pooling import refuse_channels_first, same_padding, single

_PADDINGS = ("valid", "same", "causal")


class Conv1D(Layer):
    """Convolve a series (B, T, I) with ``filters`` kernels of ``kernel_size`` time steps.

        y[t] = activation(Σ_k x[t·strides + k·dilation_rate] W[k] + b)

    ``padding`` "valid" keeps to whole windows, "same" keeps T (divided by ``strides``), "causal"
    lets y[t] see no later step. The weights are ``kernel`` (kernel_size, I / groups, filters) and
    ``bias`` (filters,). A mask ends here, as in Keras.

    >>> import torch
    >>> Conv1D(8, 3, padding="causal")(torch.zeros(2, 10, 4)).shape
    torch.Size([2, 10, 8])
    """

    kernel: nn.Parameter
    bias: nn.Parameter | None

    def __init__(
        self,
        filters: int,
        kernel_size: int | Sequence[int],
        strides: int | Sequence[int] = 1,
        padding: str = "valid",
        data_format: str | None = None,
        dilation_rate: int | Sequence[int] = 1,
        groups: int = 1,
        activation: ActivationLike = None,
        use_bias: bool = True,
        kernel_initializer: initializers.InitializerLike = "glorot_uniform",
        bias_initializer: initializers.InitializerLike = "zeros",
        kernel_regularizer: regularizers.RegularizerLike | None = None,
        bias_regularizer: regularizers.RegularizerLike | None = None,
        activity_regularizer: regularizers.RegularizerLike | None = None,
        *,
        input_shape: Sequence[int | None] | None = None,
        name: str | None = None,
        trainable: bool = True,
    ) -> None:
        super().__init__(
            input_shape=input_shape,
            name=name,
            trainable=trainable,
            activity_regularizer=activity_regularizer,
        )
        refuse_channels_first("Conv1D", data_format)
        self.filters = positive("Conv1D", "filters", filters)
        self.kernel_size = single("Conv1D", "kernel_size", kernel_size)
        self.strides = single("Conv1D", "strides", strides)
        self.dilation_rate = single("Conv1D", "dilation_rate", dilation_rate)
        self.groups = positive("Conv1D", "groups", groups)
        if padding not in _PADDINGS:
            raise InputError(f"Conv1D takes padding {_PADDINGS} but got {padding!r}.")
        if self.filters % self.groups:
            raise InputError(
                f"Conv1D cannot share {self.filters} filters among {self.groups} groups."
            )
        self.padding = padding
        self.activation = activations.name_of(activation)
        self.use_bias = bool(use_bias)
        self.kernel_initializer = initializers.get(kernel_initializer)
        self.bias_initializer = initializers.get(bias_initializer)
        self.kernel_regularizer = regularizers.get(kernel_regularizer)
        self.bias_regularizer = regularizers.get(bias_regularizer)

    def create_weights(self, input_shape: Shape) -> None:
        features = known_features("Conv1D", input_shape)
        if features % self.groups:
            raise InputError(f"Conv1D cannot share {features} features among {self.groups} groups.")
        shape = (self.kernel_size, features // self.groups, self.filters)
        self.add_weight("kernel", shape, self.kernel_initializer, self.kernel_regularizer)
        if self.use_bias:
            self.add_weight("bias", (self.filters,), self.bias_initializer, self.bias_regularizer)
        else:
            self.register_parameter("bias", None)

    def check_input_shape(self, shape: Shape) -> None:
        if len(shape) != 3:
            raise RankError(
                f"Conv1D expected input (B, T, I) but got {sizes(shape)}.", shape=shape, layer=self
            )
        features = self.kernel.shape[1] * self.groups if self.built else None
        if self.built and shape[2] not in (None, features):
            raise InputError(f"Conv1D expected input (B, T, {features}) but got {sizes(shape)}.")

    def forward(self, x: Tensor) -> Tensor:
        x = self.receive(x)
        self.compute_output_shape(tuple(x.shape))
        x = x.transpose(1, 2)
        if self.padding != "valid":
            x = functional.pad(x, self._around(x.shape[2]))
        y = functional.conv1d(
            x,
            self.kernel.permute(2, 1, 0),
            self.bias,
            stride=self.strides,
            dilation=self.dilation_rate,
            groups=self.groups,
        )
        return activations.get(self.activation)(y.transpose(1, 2))

    def compute_output_shape(self, input_shape: Sequence[int | None]) -> Shape:
        shape = checked_shape(input_shape)
        self.check_input_shape(shape)
        batch, steps, _ = shape
        if steps is None:
            return (batch, None, self.filters)
        if self.padding != "valid":
            return (batch, -(-steps // self.strides), self.filters)
        if steps < self._width:
            raise InputError(
                f"Conv1D looks at {self._width} time steps at once, but the series have {steps}. "
                "Use padding='same' or 'causal'."
            )
        return (batch, (steps - self._width) // self.strides + 1, self.filters)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "filters": self.filters,
            "kernel_size": self.kernel_size,
            "strides": self.strides,
            "padding": self.padding,
            "dilation_rate": self.dilation_rate,
            "groups": self.groups,
            "activation": serialized_activation(self.activation),
            "use_bias": self.use_bias,
            "kernel_initializer": initializers.serialize(self.kernel_initializer),
            "bias_initializer": initializers.serialize(self.bias_initializer),
            "kernel_regularizer": regularizers.serialize(self.kernel_regularizer),
            "bias_regularizer": regularizers.serialize(self.bias_regularizer),
            "activity_regularizer": regularizers.serialize(self.activity_regularizer),
        }

    @property
    def _width(self) -> int:
        return (self.kernel_size - 1) * self.dilation_rate + 1

    def _around(self, steps: int) -> tuple[int, int]:
        if self.padding == "causal":
            return self._width - 1, 0
        return same_padding(steps, self._width, self.strides)

    def _weight(self) -> Tensor | None:
        return self.kernel if self.built else None
