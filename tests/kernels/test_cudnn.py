"""The door to cuDNN: its layout of weights on the CPU, through torch's same operators."""

from __future__ import annotations

import pytest
import torch

from gatewise.cells import Specification
from gatewise.kernels import cudnn, recurrent

SPECIFICATIONS = [
    Specification("lstm"),
    Specification("lstm", reverse=True),
    Specification("gru"),
    Specification("gru", reverse=True),
    Specification("simple_rnn"),
    Specification("simple_rnn", "relu"),
]


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("specification", SPECIFICATIONS, ids=lambda s: s.encode())
@pytest.mark.parametrize(
    "device",
    [
        "cpu",
        pytest.param(
            "cuda",
            marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here"),
        ),
    ],
)
def test_torch_operator_computes_the_same_equation(
    specification: Specification, bias: bool, device: str
) -> None:
    torch.manual_seed(0)
    columns = 6 * len(specification.gates)
    shape = (2, columns) if specification.two_biases else (columns,)
    shapes = [(4, columns), (6, columns), *([shape] if bias else [])]
    weights = [
        torch.randn(s, dtype=torch.float64, device=device, requires_grad=True) for s in shapes
    ]
    x = torch.randn(3, 5, 4, dtype=torch.float64, device=device, requires_grad=True)
    state = [
        torch.randn(3, 6, dtype=torch.float64, device=device, requires_grad=True)
        for _ in specification.states
    ]
    results = []
    for run in (cudnn.run, _reference):
        outputs, final = run(x, weights, state, specification)
        loss = (outputs**2).sum() + sum((part**3).sum() for part in final)
        results.append([outputs, *final, *torch.autograd.grad(loss, [x, *weights, *state])])
    for one, other in zip(*results, strict=True):
        assert torch.allclose(one, other, rtol=1e-9, atol=1e-10)


def _reference(
    x: torch.Tensor,
    weights: list[torch.Tensor],
    state: list[torch.Tensor],
    specification: Specification,
) -> tuple[torch.Tensor, tuple[torch.Tensor, ...]]:
    return recurrent(x, weights, state, specification=specification, kernel="reference")
