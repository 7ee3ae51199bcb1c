"""From what a user writes in `metrics=` to a `Metric`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from torch import Tensor

from gatewise.errors import InputError, unknown_name
from gatewise.metrics.accuracy import (
    Accuracy,
    BinaryAccuracy,
    CategoricalAccuracy,
    SparseCategoricalAccuracy,
)
from gatewise.metrics.foreign import BINARY_NAMES, TorchMetric, binary_metric, is_torchmetric
from gatewise.metrics.metric import (
    MeanMetric,
    Metric,
    RootMeanSquaredError,
    absolute_error,
    squared_error,
)

_MAKERS: dict[str, Callable[[str], Metric]] = {
    "binary_accuracy": BinaryAccuracy,
    "categorical_accuracy": CategoricalAccuracy,
    "sparse_categorical_accuracy": SparseCategoricalAccuracy,
    "mse": lambda name: MeanMetric(name, squared_error),
    "mean_squared_error": lambda name: MeanMetric(name, squared_error),
    "mae": lambda name: MeanMetric(name, absolute_error),
    "mean_absolute_error": lambda name: MeanMetric(name, absolute_error),
    "rmse": RootMeanSquaredError,
    "root_mean_squared_error": RootMeanSquaredError,
}

NAMES = ("accuracy", "acc", *_MAKERS, *BINARY_NAMES)


def get(
    identifier: str | Metric | Callable[[Tensor, Tensor], Tensor] | Any, loss: object = None
) -> Metric:
    """Return the metric that `identifier` names or is; it is reported under the name as written.

    A name ("accuracy", "mse", "auc" …), a `Metric`, an object of torchmetrics, or a function
    `(y_true, y_pred) -> values`. "accuracy" takes the kind that the shapes call for, and the
    threshold from `loss` (0 for torch's `BCEWithLogitsLoss`).

    >>> get("acc").name
    'acc'
    """
    if isinstance(identifier, Metric):
        return identifier
    if isinstance(identifier, str):
        return _named(identifier, loss)
    if isinstance(identifier, type):
        name = identifier.__name__
        raise InputError(f"The metric is the class {name}; give an object: {name}().")
    if is_torchmetric(identifier):
        return TorchMetric(identifier)
    if callable(identifier):
        name = getattr(identifier, "__name__", type(identifier).__name__)
        return MeanMetric(name, cast(Any, identifier))
    raise InputError(
        f"A metric expected a name, a metric of gatewise or torchmetrics, or a function (y_true, "
        f"y_pred) -> values, but got {identifier!r} of type {type(identifier).__name__}."
    )


def _named(name: str, loss: object) -> Metric:
    known = name.lower()
    if known in ("accuracy", "acc"):
        return Accuracy(name, getattr(loss, "decision_threshold", 0.5))
    if known in _MAKERS:
        return _MAKERS[known](name)
    if known in BINARY_NAMES:
        return binary_metric(name)
    raise unknown_name("metric", name, NAMES)
