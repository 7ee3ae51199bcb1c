"""The program trains as Keras trains it: same weights after the same steps, same reports."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

import gatewise
from gatewise import optimizers as own
from gatewise.layers import LSTM, Dense, Dropout, Embedding
from gatewise.models import Sequential

keras = pytest.importorskip("keras")

pytestmark = [
    # Keras's own variables do not know NumPy 2's copy argument.
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),
    pytest.mark.usefixtures("keras_in_float64"),
]

BATCH, STEPS, FEATURES, UNITS = 6, 5, 4, 7


def the_programs() -> tuple[Sequential, Any]:
    """Return the program of the README in both libraries, with equal weights."""
    keras.utils.set_random_seed(7)
    theirs = keras.Sequential(
        [
            keras.Input((None, FEATURES)),
            keras.layers.LSTM(UNITS),
            keras.layers.Dropout(0.0),
            keras.layers.Dense(1, activation="sigmoid"),
        ]
    )
    ours = Sequential()
    ours.add(LSTM(UNITS, input_shape=(None, FEATURES)))
    ours.add(Dropout(0.0))
    ours.add(Dense(1, activation="sigmoid"))
    ours.double()
    ours.set_weights(theirs.get_weights())
    return ours, theirs


def batches(number: int) -> list[tuple[np.ndarray, np.ndarray]]:
    random = np.random.default_rng(3)
    return [
        (
            random.normal(size=(BATCH, STEPS, FEATURES)),
            random.integers(0, 2, size=(BATCH, 1)).astype("float64"),
        )
        for _ in range(number)
    ]


def gradient_norm(model: Sequential, x: np.ndarray, y: np.ndarray) -> float:
    """Return the norm of the gradient of the unscaled loss."""
    prediction = model(torch.tensor(x))
    gatewise.losses.objective(
        gatewise.losses.get("binary_crossentropy"), torch.tensor(y), prediction
    ).backward()
    norm = torch.nn.utils.get_total_norm([p.grad for p in model.parameters()]).item()
    model.zero_grad()
    return norm


OPTIMIZERS: dict[str, tuple[Callable[[], Any], Callable[[], Any]]] = {
    "rmsprop": (lambda: "rmsprop", lambda: "rmsprop"),
    "adam": (lambda: "adam", lambda: "adam"),
    "sgd": (lambda: "sgd", lambda: "sgd"),
    "momentum": (
        lambda: own.SGD(0.01, momentum=0.9),
        lambda: keras.optimizers.SGD(0.01, momentum=0.9),
    ),
    "nesterov": (
        lambda: own.SGD(0.01, momentum=0.9, nesterov=True),
        lambda: keras.optimizers.SGD(0.01, momentum=0.9, nesterov=True),
    ),
    "rmsprop under a schedule": (
        lambda: own.RMSprop(own.schedules.ExponentialDecay(0.01, 3, 0.5)),
        lambda: keras.optimizers.RMSprop(keras.optimizers.schedules.ExponentialDecay(0.01, 3, 0.5)),
    ),
    "momentum under a schedule": (
        lambda: own.SGD(own.schedules.ExponentialDecay(0.1, 3, 0.5), momentum=0.9),
        lambda: keras.optimizers.SGD(
            keras.optimizers.schedules.ExponentialDecay(0.1, 3, 0.5), momentum=0.9
        ),
    ),
}


@pytest.mark.parametrize("order", [1.0, 1e-2, 1e-4])
@pytest.mark.parametrize("optimizer", list(OPTIMIZERS))
def test_ten_steps_follow_keras(optimizer: str, order: float) -> None:
    ours, theirs = the_programs()
    make_own, make_theirs = OPTIMIZERS[optimizer]
    ours.compile(loss="binary_crossentropy", optimizer=make_own())
    theirs.compile(loss="binary_crossentropy", optimizer=make_theirs())
    start = [weight.copy() for weight in ours.get_weights()]
    steps = batches(10)
    weight = np.full(BATCH, order / gradient_norm(ours, *steps[0]))
    for x, y in steps:
        ours.train_on_batch(x, y, sample_weight=weight)
        theirs.train_on_batch(x, y, sample_weight=weight)
    names = [name for name, _ in ours.named_parameters()]
    for name, w0, w, expected in zip(
        names, start, ours.get_weights(), theirs.get_weights(), strict=True
    ):
        moved = np.linalg.norm(expected - w0)
        assert moved > 0, name
        assert np.linalg.norm(w - expected) <= 1e-6 * moved, name


@pytest.mark.parametrize("weights", ["none", "sample", "class"])
def test_fit_evaluate_and_predict_report_what_keras_reports(weights: str) -> None:
    ours, theirs = the_programs()
    random = np.random.default_rng(5)
    x, y = random.normal(size=(23, STEPS, FEATURES)), random.integers(0, 2, size=23)
    extra: dict[str, Any] = {
        "none": {},
        "sample": {"sample_weight": random.uniform(0.1, 2.0, size=23)},
        "class": {"class_weight": {0: 0.3, 1: 2.0}},
    }[weights]
    if weights == "class":  # a weighted metric, to see that it is weighted
        kinds: dict[str, Any] = {"weighted_metrics": ["accuracy"]}
    else:
        kinds = {"metrics": ["accuracy"]}
    histories = []
    for model in (ours, theirs):
        model.compile(loss="binary_crossentropy", optimizer="adam", **kinds)
        histories.append(
            model.fit(
                x,
                y,
                epochs=3,
                batch_size=5,
                shuffle=False,
                validation_split=0.3,
                verbose=0,
                **extra,
            )
        )
    mine, expected = histories
    assert set(mine.history) == {"loss", "accuracy", "val_loss", "val_accuracy"}
    assert set(mine.history) == set(expected.history)
    assert mine.epoch == expected.epoch == [0, 1, 2]
    for name, values in expected.history.items():
        np.testing.assert_allclose(mine.history[name], values, rtol=1e-6, err_msg=name)
    np.testing.assert_allclose(ours.predict(x, verbose=0), theirs.predict(x, verbose=0), rtol=1e-7)
    np.testing.assert_allclose(
        ours.evaluate(x, y, verbose=0), theirs.evaluate(x, y, verbose=0), rtol=1e-7
    )
    found = ours.evaluate(x, y, batch_size=7, verbose=0, return_dict=True)
    wanted = theirs.evaluate(x, y, batch_size=7, verbose=0, return_dict=True)
    assert isinstance(found, dict)
    assert found == pytest.approx(wanted, rel=1e-7)


def test_one_hot_labels_take_class_weights_as_in_keras() -> None:
    random = np.random.default_rng(5)
    x, y = random.normal(size=(11, FEATURES)), np.eye(3)[random.integers(0, 3, size=11)]
    theirs = keras.Sequential(
        [keras.Input((FEATURES,)), keras.layers.Dense(3, activation="softmax")]
    )
    ours = Sequential([Dense(3, activation="softmax", input_shape=(FEATURES,))]).double()
    ours.set_weights(theirs.get_weights())
    losses = []
    for model in (ours, theirs):
        model.compile(loss="categorical_crossentropy", optimizer="sgd")
        losses.append(model.train_on_batch(x, y, class_weight={0: 0.5, 2: 4.0}))
    assert losses[0] == pytest.approx(float(losses[1]), rel=1e-9)


def test_masked_sequences_train_as_in_keras() -> None:
    """Padding is masked by the embedding; loss over the real steps only, as Keras 3 divides."""
    random = np.random.default_rng(8)
    ids = random.integers(1, 9, size=(BATCH, STEPS))
    ids[0, 2:] = ids[3, 1:] = 0
    y = random.normal(size=(BATCH, STEPS, 2))
    theirs = keras.Sequential(
        [
            keras.Input((None,)),
            keras.layers.Embedding(9, 3, mask_zero=True),
            keras.layers.LSTM(UNITS, return_sequences=True),
            keras.layers.Dense(2),
        ]
    )
    ours = Sequential(
        [Embedding(9, 3, mask_zero=True), LSTM(UNITS, return_sequences=True), Dense(2)]
    ).double()
    ours.set_weights(theirs.get_weights())
    start = ours.get_weights()
    for model in (ours, theirs):
        model.compile(loss="mse", optimizer="sgd")
    for _ in range(5):
        mine = ours.train_on_batch(ids, y)
    theirs_first = [theirs.train_on_batch(ids, y) for _ in range(5)]
    assert theirs_first
    assert isinstance(mine, float)
    for w0, w, expected in zip(start, ours.get_weights(), theirs.get_weights(), strict=True):
        moved = np.linalg.norm(expected - w0)
        assert moved > 0
        assert np.linalg.norm(w - expected) <= 1e-6 * moved


def test_validation_split_takes_the_same_rows() -> None:
    x = np.arange(13, dtype="float64")[:, None]
    for share in (0.1, 0.25, 0.5, 0.9):
        ours = Sequential([Dense(1, use_bias=False, input_shape=(1,))]).double()
        theirs = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1, use_bias=False)])
        ours.set_weights([np.ones((1, 1))])
        theirs.set_weights([np.ones((1, 1))])
        values = []
        for model in (ours, theirs):
            model.compile(loss="mse", optimizer=("sgd" if model is theirs else own.SGD(0.0)))
            if model is theirs:
                model.optimizer.learning_rate = 0.0
            history = model.fit(x, np.zeros(13), validation_split=share, verbose=0)
            values.append(history.history["val_loss"][0])
        # The mean of the squares of the validation rows tells which rows they were.
        assert values[0] == pytest.approx(values[1], rel=1e-12)


def test_regularizers_enter_the_loss_as_in_keras() -> None:
    random = np.random.default_rng(2)
    x, y = random.normal(size=(9, FEATURES)), random.normal(size=(9, 2))
    theirs = keras.Sequential(
        [
            keras.Input((FEATURES,)),
            keras.layers.Dense(2, kernel_regularizer=keras.regularizers.L2(0.1)),
        ]
    )
    ours = Sequential(
        [Dense(2, kernel_regularizer=gatewise.layers.regularizers.L2(0.1), input_shape=(FEATURES,))]
    ).double()
    ours.set_weights(theirs.get_weights())
    values = []
    for model in (ours, theirs):
        model.compile(loss="mse", optimizer="sgd")
        values.append(
            model.fit(x, y, epochs=3, batch_size=4, shuffle=False, verbose=0).history["loss"]
        )
    np.testing.assert_allclose(values[0], values[1], rtol=1e-9)
