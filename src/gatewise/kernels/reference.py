"""The reference kernel: the cells' own equations, run forward and backward without autograd.

It runs where nothing faster can, and saves what the native kernel saves, so either may take the way
back of the other.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from gatewise import cells
from gatewise.cells import Noise, Specification, Weights, lstm
from gatewise.cells.gates import gate_slice
from gatewise.cells.scan import previous_outputs, previous_states, recurrent_cotangents

# The contraction of a step's input (left) with its cotangents (right) into a weight's gradient.
_REDUCTIONS = {"all": "bti,btg->ig", "sample": "bti,btg->big", "step": "bti,btg->tig"}
_BIAS_AXES = {"all": (0, 1), "sample": (1,), "step": (0,)}


def forward(
    x: Tensor,
    weights: Sequence[Tensor],
    state: Sequence[Tensor],
    mask: Tensor | None,
    noise: Noise,
    specification: Specification,
    needs_backward: bool,
) -> tuple[Tensor, list[Tensor], Tensor, Tensor]:
    """Return the outputs (B, T, H), the final state, the activated gates and what else is saved."""
    with _full_precision(x):
        product = cells.input_product(x, weights, mask, specification)
        run = cells.scan(product, weights, state, mask, noise, specification)
    nothing = x.new_empty(0)
    kept = (run.gates, run.saved) if needs_backward else (nothing, nothing.clone())
    # An operator's outputs may not share memory with one another or with its inputs.
    return run.outputs, [final.clone() for final in run.final_state], *kept


def backward_scan(
    grad_outputs: Tensor | None,
    grad_final_state: Sequence[Tensor],
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
    """Return dL/dP (B, T, G·H), dL/d(initial state) and, when asked for, the norms (B, T, S).

    dL/dP is written to ``grad_product`` if that is given.
    """
    with _full_precision(outputs):
        grads = cells.backward_scan(
            grad_outputs, grad_final_state, outputs, gates, saved, weights, state, mask,
            noise, specification, scale, path, norms,
        )  # fmt: skip
    found = grads[0] if grad_product is None else grad_product.copy_(grads[0])
    return found, [grad.clone() for grad in grads[1]], grads[2]


def weight_gradient(
    x: Tensor,
    outputs: Tensor,
    gates: Tensor,
    saved: Tensor,
    grad_product: Tensor,
    weights: Sequence[Tensor],
    state: Sequence[Tensor],
    mask: Tensor | None,
    noise: Noise,
    specification: Specification,
    reduce: str,
) -> list[Tensor]:
    """Return the gradient of each weight: summed, or apart for each sample or time step."""
    with _full_precision(x):
        if mask is not None:
            x = torch.where(mask.unsqueeze(-1), x, 0)
        seen = previous_outputs(outputs, state, specification)
        if noise.recurrent_dropout is not None:
            seen = seen * noise.recurrent_dropout.unsqueeze(1)
        grad_recurrent = recurrent_cotangents(grad_product, gates, specification)
        contraction = _REDUCTIONS[reduce]
        grads = [torch.einsum(contraction, x, grad_product)]
        if specification.cell == "gru" and not specification.reset_after:
            grads.append(_reset_before_gradient(seen, gates, grad_product, contraction))
        else:
            grads.append(torch.einsum(contraction, seen, grad_recurrent))
        axes = _BIAS_AXES[reduce]
        if Weights.of(weights, specification).bias is not None:
            bias = grad_product.sum(axes)
            if specification.two_biases:
                bias = torch.stack((bias, grad_recurrent.sum(axes)), dim=-2)
            grads.append(bias)
        if specification.peephole:
            before = previous_states(saved, state[1], specification)
            found = lstm.peephole_gradients(gates, before, grad_product, specification)
            grads.append(torch.stack([grad.sum(axes) for grad in found.values()], dim=-2))
    return grads


def input_gradient(
    grad_product: Tensor, weights: Sequence[Tensor], specification: Specification
) -> Tensor:
    """Return dL/dx (B, T, I)."""
    with _full_precision(grad_product):
        return grad_product @ weights[0].t()


def _reset_before_gradient(seen: Tensor, gates: Tensor, grad: Tensor, contraction: str) -> Tensor:
    """Return dU where the candidate's product saw r ⊙ h instead of h."""
    units = seen.shape[-1]
    candidate = gate_slice("gru", "h", units)
    r = gates[..., gate_slice("gru", "r", units)]
    return torch.cat(
        (
            torch.einsum(contraction, seen, grad[..., : candidate.start]),
            torch.einsum(contraction, r * seen, grad[..., candidate]),
        ),
        dim=-1,
    )


def _full_precision(tensor: Tensor) -> torch.autocast:
    """Keep autocast from rounding the products in here: the caller has chosen the type."""
    return torch.autocast(tensor.device.type, enabled=False)
