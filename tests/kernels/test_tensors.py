"""How the compiled module reads tensors: the check of shape, type, device and contiguity."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
import torch
from torch import Tensor

from gatewise.kernels import cpu
from gatewise.kernels.native import compiled

pytestmark = pytest.mark.skipif(not cpu.available(), reason=cpu.unavailable_reason())


def _fits(tensor: Any, shape: tuple[int, ...], dense: bool = False, double: bool = False) -> bool:
    return compiled().fits(tensor, shape, double, dense)


def test_shape_type_and_device_must_agree() -> None:
    x = torch.zeros(2, 3)
    assert _fits(x, (2, 3)) and _fits(torch.nn.Parameter(x), (2, 3))
    for shape in ((3, 2), (2,), (2, 3, 1), ()):
        assert not _fits(x, shape)
    assert _fits(x.double(), (2, 3), double=True)
    assert not _fits(x.double(), (2, 3)) and not _fits(x, (2, 3), double=True)
    for dtype in (torch.int32, torch.bfloat16, torch.bool, torch.complex64):
        assert not _fits(x.to(dtype), (2, 3))
    assert not _fits(torch.zeros(2, 3, device="meta"), (2, 3))


@pytest.mark.parametrize(
    "view",
    [
        torch.zeros(4, 6)[:, ::2],
        torch.zeros(3, 4).t(),
        torch.zeros(1, 3).expand(4, 3),
        torch.zeros(4, 6)[:, 3:],
    ],
)
def test_only_contiguous_memory_is_dense(view: Tensor) -> None:
    assert _fits(view, (4, 3)) and not _fits(view, (4, 3), dense=True)
    assert _fits(view.contiguous(), (4, 3), dense=True)


def test_axes_of_one_have_any_stride() -> None:
    view = torch.zeros(5, 7, 3)[:, :1]
    assert view.stride() == (21, 3, 1) and not _fits(view, (5, 1, 3), dense=True)
    assert _fits(view[:1], (1, 1, 3), dense=True)


@pytest.mark.parametrize("other", [3, "x", [[0.0]], torch.zeros(2, 3).numpy()])
def test_what_is_no_tensor_does_not_fit(other: Any) -> None:
    assert not _fits(other, (2, 3))


def test_what_is_no_tensor_is_no_argument() -> None:
    with pytest.raises(TypeError, match=r"torch\.Tensor"):
        compiled().random_mask(False, 3, 1, 0, 1, (0.0, 1.0), 1)


def test_a_torch_that_cannot_hand_tensors_over_is_named() -> None:
    program = """
import torch
del torch.Tensor.__dlpack_c_exchange_api__
from gatewise.kernels import cpu
print(cpu.unavailable_reason())
"""
    ended = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert "cannot be loaded (they need torch 2.10 or newer)" in ended.stdout
    assert "The equations run instead" in ended.stdout
