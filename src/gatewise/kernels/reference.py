"""The reference kernel: the cells' own equations, run forward and backward without autograd.

It runs where nothing faster can, and saves what the native kernel saves, so either may take the way
back of the other.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional

from gatewise import cells
from gatewise.cells import Noise, Specification, Weights, lstm
from gatewise.cells.gates import gate_slice
from gatewise.cells.normalization import normalized, normalized_gates
from gatewise.cells.products import product, rounded
from gatewise.cells.rows import gradient_row, saved_row
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
    with full_precision(x):
        product = cells.input_product(x, weights, mask, specification)
        run = cells.scan(product, weights, state, mask, noise, specification)
        saved = run.saved
        if needs_backward and specification.layer_norm:
            saved = _with_normals(run, x, weights, state, mask, noise, specification)
    nothing = x.new_empty(0)
    kept = (run.gates, saved) if needs_backward else (nothing, nothing.clone())
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
    """Return the rows of cotangents (B, T, R), dL/d(initial state) and, when asked for, the norms.

    The rows begin with dL/dP (see :mod:`gatewise.cells.rows`); they are written to
    ``grad_product`` if that is given.
    """
    with full_precision(outputs):
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
    contracted: Callable[[Tensor, Tensor], Tensor] | None = None,
) -> list[Tensor]:
    """Return the gradient of each weight: summed, or apart for each sample or time step.

    ``contracted`` multiplies a step's input (B, T, M) with its cotangents (B, T, N); a kernel that
    has a faster product than this one gives its own.
    """
    with full_precision(x):
        x = only_real(x, mask)
        seen = previous_outputs(outputs, state, specification)
        if noise.recurrent_dropout is not None:
            seen = seen * noise.recurrent_dropout.unsqueeze(1)
        units = cells.units_of(weights, specification)
        row = gradient_row(specification, units, outputs.shape[-1])
        rows, grad_product = grad_product, grad_product[..., row.product]
        # The cotangents of what is added to the gates' sums, and of the products themselves.
        grad_added = recurrent_cotangents(grad_product, gates, specification)
        grad_recurrent = rows[..., row.recurrent] if specification.layer_norm else grad_added
        contraction, precision = _REDUCTIONS[reduce], specification.precision

        def contracted_here(left: Tensor, right: Tensor) -> Tensor:
            return torch.einsum(contraction, rounded(left, precision), rounded(right, precision))

        contracted = contracted or contracted_here
        grads = [contracted(x, rows[..., row.input])]
        if specification.cell == "gru" and not specification.reset_after:
            grad = rounded(grad_product, precision)
            grads.append(_reset_before_gradient(seen, gates, grad, contraction, precision))
        else:
            grads.append(contracted(seen, grad_recurrent))
        axes = _BIAS_AXES[reduce]
        if Weights.of(weights, specification).bias is not None:
            # The bias's gradient is a product too, with ones.
            bias = rounded(grad_product, precision).sum(axes)
            if specification.two_biases:
                bias = torch.stack((bias, rounded(grad_added, precision).sum(axes)), dim=-2)
            grads.append(bias)
        if specification.peephole:
            before = previous_states(saved[..., :units], state[1], specification)
            found = lstm.peephole_gradients(gates, before, grad_product, specification)
            grads.append(torch.stack([grad.sum(axes) for grad in found.values()], dim=-2))
        if specification.projection:
            shown, hidden = rows[..., row.shown], rows[..., row.hidden]
            grads.append(contracted(shown, hidden))
        if specification.layer_norm:
            kept = saved_row(specification, units)
            grads.append((grad_product * saved[..., kept.input]).sum(axes))
            grads.append((grad_added * saved[..., kept.recurrent]).sum(axes))
            if "c" in specification.states:
                grad_cell = rows[..., row.cell]
                grads.append((grad_cell * saved[..., kept.cell]).sum(axes))
                grads.append(grad_cell.sum(axes))
    return grads


def input_gradient(
    grad_product: Tensor,
    weights: Sequence[Tensor],
    mask: Tensor | None,
    specification: Specification,
) -> Tensor:
    """Return dL/dx (B, T, I); 0 at masked steps."""
    row = gradient_row(specification, cells.units_of(weights, specification), weights[1].shape[0])
    with full_precision(grad_product):
        found = product(grad_product[..., row.input], weights[0].t(), specification.precision)
    return only_real(found, mask)


def only_real(values: Tensor, mask: Tensor | None) -> Tensor:
    """Return values (B, T, ·) with 0 at masked steps."""
    return values if mask is None else torch.where(mask.unsqueeze(-1), values, 0)


def _with_normals(
    run: cells.Scan,
    x: Tensor,
    weights: Sequence[Tensor],
    state: Sequence[Tensor],
    mask: Tensor | None,
    noise: Noise,
    specification: Specification,
) -> Tensor:
    """Return the rows of ``saved`` with what layer normalization adds to them."""
    named, precision = Weights.of(weights, specification), specification.precision
    x = only_real(x, mask)
    seen = previous_outputs(run.outputs, state, specification)
    if noise.recurrent_dropout is not None:
        seen = seen * noise.recurrent_dropout.unsqueeze(1)
    recurrent, of_recurrent = normalized_gates(product(seen, named.U, precision), specification)
    given, of_input = normalized_gates(product(x, named.W, precision), specification)
    normals = [recurrent, given]
    statistics = torch.stack((of_recurrent, of_input), dim=-1).flatten(-2)
    if "c" in specification.states:
        before = previous_states(run.saved, state[1], specification)
        normal = normalized(lstm.shown_memory(run.gates, before, specification))
        normals.append(normal.values)
        statistics = torch.cat((statistics, normal.factor), dim=-1)
    row = saved_row(specification, cells.units_of(weights, specification))
    padding = row.statistics.stop - row.statistics.start - statistics.shape[-1]
    added = torch.cat((*normals, functional.pad(statistics, (0, padding))), dim=-1)
    return torch.cat((run.saved, only_real(added, mask)), dim=-1)


def _reset_before_gradient(
    seen: Tensor, gates: Tensor, grad: Tensor, contraction: str, precision: str
) -> Tensor:
    """Return dU where the candidate's product saw r ⊙ h instead of h."""
    units = seen.shape[-1]
    candidate = gate_slice("gru", "h", units)
    r = gates[..., gate_slice("gru", "r", units)]
    return torch.cat(
        (
            torch.einsum(contraction, rounded(seen, precision), grad[..., : candidate.start]),
            torch.einsum(contraction, rounded(r * seen, precision), grad[..., candidate]),
        ),
        dim=-1,
    )


def full_precision(tensor: Tensor) -> torch.autocast:
    """Keep autocast from rounding the products in here: the caller has chosen the type."""
    return torch.autocast(tensor.device.type, enabled=False)
