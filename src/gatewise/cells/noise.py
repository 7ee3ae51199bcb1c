"""What is drawn at random for one pass of a sequence: the masks of dropout and of zoneout.

Gal and Ghahramani, "A theoretically grounded application of dropout in recurrent neural networks",
arXiv 1512.05287; Krueger et al., "Zoneout: regularizing RNNs by randomly preserving hidden
activations", arXiv 1606.01305:

    s' = d ⊙ s + (1 - d) ⊙ s'_new        for a state s, h or c, with a mask d of its own
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor


class Noise(NamedTuple):
    """The random masks of one pass, each None where there is no such noise.

    ``recurrent_dropout`` (B, H), scaled by 1/(1 - rate), multiplies the h that the recurrent
    product sees, at every time step. ``zoneout_h`` and ``zoneout_c`` (B, T, H) say what share of a
    state stays as it was before the step: 1 keeps it, 0 takes the new one; in inference the rate
    itself everywhere.

    >>> Noise(torch.ones(2, 3)).zones
    False
    """

    recurrent_dropout: Tensor | None = None  # (B, H)
    zoneout_h: Tensor | None = None  # (B, T, H)
    zoneout_c: Tensor | None = None  # (B, T, H)

    @property
    def zones(self) -> bool:
        """Whether any state is zoned out."""
        return self.zoneout_h is not None or self.zoneout_c is not None

    def piece(self, start: int, stop: int) -> Noise:
        """Return the noise of the time steps from ``start`` up to ``stop``."""
        return self._in_time(slice(start, stop))

    def at(self, t: int) -> Noise:
        """Return the noise of one time step, its masks (B, H)."""
        return self._in_time(t)

    def repeated(self, time: int) -> Noise:
        """Return the noise of one time step (T = 1) as that of each of ``time`` steps."""
        masks = (None if mask is None else mask.expand(-1, time, -1) for mask in self[1:])
        return Noise(self.recurrent_dropout, *masks)

    def rows(self, rows: slice | Tensor) -> Noise:
        """Return the noise of some rows of the batch."""
        return Noise(*(None if mask is None else mask[rows] for mask in self))

    def to(self, dtype: torch.dtype) -> Noise:
        """Return the noise in another type."""
        return Noise(*(None if mask is None else mask.to(dtype) for mask in self))

    def drop(self, h: Tensor) -> Tensor:
        """Return what the recurrent product sees of h (B, H)."""
        return h if self.recurrent_dropout is None else h * self.recurrent_dropout

    def zone(self, after: tuple[Tensor, ...], before: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Return the state of one time step: of each state the share d as it was before."""
        pairs = zip(after, before, self[1:], strict=False)
        return tuple(
            new if kept is None else kept * old + (1 - kept) * new for new, old, kept in pairs
        )

    def split(self, grads: tuple[Tensor, ...]) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
        """Return the cotangents of :meth:`zone`'s ``after`` and ``before``, from its result's."""
        if not self.zones:
            return grads, ()
        pairs = list(zip(grads, self[1:], strict=False))
        new = tuple(grad if kept is None else (1 - kept) * grad for grad, kept in pairs)
        old = tuple(torch.zeros_like(grad) if kept is None else kept * grad for grad, kept in pairs)
        return new, old

    def _in_time(self, index: Any) -> Noise:
        if not self.zones:
            return self
        masks = (None if mask is None else mask[:, index] for mask in self[1:])
        return Noise(self.recurrent_dropout, *masks)


NO_NOISE = Noise()
