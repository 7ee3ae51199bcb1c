"""Several tensors side by side: what a model with several inputs or outputs takes and returns."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from gatewise.errors import InputError


class Several:
    """Tensors with one row a sample each; `len` is the number of samples, not of tensors.

    It stands where a single tensor would: indexing, moving and detaching reach every part.

    >>> both = Several([torch.zeros(4, 2), torch.zeros(4)])
    >>> len(both), [tuple(part.shape) for part in both[:3].parts]
    (4, [(3, 2), (3,)])
    """

    def __init__(self, parts: Sequence[Tensor]) -> None:
        self.parts = tuple(parts)
        counts = [len(part) for part in self.parts]
        if len(set(counts)) > 1:
            raise InputError(
                f"The parts have {', '.join(map(str, counts))} samples, but all need the same "
                "number: one row a sample."
            )

    def map(self, function: Callable[[Tensor], Tensor]) -> Several:
        """Return the function's result for each part."""
        return Several([function(part) for part in self.parts])

    def __len__(self) -> int:
        return len(self.parts[0])

    def __getitem__(self, rows: Any) -> Several:
        return self.map(lambda part: part[rows])

    @property
    def device(self) -> torch.device:
        """The device of the first part."""
        return self.parts[0].device

    def to(self, *arguments: Any) -> Several:
        """Return the parts on another device, or in another type."""
        return self.map(lambda part: part.to(*arguments))

    def detach(self) -> Several:
        """Return the parts without their history."""
        return self.map(Tensor.detach)

    def cpu(self) -> Several:
        """Return the parts in main memory."""
        return self.map(Tensor.cpu)
