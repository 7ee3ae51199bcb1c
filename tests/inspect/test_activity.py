"""What the gates do, against the equations written out step by step."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import gatewise.nn
from gatewise.errors import InputError
from gatewise.inspect import SetActivity, measure_gates, render_gates_activity
from gatewise.inspect import activity as activity_module
from gatewise.inspect.layout import cell_width
from gatewise.layers import GRU, LSTM, Bidirectional, Dense, Embedding, SimpleRNN
from gatewise.models import Sequential

BATCH, STEPS, FEATURES, UNITS = 4, 7, 3, 5


def built(layer: Any, scale: float = 0.5) -> Sequential:
    model = Sequential([layer])
    model.build((None, None, FEATURES))
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=scale)
    return model.double()


def oracle(one: Any, x: Tensor, mask: Tensor | None) -> dict[str, Tensor]:
    """Return each signal, (B, T, H), with NaN for gates at padding."""
    specification, weights = one.specification, one.weights
    W, U = weights["kernel"].detach(), weights["recurrent_kernel"].detach()
    b = weights["bias"].detach()
    h, c = x.new_zeros(len(x), U.shape[0]), x.new_zeros(len(x), U.shape[0])
    found: dict[int, dict[str, Tensor]] = {}
    steps = range(x.shape[1])
    for t in reversed(steps) if specification.reverse else steps:
        now = x[:, t] if mask is None else torch.where(mask[:, t, None], x[:, t], 0)
        signals: dict[str, Tensor] = {}
        if specification.cell == "lstm":
            i, f, g, o = (now @ W + h @ U + b).chunk(4, dim=-1)
            signals = {"i": i.sigmoid(), "f": f.sigmoid(), "g": g.tanh(), "o": o.sigmoid()}
            new_c = signals["f"] * c + signals["i"] * signals["g"]
            new_h = signals["o"] * new_c.tanh()
        elif specification.cell == "gru":
            rows = b if b.dim() == 2 else torch.stack((b, torch.zeros_like(b)))
            a_z, a_r, a_h = (now @ W + rows[0]).chunk(3, dim=-1)
            u_z, u_r, u_h = U.chunk(3, dim=-1)
            b_z, b_r, b_h = rows[1].chunk(3)
            z, r = (a_z + h @ u_z + b_z).sigmoid(), (a_r + h @ u_r + b_r).sigmoid()
            inner = r * (h @ u_h + b_h) if specification.reset_after else (r * h) @ u_h
            candidate = torch.tanh(a_h + inner)
            signals = {"z": z, "r": r, "candidate": candidate}
            new_h, new_c = z * h + (1 - z) * candidate, c
        else:
            new_h, new_c = torch.tanh(now @ W + h @ U + b), c
        if mask is not None:
            real = mask[:, t, None]
            signals = {name: torch.where(real, s, math.nan) for name, s in signals.items()}
            new_h, new_c = torch.where(real, new_h, h), torch.where(real, new_c, c)
        h, c = new_h, new_c
        found[t] = {**signals, "h": h, **({"c": c} if specification.cell == "lstm" else {})}
    return {name: torch.stack([found[t][name] for t in steps], dim=1) for name in found[0]}


def assert_activity(one: SetActivity, expected: dict[str, Tensor], mask: Tensor | None) -> None:
    real = torch.ones(BATCH, STEPS, dtype=torch.bool) if mask is None else mask
    assert list(one.signals) == list(expected)
    assert one.real_steps == int(real.sum())
    for name, signal in one.signals.items():
        np.testing.assert_allclose(signal.values, expected[name], rtol=1e-9, atol=1e-12)
        values = expected[name][real].numpy()  # (n, H)
        np.testing.assert_allclose(signal.mean, values.mean(0), rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(signal.deviation, values.std(0), rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(signal.largest, np.abs(values).max(0), rtol=1e-9)
        low, high = (0.1, 0.9) if name in "ifozr" else (-0.9, 0.9)
        compared = np.tanh(values) if name == "c" else values
        assert signal.below is not None and signal.above is not None
        np.testing.assert_allclose(signal.below, (compared < low).mean(0), rtol=1e-9)
        np.testing.assert_allclose(signal.above, (compared > high).mean(0), rtol=1e-9)
        assert signal.below_share == pytest.approx((compared < low).mean())
        span = (values.min(), values.max()) if name == "c" else signal.edges[[0, -1]]
        histogram, _ = np.histogram(values, len(signal.histogram), tuple(span))
        assert signal.histogram.tolist() == histogram.tolist()
        assert signal.histogram.sum() == values.size
    keeper = {"lstm": "f", "gru": "z"}.get(one.cell)
    if keeper is None:
        assert one.memory is None
    else:
        kept = expected[keeper][real].mean(0)
        assert one.memory is not None
        np.testing.assert_allclose(one.memory, 1 / (1 - kept), rtol=1e-9)


MASKS = {
    "none": None,
    "right padding": torch.arange(STEPS) < torch.tensor([[STEPS], [0], [5], [2]]),
    "holes": torch.tensor([[1, 1, 0, 1, 0, 0, 1]] * BATCH, dtype=torch.bool),
}


@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize(
    "layer",
    [
        lambda: LSTM(UNITS),
        lambda: GRU(UNITS),
        lambda: GRU(UNITS, reset_after=False),
        lambda: SimpleRNN(UNITS),
        lambda: LSTM(UNITS, go_backwards=True),
    ],
    ids=["lstm", "gru reset after", "gru reset before", "simple rnn", "backwards"],
)
def test_every_signal_is_that_of_the_equation(layer: Any, mask: str) -> None:
    torch.manual_seed(1)
    model, real = built(layer(), scale=1.0), MASKS[mask]
    x = torch.randn(BATCH, STEPS, FEATURES).double()
    if real is not None:
        x[~real] = math.nan
    [one] = measure_gates(model, x, mask=real, sample=None).sets
    [weights] = model.layers[0].weight_sets()
    assert_activity(one, oracle(weights, x, real), real)


def test_both_directions_and_every_layer_of_a_stack() -> None:
    torch.manual_seed(2)
    model = Sequential(
        [
            Bidirectional(GRU(UNITS, return_sequences=True), input_shape=(None, FEATURES)),
            LSTM(UNITS),
            Dense(1),
        ]
    ).double()
    x = torch.randn(BATCH, STEPS, FEATURES).double()
    measure = measure_gates(model, x, sample=None)
    sets = [*model.layers[0].weight_sets(), *model.layers[1].weight_sets()]
    below = [oracle(one, x, None) for one in sets[:2]]
    above = oracle(sets[2], torch.cat([one["h"] for one in below], dim=-1), None)
    for one, expected in zip(measure.sets, [*below, above], strict=True):
        assert_activity(one, expected, None)
    names = ["bidirectional (forward)", "bidirectional (backward)", "lstm"]
    assert [one.name for one in measure.sets] == names == list(measure.arrays)
    assert measure["lstm"].size == UNITS


@pytest.mark.parametrize("kind", ["LSTM", "GRU", "RNN"])
def test_torch_style_layers_are_taken_as_they_are(kind: str) -> None:
    torch.manual_seed(3)
    layer = getattr(gatewise.nn, kind)(FEATURES, UNITS, num_layers=2, batch_first=True).double()
    x = torch.randn(BATCH, STEPS, FEATURES).double()
    first, second = measure_gates(layer, x, sample=None).sets
    below = oracle(layer.weight_sets()[0], x, None)
    assert_activity(first, below, None)
    assert_activity(second, oracle(layer.weight_sets()[1], below["h"], None), None)


def test_chosen_units_and_one_sample() -> None:
    torch.manual_seed(4)
    model = built(LSTM(UNITS))
    x = torch.randn(BATCH, STEPS, FEATURES)
    every = measure_gates(model, x, sample=None).sets[0]
    some = measure_gates(model, x, units=[3, 0], sample=2)
    one = some.sets[0]
    for name, signal in one.signals.items():
        assert signal.values.shape == (STEPS, 2)
        np.testing.assert_array_equal(signal.values, every.signals[name].values[2][:, [3, 0]])
        np.testing.assert_array_equal(signal.mean, every.signals[name].mean)
        np.testing.assert_array_equal(some.arrays["lstm"][name], signal.values)
    assert one.units.tolist() == [3, 0] and one.sample == 2 and one.real.shape == (STEPS,)


def test_pieces_give_the_same_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(5)
    model, x = built(GRU(UNITS)), torch.randn(BATCH, STEPS, FEATURES).double()
    mask = MASKS["right padding"]
    monkeypatch.setattr(activity_module, "PIECE_BYTES", 1)
    [one] = measure_gates(model, x, mask=mask, sample=None).sets
    assert_activity(one, oracle(model.layers[0].weight_sets()[0], x, mask), mask)


def with_bias(gate: int, value: float) -> Sequential:
    """An LSTM whose weights are zero but for one gate's bias: that gate is constant."""
    model = Sequential([LSTM(UNITS, input_shape=(None, FEATURES)), Dense(1)])
    kernel, recurrent, bias, *rest = model.get_weights()
    bias = np.zeros_like(bias).reshape(4, UNITS)
    bias[gate] = value
    model.set_weights([kernel * 0, recurrent * 0, bias.ravel(), *rest])
    return model


