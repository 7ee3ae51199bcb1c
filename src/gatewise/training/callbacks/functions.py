"""A callback made of plain functions."""

from __future__ import annotations

from collections.abc import Callable

from gatewise.training.callbacks.callback import Callback

_Function = Callable[..., object]


class LambdaCallback(Callback):
    """Calls the given functions: `on_epoch_end(epoch, logs)`, `on_train_begin(logs)` and so on.

    >>> seen = []
    >>> callback = LambdaCallback(on_epoch_end=lambda epoch, logs: seen.append(epoch))
    >>> callback.on_epoch_end(3, {})
    >>> seen
    [3]
    """

    def __init__(
        self,
        on_epoch_begin: _Function | None = None,
        on_epoch_end: _Function | None = None,
        on_train_begin: _Function | None = None,
        on_train_end: _Function | None = None,
        on_train_batch_begin: _Function | None = None,
        on_train_batch_end: _Function | None = None,
    ) -> None:
        super().__init__()
        given = {
            "on_epoch_begin": on_epoch_begin,
            "on_epoch_end": on_epoch_end,
            "on_train_begin": on_train_begin,
            "on_train_end": on_train_end,
            "on_train_batch_begin": on_train_batch_begin,
            "on_train_batch_end": on_train_batch_end,
        }
        for hook, function in given.items():
            if function is not None:
                setattr(self, hook, function)
