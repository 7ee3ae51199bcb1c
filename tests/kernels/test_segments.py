"""A pass in segments is the whole pass: outputs, states and dx to the bit, dW up to its order."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from gatewise.cells import GATES, NO_NOISE, Noise, Specification
from gatewise.kernels import Pass, cpu, ops
from gatewise.kernels.segments import Gradient, go_back, joined, parted, run

pytestmark = pytest.mark.skipif(not cpu.available(), reason=cpu.unavailable_reason())

KINDS = [
    {"cell": "lstm"},
    {"cell": "gru"},
    {"cell": "gru", "reset_after": False},
    {"cell": "simple_rnn"},
    {"cell": "lstm", "reverse": True},
]
SEGMENTS = [(0, 4), (4, 8), (8, 9), (9, 17)]
STEPS = 17


def passes(kind: dict[str, Any], dtype: torch.dtype, batch: int = 3, units: int = 7) -> Pass:
    torch.manual_seed(batch + units)
    specification = Specification(**kind)
    columns = len(GATES[specification.cell]) * units
    shape = (2, columns) if specification.two_biases else (columns,)
    # Strides of every kind: x from a longer series, W as torch.nn keeps it.
    x = torch.randn(batch, 2 * STEPS, 5, dtype=dtype)[:, ::2]
    W = torch.randn(columns, 5, dtype=dtype).t()
    weights = [W, torch.randn(units, columns, dtype=dtype), torch.randn(shape, dtype=dtype)]
    state = [torch.randn(batch, units, dtype=dtype) for _ in specification.states]
    mask = torch.rand(batch, STEPS) < 0.7
    mask[0] = True
    dropout = (torch.rand(batch, units) < 0.8).to(dtype) / 0.8
    return Pass(specification, "cpu", x, [w * 0.4 for w in weights], state, mask, Noise(dropout))


def whole(given: Pass, grad_outputs: Tensor | None, final: list[Tensor]) -> list[list[Tensor]]:
    fixed = (given.mask, given.noise, given.specification, given.kernel)
    saved = ops.forward(given.x, given.weights, given.state, *fixed)
    grad_product, grad_state, _ = ops.backward_scan(
        grad_outputs, final, saved, given.weights, given.state, *fixed
    )
    weights = ops.weight_gradient(given.x, saved, grad_product, given.weights, given.state, *fixed)
    x = ops.input_gradient(grad_product, given.weights, given.mask, *fixed[2:])
    return [[saved.outputs, *saved.final_state, x, *grad_state], weights]


def in_segments(
    given: Pass, grad_outputs: Tensor | None, final: list[Tensor]
) -> list[list[Tensor]]:
    order = SEGMENTS[::-1] if given.specification.reverse else SEGMENTS
    batch, units = given.state[0].shape
    outputs = given.x.new_full((batch, STEPS, units), torch.nan)
    numbers = sum(state.numel() for state in given.state)
    kept = given.x.new_full((len(order) - 1, numbers), torch.nan)
    state = run(given, order, outputs, kept)
    # A part of the way gives the state that the whole way has kept.
    for count in (1, 2, 3):
        between = run(given, order[:count])
        assert torch.equal(joined(between), kept[count - 1])
    gradient = Gradient(
        final,
        [weight.new_zeros(weight.shape) for weight in given.weights],
        given.x.new_full(given.x.shape, torch.nan),
    )
    go_back(given, order, kept, grad_outputs, gradient)
    assert gradient.weights is not None and gradient.x is not None
    return [[outputs, *state, gradient.x, *gradient.state], [*gradient.weights]]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("sequences", [True, False])
@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_segments_keep_the_bits_of_the_whole(
    kind: dict[str, Any], sequences: bool, dtype: torch.dtype
) -> None:
    given = passes(kind, dtype)
    grad_outputs = torch.randn(3, STEPS, 7, dtype=dtype) if sequences else None
    final = [torch.randn_like(state) for state in given.state]
    before = [one.clone() for one in final]
    exact, exact_weights = whole(given, grad_outputs, final)
    found, weights = in_segments(given, grad_outputs, final)
    assert all(map(torch.equal, found, exact))
    assert all(map(torch.equal, final, before))
    tolerance = 1e-5 if dtype == torch.float32 else 1e-13
    for one, other in zip(weights, exact_weights, strict=True):
        torch.testing.assert_close(one, other, rtol=tolerance, atol=10 * tolerance)


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_the_reference_goes_the_same_way(kind: dict[str, Any]) -> None:
    given = passes(kind, torch.float64)
    grad_outputs = torch.randn(3, STEPS, 7, dtype=torch.float64)
    final = [torch.randn_like(state) for state in given.state]
    pairs = zip(
        in_segments(given, grad_outputs, final),
        in_segments(given._replace(kernel="reference"), grad_outputs, final),
        strict=True,
    )
    for native, reference in pairs:
        for one, other in zip(native, reference, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-11, atol=1e-11)


def test_what_is_not_wanted_is_not_computed() -> None:
    given = passes({"cell": "lstm"}, torch.float64)._replace(mask=None, noise=NO_NOISE)
    given = given._replace(weights=given.weights[:2])
    final = [torch.randn_like(state) for state in given.state]
    kept = given.x.new_empty(3, 2 * 3 * 7)
    run(given, SEGMENTS, None, kept)
    gradient = Gradient(final, None, None)
    go_back(given, SEGMENTS, kept, None, gradient)
    assert gradient.weights is None and gradient.x is None
    exact, _ = whole(given, None, final)
    assert all(map(torch.equal, gradient.state, exact[-2:]))


def test_padding_may_hold_anything() -> None:
    given = passes({"cell": "lstm"}, torch.float32)
    assert given.mask is not None
    final = [torch.randn_like(state) for state in given.state]
    grad_outputs = torch.randn(3, STEPS, 7)
    poisoned = given._replace(x=given.x.masked_fill(~given.mask.unsqueeze(-1), torch.nan))
    for one, other in zip(
        in_segments(given, grad_outputs, final),
        in_segments(poisoned, grad_outputs, final),
        strict=True,
    ):
        assert all(map(torch.equal, one, other))


def test_the_bits_do_not_depend_on_the_number_of_threads() -> None:
    results = []
    before = torch.get_num_threads()
    try:
        for threads in (1, 2, 3, 5):
            torch.set_num_threads(threads)
            given = passes({"cell": "gru"}, torch.float32, batch=40, units=90)
            final = [torch.ones_like(state) for state in given.state]
            results.append(in_segments(given, torch.ones(40, STEPS, 90), final))
    finally:
        torch.set_num_threads(before)
    for other in results[1:]:
        for one, two in zip(results[0], other, strict=True):
            assert all(map(torch.equal, one, two))


def test_states_of_two_widths_are_one_row() -> None:
    state = [torch.randn(3, 2), torch.randn(3, 5)]
    row = joined(state)
    assert row.shape == (21,)
    assert all(map(torch.equal, parted(row, state), state))
