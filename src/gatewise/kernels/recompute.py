"""Gates on demand: keep none on the way forward, compute them again on the way back.

Kept are the inputs and the outputs: H numbers a step and row, where an LSTM else keeps 6·H. On the
way back the series run once more, some rows of the batch at a time, and the scan goes back over
them while their gates are there. A row gives the same bits alone as in a batch, and the weights'
gradients are summed once, over all rows, so every gradient has the bits that it has without this.

Chen, Xu, Zhang and Guestrin, "Training deep nets with sublinear memory cost", arXiv 1604.06174.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from gatewise.cells import Specification, units_of
from gatewise.cells.rows import gradient_row, saved_row
from gatewise.errors import InputError, UnsupportedError
from gatewise.kernels import function, ops
from gatewise.kernels.function import Call, Wanted
from gatewise.kernels.steering import Pass

RECOMPUTE = (None, "gates")

# At least so many rows at a time fill the registers of a few threads, and at least so many steps of
# rows make little of packing the weights once more.
_FEWEST_ROWS = 32
_FEWEST_STEPS = 4096

State = Sequence[Tensor]


def check(recompute: str | None, specification: Specification) -> None:
    """Raise where a layer cannot recompute as asked."""
    if recompute not in RECOMPUTE:
        raise InputError(f'recompute expected None or "gates" but got {recompute!r}.')
    if recompute is not None and not specification.fusable:
        raise UnsupportedError(
            'recompute="gates" runs the kernels again, and they do not know the activations '
            f"{specification.activation} and {specification.recurrent_activation}: autograd keeps "
            "what the equation needs. Leave recompute out, or name activations such as 'tanh'."
        )


def recomputed(given: Pass) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Run a pass that keeps no gates; return the outputs (B, T, H) and the final state."""
    check(given.recompute, given.specification)
    if torch.compiler.is_compiling():
        raise UnsupportedError(
            'recompute="gates" has no rule under torch.compile, which decides by itself what is '
            "kept. Leave recompute out, or call the layer without torch.compile."
        )
    if torch._C._are_functorch_transforms_active():
        raise UnsupportedError(
            'recompute="gates" has no rule under torch.func. Leave recompute out there.'
        )
    call = Call(given.specification, given.kernel, len(given.weights), needs_backward=True)
    outputs, *final = _Recomputed.apply(
        call, given.x, given.mask, *given.noise, *given.weights, *given.state
    )
    return outputs, tuple(final)


class _Recomputed(torch.autograd.Function):
    """``apply(call, x, mask, *noise, *weights, *state)`` as ``function.Recurrent``, less gates."""

    @staticmethod
    def forward(
        ctx: Any, call: Call, x: Tensor, mask: Tensor | None, *tensors: Tensor | None
    ) -> tuple[Tensor, ...]:
        given = _pass(call, x, mask, tensors)
        run = _run(given, needs_backward=False)
        ctx.call = call
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(x, mask, run.outputs, *tensors)
        return run.outputs, *run.final_state

    @staticmethod
    def backward(ctx: Any, grad_outputs: Tensor | None, *grad_final: Tensor | None) -> Any:
        x, mask, outputs, *tensors = ctx.saved_tensors
        count = ctx.call.weights
        given = _pass(ctx.call, x, mask, tensors)
        wanted = Wanted(ctx.needs_input_grad[1], function.weights_need_gradient(ctx, count))
        final = ops.materialize(grad_final, given.state)
        if torch.is_grad_enabled():
            # For a second derivative, which keeps everything anyway.
            with torch.no_grad():
                run = _run(given, needs_backward=True)
            _, grad_x, *rest = function.RecurrentBackward.apply(
                ctx.call, wanted, x, mask, outputs, run.gates, run.saved, grad_outputs, *tensors,
                *final,
            )  # fmt: skip
        else:
            back = _go_back(given, grad_outputs, final)
            grad_product = back.grad_product
            rest = [*_weights(given, wanted, outputs, back), *back.grad_state]
            grad_x = None
            if wanted.x:
                grad_x = ops.input_gradient(
                    grad_product, given.weights, given.mask, given.specification, given.kernel
                )
        if not wanted.weights:
            rest[:count] = [None] * count
        noise = (None for _ in given.noise)
        return None, grad_x if wanted.x else None, None, *noise, *rest


