"""The loop over time of a Keras layer, on gatewise's kernels wherever they compute the same."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import keras
import torch
from torch import Tensor, where

from gatewise.cells import NO_NOISE, Noise, Specification
from gatewise.keras import paths, refusals
from gatewise.kernels import Request, recurrent

Result = tuple[Tensor, Tensor, list[Tensor]]
Loop = Callable[..., Any]

KERAS_LOOPS: dict[type[keras.Layer], Loop] = {
    kind: kind.inner_loop for kind in (keras.layers.LSTM, keras.layers.GRU, keras.layers.SimpleRNN)
}
"""Keras's own loop of each class, as it was before anything was changed."""


def run(
    layer: Any,
    keras_loop: Loop,
    sequences: Tensor,
    initial_state: Any,
    mask: Any,
    training: bool | None,
) -> Result:
    """Return what Keras's ``inner_loop`` does: last output, outputs and final states.

    Without ``return_sequences`` the outputs are the last alone (B, 1, H). What the kernels cannot
    compute exactly as Keras does goes to ``keras_loop``, with one warning that says why.
    """
    if _only_traced(sequences):
        return keras_loop(layer, sequences, initial_state, mask, training=training)
    states = [_tensor(part) for part in _flat(initial_state)]
    flat_mask = None if mask is None else _flat(mask)[0]
    flat_mask = None if flat_mask is None else _tensor(flat_mask).to(torch.bool)
    weights = _weights(layer.cell)
    specification = refusals.specification(layer)
    reason = (
        specification
        if isinstance(specification, str)
        else refusals.setting_refusal(layer, bool(training))
        or refusals.tensor_refusal(sequences, weights, flat_mask)
    )
    if reason is not None or isinstance(specification, str):
        paths.record_keras(layer, str(reason), bool(training))
        return keras_loop(layer, sequences, initial_state, mask, training=training)
    return _fused(layer, specification, sequences, weights, states, flat_mask, bool(training))


def _fused(
    layer: Any,
    specification: Specification,
    x: Tensor,
    weights: Sequence[Tensor],
    state: list[Tensor],
    mask: Tensor | None,
    training: bool,
) -> Result:
    x = x.to(weights[0].dtype)  # whole numbers, as Keras casts them
    noise = NO_NOISE
    if training and layer.cell.dropout:
        x = x * layer.cell.get_dropout_mask(x[:, 0, :]).unsqueeze(1)
    if training and layer.cell.recurrent_dropout:
        noise = Noise(layer.cell.get_recurrent_dropout_mask(state[0]))
    if layer.stateful:
        # Keras writes the new state into the very tensors that the backward pass will read.
        state = [part.clone() for part in state]
    request = Request.of(x, weights, specification, mask, noise)
    paths.record_kernel(layer, request, training)
    outputs, final = recurrent(
        x,
        weights,
        state,
        specification=specification,
        mask=mask,
        noise=noise,
    )
    zero_all = layer.zero_output_for_mask
    if specification.reverse and mask is not None:
        mask = mask.flip(1)  # the order of processing, as the outputs below
    last = _shown_last(final[0], mask, zero_all)
    if not layer.return_sequences:
        return last, last.unsqueeze(1), list(final)
    if specification.reverse:
        outputs = outputs.flip(1)
    return last, _shown(outputs, mask, zero_all), list(final)


def _shown(outputs: Tensor, mask: Tensor | None, zero_all: bool) -> Tensor:
    """Return the outputs (B, T, H) as Keras shows them: zero at masked steps, or the last one.

    Before the first real step the last one is zero, also where an initial state was given.
    """
    if mask is None:
        return outputs
    shown = mask if zero_all else mask.cumsum(1) > 0
    return where(shown.unsqueeze(-1), outputs, 0)


def _shown_last(h: Tensor, mask: Tensor | None, zero_all: bool) -> Tensor:
    """Return the last output (B, H), by the rule of the outputs."""
    if mask is None:
        return h
    return where(mask[:, -1:] if zero_all else mask.any(1, keepdim=True), h, 0)


def _only_traced(sequences: Any) -> bool:
    """Whether no numbers are at stake: shapes are inferred, a graph is written, nothing is there.

    A graph written for another runtime must hold Keras's plain operations, not our operator.
    """
    return (
        not isinstance(sequences, Tensor)
        or sequences.is_meta
        or sequences.ndim != 3
        or sequences.shape[0] == 0
        or sequences.shape[1] == 0
        or torch.jit.is_tracing()  # type: ignore[attr-defined]
        or torch.compiler.is_exporting()
    )


def _weights(cell: Any) -> list[Tensor]:
    weights = [cell.kernel, cell.recurrent_kernel]
    return [_tensor(weight) for weight in (weights if cell.bias is None else [*weights, cell.bias])]


def _flat(nested: Any) -> list[Any]:
    return list(nested) if isinstance(nested, list | tuple) else [nested]


def _tensor(value: Any) -> Any:
    return keras.ops.convert_to_tensor(value)
