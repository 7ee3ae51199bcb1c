"""First values that depend on which gate a weight belongs to.

An initializer with ``of_cell(specification)`` is asked for what it means to that cell: the
recurrent layers do, once their cell is known.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from gatewise.cells import KEEPERS, Specification, gate_slice
from gatewise.errors import InputError
from gatewise.layers.initializer import Initialize, Initializer, drawing_from, orthonormal


def of_cell(initializer: Initialize, specification: Specification) -> Initialize:
    """Return an initializer for the weights of a cell: itself, unless it asks which gates."""
    asks: Any = getattr(initializer, "of_cell", None)
    return initializer if asks is None else asks(specification)


@dataclass(frozen=True)
class Chrono(Initializer):
    """Biases with which a cell's memory begins with spans up to ``max_lag`` time steps.

        b_f = log u,  u ~ U(1, max_lag - 1)        b_i = -b_f        the other biases 0

    A ``bias_initializer`` of LSTM, where ``unit_forget_bias`` then does nothing, and of GRU, whose
    update gate z keeps (b_z = log u). With coupled gates b_i = -b_f holds by itself. One u for each
    unit; ``seed`` repeats them. Tallec and Ollivier, "Can recurrent neural networks warp time?",
    arXiv 1804.11188.

    Raises ``InputError`` for a ``max_lag`` that is not above 2, and for layers without such gates.

    >>> from gatewise.layers import LSTM
    >>> layer = LSTM(4, bias_initializer=Chrono(100, seed=1), input_shape=(None, 3))
    >>> layer.build((None, None, 3))
    >>> i, f, g, o = layer.bias.detach().chunk(4)
    >>> torch.equal(i, -f), bool((f >= 0).all() and (f <= math.log(99)).all())
    (True, True)
    """

    max_lag: float | None = None
    seed: int | None = None

    def __post_init__(self) -> None:
        if self.max_lag is None or not 2 < self.max_lag < math.inf:
            raise InputError(
                "Chrono expected max_lag, the longest span in time steps that matters, above 2 but "
                f"got {self.max_lag}. Write Chrono(max_lag=200)."
            )

    def __call__(self, shape: Sequence[int], dtype: torch.dtype | None = None) -> Tensor:
        raise InputError(
            "Chrono fills the bias of an LSTM or GRU, gate by gate. Give it to such a layer: "
            "LSTM(64, bias_initializer=Chrono(max_lag=200))."
        )

    def of_cell(self, specification: Specification) -> Initialize:
        """Return what fills the bias of this cell."""
        keeper = KEEPERS.get(specification.cell)
        if keeper is None:
            raise InputError(
                "Chrono sets the bias of the gate that keeps the state, and a "
                f"{specification.cell} has none. Use an LSTM or GRU."
            )

        def fill(shape: Sequence[int], dtype: torch.dtype | None = None) -> Tensor:
            bias = torch.zeros(tuple(shape), dtype=dtype)
            row = bias if bias.dim() == 1 else bias[0]  # the input product's, of two
            units = len(row) // len(specification.gates)
            assert self.max_lag is not None
            drawn = torch.rand(units, dtype=dtype, generator=drawing_from(self.seed))
            row[gate_slice(specification.cell, keeper, units)] = kept = (
                1 + (self.max_lag - 2) * drawn
            ).log()
            if "i" in specification.gates:
                row[gate_slice(specification.cell, "i", units)] = -kept
            return bias

        return fill


@dataclass(frozen=True)
class OrthogonalGates(Initializer):
    """An orthogonal matrix times ``gain`` for each gate's part of U, each drawn by itself.

    ``Orthogonal``, Keras's default, makes the rows of the whole U (H, G·H) orthonormal, so that the
    part of one gate shrinks h by about √G; here each part U_g (H, H) keeps its length.

    >>> from gatewise.layers import GRU
    >>> layer = GRU(4, recurrent_initializer=OrthogonalGates(seed=1))
    >>> layer.build((None, None, 3))
    >>> U_z, U_r, U_h = layer.recurrent_kernel.detach().chunk(3, dim=1)
    >>> torch.allclose(U_r @ U_r.T, torch.eye(4), atol=1e-6), torch.equal(U_z, U_r)
    (True, False)
    """

    gain: float = 1.0
    seed: int | None = None

    def __call__(self, shape: Sequence[int], dtype: torch.dtype | None = None) -> Tensor:
        raise InputError(
            "OrthogonalGates fills the recurrent kernel of a recurrent layer, gate by gate. Give "
            "it to one: LSTM(64, recurrent_initializer=OrthogonalGates()). Elsewhere use "
            "Orthogonal."
        )

    def of_cell(self, specification: Specification) -> Initialize:
        """Return what fills the recurrent kernel of this cell."""

        def fill(shape: Sequence[int], dtype: torch.dtype | None = None) -> Tensor:
            rows, columns = shape
            generator = drawing_from(self.seed)
            gates = len(specification.gates)
            parts = [orthonormal(rows, columns // gates, dtype, generator) for _ in range(gates)]
            return self.gain * torch.cat(parts, dim=1)

        return fill
