"""Models go to Keras and come back with equal outputs and the same weights."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
import torch

from gatewise import layers
from gatewise.errors import InputError, UnsupportedError
from gatewise.interchange import agreement
from gatewise.interchange.keras import from_keras, to_keras
from gatewise.models import Sequential
from gatewise.regularizers import L1

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

BODIES: dict[str, list[Any]] = {
    "the program": [
        keras.Input((None, 5)),
        keras.layers.LSTM(4, dropout=0.1, kernel_regularizer="l2"),
        keras.layers.Dropout(0.5),
        keras.layers.Dense(1, activation="sigmoid"),
    ],
    "words": [
        keras.Input((None,)),
        keras.layers.Embedding(4, 3, mask_zero=True),
        keras.layers.GRU(4, return_sequences=True, reset_after=False, activation="relu"),
        keras.layers.SimpleRNN(3, go_backwards=True, use_bias=False),
        keras.layers.Dense(2, use_bias=False),
    ],
    "both directions": [
        keras.Input((6, 2)),
        keras.layers.Masking(0.5),
        keras.layers.Bidirectional(keras.layers.GRU(3, return_sequences=True), merge_mode="sum"),
        keras.layers.Bidirectional(
            keras.layers.LSTM(3), backward_layer=keras.layers.LSTM(3, go_backwards=True)
        ),
    ],
}


@pytest.fixture(params=BODIES)
def model(request: pytest.FixtureRequest) -> keras.Model:
    built = keras.Sequential(BODIES[request.param], name=request.param.replace(" ", "_"))
    numbers = np.random.default_rng(0)
    built.set_weights([numbers.normal(size=weight.shape) for weight in built.weights])
    return built


def _inputs(model: Any) -> np.ndarray:
    numbers = np.random.default_rng(1)
    if len(model.input_shape) == 2:
        return numbers.integers(0, 4, (5, 9))
    x = numbers.normal(size=(5, 6, model.input_shape[-1])).astype("float32")
    x[:2, 4:] = 0.5
    return x


def test_there_and_back(model: keras.Model) -> None:
    x = _inputs(model)
    wanted = model.predict(x, verbose=0)
    ours = from_keras(model)
    assert [layer.name for layer in ours.layers] == [layer.name for layer in model.layers]
    np.testing.assert_allclose(ours.predict(x, verbose=0), wanted, rtol=1e-4, atol=1e-5)
    again = to_keras(ours)
    np.testing.assert_allclose(again.predict(x, verbose=0), wanted, rtol=1e-4, atol=1e-5)
    for there, back in zip(model.get_weights(), again.get_weights(), strict=True):
        assert np.array_equal(there, back)
    for there, back in zip(model.layers, again.layers, strict=True):
        assert set(there.get_config()) == set(back.get_config())


def test_activity_regularizers_come_along() -> None:
    model = keras.Sequential(
        [
            keras.Input((None, 3)),
            keras.layers.LSTM(4, activity_regularizer=keras.regularizers.L1(0.5)),
        ]
    )
    ours = from_keras(model)
    assert ours.layers[0].activity_regularizer == L1(0.5)
    assert to_keras(ours).layers[0].activity_regularizer.l1 == pytest.approx(0.5)


def test_float64(keras_in_float64: None) -> None:
    model = keras.Sequential([keras.Input((None, 3)), keras.layers.LSTM(4)])
    ours = from_keras(model)
    assert next(ours.parameters()).dtype == torch.float64
    assert to_keras(ours).layers[0].cell.kernel.dtype == "float64"


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (keras.layers.LSTM(2, kernel_constraint="max_norm", name="a"), "a has kernel_constraint"),
        (keras.layers.ConvLSTM1D(2, 1, name="a"), "a is a ConvLSTM1D, which is not converted"),
        (keras.layers.GRU(2, dtype="mixed_float16", name="a"), "a computes in float16"),
    ],
)
def test_what_has_no_counterpart_is_named(layer: keras.Layer, message: str) -> None:
    shape = (4, 5, 3) if isinstance(layer, keras.layers.ConvLSTM1D) else (4, 3)
    model = keras.Sequential([keras.Input(shape), layer])
    with pytest.raises(UnsupportedError, match=message):
        from_keras(model)


def test_stateful_layers_stay() -> None:
    model = keras.Sequential(
        [keras.Input(batch_shape=(2, 4, 3)), keras.layers.GRU(2, stateful=True)]
    )
    with pytest.raises(UnsupportedError, match="is stateful"):
        from_keras(model)


def test_models_without_weights_or_of_another_kind() -> None:
    with pytest.raises(InputError, match="has no weights yet"):
        from_keras(keras.Sequential([keras.layers.LSTM(2)]))
    with pytest.raises(InputError, match="has no weights yet"):
        to_keras(Sequential([layers.LSTM(2)]))
    with pytest.raises(InputError, match="from_keras expected a keras Sequential"):
        from_keras(layers.LSTM(2))  # pyright: ignore[reportArgumentType]


def test_a_difference_is_an_error() -> None:
    with pytest.raises(agreement.DisagreementError, match=r"up to 0\.5 between outputs"):
        agreement.assert_equal_outputs("m", np.zeros((2, 2)), np.array([[0, 0], [0, 0.5]]))
    with pytest.raises(agreement.DisagreementError, match=r"the shapes \(2,\) and \(3,\)"):
        agreement.assert_equal_outputs("m", np.zeros(2), np.zeros(3))
