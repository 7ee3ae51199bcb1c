"""The losses as functions: labels and predictions in, one number for each sample or step out.

Each reduces the last axis only, `(B, ..., D) -> (B, ...)`, and gives Keras's numbers, including
where Keras bounds probabilities by its epsilon.
"""

from __future__ import annotations

from contextlib import suppress

from torch import Tensor
from torch.nn import functional

EPSILON = 1e-7


def binary_crossentropy(
    y_true: Tensor, y_pred: Tensor, from_logits: bool = False, label_smoothing: float = 0.0
) -> Tensor:
    """Return the mean over the last axis of `-(y * log(p) + (1 - y) * log(1 - p))`.

    `y_true` and `y_pred` have one shape `(B, ..., D)`. Probabilities are kept in [1e-7, 1 - 1e-7];
    with `from_logits`, `p = sigmoid(y_pred)`. `label_smoothing` s moves labels to `y(1-s) + s/2`.

    >>> import torch
    >>> binary_crossentropy(torch.tensor([[1.0], [0.0]]), torch.tensor([[0.5], [0.5]]))
    tensor([0.6931, 0.6931])
    """
    return _mean(_binary_crossentropy(y_true, y_pred, from_logits, label_smoothing, "none"))


def mean_binary_crossentropy(
    y_true: Tensor, y_pred: Tensor, from_logits: bool = False, label_smoothing: float = 0.0
) -> Tensor:
    """Return the mean of `binary_crossentropy`, in fewer operations.

    >>> import torch
    >>> mean_binary_crossentropy(torch.tensor([[1.0], [0.0]]), torch.tensor([[0.5], [0.5]]))
    tensor(0.6931)
    """
    return _binary_crossentropy(y_true, y_pred, from_logits, label_smoothing, "mean")


def categorical_crossentropy(
    y_true: Tensor, y_pred: Tensor, from_logits: bool = False, label_smoothing: float = 0.0
) -> Tensor:
    """Return `-sum_k y_k * log(p_k)` for one-hot or soft labels of shape `(B, ..., K)`.

    Probabilities are first divided by their sum and kept in [1e-7, 1 - 1e-7]; with `from_logits`,
    `p = softmax(y_pred)`. `label_smoothing` s moves labels to `y(1-s) + s/K`.

    >>> import torch
    >>> categorical_crossentropy(torch.tensor([[0.0, 1.0]]), torch.tensor([[0.5, 0.5]]))
    tensor([0.6931])
    """
    y_true = y_true.to(y_pred.dtype)
    if label_smoothing:
        y_true = y_true * (1.0 - label_smoothing) + label_smoothing / y_true.shape[-1]
    if from_logits:
        log_probabilities = y_pred.log_softmax(-1)
    else:
        normalized = y_pred / y_pred.sum(-1, keepdim=True)
        log_probabilities = normalized.clamp(EPSILON, 1.0 - EPSILON).log()
    return -(y_true * log_probabilities).sum(-1)


def sparse_categorical_crossentropy(
    y_true: Tensor, y_pred: Tensor, from_logits: bool = False, ignore_class: int | None = None
) -> Tensor:
    """Return `-log(p[y])` for class ids y of shape `(B, ...)` against `y_pred` `(B, ..., K)`.

    Probabilities are divided by their sum and kept in [1e-7, 1 - 1e-7]; with `from_logits`,
    `p = softmax(y_pred)`. Labels equal to `ignore_class` give 0.

    >>> import torch
    >>> sparse_categorical_crossentropy(torch.tensor([1]), torch.tensor([[0.5, 0.5]]))
    tensor([0.6931])
    """
    class_ids = class_ids_for(y_true, y_pred)
    if ignore_class is not None:
        kept = class_ids != ignore_class
        class_ids = class_ids.where(kept, 0)
        y_pred = y_pred.where(kept.unsqueeze(-1), 0)
    if from_logits:
        flat = functional.cross_entropy(
            y_pred.reshape(-1, y_pred.shape[-1]), class_ids.reshape(-1), reduction="none"
        )
        losses = flat.view(class_ids.shape)
    else:
        chosen = y_pred.gather(-1, class_ids.unsqueeze(-1)).squeeze(-1) / y_pred.sum(-1)
        losses = -chosen.clamp(EPSILON, 1.0 - EPSILON).log()
    return losses if ignore_class is None else losses.where(kept, 0.0)


def class_ids_for(y_true: Tensor, y_pred: Tensor) -> Tensor:
    """Return the labels as integers, without a last axis of size 1 that Keras also allows.

    >>> import torch
    >>> class_ids_for(torch.tensor([[2.0], [0.0]]), torch.zeros(2, 3))
    tensor([2, 0])
    """
    return without_column(y_true, y_pred).long()


