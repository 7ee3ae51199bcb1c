"""Losses with Keras's names and numbers, and the objective that training minimizes."""

from __future__ import annotations

from typing import Any

from gatewise.errors import missing
from gatewise.losses.ctc import CTC, ctc
from gatewise.losses.foreign import FunctionLoss, TorchLoss
from gatewise.losses.functions import (
    binary_crossentropy,
    categorical_crossentropy,
    huber,
    kl_divergence,
    mean_absolute_error,
    mean_squared_error,
    poisson,
    sparse_categorical_crossentropy,
)
from gatewise.losses.loss import Loss
from gatewise.losses.objective import objective
from gatewise.losses.registry import LOSSES, get, serialize
from gatewise.losses.standard import (
    BinaryCrossentropy,
    CategoricalCrossentropy,
    Huber,
    KLDivergence,
    MeanAbsoluteError,
    MeanSquaredError,
    Poisson,
    SparseCategoricalCrossentropy,
)

__all__ = [
    "CTC",
    "LOSSES",
    "BinaryCrossentropy",
    "CategoricalCrossentropy",
    "FunctionLoss",
    "Huber",
    "KLDivergence",
    "Loss",
    "MeanAbsoluteError",
    "MeanSquaredError",
    "Poisson",
    "SparseCategoricalCrossentropy",
    "TorchLoss",
    "binary_crossentropy",
    "categorical_crossentropy",
    "ctc",
    "get",
    "huber",
    "kl_divergence",
    "mean_absolute_error",
    "mean_squared_error",
    "objective",
    "poisson",
    "serialize",
    "sparse_categorical_crossentropy",
]


def __getattr__(name: str) -> Any:
    """Say which loss is nearest to one that does not exist here."""
    raise missing("gatewise.losses", name, __all__)
