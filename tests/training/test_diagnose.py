"""Diagnose: what it measures on the training step itself, where it writes, and when it warns."""

from __future__ import annotations

import json
import math
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from gatewise.callbacks import Callback, Diagnose, DiagnosisWarning
from gatewise.errors import InputError, NonFiniteError
from gatewise.inspect import measure_gates, measure_gradient_flow
from gatewise.kernels.recording import active_records
from gatewise.layers import GRU, LSTM, Bidirectional, Dense, Embedding, SimpleRNN
from gatewise.models import Sequential
from gatewise.optimizers import SGD
from gatewise.utils import set_random_seed


def data(samples: int = 8, steps: int = 6, features: int = 3) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(0)
    x = generator.normal(size=(samples, steps, features)).astype("float32")
    return x, generator.normal(size=(samples, 1)).astype("float32")


def model_of(*layers: Any, optimizer: Any = "sgd") -> Sequential:
    set_random_seed(1)
    model = Sequential([*layers, Dense(1)])
    model.compile(loss="mse", optimizer=optimizer)
    return model


def test_it_measures_the_training_step_before_the_weights_move() -> None:
    layers = (Bidirectional(GRU(4, return_sequences=True), input_shape=(None, 3)), LSTM(5))
    model, (x, y) = model_of(*layers), data()
    flow, gates = measure_gradient_flow(model, x, y), measure_gates(model, x)
    callback = Diagnose(every=1, warn=False)
    model.fit(x, y, batch_size=8, epochs=1, shuffle=False, verbose=0, callbacks=[callback])
    assert callback.flow is not None and callback.activity is not None
    assert [one.name for one in callback.flow.sets] == [one.name for one in flow.sets]
    for seen, expected in zip(callback.flow.sets, flow.sets, strict=True):
        for name, state in seen.states.items():
            np.testing.assert_allclose(
                state.by_sample, expected.states[name].by_sample, rtol=1e-4, atol=1e-9
            )
    for seen, expected in zip(callback.activity.sets, gates.sets, strict=True):
        for name, signal in seen.signals.items():
            np.testing.assert_allclose(
                signal.mean, expected.signals[name].mean, rtol=1e-4, atol=1e-6
            )


def test_training_is_the_same_with_it_and_without() -> None:
    x, y = data()
    weights = []
    for callbacks in ([], [Diagnose(every=1, warn=False)]):
        model = model_of(LSTM(5, input_shape=(None, 3), dropout=0.3), optimizer="adam")
        model.fit(x, y, batch_size=3, epochs=2, verbose=0, callbacks=callbacks)
        weights.append(model.get_weights())
    for plain, watched in zip(*weights, strict=True):
        np.testing.assert_array_equal(plain, watched)


def test_history_has_a_value_an_epoch_and_jsonl_a_line_a_measure(tmp_path: Path) -> None:
    model, (x, y) = model_of(LSTM(5, input_shape=(None, 3))), data()
    path = tmp_path / "measures.jsonl"
    callback = Diagnose(every=3, path=path, warn=False)
    history = model.fit(x, y, batch_size=4, epochs=4, verbose=0, callbacks=[callback])
    # Two steps an epoch: steps 0, 3 and 6 are measured, so epochs 0, 1 and 3.
    assert [record["step"] for record in callback.records] == [0, 3, 6]
    for name in (
        "lstm/half_life",
        "lstm/growth",
        "lstm/memory",
        "lstm/dead_units",
        "weights/update_ratio",
    ):
        values = history.history[name]
        assert len(values) == 4
        assert [math.isnan(value) for value in values] == [False, False, True, False]
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [line["step"] for line in lines] == [0, 3, 6]
    one = lines[0]["sets"]["lstm"]
    assert one["verdict"] in ("fine", "vanishing") and one["steps"] == 6
    assert set(one["saturation"]) == set("ifgohc")
    assert set(lines[0]["update_ratios"]) == {
        "lstm.kernel",
        "lstm.recurrent_kernel",
        "dense.kernel",
    }
    model.fit(x, y, epochs=1, verbose=0, callbacks=[callback])
    assert len(path.read_text().splitlines()) == 4  # a second run is appended
    assert len(callback.records) == 1


