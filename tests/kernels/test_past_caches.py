"""What outgrows the caches is stored past them, with the bits that ordinary stores leave."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from gatewise.cells import GATES, NO_NOISE, STATES, Specification
from gatewise.kernels import cpu

pytestmark = pytest.mark.skipif(not cpu.available(), reason=cpu.unavailable_reason())

MANY_BYTES = 2 * 1024 * 1024  # of gates: `outgrow_caches` in native/scan.h
FEW_ROWS = 4
SPECIFICATIONS = [
    Specification("lstm"),
    Specification("lstm").at("bfloat16"),
    Specification("lstm", "relu", "hard_sigmoid", reverse=True, peephole=True),
    Specification("cifg"),
    Specification("gru"),
    Specification("gru").at("bfloat16"),
    Specification("gru", reset_after=False),
    Specification("simple_rnn"),
]


@pytest.mark.parametrize("specification", SPECIFICATIONS, ids=Specification.encode)
@pytest.mark.parametrize("units", [128, 320])  # x is multiplied beside h, and ahead of it
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_rows_have_the_bits_of_fewer_rows(
    specification: Specification, units: int, masked: bool, dtype: torch.dtype
) -> None:
    if cpu.supports(specification, dtype) is not None:
        pytest.skip("bfloat16 products are summed in float32 alone")
    torch.manual_seed(0)
    columns, inputs = len(GATES[specification.cell]) * units, 40
    time, batch = 30, MANY_BYTES // (30 * dtype.itemsize * columns) + 2 * FEW_ROWS
    step = dtype.itemsize * time
    assert step * FEW_ROWS * (columns + units) < MANY_BYTES < step * batch * columns
    weights = [torch.randn(n, columns, dtype=dtype) / 10 for n in (inputs, units)]
    weights.append(torch.randn((2, columns) if specification.two_biases else columns, dtype=dtype))
    if specification.peephole:
        weights.append(torch.randn(len(specification.peepholes), units, dtype=dtype))
    x = torch.randn(batch, time, inputs, dtype=dtype)
    states = [torch.randn(batch, units, dtype=dtype) for _ in STATES[specification.cell]]
    mask = torch.rand(batch, time) < 0.7 if masked else None
    cotangent = torch.randn(batch, time, units, dtype=dtype)

    def run(rows: slice) -> list[Tensor]:
        state = [part[rows] for part in states]
        some = None if mask is None else mask[rows]
        outputs, final, gates, saved = cpu.forward(
            x[rows], weights, state, some, NO_NOISE, specification, True
        )
        product, grad_state, _ = cpu.backward_scan(
            cotangent[rows], [None] * len(state), outputs, gates, saved, weights, state, some,
            NO_NOISE, specification, None, "full", False,
        )  # fmt: skip
        return [outputs, gates, saved, *final, product, *grad_state]

    whole = run(slice(batch))
    for begin in range(0, batch, FEW_ROWS):
        rows = slice(begin, begin + FEW_ROWS)
        for part, alone in zip(whole, run(rows), strict=True):
            assert torch.equal(part[rows] if part.numel() else part, alone)
