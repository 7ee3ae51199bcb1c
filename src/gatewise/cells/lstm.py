"""The long short-term memory cell, and the one whose gates are coupled.

Hochreiter and Schmidhuber, "Long short-term memory", Neural Computation 9(8), 1997; with the forget
gate of Gers, Schmidhuber and Cummins, "Learning to forget", Neural Computation 12(10), 2000.

    i = σ(x W_i + h U_i + b_i)        how much of the candidate to write
    f = σ(x W_f + h U_f + b_f)        how much of the memory to keep
    g = tanh(x W_g + h U_g + b_g)     the candidate
    o = σ(x W_o + h U_o + b_o)        how much of the memory to show
    c' = f ⊙ c + i ⊙ g
    h' = o ⊙ tanh(c')

Its options, each by itself or with the others:

    coupled gates ("cifg")   i = 1 - f
    peephole                 p_i ⊙ c joins the sum of i, p_f ⊙ c that of f, p_o ⊙ c' that of o
    cell_clip                c' = max(-k, min(k, f ⊙ c + i ⊙ g)), which is what o sees and h' shows
    projection               h' = (o ⊙ tanh(c')) W_p
    layer_norm               N(x W) ⊙ α_x + N(h U) ⊙ α_h + b for the gates' sums x W + h U + b, and
                             h' = o ⊙ tanh(N(c') ⊙ α_c + β_c); N is gatewise.cells.normalization

Coupled gates: Greff et al., "LSTM: a search space odyssey", arXiv 1503.04069. Peepholes: Gers and
Schmidhuber, "Recurrent nets that time and count", IJCNN 2000. Projection: Sak, Senior and Beaufays,
"Long short-term memory based recurrent neural network architectures for large vocabulary speech
recognition", arXiv 1402.1128. Layer normalization: Ba, Kiros and Hinton, arXiv 1607.06450.
"""

from __future__ import annotations

from torch import Tensor, cat

from gatewise import activations
from gatewise.cells.gates import split_gates
from gatewise.cells.noise import Noise
from gatewise.cells.normalization import (
    gate_cotangents,
    normalized,
    normalized_backward,
    normalized_gates,
)
from gatewise.cells.products import product as product_of
from gatewise.cells.specification import Specification
from gatewise.cells.step import Step, Through
from gatewise.cells.weights import Weights


def step(
    product: Tensor,
    state: tuple[Tensor, ...],
    weights: Weights,
    noise: Noise,
    specification: Specification,
) -> Step:
    """Take one time step; ``product`` is x W + b, (B, G·H)."""
    h, c = state
    squash = activations.get(specification.activation)
    gate = activations.get(specification.recurrent_activation)
    recurrent = product_of(noise.drop(h), weights.U, specification.precision)
    if weights.recurrent_gain is not None:
        recurrent = normalized_gates(recurrent, specification)[0] * weights.recurrent_gain
    sums = split_gates(product + recurrent, specification.cell)
    peepholes = _peepholes(weights, specification)
    f = gate(_seeing(sums["f"], peepholes.get("f"), c))
    i = gate(_seeing(sums["i"], peepholes.get("i"), c)) if "i" in sums else 1 - f
    g = squash(sums["g"])
    c = _clipped(f * c + i * g, specification)
    o = gate(_seeing(sums["o"], peepholes.get("o"), c))
    gates = {"i": i, "f": f, "g": g, "o": o}
    h = o * squash(_shown(c, weights))
    if weights.projection is not None:
        h = product_of(h, weights.projection, specification.precision)
    return Step((h, c), tuple(gates[name] for name in specification.gates), c)


