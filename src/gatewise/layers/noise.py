"""Random masks, from torch's generator or from a seed of the layer's own.

Seeded masks are a function of (seed, number of the call, position) by an integer hash, so the same
seed gives the same masks on every device, compiled or not: a ``torch.Generator`` would be tied to
one device and cannot be traced. The mixing constants are those of Chris Wellons's hash prospector
(https://github.com/skeeto/hash-prospector), whose products stay below 2**63.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from gatewise.cells import Noise
from gatewise.errors import InputError
from gatewise.kernels import cpu

_WORD = 0xFFFFFFFF


class NoiseSource(nn.Module):
    """A source of random masks.

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
        """Return a dropout mask: 0 with probability ``rate`` and 1 / (1 - rate) elsewhere."""
        if rate == 1:
            return like.new_zeros(tuple(shape))
        plain = _plain(like)
        if self.seed is None and not plain:
            return functional.dropout(like.new_ones(tuple(shape)), rate, training=True)
        return self._mask(shape, rate, (0.0, 1 / (1 - rate)), like, plain)

    def drop(self, x: Tensor, shape: Sequence[int], rate: float) -> Tensor:
        """Return x times a dropout mask of this shape."""
        if self.seed is None and tuple(shape) == x.shape and not _plain(x):
            return torch.dropout(x, rate, True)
        return x * self(shape, rate, x)

    def marks(self, shape: Sequence[int], rate: float, like: Tensor) -> Tensor:
        """Return a mask of its own for every time step: 1 with probability ``rate``, else 0.

        A pass that runs in pieces draws each piece's anew, where it keeps what ``forward`` drew.
        """
        return self._mask(shape, rate, (1.0, 0.0), like, _plain(like))

    def _mask(
        self,
        shape: Sequence[int],
        rate: float,
        values: tuple[float, float],
        like: Tensor,
        plain: bool,
    ) -> Tensor:
        """Return the first value with probability ``rate``, else the second."""
        below = max(1, round(rate * (_WORD + 1)))
        if plain:
            return cpu.random_mask(shape, int(self._key(like)), below, values, like)
        drawn = _words(self._key(like), shape, like)
        return torch.where(drawn < below, like.new_full((), values[0]), values[1])

    def _key(self, like: Tensor) -> Tensor:
        """Return 32 bits from which a mask is made."""
        if self.seed is None:
            return torch.randint(_WORD + 1, (), device=like.device)
        self.calls.add_(1)
        return _mix(_mix(self.calls & _WORD) ^ (self.seed & _WORD))


class Rates(NamedTuple):
    """How much noise a recurrent layer draws for a pass: the rate of each mask of `cells.Noise`."""

    recurrent_dropout: float = 0.0
    zoneout_h: float = 0.0
    zoneout_c: float = 0.0

    def draw(self, source: NoiseSource, x: Tensor, widths: Sequence[int], training: bool) -> Noise:
        """Return the masks of one pass of x (B, T, I); in inference zoneout keeps its rate.

        ``widths`` are those of the states, h first.
        """
        dropout = None
        if training and self.recurrent_dropout:
            dropout = source((len(x), widths[0]), self.recurrent_dropout, x)

        def zone(rate: float, width: int) -> Tensor | None:
            if not rate:
                return None
            shape = (*x.shape[:2], width)
            if training:
                return source.marks(shape, rate, x)
            return x.new_full((width,), rate).expand(shape)

        return Noise(dropout, zone(self.zoneout_h, widths[0]), zone(self.zoneout_c, widths[-1]))


def checked_rate(layer: str, argument: str, rate: float) -> float:
    """Return a rate; raise ``InputError`` unless it is at least 0 and below 1."""
    if not 0 <= rate < 1:
        raise InputError(
            f"{layer} expected {argument} to be at least 0 and below 1 but got {rate!r}."
        )
    return float(rate)


def checked_zoneout(
    layer: str, zoneout: float | Sequence[float], states: Sequence[str]
) -> tuple[float, ...]:
    """Return a rate for each state, from one or from as many."""
    rates = (zoneout,) * len(states) if isinstance(zoneout, float | int) else tuple(zoneout)
    if len(rates) != len(states):
        raise InputError(
            f"{layer} expected zoneout as one rate, or one for each of {', '.join(states)}, but "
            f"got {zoneout!r}."
        )
    return tuple(checked_rate(layer, "zoneout", rate) for rate in rates)


def _plain(like: Tensor) -> bool:
    """Whether the native kernels may fill memory like this tensor's, past torch."""
    return (
        type(like) in (Tensor, nn.Parameter)
        and like.device.type == "cpu"
        and like.dtype in cpu.DTYPES
        and cpu.available()
        and not torch.compiler.is_compiling()
        and not torch._C._are_functorch_transforms_active()
        and not torch._C._len_torch_dispatch_stack()
    )


def _words(key: Tensor, shape: Sequence[int], like: Tensor) -> Tensor:
    """Return numbers that are uniform over 32 bits, from a key of 32 bits."""
    positions = torch.arange(math.prod(shape), device=like.device)
    return _mix(_mix((positions + key) & _WORD) ^ key).reshape(tuple(shape))


def _mix(word: Tensor) -> Tensor:
    """Return a well mixed 32-bit word for each 32-bit word, held in int64."""
    word = word ^ (word >> 16)
    word = (word * 0x21F0AAAD) & _WORD
    word = word ^ (word >> 15)
    word = (word * 0x735A2D97) & _WORD
    return word ^ (word >> 15)
