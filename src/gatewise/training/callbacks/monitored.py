"""What callbacks share that watch one value: which way it should go, and whether it improved."""

from __future__ import annotations

import math

from gatewise.errors import InputError
from gatewise.training.callbacks.callback import Callback, Logs

_FALLING = ("loss", "error", "entropy", "divergence", "perplexity", "hinge", "poisson")
_RISING = ("acc", "auc", "precision", "recall", "f1", "r2", "iou", "similarity", "score")


class Monitored(Callback):
    """A callback that compares the value called `monitor` with the best so far."""

    def __init__(self, monitor: str, mode: str, min_delta: float = 0.0) -> None:
        super().__init__()
        self.monitor = monitor
        self.mode = _direction(monitor, mode)
        self.min_delta = abs(min_delta)

    def value_in(self, logs: Logs) -> float | None:
        """Return the watched value; None in an epoch without validation."""
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
            f"{type(self).__name__} watches '{self.monitor}', but there is only "
            f"{', '.join(logs)}. {cure}"
        )

    def improves(self, value: float, reference: float | None) -> bool:
        """Return whether a value is better than another by more than `min_delta`."""
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
