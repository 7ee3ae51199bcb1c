"""A learning rate scheduler of torch's own as a callback."""

from __future__ import annotations

from typing import Any

from torch.optim import lr_scheduler

from gatewise.errors import InputError
from gatewise.training.callbacks.callback import Callback, Logs
from gatewise.training.callbacks.learning_rate import rate_of

_PLAIN = (int, float, str, bool, type(None))


class TorchScheduler(Callback):
    """Calls `scheduler.step()` after each epoch; `fit` makes one of a scheduler among `callbacks`.

    A `ReduceLROnPlateau` of torch's is given `monitor`, by default the validation loss where there
    is one, else the loss. The scheduler must be of the model's own optimizer. The rate is reported
    as `learning_rate`.

    >>> import torch
    >>> optimizer = torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=0.5)
    >>> TorchScheduler(lr_scheduler.StepLR(optimizer, 1)).scheduler.optimizer is optimizer
    True
    """

    remembers = ("state",)

    def __init__(self, scheduler: Any, monitor: str | None = None) -> None:
        super().__init__()
        self.scheduler = scheduler
        self.monitor = monitor

    @property
    def state(self) -> list[list[Any]]:
        """What the scheduler remembers, of plain values, as pairs of name and value."""
        return [[name, value] for name, value in self.scheduler.state_dict().items() if _ok(value)]

    @state.setter
    def state(self, pairs: list[list[Any]]) -> None:
        self.scheduler.load_state_dict({**self.scheduler.state_dict(), **dict(pairs)})

    def on_train_begin(self, logs: Logs | None = None) -> None:
        """Refuse a scheduler of another optimizer, which would change nothing."""
        if self.scheduler.optimizer is not self.model.optimizer:
            raise InputError(
                f"The {type(self.scheduler).__name__} among callbacks is not of this model's "
                "optimizer. Build the model, compile(optimizer=o) with an optimizer o of torch's "
                "over model.parameters(), and make the scheduler of o; or give an optimizer of "
                "gatewise a schedule as learning_rate."
            )

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Take a step of the schedule, after reporting the epoch's rate."""
        logs = {} if logs is None else logs
        used = rate_of(self.model.optimizer)
        if isinstance(self.scheduler, lr_scheduler.ReduceLROnPlateau):
            name = self.monitor or ("val_loss" if "val_loss" in logs else "loss")
            if name not in logs:
                raise InputError(f"There is no '{name}' to monitor, only {', '.join(logs)}.")
            self.scheduler.step(logs[name])
        else:
            self.scheduler.step()
        logs["learning_rate"] = used


def is_torch_scheduler(candidate: object) -> bool:
    """Whether this is a scheduler of torch's."""
    return isinstance(candidate, lr_scheduler.LRScheduler)


def _ok(value: Any) -> bool:
    return isinstance(value, _PLAIN) or (
        isinstance(value, list) and all(isinstance(one, _PLAIN) for one in value)
    )
