"""The gradient against the lag, and what is made of it: `k2="auto"` and the advice."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
import torch

from gatewise import losses
from gatewise.errors import InputError, TruncationWarning
from gatewise.gradients import BPTT, TBPTT, Task, lag

STEPS = 12


@pytest.mark.parametrize("sequences", [True, False])
@pytest.mark.parametrize("cell", ["lstm", "gru", "simple_rnn"])
def test_the_lags_are_those_of_autograd(tools: Any, cell: str, sequences: bool) -> None:
    model = tools.build(cell, 2, sequences)
    x, y = tools.series(steps=STEPS, sequences=sequences)
    task = Task(model, losses.get("mse"), x, y)
    found = lag.measure_lags(task, 9)
    assert all(weight.grad is None for weight in model.parameters())

    oracle = tools.Oracle(model, cell)
    prediction, kept = oracle.run(x, oracle.zeros(3))
    last = y[:, -1] if sequences else y
    count = y.numel()
    states = [part for after in kept for state in after for part in state]
    loss = (prediction[:, -1] - last).square().sum() / count
    grads = torch.autograd.grad(loss, states, materialize_grads=True)
    per_step = len(grads) // STEPS
    sizes = [
        torch.cat(grads[t * per_step : (t + 1) * per_step], dim=1).norm(dim=1).mean().item()
        for t in range(STEPS)
    ]
    assert found == pytest.approx(sizes[: -9 - 1 : -1], rel=1e-10)


def test_what_is_lost_adds_up() -> None:
    fading = [0.5**k for k in range(10)]
    assert lag.lost(fading, 0) == pytest.approx(1.0)
    for steps in (1, 4, 9, 10, 15):
        assert lag.lost(fading, steps) == pytest.approx(0.5**steps)
    assert lag.lost(fading, 10, whole=True) == 0
    growing = [1.5**k for k in range(10)]
    assert lag.lost(growing, 5) == 1.0
    assert lag.suggested(growing, 0.1) == 10
    assert lag.suggested([0.9**k for k in range(60)], 0.1) == 22  # 0.9^22 < 0.1 < 0.9^21
    for measured in (5, 12, 60):  # by the decay where less was measured
        assert lag.reaching([0.9**k for k in range(measured)], 0.1) == 22
    assert lag.reaching(growing, 0.1) is None
    assert lag.reaching(growing, 0.1, whole=True) == 10


def test_auto_takes_the_least_window_within_the_tolerance(tools: Any) -> None:
    model = tools.build("simple_rnn", 1)
    with torch.no_grad():
        model.layers[0].recurrent_kernel.mul_(0.3)
    x, y = tools.series(steps=STEPS)
    task = Task(model, losses.get("mse"), x, y)
    lags = lag.measure_lags(task, STEPS)
    for tolerance in (0.5, 0.1, 0.001):
        span = lag.suggested(lags, tolerance, whole=True)
        assert lag.lost(lags, span, whole=True) < tolerance
        assert span == 1 or lag.lost(lags, span - 1, whole=True) >= tolerance
        found = tools.gradients_of(model, TBPTT(1, "auto", tolerance), x, y)
        tools.assert_same(found, tools.gradients_of(model, TBPTT(1, span), x, y), 1e-14)
    assert lag.suggested(lags, 0.001, whole=True) > lag.suggested(lags, 0.5, whole=True)


def test_auto_approaches_the_exact_gradient(tools: Any) -> None:
    model = tools.build("lstm", 1)
    x, y = tools.series(steps=STEPS)
    exact = tools.gradients_of(model, BPTT(), x, y)
    found = tools.gradients_of(model, TBPTT(1, "auto", 1e-12), x, y)
    tools.assert_same(found, exact, 1e-10)


def test_a_window_that_loses_much_is_advised_against_now_and_then(
    tools: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lag, "EVERY", 4)
    model = tools.build("lstm", 1)
    model.compile(optimizer="adam", loss="mse", gradient=TBPTT(1))
    x, y = tools.series(batch=8, steps=STEPS)
    with pytest.warns(TruncationWarning, match=r"TBPTT\(k1=1, k2=1\) loses about \d+%") as found:
        model.fit(x, y, batch_size=1, verbose=0)
    assert 1 <= len(found) <= 2
    model.compile(optimizer="adam", loss="mse", gradient=TBPTT(STEPS - 1))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.fit(x, y, batch_size=1, verbose=0)


def test_a_tolerance_is_a_share() -> None:
    with pytest.raises(InputError, match="tolerance"):
        TBPTT(2, "auto", 1.5)
