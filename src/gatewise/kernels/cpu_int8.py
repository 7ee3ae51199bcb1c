"""The native kernels for weights of 8 bits: checks and memory here, arithmetic in ``native/``.

Weights are an ``int8.Int8Weights``: its matrices as integers with the scale of each column.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from gatewise.cells import NO_NOISE, Noise, Specification
from gatewise.kernels.cpu import Stream
from gatewise.kernels.native_call import NativeCall, rows_contiguous

if TYPE_CHECKING:
    from gatewise.kernels.int8 import Int8Weights


def forward(
    x: Tensor,
    weights: Int8Weights,
    state: Sequence[Tensor],
    mask: Tensor | None,
    noise: Noise,
    specification: Specification,
) -> tuple[Tensor, list[Tensor]]:
    """Return the outputs (B, T, P) and the final state."""
    call = _Int8Call(x, weights, specification)
    sizes = call.sizes
    x = rows_contiguous(x)
    states = call.states(state)
    mask = call.mask(mask)
    dropout = call.dropout(noise)
    outputs = x.new_empty(sizes.outputs_shape)
    final_state = [torch.empty_like(part) for part in states]
    sizes.module.int8_forward(
        sizes.layer, x, call.matrices, call.given_bias, states, mask, dropout,
        outputs, final_state, call.options(call.floats, noise),
    )  # fmt: skip
    return outputs, final_state


class Int8Stream(Stream):
    """A cell with weights of 8 bits that is fed some time steps at a time; see ``cpu.Stream``."""

    def __init__(
        self,
        weights: Int8Weights,
        batch: int,
        specification: Specification,
        noise: Noise = NO_NOISE,
    ) -> None:
        if weights.peephole is not None:  # all others are copied by the native stream
            weights = weights._replace(peephole=weights.peephole.clone())
        step = weights.kernel_scale.new_empty(batch, 1, len(weights.kernel))
        call = _Int8Call(step, weights, specification)
        options = call.options(call.floats, noise)
        self._held = call.held  # what the options point into
        self.state = tuple(step.new_zeros(batch, width) for width in call.sizes.widths)
        self._native = call.sizes.module.Int8Stream(
            call.sizes.layer, call.matrices, call.given_bias, self.state, options
        )
        self.advance_arrays = self._native.advance_arrays


class _Int8Call(NativeCall):
    """The checks of a call, and the weights that have passed them."""

    def __init__(
        self, sequence: Tensor, weights: Int8Weights, specification: Specification
    ) -> None:
        W, U, P = (
            None if matrix is None else matrix.contiguous()
            for matrix in (weights.kernel, weights.recurrent_kernel, weights.projection)
        )
        assert W is not None and U is not None
        bias = [] if weights.bias is None else [weights.bias]
        extra = specification.extra_weights
        # A projection of integers is none of floats, but keeps its place.
        further = [None if name == "projection" else getattr(weights, name) for name in extra]
        self.floats: list[Tensor] = [W, U, *bias, *further]  # pyright: ignore
        super().__init__(sequence, self.floats, specification)
        self.given_bias = self.bias()
        sizes = self.sizes
        self.matrices = (
            self._checked(W, weights.kernel_scale, (sizes.inputs, sizes.columns), "W"),
            self._checked(U, weights.recurrent_kernel_scale, (sizes.hidden, sizes.columns), "U"),
            self._checked(P, weights.projection_scale, (sizes.units, sizes.hidden), "projection"),
        )

    def check_matrices(self, weights: Sequence[Tensor]) -> None:
        """Leave them: :meth:`_checked` checks each with its scale."""

    def _checked(
        self, integers: Tensor | None, scale: Tensor | None, shape: tuple[int, int], what: str
    ) -> tuple[Tensor | None, Tensor | None]:
        if integers is None or scale is None:
            return None, None
        self.check(integers, shape, what, torch.int8)
        self.check(scale, shape[1:], f"{what}'s scale")
        return integers, scale.contiguous()
