"""Each pass of a sequence through a weight set, beside the name of that set."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from gatewise.cells import WeightSet
from gatewise.errors import UnsupportedError
from gatewise.inspect.walk import Place, full_name
from gatewise.inspect.weights import read_sets
from gatewise.kernels import Record


@dataclass(frozen=True, eq=False)
class SetPass:
    """The record of one use of a weight set; ``use`` counts from 1 to ``uses``."""

    place: Place
    weights: WeightSet
    use: int
    uses: int
    record: Record

    @property
    def real(self) -> Tensor:
        """The mask (B, T), all True where there is none."""
        if self.record.mask is not None:
            return self.record.mask
        shape = self.record.x.shape[:2]
        return torch.ones(shape, dtype=torch.bool, device=self.record.x.device)


def set_passes(places: Sequence[Place], calls: Sequence[list[list[Record]]]) -> list[SetPass]:
    """Return every use of every weight set in one forward pass, in the order of the model."""
    found = []
    for place, own in zip(places, calls, strict=True):
        sets = read_sets(place.module, lambda parameter: parameter)
        require_one_pass_a_set(place, sets, own)
        for position, weights in enumerate(sets):
            for use, call in enumerate(own, start=1):
                found.append(SetPass(place, weights, use, len(own), call[position]))
    return found


def require_one_pass_a_set(
    place: Place, sets: Sequence[WeightSet], calls: Sequence[list[Record]]
) -> None:
    """Raise `UnsupportedError` where a layer's records cannot be told apart by its sets."""
    for call in calls:
        if [record.weights[1].shape for record in call] != [
            one.weights["recurrent_kernel"].shape for one in sets
        ]:
            raise UnsupportedError(
                f"'{place.name}' has {len(sets)} weight sets but ran its kernel {len(call)} times "
                "in one call, so its time steps cannot be told apart. Measure a model whose layer "
                "runs each set once a call."
            )


def use_name(layer: str, label: str, use: int, uses: int) -> str:
    """Return how one use of a set is called in text.

    >>> use_name("bidirectional", "forward", 1, 1), use_name("lstm", "", 2, 3)
    ('bidirectional (forward)', 'lstm, use 2 of 3')
    """
    name = full_name(layer, label)
    return f"{name}, use {use} of {uses}" if uses > 1 else name
