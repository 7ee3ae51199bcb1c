"""A learning rate scheduler of torch's among the callbacks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.optim import lr_scheduler

import gatewise
from gatewise import layers
from gatewise.callbacks import BackupAndRestore, LambdaCallback, LearningRateScheduler
from gatewise.errors import InputError

X = np.random.default_rng(0).normal(size=(6, 3)).astype("float32")
Y = np.random.default_rng(1).normal(size=(6, 1)).astype("float32")


def model_and_optimizer() -> tuple[Any, torch.optim.Optimizer]:
    gatewise.utils.set_random_seed(0)
    model = gatewise.Sequential([layers.Dense(1, input_shape=(3,))])
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    model.compile(optimizer=optimizer, loss="mse")
    return model, optimizer


def test_it_takes_a_step_an_epoch() -> None:
    model, optimizer = model_and_optimizer()
    scheduler = lr_scheduler.StepLR(optimizer, 2, gamma=0.5)
    history = model.fit(X, Y, epochs=5, verbose=0, callbacks=[scheduler]).history
    assert history["learning_rate"] == pytest.approx([0.1, 0.1, 0.05, 0.05, 0.025])


def test_a_plateau_is_looked_for_in_the_validation_loss() -> None:
    model, optimizer = model_and_optimizer()
    scheduler = lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.1, patience=1, threshold=0.999)
    history = model.fit(
        X, Y, epochs=4, verbose=0, callbacks=scheduler, validation_data=(X, Y)
    ).history
    assert history["learning_rate"] == pytest.approx([0.1, 0.1, 0.1, 0.01])


def test_it_is_no_function_of_the_epoch() -> None:
    scheduler = lr_scheduler.StepLR(model_and_optimizer()[1], 1)
    with pytest.raises(InputError, match=r"callbacks=\[scheduler\]"):
        LearningRateScheduler(scheduler)  # pyright: ignore[reportArgumentType]


def test_one_of_another_optimizer_is_refused() -> None:
    model, _ = model_and_optimizer()
    other = model_and_optimizer()[1]
    with pytest.raises(InputError, match="not of this model's optimizer"):
        model.fit(X, Y, verbose=0, callbacks=[lr_scheduler.StepLR(other, 1)])
    model.compile(optimizer="sgd", loss="mse")
    with pytest.raises(InputError, match="schedule as learning_rate"):
        model.fit(X, Y, verbose=0, callbacks=[lr_scheduler.StepLR(other, 1)])


class StopError(Exception):
    pass


def test_a_backup_keeps_where_it_is(tmp_path: Path) -> None:
    def run(folder: Path, last: int | None) -> Any:
        model, optimizer = model_and_optimizer()

        def stop(epoch: int, logs: Any = None) -> None:
            if epoch == last:
                raise StopError

        callbacks = [
            lr_scheduler.StepLR(optimizer, 2, gamma=0.5),
            LambdaCallback(on_epoch_begin=stop),
            BackupAndRestore(folder),
        ]
        model.fit(X, Y, epochs=6, verbose=0, callbacks=callbacks)
        return model

    whole = run(tmp_path / "whole", None)
    with pytest.raises(StopError):
        run(tmp_path / "cut", 3)
    resumed = run(tmp_path / "cut", None)
    for one, other in zip(whole.get_weights(), resumed.get_weights(), strict=True):
        assert np.array_equal(one, other)
    rates = whole.history.history["learning_rate"]
    assert (
        resumed.history.history["learning_rate"]
        == rates
        == pytest.approx([0.1, 0.1, 0.05, 0.05, 0.025, 0.025])
    )
