"""The share of right answers, by the kind of label.

Keras's rule for the plain name "accuracy": one output column is a yes-or-no answer, labels with
fewer axes than the predictions (or one column) are class ids, all others are one-hot.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from torch import Tensor

from gatewise.errors import InputError
from gatewise.metrics.metric import SampleMean, aligned


def binary_accuracy(y_true: Tensor, y_pred: Tensor, threshold: float = 0.5) -> Tensor:
    """Return, for each sample or step, the share of outputs on the label's side of `threshold`.

    >>> import torch
    >>> binary_accuracy(torch.tensor([1.0, 0.0]), torch.tensor([[0.7], [0.6]]))
    tensor([1., 0.])
    """
    y_true, y_pred = aligned(y_true, y_pred)
    right = ((y_pred > threshold) == y_true).float()
    return right.squeeze(-1) if right.shape[-1] == 1 else right.mean(-1)


def categorical_accuracy(y_true: Tensor, y_pred: Tensor) -> Tensor:
    """Return 1 where the largest output is the largest entry of the label, else 0.

    >>> import torch
    >>> categorical_accuracy(torch.tensor([[0.0, 1.0]]), torch.tensor([[0.2, 0.8]]))
    tensor([1.])
    """
    y_true, y_pred = aligned(y_true, y_pred)
    return (y_true.argmax(-1) == y_pred.argmax(-1)).float()


def sparse_categorical_accuracy(y_true: Tensor, y_pred: Tensor) -> Tensor:
    """Return 1 where the largest output is that of the class id, else 0.

    >>> import torch
    >>> sparse_categorical_accuracy(torch.tensor([1, 1]), torch.tensor([[0.2, 0.8], [0.9, 0.1]]))
    tensor([1., 0.])
    """
    if y_true.dim() == y_pred.dim() and y_true.shape[-1] == 1:
        y_true = y_true.squeeze(-1)
    if y_true.shape != y_pred.shape[:-1]:
        raise InputError(
            f"sparse_categorical_accuracy expected class ids of shape {tuple(y_pred.shape[:-1])} "
            f"but got labels {tuple(y_true.shape)}."
        )
    return (y_pred.argmax(-1) == y_true).float()


class BinaryAccuracy(SampleMean):
    """The share of yes-or-no outputs that are right; for logits give `threshold=0.0`.

    >>> import torch
    >>> metric = BinaryAccuracy()
    >>> metric.update(torch.tensor([1.0, 0.0]), torch.tensor([[0.7], [0.6]]))
    >>> metric.result()
    0.5
    """

    def __init__(self, name: str = "binary_accuracy", threshold: float = 0.5) -> None:
        super().__init__(name, partial(binary_accuracy, threshold=threshold))
        self.threshold = threshold

    def get_config(self) -> dict[str, Any]:
        return {"name": self.name, "threshold": self.threshold}


class CategoricalAccuracy(SampleMean):
    """The share of samples or steps whose largest output is the label's class, labels one-hot.

    >>> import torch
    >>> metric = CategoricalAccuracy()
    >>> metric.update(torch.tensor([[0.0, 1.0]]), torch.tensor([[0.2, 0.8]]))
    >>> metric.result()
    1.0
    """

    def __init__(self, name: str = "categorical_accuracy") -> None:
        super().__init__(name, categorical_accuracy)

    def get_config(self) -> dict[str, Any]:
        return {"name": self.name}


class SparseCategoricalAccuracy(SampleMean):
    """The share of samples or steps whose largest output is the label's class, labels ids.

    >>> import torch
    >>> metric = SparseCategoricalAccuracy()
    >>> metric.update(torch.tensor([1, 1]), torch.tensor([[0.2, 0.8], [0.9, 0.1]]))
    >>> metric.result()
    0.5
    """

    def __init__(self, name: str = "sparse_categorical_accuracy") -> None:
        super().__init__(name, sparse_categorical_accuracy)

    def get_config(self) -> dict[str, Any]:
        return {"name": self.name}


class Accuracy(SampleMean):
    """Accuracy of the kind that the shapes of labels and predictions call for.

    `threshold` is for one output column; it stays 0.5 for logits too, as in Keras, unless given.

    >>> import torch
    >>> metric = Accuracy()
    >>> metric.update(torch.tensor([1, 0]), torch.tensor([[0.2, 0.8], [0.9, 0.1]]))
    >>> metric.result()
    1.0
    """

    def __init__(self, name: str = "accuracy", threshold: float = 0.5) -> None:
        super().__init__(name, self._matches)
        self.threshold = threshold

    def get_config(self) -> dict[str, Any]:
        return {"name": self.name, "threshold": self.threshold}

    def _matches(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        if y_pred.dim() == 1 or y_pred.shape[-1] == 1:
            return binary_accuracy(y_true, y_pred, self.threshold)
        if y_true.dim() < y_pred.dim() or y_true.shape[-1] == 1:
            return sparse_categorical_accuracy(y_true, y_pred)
        return categorical_accuracy(y_true, y_pred)
