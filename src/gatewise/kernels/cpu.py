"""The native CPU kernels: checks and memory here, arithmetic in ``native/``.

The four functions :func:`forward`, :func:`backward_scan`, :func:`weight_gradient` and
:func:`input_gradient` are the kernel protocol; ``kernels/reference.py`` has the same four. The
compiled module takes tensors as they are, so everything it relies on is settled here first: one
device and scalar type, shapes, and contiguous memory where ``native/kernels.h`` asks for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from gatewise.cells import NO_NOISE, Noise, Specification, Weights
from gatewise.kernels.native import (
    DTYPES,
    activation_peak,
    all_finite,
    available,
    available_isas,
    handover,
    isa,
    keep_freed_memory,
    multiplies_bfloat16,
    peak,
    random_mask,
    supports,
    unavailable_reason,
)
from gatewise.kernels.native_call import NativeCall, norms, rows_contiguous

__all__ = [
    "DTYPES",
    "Gradients",
    "Stream",
    "activation_peak",
    "all_finite",
    "available",
    "available_isas",
    "backward",
    "backward_scan",
    "forward",
    "handover",
    "input_gradient",
    "isa",
    "keep_freed_memory",
    "like_weights",
    "multiplies_bfloat16",
    "peak",
    "random_mask",
    "supports",
    "unavailable_reason",
    "weight_gradient",
]


def forward(
    x: Tensor,
    weights: Sequence[Tensor],
    state: Sequence[Tensor],
    mask: Tensor | None,
    noise: Noise,
    specification: Specification,
    needs_backward: bool,
) -> tuple[Tensor, list[Tensor], Tensor, Tensor]:
    """Return the outputs (B, T, H), the final state, the activated gates and what else is saved.

    Without ``needs_backward`` nothing is saved and the last two are empty.
    """
    call = NativeCall(x, weights, specification)
    if needs_backward:
        keep_freed_memory()
    sizes = call.sizes
    x = rows_contiguous(x)
    states = call.states(state)
    mask = call.mask(mask)
    dropout = call.dropout(noise)
    bias = call.bias()

    outputs = x.new_empty(*sizes.outputs_shape)
    final_state = [torch.empty_like(part) for part in states]
    gates = x.new_empty(*(sizes.gates_shape if needs_backward else (0,)))
    saved = x.new_empty(*(sizes.saved_shape if needs_backward and sizes.saves else (0,)))
    sizes.module.forward(
        sizes.is_double, sizes.layer, x, weights[0], weights[1], bias, states, mask, dropout,
        outputs, final_state, gates, saved, call.options(weights, noise),
    )  # fmt: skip
    return outputs, final_state, gates, saved


def backward_scan(
    grad_outputs: Tensor | None,
    grad_final_state: Sequence[Tensor | None],
    outputs: Tensor,
    gates: Tensor,
    saved: Tensor,
    weights: Sequence[Tensor],
    state: Sequence[Tensor],
    mask: Tensor | None,
    noise: Noise,
    specification: Specification,
    scale: Tensor | None,
    path: str,
    norms: bool,
    grad_product: Tensor | None = None,
) -> tuple[Tensor, list[Tensor], Tensor]:
    """Return rows of cotangents (B, T, R), dL/d(initial state) and, when asked for, the norms.

    The rows begin with dL/dP (see :mod:`gatewise.cells.rows`); the norms are (B, T, S).
    ``scale`` (T,) multiplies what step t hands to the step before it; ``path``, the cotangent's way
    through U, is "full", "diagonal" or "cell". The rows are written to ``grad_product`` if that is
    given, which is contiguous.
    """
    call = NativeCall(outputs, weights, specification, inputs=weights[0].shape[0])
    run = _FinishedRun.of(call, outputs, gates, saved, weights, state, mask, noise)
    return _scan_back(
        call, run, grad_outputs, grad_final_state, scale, path, norms, grad_product, True
    )


def weight_gradient(
    x: Tensor,
    outputs: Tensor,
    gates: Tensor,
    saved: Tensor,
    dP: Tensor,
    weights: Sequence[Tensor],
    state: Sequence[Tensor],
    mask: Tensor | None,
    noise: Noise,
    specification: Specification,
    reduce: str,
) -> list[Tensor]:
    """Return the gradient of each weight: summed, or apart for each sample or time step."""
    call = NativeCall(x, weights, specification)
    run = _FinishedRun.of(
        call,
        outputs,
        gates if specification.weights_need_gates else None,
        saved if specification.weights_need_memory else None,
        weights,
        state,
        mask,
        noise,
    )
    return _sum_weight_gradient(call, run, x, dP, weights, reduce)


def like_weights(weights: Sequence[Tensor]) -> list[Tensor]:
    """Return memory for the sum of each weight's gradient: W's and U's laid out as they are.

    torch.nn keeps its matrices turned, and a gradient of another layout it would turn at every
    step.
    """
    matrices = [torch.empty_like(matrix) for matrix in weights[:2]]
    return matrices + [weight.new_empty(*weight.shape) for weight in weights[2:]]


def input_gradient(
    dP: Tensor, weights: Sequence[Tensor], mask: Tensor | None, specification: Specification
) -> Tensor:
    """Return dL/dx = dP Wᵀ, (B, T, I); 0 at masked steps."""
    call = NativeCall(dP, weights, specification, inputs=weights[0].shape[0])
    return _multiply_input_gradient(call, dP.contiguous(), call.mask(mask))


class Gradients(NamedTuple):
    """What the way back returns; all but the first are None where they were not wanted."""

    product: Tensor  # (B, T, R)
    state: list[Tensor] | None
    weights: list[Tensor] | None
    x: Tensor | None


def backward(
    x: Tensor,
    outputs: Tensor,
    gates: Tensor,
    saved: Tensor,
    grad_outputs: Tensor | None,
    grad_final_state: Sequence[Tensor | None],
    weights: Sequence[Tensor],
    state: Sequence[Tensor],
    mask: Tensor | None,
    noise: Noise,
    specification: Specification,
    wants_x: bool,
    wants_weights: bool,
    wants_state: bool,
    last: bool = False,
) -> Gradients:
    """Go all the way back: the three functions above as one call, whose arrays pass one check.

    A short sequence is over before Python has made three calls of it. ``last`` says that nobody
    reads the gates again: where it can be, dL/dP is written over them, into memory that the caches
    hold.
    """
    call = NativeCall(x, weights, specification)
    run = _FinishedRun.of(call, outputs, gates, saved, weights, state, mask, noise)
    over_gates = last and call.sizes.gradient_shape == call.sizes.gates_shape
    product = run.gates if over_gates and not specification.weights_need_gates else None
    product, grad_state, _ = _scan_back(
        call, run, grad_outputs, grad_final_state, None, "full", False, product, wants_state
    )
    grad_weights = grad_x = None
    if wants_weights:
        grad_weights = _sum_weight_gradient(call, run, x, product, weights, "all")
    if wants_x:
        grad_x = _multiply_input_gradient(call, product, run.mask)
    return Gradients(product, grad_state if wants_state else None, grad_weights, grad_x)


class _FinishedRun(NamedTuple):
    """What a run over the sequence was given and left behind, checked and in contiguous memory."""

    outputs: Tensor
    gates: Tensor | None
    saved: Tensor | None
    states: list[Tensor]
    mask: Tensor | None
    dropout: Tensor | None
    options: Any

    @staticmethod
    def of(
        call: NativeCall,
        outputs: Tensor,
        gates: Tensor | None,
        saved: Tensor | None,
        weights: Sequence[Tensor],
        state: Sequence[Tensor],
        mask: Tensor | None,
        noise: Noise,
    ) -> _FinishedRun:
        sizes = call.sizes
        if not sizes.saves:
            saved = None
        return _FinishedRun(
            call.dense(outputs, sizes.outputs_shape, "outputs"),
            call.optional(gates, sizes.gates_shape, "gates"),
            call.optional(saved, sizes.saved_shape, "saved"),
            call.states(state),
            call.mask(mask),
            call.dropout(noise),
            call.options(weights, noise),
        )


def _scan_back(
    call: NativeCall,
    run: _FinishedRun,
    grad_outputs: Tensor | None,
    grad_final_state: Sequence[Tensor | None],
    scale: Tensor | None,
    path: str,
    norms: bool,
    grad_product: Tensor | None,
    wants_state: bool,
) -> tuple[Tensor, list[Tensor], Tensor]:
    assert run.gates is not None
    sizes = call.sizes
    batch, time, shape = sizes.batch, sizes.time, sizes.gradient_shape
    if grad_outputs is not None:
        call.check(grad_outputs, sizes.outputs_shape, "grad_outputs")
        grad_outputs = rows_contiguous(grad_outputs)
    grad_final = [
        call.optional(grad, (batch, width), "grad_final_state")
        for grad, width in zip(grad_final_state, sizes.widths, strict=True)
    ]
    scale = call.optional(scale, (time,), "scale")

    if grad_product is None:
        grad_product = run.gates.new_empty(*shape)
    else:
        call.check(grad_product, shape, "grad_product")
        assert grad_product.is_contiguous()
    grad_state = [torch.empty_like(part) for part in run.states]
    measured = run.outputs.new_empty(*((batch, time, len(run.states)) if norms else (0,)))
    sizes.module.backward_scan(
        sizes.is_double, sizes.layer, grad_outputs, grad_final, run.outputs, run.gates, run.saved,
        call.weights[1], run.states, run.mask, run.dropout, scale, path,
        grad_product, grad_state, not wants_state, measured, run.options,
    )  # fmt: skip
    return grad_product, grad_state, measured


def _sum_weight_gradient(
    call: NativeCall,
    run: _FinishedRun,
    x: Tensor,
    dP: Tensor,
    weights: Sequence[Tensor],
    reduce: str,
) -> list[Tensor]:
    sizes = call.sizes
    x = rows_contiguous(x)
    dP = call.dense(dP, sizes.gradient_shape, "dP")
    if reduce == "all":
        gradients = like_weights(weights)
    else:
        groups = sizes.batch if reduce == "sample" else sizes.time
        gradients = [x.new_empty(groups, *weight.shape) for weight in weights]
    grads = Weights.of(gradients, call.specification)
    sizes.module.weight_gradient(
        sizes.is_double, sizes.layer, reduce, x, run.outputs, run.gates, run.saved, dP, run.states,
        run.mask, run.dropout, grads.W, grads.U, grads.bias,
        grads.peephole, grads.projection, norms(grads), run.options,
    )  # fmt: skip
    return gradients


def _multiply_input_gradient(call: NativeCall, dP: Tensor, mask: Tensor | None) -> Tensor:
    sizes = call.sizes
    grad_x = dP.new_empty(sizes.batch, sizes.time, sizes.inputs)
    sizes.module.input_gradient(sizes.is_double, sizes.layer, dP, call.weights[0], mask, grad_x)
    return grad_x


class Stream:
    """A cell that is fed some time steps at a time: weights packed once, and its ``state``.

    The state is h (B, P) and an LSTM's c (B, H). The weights are copied. ``noise`` is that of each
    step, its masks (B, 1, H). Changing the state in place changes where the next step begins. Not
    for several threads at once.
    """

    def __init__(
        self,
        weights: Sequence[Tensor],
        batch: int,
        specification: Specification,
        noise: Noise = NO_NOISE,
    ) -> None:
        step = weights[0].new_empty(batch, 1, weights[0].shape[0])
        call = NativeCall(step, weights, specification)
        sizes, bias = call.sizes, call.bias()
        options = call.options([weight.clone() for weight in weights], noise)
        self._held = call.held  # what the options point into
        self.state = tuple(weights[0].new_zeros(batch, width) for width in sizes.widths)
        self._native = sizes.module.Stream(
            sizes.is_double, sizes.layer, weights[0], weights[1], bias, self.state, options
        )
        # Takes the number of steps, and x (B, T, I) and the outputs (B, T, P) as NumPy's arrays,
        # contiguous and of the weights' type.
        self.advance_arrays = self._native.advance_arrays

    def advance(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """Return h (B, P) after a step of x (B, I), or h (B, T, P) after each of x (B, T, I).

        x is contiguous and of the weights' type; the mask is (B,) or (B, T).
        """
        time = 1 if x.dim() == 2 else x.shape[1]
        outputs = x.new_empty((*x.shape[:-1], self.state[0].shape[1]))
        self._native.advance(time, x, mask, outputs)
        return outputs
