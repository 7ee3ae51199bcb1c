"""One time step and the traces of the weights over it, natively; the arithmetic is in ``traces.h``.

A trace is the influence of each weight on the states of its own unit, on a path on which the units
do not mix: for each state, for each weight, (B, \\*weight.shape). ``gatewise.gradients.traces`` says
what it is for, and carries it over longer chunks with the parts of the way back.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from gatewise.kernels import cpu
from gatewise.kernels.steering import Pass

Trace = Sequence[Sequence[Tensor]]


class TraceStep:
    """What the steps of one layer have in common, kept from step to step: sizes and checks.

    ``path`` is "diagonal" or "cell"; see ``ops.backward_scan``.
    """

    def __init__(self, given: Pass, path: str) -> None:
        self._call = cpu._Call(given.x, given.weights, given.specification)
        self.path = path
        self._kind = _kind(given)

    @staticmethod
    def serves(given: Pass) -> bool:
        """Whether the pass is one step that the native kernels run."""
        return given.kernel == "cpu" and given.x.shape[1] == 1

    def fits(self, given: Pass) -> bool:
        """Whether the pass has the sizes and the types for which this was made."""
        return self._kind == _kind(given)

    def zeros(self, given: Pass) -> list[list[Tensor]]:
        """Return the traces before the first step."""
        batch = len(given.x)
        return [
            [weight.new_zeros(batch, *weight.shape) for weight in given.weights]
            for _ in given.state
        ]

    def advance(
        self, given: Pass, trace: Trace
    ) -> tuple[Tensor, list[Tensor], Tensor, Tensor]:
        """Take the step: return the outputs (B, 1, H), the final state, the gates and what else
        the way back needs.

        The traces are overwritten with what they are after the step.
        """
        call = self._call
        x = given.x if given.x.stride(-1) == 1 else given.x.contiguous()
        state = call.states(given.state)
        mask, dropout = call.mask(given.mask), given.recurrent_dropout
        dropout = call.optional(dropout, (call.batch, call.units), "recurrent_dropout")
        outputs = x.new_empty(call.batch, 1, call.units)
        final = [torch.empty_like(part) for part in state]
        gates = x.new_empty(call.batch, 1, call.columns)
        saved = torch.empty_like(outputs) if call.saves else x.new_empty(0)
        W, U = given.weights[:2]
        bias = call.bias(given.weights)
        call.module.trace_step(
            call.is_double, call.layer, self.path, _matrix(x), _matrix(W), _matrix(U),
            0 if bias is None else bias.data_ptr(), _pair(state),
            0 if mask is None else mask.data_ptr(), 0 if dropout is None else dropout.data_ptr(),
            outputs.data_ptr(), _pair(final), gates.data_ptr(), saved.data_ptr(), _six(trace),
        )  # fmt: skip
        return outputs, final, gates, saved

    def gradient(self, grad_state: Sequence[Tensor | None], trace: Trace) -> list[Tensor]:
        """Return the sum over the batch and the states of dL/ds · J, for each weight."""
        call = self._call
        grads = [
            call.optional(grad, (call.batch, call.units), "grad_state") for grad in grad_state
        ]
        found = [one.new_empty(one.shape[1:]) for one in trace[0]]
        addresses = [*(one.data_ptr() for one in found), 0]
        call.module.trace_gradient(
            call.is_double, call.layer, _pair(grads), _six(trace), *addresses[:3]
        )
        return found


def _kind(given: Pass) -> tuple[object, ...]:
    weight = given.weights[0]
    return (
        given.x.shape, given.x.dtype, weight.shape, weight.dtype, len(given.weights),
        given.specification, torch.get_num_threads(),
    )  # fmt: skip


def _matrix(tensor: Tensor) -> tuple[int, int, int]:
    return tensor.data_ptr(), tensor.stride(0), tensor.stride(1)


def _pair(tensors: Sequence[Tensor | None]) -> tuple[int, int]:
    first, second = [*tensors, None][:2]
    return (
        0 if first is None else first.data_ptr(),
        0 if second is None else second.data_ptr(),
    )


def _six(trace: Trace) -> tuple[int, ...]:
    """Return the addresses of three weights of two states; 0 for what there is not."""
    addresses: list[int] = []
    for number in range(2):
        of_state = [one.data_ptr() for one in trace[number]] if number < len(trace) else []
        addresses += [*of_state, 0, 0, 0][:3]
    return tuple(addresses)
