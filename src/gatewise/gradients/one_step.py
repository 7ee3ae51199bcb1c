"""One time step with its trace, for learning after each step.

The chunk of one step needs no way back: with J = ds/dθ advanced over the step already,

    g = (∂ℓ/∂s) · J

so the trace and the gradient are one native pass each over numbers as many as there are weights.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from gatewise.kernels import Pass, ops
from gatewise.kernels.traces import TraceStep

Trace = list[list[Tensor]]  # for each state, for each weight: (B, *weight.shape)


def take_step(given: Pass, step: TraceStep, trace: Trace) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Run a pass of one step and carry its trace along, in place.

    The weights learn from the trace, and the layer below from this step alone.
    """
    outputs, *final = _OneStep.apply(given, step, trace, given.x, *given.weights, *given.state)
    return outputs, tuple(final)


class _OneStep(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, given: Pass, step: TraceStep, trace: Trace, *tensors: Tensor
    ) -> tuple[Tensor, ...]:
        count = len(given.weights)
        detached = given._replace(
            x=tensors[0], weights=tensors[1 : 1 + count], state=tensors[1 + count :]
        )
        outputs, final, gates, saved = step.advance(detached, trace)
        ctx.given, ctx.step, ctx.trace = detached, step, trace
        ctx.saved = ops.Saved(outputs.detach(), [], gates, saved)
        ctx.set_materialize_grads(False)
        return outputs, *final

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_outputs: Tensor | None, *grad_final: Tensor | None) -> Any:
        given: Pass = ctx.given
        grads = list(grad_final)
        if grad_outputs is not None:
            shown = grad_outputs[:, 0]
            grads[0] = shown if grads[0] is None else grads[0] + shown
        grad_weights = ctx.step.gradient(grads, ctx.trace)
        grad_x = None
        if ctx.needs_input_grad[3]:
            fixed = (given.mask, given.noise, given.specification, given.kernel)
            final = ops.materialize(grads, given.state)
            grad_product, _, _ = ops.backward_scan(
                None, final, ctx.saved, given.weights, given.state, *fixed, path=ctx.step.path
            )
            grad_x = ops.input_gradient(
                grad_product, given.weights, given.mask, given.specification, given.kernel
            )
        # The states before are constants here: what they owe to the weights is in the trace.
        return None, None, None, grad_x, *grad_weights, *(None for _ in given.state)
