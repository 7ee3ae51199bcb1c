"""The one objective that training minimizes and inspection differentiates."""

from __future__ import annotations

from torch import Tensor

from gatewise.losses.loss import Loss


def objective(
    loss: Loss,
    y_true: Tensor,
    y_pred: Tensor,
    *,
    mask: Tensor | None = None,
    sample_weight: Tensor | None = None,
    penalty: Tensor | None = None,
) -> Tensor:
    """Return the masked, weighted, regularized loss, a scalar: `loss(...) + penalty`.

    `mask` `(B, T)` is True at real steps, `sample_weight` is `(B,)` or `(B, T)`, as `Loss` takes
    them; `penalty` is the sum of the model's weight penalties.

    >>> import torch
    >>> from gatewise.losses import MeanSquaredError
    >>> y_true, y_pred = torch.tensor([[[1.0], [9.0]]]), torch.tensor([[[3.0], [0.0]]])
    >>> objective(MeanSquaredError(), y_true, y_pred, mask=torch.tensor([[True, False]]))
    tensor(4.)
    """
    total = loss(y_true, y_pred, sample_weight, mask)
    return total if penalty is None else total + penalty
