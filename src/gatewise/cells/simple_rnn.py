"""The simple recurrent cell.

Elman, "Finding structure in time", Cognitive Science 14(2), 1990.

    h' = tanh(x W + h U + b)
"""

from __future__ import annotations

from torch import Tensor

from gatewise import activations
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
    """Take one time step; ``product`` is x W + b, (B, H)."""
    (h,) = state
    h = activations.get(specification.activation)(product + noise.drop(h) @ weights.U)
    return Step((h,), (h,), None)


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
    """Return dL/dP (B, H) and the cotangent of the state before this step."""
    (grad,) = grad_state
    grad_product = grad * activations.derivative(str(specification.activation), gates)
    return grad_product, (noise.drop(through(grad_product, weights.U)),)
