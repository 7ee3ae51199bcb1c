"""The gated recurrent unit.

Cho et al., "Learning phrase representations using RNN encoder-decoder", arXiv 1406.1078, with
Keras's gate order. Two forms differ in where the reset gate acts; the second is cuDNN's and
PyTorch's.

    z = σ(x W_z + h U_z + b_z)                 how much of the old state to keep
    r = σ(x W_r + h U_r + b_r)                 how much of it the candidate sees
    n = tanh(x W_h + (r ⊙ h) U_h + b_h)        reset before the product (the paper's), or
    n = tanh(x W_h + b_h + r ⊙ (h U_h + b'_h)) reset after it
    h' = z ⊙ h + (1 - z) ⊙ n

Layer normalization (Ba, Kiros and Hinton, arXiv 1607.06450, appendix) fits the second: N(x W) ⊙ α_x
stands for x W and N(h U) ⊙ α_h for h U, where N normalizes z and r together and the candidate by
itself (gatewise.cells.normalization).
"""

from __future__ import annotations

from torch import Tensor, cat

from gatewise import activations
from gatewise.cells.noise import Noise
from gatewise.cells.normalization import gate_cotangents, normalized_gates
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
    """Take one time step; ``product`` is x W + b, (B, 3H)."""
    (h,) = state
    squash = activations.get(specification.activation)
    gate = activations.get(specification.recurrent_activation)
    precision = specification.precision
    seen, U = noise.drop(h), weights.U
    product_z, product_r, product_h = product.chunk(3, dim=-1)
    if specification.reset_after:
        recurrent = product_of(seen, U, precision)
        if weights.recurrent_gain is not None:
            recurrent = normalized_gates(recurrent, specification)[0] * weights.recurrent_gain
        if weights.bias is not None:
            recurrent = recurrent + weights.bias[1]
        recurrent_z, recurrent_r, recurrent_h = recurrent.chunk(3, dim=-1)
        z, r = gate(product_z + recurrent_z), gate(product_r + recurrent_r)
        n, saved = squash(product_h + r * recurrent_h), recurrent_h
    else:
        U_z, U_r, U_h = U.chunk(3, dim=-1)
        z = gate(product_z + product_of(seen, U_z, precision))
        r = gate(product_r + product_of(seen, U_r, precision))
        n, saved = squash(product_h + product_of(r * seen, U_h, precision)), None
    h = z * h + (1 - z) * n
    return Step((h,), (z, r, n), saved)


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
    """Return the row of cotangents (B, R) and that of the state before this step.

    The row is :func:`gatewise.cells.rows.gradient_row`, which begins with dL/dP of the input
    product. ``gates`` are z, r, n (B, 3H); ``saved`` is the row of
    :func:`gatewise.cells.rows.saved_row`: h U_h + b'_h first, where the reset comes after.
    """
    ((grad,), (h,)) = grad_state, previous
    z, r, n = gates.chunk(3, dim=-1)
    squash, gate = str(specification.activation), str(specification.recurrent_activation)
    seen, U = noise.drop(h), weights.U
    grad_z = grad * (h - n) * activations.derivative(gate, z)
    grad_n = grad * (1 - z) * activations.derivative(squash, n)
    if specification.reset_after:
        grad_r = grad_n * saved[..., : r.shape[-1]] * activations.derivative(gate, r)
        grad_product = cat((grad_z, grad_r, grad_n), dim=-1)
        grad_recurrent, grad_input = gate_cotangents(
            grad_product, cat((grad_z, grad_r, grad_n * r), dim=-1), saved, weights, specification
        )
        grad_seen = through(grad_recurrent, U)
        if specification.layer_norm:
            grad_product = cat((grad_product, grad_recurrent, grad_input), dim=-1)
    else:
        U_zr, U_h = U[:, : 2 * z.shape[-1]], U[:, 2 * z.shape[-1] :]
        # The reset gate is of this very step: its cotangent takes all of U_h on every path.
        grad_reset = product_of(grad_n, U_h.t(), specification.precision)
        grad_r = grad_reset * seen * activations.derivative(gate, r)
        grad_seen = through(cat((grad_z, grad_r), dim=-1), U_zr) + r * through(grad_n, U_h)
        grad_product = cat((grad_z, grad_r, grad_n), dim=-1)
    return grad_product, (grad * z + noise.drop(grad_seen),)
