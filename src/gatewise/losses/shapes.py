"""How labels, masks and weights are brought into the shape of what they go with."""

from __future__ import annotations

import torch
from torch import Tensor

from gatewise.errors import InputError


def align(y_true: Tensor, y_pred: Tensor) -> tuple[Tensor, Tensor]:
    """Return both with one number of axes, where only a last axis of size 1 is missing.

    Keras's rule, with one difference: for `(B, T, 1)` predictions and `(B, T)` labels Keras drops
    the axis and then averages over time, which leaves no step to mask.

    >>> y_true, y_pred = align(torch.zeros(4), torch.zeros(4, 1))
    >>> y_true.shape, y_pred.shape
    (torch.Size([4, 1]), torch.Size([4, 1]))
    """
    if y_pred.dim() == 1:
        y_pred = y_pred.unsqueeze(-1)
    if y_true.dim() + 1 == y_pred.dim() and y_pred.shape[-1] == 1:
        y_true = y_true.unsqueeze(-1)
    elif y_true.dim() == y_pred.dim() + 1 and y_true.shape[-1] == 1:
        y_true = y_true.squeeze(-1)
    return y_true, y_pred


def full_precision(y_pred: Tensor) -> Tensor:
    """Return half-precision predictions in float32: 1 - 1e-7 is 1 in anything shorter.

    >>> full_precision(torch.ones(1, dtype=torch.bfloat16)).dtype
    torch.float32
    """
    return y_pred.float() if y_pred.dtype in (torch.bfloat16, torch.float16) else y_pred


def fit_to(name: str, given: Tensor, values: Tensor) -> Tensor:
    """Return a mask or weights with axes added at the end, to go with per-step values.

    >>> fit_to("mask", torch.ones(2), torch.zeros(2, 5)).shape
    torch.Size([2, 1])
    """
    if given.dim() == values.dim() + 1 and given.shape[-1] == 1:
        given = given.squeeze(-1)
    fitted = given.reshape(given.shape + (1,) * (values.dim() - given.dim()))
    matching = fitted.dim() == values.dim() and all(
        a == b or (a == 1 and axis > 0)
        for axis, (a, b) in enumerate(zip(fitted.shape, values.shape, strict=True))
    )
    if not matching:
        raise InputError(
            f"{name} expected shape {tuple(values.shape)}, one entry for each loss, or fewer "
            f"trailing axes, but got {tuple(given.shape)}."
        )
    return fitted
