"""Backpropagation through time: the oracle itself, and checkpoints that change nothing."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from gatewise.cells import Specification
from gatewise.gradients import BPTT
from gatewise.gradients.checkpoints import best_split, checkpointed, cost, segments
from gatewise.kernels import Pass, choose, cpu, run
from gatewise.kernels.dispatch import Request
from gatewise.layers import GRU, LSTM, Bidirectional, Dense
from gatewise.models import Sequential

CELLS = ("lstm", "gru", "simple_rnn")


@pytest.mark.parametrize("depth", [1, 2])
@pytest.mark.parametrize("cell", CELLS)
def test_bptt_equals_autograd_through_the_equations(tools: Any, cell: str, depth: int) -> None:
    model = tools.build(cell, depth)
    x, y = tools.series()
    found = tools.gradients_of(model, BPTT(), x, y)
    model.zero_grad()
    oracle = tools.Oracle(model, cell)
    loss = (oracle.run(x, oracle.zeros(3))[0] - y).square().mean()
    loss.backward()
    expected = {name: weight.grad for name, weight in model.named_parameters()}
    tools.assert_same(found, expected | {"the loss": loss.detach()}, 1e-12)


@pytest.mark.parametrize("checkpoint", ["sqrt", 1, 2, 3, 50])
@pytest.mark.parametrize("sequences", [True, False])
@pytest.mark.parametrize("cell", CELLS)
def test_checkpoints_leave_every_gradient_as_it_is(
    tools: Any, cell: str, sequences: bool, checkpoint: Any
) -> None:
    model = tools.build(cell, 2, sequences)
    x, y = tools.series(steps=31, sequences=sequences)
    mask = torch.arange(31) < torch.tensor([[31], [12], [1]])
    for given in (None, mask):
        exact = tools.gradients_of(model, BPTT(), x, y, given)
        found = tools.gradients_of(model, BPTT(checkpoint), x, y, given)
        tools.assert_same(found, exact, 1e-14)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("kernel", ["auto", "reference"])
@pytest.mark.parametrize("cell", CELLS)
def test_outputs_states_and_input_gradients_keep_their_bits(
    cell: str, kernel: str, reverse: bool, dtype: torch.dtype
) -> None:
    specification = Specification(cell, reverse=reverse)
    gates, states = len(specification.gates), len(specification.states)
    steps, units = 25, 5
    draw = [
        torch.randn(2, steps, 3),
        torch.randn(3, gates * units),
        torch.randn(units, gates * units),
    ]
    draw += [torch.randn(2, units) for _ in range(states)]
    cotangents = [torch.randn(2, steps, units, dtype=dtype)]
    cotangents += [torch.randn(2, units, dtype=dtype) for _ in range(states)]

    def gradients(how: Any) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
        x, W, U, *state = (tensor.to(dtype).requires_grad_() for tensor in draw)
        mask = torch.arange(steps) < torch.tensor([[steps], [9]])
        choice = choose(Request.of(x, [W, U], specification, mask, kernel=kernel))
        given = Pass(specification, choice.kernel, x, [W, U], state, mask)
        outputs, final = how(given)
        results = [outputs, *final]
        grads = torch.autograd.grad(results, [x, *state, W, U], cotangents)
        return [result.detach() for result in results], list(grads)

    results, grads = gradients(run)
    for states_kept in ("sqrt", 1, 2, 4, 100):
        again, found = gradients(lambda given, m=states_kept: checkpointed(given, m))
        count = 1 + states  # dx and ds_0; behind them dW and dU
        if kernel == "auto" and cpu.available():
            # The native kernels sum in one order, however many steps a call has; torch does not.
            pairs = zip([*again, *found[:count]], [*results, *grads[:count]], strict=True)
            assert all(torch.equal(one, other) for one, other in pairs)
        tolerance = 1e-4 if dtype == torch.float32 else 1e-12
        for one, other in zip(found, grads, strict=True):
            torch.testing.assert_close(one, other, rtol=tolerance, atol=tolerance)


def test_bidirectional_and_backwards_layers_take_checkpoints(tools: Any) -> None:
    model = Sequential(
        [
            Bidirectional(LSTM(3, return_sequences=True), input_shape=(None, 2)),
            GRU(2, go_backwards=True, return_sequences=True),
            Dense(1),
        ]
    )
    x, y = tools.series(steps=13)
    exact = tools.gradients_of(model, BPTT(), x, y)
    tools.assert_same(tools.gradients_of(model, BPTT("sqrt"), x, y), exact, 1e-14)


def test_the_programme_costs_what_the_paper_says() -> None:
    assert [cost(n, 1) for n in (1, 2, 5)] == [1, 3, 15]
    assert [cost(6, m) for m in (6, 7, 60)] == [11, 11, 11]
    # Forwards a step at T = 1,000 with room for 10 and 20 states.
    assert [round(cost(1000, m) / 1000, 2) for m in (10, 20)] == [4.64, 3.75]
    assert best_split(1000, 1000) == 1


@pytest.mark.parametrize("room", [1, 2, 3, 5, 12])
def test_the_way_back_runs_as_many_segments_as_the_programme_says(
    monkeypatch: pytest.MonkeyPatch, room: int
) -> None:
    from gatewise.gradients import checkpoints

    runs: list[int] = []
    kept: list[int] = []
    run, go_back, forward = checkpoints.run, checkpoints.go_back, checkpoints._Walk.forward

    def counted(how: Any) -> Any:
        def take(given: Any, segments: Any, *rest: Any) -> Any:
            runs.extend(stop for _, stop in segments)
            return how(given, segments, *rest)

        return take

    def looked_at(walk: Any) -> Any:
        result = forward(walk)
        kept.append(sum(state[..., 0].numel() for state in result[2].values()))
        return result

    monkeypatch.setattr(checkpoints, "run", counted(run))
    monkeypatch.setattr(checkpoints, "go_back", counted(go_back))
    monkeypatch.setattr(checkpoints._Walk, "forward", looked_at)
    steps = 108  # 18 segments of 6
    count = len(segments(steps))
    W = torch.randn(2, 3, requires_grad=True)
    given = Pass(
        Specification("simple_rnn"), "reference", torch.randn(1, steps, 2),
        [W, torch.randn(3, 3)], [torch.zeros(1, 3)], None,
    )  # fmt: skip
    outputs, _ = checkpointed(given, room)
    outputs.sum().backward()
    # The initial state takes one of the places.
    assert kept[0] <= room - 1
    # The programme counts runs from one stored state; those that the forward pass did are free.
    assert len(runs) <= count + cost(count, room)


def test_only_kept_states_and_no_gates_are_saved() -> None:
    steps, units = 300, 4
    sizes: list[int] = []

    def note(tensor: torch.Tensor) -> torch.Tensor:
        sizes.append(tensor.numel())
        return tensor

    given = Pass(
        Specification("lstm"), "reference", torch.randn(1, steps, 2),
        [torch.randn(2, 16, requires_grad=True), torch.randn(4, 16)],
        [torch.zeros(1, 4), torch.zeros(1, 4)], None,
    )  # fmt: skip
    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        checkpointed(given, "sqrt")
    own = sum(sizes) - given.x.numel() - 2 * 16 - 4 * 16
    assert own <= len(segments(steps)) * 2 * units < steps * 6 * units / 10
