"""Recording: what went through the operator, for those who look inside.

Inside ``with recording() as records`` every call of the operator leaves a Record; once ``backward``
has run, the record also holds the cotangents that reached its outputs and its final state, and
those of the gates' pre-activations.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

from torch import Tensor

from gatewise.cells import Noise, Specification


@dataclass
class Record:
    """One pass of a sequence through one set of weights."""

    specification: Specification
    kernel: str
    x: Tensor  # (B, T, I)
    weights: Sequence[Tensor]
    state: Sequence[Tensor]
    mask: Tensor | None  # (B, T)
    noise: Noise
    outputs: Tensor | None = None  # (B, T, P), where P is the width of h
    gates: Tensor | None = None  # (B, T, G·H)
    saved: Tensor | None = None  # (B, T, V), rows of cells.rows.saved_row: c first; or empty
    gate_cotangents: Tensor | None = None  # dL/dP, (B, T, G·H), after backward
    # With a projection or layer normalization the whole rows of cells.rows.gradient_row, (B, T, R).
    cotangents: Tensor | None = None
    grad_outputs: Tensor | None = None  # (B, T, H), what the loss sends into each h, after backward
    grad_final_state: Sequence[Tensor | None] = ()  # each (B, H), after backward


_records: ContextVar[list[Record] | None] = ContextVar("records", default=None)


@contextmanager
def recording() -> Iterator[list[Record]]:
    """Collect a Record of every call of the operator in this block.

    >>> import torch
    >>> from gatewise.cells import Specification
    >>> from gatewise.kernels import recurrent
    >>> W, U = torch.ones(3, 8), torch.ones(2, 8)
    >>> with recording() as records:
    ...     _ = recurrent(torch.ones(1, 5, 3), [W, U], None, specification=Specification("lstm"))
    >>> records[0].gates.shape
    torch.Size([1, 5, 8])
    """
    records: list[Record] = []
    token = _records.set(records)
    try:
        yield records
    finally:
        _records.reset(token)


def active_records() -> list[Record] | None:
    """Return the list that is being recorded to, or None."""
    return _records.get()
