"""Comparing the algorithms on a model of one's own: the figures are those of their definitions."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

from gatewise.errors import InputError
from gatewise.gradients import BPTT, RTRL, TBPTT, SnAp1, comparison
from gatewise.gradients.comparison import compare_gradients
from gatewise.gradients.peak_memory import peak_memory
from gatewise.layers import LSTM, Bidirectional, Dense, Dropout
from gatewise.models import Sequential


def flat(tools: Any, model: Any, gradient: Any, x: Any, y: Any, mask: Any) -> np.ndarray:
    found = tools.gradients_of(model, gradient, x, y, mask)
    return torch.cat([found[name].flatten() for name, _ in model.named_parameters()]).numpy()


@pytest.mark.parametrize("cell", ["lstm", "gru", "simple_rnn"])
@pytest.mark.parametrize("depth", [1, 2])
def test_cosine_and_norm_ratio_are_those_of_the_gradients(
    tools: Any, cell: str, depth: int
) -> None:
    model = tools.build(cell, depth)
    model.compile(loss="mse")
    x, y = tools.series(steps=8)
    mask = torch.arange(8) < torch.tensor([[8], [5], [2]])
    exact = flat(tools, model, BPTT(), x, y, mask)
    asked = [TBPTT(2), SnAp1(4), RTRL(2), "tbptt:2,4"]
    found = compare_gradients(model, x, y, mask=mask, gradients=asked)
    assert [one.gradient for one in found.measures] == [
        *("bptt", "tbptt:2", "snap1:4", "rtrl:2", "tbptt:2,4")
    ]
    assert (found.series, found.steps) == (3, 8)
    assert found.norm == pytest.approx(np.linalg.norm(exact), rel=1e-10)
    assert found.loss == pytest.approx(model.evaluate(x, y, mask=mask, verbose=0), rel=1e-10)
    for one, algorithm in zip(
        found.measures, [BPTT(), TBPTT(2), SnAp1(4), RTRL(2), TBPTT(2, 4)], strict=True
    ):
        other = flat(tools, model, algorithm, x, y, mask)
        norm = np.linalg.norm(other)
        assert one.norm_ratio == pytest.approx(norm / np.linalg.norm(exact), rel=1e-10)
        assert one.cosine == pytest.approx(
            other @ exact / (norm * np.linalg.norm(exact)), rel=1e-10
        )
        assert one.refused is None and one.seconds > 0
    assert found.measures[1].cosine < 1 - 1e-4
    assert found.measures[3].cosine == pytest.approx(1, abs=1e-12)


def test_the_model_is_left_as_it_was() -> None:
    layers = [LSTM(4, return_sequences=True, input_shape=(None, 2)), Dropout(0.5), Dense(1)]
    model = Sequential(layers)
    model.compile(loss="mse")
    model.train()
    weight = model.layers[0].kernel
    weight.grad = kept = torch.ones_like(weight)
    x, y = torch.randn(3, 6, 2), torch.randn(3, 6, 1)
    state = torch.random.get_rng_state()
    found = compare_gradients(model, x, y)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert model.training and weight.grad is kept
    assert found.measures[1].cosine == pytest.approx(1)  # no dropout in between
    assert len(found.measures) == 8


def test_what_cannot_be_measured_is_said(tools: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    both = Sequential([Bidirectional(LSTM(3), input_shape=(None, 2)), Dense(1)])
    both.compile(loss="mse")
    x, y = torch.randn(3, 6, 2), torch.randn(3, 1)
    found = {one.gradient: one for one in compare_gradients(both, x, y).measures}
    assert found["bptt:sqrt"].cosine == pytest.approx(1)
    assert "reads the sequence from its end" in (found["snap1"].refused or "")
    assert math.isnan(found["rtrl"].cosine)

    model = tools.build("lstm", 1, sequences=False)
    model.compile(loss="mse")
    monkeypatch.setattr(comparison, "_MOST_WORK", 1)
    left = {one.gradient: one for one in compare_gradients(model, x, y).measures}
    assert "Ask for it by name" in (left["rtrl"].refused or "")
    asked = compare_gradients(model, x, y, gradients=["rtrl"]).measures[1]
    assert asked.cosine == pytest.approx(1)


def test_no_gradient_is_nothing_to_compare(tools: Any) -> None:
    model = tools.build("lstm", 1)
    model.compile(loss="mse")
    x, y = tools.series()
    with torch.no_grad():
        for weight in model.parameters():
            weight.zero_()
    with pytest.raises(InputError, match="norm 0"):
        compare_gradients(model, x, torch.zeros_like(y))


def test_the_peak_is_that_of_the_moment_not_of_the_process() -> None:
    def take(mebibytes: int) -> int | None:
        def run() -> None:
            torch.ones(mebibytes * 2**17, dtype=torch.float64)

        return peak_memory(run, torch.device("cpu"))

    first = take(64)
    if first is None:
        pytest.skip("this system lets no process begin a new peak")
    for mebibytes in (8, 32, 8):
        found = take(mebibytes)
        assert found is not None
        assert mebibytes - 1 < found / 2**20 < mebibytes + 4
