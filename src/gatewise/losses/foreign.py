"""Losses that are the user's or torch's own, taken as they are."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from gatewise.errors import InputError
from gatewise.losses.loss import Loss


class FunctionLoss(Loss):
    """A function `(y_true, y_pred) -> losses` of the user's, called as Keras calls it.

    Float labels get the type of the predictions; integer labels stay integers.

    >>> import torch
    >>> loss = FunctionLoss(lambda y_true, y_pred: (y_true - y_pred).abs().mean(-1))
    >>> loss(torch.tensor([1.0]), torch.tensor([[3.0]]))
    tensor(2.)
    """

    def __init__(self, function: Callable[[Tensor, Tensor], Tensor]) -> None:
        self.function = function
        self.name = getattr(function, "__name__", type(function).__name__)

    def call(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        if y_true.is_floating_point():
            y_true = y_true.to(y_pred.dtype)
        return self.function(y_true, y_pred)


class TorchLoss(Loss):
    """A loss module of torch's manner, called as torch does: `module(y_pred, y_true)`.

    A module that returns one number serves as it is; masks and sample weights need one that
    returns a loss for each step (`reduction="none"`).

    >>> import torch
    >>> TorchLoss(nn.MSELoss())(torch.tensor([[1.0]]), torch.tensor([[3.0]]))
    tensor(4.)
    """

    def __init__(self, module: nn.Module) -> None:
        self.module = module
        self.name = type(module).__name__
        if isinstance(module, nn.BCEWithLogitsLoss):
            self.decision_threshold = 0.0

    def per_step(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        return self.call(y_true, y_pred)

    def call(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        return self.module(y_pred, y_true)

    def check(self, y_true: Tensor, y_pred: Tensor, mask: Tensor | None = None) -> None:
        try:
            super().check(y_true, y_pred, mask)
        except (ValueError, RuntimeError, IndexError) as refusal:
            raise InputError(
                f"torch's {self.name} refused predictions {tuple(y_pred.shape)} of "
                f"{y_pred.dtype} with labels {tuple(y_true.shape)} of {y_true.dtype}: "
                f"{refusal} Give labels as torch documents them for {self.name}."
            ) from refusal
