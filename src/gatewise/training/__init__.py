"""Training: the loop, what it records, and the callbacks."""

from __future__ import annotations

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
)
from gatewise.training.compiled import Compiled, refuse_unsupported
from gatewise.training.loop import (
    Plan,
    Validation,
    evaluate,
    fit,
    predict,
    predict_on_batch,
    test_on_batch,
    train_on_batch,
)
from gatewise.training.seeding import set_random_seed
from gatewise.training.several import Several
from gatewise.training.sources import Data

__all__ = [
    "BackupAndRestore",
    "CSVLogger",
    "Callback",
    "Compiled",
    "Data",
    "EarlyStopping",
    "History",
    "LambdaCallback",
    "LearningRateScheduler",
    "ModelCheckpoint",
    "Plan",
    "ProgressBar",
    "ReduceLROnPlateau",
    "Several",
    "TensorBoard",
    "TerminateOnNaN",
    "Validation",
    "evaluate",
    "fit",
    "predict",
    "predict_on_batch",
    "refuse_unsupported",
    "set_random_seed",
    "test_on_batch",
    "train_on_batch",
]
