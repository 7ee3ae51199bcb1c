"""ModelCheckpoint, CSVLogger, the learning rate, NaN and TensorBoard, as in Keras."""

from __future__ import annotations

import csv
import importlib.util
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import torch

from gatewise import Sequential, callbacks, layers, load_model
from gatewise.errors import InputError, NonFiniteError
from gatewise.utils import set_random_seed

pytestmark = [
    # Keras's own variables do not know NumPy 2's copy argument.
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),
]
X = np.random.default_rng(0).normal(size=(12, 4, 3)).astype("float32")
Y = X[:, 0, :1]


def model_of(optimizer: Any = "sgd") -> Sequential:
    set_random_seed(0)
    model = Sequential([layers.LSTM(3, input_shape=(None, 3)), layers.Dense(1)])
    model.compile(optimizer, "mse")
    return model


class Values(callbacks.Callback):
    """Puts values in place of the epochs' own."""

    def __init__(self, values: list[float]) -> None:
        super().__init__()
        self.values = values

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        logs["val_loss"] = self.values[epoch]


VALUES = [1.0, 0.9, 0.95, 0.95, 0.94, 0.5, 0.6, 0.6, 0.6, 0.6, 0.6, 0.6]


@pytest.mark.parametrize("save_best_only", [False, True])
def test_checkpoints(tmp_path: Path, save_best_only: bool) -> None:
    name = str(tmp_path / "new" / "{epoch:02d}-{val_loss:.2f}.safetensors")
    save = callbacks.ModelCheckpoint(name, save_best_only=save_best_only)
    model = model_of()
    model.fit(X, Y, epochs=6, verbose=0, callbacks=[Values(VALUES), save])
    found = sorted(path.name for path in (tmp_path / "new").iterdir())
    best = ["01-1.00.safetensors", "02-0.90.safetensors", "06-0.50.safetensors"]
    assert found == best if save_best_only else len(found) == 6
    loaded = load_model(tmp_path / "new" / found[-1])
    assert all(map(np.array_equal, loaded.get_weights(), model.get_weights()))
    assert loaded.optimizer.iterations == 6


def test_checkpoints_of_weights_after_batches(tmp_path: Path) -> None:
    path = tmp_path / "{epoch}.safetensors"
    save = callbacks.ModelCheckpoint(path, save_weights_only=True, save_freq=3)
    model = model_of()
    model.fit(X, Y, batch_size=6, epochs=3, verbose=0, callbacks=save)
    assert sorted(one.name for one in tmp_path.iterdir()) == ["2.safetensors", "3.safetensors"]
    other = model_of()
    other.load_weights(tmp_path / "3.safetensors")
    assert all(map(np.array_equal, other.get_weights(), model.get_weights()))
    with pytest.raises(InputError, match="filepath names 'accuracy'"):
        model.fit(X, Y, verbose=0, callbacks=callbacks.ModelCheckpoint("{accuracy}.safetensors"))


def test_the_table_of_epochs(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    model = model_of()
    log = callbacks.CSVLogger(path)
    model.fit(X, Y, validation_split=0.5, validation_freq=2, epochs=2, verbose=0, callbacks=log)
    again = callbacks.CSVLogger(path, append=True)
    model.fit(X, Y, validation_split=0.5, epochs=3, initial_epoch=2, verbose=0, callbacks=again)
    with open(path, newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == ["0", "1", "2"]
    assert rows[0]["val_loss"] == "NA" and float(rows[1]["val_loss"]) > 0
    assert float(rows[2]["loss"]) == model.history.history["loss"][-1]  # pyright: ignore


@pytest.mark.parametrize(
    "arguments",
    [
        {"patience": 2, "factor": 0.5},
        {"patience": 1, "factor": 0.1, "cooldown": 2},
        {"patience": 1, "factor": 0.5, "min_lr": 0.02, "min_delta": 0.2},
        {"patience": 2, "factor": 0.5, "mode": "max"},
    ],
    ids=str,
)
def test_the_rate_falls_when_keras_s_does(arguments: dict[str, Any]) -> None:
    ours = model_of()
    run = ours.fit(
        X, Y, epochs=12, verbose=0,
        callbacks=[Values(VALUES), callbacks.ReduceLROnPlateau(**arguments)],
    )  # fmt: skip

    class Theirs(keras.callbacks.Callback):
        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            logs["val_loss"] = VALUES[epoch]

    theirs = keras.Sequential([keras.Input((4, 3)), keras.layers.Flatten(), keras.layers.Dense(1)])
    theirs.compile("sgd", "mse")
    other = theirs.fit(
        X, Y, epochs=12, verbose=0,
        callbacks=[Theirs(), keras.callbacks.ReduceLROnPlateau(**arguments)],
    )  # fmt: skip
    np.testing.assert_allclose(
        run.history["learning_rate"], other.history["learning_rate"], rtol=1e-6
    )


@pytest.mark.parametrize("optimizer", ["sgd", "torch"])
def test_the_rate_follows_a_schedule(optimizer: str, capsys: pytest.CaptureFixture[str]) -> None:
    model = model_of()
    if optimizer == "torch":
        model.compile(torch.optim.SGD(model.parameters(), lr=0.01), "mse")
    follow = callbacks.LearningRateScheduler(lambda epoch, rate: rate * 0.5, verbose=1)
    run = model.fit(X, Y, epochs=3, verbose=0, callbacks=follow)
    np.testing.assert_allclose(run.history["learning_rate"], [0.005, 0.0025, 0.00125])
    assert "Epoch 3: the learning rate is 0.00125" in capsys.readouterr().out
    run = model.fit(
        X, Y, epochs=2, verbose=0, callbacks=callbacks.LearningRateScheduler(lambda epoch: 0.1)
    )
    assert run.history["learning_rate"] == [0.1, 0.1]


class Explode(callbacks.Callback):
    """Makes the next loss NaN."""

    def on_epoch_begin(self, epoch: int, logs: object = None) -> None:
        if epoch == 1:
            self.kept = [w.copy() for w in self.model.get_weights()]
            self.model.compiled.loss.call = lambda y_true, y_pred: (y_pred - torch.nan).sum(-1)


def test_nan_ends_the_run_without_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    from gatewise.losses import Loss

    class Own(Loss):
        name = "own"

        def call(self, y_true: torch.Tensor, y_pred: torch.Tensor) -> torch.Tensor:
            return (y_true - y_pred).square().sum(-1)

    model = model_of()
    model.compile("sgd", Own())
    explode = Explode()
    run = model.fit(X, Y, epochs=5, verbose=0, callbacks=[explode, callbacks.TerminateOnNaN()])
    assert run.epoch == [0] and not model.training
    assert "Training ends here. The loss became nan" in capsys.readouterr().out
    assert all(map(np.array_equal, explode.kept, model.get_weights()))
    model.compile("sgd", Own())
    with pytest.raises(NonFiniteError):
        model.fit(X, Y, epochs=5, verbose=0, callbacks=[Explode()])


def test_tensorboard(tmp_path: Path) -> None:
    board = callbacks.TensorBoard(tmp_path)
    if importlib.util.find_spec("tensorboard") is None:
        with pytest.raises(InputError, match=r"gatewise\[tensorboard\]"):
            model_of().fit(X, Y, verbose=0, callbacks=board)
        return
    model_of().fit(X, Y, validation_split=0.5, epochs=2, verbose=0, callbacks=board)
    assert sorted(one.name for one in tmp_path.iterdir()) == ["train", "validation"]
    assert all(any(folder.iterdir()) for folder in tmp_path.iterdir())
