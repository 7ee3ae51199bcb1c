"""What a loss of gatewise is: one number for each sample or step, and one for all of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Self

import torch
from torch import Tensor

from gatewise.arguments import KnownArguments
from gatewise.errors import InputError, UnsupportedError
from gatewise.losses import checks
from gatewise.losses.reduction import REDUCTIONS, reduce_losses
from gatewise.losses.shapes import align, fit_to, full_precision


class Loss(KnownArguments):
    """A loss of labels and predictions; a subclass defines `call`, the loss of each sample or step.

    Called, it gives one number, by `reduction`: "sum_over_batch_size" (also "mean"),
    "mean_with_sample_weight" or "sum".

    >>> from gatewise.losses import MeanSquaredError
    >>> y_true, y_pred = torch.tensor([1.0, 2.0]), torch.tensor([[1.0], [0.0]])
    >>> MeanSquaredError()(y_true, y_pred)
    tensor(2.)
    >>> MeanSquaredError().per_step(y_true, y_pred)
    tensor([0., 4.])
    """

    name: str = "loss"
    reduction: str = "sum_over_batch_size"
    # Where a metric such as accuracy draws the line between two classes.
    decision_threshold: float = 0.5

    def call(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        """Return the loss of each sample or step, of labels that are aligned already."""
        raise NotImplementedError(f"{type(self).__name__} needs a method call(y_true, y_pred).")

    def __call__(
        self,
        y_true: Tensor,
        y_pred: Tensor,
        sample_weight: Tensor | None = None,
        mask: Tensor | None = None,
    ) -> Tensor:
        """Return `sum(loss * weight * mask) / (number of real steps)`, for the default reduction.

        `mask` `(B, T)` is True at real steps; labels at the others may be anything, NaN included,
        and get no gradient. `sample_weight` is `(B,)`, or `(B, T)` to weigh steps.
        """
        if mask is not None and y_true.shape[: mask.dim()] == mask.shape:
            # A label at a masked step may be NaN or no class at all, and would spoil the gradient.
            y_true = y_true.masked_fill(~fit_to("mask", mask, y_true), 0)
        kept = self.kept(y_true, y_pred)
        if mask is None and sample_weight is None and kept is None and self.reduction != "sum":
            return self.mean(y_true, y_pred)
        losses = self.per_step(y_true, y_pred)
        if losses.dim() == 0 and (mask is not None or sample_weight is not None):
            given = "sample weights" if mask is None else "a mask"
            raise UnsupportedError(
                f"The loss {self.name!r} returned one number, so {given} cannot be applied to its "
                'samples. Return a loss for each sample or step (torch: reduction="none").'
            )
        if kept is not None:
            mask = kept if mask is None else fit_to("mask", mask, kept) & kept
        return reduce_losses(losses, mask, sample_weight, self.reduction)

    def per_step(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        """Return the loss of each sample `(B,)` or step `(B, T)`.

        Shapes are compared, values are not looked at: that is for `check`, once.
        """
        return self.call(*align(y_true, full_precision(y_pred)))

    def mean(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        """Return the mean of `per_step`, for which a loss may know a shorter way."""
        return self.per_step(y_true, y_pred).mean()

    def check(self, y_true: Tensor, y_pred: Tensor, mask: Tensor | None = None) -> None:
        """Raise InputError if these labels cannot go with such predictions, and name the cure.

        Labels may have more rows than predictions; labels at masked steps are not looked at.
        """
        with torch.no_grad():
            losses = self.per_step(y_true[: len(y_pred)], y_pred)
        if losses.dim() > 0 and len(losses) != len(y_pred):
            raise InputError(
                f"The loss {self.name!r} returned shape {tuple(losses.shape)} for predictions "
                f"{tuple(y_pred.shape)}. Return one number for each sample or step, or for all."
            )

    def kept(self, y_true: Tensor, y_pred: Tensor) -> Tensor | None:
        """Return a mask of the labels that count, for losses that leave some out; else None."""
        return None

    def get_config(self) -> dict[str, Any]:
        """Return the settings, as plain data for a file."""
        if not dataclasses.is_dataclass(self):
            raise UnsupportedError(
                f"The loss {self.name!r} is code and is not written to model files. Use one of "
                "gatewise.losses, or compile the loaded model again."
            )
        return dataclasses.asdict(self)

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """Return the loss whose `get_config` this is."""
        return cls(**config)

    def __post_init__(self) -> None:
        if self.reduction not in REDUCTIONS:
            raise InputError(
                f"{type(self).__name__} expected reduction to be one of {', '.join(REDUCTIONS)} "
                f"but got {self.reduction!r}. The losses before reduction are what per_step "
                "returns."
            )


class ElementwiseLoss(Loss):
    """A loss whose labels have the shape of the predictions."""

    def per_step(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        return self.call(*self.aligned(y_true, y_pred))

    def aligned(self, y_true: Tensor, y_pred: Tensor) -> tuple[Tensor, Tensor]:
        """Return both in one shape, or say why they are not."""
        aligned, predictions = align(y_true, full_precision(y_pred))
        if aligned.shape != predictions.shape:
            checks.same_shape(self.name, y_true, y_pred)
            checks.refuse_rows(self.name, y_true, y_pred)
        return aligned, predictions

    def check(self, y_true: Tensor, y_pred: Tensor, mask: Tensor | None = None) -> None:
        checks.same_shape(self.name, y_true, y_pred)
