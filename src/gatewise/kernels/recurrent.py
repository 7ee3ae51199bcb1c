"""The one entry: a sequence through a cell, by whichever kernel serves."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor

from gatewise import cells
from gatewise.cells import NO_NOISE, Noise, Specification
from gatewise.kernels import cudnn, function, ops
from gatewise.kernels.autocast import under_autocast
from gatewise.kernels.dispatch import Request, choose, device_type, keeping_gates
from gatewise.kernels.function import Call
from gatewise.kernels.recompute import recomputed
from gatewise.kernels.recording import Record, active_records
from gatewise.kernels.steering import Pass, active_steer


def recurrent(
    x: Tensor,
    weights: Sequence[Tensor],
    state: Sequence[Tensor] | None,
    *,
    specification: Specification,
    mask: Tensor | None = None,
    noise: Noise = NO_NOISE,
    kernel: str = "auto",
    recompute: str | None = None,
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Run a sequence through a cell and return the outputs (B, T, P) and the final state.

    ``x`` is (B, T, I). ``weights`` are W (I, G·H), U (P, G·H), optionally b (G·H,), which is
    (2, G·H) for a GRU that resets after the product, and the specification's ``extra_weights``;
    every time step uses this one set. P, the width of h, is H unless there is a projection (H, P).
    ``state`` holds h (B, P) and an LSTM's c (B, H), or is None for zeros. ``mask`` (B, T) is True
    at real steps: others carry the state unchanged, and what x holds there (even NaN) does not
    matter. ``noise`` holds the masks of recurrent dropout and of zoneout. Differentiable in x,
    weights and state, twice in eager mode. ``recompute="gates"`` keeps no gates for the way back
    but computes them again: fewer numbers in memory, the same bits. (Inside ``recording``, which
    asks for the gates, they are kept.)

    Raises ``UnsupportedError`` if a ``kernel`` asked for by name cannot serve.

    >>> W, U = torch.zeros(3, 8), torch.zeros(2, 8)
    >>> outputs, (h, c) = recurrent(
    ...     torch.ones(1, 5, 3), [W, U], None, specification=Specification("lstm")
    ... )
    >>> outputs.shape, h.shape, c.shape
    (torch.Size([1, 5, 2]), torch.Size([1, 2]), torch.Size([1, 2]))
    """
    dtype = weights[1].dtype
    device = device_type(x)
    if torch.is_autocast_enabled(device):
        specification = under_autocast(specification, device, dtype)
        x, noise = x.to(dtype), noise.to(dtype)
        state = None if state is None else [part.to(dtype) for part in state]
    if state is None:
        # U is (P, G·H): h is P wide, which is less than H where it is projected.
        widths = (weights[1].shape[0], cells.units_of(weights, specification))
        state = [x.new_zeros(x.shape[0], widths[0])]
        if len(specification.states) > 1:
            equal = widths[0] == widths[1]
            state.append(state[0] if equal else x.new_zeros(x.shape[0], widths[1]))
    choice = choose(Request.of(x, weights, specification, mask, noise, kernel, recompute))
    given = Pass(specification, choice.kernel, x, weights, state, mask, noise, recompute)
    steer = None if torch.compiler.is_compiling() else active_steer()
    return run(given) if steer is None else steer(given)


def run(given: Pass) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Run a pass; it is differentiated exactly, whatever steers the passes of this thread."""
    specification, kernel, x, weights, state, mask, noise, recompute = given
    needs_gradient = _needs_gradient((x, *weights, *state))
    if recompute is not None and needs_gradient and active_records() is None:
        return recomputed(given)
    if torch.compiler.is_compiling():
        way = _compiled
    elif not specification.fusable:
        way = _equation
    else:
        way = _eager
    call = Call(specification, kernel, len(weights), needs_gradient)
    return way(call, x, weights, state, mask, noise)


def _eager(
    call: Call,
    x: Tensor,
    weights: Sequence[Tensor],
    state: Sequence[Tensor],
    mask: Tensor | None,
    noise: Noise,
) -> tuple[Tensor, tuple[Tensor, ...]]:
    records = active_records()
    if records is not None:
        kernel = keeping_gates(call.kernel, call.specification, weights, x.device.type)
        record = Record(call.specification, kernel, x, weights, state, mask, noise)
        records.append(record)
        call = call._replace(kernel=kernel, needs_backward=True, record=record)
    if call.kernel == "cudnn":
        return cudnn.run(x, weights, state, call.specification)
    return function.apply(call, x, weights, state, mask, noise)


def _compiled(
    call: Call,
    x: Tensor,
    weights: Sequence[Tensor],
    state: Sequence[Tensor],
    mask: Tensor | None,
    noise: Noise,
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Hand the compiler one node (or, for an unusual activation, the equation to trace)."""
    if not call.specification.fusable:
        product = cells.input_product(x, weights, mask, call.specification)
        scan = cells.scan(product, weights, state, mask, noise, call.specification)
        return scan.outputs, scan.final_state
    # cuDNN's layers the compiler would write out, one time step after the other.
    kernel = keeping_gates(call.kernel, call.specification, weights, x.device.type)
    run = ops.forward(
        x,
        weights,
        state,
        mask,
        noise,
        call.specification,
        kernel,
        call.needs_backward,
    )
    return run.outputs, tuple(run.final_state)


def _equation(
    call: Call,
    x: Tensor,
    weights: Sequence[Tensor],
    state: Sequence[Tensor],
    mask: Tensor | None,
    noise: Noise,
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Run the differentiable equation, for activations that no fused kernel knows."""
    product = cells.input_product(x, weights, mask, call.specification)
    scan = cells.scan(product, weights, state, mask, noise, call.specification)
    records = active_records()
    if records is not None:
        record = Record(call.specification, "reference", x, weights, state, mask, noise)
        record.outputs, record.gates = scan.outputs.detach(), scan.gates.detach()
        record.saved = scan.saved.detach()
        records.append(record)
        if product.requires_grad:
            product.register_hook(lambda grad: setattr(record, "gate_cotangents", grad))
            return _watched(record, scan)
    return scan.outputs, scan.final_state


def _watched(record: Record, scan: cells.Scan) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Return the scan's results as views that note the cotangents that reach them."""
    outputs = scan.outputs.view_as(scan.outputs)
    final_state = tuple(state.view_as(state) for state in scan.final_state)
    found: list[Tensor | None] = [None] * len(final_state)
    record.grad_final_state = found
    outputs.register_hook(lambda grad: setattr(record, "grad_outputs", grad))
    for position, state in enumerate(final_state):
        if state.requires_grad:
            state.register_hook(partial(found.__setitem__, position))
    return outputs, final_state


def _needs_gradient(tensors: Sequence[Tensor]) -> bool:
    return torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors)
