"""dL/dP may take the gates' memory, where nobody reads the gates again."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from gatewise.cells import GATES, NO_NOISE, STATES, Specification
from gatewise.kernels import cpu, recording, recurrent

pytestmark = pytest.mark.skipif(not cpu.available(), reason=cpu.unavailable_reason())

SPECIFICATIONS = [
    Specification("lstm"),
    Specification("lstm").at("bfloat16"),
    Specification("lstm", reverse=True, cell_clip=0.5),
    Specification("lstm", peephole=True),
    Specification("lstm", projection=True),
    Specification("lstm", layer_norm=True),
    Specification("cifg"),
    Specification("gru"),
    Specification("gru", reset_after=False),
    Specification("simple_rnn"),
]
SIZES = [(1, 1, 3, 5), (1, 7, 3, 160), (6, 9, 5, 63), (33, 4, 20, 96)]  # B, T, I, H


def weights_of(specification: Specification, inputs: int, units: int) -> list[Tensor]:
    columns = len(GATES[specification.cell]) * units
    width = units - 1 if specification.projection else units
    shapes = {
        "peephole": (len(specification.peepholes), units),
        "projection": (units, width),
        "input_gain": (columns,),
        "recurrent_gain": (columns,),
        "cell_gain": (units,),
        "cell_bias": (units,),
    }
    bias = (2, columns) if specification.two_biases else (columns,)
    first = [(inputs, columns), (width, columns), bias]
    all_shapes = first + [shapes[name] for name in specification.extra_weights]
    return [torch.randn(shape).mul_(0.3) for shape in all_shapes]


@pytest.mark.parametrize("specification", SPECIFICATIONS, ids=Specification.encode)
@pytest.mark.parametrize("sizes", SIZES, ids=str)
@pytest.mark.parametrize("masked", [False, True])
def test_the_bits_are_the_same(
    specification: Specification, sizes: tuple[int, int, int, int], masked: bool
) -> None:
    torch.manual_seed(0)
    batch, time, inputs, units = sizes
    weights, x = weights_of(specification, inputs, units), torch.randn(batch, time, inputs)
    width = weights[1].shape[0]
    state = [torch.randn(batch, w) for w in (width, units)[: len(STATES[specification.cell])]]
    mask = torch.rand(batch, time) < 0.7 if masked else None
    given = (weights, state, mask, NO_NOISE, specification)
    outputs, final, gates, saved = cpu.forward(x, *given, True)
    cotangents = (torch.randn_like(outputs), [torch.randn_like(part) for part in final])
    expected, found = (
        cpu.backward(x, outputs, gates.clone(), saved, *cotangents, *given, True, True, True, last)
        for last in (False, True)
    )
    assert torch.equal(found.product, expected.product)
    for one, other in zip(_all(found), _all(expected), strict=True):
        assert torch.equal(one, other)


def _all(gradients: cpu.Gradients) -> list[Any]:
    return [gradients.x, *(gradients.weights or ()), *(gradients.state or ())]


def _run(x: Tensor, weights: list[Tensor]) -> Tensor:
    return recurrent(x, weights, None, specification=Specification("lstm"))[0].square().sum()


def test_a_graph_that_is_kept_is_differentiated_twice() -> None:
    torch.manual_seed(0)
    weights = [w.requires_grad_() for w in weights_of(Specification("lstm"), 3, 4)]
    loss = _run(torch.randn(2, 5, 3), weights)
    first = torch.autograd.grad(loss, weights, retain_graph=True)
    second = torch.autograd.grad(loss, weights)
    for one, other in zip(first, second, strict=True):
        assert torch.equal(one, other)


def test_recorded_gates_stay_as_they_are() -> None:
    torch.manual_seed(0)
    weights = [w.requires_grad_() for w in weights_of(Specification("lstm"), 3, 4)]
    with recording() as records:
        loss = _run(torch.randn(2, 5, 3), weights)
    gates = records[0].gates
    assert gates is not None
    before = gates.clone()
    loss.backward()
    assert torch.equal(gates, before)
