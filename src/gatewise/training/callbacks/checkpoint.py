"""Saving the model while it trains."""

from __future__ import annotations

import os

from gatewise.errors import InputError
from gatewise.training.callbacks.callback import Logs
from gatewise.training.callbacks.monitored import Monitored


class ModelCheckpoint(Monitored):
    """Saves the model after every epoch, or with an int `save_freq` after so many batches.

    `filepath` may hold values: `"model-{epoch:02d}-{val_loss:.2f}.safetensors"`, where epochs count
    from 1. With `save_best_only` only a model whose `monitor` is better than every one before (and
    than `initial_value_threshold`) is saved. `save_weights_only` leaves the architecture and the
    optimizer out.

    >>> ModelCheckpoint("best.safetensors", monitor="val_accuracy", save_best_only=True).mode
    'max'
    """

    remembers = ("best", "_batches")

    def __init__(
        self,
        filepath: str | os.PathLike[str],
        monitor: str = "val_loss",
        verbose: int = 0,
        save_best_only: bool = False,
        save_weights_only: bool = False,
        mode: str = "auto",
        save_freq: str | int = "epoch",
        initial_value_threshold: float | None = None,
    ) -> None:
        super().__init__(monitor, mode if save_best_only or mode != "auto" else "min")
        if save_freq != "epoch" and not (isinstance(save_freq, int) and save_freq > 0):
            raise InputError(f"save_freq is 'epoch' or a number of batches but got {save_freq!r}.")
        self.filepath = os.fspath(filepath)
        self.verbose = verbose
        self.save_best_only = save_best_only
        self.save_weights_only = save_weights_only
        self.save_freq = save_freq
        self.best = initial_value_threshold
        self._batches = 0
        self._epoch = 0

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        """Remember which epoch it is."""
        self._epoch = epoch

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """Save after `save_freq` batches."""
        if isinstance(self.save_freq, int):
            self._batches += 1
            if self._batches % self.save_freq == 0:
                self._save(self._epoch, logs or {})

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Save after the epoch."""
        if self.save_freq == "epoch":
            self._save(epoch, logs or {})

    def _save(self, epoch: int, logs: Logs) -> None:
        if self.save_best_only:
            value = self.value_in(logs)
            if value is None or not self.improves(value, self.best):
                return
            self.best = value
        path = self._path(epoch, logs)
        if folder := os.path.dirname(path):
            os.makedirs(folder, exist_ok=True)
        if self.save_weights_only:
            self.model.save_weights(path)
        else:
            self.model.save(path)
        if self.verbose:
            print(f"Epoch {epoch + 1}: saved {path}")

    def _path(self, epoch: int, logs: Logs) -> str:
        try:
            return self.filepath.format(epoch=epoch + 1, **logs)
        except KeyError as error:
            raise InputError(
                f"filepath names {error}, but there is only epoch, {', '.join(logs)}."
            ) from error
