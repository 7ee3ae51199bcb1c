"""The native kernels for weights of 8 bits: checks and memory here, arithmetic in ``native/``.

Weights are the five of ``int8.Int8Weights``: W and U as integers with the scale of each column, and
the bias or None.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from gatewise.cells import Specification
from gatewise.kernels.cpu import Stream
from gatewise.kernels.native_call import NativeCall, address, matrix, pair, rows_contiguous


def forward(
    x: Tensor,
    weights: Sequence[Tensor | None],
    state: Sequence[Tensor],
    mask: Tensor | None,
    recurrent_dropout: Tensor | None,
    specification: Specification,
) -> tuple[Tensor, list[Tensor]]:
    """Return the outputs (B, T, H) and the final state."""
    call = _Int8Call(x, weights, specification)
    batch, time, units = call.batch, call.time, call.units
    x = rows_contiguous(x)
    states = call.states(state)
    mask = call.mask(mask)
    dropout = call.optional(recurrent_dropout, (batch, units), "recurrent_dropout")
    outputs = x.new_empty(batch, time, units)
    final_state = [x.new_empty(batch, units) for _ in states]
    call.module.int8_forward(
        call.layer, matrix(x), *call.matrices, address(call.given_bias), pair(states),
        address(mask), address(dropout), outputs.data_ptr(), pair(final_state),
    )  # fmt: skip
    return outputs, final_state


class Int8Stream(Stream):
    """A cell with weights of 8 bits that is fed one time step at a time; see ``cpu.Stream``."""

    def __init__(
        self, weights: Sequence[Tensor | None], batch: int, specification: Specification
    ) -> None:
        kernel, scale = weights[:2]
        assert kernel is not None and scale is not None
        call = _Int8Call(scale.new_empty(batch, 1, len(kernel)), weights, specification)
        self.state = tuple(scale.new_zeros(batch, width) for width in call.widths)
        self._native = call.module.Int8Stream(
            call.layer, *call.matrices, address(call.given_bias), pair(self.state)
        )
        self.step = self._native.step


class _Int8Call(NativeCall):
    """The checks of a call, and the memory that its addresses point to."""

    def __init__(
        self, sequence: Tensor, weights: Sequence[Tensor | None], specification: Specification
    ) -> None:
        *arrays, bias = weights
        given = [array.contiguous() for array in arrays if array is not None]
        W, self._W_scale, U, self._U_scale = given
        super().__init__(sequence, [W, U] if bias is None else [W, U, bias], specification)
        for scale, what in ((self._W_scale, "W's scale"), (self._U_scale, "U's scale")):
            self.check(scale, (self.columns,), what)
        self.given_bias = self.bias()
        self.matrices = [
            (integers.data_ptr(), scale.data_ptr())
            for integers, scale in ((W, self._W_scale), (U, self._U_scale))
        ]

    def check_matrices(self, weights: Sequence[Tensor]) -> None:
        self._W, self._U, *_ = weights
        self.check(self._W, (self.inputs, self.columns), "W", torch.int8)
        self.check(self._U, (self.units, self.columns), "U", torch.int8)
