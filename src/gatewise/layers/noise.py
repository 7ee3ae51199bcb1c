"""Dropout masks, from torch's generator or from a seed of the layer's own.

Seeded masks are a function of (seed, number of the call, position) by an integer hash, so the same
seed gives the same masks on every device, compiled or not: a ``torch.Generator`` would be tied to
one device and cannot be traced. The mixing constants are those of Chris Wellons's hash prospector
(https://github.com/skeeto/hash-prospector), whose products stay below 2**63.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from gatewise.errors import InputError

_WORD = 0xFFFFFFFF


class NoiseSource(nn.Module):
    """A source of dropout masks.

    The buffer ``calls`` counts the seeded ones, and setting it repeats them; those without a seed
    are torch's generator's, which keeps its own state.
    """

    calls: Tensor

    def __init__(self, seed: int | None) -> None:
        super().__init__()
        if seed is not None and (isinstance(seed, bool) or not isinstance(seed, int)):
            raise InputError(f"A seed is a whole number or None but got {seed!r}.")
        self.seed = seed
        self.register_buffer("calls", torch.zeros((), dtype=torch.int64), persistent=False)

    def forward(self, shape: Sequence[int], rate: float, like: Tensor) -> Tensor:
        """Return a mask that is 0 with probability ``rate`` and 1 / (1 - rate) elsewhere."""
        if self.seed is None or rate == 1:
            return functional.dropout(like.new_ones(tuple(shape)), rate, training=True)
        self.calls.add_(1)
        key = _mix(_mix(self.calls & _WORD) ^ (self.seed & _WORD))
        positions = torch.arange(math.prod(shape), device=like.device)
        drawn = _mix(_mix((positions + key) & _WORD) ^ key)  # uniform over 32 bits
        keep = (drawn >= round(rate * (_WORD + 1))).reshape(tuple(shape))
        return keep.to(like.dtype) / (1 - rate)


def _mix(word: Tensor) -> Tensor:
    """Return a well mixed 32-bit word for each 32-bit word, held in int64."""
    word = word ^ (word >> 16)
    word = (word * 0x21F0AAAD) & _WORD
    word = word ^ (word >> 15)
    word = (word * 0x735A2D97) & _WORD
    return word ^ (word >> 15)
