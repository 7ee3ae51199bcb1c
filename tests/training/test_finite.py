"""Whether tensors are finite: in one native pass, or by torch's operations where there is none."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from gatewise.kernels import cpu
from gatewise.training.finite import finite

LARGEST = torch.finfo(torch.float32).max


def spoilt(value: float, place: int, count: int = 67) -> Tensor:
    tensor = torch.linspace(-1, 1, count)
    tensor[place] = value
    return tensor


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("place", [0, 15, 16, 64, 66])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_no_bad_number_is_overlooked(value: float, place: int, dtype: torch.dtype) -> None:
    good, bad = torch.ones(3, dtype=dtype), spoilt(value, place).to(dtype)
    assert not finite([good, bad]) and not finite([bad, good])


@pytest.mark.parametrize(
    "tensor",
    [
        torch.full((100,), LARGEST),
        torch.full((4, 6), LARGEST)[:, ::2],
        torch.full((5,), 1e-45),
        torch.zeros(0),
        torch.ones(()),
        torch.ones(3, dtype=torch.bfloat16),
    ],
    ids=["sum overflows", "strided", "denormal", "empty", "scalar", "bfloat16"],
)
def test_finite_numbers_are_finite(tensor: Tensor) -> None:
    assert finite([tensor]) and finite([torch.ones(2), tensor])


def test_nothing_is_finite() -> None:
    assert finite([])


@pytest.mark.skipif(not cpu.available(), reason=cpu.unavailable_reason())
def test_the_native_pass_says_what_it_cannot_look_at() -> None:
    assert cpu.all_finite([torch.ones(2)]) is True
    assert cpu.all_finite([spoilt(float("nan"), 1)]) is False
    assert cpu.all_finite([torch.ones(2), torch.ones(2, dtype=torch.float64)]) is None
    assert cpu.all_finite([torch.ones(4, 4).t()[1:]]) is None
