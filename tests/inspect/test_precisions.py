"""The sums behind every measure, for every cell, in both precisions."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch

from gatewise import inspect
from gatewise.errors import InputError
from gatewise.inspect import (
    measure_gates,
    measure_gradient_flow,
    measure_parameters,
    measure_sharing,
    measure_training,
)
from gatewise.layers import GRU, LSTM, Bidirectional, Dense, SimpleRNN
from gatewise.models import Sequential

CELLS = {
    "LSTM": lambda: LSTM(7, input_shape=(None, 3)),
    "GRU": lambda: GRU(7, input_shape=(None, 3)),
    "GRU, reset before": lambda: GRU(7, reset_after=False, input_shape=(None, 3)),
    "SimpleRNN": lambda: SimpleRNN(7, input_shape=(None, 3)),
    "both directions": lambda: Bidirectional(LSTM(4), input_shape=(None, 3)),
}
X = np.random.default_rng(0).normal(size=(5, 11, 3))
Y = np.random.default_rng(1).normal(size=(5, 1))
MASK = np.arange(11) < np.array([11, 7, 3, 1, 9])[:, None]
# Rounding of float32 through eleven steps, and of float64.
TOLERANCE = {torch.float32: 1e-4, torch.float64: 1e-10}


def model_of(cell: str, dtype: torch.dtype) -> Sequential:
    torch.manual_seed(2)
    model = Sequential([CELLS[cell](), Dense(1)])
    model.compile(loss="mse", optimizer="sgd")
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.4)
    return model.to(dtype)


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("cell", CELLS)
def test_ledger_contributions_and_norms_add_up(cell: str, dtype: torch.dtype) -> None:
    model = model_of(cell, dtype)
    parameters = list(model.parameters())
    ledger = measure_parameters(model)
    assert ledger.count == sum(parameter.numel() for parameter in parameters)
    assert ledger.bytes == sum(p.numel() * p.element_size() for p in parameters)
    weights = [weight for layer in ledger.layers for one in layer.sets for weight in one.weights]
    assert sum(weight.count for weight in weights) == ledger.layers[0].count

    sharing = measure_sharing(model, X, Y, mask=MASK, keep=True)
    assert sharing.dtype == str(dtype).removeprefix("torch.") and sharing.proved
    x, y = (torch.from_numpy(data).to(dtype) for data in (X, Y))
    prediction, _ = model.forward_with_mask(x, torch.from_numpy(MASK))
    (prediction - y).square().mean().backward()
    for one in sharing.sets:
        [use] = one.uses
        assert use.contributions is not None
        for name, gradient in one.gradients.items():
            total = use.contributions[name].astype(np.float64).sum(axis=0)
            close(total, gradient, dtype)
            norms = np.sqrt(sum(norm**2 for norm in use.norms[name].values()))
            each = np.linalg.norm(use.contributions[name].reshape(11, -1), axis=1)
            close(norms, each, dtype)
    grads = [parameter.grad for parameter in model.layers[0].parameters()]
    own = [gradient for one in sharing.sets for gradient in one.gradients.values()]
    for gradient, grad in zip(own, grads, strict=True):
        assert grad is not None
        close(gradient, grad.numpy(), dtype)


@pytest.mark.parametrize("cell", CELLS)
def test_both_precisions_see_the_same(cell: str) -> None:
    single, double = (model_of(cell, dtype) for dtype in TOLERANCE)
    double.load_state_dict(single.state_dict())
    flows = [measure_gradient_flow(model, X, Y, mask=MASK) for model in (single, double)]
    gates = [measure_gates(model, X, mask=MASK) for model in (single, double)]
    for ours, theirs in zip(flows[0].sets, flows[1].sets, strict=True):
        for name, state in ours.states.items():
            close(state.by_step, theirs.states[name].by_step, torch.float32)
        assert ours.verdict == theirs.verdict
    for ours, theirs in zip(gates[0].sets, gates[1].sets, strict=True):
        for name, signal in ours.signals.items():
            close(signal.mean, theirs.signals[name].mean, torch.float32)


def close(found: np.ndarray, expected: np.ndarray, dtype: torch.dtype) -> None:
    scale = float(np.nanmax(np.abs(expected))) or 1.0
    np.testing.assert_allclose(found, expected, rtol=0, atol=TOLERANCE[dtype] * scale)


def parts(measure: Any) -> list[Any]:
    """Return a measure with all the measures in it."""
    found = [measure]
    for field in dataclasses.fields(measure):
        value = getattr(measure, field.name)
        held = value.values() if isinstance(value, dict) else value
        for one in held if isinstance(held, (tuple, list)) or held is not value else ():
            if dataclasses.is_dataclass(one):
                found += parts(one)
    return found


def test_every_measure_and_every_part_of_one_shows_itself_in_a_notebook() -> None:
    model = model_of("LSTM", torch.float32)
    measures = [
        measure_parameters(model),
        measure_training(model, X, Y),
        measure_sharing(model, X, Y),
        measure_gradient_flow(model, X, Y),
        measure_gates(model, X),
    ]
    shown = [part for measure in measures for part in parts(measure)]
    shown += measures[0].layers[0].sets[0].conventions
    public = {
        kind
        for name in inspect.__all__
        if dataclasses.is_dataclass(kind := getattr(inspect, name)) and "Attention" not in name
    }
    assert {type(part) for part in shown} == public
    for part in shown:
        html = part._repr_html_()
        assert html.startswith(("<pre", "<table")) and html.endswith(("</pre>", "</table>"))
    weight = measures[1].sets[0].weights[0]
    assert f"<th>gate</th><td>{weight.gate}</td>" in weight._repr_html_()
    evil = dataclasses.replace(weight, name="<script>")
    assert "<script>" not in evil._repr_html_() and "&lt;script&gt;" in evil._repr_html_()


def test_a_measure_without_data_says_what_it_needs() -> None:
    model = model_of("LSTM", torch.float32)
    with pytest.raises(InputError, match="x is a NoneType"):
        measure_gates(model, None)
    with pytest.raises(InputError, match="y is a NoneType"):
        measure_sharing(model, X, None)
