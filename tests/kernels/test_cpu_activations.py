"""The native kernels' own tanh and sigmoid, and the other activations: close everywhere."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from gatewise.cells import Specification
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
        x.view(-1, 1, 1), [one, one], [zero], None, None, specification, False
    )
    return outputs.view(-1)


def test_denormals_are_flushed_inside_and_kept_outside() -> None:
    smallest = torch.tensor([1e-40])
    assert activated("linear", smallest).item() == 0
    assert (smallest * 1.5).item() != 0
