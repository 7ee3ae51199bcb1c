"""The long short-term memory cell.

Hochreiter and Schmidhuber, "Long short-term memory", Neural Computation 9(8), 1997; with the forget
gate of Gers, Schmidhuber and Cummins, "Learning to forget", Neural Computation 12(10), 2000.

    i = σ(x W_i + h U_i + b_i)        how much of the candidate to write
    f = σ(x W_f + h U_f + b_f)        how much of the memory to keep
    g = tanh(x W_g + h U_g + b_g)     the candidate
    o = σ(x W_o + h U_o + b_o)        how much of the memory to show
    c' = f ⊙ c + i ⊙ g
    h' = o ⊙ tanh(c')
"""

from __future__ import annotations

from torch import Tensor, cat

from gatewise import activations
from gatewise.cells.products import product as product_of
from gatewise.cells.specification import Specification
from gatewise.cells.step import Step, Through


def step(
    product: Tensor,
    state: tuple[Tensor, ...],
    U: Tensor,
    recurrent_bias: Tensor | None,
    recurrent_dropout: Tensor | None,
    specification: Specification,
) -> Step:
    """Take one time step; ``product`` is x W + b, (B, 4H)."""
    h, c = state
    squash = activations.get(specification.activation)
    gate = activations.get(specification.recurrent_activation)
    seen = h if recurrent_dropout is None else h * recurrent_dropout
    i, f, g, o = (product + product_of(seen, U, specification.precision)).chunk(4, dim=-1)
    i, f, g, o = gate(i), gate(f), squash(g), gate(o)
    c = f * c + i * g
    h = o * squash(c)
    return Step((h, c), (i, f, g, o), c)


def step_backward(
    grad_state: tuple[Tensor, ...],
    previous: tuple[Tensor, ...],
    gates: Tensor,
    saved: Tensor,
    U: Tensor,
    recurrent_dropout: Tensor | None,
    specification: Specification,
    through: Through,
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Return dL/dP (B, 4H) and the cotangents that go on to the state before this step.

    ``previous`` is that state, ``gates`` the activated gates (B, 4H), ``saved`` is c (B, H).
    """
    grad_h, grad_c = grad_state
    i, f, g, o = gates.chunk(4, dim=-1)
    squash, gate = str(specification.activation), str(specification.recurrent_activation)
    shown = activations.get(squash)(saved)
    grad_c = grad_c + grad_h * o * activations.derivative(squash, shown)
    grad_product = cat(
        (
            grad_c * g * activations.derivative(gate, i),
            grad_c * previous[1] * activations.derivative(gate, f),
            grad_c * i * activations.derivative(squash, g),
            grad_h * shown * activations.derivative(gate, o),
        ),
        dim=-1,
    )
    grad_seen = through(grad_product, U)
    grad_h = grad_seen if recurrent_dropout is None else grad_seen * recurrent_dropout
    return grad_product, (grad_h, grad_c * f)
