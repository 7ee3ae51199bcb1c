"""‖dL/dh_t‖ and ‖dL/dc_t‖ at every step, by a scan back through what the kernels saved."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from gatewise import cells
from gatewise.kernels import Record, ops

PIECE_BYTES = 64 * 2**20
"""How much memory the scan of one piece of the batch may take."""


class Injection(NamedTuple):
    """What the loss sends into a pass: a row for each scan, and which sample it belongs to."""

    rows: Tensor  # (N,)
    outputs: Tensor  # (N, T, H), into h at each step
    final_state: list[Tensor]  # each (N, H), into the state after the last processed step


def injected(record: Record) -> Injection | None:
    """Return the cotangents that reached a recorded pass, or None where the loss ignores it."""
    if record.outputs is None or record.gate_cotangents is None:
        return None
    outputs = record.grad_outputs
    outputs = torch.zeros_like(record.outputs) if outputs is None else outputs.detach()
    given = [grad for grad in record.grad_final_state if grad is not None]
    if len(given) == len(record.state):
        final = [grad.detach() for grad in given]
    else:
        final = [
            torch.zeros_like(state) if grad is None else grad.detach()
            for grad, state in zip(record.grad_final_state, record.state, strict=True)
        ]
    return Injection(torch.arange(len(outputs), device=outputs.device), outputs, final)


def state_norms(record: Record, injection: Injection) -> Tensor:
    """Return the L2 norms of dL/d(state after step t), (N, T, S); memory stays within a piece."""
    assert record.gates is not None
    step_size = 3 * record.gates.shape[-1] + 4 * injection.outputs.shape[-1]
    row_bytes = record.gates.shape[1] * step_size * record.gates.element_size()
    length = max(1, PIECE_BYTES // row_bytes)
    scan = _norms_by_kernel if record.specification.fusable else _norms_by_autograd
    pieces = [
        scan(record, _rows(injection, slice(start, start + length)))
        for start in range(0, len(injection.rows), length)
    ]
    return torch.cat(pieces)


def _rows(injection: Injection, rows: slice) -> Injection:
    return Injection(
        injection.rows[rows],
        injection.outputs[rows],
        [part[rows] for part in injection.final_state],
    )


@torch.no_grad()
def _norms_by_kernel(record: Record, injection: Injection) -> Tensor:
    assert record.outputs is not None and record.gates is not None and record.saved is not None
    rows = injection.rows
    saved = record.saved[rows] if record.saved.dim() == 3 else record.saved
    return ops.backward_scan(
        injection.outputs,
        injection.final_state,
        ops.Saved(record.outputs[rows], [], record.gates[rows], saved),
        [weight.detach() for weight in record.weights],
        [state.detach()[rows] for state in record.state],
        _taken(record.mask, rows),
        record.noise.rows(rows),
        record.specification,
        record.kernel,
        norms=True,
    )[2]


def _norms_by_autograd(record: Record, injection: Injection) -> Tensor:
    """The same by autograd on the equation, for activations that no kernel knows."""
    specification, rows = record.specification, injection.rows
    weights = [weight.detach() for weight in record.weights]
    mask, noise = _taken(record.mask, rows), record.noise.rows(rows)
    steps = range(record.x.shape[1])
    states: dict[int, Sequence[Tensor]] = {}
    with torch.enable_grad():
        state = [part.detach()[rows].requires_grad_() for part in record.state]
        for t in reversed(steps) if specification.reverse else steps:
            now = slice(t, t + 1)
            real = None if mask is None else mask[:, now]
            drawn = noise.piece(t, t + 1)
            product = cells.input_product(
                record.x.detach()[rows, now], weights, real, specification
            )
            state = cells.scan(product, weights, state, real, drawn, specification).final_state
            # A view of its own for each state, so that a step which carries it still counts apart.
            state = [part.view_as(part) for part in state]
            states[t] = state
        hidden = torch.stack([states[t][0] for t in steps], dim=1)
        ends = (hidden * injection.outputs).sum() + sum(
            (part * grad).sum() for part, grad in zip(state, injection.final_state, strict=True)
        )
        leaves = [part for t in steps for part in states[t]]
        grads = torch.autograd.grad(ends, leaves, materialize_grads=True)
    norms = torch.stack([grad.norm(dim=-1) for grad in grads], dim=-1)  # (N, T·S)
    return norms.unflatten(-1, (len(steps), len(record.state)))


def _taken(tensor: Tensor | None, rows: Tensor) -> Tensor | None:
    return None if tensor is None else tensor[rows]
