"""Recurrent layers with weights of 8 bits: what ``layer.quantize("int8")`` does to one.

W, U and a projection become integers in their own places, so every count of the weights stays what
it was; the scale of each column stands beside them as a buffer. :mod:`gatewise.cells.int8` says
what a product with them is. Such a layer serves inference alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch import Tensor, nn

from gatewise.cells.int8 import LARGEST, quantize_columns
from gatewise.errors import InputError, UnsupportedError, unknown_name
from gatewise.kernels import Request
from gatewise.kernels.int8 import MATRICES, Int8Weights, choose_int8

if TYPE_CHECKING:
    from gatewise.layers.recurrent import Recurrent

_Layer = TypeVar("_Layer", bound="Recurrent")

MODES = ("int8",)
# So many products of two of the largest integers fit a sum of 32 bits.
_DEEPEST = (2**31 - 1) // LARGEST**2


def check_mode(mode: str) -> None:
    """Raise ``UnknownNameError`` for a mode that there is not."""
    if mode not in MODES:
        raise unknown_name("quantization mode", mode, MODES)


def check_quantizable(layer: Recurrent) -> None:
    """Raise an error that says why a layer's weights cannot be rounded to 8 bits, if so."""
    if layer.quantization is not None:
        raise InputError(f"{layer.name} has weights of 8 bits already: quantize it once.")
    if not layer.built:
        raise InputError(
            f"{layer.name} has no weights yet, so there is nothing to quantize. Build it first, "
            "train it, and quantize it last."
        )
    known = {"kernel", "recurrent_kernel", "bias", *layer.specification.extra_weights}
    further = {name for name, _ in layer.named_parameters()} - known
    if further:
        raise UnsupportedError(
            f"quantize('int8') knows the weights of the equation, but {layer.name} has "
            f"{', '.join(sorted(further))} too. Leave this layer in float32."
        )
    for name in matrices_of(layer):
        weight: Tensor = getattr(layer, name)
        if weight.dtype != torch.float32:
            raise UnsupportedError(
                f"quantize('int8') rounds float32 weights and computes in float32 around them, but "
                f"{layer.name}.{name} is {weight.dtype}. Cast the model first: model.float()."
            )
        if weight.shape[0] > _DEEPEST:
            raise UnsupportedError(
                f"{layer.name}.{name} has {weight.shape[0]} rows, and the products of more than "
                f"{_DEEPEST} may not fit a sum of 32 bits. Leave this layer in float32."
            )
        if not weight.is_meta and not weight.isfinite().all():
            raise InputError(
                f"{layer.name}.{name} holds a NaN or an infinity, which no integer stands for."
            )
    # A kernel asked for by name that cannot serve is an error now, not at the first call.
    choose_int8(Request(layer.specification, "cpu", torch.float32, kernel=layer.use_kernel))


def quantize_layer(layer: Recurrent, mode: str) -> None:
    """Round the matrices of a built layer to 8 bits and freeze it."""
    check_mode(mode)
    check_quantizable(layer)
    take_integers(layer)


def take_integers(layer: Recurrent) -> None:
    """Put integers and scales in the place of the matrices."""
    for name in matrices_of(layer):
        integers, scales = quantize_columns(getattr(layer, name).detach())
        layer.register_parameter(name, nn.Parameter(integers, requires_grad=False))
        layer.register_buffer(f"{name}_scale", scales)
    layer.freeze()
    layer.quantization = "int8"


def int8_weights(layer: Recurrent) -> Int8Weights:
    """Return the weights of a quantized layer."""
    weights: Any = layer  # whose scales are buffers
    extra = {name: getattr(weights, name) for name in layer.specification.extra_weights}
    if "projection" in extra:
        extra["projection_scale"] = weights.projection_scale
    return Int8Weights(
        weights.kernel,
        weights.kernel_scale,
        weights.recurrent_kernel,
        weights.recurrent_kernel_scale,
        weights.bias,
        **extra,
    )


def drop_weights(weights: Int8Weights, kept: Tensor, rate: float) -> Int8Weights:
    """Return the weights with the numbers of U dropped where ``kept`` (P, G·H) is zero."""
    return weights._replace(
        recurrent_kernel=torch.where(kept > 0, weights.recurrent_kernel, 0),
        recurrent_kernel_scale=weights.recurrent_kernel_scale / (1 - rate),
    )


def matrices_of(layer: Recurrent) -> tuple[str, ...]:
    """Return the names of the weights that are rounded."""
    return MATRICES if layer.specification.projection else MATRICES[:2]


def scales_of(module: nn.Module) -> list[Tensor]:
    """Return the scales of all quantized layers within a module."""
    return [
        layer.get_buffer(f"{name}_scale")
        for layer in module.modules()
        if getattr(layer, "quantization", None) is not None
        for name in matrices_of(layer)  # pyright: ignore[reportArgumentType]
    ]


def as_described(cls: type[_Layer], mode: str | None, config: dict[str, Any]) -> _Layer:
    """Return a new layer that holds its weights, once it has some, as ``mode`` says."""
    layer = cls(**config)
    if mode is not None:
        check_mode(mode)
        layer.quantization = mode
    return layer


def refuse_new_weights(layer: Recurrent) -> None:
    """Raise ``UnsupportedError`` for a quantized layer, whose integers need their scales."""
    if layer.quantization is not None:
        raise UnsupportedError(
            f"{layer.name} was quantized: set_weights would put numbers beside scales of other "
            "numbers. Set the weights of the model as it was before quantize(), or load both with "
            "load_weights() or load_state_dict()."
        )
