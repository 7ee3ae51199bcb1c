"""Every configuration of the bridge against the real Keras, on the same numbers."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gatewise import keras as bridge
from gatewise.keras import switch

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

ACTIVATIONS = ("tanh", "sigmoid", "relu", "linear", "hard_sigmoid", "softsign", None)


@st.composite
def calls(draw: st.DrawFn, kind: type[keras.Layer]) -> dict[str, Any]:
    """A layer's config and one call of it, from all that Keras itself can compute on torch."""
    flag = st.booleans()
    shape = draw(st.tuples(st.integers(1, 4), st.integers(1, 6), st.integers(1, 3)))
    masked, training = draw(flag), draw(flag)
    config: dict[str, Any] = {"units": draw(st.integers(1, 5)), "seed": 3}
    config["activation"] = draw(st.sampled_from(ACTIVATIONS))
    for name in ("return_sequences", "return_state", "zero_output_for_mask", "use_bias"):
        config[name] = draw(flag)
    config["go_backwards"] = draw(flag)
    # Keras fails on the three together.
    config["unroll"] = draw(flag) and not (masked and config["go_backwards"])
    config["dropout"] = draw(st.sampled_from((0.0, 0.4)))
    if kind is keras.layers.SimpleRNN:
        config["recurrent_dropout"] = draw(st.sampled_from((0.0, 0.3)))
    else:
        config["recurrent_activation"] = draw(st.sampled_from(ACTIVATIONS))
        # Keras fails on an unmasked call that needs a dropout mask for each gate.
        config["implementation"] = 2 if config["dropout"] else draw(st.sampled_from((1, 2)))
    if kind is keras.layers.GRU:
        config["reset_after"] = draw(flag)
    mask = None
    if masked:
        rows = st.lists(flag, min_size=shape[1], max_size=shape[1])
        mask = np.array(draw(st.lists(rows, min_size=shape[0], max_size=shape[0])))
    return {
        "config": config,
        "shape": shape,
        "mask": mask,
        "with_state": draw(flag),
        "training": training,
        "seed": draw(st.integers(0, 1000)),
    }


@pytest.mark.parametrize("kind", [keras.layers.LSTM, keras.layers.GRU, keras.layers.SimpleRNN])
def test_outputs_states_and_gradients(kind, keras_in_float64, both_results) -> None:
    @settings(
        max_examples=120,
        deadline=None,
        database=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
    )
    @given(calls(kind))
    def check(call: dict[str, Any]) -> None:
        config, shape = call.pop("config"), call.pop("shape")
        wanted, got, layer = both_results(kind, config, shape, **call)
        assert bridge.report(layer)[layer.name].kernel == "cpu"
        assert wanted.keys() == got.keys()
        # torch rounds hard_sigmoid's derivative to float32, also in float64.
        close = 1e-6 if "hard_sigmoid" in config.values() else 1e-9
        for name, value in wanted.items():
            np.testing.assert_allclose(got[name], value, rtol=close, atol=close, err_msg=name)

    check()


@pytest.mark.parametrize("kind", [keras.layers.LSTM, keras.layers.GRU, keras.layers.SimpleRNN])
@pytest.mark.parametrize("masked", [False, True])
def test_float32(kind, masked, both_results) -> None:
    mask = np.random.default_rng(1).random((5, 11)) < 0.6 if masked else None
    config = {"units": 63, "return_sequences": True, "return_state": True, "dropout": 0.2}
    wanted, got, _ = both_results(
        kind, config | {"seed": 1}, (5, 11, 7), mask=mask, with_state=True, training=True
    )
    for name, value in wanted.items():
        assert value.dtype == got[name].dtype == np.float32
        # Sums of some hundred products, in another order.
        scale = np.abs(value).max()
        np.testing.assert_allclose(got[name], value, rtol=0, atol=3e-6 * scale, err_msg=name)


def _program(recurrent: keras.Layer | list[keras.Layer]) -> keras.Model:
    model = keras.Sequential(
        [
            keras.Input((None,)),
            keras.layers.Embedding(30, 6, mask_zero=True),
            *(recurrent if isinstance(recurrent, list) else [recurrent]),
            keras.layers.Dropout(0.5),
            keras.layers.Dense(1, activation="sigmoid"),
        ]
    )
    model.compile(loss="binary_crossentropy", optimizer="rmsprop", metrics=["accuracy"])
    return model


