"""Series of different lengths: padding, masking and batches by length happen by themselves."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils.data import Dataset

from gatewise.errors import InputError
from gatewise.layers import GRU, LSTM, Bidirectional, Dense, Embedding, Masking
from gatewise.models import Sequential
from gatewise.optimizers import SGD


def ragged(count: int = 9, channels: int = 2, seed: int = 0) -> list[np.ndarray]:
    random = np.random.default_rng(seed)
    return [random.normal(size=(n, channels)) for n in random.integers(1, 8, size=count)]


def tagger(channels: int = 2) -> Sequential:
    model = Sequential(
        [
            Bidirectional(LSTM(3, return_sequences=True), input_shape=(None, channels)),
            GRU(4, return_sequences=True),
            Dense(2),
        ]
    ).double()
    model.compile(loss="mse", optimizer="sgd", metrics=["mae"])
    return model


def test_a_sequence_output_comes_back_in_order_and_length() -> None:
    x, model = ragged(), tagger()
    found = model.predict(x, batch_size=4, verbose=0)
    assert isinstance(found, list)
    assert [one.shape for one in found] == [(len(series), 2) for series in x]
    for series, one in zip(x, found, strict=True):
        np.testing.assert_allclose(one, model.predict(series[None], verbose=0)[0], rtol=1e-12)


def test_a_vector_output_comes_back_in_order() -> None:
    x = ragged(channels=3)
    model = Sequential([LSTM(5), Dense(1)])
    found = model.predict(x, batch_size=2, verbose=0)
    assert found.shape == (9, 1)
    each = [model.predict(series[None].astype("float32"), verbose=0)[0] for series in x]
    np.testing.assert_allclose(found, each, rtol=1e-5, atol=1e-7)


def test_loss_and_metrics_count_real_steps_only() -> None:
    x, model = ragged(), tagger()
    y = [np.ones((len(series), 2)) for series in x]
    loss, error = model.evaluate(x, y, batch_size=len(x), verbose=0)  # type: ignore[misc]
    squares = np.concatenate([(p - 1) ** 2 for p in model.predict(x, verbose=0)])
    assert loss == pytest.approx(squares.mean(), rel=1e-9)
    assert error == pytest.approx(
        np.abs(np.concatenate(model.predict(x, verbose=0)) - 1).mean(), rel=1e-5
    )


def test_one_step_is_the_step_of_the_padded_array_with_its_mask() -> None:
    x = ragged()
    y = [series @ np.ones((2, 2)) for series in x]
    steps = max(map(len, x))
    padded, labels = np.full((9, steps, 2), np.nan), np.full((9, steps, 2), np.nan)
    mask = np.zeros((9, steps), dtype=bool)
    for row, (series, label) in enumerate(zip(x, y, strict=True)):
        padded[row, -len(series) :], labels[row, -len(series) :] = series, label
        mask[row, -len(series) :] = True
    one, other = tagger(), tagger()
    other.set_weights(one.get_weights())
    one.train_on_batch(x, y)
    other.train_on_batch(padded, labels, mask=mask)
    for a, b in zip(one.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12)


def test_token_ids_need_no_padding_and_zero_is_a_word() -> None:
    ids = [[3, 0, 1], [2], [0, 0]]
    model = Sequential([Embedding(4, 3), LSTM(5), Dense(1)])
    found = model.predict(ids, verbose=0)
    each = [model.predict(np.array([one]), verbose=0)[0] for one in ids]
    np.testing.assert_allclose(found, each, rtol=1e-5, atol=1e-7)
    model.compile(loss="mse", optimizer="adam")
    assert np.isfinite(model.fit(ids, [0.0, 1.0, 2.0], verbose=0).history["loss"]).all()


def test_masking_with_another_value_keeps_the_padding_masked() -> None:
    x = [np.ones((3, 2)), np.ones((5, 2))]
    model = Sequential([Masking(-1.0), LSTM(4)])
    found = model.predict(x, verbose=0)
    np.testing.assert_allclose(found[0], model.predict(x[0][None], verbose=0)[0], rtol=1e-5)


def test_batches_hold_similar_lengths_and_every_series_once() -> None:
    lengths: list[list[int]] = []

    class Watched(Sequential):
        def forward_with_mask(
            self, x: Tensor, mask: Tensor | None = None
        ) -> tuple[Tensor, Tensor | None]:
            assert mask is not None
            if self.training:
                lengths.append(mask.sum(1).tolist())
            return super().forward_with_mask(x, mask)

    x = [np.zeros((n, 1)) for n in [1, 9] * 8]
    model = Watched([LSTM(2, input_shape=(None, 1))])
    model.compile(loss="mse", optimizer=SGD(0.0))
    model.fit(x, np.zeros((16, 2)), batch_size=4, verbose=0)
    assert sorted(map(tuple, lengths)) == [(1,) * 4] * 2 + [(9,) * 4] * 2


def test_validation_split_weights_and_classes() -> None:
    x = ragged(10)
    model = Sequential([LSTM(3, input_shape=(None, 2)), Dense(1, activation="sigmoid")])
    model.compile(loss="binary_crossentropy", metrics=["accuracy"])
    y = np.arange(10) % 2
    history = model.fit(x, y, validation_split=0.2, class_weight={0: 2.0}, verbose=0)
    assert set(history.history) == {"loss", "accuracy", "val_loss", "val_accuracy"}
    heavy = model.evaluate(x, y, sample_weight=np.full(10, 3.0), return_dict=True, verbose=0)
    light = model.evaluate(x, y, return_dict=True, verbose=0)
    assert isinstance(heavy, dict)
    assert isinstance(light, dict)
    assert heavy["loss"] == pytest.approx(3 * light["loss"], rel=1e-5)


def test_weights_and_classes_of_steps() -> None:
    x = ragged(4)
    classes = [np.arange(len(series)) % 2 for series in x]
    model = Sequential(
        [LSTM(3, return_sequences=True, input_shape=(None, 2)), Dense(2, activation="softmax")]
    )
    model.compile(loss="sparse_categorical_crossentropy", optimizer=SGD(0.0))
    by_class = model.train_on_batch(x, classes, class_weight={0: 0.0, 1: 2.0})
    by_step = model.train_on_batch(x, classes, sample_weight=[2.0 * one for one in classes])
    assert by_class == pytest.approx(by_step)
    assert by_class != pytest.approx(model.train_on_batch(x, classes))


class Ragged(Dataset[Any]):
    def __init__(self, x: list[np.ndarray], y: list[Any]) -> None:
        self.x, self.y = x, y

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, index: int) -> Any:
        return self.x[index], self.y[index]


def test_a_dataset_of_series_is_padded_and_masked() -> None:
    x, model = ragged(), tagger()
    y = [np.ones((len(series), 2)) for series in x]
    by_list = model.evaluate(x, y, batch_size=9, verbose=0)
    assert model.evaluate(Ragged(x, y), batch_size=9, verbose=0) == pytest.approx(by_list)


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        ([np.ones((2, 2)), np.ones((0, 2))], [0, 1], "Series 1 has length 0"),
        ([np.ones((2, 2)), np.ones((2, 3))], [0, 1], "Series 1 has 3 channels"),
        ([np.ones((2, 2)), np.ones((1, 2))], [0], "x has 2 samples but y has 1"),
        ([np.ones((2, 2)), [[np.inf, 1]]], [0, 1], "x holds inf at sample 1, step 0, channel 0"),
    ],
)
def test_bad_series_are_named(x: list[Any], y: list[int], message: str) -> None:
    model = Sequential([LSTM(3, input_shape=(None, 2)), Dense(1)])
    model.compile(loss="mse")
    with pytest.raises((InputError, ArithmeticError), match=message):
        model.fit(x, y, verbose=0)


def test_labels_of_steps_must_have_the_series_length() -> None:
    model = tagger()
    with pytest.raises(InputError, match=r"x\[1\] has 3 steps but y\[1\] has 2"):
        model.fit([np.ones((1, 2)), np.ones((3, 2))], [np.ones((1, 2)), np.ones((2, 2))], verbose=0)
    with pytest.raises(InputError, match="needs no mask"):
        model.predict([np.ones((1, 2))], mask=np.ones((1, 1)), verbose=0)


def test_a_model_built_by_its_first_series() -> None:
    model = Sequential([LSTM(3, return_sequences=True)])
    assert [one.shape for one in model.predict([[[1.0]], [[1.0], [2.0]]], verbose=0)] == [
        (1, 3), (2, 3),
    ]  # fmt: skip
    assert model.input_shape == (None, None, 1)
    assert torch.get_default_dtype() == model.dtype
