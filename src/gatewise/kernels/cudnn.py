"""cuDNN, driven through torch's own operators, where it computes exactly the same equation.

cuDNN wants weights as (G·H, I) with two biases, in one piece of memory, and a GRU's gates as
r, z, n.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from gatewise.cells import Specification, Weights, reorder_gates

_GRU_ORDER = ("r", "z", "h")


def run(
    x: Tensor, weights: Sequence[Tensor], state: Sequence[Tensor], specification: Specification
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Return the outputs (B, T, H) and the final state; torch differentiates them."""
    flat = _flat_weights(weights, specification)
    if specification.reverse:
        x = x.flip(1)
    first = [part.unsqueeze(0) for part in state]
    # train=True keeps what the way back needs, in eval mode too; it changes nothing else here.
    settings = (True, 1, 0.0, True, False, True)
    if specification.cell == "lstm":
        outputs, *final = torch.lstm(x, first, flat, *settings)
    else:
        name = "gru" if specification.cell == "gru" else f"rnn_{specification.activation}"
        outputs, *final = getattr(torch, name)(x, first[0], flat, *settings)
    if specification.reverse:
        outputs = outputs.flip(1)
    return outputs, tuple(part.squeeze(0) for part in final)


def _flat_weights(weights: Sequence[Tensor], specification: Specification) -> list[Tensor]:
    """Return W, U and two biases in cuDNN's layout, as views of one piece of memory."""
    W, U, bias, *_ = Weights.of(weights, specification)
    if bias is None:
        bias = W.new_zeros((2, W.shape[1]) if specification.two_biases else W.shape[1])
    biases = [bias[0], bias[1]] if specification.two_biases else [bias, torch.zeros_like(bias)]
    parts = [W.t(), U.t(), *biases]
    if specification.cell == "gru":
        parts = [reorder_gates(part, specification.gates, _GRU_ORDER, dim=0) for part in parts]
    sizes = [part.numel() for part in parts]
    memory = torch.cat([part.reshape(-1) for part in parts])
    return [piece.view(part.shape) for piece, part in zip(memory.split(sizes), parts, strict=True)]
