"""Features brought to mean 0 and variance 1: sample by sample, or over the batch.

Ba et al., "Layer normalization", arXiv 1607.06450; Ioffe and Szegedy, "Batch normalization",
arXiv 1502.03167.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from gatewise.errors import InputError
from gatewise.layers import initializers, regularizers
from gatewise.layers.dense import known_features
from gatewise.layers.layer import Layer, Shape, sizes

# What Keras adds to the number of real steps before it divides by it.
_NOT_ZERO = 1e-7


class _Normalization(Layer):
    """What both share: a scale and a shift a feature."""

    supports_masking = True
    gamma: nn.Parameter | None
    beta: nn.Parameter | None

    def __init__(
        self,
        axis: int | Sequence[int],
        epsilon: float,
        center: bool,
        scale: bool,
        beta_initializer: initializers.InitializerLike,
        gamma_initializer: initializers.InitializerLike,
        beta_regularizer: regularizers.RegularizerLike | None,
        gamma_regularizer: regularizers.RegularizerLike | None,
        input_shape: Sequence[int | None] | None,
        name: str | None,
        trainable: bool,
    ) -> None:
        super().__init__(input_shape=input_shape, name=name, trainable=trainable)
        given = [axis] if isinstance(axis, int) else list(axis)
        if len(given) != 1:
            raise InputError(f"{type(self).__name__} takes one axis but got {axis!r}.")
        self.axis = given[0]
        self.epsilon = float(epsilon)
        self.center, self.scale = bool(center), bool(scale)
        self.beta_initializer = initializers.get(beta_initializer)
        self.gamma_initializer = initializers.get(gamma_initializer)
        self.beta_regularizer = regularizers.get(beta_regularizer)
        self.gamma_regularizer = regularizers.get(gamma_regularizer)

    def create_weights(self, input_shape: Shape) -> None:
        features = known_features(type(self).__name__, (input_shape[self.axis],))
        for name, wanted in (("gamma", self.scale), ("beta", self.center)):
            if wanted:
                initializer = getattr(self, f"{name}_initializer")
                self.add_weight(
                    name, (features,), initializer, getattr(self, f"{name}_regularizer")
                )
            else:
                self.register_parameter(name, None)

    def check_input_shape(self, shape: Shape) -> None:
        if not -len(shape) <= self.axis < len(shape) or self.axis % len(shape) == 0:
            raise InputError(
                f"{type(self).__name__}(axis={self.axis}) has no such axis to normalize in input "
                f"{sizes(shape)}."
            )
        weight = self._weight()
        if weight is not None and shape[self.axis] not in (None, len(weight)):
            raise InputError(
                f"{type(self).__name__} was built for {len(weight)} features but got "
                f"{sizes(shape)}."
            )

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "axis": self.axis,
            "epsilon": self.epsilon,
            "center": self.center,
            "scale": self.scale,
            "beta_initializer": initializers.serialize(self.beta_initializer),
            "gamma_initializer": initializers.serialize(self.gamma_initializer),
            "beta_regularizer": regularizers.serialize(self.beta_regularizer),
            "gamma_regularizer": regularizers.serialize(self.gamma_regularizer),
        }

    def _weight(self) -> Tensor | None:
        return next(self.parameters(recurse=False), None)

    def _along(self, weight: Tensor, x: Tensor) -> Tensor:
        """Return a weight a feature so that it meets its feature in ``x``."""
        shape = [1] * x.ndim
        shape[self.axis] = -1
        return weight.reshape(shape)

    def _shifted(self, y: Tensor) -> Tensor:
        y = y if self.gamma is None else y * self._along(self.gamma, y)
        return y if self.beta is None else y + self._along(self.beta, y)


class LayerNormalization(_Normalization):
    """Each vector of features brought to mean 0 and variance 1, then scaled and shifted.

        y = gamma (x - mean) / sqrt(variance + epsilon) + beta

    >>> LayerNormalization(epsilon=0.0)(torch.tensor([[1.0, 3.0]])).tolist()
    [[-1.0, 1.0]]
    """

    def __init__(
        self,
        axis: int | Sequence[int] = -1,
        epsilon: float = 1e-3,
        center: bool = True,
        scale: bool = True,
        beta_initializer: initializers.InitializerLike = "zeros",
        gamma_initializer: initializers.InitializerLike = "ones",
        beta_regularizer: regularizers.RegularizerLike | None = None,
        gamma_regularizer: regularizers.RegularizerLike | None = None,
        *,
        input_shape: Sequence[int | None] | None = None,
        name: str | None = None,
        trainable: bool = True,
    ) -> None:
        super().__init__(
            axis, epsilon, center, scale, beta_initializer, gamma_initializer, beta_regularizer,
            gamma_regularizer, input_shape, name, trainable,
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        x = self.receive(x)
        variance, mean = torch.var_mean(x, dim=self.axis, correction=0, keepdim=True)
        return self._shifted((x - mean) * torch.rsqrt(variance + self.epsilon))


class BatchNormalization(_Normalization):
    """Each feature brought to the mean 0 and variance 1 of the batch, then scaled and shifted.

    In training the batch's own mean and variance are used, over the real steps if there is a mask,
    and moving averages of them are kept, ``moving_mean`` and ``moving_variance``, weights that no
    gradient moves; in inference, and when the layer is frozen, these are used.

    >>> layer = BatchNormalization(epsilon=0.0).train()
    >>> layer(torch.tensor([[1.0], [3.0]])).tolist()
    [[-1.0], [1.0]]
    """

    takes_mask = True
    moving_mean: nn.Parameter
    moving_variance: nn.Parameter

    def __init__(
        self,
        axis: int | Sequence[int] = -1,
        momentum: float = 0.99,
        epsilon: float = 1e-3,
        center: bool = True,
        scale: bool = True,
        beta_initializer: initializers.InitializerLike = "zeros",
        gamma_initializer: initializers.InitializerLike = "ones",
        moving_mean_initializer: initializers.InitializerLike = "zeros",
        moving_variance_initializer: initializers.InitializerLike = "ones",
        beta_regularizer: regularizers.RegularizerLike | None = None,
        gamma_regularizer: regularizers.RegularizerLike | None = None,
        *,
        input_shape: Sequence[int | None] | None = None,
        name: str | None = None,
        trainable: bool = True,
    ) -> None:
        super().__init__(
            axis, epsilon, center, scale, beta_initializer, gamma_initializer, beta_regularizer,
            gamma_regularizer, input_shape, name, trainable,
        )  # fmt: skip
        self.momentum = float(momentum)
        self.moving_mean_initializer = initializers.get(moving_mean_initializer)
        self.moving_variance_initializer = initializers.get(moving_variance_initializer)

    def create_weights(self, input_shape: Shape) -> None:
        super().create_weights(input_shape)
        shape = (input_shape[self.axis],)
        self.add_weight("moving_mean", shape, self.moving_mean_initializer, trainable=False)
        self.add_weight("moving_variance", shape, self.moving_variance_initializer, trainable=False)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        x = self.receive(x)
        if self.training and self.trainable:
            mean, variance = self._moments(x, mask)
            with torch.no_grad():
                kept = self.momentum
                self.moving_mean.mul_(kept).add_(mean.flatten(), alpha=1 - kept)
                self.moving_variance.mul_(kept).add_(variance.flatten(), alpha=1 - kept)
        else:
            mean = self._along(self.moving_mean, x)
            variance = self._along(self.moving_variance, x)
        return self._shifted((x - mean) * torch.rsqrt(variance + self.epsilon))

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "momentum": self.momentum,
            "moving_mean_initializer": initializers.serialize(self.moving_mean_initializer),
            "moving_variance_initializer": initializers.serialize(self.moving_variance_initializer),
        }

    def _moments(self, x: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
        others = [axis for axis in range(x.ndim) if axis != self.axis % x.ndim]
        if mask is None:
            variance, mean = torch.var_mean(x, dim=others, correction=0, keepdim=True)
            return mean, variance
        real = mask.reshape(*mask.shape, *(1 for _ in range(x.ndim - mask.ndim))).expand(x.shape)
        count = real.sum(dim=others, keepdim=True).to(x.dtype) + _NOT_ZERO
        mean = torch.where(real, x, 0).sum(dim=others, keepdim=True) / count
        squares = torch.where(real, x - mean, 0).square()
        return mean, squares.sum(dim=others, keepdim=True) / count
