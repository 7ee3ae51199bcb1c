"""Penalties on what layers return: Keras's numbers in layers, in training and in the inspector."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
import torch

import gatewise
from gatewise import layers
from gatewise.errors import UnsupportedError
from gatewise.layers.activity import activity_penalties

pytestmark = [
    pytest.mark.usefixtures("float64"),
    # Keras's own variables do not know NumPy 2's copy argument.
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),
]

LAYERS: dict[str, tuple[dict[str, Any], tuple[int, ...]]] = {
    "Dense": ({"units": 3, "activity_regularizer": "l2"}, (4, 5)),
    "LSTM": ({"units": 3, "activity_regularizer": "l1"}, (4, 5, 2)),
    "GRU": ({"units": 3, "return_state": True, "activity_regularizer": "l1"}, (4, 5, 2)),
    "SimpleRNN": ({"units": 3, "return_sequences": True, "activity_regularizer": "l2"}, (4, 5, 2)),
    "Conv1D": ({"filters": 3, "kernel_size": 2, "activity_regularizer": "l1"}, (4, 5, 2)),
    "Embedding": ({"input_dim": 6, "output_dim": 3, "activity_regularizer": "l2"}, (4, 5)),
    "ActivityRegularization": ({"l1": 0.1, "l2": 0.2}, (4, 5, 2)),
}


@pytest.mark.parametrize("name", LAYERS)
def test_as_keras(name: str) -> None:
    arguments, shape = LAYERS[name]
    ours = getattr(layers, name)(**arguments)
    theirs = getattr(keras.layers, name)(**arguments, dtype="float64")
    ours.build(shape)
    theirs.build(shape)
    ours.set_weights(theirs.get_weights())
    x: Any = np.random.default_rng(0).normal(size=shape)
    x = np.abs(x * 2).astype(int) % 6 if name == "Embedding" else x
    results = theirs(torch.tensor(x))
    expected = [float(loss.detach()) for loss in theirs.losses]
    if name == "SimpleRNN":
        # Keras documents its argument, and forgets to pass it on.
        assert expected == []
        expected = [float(keras.regularizers.L2()(results).detach()) / shape[0]]
    with activity_penalties() as found:
        ours(torch.tensor(x))
    assert [float(penalty.detach()) for penalty in found] == pytest.approx(expected, rel=1e-6)
    again = type(ours).from_config(ours.get_config())
    assert again.activity_regularizer == ours.activity_regularizer is not None
    ours(torch.tensor(x))  # outside of an objective nothing is kept
    assert len(found) == len(expected)


def models(regularizer: str | None) -> tuple[Any, Any]:
    made = []
    for library in (gatewise, keras):
        made.append(
            library.Sequential(
                [
                    library.Input(shape=(5, 2)),
                    library.layers.LSTM(3, activity_regularizer=regularizer, name="lstm"),
                    library.layers.Dense(1, activity_regularizer=regularizer, name="dense"),
                ]
            )
        )
    ours, theirs = made
    ours.set_weights(theirs.get_weights())
    ours.compile(optimizer=gatewise.optimizers.SGD(0.1), loss="mse")
    theirs.compile(optimizer=keras.optimizers.SGD(0.1), loss="mse")
    return ours, theirs


def test_training_and_evaluation_as_keras() -> None:
    ours, theirs = models("l2")
    numbers = np.random.default_rng(1)
    x, y = numbers.normal(size=(6, 5, 2)), numbers.normal(size=(6, 1))
    before = ours.evaluate(x, y, verbose=0)
    assert before == pytest.approx(theirs.evaluate(x, y, verbose=0), rel=1e-6)
    plain = models(None)[0]
    plain.set_weights(ours.get_weights())
    assert plain.evaluate(x, y, verbose=0) < before
    for model in (ours, theirs):
        model.fit(x, y, batch_size=3, epochs=2, shuffle=False, verbose=0)
    for our, their in zip(ours.get_weights(), theirs.get_weights(), strict=True):
        np.testing.assert_allclose(our, their, rtol=1e-6, atol=1e-9)


def test_the_inspector_differentiates_the_same_objective() -> None:
    from gatewise.inspect.probe import run_probe

    ours, _ = models("l1")
    numbers = np.random.default_rng(1)
    x, y = numbers.normal(size=(6, 5, 2)), numbers.normal(size=(6, 1))
    assert run_probe(ours, x, y).loss == pytest.approx(ours.evaluate(x, y, verbose=0), rel=1e-9)


def test_a_gradient_in_pieces_refuses() -> None:
    model = gatewise.Sequential(
        [layers.LSTM(2, return_sequences=True, activity_regularizer="l2", input_shape=(None, 1))]
    )
    model.compile(loss="mse", gradient="tbptt")
    x = np.zeros((2, 60, 1))
    with pytest.raises(UnsupportedError, match="'lstm' has an activity_regularizer"):
        model.fit(x, np.zeros((2, 60, 2)), verbose=0)
