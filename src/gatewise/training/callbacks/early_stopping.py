"""Stopping when a value no longer improves."""

from __future__ import annotations

import math

from torch import Tensor

from gatewise.errors import InputError
from gatewise.training.callbacks.callback import Callback, Logs

_FALLING = ("loss", "error", "entropy", "divergence", "perplexity", "hinge", "poisson")
_RISING = ("acc", "auc", "precision", "recall", "f1", "r2", "iou", "similarity", "score")


class EarlyStopping(Callback):
    """Stops training when `monitor` has not improved for `patience` epochs, as Keras does.

    An epoch improves if it beats the best by more than `min_delta`; with `baseline`, the waiting
    ends only by beating that too. `mode` is `"min"`, `"max"` or `"auto"` (by the name:
    losses and errors fall, accuracies rise). `start_from_epoch` epochs pass before it looks.
    With `restore_best_weights` the model ends with the weights of its best epoch.

    Raises `InputError` after the first epoch if there is no value called `monitor`.

    >>> callback = EarlyStopping(monitor="val_accuracy", patience=2)
    >>> callback.mode
    'max'
    """

    def __init__(
        self,
        monitor: str = "val_loss",
        min_delta: float = 0.0,
        patience: int = 0,
        verbose: int = 0,
        mode: str = "auto",
        baseline: float | None = None,
        restore_best_weights: bool = False,
        start_from_epoch: int = 0,
    ) -> None:
        super().__init__()
        self.monitor = monitor
        self.min_delta = abs(min_delta)
        self.patience = patience
        self.verbose = verbose
        self.mode = _direction(monitor, mode)
        self.baseline = baseline
        self.restore_best_weights = restore_best_weights
        self.start_from_epoch = start_from_epoch
        self._begin()

    def _begin(self) -> None:
        self.best: float | None = None
        self.best_epoch = 0
        self.stopped_epoch = 0
        self._best_weights: dict[str, Tensor] | None = None
        self._waited = 0

    def on_train_begin(self, logs: Logs | None = None) -> None:
        """Forget an earlier run."""
        self._begin()

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Compare the epoch with the best so far."""
        value = self._value(logs or {})
        if value is None or epoch < self.start_from_epoch:
            return
        if self.restore_best_weights and self._best_weights is None:
            self._keep(epoch)
        self._waited += 1
        if self._improves(value, self.best):
            self.best, self.best_epoch = value, epoch
            if self.restore_best_weights:
                self._keep(epoch)
            if self.baseline is None or self._improves(value, self.baseline):
                self._waited = 0
        elif self._waited >= self.patience and epoch > 0:
            self.stopped_epoch = epoch
            self.model.stop_training = True

    def on_train_end(self, logs: Logs | None = None) -> None:
        """Put the best weights back, if asked."""
        if self.stopped_epoch and self.verbose:
            print(f"Epoch {self.stopped_epoch + 1}: early stopping")
        if self._best_weights is not None:
            if self.verbose:
                print(f"The weights are those of epoch {self.best_epoch + 1}.")
            self.model.load_state_dict(self._best_weights)

    def _keep(self, epoch: int) -> None:
        self.best_epoch = epoch
        self._best_weights = {
            name: tensor.detach().clone() for name, tensor in self.model.state_dict().items()
        }

    def _value(self, logs: Logs) -> float | None:
        if self.monitor in logs:
            return logs[self.monitor]
        if self.monitor.startswith("val_") and self.params.get("validates"):
            return None  # validation_freq leaves this epoch out
        cure = (
            "Give fit validation_data or validation_split, or watch another value."
            if self.monitor.startswith("val_")
            else "Watch one of those, or add the metric in compile."
        )
        raise InputError(
            f"EarlyStopping watches '{self.monitor}', but there is only {', '.join(logs)}. {cure}"
        )

    def _improves(self, value: float, reference: float | None) -> bool:
        if math.isnan(value):
            return False
        if reference is None:
            return True
        if self.mode == "min":
            return value + self.min_delta < reference
        return value - self.min_delta > reference


def _direction(monitor: str, mode: str) -> str:
    """Return "min" or "max"."""
    if mode in ("min", "max"):
        return mode
    if mode != "auto":
        raise InputError(f"mode={mode!r} is not known. Use 'min', 'max' or 'auto'.")
    if any(part in monitor for part in _FALLING):
        return "min"
    if any(part in monitor for part in _RISING):
        return "max"
    if monitor.removeprefix("val_") in ("mse", "mae", "mape", "msle", "rmse"):
        return "min"
    raise InputError(
        f"Whether '{monitor}' should fall or rise is not clear from its name. Give mode='min' or "
        "mode='max'."
    )
