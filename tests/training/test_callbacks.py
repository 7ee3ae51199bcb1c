"""Callbacks: early stopping, functions, and what progress looks like where."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import pytest

from gatewise.callbacks import Callback, EarlyStopping, History, LambdaCallback, ProgressBar
from gatewise.errors import InputError
from gatewise.layers import Dense
from gatewise.models import Sequential
from gatewise.optimizers import SGD

keras = pytest.importorskip("keras")


class Stub:
    """A model whose weights are the number of epochs it has seen."""

    def __init__(self) -> None:
        self.stop_training = False
        self.weight = 0

    def state_dict(self) -> dict[str, Any]:
        import torch

        return {"w": torch.tensor(self.weight)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.weight = int(state["w"])

    def get_weights(self) -> list[np.ndarray]:
        return [np.array(self.weight)]

    def set_weights(self, weights: list[np.ndarray]) -> None:
        self.weight = int(weights[0])


def epochs_of(callback: Any, values: list[float]) -> tuple[int, int]:
    """Return how many epochs a run with these values has, and the weight it ends with."""
    model = Stub()
    callback.set_model(model)
    callback.on_train_begin()
    epoch = 0
    for epoch, value in enumerate(values):
        model.weight = epoch
        callback.on_epoch_end(epoch, {"loss": value})
        if model.stop_training:
            break
    callback.on_train_end()
    return epoch + 1, model.weight


@pytest.mark.parametrize("patience", [0, 1, 3])
@pytest.mark.parametrize("min_delta", [0, 0.3])
@pytest.mark.parametrize("baseline", [None, 0.55])
@pytest.mark.parametrize("restore", [False, True])
@pytest.mark.parametrize("start", [0, 2])
def test_early_stopping_is_keras_s(
    patience: int, min_delta: float, baseline: float | None, restore: bool, start: int
) -> None:
    arguments: dict[str, Any] = {
        "monitor": "loss",
        "patience": patience,
        "min_delta": min_delta,
        "baseline": baseline,
        "restore_best_weights": restore,
        "start_from_epoch": start,
        "mode": "min",
    }
    random = np.random.default_rng(patience)
    for _ in range(12):
        values = random.uniform(size=12).tolist()
        ours = epochs_of(EarlyStopping(**arguments), values)
        theirs = epochs_of(keras.callbacks.EarlyStopping(**arguments), values)
        assert ours == theirs, values


def test_early_stopping_in_a_run() -> None:
    model = Sequential([Dense(1, input_shape=(1,))])
    model.compile(loss="mse", optimizer=SGD(0.0))
    x = np.ones((4, 1))
    stopping = EarlyStopping(monitor="val_loss", patience=2, restore_best_weights=True)
    history = model.fit(x, x, epochs=20, validation_data=(x, x), callbacks=[stopping], verbose=0)
    assert history.epoch == [0, 1, 2]
    again = model.fit(x, x, epochs=20, validation_data=(x, x), callbacks=[stopping], verbose=0)
    assert again.epoch == [0, 1, 2]
    with pytest.raises(InputError, match=r"watches 'val_loss', but there is only loss. Give fit"):
        model.fit(x, x, callbacks=[stopping], verbose=0)
    with pytest.raises(InputError, match=r"watches 'accuracy'.*add the metric in compile"):
        model.fit(x, x, callbacks=[EarlyStopping("accuracy")], verbose=0)
    model.fit(
        x, x, epochs=2, validation_data=(x, x), validation_freq=2, callbacks=stopping, verbose=0
    )


@pytest.mark.parametrize(
    ("monitor", "mode"),
    [("val_loss", "min"), ("val_accuracy", "max"), ("mse", "min"), ("auc", "max"), ("mae", "min")],
)
def test_the_direction_follows_the_name(monitor: str, mode: str) -> None:
    assert EarlyStopping(monitor).mode == mode


def test_a_direction_that_is_not_clear_is_asked_for() -> None:
    with pytest.raises(InputError, match="mode='min' or mode='max'"):
        EarlyStopping("wombats")
    with pytest.raises(InputError, match="mode='up' is not known"):
        EarlyStopping("loss", mode="up")
    assert EarlyStopping("wombats", mode="max").mode == "max"


def run(verbose: Any, callbacks: list[Callback] | None = None) -> Sequential:
    model = Sequential([Dense(1, input_shape=(1,))])
    model.compile(loss="mse", optimizer=SGD(0.0), metrics=["mae"])
    x = np.ones((4, 1))
    model.fit(
        x, x, epochs=2, validation_data=(x, x), verbose=verbose, callbacks=callbacks, batch_size=1
    )
    return model


@pytest.mark.parametrize("verbose", ["auto", 1, 2])
def test_a_file_gets_a_line_an_epoch(verbose: Any, capsys: pytest.CaptureFixture[str]) -> None:
    model = run(verbose)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2
    assert lines[1].startswith("Epoch 2/2 - ")
    for name in ("loss: ", "mae: ", "val_loss: ", "val_mae: "):
        assert name in lines[1]
    model.evaluate(np.ones((2, 1)), np.ones(2), verbose=verbose)
    assert capsys.readouterr().out.startswith("Evaluate - loss: ")
    model.predict(np.ones((2, 1)), verbose=verbose)
    assert capsys.readouterr().out == ""


def test_silence(capsys: pytest.CaptureFixture[str]) -> None:
    model = run(0)
    model.evaluate(np.ones((2, 1)), np.ones(2), verbose=0)
    assert capsys.readouterr() == ("", "")


def test_a_terminal_gets_a_bar_and_then_the_epochs_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    run(1)
    text = capsys.readouterr().out
    assert "━" in text
    assert "0/4" in text
    assert text.count("Epoch 2/2 - ") == 1
    assert "val_mae: " in text.splitlines()[-1]
    run(2)
    text = capsys.readouterr().out
    assert "━" not in text
    assert text.count("\n") == 2


def test_a_bar_is_taken_away_when_training_fails(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)

    def fail(step: int, logs: Any) -> None:
        raise RuntimeError("stop")

    bar = ProgressBar()
    with pytest.raises(RuntimeError, match="stop"):
        run(1, [bar, LambdaCallback(on_train_batch_end=fail)])
    assert bar._live is None


def test_a_users_own_bar_is_the_only_one(capsys: pytest.CaptureFixture[str]) -> None:
    run(1, [ProgressBar(2)])
    assert capsys.readouterr().out.count("Epoch 1/2") == 1


def test_history_is_a_callback() -> None:
    history = History()
    run(0, [history])
    assert history.epoch == [0, 1]
    assert len(history.history["val_mae"]) == 2
    assert repr(history).startswith("History(2 epochs, last {'loss'")
