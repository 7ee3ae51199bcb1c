"""One pass of series through a recurrent layer: what is drawn for it, and the operator's call.

Gal and Ghahramani, "A theoretically grounded application of dropout in recurrent neural networks",
arXiv 1512.05287: one dropout mask for all time steps.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor

from gatewise.cells import NO_NOISE, Noise
from gatewise.kernels import recurrent
from gatewise.kernels.int8 import Int8Weights, recurrent_int8
from gatewise.layers import quantization

if TYPE_CHECKING:
    from gatewise.layers.recurrent import Recurrent


def run(
    layer: Recurrent, x: Tensor, state: list[Tensor] | None, mask: Tensor | None
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Return the outputs (B, T, P) and the final state, after the dropout that training asks for.

    Drawn are, in this order: the inputs' mask, those of the states, and that of U.
    """
    if layer.training and layer.dropout:
        x = x * layer.noise((x.shape[0], 1, x.shape[2]), layer.dropout, x)
    noise = _noise(layer, x)
    if layer.quantization is not None:
        return recurrent_int8(
            x,
            _integers(layer),
            state,
            specification=layer.specification,
            mask=mask,
            noise=noise,
            kernel=layer.use_kernel,
        )
    return recurrent(
        x,
        _weights(layer),
        state,
        specification=layer.specification,
        mask=mask,
        noise=noise,
        kernel=layer.use_kernel,
        recompute=layer.recompute,
    )


def _noise(layer: Recurrent, x: Tensor) -> Noise:
    if not any(layer.zoneout) and not (layer.training and layer.recurrent_dropout):
        return NO_NOISE
    return layer.rates.draw(layer.noise, x, layer.state_sizes, layer.training)


def _weights(layer: Recurrent) -> list[Tensor]:
    """Return the weights of one pass: in training with some numbers of U dropped."""
    weights = layer.weight_list()
    if not layer.training or layer.weight_dropout == 0:
        return weights
    W, U, *rest = weights
    return [W, U * layer.noise(U.shape, layer.weight_dropout, U), *rest]


def _integers(layer: Recurrent) -> Int8Weights:
    """As :func:`_weights`, of a quantized layer."""
    weights = quantization.int8_weights(layer)
    if not layer.training or layer.weight_dropout == 0:
        return weights
    U, scale = weights.recurrent_kernel, weights.recurrent_kernel_scale
    kept = layer.noise(U.shape, layer.weight_dropout, scale)
    return quantization.drop_weights(weights, kept, layer.weight_dropout)
