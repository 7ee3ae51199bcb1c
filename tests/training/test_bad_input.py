"""Bad input is refused before it does harm, and the message says how to mend it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

from gatewise.errors import InputError, NonFiniteError, UnknownNameError
from gatewise.layers import LSTM, Dense, Embedding
from gatewise.models import Sequential
from gatewise.optimizers import SGD, Adam

X = np.ones((4, 3, 12), dtype="float32")
Y = np.array([0.0, 1.0, 0.0, 1.0])


def classifier(units: int = 1, loss: str = "binary_crossentropy", **compiling: Any) -> Sequential:
    model = Sequential([LSTM(5, input_shape=(None, 12)), Dense(units, activation="sigmoid")])
    model.compile(loss=loss, **compiling)
    return model


CASES: dict[str, tuple[Callable[[], Any], type[Exception], str]] = {
    "two axes": (
        lambda: classifier().fit(np.ones((32, 12)), np.ones(32), verbose=0),
        InputError,
        r"LSTM expected input \(B, T, 12\) but got \(.*12\).*x\[:, None, :\]",
    ),
    "features": (
        lambda: classifier().predict(np.ones((4, 3, 7)), verbose=0),
        InputError,
        "12",
    ),
    "no compile": (
        lambda: Sequential([Dense(1, input_shape=(2,))]).fit(np.ones((1, 2)), np.ones(1)),
        InputError,
        r"sequential is not compiled, and fit needs.*model\.compile\(",
    ),
    "no loss": (
        lambda: classifier(loss=None).evaluate(X, Y, verbose=0),  # type: ignore[arg-type]
        InputError,
        'compiled without a loss.*loss="mse"',
    ),
    "no x": (lambda: classifier().fit(), InputError, "There is no x"),
    "no y": (lambda: classifier().fit(X, verbose=0), InputError, "labels y are missing"),
    "lengths": (
        lambda: classifier().fit(X, Y[:3], verbose=0),
        InputError,
        "x has 4 samples but y has 3",
    ),
    "weights": (
        lambda: classifier().fit(X, Y, sample_weight=np.ones(5), verbose=0),
        InputError,
        "x has 4 samples but sample_weight has 5",
    ),
    "both weights": (
        lambda: classifier().fit(X, Y, sample_weight=Y, class_weight={0: 1.0}, verbose=0),
        InputError,
        "class_weight or sample_weight, not both",
    ),
    "class weights": (
        lambda: classifier().fit(X, Y, class_weight=[1.0, 2.0], verbose=0),  # type: ignore[arg-type]
        InputError,
        "class_weight maps classes to weights",
    ),
    "label shape": (
        lambda: classifier(units=3).fit(X, Y, verbose=0),
        InputError,
        r"binary_crossentropy expected labels of shape \(B, 3\).*labels \(4,\)",
    ),
    "label value": (
        lambda: classifier(units=2, loss="sparse_categorical_crossentropy").fit(
            X, [0, 1, 2, 1], verbose=0
        ),
        InputError,
        r"class ids 0 to 1 for 2 outputs, but label \[2\] is 2",
    ),
    "label of a loader": (
        lambda: classifier(units=3).fit(
            DataLoader(TensorDataset(torch.tensor(X), torch.tensor(Y))), verbose=0
        ),
        InputError,
        r"binary_crossentropy expected labels of shape \(B, 3\)",
    ),
    "validation labels": (
        lambda: classifier().fit(X, Y, validation_data=(X, Y + 7), verbose=0),
        InputError,
        r"expected labels in \[0, 1\]",
    ),
    "text": (
        lambda: classifier().fit(np.array([["a"]]), [1], verbose=0),
        InputError,
        "x holds <U1 values.*Vocabulary",
    ),
    "text labels": (
        lambda: classifier().fit(X, ["a", "b", "a", "b"], verbose=0),
        InputError,
        "y holds <U1 values.*categories as whole numbers",
    ),
    "several inputs": (
        lambda: classifier().fit((X, X), Y, verbose=0),
        InputError,
        "x is a tuple, but a model has one input",
    ),
    "mask": (
        lambda: classifier().fit(X, Y, mask=np.ones((4, 2)), verbose=0),
        InputError,
        r"mask has shape \(4, 2\) but x has \(4, 3, 12\): it must be \(4, 3\)",
    ),
    "no samples": (
        lambda: classifier().fit(X[:0], Y[:0], verbose=0),
        InputError,
        r"x has shape \(0, 3, 12\): no samples",
    ),
    "batch size": (
        lambda: classifier().fit(X, Y, batch_size=0, verbose=0),
        InputError,
        "batch_size=0 is not a size",
    ),
    "validation share": (
        lambda: classifier().fit(X, Y, validation_split=1.5, verbose=0),
        InputError,
        "validation_split=1.5 is not a share",
    ),
    "validation share too small": (
        lambda: classifier().fit(X[:1], Y[:1], validation_split=0.1, verbose=0),
        InputError,
        "leaves one part empty",
    ),
    "validation share of a loader": (
        lambda: classifier().fit(
            TensorDataset(torch.tensor(X), torch.tensor(Y)), validation_split=0.5, verbose=0
        ),
        InputError,
        "cannot split a Dataset",
    ),
    "validation data": (
        lambda: classifier().fit(X, Y, validation_data=(X,), verbose=0),
        InputError,
        r"validation_data is \(x, y\)",
    ),
    "y beside a dataset": (
        lambda: classifier().fit(TensorDataset(torch.tensor(X)), Y, verbose=0),
        InputError,
        "Leave y out",
    ),
    "a dataset without labels": (
        lambda: classifier().fit(TensorDataset(torch.tensor(X)), verbose=0),
        InputError,
        r"Let the dataset return \(x, y\)",
    ),
    "steps": (
        lambda: classifier().fit(X, Y, steps_per_epoch=0, verbose=0),
        InputError,
        "steps",
    ),
    "verbose": (lambda: classifier().fit(X, Y, verbose=7), InputError, "verbose=7"),
    "callbacks": (
        lambda: classifier().fit(X, Y, callbacks=[print], verbose=0),  # type: ignore[list-item]
        InputError,
        r"no gatewise\.callbacks\.Callback.*LambdaCallback",
    ),
    "weights that are no numbers": (
        lambda: classifier().fit(X, Y, sample_weight=[1, 1, np.nan, 1], verbose=0),
        NonFiniteError,
        "sample_weight holds nan at sample 2",
    ),
    "a generator that is used up": (
        lambda: classifier().fit(((X, Y) for _ in range(2)), epochs=2, verbose=0),
        InputError,
        "no batch in epoch 2.*read only once",
    ),
    "a single series of ids": (
        lambda: Sequential([Embedding(5, 2), LSTM(1)]).predict([1, 2], verbose=0),
        InputError,
        r"takes token ids \(B, T\).*\[ids\]",
    ),
    "token ids": (
        lambda: Sequential([Embedding(5, 2), LSTM(1)]).predict(np.array([[1, 9]]), verbose=0),
        InputError,
        "token id 9",
    ),
    "loss name": (
        lambda: classifier(loss="binary_crossentrpy"),
        UnknownNameError,
        "Did you mean 'binary_crossentropy'",
    ),
    "optimizer name": (
        lambda: classifier(optimizer="rmspropp"),
        UnknownNameError,
        "Did you mean 'rmsprop'",
    ),
    "metric name": (
        lambda: classifier(metrics=["acuracy"]),
        UnknownNameError,
        "Did you mean 'accuracy'",
    ),
    "activation name": (
        lambda: Sequential([Dense(1, activation="sigmoidd")]),
        UnknownNameError,
        "Did you mean 'sigmoid'",
    ),
}


@pytest.mark.parametrize("case", list(CASES))
def test_the_message_names_the_cure(case: str) -> None:
    action, error, message = CASES[case]
    with pytest.raises(error, match=message):
        action()


def test_an_input_of_one_sample_short_says_so_before_building() -> None:
    model = Sequential([LSTM(5), Dense(1)])
    model.compile(loss="mse")
    with pytest.raises(InputError):
        model.fit(X, Y[:2], verbose=0)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_bad_numbers_in_x_stop_before_the_first_step(value: float) -> None:
    x = X.copy()
    x[2, 1, 5] = value
    model = classifier()
    before = model.get_weights()
    with pytest.raises(NonFiniteError, match=rf"x holds {value} at sample 2, step 1, channel 5"):
        model.fit(x, Y, verbose=0)
    with pytest.raises(NonFiniteError, match="sample 2"):
        model.train_on_batch(x, Y)
    data = TensorDataset(torch.tensor(x), torch.tensor(Y))
    with pytest.raises(NonFiniteError, match=r"x of batch 1 holds .* at sample 0, step 1"):
        model.fit(data, batch_size=2, shuffle=False, verbose=0)
    kept = model.get_weights()
    assert all(np.isfinite(w).all() for w in kept)
    model = classifier()
    model.set_weights(before)
    with pytest.raises(NonFiniteError):
        model.fit(x, Y, verbose=0)
    assert all(np.array_equal(a, b) for a, b in zip(before, model.get_weights(), strict=True))


def test_bad_labels_stop_before_the_first_step() -> None:
    y = Y.copy()
    y[3] = np.nan
    with pytest.raises(NonFiniteError, match="y holds nan at sample 3"):
        classifier(loss="mse").fit(X, y, verbose=0)


def test_a_loss_that_becomes_nan_names_step_and_sample_and_keeps_the_weights() -> None:
    """The third batch makes the loss infinite: the weights are those after two steps."""
    x = np.ones((8, 1), dtype="float32")
    x[5] = 1e30
    seen: list[list[np.ndarray]] = []
    model = Sequential([Dense(1, input_shape=(1,))])
    model.compile(loss="mse", optimizer=SGD(0.1))

    from gatewise.callbacks import LambdaCallback

    keep = LambdaCallback(on_train_batch_end=lambda step, logs: seen.append(model.get_weights()))
    message = (
        r"loss became inf at step 3 of epoch 1; the first bad sample is x\[5\] "
        r"\(number 1 of the batch\)\. The weights are those from before this step"
    )
    with pytest.raises(NonFiniteError, match=message):
        model.fit(x, np.zeros(8), batch_size=2, shuffle=False, callbacks=[keep], verbose=0)
    assert len(seen) == 2
    assert all(np.array_equal(a, b) for a, b in zip(seen[-1], model.get_weights(), strict=True))
    assert not model.training
    model.fit(x[:4], np.zeros(4), verbose=0)


def test_the_sample_is_named_also_when_shuffled() -> None:
    x = np.ones((16, 1), dtype="float32")
    x[11] = 1e30
    model = Sequential([Dense(1, input_shape=(1,))])
    model.compile(loss="mse", optimizer=SGD(0.0))
    with pytest.raises(NonFiniteError, match=r"x\[11\]"):
        model.fit(x, np.zeros(16), batch_size=4, verbose=0)


def test_a_gradient_that_overflows_is_not_applied() -> None:
    """The loss is finite, its gradient is not: sqrt at 0."""
    model = Sequential([Dense(1, use_bias=False, input_shape=(1,))])
    model.compile(loss=lambda y, p: (p * 0.0).sqrt().sum(-1), optimizer=Adam(0.1))
    before = model.get_weights()
    with pytest.raises(NonFiniteError, match=r"gradient is no longer finite at step 1 of epoch 1"):
        model.fit(np.ones((2, 1)), np.zeros((2, 1)), verbose=0)
    assert np.array_equal(before[0], model.get_weights()[0])
    with pytest.raises(NonFiniteError, match="at this batch"):
        model.train_on_batch(np.ones((2, 1)), np.zeros((2, 1)))


def test_a_weight_that_overflows_in_a_step_is_put_back() -> None:
    """Every gradient is finite but the step itself is too long for the number type."""
    model = Sequential([Dense(1, use_bias=False, input_shape=(1,))])
    model.compile(loss="mae", optimizer=SGD(1e38))
    before = model.get_weights()
    x = np.full((8, 1), 100.0, dtype="float32")
    with pytest.raises(NonFiniteError, match="beginning of epoch 1"):
        model.fit(x, np.zeros(8), batch_size=1, verbose=0)
    assert np.array_equal(before[0], model.get_weights()[0])
