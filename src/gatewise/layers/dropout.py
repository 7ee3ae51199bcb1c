"""Dropout of single numbers.

Srivastava et al., "Dropout: a simple way to prevent neural networks from overfitting", JMLR 15,
2014.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from gatewise.errors import InputError
from gatewise.layers.layer import Layer, Shape, checked_shape
from gatewise.layers.noise import NoiseSource


class Dropout(Layer):
    """In training, set a share ``rate`` of the numbers to zero, scale the rest by 1 / (1 - rate).

    ``noise_shape`` is the shape of the mask, stretched over the input: (None, 1, None) on (B, T,
    I) drops a feature at all its time steps at once; None takes the input's size. With ``seed``
    the masks repeat from one run to the next, else they come from torch's global generator. In
    inference the input passes unchanged.

    >>> import torch
    >>> layer = Dropout(0.5, seed=1).train()
    >>> layer(torch.ones(6))
    tensor([0., 2., 2., 2., 2., 2.])
    >>> layer.eval()(torch.ones(6))
    tensor([1., 1., 1., 1., 1., 1.])
    """

    supports_masking = True

    def __init__(
        self,
        rate: float,
        noise_shape: Sequence[int | None] | None = None,
        seed: int | None = None,
        *,
        input_shape: Sequence[int | None] | None = None,
        name: str | None = None,
        trainable: bool = True,
    ) -> None:
        super().__init__(input_shape=input_shape, name=name, trainable=trainable)
        if not 0 <= rate <= 1:
            raise InputError(f"Dropout expected a rate between 0 and 1 but got {rate!r}.")
        self.rate = rate
        self.noise_shape = None if noise_shape is None else checked_shape(noise_shape)
        self.noise = NoiseSource(seed)

    def check_input_shape(self, shape: Shape) -> None:
        if self.noise_shape is not None and len(self.noise_shape) != len(shape):
            raise InputError(
                f"{type(self).__name__} got input with {len(shape)} axes, {shape}, but "
                f"noise_shape has {len(self.noise_shape)}: {self.noise_shape}. "
                "Give one size (or None) for each axis."
            )

    def forward(self, x: Tensor) -> Tensor:
        x = self.receive(x)
        if not self.training or self.rate == 0:
            return x
        return self.noise.drop(x, self._mask_shape(x), self.rate)

    def get_config(self) -> dict[str, Any]:
        shape = None if self.noise_shape is None else list(self.noise_shape)
        own = {"rate": self.rate, "noise_shape": shape, "seed": self.noise.seed}
        return {**super().get_config(), **own}

    def _mask_shape(self, x: Tensor) -> tuple[int, ...]:
        if self.noise_shape is None:
            return tuple(x.shape)
        pairs = zip(self.noise_shape, x.shape, strict=True)
        return tuple(size if wanted is None else wanted for wanted, size in pairs)


class SpatialDropout1D(Dropout):
    """In training, drop a share ``rate`` of the features, each at all its time steps at once.

    Tompson et al., "Efficient object localization using convolutional networks", arXiv 1411.4280.

    >>> import torch
    >>> y = SpatialDropout1D(0.5, seed=1).train()(torch.ones(1, 3, 8))
    >>> bool((y == y[:, :1]).all())
    True
    """

    def __init__(
        self,
        rate: float,
        seed: int | None = None,
        *,
        input_shape: Sequence[int | None] | None = None,
        name: str | None = None,
        trainable: bool = True,
    ) -> None:
        super().__init__(
            rate, (None, 1, None), seed, input_shape=input_shape, name=name, trainable=trainable
        )

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        del config["noise_shape"]
        return config
