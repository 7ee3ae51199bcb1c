"""SnAp-1: real-time recurrent learning with each unit's influence on itself.

Menick, Elsen, Evci, Osindero, Simonyan and Graves, "Practical real time recurrent learning with a
sparse approximation", arXiv 2006.07232.

The gradient is that of a network whose recurrent product passes cotangents through diag(U) only:

    x W + b + sg(h) U + diag(U) ⊙ (h - sg(h))        sg: stop the gradient

So a unit's past reaches the loss through the unit's own memory and its own loops, and through no
other unit. Of the two forms in use this is the one with the whole diagonal in the way back: a
unit's h and c act on one another, both ways, for the weights of all its gates.
"""

from __future__ import annotations

from dataclasses import dataclass

from gatewise.errors import UnsupportedError
from gatewise.gradients.layout import recurrent_layers
from gatewise.gradients.task import Differentiable
from gatewise.gradients.traces import TraceAlgorithm


@dataclass(frozen=True)
class SnAp1(TraceAlgorithm):
    """Learn online, with the optimizer's step after every `every` time steps.

    Exact where U is diagonal, biased and deterministic elsewhere. In a stack each layer learns from
    the losses of a time step through the layers above at that step; what it does to a later step
    through the memory of the layer above is left out.

    >>> SnAp1(every=5).online
    True
    """

    @property
    def path(self) -> str:
        return "diagonal"

    def supports(self, model: Differentiable) -> None:
        """Refuse what cannot run in pieces, and a GRU whose reset gate mixes the units."""
        super().supports(model)
        refuse_reset_before(self.name, model)


def refuse_reset_before(algorithm: str, model: Differentiable) -> None:
    """Raise `UnsupportedError` for a GRU with `reset_after=False`, which has no traces."""
    for layer in recurrent_layers(model):
        if layer.specification.cell == "gru" and not layer.specification.two_biases:
            raise UnsupportedError(
                f"{algorithm} keeps each unit's influence on itself, but in '{layer.name}' the "
                "reset gate of one unit acts on all others at once (reset_after=False). Use "
                "GRU(reset_after=True), or gradient=RTRL()."
            )
