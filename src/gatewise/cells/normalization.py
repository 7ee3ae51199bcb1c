"""Layer normalization of what a step adds up: a row of numbers to mean 0 and variance 1.

Ba, Kiros and Hinton, "Layer normalization", arXiv 1607.06450.

    n = (v - mean) · factor                            factor = 1 / √(variance + ε)
    dL/dv = factor · (g - mean(g) - n · mean(g ⊙ n))   g = dL/dn

The gates of one step are normalized together, a GRU's candidate apart from its z and r (as in the
paper's appendix: the reset gate stands between them).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from gatewise.cells.rows import saved_row
from gatewise.cells.specification import Specification
from gatewise.cells.weights import Weights

EPSILON = 1e-5


class Normal(NamedTuple):
    """A normalized row, its mean, and the factor that it was multiplied by."""

    values: Tensor  # (..., n)
    mean: Tensor  # (..., 1)
    factor: Tensor  # (..., 1)


def normalized(values: Tensor) -> Normal:
    """Normalize the last axis.

    >>> normalized(torch.tensor([1.0, 3.0])).mean
    tensor([2.])
    """
    mean = values.mean(-1, keepdim=True)
    apart = values - mean
    factor = (apart.square().mean(-1, keepdim=True) + EPSILON).rsqrt()
    return Normal(apart * factor, mean, factor)


def normalized_backward(grad: Tensor, normal: Tensor, factor: Tensor) -> Tensor:
    """Return dL/dv from dL/dn, the normalized row and its factor."""
    mean = grad.mean(-1, keepdim=True)
    return factor * (grad - mean - normal * (grad * normal).mean(-1, keepdim=True))


def normalized_gates(values: Tensor, specification: Specification) -> tuple[Tensor, Tensor]:
    """Normalize the sums of all gates (..., G·H): them, and a factor for each part of them."""
    parts = [normalized(part) for part in values.split(_widths(values, specification), dim=-1)]
    factors = torch.cat([part.factor for part in parts], dim=-1)
    return torch.cat([part.values for part in parts], dim=-1), factors


def normalized_gates_backward(
    grad: Tensor, normal: Tensor, factors: Tensor, specification: Specification
) -> Tensor:
    """Return the cotangent of the sums from those of their normalized values."""
    widths = _widths(grad, specification)
    parts = zip(
        grad.split(widths, dim=-1),
        normal.split(widths, dim=-1),
        factors.split(1, dim=-1),
        strict=True,
    )
    return torch.cat([normalized_backward(*part) for part in parts], dim=-1)


def gate_cotangents(
    grad_product: Tensor,
    grad_recurrent: Tensor,
    saved: Tensor,
    weights: Weights,
    specification: Specification,
) -> tuple[Tensor, Tensor]:
    """Return the cotangents of h U and of x W from those of what they add to the gates' sums.

    ``saved`` is the step's row (see :func:`gatewise.cells.rows.saved_row`). Without layer
    normalization they are the same.
    """
    if weights.input_gain is None or weights.recurrent_gain is None:
        return grad_recurrent, grad_product
    row = saved_row(specification, grad_product.shape[-1] // len(specification.gates))
    statistics = saved[..., row.statistics]
    last = 2 * len(_widths(grad_product, specification))
    of_recurrent = normalized_gates_backward(
        grad_recurrent * weights.recurrent_gain,
        saved[..., row.recurrent],
        statistics[..., 0:last:2],
        specification,
    )
    of_input = normalized_gates_backward(
        grad_product * weights.input_gain,
        saved[..., row.input],
        statistics[..., 1:last:2],
        specification,
    )
    return of_recurrent, of_input


def _widths(values: Tensor, specification: Specification) -> list[int]:
    """Return how many neighbouring columns are normalized together."""
    columns = values.shape[-1]
    if specification.cell != "gru":
        return [columns]
    return [columns // 3 * 2, columns // 3]
