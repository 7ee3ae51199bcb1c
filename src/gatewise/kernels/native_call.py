"""One call of the compiled module: every check that a tensor passes before it is read there."""

from __future__ import annotations

import atexit
from collections.abc import Sequence
from functools import cache, lru_cache
from types import ModuleType
from typing import Any, NamedTuple

import torch
from torch import Tensor

from gatewise.cells import Noise, Specification, Weights
from gatewise.cells.rows import gradient_row, saved_row
from gatewise.cells.weights import NORM_WEIGHTS
from gatewise.errors import InputError, UnsupportedError
from gatewise.kernels.native import compiled, supports


class Sizes(NamedTuple):
    """The sizes of a call, and what follows from them; computed once for each kind of call."""

    module: ModuleType
    layer: Any  # as the compiled module takes it
    is_double: bool
    batch: int
    time: int
    inputs: int
    hidden: int  # P
    units: int  # H
    columns: int  # G·H
    widths: tuple[int, ...]  # of the states
    saves: bool
    outputs_shape: tuple[int, ...]
    gates_shape: tuple[int, ...]
    saved_shape: tuple[int, ...]
    gradient_shape: tuple[int, ...]  # of rows of cotangents


class NativeCall:
    """The sizes of one call, and the checks that every tensor passes before it is read."""

    def __init__(
        self,
        sequence: Tensor,
        weights: Sequence[Tensor],
        specification: Specification,
        inputs: int | None = None,
    ) -> None:
        self.dtype = sequence.dtype
        batch, time, width = shape = sequence.shape
        self.weights = weights
        self.specification = specification
        self.sizes = _sizes(
            specification,
            self.dtype,
            batch,
            time,
            width if inputs is None else inputs,
            weights[1].shape[0],
            weights[0].shape[1],
            torch.get_num_threads(),
        )
        self.fits = self.sizes.module.fits
        self.held: tuple[Tensor | None, ...] = ()
        self.check(sequence, shape, "x")
        self.check_matrices(weights)

    def options(self, weights: Sequence[Tensor], noise: Noise) -> Any:
        """Return what the cell does beside its equation; ``held`` keeps the memory behind it."""
        specification = self.specification
        if not (specification.extra_weights or specification.cell_clip or noise.zones):
            return _no_options()
        sizes = self.sizes
        named = Weights.of(weights, specification)
        zones = [
            self._share(noise.zoneout_h, sizes.hidden, "zoneout_h"),
            self._share(noise.zoneout_c, sizes.units, "zoneout_c"),
        ]
        if zones[1] is not None and len(sizes.widths) == 1:
            raise InputError(
                f"zoneout_c is about the memory c, and a {specification.cell} has none."
            )
        shapes = {
            "peephole": (len(specification.peepholes), sizes.units),
            "projection": (sizes.units, sizes.hidden),
            "input_gain": (sizes.columns,),
            "recurrent_gain": (sizes.columns,),
            "cell_gain": (sizes.units,),
            "cell_bias": (sizes.units,),
        }
        kept = {
            name: self.optional(getattr(named, name), shape, name) for name, shape in shapes.items()
        }
        self.held = (*kept.values(), *zones)
        return sizes.module.Options(
            kept["peephole"],
            specification.cell_clip or 0.0,
            *zones,
            kept["projection"],
            norms(named._replace(**kept)),
        )

    def _share(self, share: Tensor | None, width: int, what: str) -> Tensor | None:
        """Return the share of a state that stays, its last axis dense; the others are free."""
        if share is None:
            return None
        self.check(share, (self.sizes.batch, self.sizes.time, width), what)
        return rows_contiguous(share)

    def check_matrices(self, weights: Sequence[Tensor]) -> None:
        sizes = self.sizes
        self.check(weights[0], (sizes.inputs, sizes.columns), "W")
        self.check(weights[1], (sizes.hidden, sizes.columns), "U")

    def check(
        self, tensor: Tensor, shape: tuple[int, ...], what: str, dtype: torch.dtype | None = None
    ) -> None:
        if dtype is None:
            dtype, fits = self.dtype, self.fits(tensor, shape, self.sizes.is_double, False)
        else:
            fits = tensor.shape == shape and tensor.dtype == dtype and tensor.is_cpu
        if not fits:
            raise InputError(
                f"kernel 'cpu' expected {what} of shape {tuple(shape)}, {dtype}, on the CPU, "
                f"but got {tuple(tensor.shape)}, {tensor.dtype}, on {tensor.device}."
            )

    def dense(self, tensor: Tensor, shape: tuple[int, ...], what: str) -> Tensor:
        """Return the tensor, of this shape, in contiguous memory."""
        if self.fits(tensor, shape, self.sizes.is_double, True):
            return tensor
        self.check(tensor, shape, what)
        return tensor.contiguous()

    def optional(self, tensor: Tensor | None, shape: tuple[int, ...], what: str) -> Tensor | None:
        return None if tensor is None else self.dense(tensor, shape, what)

    def dropout(self, noise: Noise) -> Tensor | None:
        """Return what multiplies h in the recurrent product, in each row of the batch."""
        shape = (self.sizes.batch, self.sizes.hidden)
        return self.optional(noise.recurrent_dropout, shape, "recurrent_dropout")

    def states(self, state: Sequence[Tensor]) -> list[Tensor]:
        batch, widths = self.sizes.batch, self.sizes.widths
        if len(state) != len(widths):
            raise InputError(
                f"kernel 'cpu' expected {len(widths)} state tensors but got {len(state)}."
            )
        return [
            self.dense(tensor, (batch, width), "state")
            for tensor, width in zip(state, widths, strict=True)
        ]

    def mask(self, mask: Tensor | None) -> Tensor | None:
        if mask is None:
            return None
        shape = (self.sizes.batch, self.sizes.time)
        if mask.shape != shape or mask.dtype != torch.bool:
            raise InputError(
                f"kernel 'cpu' expected a bool mask of shape {shape} but got "
                f"{tuple(mask.shape)}, {mask.dtype}."
            )
        return mask.contiguous()

    def bias(self) -> Tensor | None:
        columns = self.sizes.columns
        shape = (2, columns) if self.specification.two_biases else (columns,)
        return self.optional(Weights.of(self.weights, self.specification).bias, shape, "b")


