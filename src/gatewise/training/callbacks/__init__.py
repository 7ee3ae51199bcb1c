"""Callbacks: what a user can hang into training."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gatewise.errors import missing
from gatewise.training.callbacks.backup import BackupAndRestore
from gatewise.training.callbacks.callback import Callback
from gatewise.training.callbacks.checkpoint import ModelCheckpoint
from gatewise.training.callbacks.csv_logger import CSVLogger
from gatewise.training.callbacks.early_stopping import EarlyStopping
from gatewise.training.callbacks.functions import LambdaCallback
from gatewise.training.callbacks.learning_rate import LearningRateScheduler, ReduceLROnPlateau
from gatewise.training.callbacks.progress import ProgressBar
from gatewise.training.callbacks.tensorboard import TensorBoard
from gatewise.training.callbacks.terminate_on_nan import TerminateOnNaN
from gatewise.training.callbacks.torch_scheduler import TorchScheduler
from gatewise.training.history import History

if TYPE_CHECKING:
    from gatewise.training.callbacks.diagnose import Diagnose, DiagnosisWarning

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
    """Import `Diagnose`, and with it the inspector, when it is first asked for."""
    if name in ("Diagnose", "DiagnosisWarning"):
        from gatewise.training.callbacks import diagnose

        return getattr(diagnose, name)
    raise missing("gatewise.training.callbacks", name, __all__)
