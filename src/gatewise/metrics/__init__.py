"""Metrics with Keras's names and numbers, as counters on the device, and those of torchmetrics."""

from __future__ import annotations

from typing import Any

from gatewise.errors import missing
from gatewise.metrics.accuracy import (
    Accuracy,
    BinaryAccuracy,
    CategoricalAccuracy,
    SparseCategoricalAccuracy,
    binary_accuracy,
    categorical_accuracy,
    sparse_categorical_accuracy,
)
from gatewise.metrics.foreign import TorchMetric
from gatewise.metrics.metric import (
    Mean,
    MeanAbsoluteError,
    MeanMetric,
    MeanSquaredError,
    Metric,
    RootMeanSquaredError,
)
from gatewise.metrics.registry import NAMES, get, serialize
from gatewise.metrics.scores import AUC, F1Score, Precision, R2Score, Recall
from gatewise.metrics.top_k import (
    SparseTopKCategoricalAccuracy,
    TopKCategoricalAccuracy,
    sparse_top_k_categorical_accuracy,
    top_k_categorical_accuracy,
)

__all__ = [
    "AUC",
    "NAMES",
    "Accuracy",
    "BinaryAccuracy",
    "CategoricalAccuracy",
    "F1Score",
    "Mean",
    "MeanAbsoluteError",
    "MeanMetric",
    "MeanSquaredError",
    "Metric",
    "Precision",
    "R2Score",
    "Recall",
    "RootMeanSquaredError",
    "SparseCategoricalAccuracy",
    "SparseTopKCategoricalAccuracy",
    "TopKCategoricalAccuracy",
    "TorchMetric",
    "binary_accuracy",
    "categorical_accuracy",
    "get",
    "serialize",
    "sparse_categorical_accuracy",
    "sparse_top_k_categorical_accuracy",
    "top_k_categorical_accuracy",
]


def __getattr__(name: str) -> Any:
    """Say which metric is nearest to one that does not exist here."""
    raise missing("gatewise.metrics", name, __all__)
