"""Callbacks: what a user can hang into training."""

from __future__ import annotations

from gatewise.training.callbacks.backup import BackupAndRestore
from gatewise.training.callbacks.callback import Callback
from gatewise.training.callbacks.checkpoint import ModelCheckpoint
from gatewise.training.callbacks.csv_logger import CSVLogger
from gatewise.training.callbacks.diagnose import Diagnose, DiagnosisWarning
from gatewise.training.callbacks.early_stopping import EarlyStopping
from gatewise.training.callbacks.functions import LambdaCallback
from gatewise.training.callbacks.learning_rate import LearningRateScheduler, ReduceLROnPlateau
from gatewise.training.callbacks.progress import ProgressBar
from gatewise.training.callbacks.tensorboard import TensorBoard
from gatewise.training.callbacks.terminate_on_nan import TerminateOnNaN
from gatewise.training.callbacks.torch_scheduler import TorchScheduler
from gatewise.training.history import History

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