def test_the_update_ratio_is_that_of_the_step() -> None:
    model, (x, y) = model_of(LSTM(5, input_shape=(None, 3))), data()
    before = model.get_weights()
    callback = Diagnose(every=1, warn=False)
    model.fit(x, y, batch_size=8, epochs=1, verbose=0, callbacks=[callback])
    moved = np.linalg.norm(model.get_weights()[0] - before[0]) / np.linalg.norm(before[0])
    assert callback.records[0]["update_ratios"]["lstm.kernel"] == pytest.approx(moved, rel=1e-4)


def caught(model: Any, x: Any, y: Any, **more: Any) -> list[str]:
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        model.fit(x, y, verbose=0, epochs=2, callbacks=[Diagnose(every=1)], **more)
    return [str(one.message) for one in seen if one.category is DiagnosisWarning]


def test_a_healthy_run_warns_of_nothing() -> None:
    x, y = data()
    assert caught(model_of(LSTM(8, input_shape=(None, 3)), optimizer="adam"), x, y) == []


def test_an_exploding_gradient_is_named_once() -> None:
    model = model_of(SimpleRNN(4, activation="linear", input_shape=(None, 3)))
    kernel, _, *rest = model.get_weights()
    model.set_weights([kernel, np.eye(4, dtype="float32") * 1.5, *rest])
    x, y = data(steps=12)
    model.compile(loss="mse", optimizer=SGD(1e-12))
    [words] = caught(model, x, y)
    assert words.startswith("Step 1: the gradient in simple_rnn is exploding: going back it grows")
    assert "clipnorm=1.0" in words


def test_a_vanishing_gradient_is_named_with_its_reach() -> None:
    model = model_of(SimpleRNN(4, input_shape=(None, 3)))
    kernel, _, *rest = model.get_weights()
    model.set_weights([kernel, np.eye(4, dtype="float32") * 0.1, *rest])
    [words] = caught(model, *data(steps=12))
    assert "vanishing" in words and "of 12 steps" in words and "LSTM or GRU" in words


def test_a_frozen_layer_is_not_scolded_for_its_gradient() -> None:
    model = model_of(SimpleRNN(4, input_shape=(None, 3), trainable=False))
    assert caught(model, *data(steps=12)) == []


def test_unscaled_input_and_stuck_gates_are_named() -> None:
    x, y = data()
    x[..., 1] *= 1000
    words = caught(model_of(LSTM(4, input_shape=(None, 3))), x, y)
    assert any("feature 1 has values around" in one and "StandardScaler" in one for one in words)
    biased = model_of(LSTM(4, input_shape=(None, 3)))
    kernel, recurrent, bias, *rest = biased.get_weights()
    biased.set_weights([kernel, recurrent, np.where(np.arange(16) < 4, -9, bias), *rest])
    words = caught(biased, *data())
    assert any("4 at i, of 4 units" in one for one in words)


def test_padding_does_not_count_as_input() -> None:
    layer = LSTM(4, input_shape=(None, 3))
    series = [np.ones((4, 3), "float32"), np.ones((6, 3), "float32")]
    callback = Diagnose(every=1)
    model_of(layer).fit(series, np.zeros((2, 1)), verbose=0, callbacks=[callback])
    assert callback.records[0]["sets"]["lstm"]["verdict"] == "fine"


def test_dead_units_are_named() -> None:
    model = model_of(SimpleRNN(4, activation="relu", input_shape=(None, 3)))
    kernel, recurrent, bias, *rest = model.get_weights()
    model.set_weights([kernel, recurrent, bias - 100, *rest])
    words = caught(model, *data())
    assert any("4 of 4 units of simple_rnn are dead" in one for one in words)


def test_a_learning_rate_that_throws_the_weights_is_named() -> None:
    model = model_of(LSTM(4, input_shape=(None, 3)))
    model.compile(loss="mse", optimizer=SGD(20.0))
    words = caught(model, *data(), batch_size=8)
    assert any("the learning rate is too large: one step moved" in one for one in words)


