"""From what a user writes in `metrics=` to a `Metric`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, cast

from torch import Tensor

from gatewise.errors import InputError, UnsupportedError, unknown_name
from gatewise.metrics.accuracy import (
    Accuracy,
    BinaryAccuracy,
    CategoricalAccuracy,
    SparseCategoricalAccuracy,
)
from gatewise.metrics.foreign import BINARY_NAMES, TorchMetric, binary_metric, is_torchmetric
from gatewise.metrics.metric import (
    MeanAbsoluteError,
    MeanMetric,
    MeanSquaredError,
    Metric,
    RootMeanSquaredError,
)
from gatewise.metrics.scores import AUC, F1Score, Precision, R2Score, Recall
from gatewise.metrics.top_k import SparseTopKCategoricalAccuracy, TopKCategoricalAccuracy

_MAKERS: dict[str, Callable[[str], Metric]] = {
    "binary_accuracy": BinaryAccuracy,
    "categorical_accuracy": CategoricalAccuracy,
    "sparse_categorical_accuracy": SparseCategoricalAccuracy,
    "top_k_categorical_accuracy": lambda name: TopKCategoricalAccuracy(name=name),
    "sparse_top_k_categorical_accuracy": lambda name: SparseTopKCategoricalAccuracy(name=name),
    "mse": MeanSquaredError,
    "mean_squared_error": MeanSquaredError,
    "mae": MeanAbsoluteError,
    "mean_absolute_error": MeanAbsoluteError,
    "rmse": RootMeanSquaredError,
    "root_mean_squared_error": RootMeanSquaredError,
    "r2": R2Score,
    "r2_score": R2Score,
}

CLASSES: dict[str, type[Metric]] = {
    metric.__name__: metric
    for metric in (
        Accuracy,
        BinaryAccuracy,
        CategoricalAccuracy,
        SparseCategoricalAccuracy,
        TopKCategoricalAccuracy,
        SparseTopKCategoricalAccuracy,
        MeanSquaredError,
        MeanAbsoluteError,
        RootMeanSquaredError,
        AUC,
        Precision,
        Recall,
        F1Score,
        R2Score,
    )
}
"""The metrics that a file can name with their arguments."""

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
    if isinstance(identifier, Mapping):
        name = identifier.get("class_name")
        if name not in CLASSES:
            raise unknown_name("metric", name, CLASSES)
        return CLASSES[name](**identifier["config"])
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


def serialize(identifier: Any) -> str | dict[str, Any]:
    """Return what `get` reads, as plain data: a name as it is, or a class and its arguments.

    >>> serialize(TopKCategoricalAccuracy(k=3))["config"]["k"]
    3
    """
    if isinstance(identifier, str):
        return identifier
    kind = type(identifier)
    if CLASSES.get(kind.__name__) is not kind:
        raise UnsupportedError(
            f"A file keeps metrics by name, but {identifier!r} is an object of no class that it "
            "could name. Use one of gatewise.metrics, such as metrics=['accuracy']."
        )
    return {"class_name": kind.__name__, "config": identifier.get_config()}


def _named(name: str, loss: object) -> Metric:
    known = name.lower()
    if known in ("accuracy", "acc"):
        return Accuracy(name, getattr(loss, "decision_threshold", 0.5))
    if known in _MAKERS:
        return _MAKERS[known](name)
    if known in BINARY_NAMES:
        return binary_metric(name)
    raise unknown_name("metric", name, NAMES)
