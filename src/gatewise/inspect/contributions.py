"""What each time step adds to the gradient of the weights that all steps share.

    dL/dW = Σ_t x_tᵀ dL/dP_t        dL/dU = Σ_t h_{t-1}ᵀ dL/dP_t        dL/db = Σ_t dL/dP_t

The kernels saved x, h and the cotangents dL/dP of the gates' pre-activations; the terms of these
sums follow from them without a second pass through the network (Werbos, "Backpropagation through
time: what it does and how to do it", Proceedings of the IEEE 78(10), 1990).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from gatewise.cells import split_weight, units_of, weight_names
from gatewise.cells.rows import GradientRow, gradient_row, saved_row
from gatewise.cells.scan import previous_outputs, previous_states
from gatewise.errors import UnsupportedError
from gatewise.kernels import Record, ops

CHUNK_BYTES = 32 * 2**20
"""How much memory the terms of one piece of time may take."""


@dataclass(frozen=True)
class Contributions:
    """The terms of one record's weight gradient, by weight name.

    ``norms[weight][gate]`` and ``totals`` (over the whole set) are (T,); ``sums[weight]`` is the
    sum over the steps in float64; ``sizes[weight]`` the sum of the norms of everything that was
    added up, sample by sample, by which rounding is measured; ``terms[weight]`` is (T, …) if kept.
    """

    norms: dict[str, dict[str, Tensor]]
    totals: Tensor
    sums: dict[str, Tensor]
    sizes: dict[str, float]
    terms: dict[str, Tensor] | None


def step_contributions(record: Record, keep: bool) -> Contributions:
    """Return each time step's contribution to the weight gradients of one recorded pass."""
    names = weight_names(record.weights, record.specification)
    norms: dict[str, list[dict[str, Tensor]]] = {name: [] for name in names}
    terms: dict[str, list[Tensor]] = {name: [] for name in names}
    sums = {
        name: torch.zeros_like(weight, dtype=torch.float64)
        for name, weight in zip(names, record.weights, strict=True)
    }
    rooms: dict[str, Tensor] = {}
    for pieces in _pieces(record):
        for name, piece in zip(names, pieces, strict=True):
            # In double precision: the sum must not add errors of its own, nor tiny squares vanish.
            exact = _exact(piece, rooms, name)
            sums[name] += exact.sum(dim=0)
            norms[name].append(_norms_by_gate(name, exact, record))
            if keep:
                terms[name].append(piece)
    joined = {
        name: {gate: torch.cat([part[gate] for part in parts]) for gate in parts[0]}
        for name, parts in norms.items()
    }
    every = [norm for by_gate in joined.values() for norm in by_gate.values()]
    return Contributions(
        joined,
        torch.stack(every, dim=-1).norm(dim=-1),
        sums,
        _sizes(record),
        {name: torch.cat(parts) for name, parts in terms.items()} if keep else None,
    )


def _exact(piece: Tensor, rooms: dict[str, Tensor], name: str) -> Tensor:
    """Return a piece in double precision, in the room that the pieces before it have used.

    Fresh memory for each piece would cost more than everything that is computed with it.
    """
    if piece.dtype == torch.float64:
        return piece
    if name not in rooms or len(rooms[name]) < len(piece):
        rooms[name] = torch.empty(piece.shape, dtype=torch.float64, device=piece.device)
    return rooms[name][: len(piece)].copy_(piece)


