"""The fully connected layer, and an activation as a layer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from gatewise import activations
from gatewise.errors import InputError
from gatewise.layers import initializers, regularizers
from gatewise.layers.layer import Layer, RankError, Shape, checked_shape, positive, sizes

ActivationLike = str | Callable[[Tensor], Tensor] | None


class Dense(Layer):
    """The fully connected layer.

        y = activation(x W + b)

    Input (..., I), result (..., units): the same W and b serve every time step of a sequence. The
    weights are ``kernel`` (I, units) and ``bias`` (units,). A mask passes.

    >>> import torch
    >>> layer = Dense(2, kernel_initializer="ones")
    >>> layer(torch.tensor([[1.0, 2.0, 3.0]])).tolist()
    [[6.0, 6.0]]
    """

    supports_masking = True
    kernel: nn.Parameter
    bias: nn.Parameter | None

    def __init__(
        self,
        units: int,
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
        self.units = positive("Dense", "units", units)
        self.activation = activations.name_of(activation)
        self.use_bias = bool(use_bias)
        self.kernel_initializer = initializers.get(kernel_initializer)
        self.bias_initializer = initializers.get(bias_initializer)
        self.kernel_regularizer = regularizers.get(kernel_regularizer)
        self.bias_regularizer = regularizers.get(bias_regularizer)

    def create_weights(self, input_shape: Shape) -> None:
        features = known_features("Dense", input_shape)
        self.add_weight(
            "kernel", (features, self.units), self.kernel_initializer, self.kernel_regularizer
        )
        if self.use_bias:
            self.add_weight("bias", (self.units,), self.bias_initializer, self.bias_regularizer)
        else:
            self.register_parameter("bias", None)

    def check_input_shape(self, shape: Shape) -> None:
        if len(shape) < 2:
            raise RankError(
                f"Dense expected input (B, ..., I) but got {sizes(shape)}. "
                "Add a batch axis for one sample: x[None, :].",
                shape=shape,
                layer=self,
            )
        if self.built and shape[-1] not in (None, self.kernel.shape[0]):
            raise InputError(
                f"Dense expected {self.kernel.shape[0]} features on the last axis but got "
                f"{shape[-1]}: input {sizes(shape)}."
            )

    def forward(self, x: Tensor) -> Tensor:
        x = self.receive(x)
        if x.dim() == 2 and self.bias is not None:
            # As linear, which wants the kernel transposed: an operation more, there and back.
            y = torch.addmm(self.bias, x, self.kernel)
        else:
            y = functional.linear(x, self.kernel.t(), self.bias)
        return activations.get(self.activation)(y)

    def compute_output_shape(self, input_shape: Sequence[int | None]) -> Shape:
        shape = checked_shape(input_shape)
        self.check_input_shape(shape)
        return (*shape[:-1], self.units)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "units": self.units,
            "activation": serialized_activation(self.activation),
            "use_bias": self.use_bias,
            "kernel_initializer": initializers.serialize(self.kernel_initializer),
            "bias_initializer": initializers.serialize(self.bias_initializer),
            "kernel_regularizer": regularizers.serialize(self.kernel_regularizer),
            "bias_regularizer": regularizers.serialize(self.bias_regularizer),
            "activity_regularizer": regularizers.serialize(self.activity_regularizer),
        }

    def _weight(self) -> Tensor | None:
        return self.kernel if self.built else None


class Activation(Layer):
    """Apply an activation, by name or callable; input and result have one shape, and a mask passes.

    >>> import torch
    >>> Activation("relu")(torch.tensor([-1.0, 2.0]))
    tensor([0., 2.])
    """

    supports_masking = True

    def __init__(
        self,
        activation: ActivationLike,
        *,
        input_shape: Sequence[int | None] | None = None,
        name: str | None = None,
        trainable: bool = True,
    ) -> None:
        super().__init__(input_shape=input_shape, name=name, trainable=trainable)
        self.activation = activations.name_of(activation)

    def forward(self, x: Tensor) -> Tensor:
        return activations.get(self.activation)(self.receive(x))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "activation": serialized_activation(self.activation)}


def known_features(layer: str, shape: Shape) -> int:
    """Return the last size of a shape, which the weights need."""
    if shape[-1] is None:
        raise InputError(
            f"{layer} needs the number of features to make its weights but the last axis of "
            f"{sizes(shape)} is unknown. Give it, as in input_shape=(None, 100)."
        )
    return shape[-1]


def serialized_activation(activation: str | Callable[[Tensor], Tensor]) -> str:
    """Return an activation's name for a configuration; a callable of the user's own has none."""
    if isinstance(activation, str):
        return activation
    raise InputError(
        f"The activation {activation!r} has no name, so no configuration can hold it. "
        f"Use one of {', '.join(sorted(activations.NAMES))}, or save the weights alone."
    )
