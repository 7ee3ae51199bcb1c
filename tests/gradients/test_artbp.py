"""Random truncation: over all cuts, weighted with their probabilities, the mean is exact."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch

from gatewise.errors import InputError
from gatewise.gradients import ARTBP, BPTT
from gatewise.layers import LSTM, Bidirectional, Dense
from gatewise.models import Sequential

STEPS = 6


def mean_over_all_cuts(
    tools: Any, monkeypatch: pytest.MonkeyPatch, model: Any, *batch: Any
) -> tuple[dict[str, Any], float]:
    """Return the mean gradient over all 2^(T-1) cuts, and the largest distance of one to it."""
    algorithm = ARTBP(mean_length=2.5)
    weighted: list[tuple[float, dict[str, Any]]] = []
    for cuts in itertools.product((False, True), repeat=STEPS - 1):
        chance, factors, since = 1.0, [], 1
        for cut in cuts:
            p = algorithm.probability(since)
            chance *= p if cut else 1 - p
            factors.append(0.0 if cut else 1 / (1 - p))
            since = 1 if cut else since + 1
        monkeypatch.setattr(ARTBP, "draw", lambda _, boundaries, f=factors: f)
        weighted.append((chance, tools.gradients_of(model, algorithm, *batch)))
    assert sum(chance for chance, _ in weighted) == pytest.approx(1.0, abs=1e-12)
    mean = {name: sum(chance * one[name] for chance, one in weighted) for name in weighted[0][1]}
    farthest = max(
        float((one[name] - mean[name]).abs().max()) for _, one in weighted for name in mean
    )
    return mean, farthest


@pytest.mark.parametrize("sequences", [True, False])
@pytest.mark.parametrize("depth", [1, 2])
@pytest.mark.parametrize("cell", ["lstm", "gru", "simple_rnn"])
def test_the_mean_over_all_cuts_is_exact(
    tools: Any, monkeypatch: pytest.MonkeyPatch, cell: str, depth: int, sequences: bool
) -> None:
    model = tools.build(cell, depth, sequences)
    x, y = tools.series(steps=STEPS, sequences=sequences)
    mask = torch.arange(STEPS) < torch.tensor([[STEPS], [4], [2]])
    for given in (None, mask):
        exact = tools.gradients_of(model, BPTT(), x, y, given)
        mean, farthest = mean_over_all_cuts(tools, monkeypatch, model, x, y, given)
        tools.assert_same(mean, exact, 1e-12)
        assert farthest > 1e-3  # no single cut gives it


def test_the_mean_is_exact_for_models_that_read_both_ways(
    tools: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    layers = [Bidirectional(LSTM(2, return_sequences=True), input_shape=(None, 2)), Dense(1)]
    model = Sequential(layers)
    x, y = tools.series(steps=STEPS)
    exact = tools.gradients_of(model, BPTT(), x, y)
    mean, farthest = mean_over_all_cuts(tools, monkeypatch, model, x, y)
    tools.assert_same(mean, exact, 1e-12)
    assert farthest > 1e-3


def test_segments_have_the_length_that_was_asked_for() -> None:
    torch.manual_seed(0)
    factors = ARTBP(mean_length=10).draw(200_000)
    cuts = sum(factor == 0 for factor in factors)
    assert 200_000 / cuts == pytest.approx(10, rel=0.05)
    torch.manual_seed(0)
    assert ARTBP(mean_length=10).draw(200_000) == factors


@pytest.mark.parametrize("arguments", [{"mean_length": 0.5}, {"mean_length": 5, "alpha": 2}])
def test_arguments_without_a_meaning_are_refused(arguments: Any) -> None:
    with pytest.raises(InputError, match="ARTBP expected"):
        ARTBP(**arguments)
