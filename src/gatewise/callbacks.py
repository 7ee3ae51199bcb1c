"""Callbacks for `fit`, where a Keras user looks for them; they live in `gatewise.training`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gatewise.errors import missing
from gatewise.training import callbacks as homes
from gatewise.training.callbacks import (
    BackupAndRestore,
    Callback,
    CSVLogger,
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

if TYPE_CHECKING:
    from gatewise.training.callbacks import Diagnose, DiagnosisWarning

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
    """Return `Diagnose`, which brings the inspector; of other names, say which is nearest."""
    if name in ("Diagnose", "DiagnosisWarning"):
        return getattr(homes, name)
    raise missing("gatewise.callbacks", name, __all__)
