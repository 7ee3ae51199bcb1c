"""What enable() reaches, what stays with Keras and says so, and what the report shows."""

from __future__ import annotations

import warnings
from typing import Any

import keras
import numpy as np
import pytest
import torch

from gatewise import keras as bridge
from gatewise.errors import FallbackWarning

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

X = np.random.default_rng(0).normal(size=(4, 6, 3)).astype("float32")


def kernels(model: keras.Layer) -> dict[str, str | None]:
    return {name: path.kernel for name, path in bridge.report(model).items()}


def test_enable_reaches_a_model_that_exists_and_disable_undoes_it() -> None:
    own = {kind: kind.inner_loop for kind in (keras.layers.LSTM, keras.layers.SimpleRNN)}
    model = keras.Sequential([keras.Input((6, 3)), keras.layers.LSTM(5, name="a")])
    before = model.predict(X, verbose=0)
    assert kernels(model) == {"a": None}
    bridge.enable()
    bridge.enable()
    try:
        after = model.predict(X, verbose=0)
        assert kernels(model) == {"a": "cpu"}
    finally:
        bridge.disable()
    assert not bridge.is_enabled()
    assert {kind: kind.inner_loop for kind in own} == own
    assert "inner_loop" not in vars(keras.layers.SimpleRNN)
    np.testing.assert_allclose(after, before, atol=1e-6)


def _wrapped() -> keras.Model:
    keras.utils.set_random_seed(3)
    inputs = keras.Input((6, 3))
    inner = keras.Sequential([keras.Input((6, 8)), keras.layers.GRU(3, name="inner")])
    x = keras.layers.Bidirectional(keras.layers.LSTM(4, return_sequences=True, name="a"))(inputs)
    steps = keras.layers.TimeDistributed(keras.layers.GRU(2, name="steps"))
    x = keras.layers.Concatenate()([x, steps(keras.layers.Reshape((6, 4, 2))(x))])
    x = keras.layers.Dense(8)(x)
    cells = keras.layers.RNN([keras.layers.LSTMCell(2), keras.layers.GRUCell(2)], name="cells")
    return keras.Model(inputs, [inner(x), cells(x)])


def test_enable_reaches_wrapped_nested_and_shared_layers(enabled) -> None:
    model = _wrapped()
    got = model.predict(X, verbose=0)
    assert kernels(model) == {
        "forward_a": "cpu",
        "backward_a": "cpu",
        "steps": "cpu",
        "inner": "cpu",
        "cells": "keras",
    }
    bridge.disable()
    wanted = model.predict(X, verbose=0)
    for ours, theirs in zip(got, wanted, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-6)


class OwnCell(keras.layers.LSTMCell):
    def call(self, inputs: Any, states: Any, training: bool = False) -> Any:
        h, states = super().call(inputs, states, training=training)
        return 2 * h, states


class OwnLSTM(keras.layers.LSTM):
    def __init__(self, units: int) -> None:
        super().__init__(units, use_cudnn=False)
        self.cell = OwnCell(units)


FALLBACKS = {
    "float16": (lambda: keras.layers.LSTM(3, dtype="mixed_float16"), "float16"),
    "bfloat16": (lambda: keras.layers.GRU(3, dtype="mixed_bfloat16"), "bfloat16"),
    "recurrent dropout": (
        lambda: keras.layers.LSTM(3, recurrent_dropout=0.2, seed=1),
        "recurrent_dropout while training",
    ),
    "activation": (lambda: keras.layers.GRU(3, activation="elu"), "activation elu"),
    "function": (lambda: keras.layers.LSTM(3, activation=lambda x: x * 0.5), "activation <lambda>"),
    "cudnn": (lambda: keras.layers.LSTM(3, use_cudnn=True), "use_cudnn=True"),
    "cell": (lambda: OwnLSTM(3), "its cell is a OwnCell"),
}


