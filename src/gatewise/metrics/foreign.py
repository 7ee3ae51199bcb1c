"""Metrics of torchmetrics, taken as they are; the import happens when one is asked for."""

from __future__ import annotations

import re
from typing import Any

from torch import Tensor

from gatewise.errors import InputError, UnsupportedError
from gatewise.metrics.metric import Metric

# Names served by torchmetrics for one yes-or-no output, and the classes behind them.
BINARY_NAMES = {
    "auc": "BinaryAUROC",
    "f1": "BinaryF1Score",
    "f1_score": "BinaryF1Score",
    "precision": "BinaryPrecision",
    "recall": "BinaryRecall",
}


class TorchMetric(Metric):
    """An object of torchmetrics, fed with the real steps of each batch.

    Predictions `(B, T, K)` go in as `(N, K)` and `(B, T, 1)` as `(N,)`, N the number of real
    steps; class labels go in as integers. Sample weights are refused: torchmetrics has none.

    >>> import torch
    >>> from torchmetrics.classification import BinaryRecall
    >>> metric = TorchMetric(BinaryRecall())
    >>> metric.update(torch.tensor([1.0, 1.0]), torch.tensor([[0.9], [0.2]]))
    >>> metric.name, metric.result()
    ('binary_recall', 0.5)
    """

    def __init__(self, metric: Any, name: str | None = None) -> None:
        self.metric = metric
        self.name = name or _snake_case(type(metric).__name__)
        self._classifies = ".classification" in type(metric).__module__
        self._updated = False

    def update(
        self,
        y_true: Tensor,
        y_pred: Tensor,
        mask: Tensor | None = None,
        sample_weight: Tensor | None = None,
    ) -> None:
        if sample_weight is not None:
            raise UnsupportedError(
                f"The metric {self.name!r} is torchmetrics' and knows no sample weights. Give it "
                "under metrics, not weighted_metrics."
            )
        labels, predictions = _rows(self.name, y_true, y_pred, mask)
        if self._classifies:
            labels = _whole(self.name, labels)
        if len(predictions):
            self.metric.to(y_pred.device).update(predictions.detach(), labels)
            self._updated = True

    def result(self) -> float:
        if not self._updated:
            return 0.0
        value = self.metric.compute()
        if not isinstance(value, Tensor) or value.numel() != 1:
            shape = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
            raise InputError(
                f"The metric {self.name!r} computed {shape}, and a History holds one number for "
                'each metric. Give it average="macro" or another average.'
            )
        return float(value)

    def reset(self) -> None:
        self.metric.reset()
        self._updated = False


def binary_metric(name: str) -> TorchMetric:
    """Return the metric behind one of `BINARY_NAMES`.

    >>> type(binary_metric("auc").metric).__name__
    'BinaryAUROC'
    """
    from torchmetrics import classification

    return TorchMetric(getattr(classification, BINARY_NAMES[name.lower()])(), name)


def is_torchmetric(candidate: object) -> bool:
    """Whether this is an object of torchmetrics, found without importing it.

    >>> is_torchmetric("auc")
    False
    """
    return any(
        base.__module__ == "torchmetrics.metric" and base.__name__ == "Metric"
        for base in type(candidate).__mro__
    )


def _rows(name: str, y_true: Tensor, y_pred: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
    """Return labels `(N,)` or `(N, K)` and predictions `(N,)` or `(N, K)` of the real steps."""
    if mask is not None:
        _check_mask(name, mask, y_true, y_pred)
        y_true, y_pred = y_true[mask], y_pred[mask]
    outputs = y_pred.shape[-1] if y_pred.dim() > 1 else 1
    rows = y_pred.numel() // outputs
    if y_true.numel() not in (rows, y_pred.numel()):
        raise InputError(
            f"The metric {name!r} got labels {tuple(y_true.shape)} for predictions "
            f"{tuple(y_pred.shape)}. Give one class id for each row, or labels of the same shape."
        )
    predictions = y_pred.reshape(rows) if outputs == 1 else y_pred.reshape(rows, outputs)
    return y_true.reshape(rows if y_true.numel() == rows else predictions.shape), predictions


def _check_mask(name: str, mask: Tensor, y_true: Tensor, y_pred: Tensor) -> None:
    for values in (y_true, y_pred):
        if values.shape[: mask.dim()] != mask.shape:
            raise InputError(
                f"The metric {name!r} got a mask of shape {tuple(mask.shape)} for labels "
                f"{tuple(y_true.shape)} and predictions {tuple(y_pred.shape)}; it must have their "
                "first axes."
            )


def _whole(name: str, labels: Tensor) -> Tensor:
    """Return class labels as integers."""
    if not labels.is_floating_point():
        return labels.long()
    whole = labels.long()
    if not bool((whole == labels).all()):
        raise InputError(f"The metric {name!r} expected whole numbers as labels, not fractions.")
    return whole


def _snake_case(name: str) -> str:
    """Return BinaryAUROC as binary_auroc."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower()