@lru_cache(maxsize=256)
def _sizes(
    specification: Specification,
    dtype: torch.dtype,
    batch: int,
    time: int,
    inputs: int,
    hidden: int,
    W_columns: int,
    threads: int,
) -> Sizes:
    """Return the sizes of a call; ``W_columns`` is checked with W's shape."""
    reason = supports(specification, dtype)
    if reason is not None:
        raise UnsupportedError(
            f"kernel 'cpu' cannot run this call: {reason}. Use kernel='reference'."
        )
    gates = len(specification.gates)
    units = W_columns // gates if specification.projection else hidden
    cell = specification.cell
    if cell == "gru":
        cell = "gru_reset_after" if specification.reset_after else "gru_reset_before"
    layer = compiled().Layer(
        cell,
        specification.activation,
        specification.recurrent_activation,
        specification.reverse,
        (specification.projection, specification.layer_norm),
        (batch, time, inputs, units, hidden, threads),
        specification.precision,
    )
    return Sizes(
        compiled(),
        layer,
        dtype == torch.float64,
        batch,
        time,
        inputs,
        hidden,
        units,
        gates * units,
        (hidden, units)[: len(specification.states)],
        specification.saves,
        (batch, time, hidden),
        (batch, time, gates * units),
        (batch, time, saved_row(specification, units).width),
        (batch, time, gradient_row(specification, units, hidden).width),
    )


@cache
def _no_options() -> Any:
    return compiled().Options(None, 0.0, None, None, None, (None,) * len(NORM_WEIGHTS))


@atexit.register
def _forget() -> None:
    """Let go of the module's objects while it is there: what outlives it is reported as a leak.

    Python empties this module first, unless something of torch's (its compiler, say) holds it.
    """
    _sizes.cache_clear()
    _no_options.cache_clear()


def rows_contiguous(x: Tensor) -> Tensor:
    """Return x with its last axis dense; the batch and time strides are free."""
    return x if x.stride(-1) == 1 else x.contiguous()


def three(weights: Sequence[Tensor]) -> tuple[Tensor | None, ...]:
    """Return W, U and the bias, or None where there is none."""
    return (*weights, None, None, None)[:3]


def norms(weights: Weights) -> tuple[Tensor | None, ...]:
    """Return the weights of layer normalization in the native order."""
    _, _, _, _, _, *norms = weights
    return tuple(norms)
