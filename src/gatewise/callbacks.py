"""Callbacks for `fit`, where a Keras user looks for them; they live in `gatewise.training`."""

from __future__ import annotations

from gatewise.training.callbacks import (
    Callback,
    EarlyStopping,
    History,
    LambdaCallback,
    ProgressBar,
)

__all__ = ["Callback", "EarlyStopping", "History", "LambdaCallback", "ProgressBar"]
