"""Functional models: a copy of one is measured, with several inputs and with masks."""

from __future__ import annotations

import copy

import numpy as np
import torch

from gatewise.inspect import (
    measure_gates,
    measure_gradient_flow,
    measure_sharing,
    measure_training,
)
from gatewise.layers import GRU, LSTM, Concatenate, Dense, Embedding, Input
from gatewise.models import Model

IDS = np.array([[1, 2, 3, 0], [4, 5, 6, 7], [8, 0, 0, 0]])
X = np.random.default_rng(0).normal(size=(3, 5, 2)).astype("float32")
Y = np.array([[0.0], [1.0], [1.0]], dtype="float32")


def drawn() -> Model:
    ids, numbers = Input((None,), dtype="int64"), Input((None, 2))
    read = LSTM(4, name="reader")(Embedding(9, 3, mask_zero=True)(ids))
    seen = GRU(3, name="seer")(numbers)
    model = Model([ids, numbers], Dense(1, activation="sigmoid")(Concatenate()([read, seen])))
    model.compile(loss="binary_crossentropy", optimizer="adam")
    return model


def test_a_copy_computes_the_same() -> None:
    model = drawn()
    given = [torch.from_numpy(IDS), torch.from_numpy(X)]
    assert torch.equal(copy.deepcopy(model)(given), model(given))
    assert copy.deepcopy(model).get_config() == model.get_config()


def test_every_measure_takes_several_inputs() -> None:
    model, inputs = drawn(), (IDS, X)
    sharing = measure_sharing(model, inputs, Y)
    assert [one.name for one in sharing.sets] == ["reader", "seer"] and sharing.proved
    training = measure_training(model, inputs, Y)
    assert {weight.status for one in training.sets for weight in one.weights} == {"trained"}
    flow = measure_gradient_flow(model, inputs, Y)
    real = np.isfinite(flow["reader"].states["h"].by_sample)
    np.testing.assert_array_equal(real, IDS > 0)
    gates = measure_gates(model, inputs, sample=None)
    np.testing.assert_array_equal(gates["reader"].real, IDS > 0)
    assert gates.batch == 3 and gates["seer"].real.all()
    holes = np.arange(5) != 2
    masked = measure_gates(model, inputs, mask=(None, np.tile(holes, (3, 1))), sample=None)
    np.testing.assert_array_equal(masked["seer"].real[0], holes)