def _fitted(recurrent: Any) -> list[np.ndarray]:
    """Return the weights after ten steps of fit, and the losses of the two epochs."""
    keras.utils.set_random_seed(5)
    model = _program(recurrent())
    numbers = np.random.default_rng(0)
    x = numbers.integers(0, 30, (40, 9))
    y = numbers.integers(0, 2, (40, 1))
    history = model.fit(x, y, batch_size=8, epochs=2, verbose=0)
    return [*model.get_weights(), np.array(history.history["loss"]), model.predict(x, verbose=0)]


RECURRENT = {
    "lstm": lambda: keras.layers.LSTM(7),
    "gru": lambda: keras.layers.GRU(7, dropout=0.3, reset_after=False),
    "simple rnn": lambda: keras.layers.SimpleRNN(7, recurrent_dropout=0.3, go_backwards=True),
    "bidirectional": lambda: keras.layers.Bidirectional(keras.layers.LSTM(3, dropout=0.2)),
    "stacked and mixed": lambda: [
        keras.layers.LSTM(5, return_sequences=True),
        keras.layers.LayerNormalization(),
        keras.layers.Bidirectional(keras.layers.GRU(3, return_sequences=True), "sum"),
        keras.layers.TimeDistributed(keras.layers.Dense(4, activation="tanh")),
        keras.layers.SimpleRNN(3),
    ],
    "regularized": lambda: keras.layers.LSTM(
        7, kernel_regularizer="l2", activity_regularizer="l1", kernel_constraint="max_norm"
    ),
}


@pytest.mark.parametrize("name", RECURRENT)
def test_ten_steps_of_fit_in_float64(name, keras_in_float64) -> None:
    wanted = _fitted(RECURRENT[name])
    switch.enable()
    try:
        got = _fitted(RECURRENT[name])
    finally:
        switch.disable()
    for ours, theirs in zip(got, wanted, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("name", RECURRENT)
def test_ten_steps_of_fit_in_float32(name) -> None:
    wanted = _fitted(RECURRENT[name])
    switch.enable()
    try:
        got = _fitted(RECURRENT[name])
    finally:
        switch.disable()
    for ours, theirs in zip(got, wanted, strict=True):
        # rmsprop divides by the root of the gradient's square: small gradients, large quotients.
        np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-4)


def _stateful_run(kind: type[keras.Layer]) -> list[np.ndarray]:
    # Without use_cudnn=False Keras overwrites the state that its own backward pass needs.
    general = {} if kind is keras.layers.SimpleRNN else {"use_cudnn": False}
    keras.utils.set_random_seed(2)
    model = keras.Sequential(
        [
            keras.Input(batch_shape=(2, 4, 3)),
            keras.layers.LSTM(5, stateful=True, return_sequences=True, use_cudnn=False),
            kind(3, stateful=True, **general),
            keras.layers.Dense(1),
        ]
    )
    model.compile(loss="mse", optimizer="sgd")
    x = np.random.default_rng(0).normal(size=(8, 4, 3))
    model.fit(x, x[:, -1, :1], batch_size=2, shuffle=False, epochs=2, verbose=0)
    carried = model.predict(x, batch_size=2, verbose=0)
    states = [state.numpy() for layer in model.layers[:2] for state in layer.states]
    for layer in model.layers[:2]:
        layer.reset_state()
    fresh = model.predict(x, batch_size=2, verbose=0)
    assert np.abs(fresh - carried).max() > 1e-3
    return [*model.get_weights(), carried, fresh, *states]


@pytest.mark.parametrize("kind", [keras.layers.LSTM, keras.layers.GRU, keras.layers.SimpleRNN])
def test_stateful_layers_carry_and_reset(kind, keras_in_float64) -> None:
    wanted = _stateful_run(kind)
    switch.enable()
    try:
        got = _stateful_run(kind)
    finally:
        switch.disable()
    for ours, theirs in zip(got, wanted, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-11)
