"""`learn_one` and `predict_one`: what the algorithms do with a whole series, step by step."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch

import gatewise
from gatewise.errors import InputError, NonFiniteError, UnsupportedError
from gatewise.gradients import ARTBP, BPTT, RTRL, TBPTT, EProp, SnAp1
from gatewise.layers import GRU, LSTM, Dense, Dropout, Embedding
from gatewise.models import Sequential

ALGORITHMS = [SnAp1(), EProp(), RTRL(), TBPTT(1), TBPTT(1, 4)]
STEPS = 12


def numbers(steps: int = STEPS) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(2)
    x = random.normal(size=(steps, 2))
    return x, x.cumsum(0)[:, :1] / 3


def compiled(tools: Any, gradient: Any, rate: float, cell: str, depth: int, kernel: str) -> Any:
    torch.manual_seed(3)
    model = tools.build(cell, depth)
    for layer in model.layers[:-1]:
        layer.use_kernel = kernel
    model.compile(optimizer=gatewise.optimizers.SGD(rate), loss="mse", gradient=gradient)
    return model


@pytest.mark.parametrize("depth", [1, 2])
@pytest.mark.parametrize("cell", ["lstm", "gru", "simple_rnn"])
@pytest.mark.parametrize("gradient", ALGORITHMS, ids=repr)
def test_learning_step_by_step_equals_fit(tools: Any, gradient: Any, cell: str, depth: int) -> None:
    """`fit` takes the mean over the series, so its rate is as many times larger; and it runs the
    equation, which knows nothing of single steps."""
    if isinstance(gradient, EProp) and cell == "simple_rnn":
        pytest.skip("a SimpleRNN has no memory beside U")
    x, y = numbers()
    whole = compiled(tools, gradient, 0.05 * STEPS, cell, depth, "reference")
    losses = whole.fit(x[None], y[None], verbose=0).history["loss"][0] * STEPS
    model = compiled(tools, gradient, 0.05, cell, depth, "auto")
    found = [model.learn_one(*step) for step in zip(x, y, strict=True)]
    for one, other in zip(model.get_weights(), whole.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-10, atol=1e-12)
    assert sum(found) == pytest.approx(losses, rel=1e-10)


@pytest.mark.parametrize("gradient", ALGORITHMS, ids=repr)
def test_a_prediction_follows_all_steps_and_moves_nothing(tools: Any, gradient: Any) -> None:
    x, y = numbers()
    model = compiled(tools, gradient, 0.0, "lstm", 2, "auto")
    expected = model.predict(x[None], verbose=0)[0]
    for t in range(STEPS):
        for _ in range(2):
            np.testing.assert_allclose(model.predict_one(x[t]), expected[t], rtol=1e-10)
        model.learn_one(x[t], y[t] if t % 3 else None)  # a step without a label moves on as well
    model.reset_state()
    np.testing.assert_allclose(model.predict_one(x[0]), expected[0], rtol=1e-10)


@pytest.mark.parametrize("gradient", ALGORITHMS, ids=repr)
def test_a_model_that_predicts_from_its_state_alone_learns_too(tools: Any, gradient: Any) -> None:
    """Without return_sequences a step is the end of the series so far."""
    x, y = numbers()
    found = []
    for sequences in (True, False):
        torch.manual_seed(3)
        model = tools.build("lstm", 2, sequences)
        model.compile(optimizer=gatewise.optimizers.SGD(0.1), loss="mse", gradient=gradient)
        for step in zip(x, y, strict=True):
            model.learn_one(*step)
        found.append(model.get_weights())
    for one, other in zip(*found, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-10, atol=1e-13)


def test_steps_without_labels_teach_nothing(tools: Any) -> None:
    x, y = numbers()
    model = compiled(tools, SnAp1(), 0.1, "lstm", 1, "auto")
    before = model.get_weights()
    assert model.learn_one(x[0]) is None
    for one, other in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(one, other)
    # What was not labelled is remembered: the trace goes on.
    other = compiled(tools, SnAp1(), 0.1, "lstm", 1, "auto")
    model.learn_one(x[1], y[1])
    other.learn_one(x[1], y[1])
    assert not np.allclose(model.get_weights()[0], other.get_weights()[0])


def test_words_classes_and_dropout() -> None:
    layers = [Embedding(6, 3), GRU(4), Dropout(0.5), Dense(3, activation="softmax")]
    model = Sequential(layers)
    model.compile(optimizer="adam", loss="sparse_categorical_crossentropy", gradient=EProp())
    losses = [model.learn_one(t % 6, t % 3) for t in range(300)]
    assert np.mean(losses[-20:]) < np.mean(losses[:20])
    assert model.predict_one(2).shape == (3,)
    assert not model.training


def test_the_first_step_builds_the_model() -> None:
    model = Sequential([LSTM(3), Dense(1)])
    model.compile(loss="mse", gradient=SnAp1())
    assert not model.built
    model.predict_one(np.zeros(2))
    assert model.input_shape == (None, None, 2)


def test_compiling_again_begins_anew_and_a_copy_goes_its_own_way(tools: Any) -> None:
    x, y = numbers()
    model = compiled(tools, SnAp1(), 0.1, "lstm", 1, "auto")
    for t in range(4):
        model.learn_one(x[t], y[t])
    twin = copy.deepcopy(model)
    assert twin.learn_one(x[4], y[4]) == model.learn_one(x[4], y[4])
    twin.learn_one(x[5], y[5])
    np.testing.assert_array_equal(twin.get_weights()[0] != model.get_weights()[0], True)
    model.compile(optimizer="sgd", loss="mse", gradient=SnAp1())
    fresh = model.predict(x[None, :1], verbose=0)[0, 0]
    np.testing.assert_allclose(model.predict_one(x[0]), fresh, rtol=1e-12)


def test_bad_use_is_refused(tools: Any) -> None:
    x, y = numbers()
    model = tools.build("lstm", 1)
    with pytest.raises(InputError, match="not compiled"):
        model.learn_one(x[0], y[0])
    for gradient in (BPTT(), ARTBP(3)):
        model.compile(loss="mse", gradient=gradient)
        with pytest.raises(UnsupportedError, match=r"SnAp1\(\)"):
            model.learn_one(x[0], y[0])
    for gradient in (SnAp1(3), TBPTT(2, 4), RTRL(2)):
        model.compile(loss="mse", gradient=gradient)
        with pytest.raises(InputError, match=r"every \d steps.*Compile with 1"):
            model.learn_one(x[0], y[0])
    model.compile(loss="mse", gradient=SnAp1())
    with pytest.raises(InputError, match=r"the 2 features of one time step.*got \(12, 2\)"):
        model.learn_one(x, y)
    with pytest.raises(InputError, match="labels"):
        model.learn_one(x[0], [1.0, 2.0])
    for keywords, message in (
        ({"recurrent_dropout": 0.5}, "Use Dropout layers"),
        ({"stateful": True}, "stateful=False"),
    ):
        noisy = Sequential([LSTM(3, input_shape=(None, 2), **keywords), Dense(1)])
        noisy.compile(loss="mse", gradient=SnAp1())
        with pytest.raises((UnsupportedError, InputError), match=message):
            noisy.learn_one(x[0], y[0])


def test_what_is_not_finite_leaves_the_weights_alone(tools: Any) -> None:
    x, y = numbers()
    model = compiled(tools, SnAp1(), 0.1, "lstm", 1, "auto")
    model.learn_one(x[0], y[0])
    before = model.get_weights()
    with pytest.raises(NonFiniteError, match="step 2 of learn_one"):
        model.learn_one(x[1], y[1] * np.nan)
    for one, other in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(one, other)