@pytest.mark.parametrize("name", FALLBACKS)
def test_what_the_kernels_cannot_do_stays_with_keras_and_says_why(name) -> None:
    make, reason = FALLBACKS[name]
    keras.utils.set_random_seed(1)
    wanted = make()(X, training=True)
    bridge.enable()
    try:
        keras.utils.set_random_seed(1)
        layer = make()
        with pytest.warns(FallbackWarning, match=reason):
            got = layer(X, training=True)
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # once is enough
            layer(X, training=True)
    finally:
        bridge.disable()
    assert torch.equal(got, wanted)
    (path,) = bridge.report(layer).values()
    assert path.kernel == "keras" and reason in path.reason


def test_recurrent_dropout_is_no_reason_when_nothing_trains(enabled) -> None:
    layer = keras.layers.LSTM(3, recurrent_dropout=0.5)
    layer(X)
    assert kernels(layer) == {layer.name: "cpu"}


def test_training_and_inference_on_different_paths(enabled) -> None:
    layer = keras.layers.LSTM(3, recurrent_dropout=0.5)
    with pytest.warns(FallbackWarning):
        layer(X, training=True)
    for training in (False, True, False):
        layer(X, training=training)  # a second warning would be an error
    (path,) = bridge.report(layer).values()
    assert path.kernel == "keras, cpu"
    assert path.reason.startswith("training: keras (recurrent_dropout while training")
    assert ", inference: cpu (native" in path.reason


def test_the_report_in_words(enabled) -> None:
    model = keras.Sequential(
        [
            keras.Input((6, 3)),
            keras.layers.LSTM(4, return_sequences=True, name="first"),
            keras.layers.GRU(4, activation="elu", name="second one"),
        ]
    )
    with pytest.warns(FallbackWarning):
        model(X)
    first, second = str(bridge.report(model)).splitlines()
    assert first.startswith("first       cpu    native")
    assert second.startswith("second one  keras  the activation elu is not in the fused kernels")
    assert str(bridge.report(keras.layers.Dense(2))) == "no recurrent layers"


def test_whole_numbers_are_cast_as_keras_casts_them(both_results, enabled) -> None:
    layer = keras.layers.LSTM(3)
    whole = torch.arange(24).reshape(2, 4, 3)
    on_kernels = layer(whole)
    assert kernels(layer) == {layer.name: "cpu"}
    bridge.disable()
    torch.testing.assert_close(on_kernels, layer(whole))


def test_what_lies_under_the_mask_does_not_matter(enabled) -> None:
    layer = keras.layers.GRU(3, return_sequences=True)
    mask = np.array([[True, False, True, True, False, False]] * 4)
    clean = layer(X, mask=mask)
    dirty = X.copy()
    dirty[:, 1] = np.nan
    assert torch.equal(layer(dirty, mask=mask), clean)


def test_second_derivatives(enabled) -> None:
    x = torch.tensor(X, requires_grad=True)
    layer = keras.layers.LSTM(3)
    (gradient,) = torch.autograd.grad(layer(x).sum(), x, create_graph=True)
    got = torch.autograd.grad((gradient**2).sum(), layer.trainable_weights[0].value)[0]
    bridge.disable()
    (gradient,) = torch.autograd.grad(layer(x).sum(), x, create_graph=True)
    wanted = torch.autograd.grad((gradient**2).sum(), layer.trainable_weights[0].value)[0]
    torch.testing.assert_close(got, wanted, rtol=1e-4, atol=1e-6)


def test_an_exported_graph_holds_plain_operations(enabled) -> None:
    model = keras.Sequential([keras.Input((6, 3)), keras.layers.LSTM(4, name="a")])
    program = torch.export.export(model, (torch.tensor(X),))
    assert "gatewise" not in str(program.graph)
    torch.testing.assert_close(program.module()(torch.tensor(X)), model(X))
    assert kernels(model) == {"a": "cpu"}
