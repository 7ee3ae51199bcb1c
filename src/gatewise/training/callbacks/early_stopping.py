"""Stopping when a value no longer improves."""

from __future__ import annotations

from torch import Tensor

from gatewise.training.callbacks.callback import Logs
from gatewise.training.callbacks.monitored import Monitored


class EarlyStopping(Monitored):
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

    remembers = ("best", "best_epoch", "stopped_epoch", "_best_weights", "_waited")

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
        super().__init__(monitor, mode, min_delta)
        self.patience = patience
        self.verbose = verbose
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
        value = self.value_in(logs or {})
        if value is None or epoch < self.start_from_epoch:
            return
        if self.restore_best_weights and self._best_weights is None:
            self._keep(epoch)
        self._waited += 1
        if self.improves(value, self.best):
            self.best, self.best_epoch = value, epoch
            if self.restore_best_weights:
                self._keep(epoch)
            if self.baseline is None or self.improves(value, self.baseline):
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
