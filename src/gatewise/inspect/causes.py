"""Why the gradient of a gate's weight is exactly zero, read from what the kernels saved."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from gatewise.cells import split_gates
from gatewise.kernels import Record


def cause_of_zero(records: Sequence[Record], called: bool, name: str, gate: str) -> str:
    """Return in words why no gradient reaches a gate's W, U, b or p ("kernel" and so on)."""
    if not called:
        return "the forward pass does not run this layer"
    if not records:
        return "the layer runs outside the fused kernels, which save what would tell"
    if all(record.gate_cotangents is None for record in records):
        return "the loss does not depend on this layer's output"
    if not any(_real(record).any() for record in records):
        return "every step of this batch is masked"
    if any(_cotangents(record, gate).any() for record in records):
        return _cause_in_factor(records, name)
    if gate == "f" and all(_starts_at_zero(record, -1) for record in records):
        return "one real step from a zero state: f has nothing to keep yet"
    if gate == "r" and all(_starts_at_zero(record, 0) for record in records):
        return "one real step from a zero state: r has nothing to reset yet"
    activation = _activation(records[0], gate)
    return f"no gradient passes the gate: {activation} is flat here, or what it gates has none"


def _cause_in_factor(records: Sequence[Record], name: str) -> str:
    """Gradient reaches the gate, so what it is multiplied with must be zero."""
    if name == "peephole":
        return "the memory c that the gate sees is zero at every step that counts"
    if name == "kernel":
        return "x is zero at every step that counts"
    if all(_starts_at_zero(record, 0) for record in records):
        return "one real step from a zero state: U multiplies zeros"
    return "h is zero before every step that counts"


def _starts_at_zero(record: Record, state: int) -> bool:
    """Return whether every sequence has at most one real step, and a state of zero before it."""
    return int(_real(record).sum(dim=1).max()) <= 1 and not record.state[state].any()


def _real(record: Record) -> Tensor:
    """Return the mask (B, T), all True where there is none."""
    if record.mask is not None:
        return record.mask
    return torch.ones(record.x.shape[:2], dtype=torch.bool, device=record.x.device)


def _cotangents(record: Record, gate: str) -> Tensor:
    if record.gate_cotangents is None:
        return record.x.new_zeros(1)
    return split_gates(record.gate_cotangents, record.specification.cell)[gate]


def _activation(record: Record, gate: str) -> str:
    candidate = gate in ("g", "h")
    specification = record.specification
    chosen = specification.activation if candidate else specification.recurrent_activation
    return getattr(chosen, "__name__", str(chosen))