def test_a_nan_in_the_making_is_named_before_it_comes() -> None:
    model = model_of(SimpleRNN(4, activation="linear", input_shape=(None, 3)))
    kernel, _, *rest = model.get_weights()
    model.set_weights([kernel, np.eye(4, dtype="float32") * 8.0, *rest])
    model.compile(loss="mse", optimizer=SGD(1e-30))
    words = caught(model, *data(steps=12))
    making = [one for one in words if "NaN in the making" in one]
    assert len(making) == 2 and all(one.startswith("Step 1") for one in making)
    assert "h of simple_rnn reaches" in making[0] and "clipnorm=1.0" in making[0]
    assert "the gradient in simple_rnn reaches" in making[1]
    weighty = model_of(LSTM(4, input_shape=(None, 3)))
    weighty.set_weights([*weighty.get_weights()[:-1], np.full(1, 2e6, "float32")])
    weighty.compile(loss="mse", optimizer=SGD(1e-12))
    words = caught(weighty, *data())
    assert any("NaN in the making: the weight dense.bias reaches 2e+06" in one for one in words)


def test_tensorboard_holds_what_was_measured(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of tensorboard's own imports
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

        callback = Diagnose(every=2, warn=False, log_dir=tmp_path)
        model, (x, y) = model_of(LSTM(5, input_shape=(None, 3))), data()
        model.fit(x, y, batch_size=4, epochs=2, verbose=0, callbacks=[callback])
        events = EventAccumulator(str(tmp_path / "diagnose"))
        events.Reload()
    assert [one.step for one in events.Scalars("lstm/growth")] == [0, 2]
    for one, record in zip(events.Scalars("lstm/growth"), callback.records, strict=True):
        assert one.value == pytest.approx(record["sets"]["lstm"]["growth"], rel=1e-6)
    [first, _] = events.Scalars("update_ratio/lstm.kernel")
    assert first.value == pytest.approx(callback.records[0]["update_ratios"]["lstm.kernel"])


def test_an_embedding_s_output_is_no_data_to_scale() -> None:
    model = model_of(Embedding(9, 4, mask_zero=True), LSTM(3))
    ids = np.array([[1, 2, 3, 0], [4, 5, 0, 0]])
    assert not any("not scaled" in one for one in caught(model, ids, np.zeros((2, 1))))


def test_an_error_in_a_step_leaves_nothing_open() -> None:
    class Spoil(Callback):
        def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
            torch.nn.init.constant_(self.model.layers[0].kernel, math.inf)

    model, (x, y) = model_of(LSTM(4, input_shape=(None, 3))), data()
    callback = Diagnose(every=1, warn=False)
    with pytest.raises(NonFiniteError):
        model.fit(x, y, verbose=0, callbacks=[Spoil(), callback])
    assert active_records() is None
    assert callback._watch is not None
    recorded = [len(calls) for calls in callback._watch.calls]
    model.layers[0](torch.ones(1, 2, 3))
    assert [len(calls) for calls in callback._watch.calls] == recorded
    healthy = model_of(LSTM(4, input_shape=(None, 3)))
    healthy.fit(x, y, verbose=0, callbacks=[callback])
    assert len(callback.records) == 1


def test_a_layer_that_cannot_be_told_apart_is_named_and_training_goes_on() -> None:
    class InPieces(LSTM):
        def forward(self, x: Any, *more: Any, **named: Any) -> Any:
            super().forward(x[:, :2])
            return super().forward(x, *more, **named)

    model = model_of(InPieces(4, input_shape=(None, 3), return_sequences=True), GRU(3))
    [words] = caught(model, *data())
    assert "ran its kernel 2 times in one call" in words


def test_bad_use_gets_a_clear_error() -> None:
    with pytest.raises(InputError, match="every must be at least 1 but got 0"):
        Diagnose(every=0)
    model = Sequential([Dense(1, input_shape=(3,))])
    model.compile(loss="mse", optimizer="sgd")
    with pytest.raises(InputError, match="no recurrent layer"):
        model.fit(np.ones((4, 3)), np.ones((4, 1)), verbose=0, callbacks=[Diagnose()])
