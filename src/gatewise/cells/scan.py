"""The unrolled network: one cell's step, with one set of weights, over all time steps and back.

Run with gradients this is the differentiable equation; run without, it is the reference kernel.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from gatewise.cells import gru, lstm, simple_rnn
from gatewise.cells.gates import gate_slice
from gatewise.cells.noise import Noise
from gatewise.cells.normalization import normalized_gates
from gatewise.cells.products import product as product_of
from gatewise.cells.specification import Specification
from gatewise.cells.step import Through
from gatewise.cells.weights import Weights

_CELLS = {"lstm": lstm, "cifg": lstm, "gru": gru, "simple_rnn": simple_rnn}


class Scan(NamedTuple):
    """Everything that a pass over the sequence produced."""

    outputs: Tensor  # (B, T, P), h at every time step; P is H unless h is projected
    final_state: tuple[Tensor, ...]  # h (B, P), c (B, H)
    gates: Tensor  # (B, T, G·H), activated; zero at masked steps
    saved: Tensor  # (B, T, H), or empty where the cell saves nothing more


def input_product(
    x: Tensor, weights: Sequence[Tensor], mask: Tensor | None, specification: Specification
) -> Tensor:
    """Return x W + b for all time steps, (B, T, G·H); with layer normalization N(x W) ⊙ α_x + b.

    Masked steps of x count as zeros, since what lies in the padding may be NaN.
    """
    if mask is not None:
        x = torch.where(mask.unsqueeze(-1), x, 0)
    named = Weights.of(weights, specification)
    product = product_of(x, named.W, specification.precision)
    if named.input_gain is not None:
        product = normalized_gates(product, specification)[0] * named.input_gain
    if named.bias is None:
        return product
    return product + (named.bias[0] if specification.two_biases else named.bias)


def scan(
    product: Tensor,
    weights: Sequence[Tensor],
    state: Sequence[Tensor],
    mask: Tensor | None,
    noise: Noise,
    specification: Specification,
) -> Scan:
    """Step through time with the one set of weights; masked steps carry the state unchanged.

    ``product`` (B, T, G·H) is :func:`input_product`, ``state`` holds (B, H) for each state of the
    cell, ``mask`` (B, T) is True at real steps, ``noise`` holds the masks of dropout and zoneout.
    """
    step = _CELLS[specification.cell].step
    named = Weights.of(weights, specification)
    current = tuple(state)
    steps: list[tuple[Tensor, Tensor, Tensor | None]] = []  # outputs, gates, saved
    for t in _order(product.shape[1], specification):
        noise_now = noise.at(t)
        new = step(product[:, t], current, named, noise_now, specification)
        gates, saved = torch.cat(new.gates, dim=-1), new.saved
        after = noise_now.zone(new.state, current)
        if mask is None:
            current = after
        else:
            real = mask[:, t].unsqueeze(-1)
            pairs = zip(after, current, strict=True)
            current = tuple(torch.where(real, new, old) for new, old in pairs)
            gates = torch.where(real, gates, 0)
        if "c" in specification.states:
            saved = current[1]  # c as the next step sees it
        steps.append((current[0], gates, saved))
    if specification.reverse:
        steps.reverse()
    outputs, gates, saved = zip(*steps, strict=True)
    return Scan(
        torch.stack(outputs, dim=1),
        current,
        torch.stack(gates, dim=1),
        product.new_empty(0) if saved[0] is None else torch.stack(saved, dim=1),
    )


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
) -> tuple[Tensor, list[Tensor], Tensor]:
    """Go back through time: return the rows of cotangents, dL/d(initial state) and the norms.

    The rows (B, T, R) are :func:`gatewise.cells.rows.gradient_row`; each begins with dL/dP (G·H).
    ``scale[t]`` multiplies the cotangent that step t hands to the state before it (0 cuts the
    flow). ``path`` is "full", "diagonal" (U replaced by each gate's diagonal) or "cell" (nothing
    through U); what goes past U unit by unit, peepholes and zoneout, is open on every path.
    The norms (B, T, S) of dL/d(state after step t) are empty unless asked for.
    """
    step_backward = _CELLS[specification.cell].step_backward
    through, named = _through(path, specification.precision), Weights.of(weights, specification)
    grads = tuple(grad_final_state)
    order = _order(gates.shape[1], specification)
    before = [None, *order[:-1]]
    steps: list[tuple[Tensor, Tensor]] = []  # dP, norms
    for t, previous_t in zip(reversed(order), reversed(before), strict=True):
        previous = _state_at(previous_t, outputs, saved, state, specification)
        if grad_outputs is not None:
            grads = (grads[0] + grad_outputs[:, t], *grads[1:])
        size = torch.stack([grad.norm(dim=-1) for grad in grads], dim=-1) if norms else grads[0]
        extra = saved[:, t] if saved.dim() == 3 else saved
        noise_now = noise.at(t)
        of_new, of_old = noise_now.split(grads)
        grad_product, passed = step_backward(
            of_new, previous, gates[:, t], extra, named, noise_now, specification, through
        )
        if of_old:
            passed = tuple(p + old for p, old in zip(passed, of_old, strict=True))
        if mask is not None:
            real = mask[:, t].unsqueeze(-1)
            grad_product = torch.where(real, grad_product, 0)
            passed = tuple(torch.where(real, p, g) for p, g in zip(passed, grads, strict=True))
        grads = passed if scale is None else tuple(scale[t] * grad for grad in passed)
        steps.append((grad_product, size))
    if not specification.reverse:
        steps.reverse()
    grad_products, sizes = zip(*steps, strict=True)
    kept = torch.stack(sizes, dim=1) if norms else gates.new_empty(0)
    return torch.stack(grad_products, dim=1), list(grads), kept


def previous_outputs(
    outputs: Tensor, state: Sequence[Tensor], specification: Specification
) -> Tensor:
    """Return h before each step, (B, T, H)."""
    return previous_states(outputs, state[0], specification)


def previous_states(after: Tensor, initial: Tensor, specification: Specification) -> Tensor:
    """Return a state before each step, (B, T, H), from the same state after each step."""
    first = initial.unsqueeze(1)
    if specification.reverse:
        return torch.cat((after[:, 1:], first), dim=1)
    return torch.cat((first, after[:, :-1]), dim=1)


def recurrent_cotangents(
    grad_product: Tensor, gates: Tensor, specification: Specification
) -> Tensor:
    """Return the cotangents of the recurrent product from those of the input product.

    They differ only in a GRU's candidate when the reset gate acts after the product.
    """
    if not specification.two_biases:
        return grad_product
    units = gates.shape[-1] // 3
    r = gates[..., gate_slice("gru", "r", units)]
    candidate = gate_slice("gru", "h", units)
    return torch.cat(
        (grad_product[..., : candidate.start], grad_product[..., candidate] * r), dim=-1
    )


def _order(steps: int, specification: Specification) -> range:
    return range(steps - 1, -1, -1) if specification.reverse else range(steps)


def _state_at(
    t: int | None,
    outputs: Tensor,
    saved: Tensor,
    state: Sequence[Tensor],
    specification: Specification,
) -> tuple[Tensor, ...]:
    """Return the state after time step t, or the initial state where t is None."""
    if t is None:
        return tuple(state)
    if "c" in specification.states:
        return outputs[:, t], saved[:, t, : state[1].shape[-1]]
    return (outputs[:, t],)


def _through(path: str, precision: str) -> Through:
    """Return how a cotangent passes the recurrent product on the way to the step before."""
    if path == "full":
        return lambda grad, U: product_of(grad, U.t(), precision)
    if path == "diagonal":
        return _through_diagonal
    return lambda grad, U: torch.zeros_like(grad[..., : U.shape[0]])


def _through_diagonal(grad: Tensor, U: Tensor) -> Tensor:
    units = U.shape[0]
    diagonals = torch.cat([block.diagonal() for block in U.split(units, dim=-1)])  # (G·H,)
    return (grad * diagonals).unflatten(-1, (-1, units)).sum(dim=-2)
