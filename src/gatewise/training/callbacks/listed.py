"""What a user gives as `callbacks=`, as a list of callbacks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gatewise.errors import InputError
from gatewise.training.callbacks.callback import Callback
from gatewise.training.callbacks.torch_scheduler import TorchScheduler, is_torch_scheduler


def as_list(callbacks: Any) -> list[Callback]:
    """Return the callbacks as a list, or raise `InputError` for what is none.

    A scheduler of torch's becomes a `TorchScheduler`.
    """
    if callbacks is None:
        return []
    listed = list(callbacks) if isinstance(callbacks, Sequence) else [callbacks]
    given: list[Any] = [TorchScheduler(one) if is_torch_scheduler(one) else one for one in listed]
    for callback in given:
        if not isinstance(callback, Callback):
            raise InputError(
                f"callbacks holds {callback!r} ({type(callback).__name__}), which is no "
                "gatewise.callbacks.Callback. Derive from it, or wrap a function: "
                "LambdaCallback(on_epoch_end=function)."
            )
    return given
