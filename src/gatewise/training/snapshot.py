"""The weights as they were, for the case that they are lost."""

from __future__ import annotations

import torch
from torch import Tensor

from gatewise.training.finite import finite
from gatewise.training.trainable import Trainable


class Snapshot:
    """A copy of the weights that are finite.

    A bad step is not taken, so the weights hold the last good values without this. What is left is
    a step with a finite gradient that makes a weight itself overflow: it shows at the next step
    only, when the weight is lost.
    """

    def __init__(self, model: Trainable) -> None:
        self._model = model
        self._copies: list[Tensor] = []

    @torch.no_grad()
    def take(self) -> None:
        """Copy the weights, unless they have been lost already."""
        weights = [parameter.detach() for parameter in self._model.parameters()]
        if not finite(weights):
            return
        if self._copies:
            for copy, weight in zip(self._copies, weights, strict=True):
                copy.copy_(weight)
        else:
            self._copies = [weight.clone() for weight in weights]

    @torch.no_grad()
    def restore_if_lost(self) -> bool:
        """Put the copy back if a weight is no longer finite; return whether that was needed."""
        weights = [parameter.detach() for parameter in self._model.parameters()]
        if finite(weights) or not self._copies:
            return False
        for weight, copy in zip(weights, self._copies, strict=True):
            weight.copy_(copy)
        return True
