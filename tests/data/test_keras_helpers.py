"""to_categorical and timeseries_dataset_from_array as in Keras."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from gatewise import Sequential, callbacks, layers, utils
from gatewise.errors import InputError
from gatewise.utils import timeseries_dataset_from_array, to_categorical

CLASSES = {
    "plain": [0, 2, 1, 2],
    "column": [[0], [2], [1]],
    "matrix": [[0, 2], [1, 1]],
    "floats": [0.0, 3.0],
}


@pytest.mark.parametrize("kind", CLASSES)
@pytest.mark.parametrize("number", [None, 5])
def test_one_hot_rows_are_keras_s(kind: str, number: int | None) -> None:
    theirs = keras.utils.to_categorical(CLASSES[kind], number)
    np.testing.assert_array_equal(to_categorical(CLASSES[kind], number), theirs)


def test_no_classes() -> None:
    with pytest.raises(InputError, match="num_classes is 2"):
        to_categorical([0, 2], 2)
    with pytest.raises(InputError, match="whole numbers"):
        to_categorical([0.5])


def expected(
    data: np.ndarray, targets: np.ndarray, length: int, stride: int, rate: int, start: int, end: int
) -> tuple[list[np.ndarray], list[float]]:
    """Return the windows after Keras's documentation, by its loop."""
    windows, labels = [], []
    for i in range(start, end, stride):
        rows = [i + j * rate for j in range(length)]
        if rows[-1] >= end or i >= len(targets):
            break
        windows.append(data[rows])
        labels.append(float(targets[i]))
    return windows, labels


@pytest.mark.parametrize(
    ("length", "stride", "rate", "start", "end", "count"),
    [(3, 1, 1, 0, 20, 17), (4, 2, 1, 0, 20, 20), (3, 1, 3, 2, 18, 20), (5, 3, 2, 1, 20, 7)],
)
def test_windows(length: int, stride: int, rate: int, start: int, end: int, count: int) -> None:
    data, targets = np.arange(40.0).reshape(20, 2), np.arange(float(count))
    windows = timeseries_dataset_from_array(
        data, targets, length, stride, rate, batch_size=4, start_index=start, end_index=end
    )
    pairs = [(x, y) for batch in windows for x, y in zip(*batch, strict=True)]
    xs, ys = expected(data, targets, length, stride, rate, start, end)
    assert [float(y) for _, y in pairs] == ys
    np.testing.assert_array_equal(np.stack([x.numpy() for x, _ in pairs]), np.stack(xs))


def test_windows_train_a_model() -> None:
    series = np.sin(np.arange(60.0))[:, None].astype("float32")
    windows = timeseries_dataset_from_array(series, series[8:], 8, batch_size=16, shuffle=True)
    model = Sequential([layers.GRU(4, input_shape=(None, 1)), layers.Dense(1)])
    model.compile("adam", "mse")
    history = model.fit(windows, epochs=3, verbose=0).history["loss"]
    assert history[-1] < history[0]
    assert model.predict(timeseries_dataset_from_array(series, None, 8), verbose=0).shape == (53, 1)


def test_what_cannot_be() -> None:
    with pytest.raises(InputError, match="too few for windows of 9"):
        timeseries_dataset_from_array(np.arange(5.0), None, 9)
    with pytest.raises(AttributeError, match="The nearest is to_categorical"):
        _ = utils.to_categoricals  # pyright: ignore
    with pytest.raises(AttributeError, match="The nearest is TensorBoard"):
        _ = callbacks.TensorBord  # pyright: ignore
