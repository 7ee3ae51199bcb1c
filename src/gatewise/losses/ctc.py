"""Labels without times: which sequence of them was said, not when.

Graves et al., "Connectionist temporal classification: labelling unsegmented sequence data with
recurrent neural networks", ICML 2006.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from gatewise.errors import InputError
from gatewise.losses.loss import Loss
from gatewise.losses.reduction import reduce_losses
from gatewise.losses.shapes import full_precision


def ctc(y_true: Tensor, y_pred: Tensor, lengths: Tensor | None = None) -> Tensor:
    """Return `-log p(labels | outputs)` of each series, summed over all alignments.

    `y_true` (B, L) holds class ids, 0 behind the last one; `y_pred` (B, T, K) logits, class 0 the
    blank. `lengths` (B,) are the numbers of steps that count, by default all.

    >>> ctc(torch.tensor([[1]]), torch.zeros(1, 2, 2))
    tensor([0.2877])
    """
    log_probabilities = y_pred.log_softmax(-1).transpose(0, 1)  # (T, B, K)
    if lengths is None:
        lengths = torch.full((len(y_pred),), y_pred.shape[1])
    labels = y_true.long()
    return functional.ctc_loss(
        log_probabilities, labels, lengths, (labels != 0).sum(-1), blank=0, reduction="none"
    )


@dataclass(frozen=True)
class CTC(Loss):
    """The loss of label sequences (B, L) that are shorter than the series (B, T); see `ctc`.

    Outputs are logits (B, T, K), class 0 the blank, which also fills the labels behind the last
    one. A mask (B, T) must be of padding at the end: its steps do not count.

    >>> CTC()(torch.tensor([[1], [1]]), torch.zeros(2, 2, 2))
    tensor(0.2877)
    """

    reduction: str = "sum_over_batch_size"
    name: str = "ctc"

    def __call__(
        self,
        y_true: Tensor,
        y_pred: Tensor,
        sample_weight: Tensor | None = None,
        mask: Tensor | None = None,
    ) -> Tensor:
        """Return the mean over the series, each weighted by `sample_weight` (B,)."""
        lengths = None if mask is None else _lengths(mask)
        losses = ctc(y_true, full_precision(y_pred), lengths)
        return reduce_losses(losses, None, sample_weight, self.reduction)

    def per_step(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        return ctc(y_true, full_precision(y_pred))

    def check(self, y_true: Tensor, y_pred: Tensor, mask: Tensor | None = None) -> None:
        if y_pred.dim() != 3 or y_true.dim() != 2:
            raise InputError(
                f"{self.name} expected labels (B, L) for outputs (B, T, K), but got "
                f"{tuple(y_true.shape)} for {tuple(y_pred.shape)}. The last recurrent layer needs "
                "return_sequences=True."
            )
        classes = y_pred.shape[-1]
        if y_true.numel() and not 0 <= int(y_true.min()) <= int(y_true.max()) < classes:
            raise InputError(
                f"{self.name} expected class ids from 1 to {classes - 1}, and 0 behind the last "
                f"one, but got {int(y_true.min())} to {int(y_true.max())}."
            )
        if mask is not None:
            _lengths(mask)
        longest = int((y_true != 0).sum(-1).max()) if y_true.numel() else 0
        if longest > y_pred.shape[1]:
            raise InputError(
                f"{self.name} got {longest} labels for a series of {y_pred.shape[1]} steps, which "
                "no alignment can hold. Pool less, or leave such series out."
            )


def _lengths(mask: Tensor) -> Tensor:
    """Return how many steps of each series are real; they must come first."""
    lengths = mask.sum(1)
    if not bool(
        (mask == (torch.arange(mask.shape[1], device=mask.device) < lengths[:, None])).all()
    ):
        raise InputError(
            "ctc takes a mask of padding at the end, but this one hides steps before real ones. "
            "Pad with padding='post'."
        )
    return lengths