class _WayBack(NamedTuple):
    grad_product: Tensor  # dL/dP and what else the weights' gradient needs, (B, T, R)
    gates: Tensor  # (B, T, G·H) where the weights' gradient needs them; else empty
    saved: Tensor  # (B, T, V), likewise
    grad_state: State


def parts(batch: int, steps: int) -> list[slice]:
    """Return the rows that run at a time.

    >>> parts(70, 200)
    [slice(0, 35, None), slice(35, 70, None)]
    """
    count = max(1, min(batch // _FEWEST_ROWS, batch * steps // _FEWEST_STEPS))
    size = -(-batch // count)
    return [slice(start, min(start + size, batch)) for start in range(0, batch, size)]


def _go_back(given: Pass, grad_outputs: Tensor | None, final: State) -> _WayBack:
    """Run some rows once more and go back over them, then the next rows."""
    batch, steps, _ = given.x.shape
    scan = ops.kernel_called(given.kernel).backward_scan
    hidden, columns = given.weights[1].shape
    units = units_of(given.weights, given.specification)
    row = gradient_row(given.specification, units, hidden)
    grad_product = given.x.new_empty(batch, steps, row.width)
    gates = saved = given.x.new_empty(0)
    if given.specification.weights_need_gates:
        gates = given.x.new_empty(batch, steps, columns)
    if given.specification.weights_need_memory:
        width = saved_row(given.specification, units).width
        saved = given.x.new_empty(batch, steps, width)
    grad_states = []
    for rows in parts(batch, steps):
        part = _rows(given, rows)
        run = _run(part, needs_backward=True)
        _, grad_state, _ = scan(
            None if grad_outputs is None else grad_outputs[rows],
            [grad[rows] for grad in final], run.outputs, run.gates, run.saved, part.weights,
            part.state, part.mask, part.noise, part.specification,
            scale=None, path="full", norms=False, grad_product=grad_product[rows],
        )  # fmt: skip
        grad_states.append(grad_state)
        if gates.dim() == 3:
            gates[rows] = run.gates
        if saved.dim() == 3:
            saved[rows] = run.saved
    return _WayBack(
        grad_product,
        gates,
        saved,
        [torch.cat(states) for states in zip(*grad_states, strict=True)],
    )


def _weights(
    given: Pass, wanted: Wanted, outputs: Tensor, back: _WayBack
) -> Sequence[Tensor | None]:
    if not wanted.weights:
        return [None] * len(given.weights)
    saved = ops.Saved(outputs, [], back.gates, back.saved)
    return ops.weight_gradient(
        given.x, saved, back.grad_product, given.weights, given.state, given.mask, given.noise,
        given.specification, given.kernel,
    )  # fmt: skip


def _run(given: Pass, needs_backward: bool) -> ops.Saved:
    return ops.forward(
        given.x, given.weights, given.state, given.mask, given.noise,
        given.specification, given.kernel, needs_backward,
    )  # fmt: skip


def _rows(given: Pass, rows: slice) -> Pass:
    mask = given.mask
    return given._replace(
        x=given.x[rows],
        state=[state[rows] for state in given.state],
        mask=None if mask is None else mask[rows],
        noise=given.noise.rows(rows),
    )


def _pass(call: Call, x: Tensor, mask: Tensor | None, tensors: Sequence[Any]) -> Pass:
    noise, weights, state = function.parted(call, tensors)
    return Pass(call.specification, call.kernel, x, weights, state, mask, noise)
