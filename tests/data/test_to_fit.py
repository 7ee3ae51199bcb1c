"""What the preprocessing returns is what `fit` and `predict` take, for every task."""

from __future__ import annotations

import numpy as np
import pytest

from gatewise.data import Columns, SeriesData, prepare, score, split
from gatewise.layers import LSTM, Dense, Embedding
from gatewise.models import Sequential

STEPS = np.arange(80.0)


def _data(task: str) -> SeriesData:
    lengths = [3, 5, 4, 6, 2, 5, 4, 3, 5, 6]
    ids = [str(index) for index in range(len(lengths))]
    x = [
        np.stack([STEPS[:length], STEPS[:length] * -index], 1)
        for index, length in enumerate(lengths)
    ]
    names = ("a", "b")
    if task == "classification":
        return SeriesData("d", task, x, np.arange(10) % 3, ids, names, labels=("x", "y", "z"))
    if task == "tagging":
        y = [np.arange(length) % 2 for length in lengths]
        return SeriesData("d", task, x, y, ids, names, labels=("x", "y"))
    if task == "regression":
        return SeriesData("d", task, x, np.arange(10.0) * 30, ids, names)
    series = [np.stack([np.sin(STEPS), STEPS], axis=1)]
    columns = Columns(target=("a",))
    return SeriesData("d", "forecasting", series, None, ["s"], names, columns, horizon=3, window=6)


@pytest.mark.parametrize("task", ["classification", "tagging", "regression", "forecasting"])
def test_every_task_trains_and_predicts(task):
    parts = split(_data(task), seed=0)
    preprocessor = prepare(parts.train)
    classes = task in ("classification", "tagging")
    model = Sequential(
        [
            LSTM(3, return_sequences=task == "tagging"),
            Dense(preprocessor.outputs, activation="softmax" if classes else None),
        ]
    )
    model.compile(loss="sparse_categorical_crossentropy" if classes else "mse")
    validation = parts.validation
    model.fit(
        preprocessor(parts.train),
        preprocessor.targets(parts.train),
        validation_data=(preprocessor(validation), preprocessor.targets(validation)),
        epochs=1,
        verbose=0,
    )
    raw = model.predict(preprocessor(validation), verbose=0)
    if task == "tagging":
        found = [
            np.asarray(one)[: len(steps)].argmax(axis=-1)
            for one, steps in zip(raw, validation.x, strict=True)
        ]
    elif task == "classification":
        found = np.asarray(raw).argmax(axis=-1)
    else:
        found = preprocessor.restore(raw, validation)
    assert all(np.isfinite(value) for value in score(validation, found).values())


def test_texts_train():
    texts = ["to be", "or not to be", "the sea", "a sea of troubles"] * 3
    data = SeriesData(
        "t", "classification", texts, np.arange(12) % 2, texts, (), labels=("x", "y"), unit="word"
    )
    parts = split(data)
    preprocessor = prepare(parts.train)
    assert preprocessor.vocabulary is not None
    size = len(preprocessor.vocabulary)
    model = Sequential(
        [Embedding(size, 4, mask_zero=True), LSTM(3), Dense(2, activation="softmax")]
    )
    model.compile(loss="sparse_categorical_crossentropy")
    model.fit(preprocessor(parts.train), preprocessor.targets(parts.train), epochs=1, verbose=0)
    assert np.asarray(model.predict(preprocessor(texts), verbose=0)).shape == (12, 2)
