"""A sequence in segments: forward without gates, and back with each segment's gates computed again.

The native kernels do each way in one call (``native/segments.h``); for the others the same is put
together here from their parts. A segment is a pair of time steps, the first and the one after the
last; segments come in the order in which they run.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from gatewise.kernels import cpu, ops
from gatewise.kernels.native_call import NativeCall, three
from gatewise.kernels.steering import Pass

Segments = Sequence[tuple[int, int]]


@dataclass
class Gradient:
    """The gradients of a pass as they grow on its way back."""

    state: Sequence[Tensor]  # of the states behind the segments, then of those before them
    weights: Sequence[Tensor] | None  # added to; None where they are not wanted
    x: Tensor | None  # (B, T, I), written at the segments' steps; None where it is not wanted


def joined(state: Sequence[Tensor]) -> Tensor:
    """Return the states, which may differ in width, as one row of numbers."""
    return torch.cat([part.flatten() for part in state])


def parted(row: Tensor, like: Sequence[Tensor]) -> list[Tensor]:
    """Return the states of which ``joined`` made a row."""
    parts = row.split([part.numel() for part in like])
    return [part.view(one.shape) for part, one in zip(parts, like, strict=True)]


def run(
    given: Pass, segments: Segments, outputs: Tensor | None = None, kept: Tensor | None = None
) -> list[Tensor]:
    """Run segments of a pass from its state; return the states behind them.

    ``outputs`` (B, T, P) and ``kept`` (segments - 1, the numbers of all states), the states between
    the segments as ``joined`` has them, are written where they are given.
    """
    if given.plainly_native:
        return _run_natively(given, segments, outputs, kept)
    kernel, state = ops.kernel_called(given.kernel), list(given.state)
    for number, (start, stop) in enumerate(segments):
        if kept is not None and number:
            kept[number - 1] = joined(state)
        part = given.piece(start, stop)
        found, state, *_ = kernel.forward(
            part.x, part.weights, state, part.mask, part.noise, part.specification, False,
        )  # fmt: skip
        if outputs is not None:
            outputs[:, start:stop] = found
    return state


def go_back(
    given: Pass,
    segments: Segments,
    kept: Tensor | None,
    grad_outputs: Tensor | None,
    gradient: Gradient,
) -> None:
    """Go back over segments of a pass, from the last one to its state, and grow the gradient.

    ``kept`` are the states between them, as ``run`` writes them; ``grad_outputs`` is (B, T, P).
    """
    if given.plainly_native:
        return _go_back_natively(given, segments, kept, grad_outputs, gradient)
    kernel = ops.kernel_called(given.kernel)
    for number, (start, stop) in reversed([*enumerate(segments)]):
        part = given.piece(start, stop)
        state = given.state
        if number:
            assert kept is not None
            state = parted(kept[number - 1], given.state)
        fixed = (part.mask, part.noise, part.specification)
        outputs, _, gates, saved = kernel.forward(part.x, part.weights, state, *fixed, True)
        grads = None if grad_outputs is None else grad_outputs[:, start:stop]
        grad_product, gradient.state, _ = kernel.backward_scan(
            grads, gradient.state, outputs, gates, saved, part.weights, state, *fixed, None,
            "full", False,
        )  # fmt: skip
        if gradient.weights is not None:
            found = kernel.weight_gradient(
                part.x, outputs, gates, saved, grad_product, part.weights, state, *fixed, "all"
            )
            for total, one in zip(gradient.weights, found, strict=True):
                total.add_(one)
        if gradient.x is not None:
            gradient.x[:, start:stop] = kernel.input_gradient(
                grad_product, part.weights, part.mask, part.specification
            )


class _NativePass:
    """A pass as the compiled module takes it."""

    def __init__(self, given: Pass) -> None:
        call = self.call = NativeCall(given.x, given.weights, given.specification)
        x = given.x if given.x.stride(-1) == 1 else given.x.contiguous()
        bias, mask, state = (
            call.bias(),
            call.mask(given.mask),
            call.states(given.state),
        )
        shape = (call.sizes.batch, call.sizes.units)
        dropout = call.optional(given.noise.recurrent_dropout, shape, "recurrent_dropout")
        W, U = given.weights[:2]
        self.arguments = x, W, U, bias, state, mask, dropout


def _run_natively(
    given: Pass, segments: Segments, outputs: Tensor | None, kept: Tensor | None
) -> list[Tensor]:
    native = _NativePass(given)
    call = native.call
    final = [state.new_empty(call.sizes.batch, call.sizes.units) for state in given.state]
    if outputs is not None:
        call.check(outputs, (call.sizes.batch, call.sizes.time, call.sizes.units), "outputs")
        assert outputs.is_contiguous()
    call.sizes.module.run_segments(
        call.sizes.is_double, call.sizes.layer, native.arguments, segments, outputs, final, kept
    )
    return final


def _go_back_natively(
    given: Pass,
    segments: Segments,
    kept: Tensor | None,
    grad_outputs: Tensor | None,
    gradient: Gradient,
) -> None:
    native = _NativePass(given)
    call = native.call
    cpu.keep_freed_memory()
    shape = (call.sizes.batch, call.sizes.units)
    for state in gradient.state:
        call.check(state, shape, "grad_final_state")
    # Copies: the call overwrites them.
    gradient.state = [
        state.clone(memory_format=torch.contiguous_format) for state in gradient.state
    ]
    grads = call.optional(
        grad_outputs, (call.sizes.batch, call.sizes.time, call.sizes.units), "grad_outputs"
    )
    weights = gradient.weights or ()
    call.sizes.module.segments_backward(
        call.sizes.is_double, call.sizes.layer, native.arguments, segments, kept,
        grads, gradient.state, *three(weights), gradient.x,
    )  # fmt: skip
