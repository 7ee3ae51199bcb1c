"""The simple recurrent cell.

Elman, "Finding structure in time", Cognitive Science 14(2), 1990.

    h' = tanh(x W + h U + b)
"""

from __future__ import annotations

from torch import Tensor

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
    """Take one time step; ``product`` is x W + b, (B, H)."""
    (h,) = state
    seen = h if recurrent_dropout is None else h * recurrent_dropout
    h = activations.get(specification.activation)(
        product + product_of(seen, U, specification.precision)
    )
    return Step((h,), (h,), None)


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
    """Return dL/dP (B, H) and the cotangent of the state before this step."""
    (grad,) = grad_state
    grad_product = grad * activations.derivative(str(specification.activation), gates)
    grad_seen = through(grad_product, U)
    grad_recurrent = grad_seen if recurrent_dropout is None else grad_seen * recurrent_dropout
    return grad_product, (grad_recurrent,)
