"""A passage: the fused way through a sequence with its way back steered by an algorithm.

Forward it is the layer's own operator. Backward, the scan takes the algorithm's `scale` and `path`,
and what the past is worth is added to the gradient of the weights.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from gatewise.kernels import Pass, ops
from gatewise.kernels.dispatch import keeping_gates


@dataclass(frozen=True)
class WayBack:
    """An algorithm's answers for one pass.

    `scale` (T,) multiplies what a step hands to the one before it, `path` is one of `ops.PATHS`,
    `past` turns dL/ds_start into gradients of the weights. With `across_layers="step"` the layer
    below learns only from the loss of the same time step. `watch` gets the norms of dL/ds at every
    step, (B, T, states).
    """

    scale: Tensor | None = None
    path: str = "full"
    across_layers: str = "time"
    past: Callable[[Sequence[Tensor]], list[Tensor]] | None = None
    watch: Callable[[Tensor], None] | None = None


def passage(given: Pass, back: WayBack) -> tuple[Tensor, tuple[Tensor, ...], ops.Saved]:
    """Run a pass; return the outputs (B, T, H), the final state, and what the way back needs."""
    kept: list[ops.Saved] = []
    outputs, *final = _Passage.apply(given, back, kept, given.x, *given.weights, *given.state)
    return outputs, tuple(final), kept[0]


def open_kernel(given: Pass) -> str:
    """Return the kernel of a pass, or, as cuDNN keeps its gates to itself, one in its place."""
    return keeping_gates(given.kernel, given.specification, given.weights, given.x.device.type)


def detached(given: Pass) -> Pass:
    """Return the pass without what its tensors were computed from."""
    return given._replace(
        x=given.x.detach(),
        weights=[weight.detach() for weight in given.weights],
        state=[state.detach() for state in given.state],
    )


class _Passage(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, given: Pass, back: WayBack, kept: list[ops.Saved], *tensors: Tensor
    ) -> tuple[Tensor, ...]:
        x, weights, state = _parted(given, tensors)
        saved = ops.forward(
            x, weights, state, given.mask, given.noise, given.specification,
            open_kernel(given),
        )  # fmt: skip
        kept.append(saved._replace(outputs=saved.outputs.detach()))
        ctx.given, ctx.back = given._replace(x=x[:0], weights=(), state=()), back
        ctx.counts = len(weights), len(state)
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(saved.outputs, saved.gates, saved.saved, *tensors)
        return saved.outputs, *saved.final_state

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_outputs: Tensor | None, *grad_final: Tensor | None) -> Any:
        outputs, gates, extra, x, *rest = ctx.saved_tensors
        given, back = ctx.given, ctx.back
        weights, state = rest[: ctx.counts[0]], rest[ctx.counts[0] :]
        saved = ops.Saved(outputs, [], gates, extra)
        fixed = (given.mask, given.noise, given.specification, open_kernel(given))
        final = ops.materialize(grad_final, state)

        def scan(scale: Tensor | None, norms: bool = False) -> tuple[Tensor, list[Tensor], Tensor]:
            return ops.backward_scan(
                grad_outputs, final, saved, weights, state, *fixed, scale, back.path, norms
            )

        grad_product, grad_state, norms = scan(back.scale, back.watch is not None)
        if back.watch is not None:
            back.watch(norms)
        grad_weights = ops.weight_gradient(x, saved, grad_product, weights, state, *fixed)
        if back.past is not None:
            past = back.past(grad_state)
            grad_weights = [new + old for new, old in zip(grad_weights, past, strict=True)]
        grad_x = None
        if ctx.needs_input_grad[3]:
            if back.across_layers == "step":
                grad_product, _, _ = scan(x.new_zeros(x.shape[1]))
            grad_x = ops.input_gradient(grad_product, weights, given.mask, *fixed[2:])
        return None, None, None, grad_x, *grad_weights, *grad_state


def _parted(
    given: Pass, tensors: Sequence[Tensor]
) -> tuple[Tensor, Sequence[Tensor], Sequence[Tensor]]:
    count = len(given.weights)
    return tensors[0], tensors[1 : 1 + count], tensors[1 + count :]
