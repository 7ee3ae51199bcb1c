"""Weights of 8 bits as an equation: what rounding costs, and what it does with odd rows."""

from __future__ import annotations

import pytest
import torch

from gatewise.cells.int8 import LARGEST, QuantizedMatrix, quantize_columns, quantize_rows


def _normal(*shape: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1), dtype=dtype)


def test_no_weight_moves_by_more_than_half_a_scale() -> None:
    W = _normal(63, 37, dtype=torch.float64)
    integers, scales = quantize_columns(W)
    assert integers.dtype == torch.int8 and integers.is_contiguous()
    assert integers.abs().amax(0).tolist() == [LARGEST] * 37
    off = (integers * scales - W).abs()
    assert (off <= scales / 2 * (1 + 1e-12)).all()
    # The mean error of rounding is a quarter of a scale: less would mean that nothing was rounded.
    assert 0.2 < (off / scales).mean() < 0.3


def test_a_product_is_off_by_no_more_than_the_rounding_of_its_factors() -> None:
    x, W = _normal(9, 63, dtype=torch.float64), _normal(63, 37, dtype=torch.float64)
    matrix = QuantizedMatrix(*quantize_columns(W))
    _, scales = quantize_rows(x)
    rounded_x, rounded_W = scales / 2, matrix.scales / 2
    bound = rounded_x * W.abs().sum(0) + rounded_W * (x.abs() + rounded_x).sum(1, keepdim=True)
    off = (x @ matrix - x @ W).abs()
    assert (off <= bound).all() and off.max() > bound.max() / 1000


def test_blocks_of_columns_are_those_of_the_whole() -> None:
    x, W = _normal(4, 10), _normal(10, 12)
    matrix = QuantizedMatrix(*quantize_columns(W))
    parts = [x @ block for block in matrix.chunk(3)]
    assert torch.equal(torch.cat(parts, -1), x @ matrix)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_a_row_that_is_not_finite_makes_its_products_nan_and_no_others(bad: float) -> None:
    x, W = _normal(3, 5), _normal(5, 4)
    x[1, 2] = bad
    found = x @ QuantizedMatrix(*quantize_columns(W))
    assert found[1].isnan().all() and found[[0, 2]].isfinite().all()


def test_zeros_and_numbers_next_to_zero_count_as_zero() -> None:
    W = _normal(5, 4)
    W[:, 1] = 0
    matrix = QuantizedMatrix(*quantize_columns(W))
    x = torch.zeros(3, 5)
    x[1], x[2] = 1e-37, 1.0
    found = x @ matrix
    assert not found[:2].any() and not found[:, 1].any() and found[2, [0, 2, 3]].all()
