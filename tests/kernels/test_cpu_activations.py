"""The native kernels' own tanh and sigmoid, and the other activations: close everywhere."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from gatewise.cells import NO_NOISE, Specification
from gatewise.kernels import cpu

pytestmark = pytest.mark.skipif(not cpu.available(), reason=cpu.unavailable_reason())


EQUATIONS = {
    "linear": lambda x: x,
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "relu": torch.relu,
    "hard_sigmoid": lambda x: torch.nn.functional.relu6(x + 3) / 6,
    "softsign": torch.nn.functional.softsign,
}


@pytest.mark.parametrize("name", EQUATIONS)
@pytest.mark.parametrize(
    ("dtype", "units_in_last_place"),
    [(torch.float32, 3), (torch.float64, 5)],  # float64 is judged by torch's, itself inexact
)
def test_an_activation_is_close_everywhere(
    name: str, dtype: torch.dtype, units_in_last_place: float
) -> None:
    magnitude = torch.logspace(-30, 2, 20_001, dtype=torch.float64)
    x = torch.cat((magnitude, -magnitude, torch.linspace(-90, 90, 50_001).double())).to(dtype)
    exact = EQUATIONS[name](x.double())
    info = torch.finfo(dtype)
    unit = info.eps * 2.0 ** exact.abs().clamp(min=info.tiny).log2().floor()
    error = (activated(name, x).double() - exact).abs() / unit
    assert error[exact.abs() >= info.tiny].max() <= units_in_last_place


@pytest.mark.slow
@pytest.mark.parametrize("name", ["tanh", "sigmoid"])
@pytest.mark.parametrize("first_exponent", range(0, 255, 32))
def test_every_float_is_within_3_units_in_the_last_place(name: str, first_exponent: int) -> None:
    """All finite floats of 32 exponents, both signs; subnormal results are flushed to zero."""
    info = torch.finfo(torch.float32)
    worst, count = 0.0, 2**18
    step = torch.arange(count, dtype=torch.int32)
    last_exponent = min(first_exponent + 32, 255)  # 255 is infinity
    for bits in range(first_exponent << 23, last_exponent << 23, count):
        magnitude = (step + bits).view(torch.float32)
        for x in (magnitude, -magnitude):
            exact = EQUATIONS[name](x.double())
            unit = (exact.float().view(torch.int32) & 0x7F800000).view(torch.float32) * info.eps
            error = (activated_by_many_units(name, x).double() - exact).abs_().div_(unit)
            error.masked_fill_(exact.abs_() < info.tiny, 0)
            worst = max(worst, float(error.max()))
    assert worst <= 3


@pytest.mark.parametrize("name", EQUATIONS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_infinities_and_nan_behave_as_in_torch(name: str, dtype: torch.dtype) -> None:
    infinity = float("inf")
    x = torch.tensor([infinity, -infinity, float("nan"), 1e30, -1e30], dtype=dtype)
    expected = EQUATIONS[name](x)
    assert torch.equal(activated(name, x).nan_to_num(7, 8, 9), expected.nan_to_num(7, 8, 9))


def activated(name: str, x: Tensor) -> Tensor:
    """Let one unit of a simple RNN with W = 1 and no state apply the activation to x (N)."""
    one, zero = x.new_ones(1, 1), x.new_zeros(len(x), 1)
    specification = Specification("simple_rnn", name)
    outputs, *_ = cpu.forward(
        x.view(-1, 1, 1), [one, one], [zero], None, NO_NOISE, specification, False
    )
    return outputs.view(-1)


def activated_by_many_units(name: str, x: Tensor) -> Tensor:
    """As :func:`activated`, for many finite numbers: 16 at a time, W the unit matrix."""
    assert x.isfinite().all()
    rows = x.view(-1, 1, 16)
    specification = Specification("simple_rnn", name)
    outputs, *_ = cpu.forward(
        rows, [torch.eye(16), torch.zeros(16, 16)], [torch.zeros(len(rows), 16)], None, NO_NOISE,
        specification, False,
    )  # fmt: skip
    return outputs.view(-1)


def test_denormals_are_flushed_inside_and_kept_outside() -> None:
    smallest = torch.tensor([1e-40])
    assert activated("linear", smallest).item() == 0
    assert (smallest * 1.5).item() != 0
