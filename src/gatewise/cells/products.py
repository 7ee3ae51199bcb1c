"""The matrix products of a cell, at the precision that its specification names.

With "bfloat16" each operand of a matrix product is rounded to bfloat16 (to nearest, ties to even)
and the products are summed in the operands' own type, on the way forward and on the way back. All
else, the state above all, keeps its precision. Kalamkar et al., "A study of BFLOAT16 for deep
learning training", arXiv 1905.12322.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

PRECISIONS = ("float32", "bfloat16")


def rounded(tensor: Tensor, precision: str) -> Tensor:
    """Return what a product of this precision makes of an operand, in the operand's type.

    >>> rounded(torch.tensor([1.0, 1.001]), "bfloat16")
    tensor([1., 1.])
    """
    return tensor if precision == "float32" else tensor.to(torch.bfloat16).to(tensor.dtype)


def product(left: Tensor, right: Tensor, precision: str) -> Tensor:
    """Return left (…, K) times right (K, N); with "bfloat16" its gradients are such products too.

    >>> product(torch.tensor([[1.001]]), torch.tensor([[3.0]]), "bfloat16")
    tensor([[3.]])
    """
    if precision == "float32":
        return left @ right
    return _RoundedProduct.apply(left, right)  # pyright: ignore[reportReturnType]


class _RoundedProduct(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(left: Tensor, right: Tensor) -> Tensor:
        return rounded(left, "bfloat16") @ rounded(right, "bfloat16")

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, Tensor | None]:
        (grad,), (left, right) = grads, ctx.saved_tensors
        grad_left = grad_right = None
        if ctx.needs_input_grad[0]:
            grad_left = product(grad, right.t(), "bfloat16")
        if ctx.needs_input_grad[1]:
            rows = left.reshape(-1, left.shape[-1]).t()
            grad_right = product(rows, grad.reshape(-1, grad.shape[-1]), "bfloat16")
        return grad_left, grad_right
