"""Weights of 8 bits: what a product with them is.

    W ≈ w ⊙ t        w = round(W / t), t = max |W| / 127, one for each column
    x ≈ q · s        q = round(x / s), s = max |x| / 127, one for each row and time step
    x W ≈ (q w) ⊙ s t

The integers lie from -127 to 127, so zero stays zero and their product q w is exact: it does not
depend on the order of summation. Only the rounding of x and of W costs accuracy. The cells'
equations stay as they are; a `QuantizedMatrix` takes the place of W and U in them.

Symmetric integers, a scale for each output column, and scales of the activations that are found as
the data comes: Wu et al., "Integer quantization for deep learning inference", arXiv 2004.09602.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

LARGEST = 127
"""The largest integer; -128 is left out, so that the integers are symmetric."""


@dataclass(frozen=True)
class QuantizedMatrix:
    """A matrix (depth, columns) as ``integers`` (int8) and their ``scales`` (columns,).

    ``x @ matrix`` is the product above, for x (…, depth) in the type of the scales.

    >>> matrix = QuantizedMatrix(*quantize_columns(torch.tensor([[1.0, 0.5], [0.5, 0.0]])))
    >>> torch.tensor([[2.0, 0.0]]) @ matrix
    tensor([[2., 1.]])
    """

    integers: Tensor
    scales: Tensor

    @classmethod
    def __torch_function__(
        cls, function: Callable[..., Any], types: Any, arguments: Any, keywords: Any = None
    ) -> Any:
        """Take the place of a tensor on the right of a product."""
        if function not in (Tensor.__matmul__, Tensor.matmul, torch.matmul):
            return NotImplemented
        x, matrix = arguments
        return product(x, matrix)

    def chunk(self, chunks: int, dim: int = -1) -> list[QuantizedMatrix]:
        """Return the matrix in so many blocks of columns, as ``Tensor.chunk`` does."""
        assert dim == -1
        blocks = self.integers.chunk(chunks, dim=-1), self.scales.chunk(chunks)
        return [QuantizedMatrix(*block) for block in zip(*blocks, strict=True)]


def product(x: Tensor, matrix: QuantizedMatrix) -> Tensor:
    """Return x W, (…, columns), through the integer product."""
    integers, scales = quantize_rows(x)
    # In float64, which is exact here and has a fast product.
    exact = integers.to(torch.float64) @ matrix.integers.to(torch.float64)
    return exact.to(x.dtype) * (scales * matrix.scales)


def quantize_columns(W: Tensor) -> tuple[Tensor, Tensor]:
    """Return the integers of W (depth, columns) and the scale of each column.

    >>> quantize_columns(torch.tensor([[1.27, 0.0], [-0.5, 0.0]]))
    (tensor([[127,   0],
            [-50,   0]], dtype=torch.int8), tensor([0.0100, 0.0000]))
    """
    integers, scales = quantize_rows(W.t())
    return integers.t().contiguous(), scales.squeeze(-1)


def quantize_rows(x: Tensor) -> tuple[Tensor, Tensor]:
    """Return the integers of x (…, depth), int8, and the scale of each row (…, 1).

    A row with a NaN or an infinity has the scale NaN, so that its products are NaN; one whose scale
    would be no normal number counts as zero.
    """
    most = x.abs().amax(dim=-1, keepdim=True)
    scales = most / LARGEST
    small = scales < torch.finfo(x.dtype).tiny
    finite = most.isfinite()
    integers = torch.where(finite & ~small, torch.round(x / scales), 0).to(torch.int8)
    return integers, torch.where(finite, torch.where(small, 0, scales), torch.nan)
