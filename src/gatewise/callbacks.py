"""Callbacks for `fit`, where a Keras user looks for them; they live in `gatewise.training`."""

from __future__ import annotations

from typing import Any

from gatewise.errors import missing
from gatewise.training.callbacks import (
    BackupAndRestore,
    Callback,
    CSVLogger,
    Diagnose,
    DiagnosisWarning,
    EarlyStopping,
    History,
    LambdaCallback,
    LearningRateScheduler,
    ModelCheckpoint,
    ProgressBar,
    ReduceLROnPlateau,
    TensorBoard,
    TerminateOnNaN,
    TorchScheduler,
)

__all__ = [
    "BackupAndRestore",
    "CSVLogger",
    "Callback",
    "Diagnose",
    "DiagnosisWarning",
    "EarlyStopping",
    "History",
    "LambdaCallback",
    "LearningRateScheduler",
    "ModelCheckpoint",
    "ProgressBar",
    "ReduceLROnPlateau",
    "TensorBoard",
    "TerminateOnNaN",
    "TorchScheduler",
]


def __getattr__(name: str) -> Any:
    """Say which callback is nearest to one that does not exist here."""
    raise missing("gatewise.callbacks", name, __all__)
