"""Metrics with Keras's names and numbers, as counters on the device, and those of torchmetrics."""

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
from gatewise.metrics.metric import Mean, MeanMetric, Metric, RootMeanSquaredError
from gatewise.metrics.registry import NAMES, get

__all__ = [
    "NAMES",
    "Accuracy",
    "BinaryAccuracy",
    "CategoricalAccuracy",
    "Mean",
    "MeanMetric",
    "Metric",
    "RootMeanSquaredError",
    "SparseCategoricalAccuracy",
    "TorchMetric",
    "binary_accuracy",
    "categorical_accuracy",
    "get",
    "sparse_categorical_accuracy",
]
