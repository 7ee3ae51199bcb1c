"""The same model drawn in the real Keras, as its users do by hand, gives the same numbers."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest

pytestmark = [
    pytest.mark.usefixtures("keras_in_float64"),
    # Keras's own variables do not know NumPy 2's copy argument.
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),
]


def drawn_in_keras(attention: str | None) -> Any:
    k = keras.layers
    source, target = keras.Input((None,), name="source"), keras.Input((None,), name="target")
    x = k.Embedding(9, 3, mask_zero=True, name="embedding")(source)
    memory, *states = k.LSTM(4, return_sequences=True, return_state=True, name="lstm")(x)
    y = k.Embedding(7, 3, mask_zero=True, name="embedding_1")(target)
    y = k.LSTM(4, return_sequences=True, name="lstm_1")(y, initial_state=states)
    if attention is not None:
        keys = k.Dense(4, use_bias=False, name="attention_keys")(memory)
        if attention == "luong":
            layer, asks = k.Attention(name="luong_attention"), y
        else:
            layer = k.AdditiveAttention(name="bahdanau_attention")
            asks = k.Dense(4, name="attention_queries")(y)
        y = k.Concatenate()([layer([asks, memory, keys]), y])
        if attention == "luong":
            y = k.Dense(4, "tanh", use_bias=False, name="attention_output")(y)
    return keras.Model([source, target], k.Dense(7, "softmax", name="dense")(y))


@pytest.mark.parametrize("attention", [None, "luong", "bahdanau"])
def test_the_same_numbers(tools: Any, attention: str | None) -> None:
    model = tools.build("lstm", 1, attention)
    theirs = drawn_in_keras(attention)
    for layer in theirs.layers:
        if layer.weights:
            layer.set_weights(model.get_layer(layer.name).get_weights())
    (source, heard), said = model.teacher_forced(*tools.pairs())
    real = said.numpy() != 0
    expected = theirs.predict([source.numpy(), heard.numpy()], verbose=0)
    found = model.predict([source, heard], verbose=0)
    assert np.abs(found - expected)[real].max() < 1e-12