def without_column(y_true: Tensor, y_pred: Tensor) -> Tensor:
    """Return class labels without the last axis, if it has size 1 and the predictions' place.

    >>> import torch
    >>> without_column(torch.zeros(2, 1), torch.zeros(2, 3)).shape
    torch.Size([2])
    """
    column = y_true.dim() == y_pred.dim() and y_true.shape[-1] == 1
    return y_true.squeeze(-1) if column else y_true


def mean_squared_error(y_true: Tensor, y_pred: Tensor) -> Tensor:
    """Return the mean over the last axis of `(y_true - y_pred)**2`.

    >>> import torch
    >>> mean_squared_error(torch.tensor([[1.0, 3.0]]), torch.tensor([[0.0, 1.0]]))
    tensor([2.5000])
    """
    return _mean((y_true.to(y_pred.dtype) - y_pred).square())


def mean_absolute_error(y_true: Tensor, y_pred: Tensor) -> Tensor:
    """Return the mean over the last axis of `|y_true - y_pred|`.

    >>> import torch
    >>> mean_absolute_error(torch.tensor([[1.0, 3.0]]), torch.tensor([[0.0, 1.0]]))
    tensor([1.5000])
    """
    return _mean((y_true.to(y_pred.dtype) - y_pred).abs())


def huber(y_true: Tensor, y_pred: Tensor, delta: float = 1.0) -> Tensor:
    """Return the mean over the last axis of `e**2 / 2`, where `e = y_pred - y_true`.

    Beyond `|e| = delta` it goes on as the tangent, `delta * |e| - delta**2 / 2`. Huber 1964,
    Annals of Mathematical Statistics 35.

    >>> import torch
    >>> huber(torch.tensor([[0.0, 0.0]]), torch.tensor([[1.0, 3.0]]))
    tensor([1.5000])
    """
    losses = functional.huber_loss(y_pred, y_true.to(y_pred.dtype), reduction="none", delta=delta)
    return _mean(losses)


def poisson(y_true: Tensor, y_pred: Tensor) -> Tensor:
    """Return the mean over the last axis of `y_pred - y_true * log(y_pred + 1e-7)`.

    >>> import torch
    >>> poisson(torch.tensor([[2.0]]), torch.tensor([[1.0]]))
    tensor([1.0000])
    """
    return _mean(y_pred - y_true.to(y_pred.dtype) * (y_pred + EPSILON).log())


def kl_divergence(y_true: Tensor, y_pred: Tensor) -> Tensor:
    """Return `sum_k y_k * log(y_k / p_k)` over the last axis, both first kept in [1e-7, 1].

    >>> import torch
    >>> kl_divergence(torch.tensor([[0.5, 0.5]]), torch.tensor([[0.25, 0.75]]))
    tensor([0.1438])
    """
    y_true = y_true.to(y_pred.dtype).clamp(EPSILON, 1.0)
    return (y_true * (y_true / y_pred.clamp(EPSILON, 1.0)).log()).sum(-1)


def _binary_crossentropy(
    y_true: Tensor, y_pred: Tensor, from_logits: bool, label_smoothing: float, reduction: str
) -> Tensor:
    """Return the crossentropy of each entry ("none") or the mean of all ("mean")."""
    y_true = y_true.to(y_pred.dtype)
    if label_smoothing:
        y_true = y_true * (1.0 - label_smoothing) + 0.5 * label_smoothing
    if from_logits:
        return functional.binary_cross_entropy_with_logits(y_pred, y_true, reduction=reduction)
    # As clamp, which takes five operations on the way back where hardtanh takes one.
    probabilities = functional.hardtanh(y_pred, EPSILON, 1.0 - EPSILON)
    return _bernoulli_crossentropy(y_true, probabilities, reduction)


def _bernoulli_crossentropy(y: Tensor, p: Tensor, reduction: str) -> Tensor:
    """Return `-(y * log(p) + (1 - y) * log(1 - p))`, by torch's kernel where that is safe."""
    if p.device.type == "cpu":
        # It refuses NaN (on CUDA that ends the process) and autocast; the equation takes both.
        with suppress(RuntimeError):
            return functional.binary_cross_entropy(p, y, reduction=reduction)
    losses = -(y * p.log() + (1.0 - y) * (-p).log1p())
    return losses.mean() if reduction == "mean" else losses


def _mean(values: Tensor) -> Tensor:
    """Return the mean over the last axis, which for a single column is a view."""
    return values.squeeze(-1) if values.shape[-1] == 1 else values.mean(-1)
