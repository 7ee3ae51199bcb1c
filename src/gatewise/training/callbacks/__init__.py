"""Callbacks: what a user can hang into training."""

from __future__ import annotations

from gatewise.training.callbacks.callback import Callback
from gatewise.training.callbacks.early_stopping import EarlyStopping
from gatewise.training.callbacks.functions import LambdaCallback
from gatewise.training.callbacks.progress import ProgressBar
from gatewise.training.history import History

__all__ = ["Callback", "EarlyStopping", "History", "LambdaCallback", "ProgressBar"]
