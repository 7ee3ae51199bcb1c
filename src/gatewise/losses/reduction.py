"""From per-step losses to the one number that is minimized: masks, weights and penalties."""

from __future__ import annotations

from torch import Tensor

from gatewise.losses.shapes import fit_to

REDUCTIONS = ("sum_over_batch_size", "mean", "mean_with_sample_weight", "sum")


def reduce_losses(
    losses: Tensor, mask: Tensor | None, sample_weight: Tensor | None, reduction: str
) -> Tensor:
    """Return one number from per-step losses `(B, ...)`, as Keras reduces them.

    `mask` (True: a real step) and `sample_weight` have the shape of the losses or fewer trailing
    axes. "sum_over_batch_size", also called "mean", divides the weighted sum by the number of
    real steps (not by the sum of the weights), "mean_with_sample_weight" by the weights of the
    real steps, "sum" by nothing. Losses at masked steps may be NaN. All masked gives 0.

    >>> import torch
    >>> losses = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    >>> mask = torch.tensor([[True, False], [True, True]])
    >>> reduce_losses(losses, mask, torch.tensor([3.0, 0.0]), "sum_over_batch_size")
    tensor(1.)
    """
    if mask is None and sample_weight is None:
        return losses.sum() if reduction == "sum" else losses.mean()
    weights = None
    if sample_weight is not None:
        weights = fit_to("sample_weight", sample_weight.to(losses.dtype), losses)
        losses = losses * weights
    if mask is not None:
        mask = fit_to("mask", mask, losses)
        losses = losses.masked_fill(~mask, 0.0)
    total = losses.sum()
    if reduction == "sum":
        return total
    if reduction == "mean_with_sample_weight" and weights is not None:
        used = weights.expand_as(losses)
        count = (used if mask is None else used * mask).sum()
    elif mask is not None:
        count = mask.expand_as(losses).sum()
    else:
        return total / losses.numel()
    return total / (count + (count == 0))