def step_backward(
    grad_state: tuple[Tensor, ...],
    previous: tuple[Tensor, ...],
    gates: Tensor,
    saved: Tensor,
    weights: Weights,
    noise: Noise,
    specification: Specification,
    through: Through,
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Return the row of cotangents (B, R) and those that go on to the state before this step.

    The row is :func:`gatewise.cells.rows.gradient_row`, which begins with dL/dP. ``previous`` is
    the state before, ``gates`` are the activated gates (B, G·H), ``saved`` is the step's row of
    :func:`gatewise.cells.rows.saved_row`, which begins with c as the next step sees it.
    """
    grad_h, grad_c = grad_state
    by_name = split_gates(gates, specification.cell)
    f, g, o = by_name["f"], by_name["g"], by_name["o"]
    squash, gate = str(specification.activation), str(specification.recurrent_activation)
    peepholes = _peepholes(weights, specification)
    before, unclipped = previous[1], saved[..., : f.shape[-1]]
    if noise.zoneout_c is not None or specification.cell_clip is not None:
        unclipped = _unclipped(by_name, before)  # what is saved differs from it
    c = _clipped(unclipped, specification)
    shown = activations.get(squash)(_shown(c, weights))
    grad_shown = grad_h
    if weights.projection is not None:
        grad_shown = product_of(grad_h, weights.projection.t(), specification.precision)
    grads = {"o": grad_shown * shown * activations.derivative(gate, o)}
    grad_cell = grad_shown * o * activations.derivative(squash, shown)
    grad_c = grad_c + _shown_backward(grad_cell, c, weights)
    if "o" in peepholes:
        grad_c = grad_c + grads["o"] * peepholes["o"]
    if specification.cell_clip is not None:
        grad_c = grad_c * (unclipped.abs() <= specification.cell_clip)
    if "i" in by_name:
        i, written = by_name["i"], before
        grads["i"] = grad_c * g * activations.derivative(gate, i)
    else:
        i, written = 1 - f, before - g
    grads["f"] = grad_c * written * activations.derivative(gate, f)
    grads["g"] = grad_c * i * activations.derivative(squash, g)
    grad_c = grad_c * f
    for name in ("i", "f"):
        if name in peepholes:
            grad_c = grad_c + grads[name] * peepholes[name]
    grad_product = cat([grads[name] for name in specification.gates], dim=-1)
    grad_recurrent, grad_input = gate_cotangents(
        grad_product, grad_product, saved, weights, specification
    )
    row = [grad_product]
    if specification.layer_norm:
        row += [grad_recurrent, grad_cell, grad_input]
    if specification.projection:
        row += [grad_h, o * shown]
    return cat(row, dim=-1), (noise.drop(through(grad_recurrent, weights.U)), grad_c)


def peephole_gradients(
    gates: Tensor, before: Tensor, grad_product: Tensor, specification: Specification
) -> dict[str, Tensor]:
    """Return dL/dp of each gate with a peephole before it is summed: dL/dP ⊙ what the gate saw.

    ``before`` is c before each step; all are (B, T, …).
    """
    grads = split_gates(grad_product, specification.cell)
    after = shown_memory(gates, before, specification)
    return {
        name: grads[name] * (after if name == "o" else before) for name in specification.peepholes
    }


def _peepholes(weights: Weights, specification: Specification) -> dict[str, Tensor]:
    """Return the peephole weights (H,) of each gate that has one."""
    if weights.peephole is None:
        return {}
    return dict(zip(specification.peepholes, weights.peephole, strict=True))


def shown_memory(gates: Tensor, before: Tensor, specification: Specification) -> Tensor:
    """Return the c' that h' shows, from the activated gates and the c before."""
    return _clipped(_unclipped(split_gates(gates, specification.cell), before), specification)


def shown(gates: Tensor, saved: Tensor, weights: Weights, specification: Specification) -> Tensor:
    """Return o ⊙ tanh(c'), what a projection multiplies, from a step's gates and its saved row."""
    o = split_gates(gates, specification.cell)["o"]
    squash = activations.get(specification.activation)
    return o * squash(_shown(saved[..., : o.shape[-1]], weights))


def _shown(c: Tensor, weights: Weights) -> Tensor:
    """Return what the activation of h' = o ⊙ tanh(·) sees: c', normalized or as it is."""
    if weights.cell_gain is None or weights.cell_bias is None:
        return c
    return normalized(c).values * weights.cell_gain + weights.cell_bias


def _shown_backward(grad: Tensor, c: Tensor, weights: Weights) -> Tensor:
    """Return dL/dc' from the cotangent of :func:`_shown`."""
    if weights.cell_gain is None:
        return grad
    values, _, factor = normalized(c)
    return normalized_backward(grad * weights.cell_gain, values, factor)


def _seeing(total: Tensor, peephole: Tensor | None, c: Tensor) -> Tensor:
    return total if peephole is None else total + peephole * c


def _unclipped(gates: dict[str, Tensor], c: Tensor) -> Tensor:
    """Return f ⊙ c + i ⊙ g, from the gates by name and the c before."""
    f = gates["f"]
    return f * c + (gates["i"] if "i" in gates else 1 - f) * gates["g"]


def _clipped(c: Tensor, specification: Specification) -> Tensor:
    limit = specification.cell_clip
    return c if limit is None else c.clamp(-limit, limit)
