"""The traces over a chunk, natively, against A · J + B and g · J from the parts of the way back."""

from __future__ import annotations

from itertools import chain

import pytest
import torch
from torch import Tensor

from gatewise.cells import GATES, Noise, Specification
from gatewise.gradients.traces import advanced
from gatewise.kernels import Pass, cpu, ops
from gatewise.kernels.traces import advance_chunk, zeros

pytestmark = pytest.mark.skipif(not cpu.available(), reason=cpu.unavailable_reason())

CELLS = ["lstm", "gru", "simple_rnn"]


def chunk(
    cell: str, sizes: tuple[int, int, int, int], dtype: torch.dtype, loops: float = 0.5
) -> tuple[Pass, list[list[Tensor]], list[Tensor]]:
    """A pass of B, T, I, H, traces before it, and cotangents of its first states."""
    batch, steps, inputs, units = sizes
    torch.manual_seed(sum(sizes))
    specification = Specification(cell)
    columns = len(GATES[cell]) * units
    shape = (2, columns) if specification.two_biases else (columns,)
    draw = [torch.randn(inputs, columns), torch.randn(units, columns), torch.randn(shape)]
    weights = [weight.to(dtype) * 0.3 for weight in draw]
    for gate in range(len(GATES[cell])):
        weights[1][:, gate * units : (gate + 1) * units].diagonal().mul_(2 * loops)
    state = [torch.rand(batch, units, dtype=dtype) for _ in specification.states]
    x = torch.randn(batch, steps, inputs, dtype=dtype)
    given = Pass(specification, "cpu", x, weights, state, None)
    trace = [[torch.randn_like(one) for one in of_state] for of_state in zeros(given)]
    return given, trace, [torch.randn_like(one) for one in state]


def run(given: Pass) -> ops.Saved:
    return ops.forward(
        given.x, given.weights, given.state, given.mask, given.noise,
        given.specification, given.kernel,
    )  # fmt: skip


