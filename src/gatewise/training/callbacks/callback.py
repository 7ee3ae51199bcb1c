"""What a callback is, and how the training loop calls many of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

from gatewise.arguments import KnownArguments
from gatewise.errors import NonFiniteError

Logs = Mapping[str, float]


class Callback(KnownArguments):
    """Something called at the ends of steps, epochs and runs; override what you need.

    `self.model` is the model, `self.params` holds `epochs`, `steps` (an epoch, None if unknown),
    `verbose` and `validates` (whether there is validation data). `logs` maps the names of the loss
    and the metrics to their values so far; in the hooks of a batch it is computed when it is
    read, so a callback that does not look costs nothing. Set `self.model.stop_training = True` to
    stop after the current step.

    >>> class Printer(Callback):
    ...     def on_epoch_end(self, epoch, logs=None):
    ...         print(epoch, sorted(logs))
    >>> Printer().on_epoch_end(0, {"loss": 0.5})
    0 ['loss']
    """

    remembers: ClassVar[tuple[str, ...]] = ()
    """The attributes that a backup of the run keeps: numbers, None, or tensors by name."""

    def __init__(self) -> None:
        self.model: Any = None
        self.params: dict[str, Any] = {}

    def set_model(self, model: Any) -> None:
        """Receive the model before anything else is called."""
        self.model = model

    def set_params(self, params: dict[str, Any]) -> None:
        """Receive what is known about the run."""
        self.params = params

    def on_train_begin(self, logs: Logs | None = None) -> None:
        """Called once at the beginning of `fit`."""

    def on_train_end(self, logs: Logs | None = None) -> None:
        """Called once at the end of `fit`, with the last epoch's logs."""

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        """Called before an epoch; epochs count from 0."""

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Called after an epoch and its validation."""

    def on_train_batch_begin(self, batch: int, logs: Logs | None = None) -> None:
        """Called before a training step; steps count from 0 in each epoch."""

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """Called after a training step, with the epoch's values so far."""

    def on_non_finite(self, error: NonFiniteError) -> bool:
        """Called when the loss or a gradient is NaN; return True to end training without error."""
        return False

    def on_test_begin(self, logs: Logs | None = None) -> None:
        """Called at the beginning of `evaluate` or of a validation."""

    def on_test_end(self, logs: Logs | None = None) -> None:
        """Called at the end of `evaluate` or of a validation."""

    def on_test_batch_begin(self, batch: int, logs: Logs | None = None) -> None:
        """Called before a batch of `evaluate` or of a validation."""

    def on_test_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """Called after a batch of `evaluate` or of a validation."""

    def on_predict_begin(self, logs: Logs | None = None) -> None:
        """Called at the beginning of `predict`."""

    def on_predict_end(self, logs: Logs | None = None) -> None:
        """Called at the end of `predict`."""

    def on_predict_batch_begin(self, batch: int, logs: Logs | None = None) -> None:
        """Called before a batch of `predict`."""

    def on_predict_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """Called after a batch of `predict`."""


class Calls:
    """The hooks of several callbacks; those that nobody overrides cost nothing."""

    def __init__(self, callbacks: Sequence[Callback], model: Any, params: dict[str, Any]) -> None:
        self._callbacks = list(callbacks)
        for callback in self._callbacks:
            callback.set_params(params)
            callback.set_model(model)

    def of(self, hook: str) -> list[Callable[..., None]]:
        """Return the callbacks' own methods for this hook, in order."""
        default = getattr(Callback, hook)
        methods = (getattr(callback, hook) for callback in self._callbacks)
        return [method for method in methods if getattr(method, "__func__", None) is not default]

    def call(self, hook: str, *arguments: Any) -> None:
        """Call one hook of every callback."""
        for method in self.of(hook):
            method(*arguments)
