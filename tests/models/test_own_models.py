"""Models written as classes with a `call`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import torch

import gatewise
from gatewise.errors import UnsupportedError

pytestmark = [
    # Keras's own variables do not know NumPy 2's copy argument.
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),
]
X = np.random.default_rng(0).normal(size=(6, 5, 3)).astype("float32")
Y = X[:, 0, :1]


def own(k: Any) -> Any:
    class Own(k.Model):
        def __init__(self) -> None:
            super().__init__()
            self.lstm = k.layers.LSTM(4)
            self.dropout = k.layers.Dropout(0.5)
            self.head = k.layers.Dense(1)

        def call(self, inputs: Any, training: bool = False) -> Any:
            x = self.lstm(inputs)
            if training:
                x = 1.0 * x
            return self.head(x)

    return Own()


def test_it_trains_as_keras_s(tmp_path: Path) -> None:
    ours, theirs = own(gatewise), own(keras)
    theirs(X)
    ours.build((None, None, 3))
    ours.set_weights(theirs.get_weights())
    for model in (ours, theirs):
        model.compile("sgd", "mse")
        model.fit(X, Y, epochs=2, batch_size=3, shuffle=False, verbose=0)
    np.testing.assert_allclose(
        ours.predict(X, verbose=0), theirs.predict(X, verbose=0), rtol=1e-4, atol=1e-6
    )
    assert ours.output_shape == (None, 1)
    assert ours.count_params() == theirs.count_params()
    ours.summary(print_fn=lambda text: None)
    ours.save_weights(tmp_path / "w.safetensors")
    fresh = own(gatewise)
    assert fresh(X).shape == (6, 1)  # built by its first data
    fresh.load_weights(tmp_path / "w.safetensors")
    assert torch.equal(fresh(X), ours(X))
    with pytest.raises(UnsupportedError, match="which is code"):
        ours.save(tmp_path / "m.safetensors")


def test_it_is_built_by_fit_and_may_take_a_mask() -> None:
    class Tagger(gatewise.Model):
        def __init__(self) -> None:
            super().__init__()
            self.gru = gatewise.layers.GRU(3, return_sequences=True)
            self.head = gatewise.layers.Dense(1)

        def call(self, inputs: Any, mask: Any = None) -> Any:
            return self.head(self.gru(inputs, mask=mask))

    model = Tagger()
    model.compile("sgd", "mse")
    short = [X[0, :2], X[1], X[2, :4]]
    history = model.fit(short, [one[:, :1] for one in short], epochs=2, verbose=0)
    assert len(history.history["loss"]) == 2
    assert [len(one) for one in model.predict(short, verbose=0)] == [2, 5, 4]
