"""One set of shared weights: what a recurrent cell uses at every time step."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from gatewise.cells.specification import Specification


@dataclass(frozen=True)
class WeightSet:
    """The W, U and b of one cell, in Keras's layout whatever module they come from.

    ``weights`` holds "kernel" (I, G·H), "recurrent_kernel" (H, G·H) and, if there is one, "bias"
    (G·H,) or (2, G·H). ``sources`` names the module's own parameters behind each. ``label`` tells
    several sets of one module apart ("layer 0 reverse") and is empty where there is one.
    """

    label: str
    specification: Specification
    weights: dict[str, Tensor]
    sources: dict[str, tuple[str, ...]]

    @property
    def units(self) -> int:
        """H, the number of hidden units."""
        return self.weights["recurrent_kernel"].shape[0]

    @property
    def input_size(self) -> int:
        """I, the number of input features."""
        return self.weights["kernel"].shape[0]
