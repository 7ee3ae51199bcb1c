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

Coupled gates: Greff et al., "LSTM: a search space odyssey", arXiv 1503.04069. Peepholes: Gers and
Schmidhuber, "Recurrent nets that time and count", IJCNN 2000.
"""

from __future__ import annotations

from torch import Tensor, cat

from gatewise import activations
from gatewise.cells.gates import split_gates
from gatewise.cells.noise import Noise
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
    sums = split_gates(product + noise.drop(h) @ weights.U, specification.cell)
    peepholes = _peepholes(weights, specification)
    f = gate(_seeing(sums["f"], peepholes.get("f"), c))
    i = gate(_seeing(sums["i"], peepholes.get("i"), c)) if "i" in sums else 1 - f
    g = squash(sums["g"])
    c = _clipped(f * c + i * g, specification)
    o = gate(_seeing(sums["o"], peepholes.get("o"), c))
    gates = {"i": i, "f": f, "g": g, "o": o}
    return Step((o * squash(c), c), tuple(gates[name] for name in specification.gates), c)


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
    """Return dL/dP (B, G·H) and the cotangents that go on to the state before this step.

    ``previous`` is that state, ``gates`` the activated gates (B, G·H), ``saved`` c (B, H) as the
    next step sees it.
    """
    grad_h, grad_c = grad_state
    by_name = split_gates(gates, specification.cell)
    f, g, o = by_name["f"], by_name["g"], by_name["o"]
    squash, gate = str(specification.activation), str(specification.recurrent_activation)
    peepholes = _peepholes(weights, specification)
    before, unclipped = previous[1], saved
    if noise.zoneout_c is not None or specification.cell_clip is not None:
        unclipped = _unclipped(by_name, before)  # what is saved differs from it
    c = _clipped(unclipped, specification)
    shown = activations.get(squash)(c)
    grads = {"o": grad_h * shown * activations.derivative(gate, o)}
    grad_c = grad_c + grad_h * o * activations.derivative(squash, shown)
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
    return grad_product, (noise.drop(through(grad_product, weights.U)), grad_c)


def peephole_gradients(
    gates: Tensor, before: Tensor, grad_product: Tensor, specification: Specification
) -> dict[str, Tensor]:
    """Return dL/dp of each gate with a peephole before it is summed: dL/dP ⊙ what the gate saw.

    ``before`` is c before each step; all are (B, T, …).
    """
    grads = split_gates(grad_product, specification.cell)
    after = _clipped(_unclipped(split_gates(gates, specification.cell), before), specification)
    return {
        name: grads[name] * (after if name == "o" else before) for name in specification.peepholes
    }


def _peepholes(weights: Weights, specification: Specification) -> dict[str, Tensor]:
    """Return the peephole weights (H,) of each gate that has one."""
    if weights.peephole is None:
        return {}
    return dict(zip(specification.peepholes, weights.peephole, strict=True))


def _seeing(total: Tensor, peephole: Tensor | None, c: Tensor) -> Tensor:
    return total if peephole is None else total + peephole * c


def _unclipped(gates: dict[str, Tensor], c: Tensor) -> Tensor:
    """Return f ⊙ c + i ⊙ g, from the gates by name and the c before."""
    f = gates["f"]
    return f * c + (gates["i"] if "i" in gates else 1 - f) * gates["g"]


def _clipped(c: Tensor, specification: Specification) -> Tensor:
    limit = specification.cell_clip
    return c if limit is None else c.clamp(-limit, limit)
