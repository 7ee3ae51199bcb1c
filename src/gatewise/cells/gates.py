"""The order of the gates, declared once; nothing else slices a weight by number.

LSTM weights lie as i, f, g, o (as in Keras, PyTorch and cuDNN; Keras writes c for g); GRU weights
as z, r, h (as in Keras and ONNX; PyTorch has r, z, n). "cifg" is the LSTM whose gates are coupled,
i = 1 - f, so that it has no i of its own (Greff et al., arXiv 1503.04069).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

GATES: dict[str, tuple[str, ...]] = {
    "lstm": ("i", "f", "g", "o"),
    "cifg": ("f", "g", "o"),
    "gru": ("z", "r", "h"),
    "simple_rnn": ("h",),
}
"""The gates of each cell, in the order in which their columns stand in W, U and b."""

STATES: dict[str, tuple[str, ...]] = {
    "lstm": ("h", "c"),
    "cifg": ("h", "c"),
    "gru": ("h",),
    "simple_rnn": ("h",),
}
"""The state that each cell hands from one time step to the next."""

KEEPERS: dict[str, str] = {"lstm": "f", "cifg": "f", "gru": "z"}
"""The gate of each cell that says how much of the state to keep."""

PEEPHOLES: dict[str, tuple[str, ...]] = {
    "lstm": ("i", "f", "o"),
    "cifg": ("f", "o"),
    "gru": (),
    "simple_rnn": (),
}
"""The gates that may see the memory c, in the order of the rows of the peephole weights."""


def gate_slice(cell: str, gate: str, units: int) -> slice:
    """Return the columns of W, U and b that belong to a gate.

    >>> gate_slice("lstm", "f", 128)
    slice(128, 256, None)
    """
    position = GATES[cell].index(gate)
    return slice(position * units, (position + 1) * units)


def split_gates(tensor: Tensor, cell: str, dim: int = -1) -> dict[str, Tensor]:
    """Return a view of each gate's part of a tensor whose axis ``dim`` holds all gates.

    >>> {gate: part.shape[-1] for gate, part in split_gates(torch.zeros(2, 12), "gru").items()}
    {'z': 4, 'r': 4, 'h': 4}
    """
    names = GATES[cell]
    return dict(zip(names, tensor.chunk(len(names), dim=dim), strict=True))


def reorder_gates(
    tensor: Tensor, source: Sequence[str], target: Sequence[str], dim: int = -1
) -> Tensor:
    """Return a tensor whose gates, laid out as ``source`` along ``dim``, stand as ``target``.

    >>> reorder_gates(torch.tensor([1, 2, 3]), ("r", "z", "h"), ("z", "r", "h"))
    tensor([2, 1, 3])
    """
    if tuple(source) == tuple(target):
        return tensor
    parts = tensor.chunk(len(source), dim=dim)
    return torch.cat([parts[source.index(gate)] for gate in target], dim=dim)