def test_a_constant_forget_gate_has_its_memory_length_and_is_stuck() -> None:
    x = np.ones((2, STEPS, FEATURES))
    [one] = measure_gates(with_bias(1, math.log(99)), x).sets  # f = 0.99
    assert one.memory is not None
    np.testing.assert_allclose(one.memory, 100, rtol=1e-4)
    assert one.signals["f"].stuck_units.tolist() == list(range(UNITS))
    assert {name: len(units) for name, units in one.stuck_units.items()} == {
        "i": 0, "f": UNITS, "o": 0,
    }  # fmt: skip
    [shut] = measure_gates(with_bias(1, 100.0), x).sets  # f = 1 exactly
    assert shut.memory is not None and np.isinf(shut.memory).all()


def test_dead_units_are_named() -> None:
    x = np.ones((2, STEPS, FEATURES))
    measure = measure_gates(with_bias(3, -30.0), x)  # g = 0, so c and h stay 0
    assert measure.sets[0].dead_units.tolist() == list(range(UNITS))
    text = render_gates_activity(measure)
    assert "5 of 5 units are dead" in text
    assert "dead units (h never leaves 0): 0, 1, 2, 3, 4" in text
    relu = built(SimpleRNN(UNITS, activation="relu"))
    bias = relu.get_weights()[2]
    relu.set_weights([*relu.get_weights()[:2], np.where(np.arange(UNITS) == 2, -1e3, bias)])
    [one] = measure_gates(relu, x).sets
    assert 2 in one.dead_units
    assert one.signals["h"].ends is None and math.isnan(one.signals["h"].below_share)


