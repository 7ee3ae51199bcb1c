"""When a Keras layer's loop must stay Keras's own, and what to say about it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import torch
from torch import Tensor

from gatewise.cells import Specification

_CELLS: dict[type, str] = {
    keras.layers.LSTMCell: "lstm",
    keras.layers.GRUCell: "gru",
    keras.layers.SimpleRNNCell: "simple_rnn",
}
_ACTIVATIONS = {
    getattr(keras.activations, name): name
    for name in ("linear", "tanh", "sigmoid", "relu", "hard_sigmoid", "softsign")
}
_DTYPES = (torch.float32, torch.float64)


def specification(layer: Any) -> Specification | str:
    """Return the equation that a Keras layer computes, or why gatewise has none for it."""
    cell = layer.cell
    kind = _CELLS.get(type(cell))
    if kind is None:
        return f"its cell is a {type(cell).__name__}, which may compute something else"
    functions = [cell.activation]
    if kind != "simple_rnn":
        functions.append(cell.recurrent_activation)
    names = [_activation(function) for function in functions]
    for function, name in zip(functions, names, strict=True):
        if name is None:
            word = getattr(function, "__name__", type(function).__name__)
            known = ", ".join(sorted(_ACTIVATIONS.values()))
            return f"the activation {word} is not in the fused kernels, which have {known}"
    return Specification(
        kind,
        *(name for name in names if name is not None),
        reset_after=getattr(cell, "reset_after", True),
        reverse=layer.go_backwards,
    )


def setting_refusal(layer: Any, training: bool) -> str | None:
    """Return what about a layer's settings keeps the call in Keras's loop, or None."""
    if getattr(layer, "use_cudnn", None) is True:
        return "use_cudnn=True asks for cuDNN by name; leave it at 'auto'"
    if not training:
        return None
    cell = layer.cell
    if max(cell.dropout, cell.recurrent_dropout) >= 1:
        return "a dropout rate of 1, at which Keras's own paths differ"
    if cell.recurrent_dropout and type(cell) is not keras.layers.SimpleRNNCell:
        return (
            "recurrent_dropout while training: Keras draws a mask for each gate, the kernels take "
            "one for all gates (recurrent_dropout=0 here, or gatewise.layers, which has one)"
        )
    if cell.dropout and getattr(cell, "implementation", 2) == 1:
        return "dropout with implementation=1: Keras draws a mask for each gate; leave it at 2"
    return None


def tensor_refusal(x: Tensor, weights: Sequence[Tensor], mask: Tensor | None) -> str | None:
    """Return what about a call's tensors keeps it in Keras's loop, or None."""
    dtype = weights[0].dtype
    if dtype not in _DTYPES:
        return (
            f"it computes in {_name(dtype)}, the kernels in float32 and float64 "
            "(keras.config.set_dtype_policy('float32'))"
        )
    if x.is_floating_point() and x.dtype != dtype:
        return f"its inputs are {_name(x.dtype)}, its weights {_name(dtype)}"
    if mask is not None and mask.ndim != 2:
        return f"its mask has {mask.ndim} axes, not batch and time"
    return None


def _activation(function: Any) -> str | None:
    if function is None:
        return "linear"
    try:
        return _ACTIVATIONS.get(function)
    except TypeError:  # an unhashable callable
        return None


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
