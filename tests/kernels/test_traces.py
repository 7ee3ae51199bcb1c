"""One native step with its traces against the parts of the way back that it is made of."""

from __future__ import annotations

from itertools import chain

import pytest
import torch

from gatewise.cells import GATES, Noise, Specification
from gatewise.errors import InputError
from gatewise.kernels import Pass, cpu, ops
from gatewise.kernels.traces import TraceStep

pytestmark = pytest.mark.skipif(not cpu.available(), reason=cpu.unavailable_reason())

CELLS = list(GATES)


def passes(
    cell: str, batch: int, inputs: int, units: int, dtype: torch.dtype, bias: bool = True
) -> Pass:
    torch.manual_seed(batch * units + inputs)
    specification = Specification(cell)
    columns = len(GATES[cell]) * units
    shape = (2, columns) if specification.two_biases else (columns,)
    weights = [torch.randn(inputs, columns), torch.randn(units, columns), torch.randn(shape)]
    weights = [weight.to(dtype) * 0.5 for weight in weights[: 3 if bias else 2]]
    state = [torch.rand(batch, units, dtype=dtype) for _ in specification.states]
    x = torch.randn(batch, 1, inputs, dtype=dtype)
    return Pass(specification, "cpu", x, weights, state, None)


def expected(given: Pass, path: str, trace: list[list[torch.Tensor]]):
    """A · J + B with the operators, on the equation."""
    fixed = (given.mask, given.noise, given.specification, "reference")
    saved = ops.forward(given.x, given.weights, given.state, *fixed)
    units = given.weights[1].shape[0]
    advanced = []
    for number in range(len(given.state)):
        ones = [torch.full_like(s, float(n == number)) for n, s in enumerate(given.state)]
        grad_product, A, _ = ops.backward_scan(
            None, ones, saved, given.weights, given.state, *fixed, path=path
        )
        B = ops.weight_gradient(
            given.x, saved, grad_product, given.weights, given.state, *fixed, reduce="sample"
        )
        for new, *old in zip(B, *trace, strict=True):
            for of_units, influence in zip(A, old, strict=True):
                spread = of_units.repeat(1, new.shape[-1] // units)
                new += spread.reshape(len(new), *(1,) * (new.dim() - 2), -1) * influence
        advanced.append(B)
    return saved, advanced


@pytest.mark.parametrize("path", ["diagonal", "cell"])
@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize(
    ("batch", "inputs", "units"), [(1, 1, 1), (1, 5, 63), (3, 2, 17), (2, 64, 64), (5, 3, 7)]
)
def test_a_step_equals_its_parts(cell: str, path: str, batch: int, inputs: int, units: int) -> None:
    for dtype, tolerance in ((torch.float64, 1e-12), (torch.float32, 2e-5)):
        given = passes(cell, batch, inputs, units, dtype, bias=units != 17)
        if batch > 1:
            given = given._replace(
                mask=torch.arange(batch).unsqueeze(1) != 1,
                noise=Noise(torch.rand(batch, units, dtype=dtype) * 2),
            )
        step = TraceStep(given, path)
        trace = step.zeros(given)
        mirror = [[one.clone() for one in state] for state in trace]
        for _ in range(3):
            saved, mirror = expected(given, path, mirror)
            outputs, final, *_ = step.advance(given, trace)
            torch.testing.assert_close(outputs, saved.outputs, rtol=tolerance, atol=tolerance)
            for found, wanted in zip(final, saved.final_state, strict=True):
                torch.testing.assert_close(found, wanted, rtol=tolerance, atol=tolerance)
            for found, wanted in zip(chain(*trace), chain(*mirror), strict=True):
                torch.testing.assert_close(found, wanted, rtol=tolerance, atol=tolerance)
            given = given._replace(state=final, x=torch.randn_like(given.x))
        grads = [torch.randn_like(state) for state in given.state]
        wanted = [
            sum(
                (
                    grad.repeat(1, J.shape[-1] // units).reshape(batch, *(1,) * (J.dim() - 2), -1)
                    * J
                ).sum(0)
                for grad, J in zip(grads, influences, strict=True)
            )
            for influences in zip(*trace, strict=True)
        ]
        for one, other in zip(step.gradient(grads, trace), wanted, strict=True):
            torch.testing.assert_close(one, other, rtol=10 * tolerance, atol=10 * tolerance)


def test_what_stands_at_a_masked_step_does_not_matter() -> None:
    given = passes("lstm", 2, 3, 5, torch.float64)
    step = TraceStep(given, "diagonal")
    trace = step.zeros(given)
    step.advance(given, trace)
    before = [[one.clone() for one in state] for state in trace]
    given.x[1] = torch.nan
    masked = given._replace(mask=torch.tensor([[True], [False]]))
    _, final, *_ = step.advance(masked, trace)
    for new, old, state in zip(trace, before, zip(final, given.state, strict=True), strict=True):
        torch.testing.assert_close(state[0][1], state[1][1], rtol=0, atol=0)
        for one, other in zip(new, old, strict=True):
            torch.testing.assert_close(one[1], other[1], rtol=0, atol=0)
            assert torch.isfinite(one).all()


def test_a_step_of_another_size_is_none_of_its() -> None:
    given = passes("gru", 2, 3, 4, torch.float32)
    step = TraceStep(given, "diagonal")
    assert step.fits(given)
    assert not step.fits(given._replace(x=given.x[:1]))
    assert not step.fits(passes("gru", 2, 3, 4, torch.float64))
    assert not TraceStep.serves(given._replace(x=given.x.repeat(1, 2, 1)))
    assert not TraceStep.serves(given._replace(kernel="reference"))
    with pytest.raises(InputError, match="expected state of shape"):
        TraceStep(given._replace(state=[torch.zeros(2, 5)]), "diagonal")