def test_a_batch_of_padding_alone_is_said_to_be_so() -> None:
    model = Sequential([Embedding(9, 4, mask_zero=True), LSTM(UNITS)])
    model.build((None, None))
    measure = measure_gates(model, np.zeros((2, 4), dtype=int))
    assert measure.sets[0].real_steps == 0
    assert "every step of this batch is padding" in render_gates_activity(measure)


def test_a_measure_needs_neither_loss_nor_labels_and_changes_nothing() -> None:
    model = built(LSTM(UNITS, dropout=0.5))
    model.train()
    before, random = [weight.copy() for weight in model.get_weights()], torch.get_rng_state()
    x = np.ones((2, STEPS, FEATURES))
    first, again = (measure_gates(model, x).arrays["lstm"]["h"] for _ in range(2))
    np.testing.assert_array_equal(first, again)
    assert torch.equal(random, torch.get_rng_state()) and model.training
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_bad_use_gets_a_clear_error() -> None:
    x = torch.randn(BATCH, STEPS, FEATURES)
    model = built(LSTM(UNITS))
    with pytest.raises(InputError, match="has no weights yet"):
        measure_gates(Sequential([LSTM(UNITS)]), x)
    with pytest.raises(InputError, match="sample=4 is not in a batch of 4"):
        measure_gates(model, x, sample=4)
    with pytest.raises(InputError, match=r"units=\[0, 5\] holds 5, but 'lstm' has 5 units"):
        measure_gates(model, x, units=[0, 5])
    with pytest.raises(InputError, match=r"expected input \(B, T, 3\)"):
        measure_gates(model, torch.randn(BATCH, STEPS, 8))
    with pytest.raises(InputError, match="would not see mask="):
        measure_gates(gatewise.nn.LSTM(3, 4), x, mask=torch.ones(BATCH, STEPS))
    with pytest.raises(InputError, match="no recurrent layer"):
        measure_gates(Sequential([Dense(3, input_shape=(3,))]), x)
    with pytest.raises(InputError, match=r"No weight set is called 'x'\. Known: 'lstm'"):
        measure_gates(model, x)["x"]


def test_the_text_answers_first_and_fits_80_columns() -> None:
    x = torch.ones(2, 5, FEATURES)
    text = render_gates_activity(measure_gates(with_bias(1, math.log(99)), x))
    assert text.startswith("What do the gates do?\n  - lstm: the memory lasts 100 steps")
    assert "5 at f" in text
    assert "memory 1/(1 - mean f), in steps: median 100" in text
    assert "  unit 0     █████\n" in text
    assert max(map(cell_width, text.splitlines())) <= 80
    many = Sequential(
        [GRU(3, input_shape=(None, 2), name="a_name_that_is_far_too_long_to_be_kept")]
    )
    wide = render_gates_activity(measure_gates(many, np.ones((2, 200, 2))))
    assert max(map(cell_width, wide.splitlines())) <= 80
    assert "<pre" in measure_gates(many, np.ones((2, 3, 2)))._repr_html_()
