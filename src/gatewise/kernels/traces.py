"""The traces of the weights over a time step, or a chunk of them, natively.

A trace is the influence of each weight on the states of its own unit, on a path on which the units
do not mix: for each state and each weight, the weight's shape behind an axis B.
``gatewise.gradients.traces`` says what it is for. The arithmetic is in ``native/traces.h`` for a
step and in ``native/trace_chunk.h`` for a chunk.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from gatewise.cells import Weights
from gatewise.kernels import cpu, ops
from gatewise.kernels.native_call import NativeCall, three
from gatewise.kernels.steering import Pass

Trace = Sequence[Sequence[Tensor]]


def zeros(given: Pass) -> list[list[Tensor]]:
    """Return the traces before the first step."""
    batch = len(given.x)
    return [
        [weight.new_zeros(batch, *weight.shape) for weight in given.weights] for _ in given.state
    ]


def advance_chunk(
    given: Pass,
    saved: ops.Saved,
    path: str,
    trace: Trace,
    grad_state: Sequence[Tensor] | None = None,
) -> list[Tensor]:
    """Carry the traces over a pass that has run, in place; return what they were worth before it.

    That is dL/ds_start · J for each weight, summed over the batch and the states, where the
    cotangents ``grad_state`` of the states before the pass are given; an empty list without them.
    ``path`` is "diagonal" or "cell". On an LSTM's "cell" path only the trace of c is touched: h
    goes on through U alone.
    """
    call = NativeCall(given.x, given.weights, given.specification)
    x = given.x if given.x.stride(-1) == 1 else given.x.contiguous()
    states, mask = call.states(given.state), call.mask(given.mask)
    shape = (call.sizes.batch, call.sizes.units)
    dropout = call.optional(given.noise.recurrent_dropout, shape, "recurrent_dropout")
    grads = [call.optional(grad, shape, "grad_state") for grad in grad_state or ()]
    found = [torch.empty(one.shape[1:], dtype=one.dtype) for one in trace[0] if grads]
    call.sizes.module.trace_chunk(
        call.sizes.is_double, call.sizes.layer, path, x, saved.outputs, saved.gates, saved.saved,
        given.weights[1], states, mask, dropout, grads, six(trace), *three(found),
    )  # fmt: skip
    return found


def worth(given: Pass, trace: Trace, grad_state: Sequence[Tensor]) -> list[Tensor]:
    """Return the sum over the batch and the states of dL/ds · J, for each weight."""
    call = NativeCall(given.x, given.weights, given.specification)
    return _worth(call, trace, grad_state)


def _worth(call: NativeCall, trace: Trace, grad_state: Sequence[Tensor | None]) -> list[Tensor]:
    shape = (call.sizes.batch, call.sizes.units)
    grads = [call.optional(grad, shape, "grad_state") for grad in grad_state]
    found = [torch.empty(one.shape[1:], dtype=one.dtype) for one in trace[0]]
    call.sizes.module.trace_gradient(
        call.sizes.is_double, call.sizes.layer, grads, six(trace), *three(found)
    )
    return found


def six(trace: Trace) -> tuple[Tensor | None, ...]:
    """Return the traces of three weights for two states; None for what there is not."""
    of_h, of_c = (*trace, ())[:2]
    return *three(of_h), *three(of_c)


class TraceStep:
    """What the steps of one layer have in common, kept from step to step: sizes, checks, memory.

    ``path`` is "diagonal" or "cell"; see ``ops.backward_scan``.
    """

    def __init__(self, given: Pass, path: str) -> None:
        call = NativeCall(given.x, given.weights, given.specification)
        call.states(given.state)
        call.bias()
        cpu.keep_freed_memory()  # a gradient is as large as the weights, and new at every step
        self.path = path
        self._call = call
        self._kind = _kind(given)
        self._gates = given.x.new_empty(call.sizes.batch, 1, call.sizes.columns)
        self._saved = given.x.new_empty(
            (call.sizes.batch, 1, call.sizes.units) if call.sizes.saves else 0
        )

    @staticmethod
    def serves(given: Pass) -> bool:
        """Whether the pass is one step that ``traces.h`` runs: of W, U and b alone."""
        return given.plainly_native and given.x.shape[1] == 1

    def fits(self, given: Pass) -> bool:
        """Whether the pass has the sizes and the types for which this was made."""
        return self._kind == _kind(given)

    def advance(self, given: Pass, trace: Trace) -> tuple[Tensor, list[Tensor], Tensor, Tensor]:
        """Take the step: return the outputs (B, 1, H), the final state, the gates and what else
        the way back needs, which the next step overwrites.

        The traces are overwritten with what they are after the step. The pass must be one that
        ``fits``, its states those of the first step or the last one's final state.
        """
        call = self._call
        x, weights = given.x, given.weights
        if x.stride(-1) != 1:
            x = x.contiguous()
        bias = Weights.of(weights, given.specification).bias
        bias = None if bias is None else bias.contiguous()
        mask, dropout = call.mask(given.mask), given.noise.recurrent_dropout
        if dropout is not None:
            dropout = call.optional(
                dropout, (call.sizes.batch, call.sizes.units), "recurrent_dropout"
            )
        outputs = x.new_empty(call.sizes.batch, 1, call.sizes.units)
        final = [torch.empty_like(part) for part in given.state]
        call.sizes.module.trace_step(
            call.sizes.is_double, call.sizes.layer, self.path, x, weights[0], weights[1], bias,
            given.state, mask, dropout, outputs, final, self._gates, self._saved, six(trace),
        )  # fmt: skip
        return outputs, final, self._gates, self._saved

    def gradient(self, grad_state: Sequence[Tensor | None], trace: Trace) -> list[Tensor]:
        """Return the sum over the batch and the states of dL/ds · J, for each weight."""
        return _worth(self._call, trace, grad_state)


def _kind(given: Pass) -> tuple[object, ...]:
    W = given.weights[0]
    return given.x.shape, given.x.dtype, W.shape, W.dtype, given.specification
