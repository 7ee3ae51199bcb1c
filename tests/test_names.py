"""A Keras program that uses something not here is told what is, at import or at construction."""

from __future__ import annotations

import importlib
from collections.abc import Callable

import pytest

import gatewise
from gatewise import layers
from gatewise.errors import UnknownArgumentError, UnknownNameError

MISSING = [
    ("layers", "Conv2D", "The nearest is Conv1D"),
    ("layers", "MultiHeadAttention", "The nearest is Attention"),
    ("layers", "TextVectorization", "Use gatewise.data.Vocabulary"),
    ("layers", "Lambda", "Write a Layer"),
    ("losses", "CategoricalHinge", "The nearest is CategoricalCrossentropy"),
    ("metrics", "TopKCategorical", "The nearest is TopKCategoricalAccuracy"),
    ("optimizers", "Lion", "torch's own"),
    ("optimizers.schedules", "CosineDecayRestarts", "The nearest is CosineDecay"),
    ("callbacks", "BackupAndRestores", "The nearest is BackupAndRestore"),
    ("utils", "pad_sequence", "The nearest is pad_sequences"),
    ("models", "model_from_json", "load_model(path)"),
    ("initializers", "Orthogonals", "The nearest is Orthogonal"),
    ("regularizers", "L3", "There are: L1, L1L2, L2"),
    ("preprocessing", "text", "Vocabulary"),
    ("preprocessing.sequence", "TimeseriesGenerator", "timeseries_dataset_from_array"),
    ("saving", "save_model", "model.save(path)"),
    ("", "ops", "Use torch"),
    ("", "datasets", "gatewise.data.datasets"),
]


@pytest.mark.parametrize(("place", "name", "message"), MISSING)
def test_a_missing_name_names_the_nearest(place: str, name: str, message: str) -> None:
    path = f"gatewise.{place}" if place else "gatewise"
    module = importlib.import_module(path)
    with pytest.raises(AttributeError, match=f"{path} has no '{name}'") as raised:
        getattr(module, name)
    assert message in str(raised.value)
    # Python itself would drop the message here.
    with pytest.raises(ImportError, match=f"{path} has no '{name}'") as raised:
        exec(f"from {path} import {name}")
    assert message in str(raised.value)
    assert not hasattr(module, name)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: layers.LSTM(4, use_cudnn=False), "use_kernel"),
        (lambda: layers.LSTM(4, dtype="float16"), "torch.get_default_dtype"),
        (lambda: layers.LSTM(4, batch_input_shape=(1, 2, 3)), "input_shape without the batch"),
        (lambda: layers.Dense(4, kernel_constraint="max_norm"), "no constraints"),
        (lambda: layers.GRU(4, returns_sequences=True), "Did you mean 'return_sequences'"),
        (lambda: gatewise.optimizers.Adam(lr=0.1), "It is called learning_rate"),
        (lambda: gatewise.optimizers.SGD(0.1, decay=0.1), "gatewise.optimizers.schedules"),
        (lambda: gatewise.losses.Huber(deltas=1.0), "Did you mean 'delta'"),
        (lambda: gatewise.metrics.Recall(threshold=0.2), "Did you mean 'thresholds'"),
        (lambda: gatewise.callbacks.EarlyStopping(patients=3), "Did you mean 'patience'"),
    ],
)
def test_an_argument_that_is_not_there(make: Callable[[], object], message: str) -> None:
    with pytest.raises(UnknownArgumentError, match=message):
        make()


@pytest.mark.parametrize(
    "make",
    [
        lambda model: model.compile(loss="categorical_hinge"),
        lambda model: model.compile(loss="mse", optimizer="adamz"),
        lambda model: model.compile(loss="mse", metrics=["acuracy"]),
        lambda model: layers.Dense(3, activation="rellu"),
        lambda model: layers.Dense(3, kernel_initializer="glorot"),
        lambda model: layers.Dense(3, kernel_regularizer="l3"),
    ],
)
def test_a_name_that_is_not_known(make: Callable[[object], object]) -> None:
    with pytest.raises(UnknownNameError, match="Known: "):
        make(gatewise.Sequential([layers.Dense(2, input_shape=(3,))]))


def test_keras_s_places() -> None:
    from gatewise.initializers import Orthogonal
    from gatewise.optimizers.schedules import ExponentialDecay
    from gatewise.preprocessing.sequence import pad_sequences
    from gatewise.regularizers import L2

    assert gatewise.utils.pad_sequences is pad_sequences
    assert gatewise.preprocessing.timeseries_dataset_from_array is (
        gatewise.utils.timeseries_dataset_from_array
    )
    layer = layers.LSTM(2, recurrent_initializer=Orthogonal(seed=1), kernel_regularizer=L2(0.1))
    assert layer.get_config()["kernel_regularizer"]["config"] == {"l2": 0.1}
    assert ExponentialDecay(0.1, 10, 0.5)(10) == pytest.approx(0.05)
