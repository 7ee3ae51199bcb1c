"""The share of answers that are among the k largest outputs."""

from __future__ import annotations

from functools import partial
from typing import Any

from torch import Tensor

from gatewise.errors import InputError
from gatewise.metrics.metric import SampleMean, aligned


def sparse_top_k_categorical_accuracy(y_true: Tensor, y_pred: Tensor, k: int = 5) -> Tensor:
    """Return 1 where the output of the class id is among the `k` largest, else 0.

    >>> import torch
    >>> outputs = torch.tensor([[0.1, 0.5, 0.4], [0.7, 0.2, 0.1]])
    >>> sparse_top_k_categorical_accuracy(torch.tensor([2, 2]), outputs, k=2)
    tensor([1., 0.])
    """
    if y_true.dim() == y_pred.dim() and y_true.shape[-1] == 1:
        y_true = y_true.squeeze(-1)
    if y_true.shape != y_pred.shape[:-1]:
        raise InputError(
            f"sparse_top_k_categorical_accuracy expected class ids of shape "
            f"{tuple(y_pred.shape[:-1])} but got labels {tuple(y_true.shape)}."
        )
    smallest = y_pred.topk(min(k, y_pred.shape[-1]), dim=-1).values[..., -1]
    given = y_pred.gather(-1, y_true.long().unsqueeze(-1)).squeeze(-1)
    return (given >= smallest).float()


def top_k_categorical_accuracy(y_true: Tensor, y_pred: Tensor, k: int = 5) -> Tensor:
    """Return 1 where the output of the one-hot label's class is among the `k` largest, else 0."""
    y_true, y_pred = aligned(y_true, y_pred)
    return sparse_top_k_categorical_accuracy(y_true.argmax(-1), y_pred, k)


class TopKCategoricalAccuracy(SampleMean):
    """The share of one-hot labels whose class is among the `k` largest outputs.

    >>> import torch
    >>> metric = TopKCategoricalAccuracy(k=1)
    >>> metric.update(torch.tensor([[0.0, 1.0]]), torch.tensor([[0.2, 0.8]]))
    >>> metric.result()
    1.0
    """

    def __init__(self, k: int = 5, name: str = "top_k_categorical_accuracy") -> None:
        super().__init__(name, partial(top_k_categorical_accuracy, k=checked_k(k)))
        self.k = k

    def get_config(self) -> dict[str, Any]:
        return {"k": self.k, "name": self.name}


class SparseTopKCategoricalAccuracy(SampleMean):
    """The share of class ids that are among the `k` largest outputs."""

    def __init__(self, k: int = 5, name: str = "sparse_top_k_categorical_accuracy") -> None:
        super().__init__(name, partial(sparse_top_k_categorical_accuracy, k=checked_k(k)))
        self.k = k

    def get_config(self) -> dict[str, Any]:
        return {"k": self.k, "name": self.name}


def checked_k(k: int) -> int:
    """Return k, or raise the error for what is no number of outputs."""
    if isinstance(k, bool) or not isinstance(k, int) or k < 1:
        raise InputError(f"k is a whole number of 1 or more, but got {k!r}.")
    return k