def _pieces(record: Record) -> Iterator[list[Tensor]]:
    """Yield the terms [dW, dU, db], each (t, …), for one piece of time after the other."""
    steps = record.x.shape[1]
    if record.gate_cotangents is None:
        # The loss does not depend on this pass.
        yield [weight.new_zeros(steps, *weight.shape) for weight in record.weights]
        return
    step_bytes = sum(weight.numel() * weight.element_size() for weight in record.weights)
    length = max(1, CHUNK_BYTES // step_bytes)
    for start in range(0, steps, length):
        yield _piece(record, slice(start, min(start + length, steps)))


@torch.no_grad()
def _piece(record: Record, time: slice) -> list[Tensor]:
    assert record.outputs is not None
    assert record.gates is not None
    assert record.gate_cotangents is not None
    # Activations play no part in a weight gradient.
    specification = replace(record.specification, activation="tanh", recurrent_activation="sigmoid")
    state = [_before(record, record.outputs, record.state[0], time), *record.state[1:]]
    saved = record.gates.new_empty(0)
    if record.specification.weights_need_memory:
        assert record.saved is not None
        saved = record.saved[:, time]
    if record.specification.peephole:
        state[1] = _before(record, _memory(record), state[1], time)
    return ops.weight_gradient(
        record.x[:, time],
        ops.Saved(record.outputs[:, time], [], record.gates[:, time], saved),
        _cotangents(record)[:, time],
        record.weights,
        state,
        None if record.mask is None else record.mask[:, time],
        record.noise.piece(time.start, time.stop),
        specification,
        record.kernel,
        "step",
    )


@torch.no_grad()
def _sizes(record: Record) -> dict[str, float]:
    """Return Σ ‖x‖‖dL/dP‖, Σ ‖h‖‖dL/dP‖, Σ ‖dL/dP‖ … over samples and steps, by weight."""
    names = weight_names(record.weights, record.specification)
    if record.gate_cotangents is None or record.outputs is None:
        return dict.fromkeys(names, 0.0)
    cotangents = record.gate_cotangents.norm(dim=-1).double()  # (B, T), 0 at masked steps
    inputs = record.x.norm(dim=-1).double()
    before = previous_outputs(record.outputs, record.state, record.specification).norm(dim=-1)
    factors = {
        "kernel": torch.where(cotangents == 0, 0, inputs),
        "recurrent_kernel": before,
        "bias": torch.ones_like(cotangents),
    }
    if record.specification.peephole:
        after = _memory(record)
        memory = previous_states(after, record.state[1], record.specification)
        factors["peephole"] = memory.norm(dim=-1) + after.norm(dim=-1)
    sizes = {name: factors[name] * cotangents for name in names if name in factors}
    if record.specification.layer_norm:
        # Their products are normalized before they join the gates.
        row = _row(record)
        for name, part in (("kernel", row.input), ("recurrent_kernel", row.recurrent)):
            sizes[name] = factors[name] * _cotangents(record)[..., part].norm(dim=-1)
    sizes |= _sizes_of_norms(record)
    return {name: sizes[name].double().sum().item() for name in names}


def _sizes_of_norms(record: Record) -> dict[str, Tensor]:
    """Return the same (B, T) for the weights of a projection and of layer normalization."""
    specification, sizes = record.specification, {}
    if not (specification.projection or specification.layer_norm):
        return sizes
    assert record.saved is not None
    cotangents, row = _cotangents(record), _row(record)
    if specification.projection:
        shown, hidden = cotangents[..., row.shown], cotangents[..., row.hidden]
        sizes["projection"] = shown.norm(dim=-1) * hidden.norm(dim=-1)
    if specification.layer_norm:
        kept = saved_row(specification, units_of(record.weights, specification))
        product, cell = cotangents[..., row.product], cotangents[..., row.cell]
        for name, grad, normal in (
            ("input_gain", product, kept.input),
            ("recurrent_gain", product, kept.recurrent),
            ("cell_gain", cell, kept.cell),
        ):
            sizes[name] = grad.norm(dim=-1) * record.saved[..., normal].norm(dim=-1)
        sizes["cell_bias"] = cell.norm(dim=-1)
    return sizes


def _row(record: Record) -> GradientRow:
    units = units_of(record.weights, record.specification)
    return gradient_row(record.specification, units, record.weights[1].shape[0])


def _cotangents(record: Record) -> Tensor:
    """Return what the way back left to the weights' gradients, (B, T, R)."""
    specification = record.specification
    rows = record.cotangents
    if rows is None and not (specification.projection or specification.layer_norm):
        rows = record.gate_cotangents
    if rows is None:
        raise UnsupportedError(
            "What each time step contributes to a projection and to layer normalization is known "
            "from the fused way back, which knows no activation "
            f"{specification.activation!r}. Name an activation such as 'tanh'."
        )
    return rows


def _memory(record: Record) -> Tensor:
    """Return c after each step, (B, T, H)."""
    assert record.saved is not None
    return record.saved[..., : units_of(record.weights, record.specification)]


def _before(record: Record, after: Tensor, initial: Tensor, time: slice) -> Tensor:
    """Return a state as it was before the first processed step of a piece of time, (B, H)."""
    before = time.stop if record.specification.reverse else time.start - 1
    return after[:, before] if 0 <= before < after.shape[1] else initial


def _norms_by_gate(name: str, terms: Tensor, record: Record) -> dict[str, Tensor]:
    """Return the L2 norm (t,) of each gate's part of each term of a weight, (t, …)."""
    return {
        gate: _norm_of_each(part)
        for gate, part in split_weight(name, terms, record.specification).items()
    }


def _norm_of_each(terms: Tensor) -> Tensor:
    """Return the L2 norm (t,) of each term of (t, …), along its rows first: they lie together."""
    rows = terms.norm(dim=-1)
    return rows.flatten(1).norm(dim=1) if rows.dim() > 1 else rows
