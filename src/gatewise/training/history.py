"""What a run of `fit` recorded."""

from __future__ import annotations

from gatewise.training.callbacks.callback import Callback, Logs


class History(Callback):
    """The losses and metrics of each epoch: `history` by name, `epoch` their numbers, `params`.

    >>> history = History()
    >>> history.on_epoch_end(0, {"loss": 0.7, "val_loss": 0.8})
    >>> history.history
    {'loss': [0.7], 'val_loss': [0.8]}
    """

    def __init__(self) -> None:
        super().__init__()
        self.history: dict[str, list[float]] = {}
        self.epoch: list[int] = []

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Append the epoch's values."""
        self.epoch.append(epoch)
        for name, value in (logs or {}).items():
            self.history.setdefault(name, []).append(value)

    def __repr__(self) -> str:
        last = {name: round(values[-1], 4) for name, values in self.history.items()}
        return f"History({len(self.epoch)} epochs, last {last})"
