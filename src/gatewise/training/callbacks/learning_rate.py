"""Callbacks that set the learning rate."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import torch

from gatewise.errors import InputError
from gatewise.training.callbacks.callback import Callback, Logs
from gatewise.training.callbacks.monitored import Monitored


def rate_of(optimizer: Any) -> float:
    """Return the learning rate of an optimizer, gatewise's or torch's."""
    rate = getattr(optimizer, "learning_rate", None)
    return float(optimizer.param_groups[0]["lr"] if rate is None else rate)


def set_rate(optimizer: Any, rate: float) -> None:
    """Set the learning rate of an optimizer, gatewise's or torch's."""
    if hasattr(optimizer, "learning_rate"):
        optimizer.learning_rate = rate
        return
    for group in optimizer.param_groups:
        group["lr"] = rate


class LearningRateScheduler(Callback):
    """Sets the learning rate before each epoch to `schedule(epoch, rate)`, or `schedule(epoch)`.

    The epochs count from 0; the rate is reported as `learning_rate`.

    >>> scheduler = LearningRateScheduler(lambda epoch, rate: rate * 0.5)
    >>> scheduler.schedule(3, 0.1)
    0.05
    """

    def __init__(self, schedule: Callable[..., float], verbose: int = 0) -> None:
        super().__init__()
        if isinstance(schedule, torch.optim.lr_scheduler.LRScheduler):
            raise InputError(
                f"LearningRateScheduler takes a function of the epoch, and a "
                f"{type(schedule).__name__} of torch's is no function. Give it to fit as it is: "
                "callbacks=[scheduler]."
            )
        self.schedule = schedule
        self.verbose = verbose
        try:
            self._takes_rate = len(inspect.signature(schedule).parameters) > 1
        except ValueError:
            self._takes_rate = True

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        """Set the epoch's rate."""
        optimizer = self.model.optimizer
        rate = self.schedule(*((epoch, rate_of(optimizer)) if self._takes_rate else (epoch,)))
        if isinstance(rate, bool) or not isinstance(float(rate), float):
            raise InputError(f"The schedule returned {rate!r} where a number is needed.")
        set_rate(optimizer, float(rate))
        if self.verbose:
            print(f"Epoch {epoch + 1}: the learning rate is {float(rate):g}")

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Report the rate."""
        if logs is not None:
            logs["learning_rate"] = rate_of(self.model.optimizer)


class ReduceLROnPlateau(Monitored):
    """Multiplies the learning rate by `factor` when `monitor` no longer improves.

    That is after `patience` epochs without a value better than the best. Then `cooldown` epochs
    pass before it counts again; the rate stays above `min_lr`. It is reported as `learning_rate`.

    >>> ReduceLROnPlateau(monitor="val_loss", factor=0.2, patience=5).mode
    'min'
    """

    remembers = ("best", "_waited", "_cooling")

    def __init__(
        self,
        monitor: str = "val_loss",
        factor: float = 0.1,
        patience: int = 10,
        verbose: int = 0,
        mode: str = "auto",
        min_delta: float = 1e-4,
        cooldown: int = 0,
        min_lr: float = 0.0,
    ) -> None:
        super().__init__(monitor, mode, min_delta)
        if not 0 < factor < 1:
            raise InputError(f"ReduceLROnPlateau takes a factor from 0 to 1 but got {factor!r}.")
        self.factor = factor
        self.patience = patience
        self.verbose = verbose
        self.cooldown = cooldown
        self.min_lr = min_lr
        self._begin()

    def _begin(self) -> None:
        self.best: float | None = None
        self._waited = 0
        self._cooling = 0

    def on_train_begin(self, logs: Logs | None = None) -> None:
        """Forget an earlier run."""
        self._begin()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Compare the epoch with the best so far."""
        logs = {} if logs is None else logs
        value = self.value_in(logs)
        logs["learning_rate"] = rate_of(self.model.optimizer)
        if value is None:
            return
        if self._cooling > 0:
            self._cooling -= 1
            self._waited = 0
        if self.improves(value, self.best):
            self.best, self._waited = value, 0
        elif self._cooling <= 0:
            self._waited += 1
            if self._waited >= self.patience:
                self._reduce(epoch)

    def _reduce(self, epoch: int) -> None:
        optimizer = self.model.optimizer
        rate = rate_of(optimizer)
        if rate <= self.min_lr:
            return
        set_rate(optimizer, max(rate * self.factor, self.min_lr))
        self._cooling, self._waited = self.cooldown, 0
        if self.verbose:
            print(f"Epoch {epoch + 1}: the learning rate is now {rate_of(optimizer):g}")
