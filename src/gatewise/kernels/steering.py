"""Steering: an algorithm may take the passes of a model's sequences into its own hands.

Inside ``with steering(steer)`` every call of ``recurrent`` goes to ``steer``, which says what the
outputs and the final state are, and so how the gradient flows back through time. The algorithms of
``gatewise.gradients`` are written with it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import NamedTuple

from torch import Tensor

from gatewise.cells import NO_NOISE, Noise, Specification


class Pass(NamedTuple):
    """One sequence on its way through one set of weights, before it has run."""

    specification: Specification
    kernel: str
    x: Tensor  # (B, T, I)
    weights: Sequence[Tensor]
    state: Sequence[Tensor]  # each (B, H)
    mask: Tensor | None  # (B, T)
    noise: Noise = NO_NOISE
    recompute: str | None = None  # "gates": keep none, and compute them again on the way back

    def piece(self, start: int, stop: int) -> Pass:
        """Return the pass over the time steps from ``start`` up to ``stop``."""
        mask = None if self.mask is None else self.mask[:, start:stop]
        noise = self.noise.piece(start, stop)
        return self._replace(x=self.x[:, start:stop], mask=mask, noise=noise)


Steer = Callable[[Pass], tuple[Tensor, tuple[Tensor, ...]]]

_steer: ContextVar[Steer | None] = ContextVar("steer", default=None)


@contextmanager
def steering(steer: Steer | None) -> Iterator[None]:
    """Hand every pass in this block to ``steer``; with None they run as always.

    >>> import torch
    >>> from gatewise.kernels import recurrent
    >>> W, U = torch.ones(3, 2), torch.ones(2, 2)
    >>> def skip(given):
    ...     return given.x.new_zeros(*given.x.shape[:2], 2), tuple(given.state)
    >>> with steering(skip):
    ...     outputs, _ = recurrent(
    ...         torch.ones(1, 5, 3), [W, U], None, specification=Specification("simple_rnn")
    ...     )
    >>> outputs.abs().sum()
    tensor(0.)
    """
    token = _steer.set(steer)
    try:
        yield
    finally:
        _steer.reset(token)


def active_steer() -> Steer | None:
    """Return what steers the passes, or None."""
    return _steer.get()