def spread(grad: Tensor, J: Tensor) -> Tensor:
    columns = grad.repeat(1, J.shape[-1] // grad.shape[-1])
    return columns.reshape(len(J), *(1,) * (J.dim() - 2), -1)


def parts(
    given: Pass,
    saved: ops.Saved,
    path: str,
    trace: list[list[Tensor]],
    grads: list[Tensor],
    dtype: torch.dtype,
) -> list[Tensor]:
    """g · J and A · J + B by the reference, in this type; of c alone on an LSTM's "cell" path."""
    given = given._replace(
        kernel="reference",
        x=given.x.to(dtype),
        weights=[one.to(dtype) for one in given.weights],
        state=[one.to(dtype) for one in given.state],
        noise=given.noise.to(dtype),
    )
    before = [[one.to(dtype) for one in of_state] for of_state in trace]
    first = first_state(given, path)
    worth = [
        torch.stack([(spread(g.to(dtype), J) * J).sum(0) for g, J in pairs]).sum(0)
        for pairs in (
            zip(grads[first:], of_weight[first:], strict=True)
            for of_weight in zip(*before, strict=True)
        )
    ]
    kept = ops.Saved(saved.outputs.to(dtype), [], saved.gates.to(dtype), saved.saved.to(dtype))
    return [*worth, *chain(*advanced(given, kept, path, before)[first:])]


def first_state(given: Pass, path: str) -> int:
    return 1 if path == "cell" and given.specification.cell == "lstm" else 0


def check(given: Pass, path: str, trace: list[list[Tensor]], grads: list[Tensor]) -> None:
    """At most twice as far from float64 as the equation in the same type, and 64 ulp."""
    saved, first = run(given), first_state(given, path)
    exact = parts(given, saved, path, trace, grads, torch.float64)
    same = parts(given, saved, path, trace, grads, given.x.dtype)
    copied = [[one.clone() for one in of_state] for of_state in trace]
    found = advance_chunk(given, saved, path, trace, grads)
    assert advance_chunk(given, saved, path, copied) == []
    assert all(torch.equal(*both) for both in zip(chain(*trace), chain(*copied), strict=True))
    found += chain(*trace[first:])
    if first:
        # c owes nothing to the output gate of a step, so that part of a trace is worth nothing.
        units = given.weights[1].shape[0]
        assert all((one[..., 3 * units :] == 0).all() for one in found[: len(given.weights)])
        found, same, exact = ([one[..., : 3 * units] for one in of] for of in (found, same, exact))
    ulp = torch.finfo(given.x.dtype).eps
    for one, other, truth in zip(found, same, exact, strict=True):
        scale = truth.abs().max().item() + 1
        error = (one.double() - truth).abs().max().item()
        assert error <= 2 * (other.double() - truth).abs().max().item() + 64 * ulp * scale


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("path", ["diagonal", "cell"])
@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize(
    "sizes", [(1, 2, 1, 1), (3, 7, 2, 17), (2, 20, 5, 63), (4, 150, 3, 5), (2, 300, 9, 33)]
)
def test_a_chunk_equals_its_parts(
    cell: str, path: str, sizes: tuple[int, int, int, int], dtype: torch.dtype
) -> None:
    given, trace, grads = chunk(cell, sizes, dtype)
    check(given, path, trace, grads)


@pytest.mark.parametrize("path", ["diagonal", "cell"])
@pytest.mark.parametrize("cell", CELLS)
def test_holes_padding_and_dropout(cell: str, path: str) -> None:
    given, trace, grads = chunk(cell, (6, 60, 3, 7), torch.float64)
    mask = torch.rand(6, 60) < 0.8
    mask[1, 4:] = False  # a few steps, then padding
    mask[2] = False
    mask[3, :50] = False
    mask[4, :52] = False
    dropout = (torch.rand(6, 7) < 0.7).double() / 0.7
    check(given._replace(mask=mask, noise=Noise(dropout)), path, trace, grads)


def test_no_bias_and_a_strided_input() -> None:
    given, trace, grads = chunk("lstm", (3, 40, 4, 9), torch.float64)
    wide = torch.randn(3, 80, 4, dtype=torch.float64)
    given = given._replace(x=wide[:, ::2], weights=given.weights[:2])
    check(given, "diagonal", [of_state[:2] for of_state in trace], grads)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("loops", [0.0, 0.1, 3.0, 30.0])
def test_units_that_act_on_themselves_weakly_and_strongly(loops: float, dtype: torch.dtype) -> None:
    """Where they do so strongly, h never comes to hand back what c does, but for a factor."""
    given, trace, grads = chunk("lstm", (3, 50, 3, 11), dtype, loops)
    for _ in range(2):
        check(given, "diagonal", trace, grads)


@pytest.mark.parametrize("bias", [-60.0, 60.0])
def test_cells_that_forget_and_keep_everything(bias: float) -> None:
    given, trace, grads = chunk("lstm", (2, 50, 3, 6), torch.float32)
    given.weights[2][6:12] = bias
    check(given, "diagonal", trace, grads)


def test_padding_may_hold_anything() -> None:
    given, trace, grads = chunk("lstm", (3, 30, 2, 5), torch.float64)
    mask = torch.arange(30) < torch.tensor([[30], [11], [0]])
    given = given._replace(mask=mask)
    other = [[one.clone() for one in of_state] for of_state in trace]
    found = advance_chunk(given, run(given), "diagonal", trace, grads)
    given = given._replace(x=given.x.masked_fill(~mask.unsqueeze(-1), torch.nan))
    again = advance_chunk(given, run(given), "diagonal", other, grads)
    pairs = zip([*found, *chain(*trace)], [*again, *chain(*other)], strict=True)
    assert all(torch.equal(*both) for both in pairs)


@pytest.mark.parametrize("cell", CELLS)
def test_the_bits_do_not_depend_on_the_number_of_threads(cell: str) -> None:
    results = []
    before = torch.get_num_threads()
    try:
        for threads in (1, 2, 3, 5):
            torch.set_num_threads(threads)
            given, trace, grads = chunk(cell, (8, 90, 40, 95), torch.float32)
            found = advance_chunk(given, run(given), "diagonal", trace, grads)
            results.append([*found, *chain(*trace)])
    finally:
        torch.set_num_threads(before)
    for other in results[1:]:
        assert all(torch.equal(*both) for both in zip(results[0], other, strict=True))


def test_the_way_through_all_of_u_is_refused() -> None:
    given, trace, _ = chunk("lstm", (1, 3, 2, 2), torch.float64)
    with pytest.raises(ValueError, match="mixes no units"):
        advance_chunk(given, run(given), "full", trace)
