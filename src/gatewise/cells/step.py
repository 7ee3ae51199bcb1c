"""What every cell's equation file returns from a time step, and takes to go back through one."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from torch import Tensor

Through = Callable[[Tensor, Tensor], Tensor]
"""``through(dP, U)``: a cotangent's way through U: whole, by the diagonal, or not at all."""


class Step(NamedTuple):
    """The state after a step, its activated gates, and what else the way back needs."""

    state: tuple[Tensor, ...]  # each (B, H)
    gates: tuple[Tensor, ...]  # each (B, H), in the order of GATES
    saved: Tensor | None  # (B, H)
